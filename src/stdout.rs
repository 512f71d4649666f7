//! Standard output of the commands that print once and end.

use std::io::{self, Write};

use p2pdbg_base::{ErrorCode, Failure};

/// Has `write` print, and hands it on at once. A reader that has read enough, as a pager or `head` has, is no failure.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| {
            let message = format!("cannot write to standard output: {error}");
            Failure::new(ErrorCode::Output, message)
        }),
    }
}
