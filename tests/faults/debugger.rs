//! A real debugpy session that is stopped at a breakpoint until a test lets it step.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{Process, Setting, skip},
    outages::longest_outage,
    script,
};

/// The scripts' own deadline in seconds, besides the longest outage.
const TIMEOUT: u64 = 180;

/// An IDE and a debuggee, each a script.
#[derive(Debug)]
pub(crate) struct Debugger {
    ide: Process,
    debuggee: Process,
    /// Holds the file whose existence lets the IDE go on.
    directory: TempDir,
}

impl Debugger {
    /// Brings the two together through an open port, up to the breakpoint. `None` where debugpy is not installed.
    #[track_caller]
    pub(crate) fn stop_at_breakpoint(setting: &Setting, port: u16) -> Option<Self> {
        let Some(python) = script::python() else {
            skip("debugpy is not installed; run scripts/install-test-tools");
            return None;
        };
        let timeout = (longest_outage().as_secs() + TIMEOUT).to_string();
        let directory = tempfile::tempdir().unwrap();
        let start = |place: &crate::harness::Place, file: PathBuf, more: &[&str]| {
            let mut command = place.command(&python);
            command
                .arg(&file)
                .args(["--timeout", &timeout, "--port", &port.to_string()])
                .args(more)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            let name = file.file_name().unwrap().to_string_lossy();
            Process::start(&name, command, &setting.transcript)
        };
        let debuggee = start(
            &setting.debuggee,
            script::file("debuggee/debugpy_listen.py"),
            &[],
        );
        event(&debuggee, "listening");
        let go_on = directory.path().join("go-on");
        let held = script::file("../faults/held.py");
        let ide = start(&setting.ide, held, &["--hold", go_on.to_str().unwrap()]);
        event(&ide, "stopped");
        Some(Self {
            ide,
            debuggee,
            directory,
        })
    }

    /// Steps to the end of the program, and sees that it was still stopped where it was.
    #[track_caller]
    pub(crate) fn step(mut self) {
        std::fs::write(self.directory.path().join("go-on"), "").unwrap();
        for script in [&mut self.ide, &mut self.debuggee] {
            let done = event(script, "done");
            assert_eq!(done["ok"], true, "{}: {}", script.name(), done["error"]);
            assert_eq!(script.exit_status(), 0);
        }
    }
}

impl Drop for Debugger {
    /// Asks the scripts to end, so that they end their children too, also those that have left their process group.
    fn drop(&mut self) {
        for script in [&mut self.ide, &mut self.debuggee] {
            if script.is_running() {
                script.signal(rustix::process::Signal::TERM);
                if !std::thread::panicking() {
                    script.wait();
                }
            }
        }
    }
}

/// Waits for an event of a script, or panics with what it said instead.
#[track_caller]
fn event(script: &Process, name: &str) -> Value {
    let found = script.find(name, |lines| {
        let mut events = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.find(|event| event["event"] == name || event["event"] == "done")
    });
    assert_eq!(found["event"], name, "{}: {found}", script.name());
    found
}
