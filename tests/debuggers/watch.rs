//! `p2pdbg status --watch` on a terminal: tmux, whose screen is read while debugpy is stepped through behind two NATs.
//!
//! The screens in docs/STATUS.md are those that this prints with `-- --nocapture`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    harness::{Home, Setting, eventually, skip},
    scenario::python,
    script::{Missing, Script},
};

/// A tmux server of its own, with one terminal that nobody looks at.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// One of 80 by 24 that runs p2pdbg and then says how that ended; none if there is no tmux.
    fn start(home: &Home, arguments: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skip("tmux is not installed; scripts/install-test-tools does it");
            return None;
        }
        let terminal = Self {
            socket: home.path().join("tmux"),
        };
        let program = env!("CARGO_BIN_EXE_p2pdbg");
        let run = format!("'{program}' {arguments}; echo \"ended with $?\"; exec cat");
        let mut start = terminal.command(&["new-session", "-d", "-x", "80", "-y", "24", &run]);
        home.settle(&mut start);
        let started = start.env_remove("TMUX").env("SHELL", "/bin/sh").output();
        let started = started.unwrap();
        assert!(started.status.success(), "{started:?}");
        Some(terminal)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-S"]);
        command.arg(&self.socket).args(arguments);
        command
    }

    #[track_caller]
    fn tell(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    fn screen(&self) -> String {
        String::from_utf8(self.tell(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// Waits for a screen with all of this on it.
    #[track_caller]
    fn shows(&self, parts: &[&str]) -> String {
        self.shows_without(parts, "nothing is forbidden")
    }

    /// Waits for a screen with all of this on it, and not that.
    #[track_caller]
    fn shows_without(&self, parts: &[&str], not: &str) -> String {
        eventually(&format!("screen with {parts:?}"), || {
            let screen = self.screen();
            let shown = parts.iter().all(|part| screen.contains(part));
            (shown && !screen.contains(not)).then_some(screen)
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the screen ---\n{}", self.screen());
        }
        let _ = self.command(&["kill-server"]).output();
    }
}

/// A program that debugpy has stopped, and its IDE, which lets it go on when the file is there.
fn stopped(
    setting: &Setting,
    python: &Path,
    port: u16,
    until: &Path,
) -> Result<[Script; 2], Missing> {
    let port = port.to_string();
    let start = |place, script, arguments: &[&str]| {
        Script::start(place, python, script, arguments, &setting.transcript)
    };
    let debuggee = "debuggee/debugpy_listen.py";
    let debuggee = start(&setting.debuggee, debuggee, &["--port", &port]);
    debuggee.port()?;
    let stay = ["--port", &port, "--stay", until.to_str().unwrap()];
    let ide = start(&setting.ide, "ide/dap_attach.py", &stay);
    ide.stopped()?;
    Ok([ide, debuggee])
}

#[test]
fn the_screen_that_stays_shows_both_ends_and_where_the_program_has_stopped() {
    let (Some(python), Some(lab)) = (python(), crate::lab::two_nats("watch")) else {
        return;
    };
    let home = Home::new();
    let Some(terminal) = Terminal::start(&home, "status --watch") else {
        return;
    };
    terminal.shows(&["p2pdbg"]);
    let setting = crate::lab::setting(&lab);
    let port = 5678;
    let run = home.path().join("run");
    let forward = format!("debugpy:{port}");
    let listener = setting
        .listener()
        .env("XDG_RUNTIME_DIR", &run)
        .args(["--name", "laptop", &forward])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .env("XDG_RUNTIME_DIR", &run)
        .args(["--name", "web-1"])
        .start();
    let screen = terminal.shows(&[
        "p2pdbg  2 sessions",
        "in session with web-1",
        "in session with laptop",
        "● direct by ",
        "paths: over the relay at ",
        "RTT ",
        "loss ",
        &format!("forward: 127.0.0.1:{port} here -> localhost:{port} there"),
        &format!("forward: 127.0.0.1:{port} there -> localhost:{port} here"),
    ]);
    println!("{screen}");

    let until = home.path().join("go-on");
    let ends = match stopped(&setting, &python, port, &until) {
        Ok(ends) => ends,
        Err(Missing(why)) => return skip(&why),
    };
    let screen = terminal.shows(&[
        &format!("stream 0 to localhost:{port}: open, "),
        "debugpy 1.",
        ", Python 3.",
        ", stopped at steps.py:21\n      a step: ",
        // The step, then threads, stack, scopes and variables.
        " ms × 5 = ",
    ]);
    println!("{screen}");
    let mut once = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    home.settle(&mut once);
    let once = once.arg("status").output().unwrap();
    println!("{}", String::from_utf8(once.stdout).unwrap());

    // What does not fit is scrolled to; the head stays.
    terminal.tell(&["resize-window", "-x", "80", "-y", "10"]);
    terminal.shows_without(&["p2pdbg  2 sessions", "listen (pid "], "connect (pid ");
    terminal.tell(&["send-keys", "PageDown", "PageDown", "PageDown"]);
    let last = ["p2pdbg  2 sessions", "stopped at steps.py:"];
    terminal.shows_without(&last, "listen (pid ");

    std::fs::write(until, "").unwrap();
    for end in ends {
        if let Err(Missing(why)) = end.seen() {
            return skip(&why);
        }
    }
    // The terminal is as it was before.
    terminal.tell(&["send-keys", "q"]);
    terminal.shows_without(&["ended with 0"], "session");
    drop((listener, connector));
}

#[test]
fn the_screen_that_stays_gives_the_terminal_back_when_it_is_told_to_stop() {
    let home = Home::new();
    let Some(terminal) = Terminal::start(&home, "status --watch") else {
        return;
    };
    terminal.shows(&["q quits"]);
    terminal.tell(&["send-keys", "C-c"]);
    terminal.shows_without(&["ended with 0"], "q quits");
}
