//! `p2pdbg connect … -- COMMAND`: a program that is told where its debugger is, with its signals and its exit status.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{Pair, Setting, skip},
    scenario::python,
    script::{self, Missing, Script},
};

/// A session in which programs/app.py runs as COMMAND and is debugged by `ide`; it is given the port at the debuggee
/// when it is what the IDE's script listens on, or the one at the IDE.
pub(crate) struct Run {
    pub(crate) pair: Pair,
    port: u16,
    ide: Option<Script>,
}

/// Starts it; `None` if something is not installed.
#[track_caller]
fn run(setting: &Setting, option: &str, ide: &[&str], app: &[&str]) -> Option<Run> {
    run_in(setting, &python()?, option, ide, app)
}

/// The same, with the program in another Python than the IDE's script.
#[track_caller]
pub(crate) fn run_in(
    setting: &Setting,
    interpreter: &Path,
    option: &str,
    ide: &[&str],
    app: &[&str],
) -> Option<Run> {
    let python = python()?;
    let (open, target) = (setting.port(), setting.port());
    let start = |port: u16| {
        let port = port.to_string();
        let arguments = [&ide[1..], &["--port", &port]].concat();
        Script::start(
            &setting.ide,
            &python,
            ide[0],
            &arguments,
            &setting.transcript,
        )
    };
    // The port at the debuggee is the one that the program is told.
    let (port, ide_port) = if option == "-L" {
        (target, open)
    } else {
        (open, target)
    };
    let early = (option == "-R").then(|| start(ide_port));
    if let Some(Err(Missing(why))) = early.as_ref().map(Script::port) {
        skip(&why);
        return None;
    }
    let listener = setting
        .listener()
        .args([option, &format!("{open}:localhost:{target}")])
        .start();
    let program = script::file("programs/app.py");
    let connector = setting
        .connector_with(&listener.code())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args([
            "--",
            text(interpreter),
            "-Xfrozen_modules=off",
            text(&program),
        ])
        .args(app.iter().copied())
        .start();
    listener.forward(open);
    let ide = early.unwrap_or_else(|| start(ide_port));
    let pair = Pair {
        listener,
        connector,
    };
    Some(Run {
        pair,
        port,
        ide: Some(ide),
    })
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Run {
    /// Waits for what the IDE saw, and looks at what the program was told.
    #[track_caller]
    pub(crate) fn debugged(&mut self) -> bool {
        if let Err(Missing(why)) = self.ide.take().unwrap().seen() {
            skip(&why);
            return false;
        }
        let told: Value =
            serde_json::from_str(&self.pair.connector.line("START_DEBUGGER")).unwrap();
        assert_eq!(told["START_DEBUGGER"], "1");
        assert_eq!(told["DEBUGGER_HOST"], "127.0.0.1");
        assert_eq!(told["DEBUGGER_PORT"], self.port.to_string());
        true
    }
}

#[test]
fn a_program_that_listens_is_debugged_and_its_exit_status_is_that_of_connect() {
    let setting = Setting::loopback();
    let app = ["debugpy", "--status", "5"];
    let Some(mut run) = run(&setting, "-L", &["ide/dap_attach.py"], &app) else {
        return;
    };
    if run.debugged() {
        // Without that each message waits 40 ms for an acknowledgement of debugpy's adapter.
        let said = run.pair.connector.line("sends at once:");
        assert_eq!(said, "sends at once: True");
        assert_eq!(run.pair.connector.exit_status(), 5);
        assert!(!run.pair.listener.closed().is_empty());
    }
}

#[test]
fn a_program_that_calls_settrace_is_debugged_and_its_exit_status_is_that_of_connect() {
    let setting = Setting::loopback();
    let ide = ["ide/pydevd_server.py", "--entry", "app.py"];
    let app = ["pydevd", "--status", "6"];
    let Some(mut run) = run(&setting, "-R", &ide, &app) else {
        return;
    };
    if run.debugged() {
        assert_eq!(run.pair.connector.exit_status(), 6);
    }
}

#[test]
fn a_program_that_connects_gets_the_signals_that_connect_gets() {
    let setting = Setting::loopback();
    let app = ["debugpy-connect", "--until-term", "7"];
    let Some(mut run) = run(&setting, "-R", &["ide/dap_listen.py"], &app) else {
        return;
    };
    run.pair.connector.line("waiting for SIGTERM");
    run.pair.connector.signal(Signal::TERM);
    if run.debugged() {
        run.pair.connector.line("got SIGTERM");
        assert_eq!(run.pair.connector.exit_status(), 7);
    }
}
