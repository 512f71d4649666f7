//! What a program tells of its sessions, as plain values: to people, to other programs, and to `p2pdbg status`.
//!
//! - [`Event`]: what happens, the schema of `--json`; [`Status`]: what the status line is drawn from.
//! - [`snapshot`]: all that there is at a moment, the schema of `status --json`.
//! - [`Reporter`]: the handle by which a session reports the first two.
//!
//! What it leaves out: how any of it is written; that is the program's `report`.

mod debugger;
mod event;
mod reporter;
pub mod snapshot;
mod status;

pub use debugger::{DebuggerReport, ProgramState};
pub use event::{
    Event, PathKind, PathReport, SourcesReport, StreamState, Via, Waiting, WaitingFor, Warning,
    WarningCode,
};
pub use reporter::{Of, Reporter, Sink};
pub use status::{Activity, Status};
