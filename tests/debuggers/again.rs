//! The next attach works, in the same session, whatever the one before has left: after both ends were there and have
//! gone, and after an end that gave up while it was held.

use crate::{
    harness::Setting,
    scenario::{
        DEBUGPY, DEBUGPY_CONNECT, DELVE, GDB, JDWP, JDWP_LISTEN, LLDB, NODE, PTVSD, RDBG, SETTRACE,
        XDEBUG,
    },
};

#[test]
fn debugpy_is_attached_to_again() {
    DEBUGPY.again(&Setting::loopback());
}

#[test]
fn debugpy_connects_again() {
    DEBUGPY_CONNECT.again(&Setting::loopback());
}

#[test]
fn settrace_comes_again() {
    SETTRACE.again(&Setting::loopback());
}

#[test]
fn ptvsd_is_attached_to_again() {
    PTVSD.again(&Setting::loopback());
}

#[test]
fn gdb_comes_again() {
    GDB.again(&Setting::loopback());
}

#[test]
fn lldb_comes_again() {
    LLDB.again(&Setting::loopback());
}

#[test]
fn delve_is_connected_to_again() {
    DELVE.again(&Setting::loopback());
}

#[test]
fn jdb_attaches_again() {
    JDWP.again(&Setting::loopback());
}

#[test]
fn jvm_connects_again() {
    JDWP_LISTEN.again(&Setting::loopback());
}

#[test]
fn nodes_inspector_is_attached_to_again() {
    NODE.again(&Setting::loopback());
}

#[test]
fn rdbg_is_attached_to_again() {
    RDBG.again(&Setting::loopback());
}

#[test]
fn xdebug_comes_again() {
    XDEBUG.again(&Setting::loopback());
}
