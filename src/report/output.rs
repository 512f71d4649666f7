//! What becomes of the program when standard output cannot be written.
//!
//! A reader that has gone ends nothing: it may have wanted the code alone. Where what was to be kept is lost, on a full
//! disk say, the program ends, but not while a peer is there: somebody may be debugging, and that is worth more.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_events::{Event, Of};
use tokio::sync::watch;

/// Told when there is no use in going on, because what is reported is lost.
#[derive(Debug, Clone)]
pub struct OutputLost(watch::Receiver<Option<Failure>>);

impl OutputLost {
    /// For whoever reports elsewhere.
    pub fn never() -> Self {
        Self(watch::Sender::default().subscribe())
    }

    /// Waits for it. Cancelling it loses nothing.
    pub async fn wait(&mut self) -> Failure {
        if let Ok(failure) = self.0.wait_for(Option::is_some).await
            && let Some(failure) = failure.clone()
        {
            return failure;
        }
        // Nobody writes any more.
        std::future::pending().await
    }
}

/// What is written to standard output, a line at a time.
pub(super) struct OutputLines {
    out: Box<dyn Write + Send>,
    broken: bool,
}

impl OutputLines {
    pub(super) fn to(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            broken: false,
        }
    }

    /// Writes a line and its end, and leaves none of it in a buffer.
    ///
    /// # Errors
    /// The first time that it fails; after that nothing is written.
    pub(super) fn write(&mut self, line: impl Into<Vec<u8>>) -> io::Result<()> {
        if self.broken {
            return Ok(());
        }
        let mut line = line.into();
        line.push(b'\n');
        let written = self.out.write_all(&line).and_then(|()| self.out.flush());
        self.broken = written.is_err();
        written
    }

    /// Whether it has failed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }
}

/// Standard output, as far as writing it has failed.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// The sessions that there are.
    sessions: BTreeSet<Of>,
    /// Whether it is a terminal, which is not seen any more of one that has gone.
    is_terminal: bool,
    fault: Option<Failure>,
    lost: watch::Sender<Option<Failure>>,
}

impl Output {
    /// Says whether it is a terminal: what is written there is for whoever looks.
    pub(super) fn set_terminal(&mut self, is_terminal: bool) {
        self.is_terminal = is_terminal;
    }

    pub(super) fn lost(&self) -> OutputLost {
        OutputLost(self.lost.subscribe())
    }

    /// What was lost that should have been kept.
    pub(super) fn fault(&self) -> Option<Failure> {
        self.fault.clone()
    }

    /// Follows which sessions there are.
    pub(super) fn on_event(&mut self, of: &Of, event: &Event) {
        match event {
            Event::Paired { .. } => drop(self.sessions.insert(of.clone())),
            Event::Closed { .. } => drop(self.sessions.remove(of)),
            _ => return,
        }
        self.tell();
    }

    /// Writing has failed. Returns what a person should know, unless the program ends with it.
    pub(super) fn on_fault(&mut self, error: &io::Error) -> Option<String> {
        let message = format!("cannot write to standard output: {error}");
        let has_gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        if has_gone.contains(&error.kind()) || (self.is_terminal && is_hung_up(error)) {
            return Some(format!("{message}: nothing more is written there"));
        }
        self.fault = Some(Failure::new(ErrorCode::Output, message.clone()));
        self.tell();
        let goes_on = !self.sessions.is_empty();
        goes_on
            .then(|| format!("{message}: nothing more is written there, but the session goes on"))
    }

    fn tell(&self) {
        if self.fault.is_some() && self.sessions.is_empty() {
            self.lost.send_replace(self.fault.clone());
        }
    }
}

/// Whether this is what a terminal says whose window, or ssh, has gone.
#[cfg(unix)]
fn is_hung_up(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// None says so there.
#[cfg(not(unix))]
fn is_hung_up(_: &io::Error) -> bool {
    false
}
