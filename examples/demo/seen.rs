//! What has happened so far: the demo goes on when the next thing that it needs is here.

use p2pdbg_events::{Event, PathKind};

use crate::{
    cast::Who,
    moment::{Debugging, Moment},
};

/// What has happened so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// The URL of the rendezvous, with its key.
    pub(crate) url: Option<String>,
    /// The code that `listen` has printed.
    pub(crate) code: Option<String>,
    /// How many of the peers have said that they know the other.
    pub(crate) paired: usize,
    /// The port that is open beside the IDE.
    pub(crate) port: Option<u16>,
    /// How `listen` reaches its peer now.
    pub(crate) path: Option<PathKind>,
    /// How often the program stopped at a breakpoint.
    pub(crate) breakpoints: usize,
    /// How often it was stepped.
    pub(crate) steps: usize,
    /// What the sum should be, once the debugger is done.
    pub(crate) total: Option<String>,
    /// What the debuggee printed, line by line.
    pub(crate) printed: Vec<String>,
    /// What went wrong, if anything did.
    pub(crate) failure: Option<String>,
}

impl Seen {
    /// Takes note of what a program has said.
    pub(crate) fn note(&mut self, who: Who, moment: Moment) {
        match moment {
            Moment::Serving(url) => self.url = Some(url),
            Moment::Printed(line) => self.printed.push(line),
            Moment::Peer(event) => self.note_event(who, event),
            Moment::Debugger(Debugging::Breakpoint { .. }) => self.breakpoints += 1,
            Moment::Debugger(Debugging::Step { .. }) => self.steps += 1,
            Moment::Debugger(Debugging::Done { ok: true, seen, .. }) => self.total = seen.total,
            Moment::Debugger(Debugging::Done { error, .. }) => {
                self.failure = Some(error.unwrap_or_else(|| "the debugger failed".to_owned()));
            }
            Moment::Debugger(_) => {}
        }
    }

    fn note_event(&mut self, who: Who, event: Event) {
        match event {
            Event::Ready { code, .. } => self.code = code.map(|code| code.to_string()),
            Event::Paired { .. } => self.paired += 1,
            Event::Forward { listen, .. } if who == Who::Listen => {
                self.port = listen.address().map(|at| at.port)
            }
            Event::Path(path) if who == Who::Listen => self.path = Some(path.kind),
            Event::Error(failure) => self.failure = Some(format!("{who}: {failure}")),
            _ => {}
        }
    }
}
