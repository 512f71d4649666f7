//! The presets: a row for each debugger, in a file for each language.
//!
//! A new debugger is a line of `presets!`, with its row; the help text, completions, doctor and the IDEs'
//! configurations follow from it.

mod go;
mod jvm;
mod native;
mod node;
mod php;
mod python;
mod ruby;

use self::{
    go::DELVE,
    jvm::{JDWP, JDWP_LISTEN},
    native::{GDBSERVER, LLDB},
    node::NODE,
    php::XDEBUG,
    python::{DEBUGPY, DEBUGPY_CONNECT, PTVSD, PYDEVD},
    ruby::RDBG,
};
use crate::row::{Debugger, presets};

presets! {
    /// debugpy with `--listen`: VS Code, Visual Studio, nvim-dap, Zed, PyCharm over DAP.
    Debugpy => DEBUGPY,
    /// ptvsd, debugpy's predecessor.
    Ptvsd => PTVSD,
    /// gdbserver.
    Gdbserver => GDBSERVER,
    /// lldb-server in its gdbserver mode.
    Lldb => LLDB,
    /// delve, for Go.
    Delve => DELVE,
    /// A JVM with `server=y`.
    Jdwp => JDWP,
    /// node with `--inspect`.
    Node => NODE,
    /// Ruby's rdbg.
    Rdbg => RDBG,
    /// pydevd-pycharm: PyCharm's Python Debug Server.
    Pydevd => PYDEVD,
    /// debugpy with `--connect`.
    DebugpyConnect => DEBUGPY_CONNECT,
    /// A JVM with `server=n`.
    JdwpListen => JDWP_LISTEN,
    /// PHP's Xdebug.
    Xdebug => XDEBUG,
}

#[cfg(test)]
mod tests;
