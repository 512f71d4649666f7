//! The scripts with nothing between their two ends: if one of these tests fails, a failure of the same debugger through
//! p2pdbg says nothing about p2pdbg.

use crate::scenario::{
    DEBUGPY, DEBUGPY_CONNECT, DEBUGPY_CONNECT_SUBPROCESSES, DEBUGPY_SUBPROCESSES, DELVE, GDB, JDWP,
    JDWP_LISTEN, LLDB, NODE, NODE_BY_PACKAGE, PTVSD, RDBG, SETTRACE, SETTRACE_PROCESSES, XDEBUG,
};

#[test]
fn an_ide_attaches_to_debugpy() {
    DEBUGPY.bare();
}

#[test]
fn an_ide_attaches_to_the_subprocesses_of_debugpy() {
    DEBUGPY_SUBPROCESSES.bare();
}

#[test]
fn debugpy_connects_to_an_ide() {
    DEBUGPY_CONNECT.bare();
}

#[test]
fn the_subprocesses_of_debugpy_connect_to_an_ide() {
    DEBUGPY_CONNECT_SUBPROCESSES.bare();
}

#[test]
fn settrace_connects_to_a_debug_server() {
    SETTRACE.bare();
}

#[test]
fn settrace_connects_to_a_debug_server_from_every_process() {
    SETTRACE_PROCESSES.bare();
}

#[test]
fn gdb_connects_to_gdbserver() {
    GDB.bare();
}

#[test]
fn jdb_attaches_to_a_jvm() {
    JDWP.bare();
}

#[test]
fn a_jvm_connects_to_jdb() {
    JDWP_LISTEN.bare();
}

#[test]
fn delves_client_connects_to_delve() {
    DELVE.bare();
}

#[test]
fn lldb_connects_to_lldb_server() {
    LLDB.bare();
}

#[test]
fn an_ide_attaches_to_nodes_inspector() {
    NODE.bare();
}

#[test]
fn chrome_remote_interface_attaches_to_node() {
    NODE_BY_PACKAGE.bare();
}

#[test]
fn an_ide_attaches_to_rdbg() {
    RDBG.bare();
}

#[test]
fn xdebug_connects_to_an_ide() {
    XDEBUG.bare();
}

#[test]
fn an_ide_attaches_to_ptvsd() {
    PTVSD.bare();
}
