//! Debuggers that listen where no forward leads: both ends say so, and what to do.

use std::{
    io::{BufRead, BufReader, Write},
    process::Command,
};

use p2pdbg_events::{Warning, WarningCode};

use crate::{
    harness::{Pair, Process, Setting, skip},
    lab::{setting, two_nats},
    scenario::python,
    script::{Missing, Script, file},
};

/// What each end says of the next such debugger, whose port this is.
#[track_caller]
fn told(pair: &Pair, port: u16) -> [Warning; 2] {
    let port = format!(":{port}");
    [&pair.listener, &pair.connector].map(|peer| {
        let warning = peer.warning(WarningCode::DebuggerElsewhere);
        assert!(warning.message.contains(&port), "{warning:?}");
        warning
    })
}

#[test]
fn debugpy_on_another_port_than_the_forward_dials_is_told_at_both_ends() {
    let Some(lab) = two_nats("else-py") else {
        return;
    };
    let Some(python) = python() else { return };
    let setting = setting(&lab);
    let (dialled, other) = (setting.port(), setting.port());
    let pair = setting.pair_with_port([format!("debugpy:{dialled}")], dialled);
    let port = other.to_string();
    let script = "debuggee/debugpy_listen.py";
    let arguments = ["--port", &port];
    let place = &setting.debuggee;
    let debuggee = Script::start(place, &python, script, &arguments, &setting.transcript);
    if let Err(Missing(why)) = debuggee.port() {
        return skip(&why);
    }
    let [beside_ide, at_debuggee] = told(&pair, other);
    let goes = format!("and the forward leads to localhost:{dialled}");
    for warning in [&beside_ide, &at_debuggee] {
        assert!(
            warning.message.starts_with("debugpy (process "),
            "{warning:?}"
        );
        assert!(warning.message.ends_with(&goes), "{warning:?}");
    }
    let mended = format!("p2pdbg listen debugpy:{other}");
    assert!(beside_ide.hint.unwrap().contains(&mended));
}

/// As images of containers do it: nothing of it stands in the command line.
#[test]
fn jvm_that_was_told_its_port_by_a_variable_is_told_like_any() {
    let Some(lab) = two_nats("else-jvm") else {
        return;
    };
    if Command::new("java").arg("-version").output().is_err() {
        return skip("there is no Java");
    }
    let setting = setting(&lab);
    let (dialled, other) = (setting.port(), setting.port());
    let pair = setting.pair_with_port([format!("jdwp:{dialled}")], dialled);
    let mut command = setting.debuggee.command("java");
    let agent = "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=127.0.0.1";
    command.env("JAVA_TOOL_OPTIONS", format!("{agent}:{other}"));
    command.arg(file("programs/Endless.java"));
    let _jvm = Process::start("java", command, &setting.transcript);
    for warning in told(&pair, other) {
        let message = warning.message;
        assert!(message.starts_with("jdwp (process "), "{message}");
    }
}

#[test]
fn workers_of_nodes_cluster_are_told_as_they_come_and_forwarded_by_the_command_that_is_told() {
    let Some(lab) = two_nats("else-js") else {
        return;
    };
    let setting = setting(&lab);
    let pair = setting.pair_with_port(["node"], 9229);
    let mut command = setting.debuggee.command("node");
    let program = file("programs/cluster.js");
    command.arg("--inspect=127.0.0.1:9229").arg(program);
    let _cluster = Process::start("node", command, &setting.transcript);
    for port in [9230, 9231] {
        for warning in told(&pair, port) {
            let hint = warning.hint.unwrap();
            assert!(
                hint.contains(&format!("p2pdbg forward node:{port}")),
                "{hint}"
            );
        }
        let mut command = setting.ide.command(env!("CARGO_BIN_EXE_p2pdbg"));
        pair.listener.home().settle(&mut command);
        command.args(["forward", &format!("node:{port}")]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        answers(&setting, port);
    }
}

#[test]
fn workers_of_nodes_cluster_are_forwarded_as_they_come_where_listen_follows_them() {
    let Some(lab) = two_nats("follow-js") else {
        return;
    };
    let setting = setting(&lab);
    let pair = setting.pair_with_port(["node", "--follow-ports"], 9229);
    let mut command = setting.debuggee.command("node");
    let program = file("programs/cluster.js");
    command.arg("--inspect=127.0.0.1:9229").arg(program);
    let _cluster = Process::start("node", command, &setting.transcript);
    for port in [9230, 9231] {
        pair.listener.forward(port);
        answers(&setting, port);
    }
}

/// As Next.js runs what serves: its title takes the place of its command line.
#[test]
fn worker_of_node_that_has_set_a_title_is_told_like_any() {
    let Some(lab) = two_nats("else-title") else {
        return;
    };
    let setting = setting(&lab);
    let pair = setting.pair_with_port(["node"], 9229);
    let mut command = setting.debuggee.command("node");
    command.env("NODE_OPTIONS", "--inspect=127.0.0.1:9230");
    command.args([
        "-e",
        "process.title = 'next-server (v15)'; setInterval(() => {}, 50)",
    ]);
    let _worker = Process::start("next-server", command, &setting.transcript);
    for warning in told(&pair, 9230) {
        assert!(warning.message.starts_with("node (process "), "{warning:?}");
    }
}

/// Asks the inspector at this port beside the IDE which program it is of.
#[track_caller]
fn answers(setting: &Setting, port: u16) {
    let mut asked = setting.ide.connect(port);
    let question = format!("GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    asked.write_all(question.as_bytes()).unwrap();
    let mut answer = BufReader::new(asked).lines().map_while(Result::ok);
    let found = answer.find(|line| line.contains("cluster.js"));
    assert!(found.is_some(), "no inspector of the program answers");
}

#[test]
fn lldbs_platform_runs_a_program_over_two_forwards() {
    let Some(lab) = two_nats("platform") else {
        return;
    };
    let Some(python) = python() else { return };
    let setting = setting(&lab);
    let port = setting.ports(2);
    let forwards = [port, port + 1].map(|port| format!("lldb:{port}"));
    let pair = setting.pair(forwards);
    let start = |place, script| {
        let arguments = ["--platform", "--port", &port.to_string()];
        Script::start(place, &python, script, &arguments, &setting.transcript)
    };
    let server = start(&setting.debuggee, "debuggee/lldb_server.py");
    if let Err(Missing(why)) = server.port() {
        return skip(&why);
    }
    // It is open beside lldb only while the platform listens.
    pair.listener.forward(port);
    // The server goes on until it is dropped.
    if let Err(Missing(why)) = start(&setting.ide, "ide/lldb_remote.py").seen() {
        skip(&why);
    }
}
