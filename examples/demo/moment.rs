//! What a program on stage says, as a type.

use anyhow::{Context, Result};
use p2pdbg_events::Event;
use serde::Deserialize;

use crate::cast::Who;

/// Something that a program of the demo has said.
pub(crate) enum Moment {
    /// The rendezvous serves at this URL.
    Serving(String),
    /// One of the peers reports.
    Peer(Event),
    /// The IDE's debugger has got on by a step.
    Debugger(Debugging),
    /// The program that is debugged prints a line.
    Printed(String),
}

/// What ide.py reports, one line of JSON each.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Debugging {
    /// It is attached, and the program runs.
    Attached {
        /// Where the IDE has the sources.
        local: String,
        /// Where the debuggee has them.
        remote: String,
    },
    /// The program stopped at a breakpoint.
    Breakpoint {
        /// The line of the breakpoint.
        #[serde(flatten)]
        at: Line,
        function: String,
    },
    /// A local variable was read.
    Variable {
        name: String,
        /// What the debuggee says that it holds.
        value: String,
    },
    /// The program was stepped, and everything that an IDE then shows was read.
    Step {
        /// The line at which it stopped.
        #[serde(flatten)]
        at: Line,
        /// How long the step took at the IDE, in milliseconds.
        ms: f64,
    },
    /// An expression was evaluated at the debuggee.
    Evaluated { expression: String, value: String },
    /// A local variable was changed.
    Set {
        name: String,
        /// The value that it holds now.
        value: String,
    },
    /// The debugging is over; nothing follows.
    Done {
        /// Whether everything was as it should be.
        ok: bool,
        /// The first thing that was not as expected; none if all was.
        error: Option<String>,
        seen: Total,
    },
}

/// A line of the program.
#[derive(Deserialize)]
pub(crate) struct Line {
    pub(crate) file: String,
    pub(crate) line: u32,
    /// What it says, as the IDE shows it.
    pub(crate) source: String,
}

/// The outcome of the debugging.
#[derive(Deserialize)]
pub(crate) struct Total {
    /// What the sum should be.
    pub(crate) total: Option<String>,
}

impl Moment {
    /// Understands a line of a program's standard output.
    pub(crate) fn parse(who: Who, line: String) -> Result<Self> {
        let strange = || format!("{who} says what cannot be understood: {line}");
        match who {
            Who::Rendezvous => Ok(Self::Serving(line)),
            Who::Listen => serde_json::from_str(&line)
                .map(Self::Peer)
                .with_context(strange),
            // The program that connect runs has the same standard output.
            Who::Connect => Ok(serde_json::from_str(&line).map_or(Self::Printed(line), Self::Peer)),
            Who::Debugger => serde_json::from_str(&line)
                .map(Self::Debugger)
                .with_context(strange),
        }
    }
}
