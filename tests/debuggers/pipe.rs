//! `p2pdbg pipe`: gdb runs it as its connection to gdbserver.

use std::{net::TcpListener, path::PathBuf, process::Stdio};

use crate::{
    harness::{Peer, Place, Setting, skip, traffic::accept},
    scenario::python,
    script::{Missing, Script},
};

/// The command that gdb runs beside a listener.
fn command(listener: &Peer, target: u16) -> String {
    let runtime = listener.home().path().join("run");
    let program = env!("CARGO_BIN_EXE_p2pdbg");
    format!(
        "env XDG_RUNTIME_DIR={} {program} pipe localhost:{target}",
        runtime.display()
    )
}

/// gdb, started by its script; the option says what the pipe is to it.
fn gdb_by(setting: &Setting, python: &std::path::Path, option: &str, pipe: &str) -> Script {
    let arguments = [option, pipe];
    let script = "ide/gdb_remote.py";
    Script::start(
        &setting.ide,
        python,
        script,
        &arguments,
        &setting.transcript,
    )
}

#[track_caller]
fn seen(script: Script) -> bool {
    match script.seen() {
        Ok(_) => true,
        Err(Missing(why)) => {
            skip(&why);
            false
        }
    }
}

/// gdb against a gdbserver that listens at a port.
#[track_caller]
pub(crate) fn gdb(setting: &Setting) {
    let Some(python) = python() else { return };
    let target = setting.port();
    let unused = format!("{}:localhost:{}", setting.port(), setting.port());
    let pair = setting.pair(["-L", &unused]);
    let port = target.to_string();
    let server = Script::start(
        &setting.debuggee,
        &python,
        "debuggee/gdbserver.py",
        &["--port", &port],
        &setting.transcript,
    );
    if let Err(Missing(why)) = server.port() {
        return skip(&why);
    }
    let pipe = command(&pair.listener, target);
    if seen(gdb_by(setting, &python, "--pipe", &pipe)) {
        seen(server);
    }
}

/// gdb against a gdbserver that speaks on its standard input and output.
#[track_caller]
pub(crate) fn gdb_to_standard_input(setting: &Setting) {
    to_standard_input(setting, "--pipe", &["gdbserver", "--once", "-"]);
}

/// The machine interface of a gdb at the other end, as VS Code's cpptools speak it.
#[track_caller]
pub(crate) fn gdb_at_the_other_end(setting: &Setting) {
    let gdb = ["gdb", "--quiet", "--nx", "--interpreter=mi"];
    to_standard_input(setting, "--pipe-program", &gdb);
}

/// With a program that is started for the connection, as an inetd would, and given the path of programs/steps.c, built.
#[track_caller]
fn to_standard_input(setting: &Setting, option: &str, server: &[&str]) {
    let Some(python) = python() else { return };
    let Some(binary) = steps() else { return };
    let target = setting.port();
    let unused = format!("{}:localhost:{}", setting.port(), setting.port());
    let pair = setting.pair(["-L", &unused]);
    let listener: TcpListener = setting.debuggee.listen(target);
    let gdb = gdb_by(setting, &python, option, &command(&pair.listener, target));
    if let Err(Missing(why)) = gdb.connecting() {
        return skip(&why);
    }
    let connection = accept(&listener);
    let (input, output) = (connection.try_clone().unwrap(), connection);
    let mut server = Place::Here
        .command(server[0])
        .args(&server[1..])
        .arg(binary.path().join("steps"))
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(input)))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(output)))
        .spawn()
        .unwrap();
    seen(gdb);
    server.wait().unwrap();
}

/// A directory with programs/steps.c built in it.
fn steps() -> Option<tempfile::TempDir> {
    let directory = tempfile::tempdir().unwrap();
    let source: PathBuf = crate::script::file("programs/steps.c");
    let built = std::process::Command::new("cc")
        .args(["-g", "-O0", "-o"])
        .arg(directory.path().join("steps"))
        .arg(source)
        .status();
    match built {
        Ok(status) if status.success() => Some(directory),
        _ => {
            skip("there is no C compiler");
            None
        }
    }
}
