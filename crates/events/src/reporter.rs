//! The handle by which whoever has something to tell reports it.

use std::{fmt, sync::Arc, time::Instant};

use p2pdbg_base::PeerName;

use crate::{Event, Status};

/// Of which session something is told: the name of its peer, where there may be several.
pub type Of = Option<Arc<str>>;

/// Takes what is reported. None of the methods may block, since those who report own the state of a session.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Takes an event. Must not wait: whoever reports is in the middle of its work.
    fn event(&self, of: &Of, event: Event);

    /// Takes what a session is doing now, in place of what it did before; none when nothing is to be said any more.
    fn status(&self, of: &Of, status: Option<Status>);

    /// Leaves the terminal to another program from now on.
    fn release_terminal(&self);
}

/// Reports what happens. Clones report to the same place; none of the methods blocks.
#[derive(Clone, Debug)]
pub struct Reporter {
    sink: Arc<dyn Sink>,
    started: Instant,
    of: Of,
}

impl Reporter {
    /// Reports to `sink`; to be called as early as can be, because [`Reporter::after_ms`] counts from here.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self {
            sink,
            started: Instant::now(),
            of: None,
        }
    }

    /// Reports from here on to the same place, marked as being of the session with this peer.
    #[must_use]
    pub fn of_session(&self, peer: &PeerName) -> Self {
        Self {
            of: Some(peer.as_str().into()),
            ..self.clone()
        }
    }

    /// The peer with whose session these reports are marked.
    pub fn session(&self) -> Option<&str> {
        self.of.as_deref()
    }

    /// Reports an event, at once and without waiting; nobody need listen.
    pub fn emit(&self, event: Event) {
        self.sink.event(&self.of, event);
    }

    /// Replaces what the status line is drawn from.
    pub fn status(&self, status: Status) {
        self.sink.status(&self.of, Some(status));
    }

    /// Takes this session's part out of the status line, or what is said there of all.
    pub fn end_status(&self) {
        self.sink.status(&self.of, None);
    }

    /// Leaves the terminal to a COMMAND from now on: no status line, and only what a person must know.
    pub fn release_terminal(&self) {
        self.sink.release_terminal();
    }

    /// When the program started, as far as reports are concerned.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Milliseconds since the program started.
    pub fn after_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
