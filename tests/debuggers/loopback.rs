//! On this host's loopback, without root.

use std::process::Command;

use crate::{
    harness::{Process, Setting, skip, traffic::say},
    scenario::{
        DEBUGPY, DEBUGPY_CONNECT, DEBUGPY_CONNECT_SUBPROCESSES, DEBUGPY_SUBPROCESSES, DELVE, First,
        GDB, JDWP, JDWP_LISTEN, LLDB, NODE, PTVSD, RDBG, SETTRACE, SETTRACE_PROCESSES, XDEBUG,
    },
};

#[test]
fn an_ide_attaches_to_debugpy() {
    DEBUGPY.through(&Setting::loopback(), First::Listener);
}

#[test]
fn an_ide_that_comes_before_debugpy_is_held() {
    DEBUGPY.through(&Setting::loopback(), First::Connector);
}

#[test]
fn an_ide_attaches_to_the_subprocesses_of_debugpy() {
    DEBUGPY_SUBPROCESSES.through(&Setting::loopback(), First::Listener);
}

#[test]
fn debugpy_connects_to_an_ide() {
    DEBUGPY_CONNECT.through(&Setting::loopback(), First::Listener);
}

#[test]
fn debugpy_that_comes_before_the_ide_is_held() {
    DEBUGPY_CONNECT.through(&Setting::loopback(), First::Connector);
}

#[test]
fn the_subprocesses_of_debugpy_connect_to_an_ide() {
    DEBUGPY_CONNECT_SUBPROCESSES.through(&Setting::loopback(), First::Listener);
}

#[test]
fn settrace_connects_to_a_debug_server() {
    SETTRACE.through(&Setting::loopback(), First::Listener);
}

#[test]
fn settrace_that_comes_before_the_debug_server_is_held() {
    SETTRACE.through(&Setting::loopback(), First::Connector);
}

#[test]
fn settrace_connects_to_a_debug_server_from_every_process() {
    SETTRACE_PROCESSES.through(&Setting::loopback(), First::Listener);
}

#[test]
fn gdb_connects_to_gdbserver() {
    GDB.through(&Setting::loopback(), First::Listener);
}

/// gdb repeats its question every two seconds, and would be out of step once all are answered: better not held.
#[test]
fn gdb_that_comes_before_gdbserver_is_refused_and_tries_again() {
    GDB.through(&Setting::loopback(), First::RefusedConnector);
}

#[test]
fn gdb_comes_to_gdbserver_by_a_pipe() {
    crate::pipe::gdb(&Setting::loopback());
}

#[test]
fn gdb_comes_by_a_pipe_to_a_gdbserver_that_knows_no_port() {
    crate::pipe::gdb_to_standard_input(&Setting::loopback());
}

#[test]
fn cpptools_come_by_a_pipe_to_a_gdb_at_the_other_end() {
    crate::pipe::gdb_at_the_other_end(&Setting::loopback());
}

#[test]
fn jdb_attaches_to_a_jvm() {
    JDWP.through(&Setting::loopback(), First::Listener);
}

#[test]
fn jdb_that_comes_before_the_jvm_is_held() {
    JDWP.through(&Setting::loopback(), First::Connector);
}

#[test]
fn a_jvm_connects_to_jdb() {
    JDWP_LISTEN.through(&Setting::loopback(), First::Listener);
}

#[test]
fn a_jvm_that_comes_before_jdb_is_held() {
    JDWP_LISTEN.through(&Setting::loopback(), First::Connector);
}

/// What an IDE does that was told to attach and tries until the port is open: it connects in the first moment of the
/// session, before the debuggee's end can know what the connection is for. It must be held, not reset.
#[test]
fn debuggers_that_connect_in_the_first_moment_of_a_session_are_held() {
    for kind in ["direct", "relay"] {
        let setting = Setting::loopback().with_path(kind);
        let (open, target) = (setting.port(), setting.port());
        let server = setting.debuggee.listen(target);
        let forward = format!("{open}:localhost:{target}");
        let listener = setting.listener().args(["-L", &forward]).start();
        let connector = setting.connector_with(&listener.code()).start();
        listener.forward(open);
        let opened: Vec<_> = (0..8).map(|_| setting.ide.connect(open)).collect();
        // What it says comes back.
        std::thread::spawn(move || {
            for dialled in server.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut &dialled, &mut &dialled));
            }
        });
        for connection in &opened {
            say(connection, connection, "hello");
        }
        drop(connector);
    }
}

#[test]
fn delves_client_connects_to_delve() {
    DELVE.through(&Setting::loopback(), First::Listener);
}

#[test]
fn lldb_connects_to_lldb_server() {
    LLDB.through(&Setting::loopback(), First::Listener);
}

#[test]
fn an_ide_attaches_to_nodes_inspector() {
    NODE.through(&Setting::loopback(), First::Listener);
}

#[test]
fn an_ide_attaches_to_rdbg() {
    RDBG.through(&Setting::loopback(), First::Listener);
}

#[test]
fn xdebug_connects_to_an_ide() {
    XDEBUG.through(&Setting::loopback(), First::Listener);
}

#[test]
fn xdebug_that_comes_before_the_ide_is_held() {
    XDEBUG.through(&Setting::loopback(), First::Connector);
}

/// The port is open until the second look that finds the IDE gone, and PHP comes meanwhile.
#[test]
fn php_that_comes_just_after_its_ide_has_gone_runs_on_without_one() {
    let modules = Command::new("php").arg("-m").output();
    if !modules.is_ok_and(|modules| String::from_utf8_lossy(&modules.stdout).contains("Xdebug")) {
        return skip("there is no PHP with Xdebug");
    }
    let setting = Setting::loopback();
    let (open, target) = (setting.port(), setting.port());
    let ide = setting.ide.listen(target);
    let forward = format!("{open}:localhost:{target}");
    let pair = setting.pair(["--absent", "refuse", "-R", &forward]);
    pair.connector.forward(open);
    let mut command = setting.debuggee.command("php");
    let port = format!("xdebug.client_port={open}");
    for option in ["xdebug.mode=debug", "xdebug.start_with_request=yes", &port] {
        command.args(["-d", option]);
    }
    command.args(["-r", "echo 'served', PHP_EOL;"]);
    drop(ide);
    let mut php = Process::start("php", command, &setting.transcript);
    php.line("served");
    assert_eq!(php.exit_status(), 0);
}

#[test]
fn an_ide_that_comes_before_nodes_inspector_is_held() {
    NODE.through(&Setting::loopback(), First::Connector);
}

#[test]
fn an_ide_attaches_to_ptvsd() {
    PTVSD.through(&Setting::loopback(), First::Listener);
}
