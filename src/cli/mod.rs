//! The command line: from strings to finished types.
//!
//! [`args`] says what may be written, and is what help, completions and man pages are made from. A command with many
//! options has a module of its own, which defines them and makes of them what the rest of the program gets: parsed,
//! complete, with variables and the configuration file taken into account. An option has its definition and its meaning
//! in one file, therefore.

pub mod args;
mod completion;
mod connect;
mod doctor;
mod environment;
mod foreign_options;
mod forward_args;
pub mod generate;
mod ide;
mod listen;
mod peers;
mod repeated_options;
mod session;
#[cfg(test)]
mod tests;
mod values;
mod wrong_arguments;

pub use connect::{Command, ConnectArgs, ConnectOptions, Meeting, resolve_connect};
pub use doctor::{DoctorArgs, DoctorOptions, resolve_doctor};
pub use environment::Environment;
pub use ide::{Ide, IdeArgs, IdeOptions, resolve_ide};
pub use listen::{ListenArgs, ListenOptions, resolve_listen};
pub(crate) use listen::{has_value, is_directory, is_repeated};
pub use peers::{PeersOptions, PortMap};
pub use repeated_options::Given;
pub(crate) use session::not_there;
pub use session::{SessionArgs, SessionOptions};
pub(crate) use values::forward_malformed;
pub use wrong_arguments::{asks_for_events, misread, without_secrets};
