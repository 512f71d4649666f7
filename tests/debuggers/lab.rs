//! Through two port-restricted NATs of the kernel, 40 ms apart: directly, and with the direct path forbidden.

use std::time::Duration;

use p2pdbg_events::{PathKind, WarningCode};
use p2pdbg_natlab::{Lab, NatKind, TwoNats};

use crate::{
    harness::{Pair, Place, Setting},
    scenario::{
        DEBUGPY, DEBUGPY_AS_DELVE, DEBUGPY_CONNECT, DEBUGPY_CONNECT_SUBPROCESSES,
        DEBUGPY_SUBPROCESSES, DELVE, First, GDB, JDWP, JDWP_LISTEN, LLDB, NODE, NODE_BY_PACKAGE,
        PTVSD, RDBG, SETTRACE, SETTRACE_PROCESSES, Scenario, XDEBUG,
    },
};

/// On each of the three links to the internet, so that the peers are 40 ms apart and back.
const DELAY: Duration = Duration::from_millis(10);

pub(crate) fn two_nats(name: &str) -> Option<TwoNats> {
    let lab = Lab::new_or_skip(name)?;
    let nat = NatKind::PORT_RESTRICTED;
    Some(TwoNats::new(lab, nat, nat, DELAY).unwrap())
}

/// A session of the two hosts behind NATs.
pub(crate) fn setting(lab: &TwoNats) -> Setting {
    let place = |host: &p2pdbg_natlab::Host| Place::Node((**host).clone());
    let address = lab.rdv.ip().into();
    Setting::of(
        place(&lab.ide),
        place(&lab.debuggee),
        place(&lab.rdv),
        address,
    )
}

/// The session begins on the relay, and the path becomes direct while the debuggers talk.
#[track_caller]
fn directly(name: &str, scenario: &Scenario, first: First) {
    let Some(lab) = two_nats(name) else { return };
    let setting = setting(&lab);
    if let Some(pair) = scenario.through(&setting, first) {
        pair.listener.path(PathKind::Direct);
        pair.connector.path(PathKind::Direct);
    }
}

#[track_caller]
fn relayed(name: &str, scenario: &Scenario, first: First) {
    let Some(lab) = two_nats(name) else { return };
    let setting = setting(&lab).with_path("relay");
    let relayed = |pair: Pair| {
        for peer in [&pair.listener, &pair.connector] {
            let paths = peer.paths();
            assert!(!paths.is_empty());
            assert!(
                paths.iter().all(|path| path.kind == PathKind::Relay),
                "{paths:?}"
            );
        }
    };
    scenario.through(&setting, first).map(relayed);
}

#[test]
fn an_ide_attaches_to_debugpy_directly() {
    directly("dap-d", &DEBUGPY, First::Listener);
}

#[test]
fn an_ide_attaches_to_debugpy_relayed() {
    relayed("dap-r", &DEBUGPY, First::Listener);
}

#[test]
fn an_ide_attaches_to_the_subprocesses_of_debugpy_directly() {
    directly("daps-d", &DEBUGPY_SUBPROCESSES, First::Listener);
}

#[test]
fn an_ide_attaches_to_the_subprocesses_of_debugpy_relayed() {
    relayed("daps-r", &DEBUGPY_SUBPROCESSES, First::Listener);
}

#[test]
fn debugpy_connects_to_an_ide_directly() {
    directly("dapc-d", &DEBUGPY_CONNECT, First::Listener);
}

#[test]
fn debugpy_connects_to_an_ide_relayed() {
    relayed("dapc-r", &DEBUGPY_CONNECT, First::Listener);
}

#[test]
fn the_subprocesses_of_debugpy_connect_to_an_ide_directly() {
    directly("dapcs-d", &DEBUGPY_CONNECT_SUBPROCESSES, First::Listener);
}

#[test]
fn the_subprocesses_of_debugpy_connect_to_an_ide_relayed() {
    relayed("dapcs-r", &DEBUGPY_CONNECT_SUBPROCESSES, First::Listener);
}

#[test]
fn settrace_connects_to_a_debug_server_directly() {
    directly("pyd-d", &SETTRACE, First::Listener);
}

#[test]
fn settrace_connects_to_a_debug_server_relayed() {
    relayed("pyd-r", &SETTRACE, First::Listener);
}

#[test]
fn settrace_that_comes_before_the_debug_server_is_held_directly() {
    directly("pyd-de", &SETTRACE, First::Connector);
}

#[test]
fn settrace_that_comes_before_the_debug_server_is_held_relayed() {
    relayed("pyd-re", &SETTRACE, First::Connector);
}

#[test]
fn settrace_connects_to_a_debug_server_from_every_process_directly() {
    directly("pyds-d", &SETTRACE_PROCESSES, First::Listener);
}

#[test]
fn settrace_connects_to_a_debug_server_from_every_process_relayed() {
    relayed("pyds-r", &SETTRACE_PROCESSES, First::Listener);
}

#[test]
fn gdb_connects_to_gdbserver_directly() {
    directly("gdb-d", &GDB, First::Listener);
}

#[test]
fn gdb_connects_to_gdbserver_relayed() {
    relayed("gdb-r", &GDB, First::Listener);
}

#[test]
fn gdb_comes_to_gdbserver_by_a_pipe() {
    let Some(lab) = two_nats("pipe") else { return };
    crate::pipe::gdb(&setting(&lab));
}

#[test]
fn jdb_attaches_to_a_jvm_directly() {
    directly("jdy-d", &JDWP, First::Listener);
}

#[test]
fn jdb_attaches_to_a_jvm_relayed() {
    relayed("jdy-r", &JDWP, First::Listener);
}

#[test]
fn a_jvm_connects_to_jdb_directly() {
    directly("jdn-d", &JDWP_LISTEN, First::Listener);
}

#[test]
fn a_jvm_connects_to_jdb_relayed() {
    relayed("jdn-r", &JDWP_LISTEN, First::Listener);
}

#[test]
fn an_ide_attaches_to_ptvsd_directly() {
    directly("ptv-d", &PTVSD, First::Listener);
}

/// It works all the same, and says what would be right.
#[test]
fn a_debugger_that_is_not_what_the_preset_says_is_told_of() {
    let Some(lab) = two_nats("other") else { return };
    let Some(pair) = DEBUGPY_AS_DELVE.through(&setting(&lab), First::Listener) else {
        return;
    };
    let warning = pair.listener.warning(WarningCode::DebuggerMismatch);
    assert!(warning.message.contains("for delve"), "{warning:?}");
    assert!(warning.message.contains("debugpy"), "{warning:?}");
    let hint = warning.hint.unwrap();
    assert!(hint.contains("p2pdbg listen debugpy"), "{hint}");
}

#[test]
fn delves_client_connects_to_delve_directly() {
    directly("dlv-d", &DELVE, First::Listener);
}

#[test]
fn lldb_connects_to_lldb_server_directly() {
    directly("lldb-d", &LLDB, First::Listener);
}

#[test]
fn an_ide_attaches_to_nodes_inspector_directly() {
    directly("node-d", &NODE, First::Listener);
}

#[test]
fn chrome_remote_interface_attaches_to_node_directly() {
    directly("cri-d", &NODE_BY_PACKAGE, First::Listener);
}

#[test]
fn an_ide_attaches_to_rdbg_directly() {
    directly("rdbg-d", &RDBG, First::Listener);
}

#[test]
fn xdebug_connects_to_an_ide_directly() {
    directly("xdb-d", &XDEBUG, First::Listener);
}

#[test]
fn the_debuggee_may_be_on_the_public_host_itself() {
    let Some(lab) = two_nats("public") else {
        return;
    };
    let place = |host: &p2pdbg_natlab::Host| Place::Node((**host).clone());
    let address = lab.rdv.ip().into();
    let setting = Setting::of(place(&lab.ide), place(&lab.rdv), place(&lab.rdv), address);
    if let Some(pair) = DEBUGPY.through(&setting, First::Listener) {
        pair.listener.path(PathKind::Direct);
        pair.connector.path(PathKind::Direct);
    }
}
