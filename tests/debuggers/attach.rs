//! `p2pdbg attach`: debuggers attach to programs that run already, and their IDEs come by a forward that leads there.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Output},
};

use p2pdbg_events::Event;
use p2pdbg_natlab::Lab;

use crate::{
    harness::{Home, Pair, Process, Setting, eventually, skip},
    scenario::python,
    script::{Missing, Script, file},
};

/// What `p2pdbg attach` beside the listener with this home says.
pub(crate) fn attach(home: &Home, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    home.settle(&mut command);
    command.arg("attach").args(arguments).output().unwrap()
}

/// The same, which succeeds; its standard output.
#[track_caller]
pub(crate) fn attached(pair: &Pair, arguments: &[&str]) -> String {
    let output = attach(&pair.listener.home(), arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The port beside the IDE that it names.
#[track_caller]
pub(crate) fn port(said: &str) -> String {
    let (_, port) = said.trim_end().rsplit_once(':').unwrap();
    port.to_owned()
}

/// A session whose debuggee's end accepts attaching, with a forward that is for no debugger.
pub(crate) fn accepting(setting: &Setting) -> Pair {
    let unused = format!("{}:localhost:{}", setting.port(), setting.port());
    accepting_with(setting, ["-L", &unused])
}

/// The same with this forward.
pub(crate) fn accepting_with(setting: &Setting, forward: [&str; 2]) -> Pair {
    let listener = setting.listener().args(forward).start();
    let connector = setting
        .connector_with(&listener.code())
        .args(["--accept-attach"])
        .start();
    listener.paired();
    connector.paired();
    Pair {
        listener,
        connector,
    }
}

/// A program at the debuggee that runs until it is dropped, started with a mark of its own.
#[track_caller]
pub(crate) fn program(setting: &Setting, program: &str, source: &str, mark: &str) -> Process {
    let mut command = setting.debuggee.command(program);
    command.arg(file(source)).arg(mark);
    let process = Process::start(source, command, &setting.transcript);
    process.line("running");
    process
}

/// Waits until the debuggee's end has told its user.
#[track_caller]
pub(crate) fn told(pair: &Pair, process: &Process, debugger: &str) {
    pair.connector.event("attached", |event| match event {
        Event::Attached {
            pid, debugger: by, ..
        } if *pid == process.id() => {
            assert_eq!(by.name(), debugger);
            Some(())
        }
        _ => None,
    });
}

#[track_caller]
pub(crate) fn seen(script: Script) {
    if let Err(Missing(why)) = script.seen() {
        skip(&why);
    }
}

#[test]
fn gdbserver_attaches_to_a_program_whenever_its_gdb_comes_and_lets_it_go() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let process = program(
        &setting,
        python.to_str().unwrap(),
        "programs/endless.py",
        "for-gdb",
    );
    let pid = process.id().to_string();
    let port = port(&attached(&pair, &[&pid, "--with", "gdbserver"]));
    told(&pair, &process, "gdbserver");
    let target = format!("target remote localhost:{port}");
    for _ in 0..2 {
        let gdb = Command::new("gdb")
            .args(["--batch", "--nx", "-ex", "set sysroot /", "-ex", &target])
            .args(["-ex", "info inferiors", "-ex", "detach"])
            .output();
        let Ok(gdb) = gdb else {
            return skip("there is no gdb");
        };
        let said = String::from_utf8_lossy(&gdb.stdout);
        assert!(said.contains(&format!("process {pid}")), "{said}");
        assert!(said.contains("detached"), "{said}");
    }
    // It has gone on.
    let lines = process.stdout().len();
    process.find("more", |now| (now.len() > lines).then_some(()));
}

/// gdbserver takes no note of it while the program runs, and leaves the breakpoints in it, which end it.
#[test]
fn program_goes_on_untraced_when_its_gdb_is_killed_while_it_runs() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let process = program(
        &setting,
        python.to_str().unwrap(),
        "programs/endless.py",
        "for-a-gdb-that-is-killed",
    );
    let pid = process.id().to_string();
    let port = port(&attached(&pair, &[&pid, "--with", "gdbserver"]));
    for _ in 0..2 {
        let mut gdb = gdb_that_continues(&setting, &port);
        gdb.line("Continuing.");
        let lines = process.stdout().len();
        process.find("more", |now| (now.len() > lines).then_some(()));
        assert!(is_traced(&pid));
        gdb.kill();
        eventually("end of gdbserver", || (!is_traced(&pid)).then_some(()));
        let lines = process.stdout().len();
        process.find("more", |now| (now.len() > lines).then_some(()));
    }
}

/// Its gdb has lost the connection then, and takes no breakpoints out.
#[test]
fn program_goes_on_untraced_when_the_session_ends_under_its_gdb() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let process = program(
        &setting,
        python.to_str().unwrap(),
        "programs/endless.py",
        "for-a-session-that-ends",
    );
    let pid = process.id().to_string();
    let port = port(&attached(&pair, &[&pid, "--with", "gdbserver"]));
    let gdb = gdb_that_continues(&setting, &port);
    gdb.line("Continuing.");
    let lines = process.stdout().len();
    process.find("more", |now| (now.len() > lines).then_some(()));
    assert!(is_traced(&pid));
    pair.connector.interrupt();
    eventually("end of gdbserver", || (!is_traced(&pid)).then_some(()));
    let lines = process.stdout().len();
    process.find("more", |now| (now.len() > lines).then_some(()));
}

fn is_traced(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    !status.contains("TracerPid:\t0\n")
}

/// One whose breakpoint is reached again and again.
fn gdb_that_continues(setting: &Setting, port: &str) -> Process {
    let target = format!("target remote localhost:{port}");
    let mut command = setting.ide.command("gdb");
    command
        .args(["--nx", "-ex", "set sysroot /", "-ex", &target])
        .args(["-ex", "break clock_nanosleep if 0", "-ex", "continue"]);
    Process::start("gdb", command, &setting.transcript)
}

/// As of a program that is run under strace meanwhile: beside the IDE nothing is seen but a connection that closes.
#[test]
fn gdbserver_that_cannot_attach_any_more_is_told_at_the_debuggee() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let process = program(
        &setting,
        python.to_str().unwrap(),
        "programs/endless.py",
        "for-two-gdbs",
    );
    let pid = process.id().to_string();
    let port = port(&attached(&pair, &[&pid, "--with", "gdbserver"]));
    let mut command = setting.debuggee.command("gdb");
    command.args(["--nx", "-p", &pid, "-ex", "continue"]);
    let gdb = Process::start("gdb", command, &setting.transcript);
    gdb.line("Continuing.");
    let connection = setting.ide.connect(port.parse().unwrap());
    (&connection).write_all(b"+$qSupported#37").unwrap();
    eventually("word of gdbserver", || {
        let said = pair.connector.stderr();
        said.iter()
            .any(|line| line.contains("gdbserver could not attach") && line.contains("ERROR"))
            .then_some(())
    });
}

#[test]
fn nodes_inspector_is_started_in_a_program_that_runs() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let mut command = setting.debuggee.command("node");
    // Its own port is another test's.
    let inspector = format!("--inspect-port={}", setting.port());
    command.arg(inspector).arg(file("programs/endless.js"));
    let process = Process::start("endless.js", command, &setting.transcript);
    process.line("running");
    let pid = process.id().to_string();
    let port = port(&attached(&pair, &[&pid]));
    told(&pair, &process, "node");
    let ide = "ide/cdp_running.py";
    let arguments = ["--port", port.as_str()];
    seen(Script::start(
        &setting.ide,
        &python,
        ide,
        &arguments,
        &setting.transcript,
    ));
}

/// As Next.js and PM2 do, whose titles take the place of their command lines.
#[test]
fn program_of_node_that_has_set_a_title_is_attached_to_at_the_port_it_was_told_and_again() {
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let inspector = setting.port();
    let mut command = setting.debuggee.command("node");
    let source = "process.title = 'next-server (v15)'; setInterval(() => {}, 50);                   console.log('running')";
    command.args(["-e", source]);
    command.env("NODE_OPTIONS", format!("--inspect-port={inspector}"));
    let process = Process::start("next-server", command, &setting.transcript);
    process.line("running");
    let listed = attached(&pair, &["next-server"]);
    assert!(listed.contains("node is attached"), "{listed}");
    told(&pair, &process, "node");
    let awaits = format!("(listens on {inspector})");
    let all = attached(&pair, &[]);
    let line = all.lines().find(|line| line.contains("next-server"));
    assert!(line.is_some_and(|line| line.contains(&awaits)), "{all}");
    assert_eq!(attached(&pair, &["next-server"]), listed);
}

/// Its inspector would not start, after which nothing but the program's own output says why.
#[test]
fn second_program_of_node_whose_port_the_first_has_is_refused_with_the_port() {
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let port = setting.port();
    let inspector = format!("--inspect-port={port}");
    let start = || {
        let mut command = setting.debuggee.command("node");
        command.arg(&inspector).arg(file("programs/endless.js"));
        let process = Process::start("endless.js", command, &setting.transcript);
        process.line("running");
        process
    };
    let (first, second) = (start(), start());
    attached(&pair, &[&first.id().to_string()]);
    let output = attach(&pair.listener.home(), &[&second.id().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("port {port} ")), "{said}");
    // Nor has it been sent the signal.
    assert!(
        !second
            .stderr()
            .iter()
            .any(|line| line.contains("inspector"))
    );
}

#[test]
fn program_on_another_network_than_connect_is_refused_before_anything_is_begun_there() {
    let Some(_root) = Lab::new_or_skip("attach-network") else {
        return;
    };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let mut command = setting.debuggee.command("unshare");
    command
        .args(["--net", "node"])
        .arg(file("programs/endless.js"));
    let process = Process::start("endless.js", command, &setting.transcript);
    process.line("running");
    let pid = process.id().to_string();
    for tool in ["node", "debugpy", "jdwp"] {
        let output = attach(&pair.listener.home(), &[&pid, "--with", tool]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("in a container of its own"), "{tool}: {said}");
    }
    assert!(
        !process
            .stderr()
            .iter()
            .any(|line| line.contains("Debugger listening"))
    );
}

#[test]
fn attaching_is_refused_where_connect_was_not_asked_for_it() {
    let setting = Setting::loopback();
    let unused = format!("{}:localhost:{}", setting.port(), setting.port());
    let pair = setting.pair(["-L", &unused]);
    let output = attach(&pair.listener.home(), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("connect there with --accept-attach"),
        "{said}"
    );
}

#[test]
fn program_that_takes_no_debugger_is_refused_with_what_it_needs() {
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let mut command = setting.debuggee.command("sh");
    command.args(["-c", "echo running; exec sleep 600"]);
    let process = Process::start("sleep", command, &setting.transcript);
    process.line("running");
    let pid = process.id().to_string();
    for (tool, needs) in [("node", "signal handler"), ("jdwp", "onjcmd=y")] {
        let output = attach(&pair.listener.home(), &[&pid, "--with", tool]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(needs), "{said}");
    }
    let none = attach(&pair.listener.home(), &["no such program; $(reboot)"]);
    assert_eq!(none.status.code(), Some(1));
}

#[test]
fn program_of_node_that_handles_the_signal_itself_is_refused_with_that() {
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let mut command = setting.debuggee.command("node");
    let source = "process.on('SIGUSR1', () => console.log('mine')); \
                  setInterval(() => {}, 1000); console.log('running')";
    command.args(["-e", source]);
    let process = Process::start("node", command, &setting.transcript);
    process.line("running");
    let output = attach(&pair.listener.home(), &[&process.id().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it handles SIGUSR1 itself"), "{said}");
    process.line("mine");
}

/// What delve's server says of the program, as JSON-RPC over a connection of its own.
#[track_caller]
fn state(setting: &Setting, port: &str) -> serde_json::Value {
    let connection = setting.ide.connect(port.parse().unwrap());
    let question = br#"{"method":"RPCServer.State","params":[{"NonBlocking":true}],"id":1}"#;
    (&connection).write_all(question).unwrap();
    let mut answer = String::new();
    BufReader::new(&connection).read_line(&mut answer).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["result"]["State"].clone()
}

#[test]
fn delve_attaches_to_a_program_of_go_and_lets_it_go_when_the_session_ends() {
    let setting = Setting::loopback();
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("endless");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(file("programs/endless.go"))
        .output();
    match built {
        Ok(built) if built.status.success() => {}
        _ => return skip("there is no Go"),
    }
    let mut pair = accepting(&setting);
    let mut process = program(&setting, "env", binary.to_str().unwrap(), "for-delve");
    let pid = process.id().to_string();
    let port = port(&attached(&pair, &[&pid]));
    told(&pair, &process, "delve");
    // It lets the program go on as soon as it is there, and takes one client after the other.
    eventually("the program to run under delve", || {
        (state(&setting, &port)["Running"] == true).then_some(())
    });
    assert_eq!(state(&setting, &port)["Running"], true);
    pair.connector.stop();
    // Nobody traces it any more, and it goes on.
    eventually("end of delve", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.contains("TracerPid:\t0\n").then_some(())
    });
    let lines = process.stdout().len();
    process.find("more", |now| (now.len() > lines).then_some(()));
    assert!(process.is_running());
}
