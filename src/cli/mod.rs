//! The command line: from strings to finished types.
//!
//! [`args`] says what may be written, and is what help, completions and man pages are made from;
//! [`resolve_listen`] and [`resolve_connect`] make of it what the rest of the program gets: parsed, complete,
//! with variables and the configuration file taken into account.

pub mod args;
mod completion;
mod doctor;
mod forward_args;
pub mod generate;
mod given;
mod misread;
mod options;
mod peers;
mod resolve;
mod values;

pub use doctor::{DoctorArgs, DoctorOptions, resolve_doctor};
pub use given::Given;
pub use misread::misread;
pub use options::{
    Command, ConnectOptions, IdeOptions, ListenOptions, Meeting, PeersOptions, PortMap,
    SessionOptions,
};
pub use resolve::{Environment, resolve_connect, resolve_ide, resolve_listen};
#[cfg(unix)]
pub(crate) use values::forward_malformed;
