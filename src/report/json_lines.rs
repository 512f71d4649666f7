//! Reports for programs: JSON on standard output.

use std::io::{self, Write};

use p2pdbg_base::say;
use p2pdbg_events::Event;

use super::output::OutputLines;

/// An event with the session that it is of, where there may be several.
#[derive(serde::Serialize)]
struct OfSession<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

/// Events as lines of JSON.
pub(super) struct JsonLines(OutputLines);

impl JsonLines {
    pub(super) fn new(out: impl Write + Send + 'static) -> Self {
        Self(OutputLines::to(out))
    }

    /// # Errors
    /// The first time that it fails; after that nothing is written.
    pub(super) fn write(&mut self, session: Option<&str>, event: &Event) -> io::Result<()> {
        let line = serde_json::to_vec(&OfSession { event, session })?;
        let written = self.0.write(line);
        if let (true, Event::Error(failure)) = (self.0.is_broken(), event) {
            say!("error: {failure}");
            if let Some(hint) = &failure.hint {
                say!("    {hint}");
            }
        }
        written
    }
}
