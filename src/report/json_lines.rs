//! Reports for programs: JSON on standard output.

use std::io::{self, Write};

use p2pdbg_base::say;
use p2pdbg_events::Event;

/// An event with the session that it is of, where there may be several.
#[derive(serde::Serialize)]
struct OfSession<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

/// Events as lines of JSON, each flushed.
pub(super) struct JsonLines {
    out: Box<dyn Write + Send>,
    broken: bool,
}

impl JsonLines {
    pub(super) fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            broken: false,
        }
    }

    /// # Errors
    /// The first time that it fails; after that nothing is written.
    pub(super) fn write(&mut self, session: Option<&str>, event: &Event) -> io::Result<()> {
        let written = match self.broken {
            true => Ok(()),
            false => self.try_write(session, event),
        };
        self.broken |= written.is_err();
        if let (true, Event::Error(failure)) = (self.broken, event) {
            say!("error: {failure}");
            if let Some(hint) = &failure.hint {
                say!("    {hint}");
            }
        }
        written
    }

    fn try_write(&mut self, session: Option<&str>, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(&OfSession { event, session })?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}
