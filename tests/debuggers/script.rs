//! Runs the scripts of this directory and reads what they say.
//!
//! A script is one end of a debugger's conversation, the debuggee's or the IDE's; see README.md here. It keeps
//! its own deadline and ends its own children, so that a test only waits for its last line. Where it runs is the
//! caller's choice: the command that starts Python may be one inside a network namespace.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

/// The scripts' own deadline, which is shorter than any patience here.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The Python that has the debuggers, as `scripts/install-test-tools` made it; none if it did not run.
pub(crate) fn python() -> Option<PathBuf> {
    let environment = env::var_os("P2PDBG_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"),
        PathBuf::from,
    );
    let python = environment.join("bin/python");
    python.is_file().then_some(python)
}

/// A script that runs.
pub(crate) struct Script {
    name: String,
    child: Child,
    lines: Receiver<Value>,
    errors: Option<thread::JoinHandle<String>>,
}

/// How a script ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It saw what it had to see; these are the facts.
    Passed(Value),
    /// It needs something that is not installed; this is what.
    Skipped(String),
}

impl Script {
    /// Starts a script, given by its path in this directory and its arguments, with `python`, a command that runs
    /// Python in the place where the script is to be.
    pub(crate) fn start(mut python: Command, script: &str, arguments: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/debuggers")
            .join(script);
        let mut child = python
            .arg(path)
            .args(["--timeout", &TIMEOUT.as_secs().to_string()])
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{script} cannot be started: {error}"));
        let (events, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line)
                    .unwrap_or_else(|_| Value::String(format!("not JSON: {line}")));
                if events.send(event).is_err() {
                    break;
                }
            }
        });
        let mut stderr = child.stderr.take().expect("it is piped");
        let errors = thread::spawn(move || {
            let mut text = String::new();
            // What is not text is not worth failing for: it is only shown.
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self {
            name: script.to_owned(),
            child,
            lines,
            errors: Some(errors),
        }
    }

    /// The port that the script listens on, once it does; or how it ended without.
    #[track_caller]
    pub(crate) fn port(&mut self) -> Result<u16, Outcome> {
        let event = self.event();
        if event["event"] == "done" {
            return Err(self.judge(&event));
        }
        let port = event["port"].as_u64().and_then(|port| port.try_into().ok());
        Ok(port.unwrap_or_else(|| panic!("{} said {event} in place of a port", self.name)))
    }

    /// Waits for the end of the script. Panics with what the script said if it did not see what it had to.
    #[track_caller]
    pub(crate) fn outcome(mut self) -> Outcome {
        loop {
            let event = self.event();
            if event["event"] == "done" {
                return self.judge(&event);
            }
        }
    }

    #[track_caller]
    fn event(&mut self) -> Value {
        // The script has a deadline; the rest is for a machine under load.
        match self.lines.recv_timeout(TIMEOUT * 2) {
            Ok(event) => event,
            Err(error) => {
                let errors = self.ended();
                panic!("{} says nothing ({error}): {errors}", self.name)
            }
        }
    }

    #[track_caller]
    fn judge(&mut self, done: &Value) -> Outcome {
        let text = |key: &str| done[key].as_str().unwrap_or_default().to_owned();
        if done["ok"] == true {
            Outcome::Passed(done["seen"].clone())
        } else if done["skipped"] == true {
            Outcome::Skipped(text("error"))
        } else {
            let errors = self.ended();
            panic!("{}: {}\n{errors}", self.name, text("error"))
        }
    }

    /// Ends the script, if it has not ended yet, and returns what it wrote for people.
    fn ended(&mut self) -> String {
        // Asked to end, it ends its children too; killed, it could not.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = Command::new("kill")
                .arg(self.child.id().to_string())
                .status();
        }
        let _ = self.child.wait();
        let errors = self.errors.take().map(thread::JoinHandle::join);
        errors.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.ended();
    }
}
