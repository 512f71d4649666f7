//! Runs the scripts of this directory and reads what they say.
//!
//! A script is one end of a debugger's conversation, the debuggee's or the IDE's; see README.md here. It keeps
//! its own deadline and asserts for itself, so that a test only waits for its last line.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Place, Process, Transcript};

/// The scripts' own deadline in seconds; it is shorter than the patience of those who wait for them.
const TIMEOUT: &str = "50";

/// The Python that has the debuggers, as `scripts/install-test-tools` made it; none if it did not run.
pub(crate) fn python() -> Option<PathBuf> {
    let environment = std::env::var_os("P2PDBG_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"),
        PathBuf::from,
    );
    let python = environment.join("bin/python");
    python.is_file().then_some(python)
}

/// A file of this directory.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/debuggers")
        .join(name)
}

/// Why a script did not see what it was to see: something that it needs is not installed.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

/// A script that runs.
#[derive(Debug)]
pub(crate) struct Script(Process);

impl Script {
    /// Starts a script, given by its path in this directory and its arguments.
    pub(crate) fn start(
        place: &Place,
        python: &Path,
        script: &str,
        arguments: &[&str],
        transcript: &Transcript,
    ) -> Self {
        let mut command = place.command(python);
        command
            .arg(file(script))
            .args(["--timeout", TIMEOUT])
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Self(Process::start(script, command, transcript))
    }

    /// The port that the script listens on, once it does.
    #[track_caller]
    pub(crate) fn port(&self) -> Result<u16, Missing> {
        let event = self.event(&["listening", "done"]);
        if event["event"] == "done" {
            self.judge(&event)?;
            panic!("{} ended before anybody came", self.0.name());
        }
        Ok(event["port"].as_u64().unwrap().try_into().unwrap())
    }

    /// Waits until the script is about to connect, in those that say so.
    #[track_caller]
    pub(crate) fn connecting(&self) -> Result<(), Missing> {
        let event = self.event(&["connecting", "done"]);
        if event["event"] == "done" {
            self.judge(&event)?;
        }
        Ok(())
    }

    /// Waits until the script stays stopped, in those that are told to.
    #[track_caller]
    pub(crate) fn stopped(&self) -> Result<(), Missing> {
        let event = self.event(&["stopped", "done"]);
        if event["event"] == "done" {
            self.judge(&event)?;
        }
        Ok(())
    }

    /// Waits for the end of the script and gives what it saw.
    ///
    /// # Panics
    /// With what the script said, if it did not see what it had to.
    #[track_caller]
    pub(crate) fn seen(mut self) -> Result<Value, Missing> {
        let done = self.event(&["done"]);
        let seen = self.judge(&done)?;
        assert_eq!(self.0.exit_status(), 0);
        Ok(seen)
    }

    /// The first event of one of these names.
    #[track_caller]
    fn event(&self, names: &[&str]) -> Value {
        self.0.find(names[0], |lines| {
            let mut events = lines.iter().map(|line| {
                let event: Result<Value, _> = serde_json::from_str(line);
                event.unwrap_or_else(|_| panic!("not JSON: {line}"))
            });
            events.find(|event| names.iter().any(|name| event["event"] == *name))
        })
    }

    #[track_caller]
    fn judge(&self, done: &Value) -> Result<Value, Missing> {
        let why = done["error"].as_str().unwrap_or_default();
        if done["skipped"] == true {
            return Err(Missing(why.to_owned()));
        }
        assert_eq!(done["ok"], true, "{}: {why}", self.0.name());
        Ok(done["seen"].clone())
    }
}

impl Drop for Script {
    /// Asks it to end, so that it ends its children too, also those that have left its process group.
    fn drop(&mut self) {
        if self.0.is_running() {
            self.0.signal(rustix::process::Signal::TERM);
            if !std::thread::panicking() {
                self.0.wait();
            }
        }
    }
}
