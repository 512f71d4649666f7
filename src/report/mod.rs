//! What the program tells people and other programs.
//!
//! The session [emits](p2pdbg_events::Reporter::emit) an [`Event`](p2pdbg_events::Event) for everything that happens,
//! and hands in a [`Status`] whenever its numbers change. Where both go is settled once, at the
//! start:
//!
//! - `--json`: every event is one line of JSON on standard output (docs/JSON.md); the status goes nowhere.
//! - For people: the code on standard output, and on standard error a line for each event and, on a terminal,
//!   below them one line that stays true: how the peers are connected, the RTT, what waits for what.
//!
//! A thread of its own writes, so that a slow terminal or a full pipe never holds up a session; see
//! [`Printer`] for what happens then. Logs are tracing's affair; [`Printer::log_writer`] only keeps them
//! from tearing the status line.

mod human;
mod json_lines;
mod output;
mod printer;
pub(crate) mod status_line;
pub(crate) mod status_text;
mod unanswered;
mod words;

use std::collections::BTreeMap;

use p2pdbg_events::{Of, Status};

pub use output::OutputLost;
pub use printer::{Format, LogWriter, Printer};
pub use status_text::Described;
pub(crate) use words::milliseconds;

/// What is new of the status line: of each session, or of all together, its part or that it has none any more.
type Statuses = BTreeMap<Of, Option<Status>>;
