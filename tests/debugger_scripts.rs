//! The scripts that drive real debuggers, with nothing between their two ends: if one of these tests fails, a
//! failure of the same debugger through p2pdbg says nothing about p2pdbg.
#![cfg(target_os = "linux")]

use std::process::Command;

#[path = "debuggers/script.rs"]
mod script;

use script::{Outcome, Script};

/// Runs the end that listens, and the one that connects to its port.
#[track_caller]
fn meet(listens: &str, listener_arguments: &[&str], connects: &str, connector_arguments: &[&str]) {
    let Some(python) = script::python() else {
        eprintln!("skipped: scripts/install-test-tools has not been run");
        return;
    };
    let mut listening = Script::start(Command::new(&python), listens, listener_arguments);
    let port = match listening.port() {
        Ok(port) => port.to_string(),
        Err(Outcome::Skipped(why)) => return eprintln!("skipped: {why}"),
        Err(Outcome::Passed(seen)) => panic!("{listens} ended before anybody came: {seen}"),
    };
    let arguments = [connector_arguments, &["--port", &port]].concat();
    let connecting = Script::start(Command::new(&python), connects, &arguments);
    for script in [connecting, listening] {
        match script.outcome() {
            Outcome::Passed(seen) => println!("{seen}"),
            Outcome::Skipped(why) => return eprintln!("skipped: {why}"),
        }
    }
}

#[test]
fn an_ide_attaches_to_debugpy() {
    meet("debuggee/debugpy_listen.py", &[], "ide/dap_attach.py", &[]);
}

#[test]
fn an_ide_attaches_to_debugpy_and_to_its_subprocesses() {
    let program = ["--program", "spawning.py"];
    meet(
        "debuggee/debugpy_listen.py",
        &program,
        "ide/dap_attach.py",
        &program,
    );
}

#[test]
fn debugpy_connects_to_an_ide() {
    meet("ide/dap_listen.py", &[], "debuggee/debugpy_connect.py", &[]);
}

#[test]
fn debugpy_and_its_subprocesses_connect_to_an_ide() {
    let program = ["--program", "spawning.py"];
    meet(
        "ide/dap_listen.py",
        &program,
        "debuggee/debugpy_connect.py",
        &program,
    );
}

#[test]
fn settrace_connects_to_a_debug_server() {
    meet(
        "ide/pydevd_server.py",
        &[],
        "debuggee/pydevd_settrace.py",
        &[],
    );
}

#[test]
fn settrace_connects_to_a_debug_server_from_every_process() {
    let program = ["--program", "processes"];
    meet(
        "ide/pydevd_server.py",
        &program,
        "debuggee/pydevd_settrace.py",
        &program,
    );
}

#[test]
fn gdb_connects_to_gdbserver() {
    meet("debuggee/gdbserver.py", &[], "ide/gdb_remote.py", &[]);
}

#[test]
fn jdb_attaches_to_a_jvm() {
    meet(
        "debuggee/jdwp.py",
        &["--server", "y"],
        "ide/jdb.py",
        &["--attach"],
    );
}

#[test]
fn a_jvm_connects_to_jdb() {
    meet(
        "ide/jdb.py",
        &["--listen"],
        "debuggee/jdwp.py",
        &["--server", "n"],
    );
}
