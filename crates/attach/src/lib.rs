//! What runs on this host and may be debugged: which debuggers listen, and where.
//!
//! It looks at the process table (`/proc` of Linux) and runs nothing. Elsewhere than on Linux nothing is seen.

mod listening;
#[cfg(target_os = "linux")]
mod process;

pub use listening::{ListeningDebugger, debuggers};
