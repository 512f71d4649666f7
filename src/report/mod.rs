//! What the program tells people and other programs.
//!
//! The session [emits](Reporter::emit) an [`Event`] for everything that happens, and hands in a [`Status`]
//! whenever its numbers change. Where both go is settled once, at the start:
//!
//! - `--json`: every event is one line of JSON on standard output (docs/JSON.md); the status goes nowhere.
//! - For people: the code on standard output, and on standard error a line for each event and, on a terminal,
//!   below them one line that stays true: how the peers are connected, the RTT, what waits for what.
//!
//! A thread of its own writes, so that a slow terminal or a full pipe never holds up a session; see
//! [`Reporter`] for what happens then. Logs are tracing's affair; [`Reporter::log_writer`] only keeps them
//! from tearing the status line.

mod debugger;
pub(crate) mod described;
mod event;
mod human;
mod printer;
mod status;
mod terminal;
mod untrusted;
mod words;

pub use debugger::{DebuggerReport, ProgramState};
pub use described::Described;
pub use event::{
    Event, PathKind, PathReport, SourcesReport, StreamState, Via, Waiting, WaitingFor, Warning,
    WarningCode,
};
pub use printer::{Format, LogWriter, Printer, Reporter};
pub use status::{Activity, Status};
pub use untrusted::Untrusted;
pub(crate) use words::milliseconds;
