//! The local program of a stream, and the connection to it while there is one.

use std::io;

use tokio::time::Instant;

use super::{
    client_left::{Leaving, Verdict},
    last_words::LastWords,
    local::{self, Connection, LocalReader, LocalWriter},
    redial::Dialing,
};

/// The local program, and the connection to it.
pub(super) struct Program {
    pub(super) reader: Option<LocalReader>,
    pub(super) writer: Option<LocalWriter>,
    pub(super) dialing: Option<Dialing>,
    pub(super) leaving: Leaving,
    /// Whether it has left before anything came back for it.
    pub(super) gave_up: bool,
    /// Whether it has been told that nothing more comes.
    pub(super) fin_delivered: bool,
    /// What still comes for it from an end that takes nothing more.
    pub(super) last_words: LastWords,
}

impl Program {
    /// One that is dialled, or will connect. `is_client` is whether it is a debugger's client.
    pub(super) fn new(dialing: Option<Dialing>, is_client: bool) -> Self {
        Self {
            reader: None,
            writer: None,
            leaving: Leaving::new(dialing.is_none(), is_client),
            dialing,
            gave_up: false,
            fin_delivered: false,
            last_words: LastWords::default(),
        }
    }

    /// Takes the connection to it.
    ///
    /// # Errors
    /// If the operating system does not know the connection any more.
    pub(super) fn connect(&mut self, connection: Connection) -> io::Result<()> {
        let (reader, writer) = local::split(connection)?;
        self.reader = Some(reader);
        self.writer = Some(writer);
        Ok(())
    }

    /// It has ended its writing; what that means. `answered` is whether anything has come back for it.
    pub(super) fn on_ended(&mut self, answered: bool, now: Instant) -> Verdict {
        let reader = &self.reader;
        self.leaving.on_ended(answered, || has_left(reader), now)
    }

    /// The time has come to look whether it is still there; what follows.
    pub(super) fn on_look(&mut self, answered: bool, now: Instant) -> Verdict {
        let reader = &self.reader;
        self.leaving.on_look(answered, || has_left(reader), now)
    }

    /// Breaks the connection off: it sees a RST, unless it has been told that nothing more comes.
    pub(super) fn break_off(&mut self) {
        self.last_words = LastWords::default();
        if let (Some(reader), Some(writer)) = (self.reader.take(), self.writer.take()) {
            if self.fin_delivered {
                // A RST would take back what the local program has not read yet.
                tokio::spawn(local::linger(reader, writer));
            } else {
                local::break_off(reader, writer);
            }
        }
    }
}

/// Whether the local program is gone, and not only at the end of what it writes.
fn has_left(reader: &Option<LocalReader>) -> bool {
    reader.as_ref().is_some_and(LocalReader::program_has_left)
}
