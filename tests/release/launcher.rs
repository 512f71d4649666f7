//! The launcher of the npm packages, with a program behind it that counts how often it is interrupted.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// Says who launched it, then each interrupt; on SIGTERM its exit status is their number. It ends by itself if nothing
/// comes.
const PROGRAM: &str = r#"#!/usr/bin/env python3
import os, signal, sys
told = 0
def tell(*_):
    global told
    told += 1
    print("told", flush=True)
signal.signal(signal.SIGINT, tell)
signal.alarm(30)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(told))
print(os.getppid(), flush=True)
while True: signal.pause()
"#;

/// A launcher that runs, with the program behind it.
struct Launched {
    _packages: tempfile::TempDir,
    started: Child,
    output: BufReader<ChildStdout>,
    launcher: Pid,
}

impl Launched {
    /// Starts it by this command, which the launcher's own follows.
    fn by(starter: &[&str]) -> Self {
        let packages = tempfile::tempdir().unwrap();
        let npm = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/npm/bin");
        let (launcher, node) = (
            packages.path().join("p2pdbg/bin"),
            packages.path().join("node_modules"),
        );
        let arch = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x64"
        };
        let bin = node.join(format!("p2pdbg-linux-{arch}/bin"));
        fs::create_dir_all(&launcher).unwrap();
        fs::create_dir_all(&bin).unwrap();
        for file in ["p2pdbg.js", "run.js"] {
            fs::copy(npm.join(file), launcher.join(file)).unwrap();
        }
        let program = bin.join("p2pdbg");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut started = Command::new(starter[0])
            .args(&starter[1..])
            .arg("node")
            .arg(launcher.join("p2pdbg.js"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(started.stdout.take().unwrap());
        let pid: i32 = line(&mut output).parse().unwrap();
        let launcher = Pid::from_raw(pid).unwrap();
        Self {
            _packages: packages,
            started,
            output,
            launcher,
        }
    }

    /// How often the program was interrupted, which must have been once at least.
    fn interrupts(mut self) -> Option<i32> {
        assert_eq!(line(&mut self.output), "told");
        kill_process(self.launcher, Signal::TERM).unwrap();
        self.started.wait().unwrap().code()
    }
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn launcher_passes_on_an_interrupt_that_it_alone_was_sent() {
    // Without a terminal, as what an editor or a supervisor starts.
    let launched = Launched::by(&["setsid"]);
    kill_process(launched.launcher, Signal::INT).unwrap();
    assert_eq!(launched.interrupts(), Some(1));
}

#[test]
fn interrupt_by_the_terminal_comes_to_the_program_behind_the_launcher_once() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/terminal.py");
    // Standard input and the others need not be the terminal that ^C is pressed at.
    for input in ["terminal", "null"] {
        let launched = Launched::by(&["python3", script, input]);
        kill_process(Pid::from_child(&launched.started), Signal::USR1).unwrap();
        assert_eq!(launched.interrupts(), Some(1), "{input}");
    }
}
