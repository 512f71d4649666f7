//! The program that takes this one's place by an upgrade: where it lies, and what it can do.
//!
//! It is asked for its version. One that knows how to read the signals that were kept waiting for it says so in a line
//! of its own, if it is asked by [`ASKED`]; to one that does not say so they would never come.

use std::{path::PathBuf, time::Duration};

/// Set where a process asks the program that is to take its place.
const ASKED: &str = "P2PDBG_RENDEZVOUS_ASKED";

/// The answer of one that reads the signals that wait.
const READS_WHAT_WAITS: &str = "reads the signals that wait";

/// A program that does not say its version within this time is no successor.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) program: PathBuf,
    /// Whether it reads the signals that were kept waiting; an older one would not even hear SIGTERM.
    pub(crate) reads_what_waits: bool,
}

impl Successor {
    /// The program that this process was started from, as it is now, if it runs.
    ///
    /// # Errors
    /// Says why it does not.
    pub(crate) async fn find() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        // Where the file was replaced, Linux names the old one.
        let program = match program
            .to_str()
            .and_then(|path| path.strip_suffix(" (deleted)"))
        {
            Some(path) => PathBuf::from(path),
            None => program,
        };
        let ran = tokio::process::Command::new(&program)
            .arg("--version")
            .env(ASKED, "1")
            // It is only asked for its version, and the store's URL may hold a password.
            .env_remove("P2PDBG_CLUSTER")
            .kill_on_drop(true)
            .output();
        let shown = program.display();
        let Ok(ran) = tokio::time::timeout(SAYS_WITHIN, ran).await else {
            let s = SAYS_WITHIN.as_secs();
            return Err(format!("{shown} --version: no answer within {s} s"));
        };
        match ran {
            Ok(output) if output.status.success() => Ok(Self {
                reads_what_waits: output
                    .stdout
                    .split(|byte| *byte == b'\n')
                    .any(|line| line == READS_WHAT_WAITS.as_bytes()),
                program,
            }),
            Ok(output) => Err(format!("{shown} --version: {}", output.status)),
            Err(error) => Err(format!("{shown}: {error}")),
        }
    }
}

/// Whether this program is asked by a process whose place it is to take.
pub(crate) fn is_asked() -> bool {
    std::env::var_os(ASKED).is_some()
}

/// What it answers: its version, and what that process has to know.
pub(crate) fn answer(version: &str) -> String {
    format!("{}\n{READS_WHAT_WAITS}", version.trim_end())
}
