//! Which debugger's tool attaches to a program, by the name of its executable file and what is in it.

use std::path::Path;

use p2pdbg_proto::attach::Tool;

use crate::{elf::is_go, python_name::is_python};

/// The debugger that suits a program by the name of its executable file.
pub(crate) fn tool_for(name: &str, executable: &Path) -> Tool {
    // What is for uWSGI is said when debugpy is to attach: gdb is seldom meant.
    if is_python(name) || name.starts_with("uwsgi") {
        Tool::Debugpy
    } else if is_node(name) {
        Tool::Node
    } else if name == "java" {
        Tool::Jdwp
    } else if is_go(executable) {
        Tool::Delve
    } else {
        Tool::Gdbserver
    }
}

/// Whether an executable file is node's by its name: Fedora's `/usr/bin/node` leads to one with its version, `node-22`.
fn is_node(name: &str) -> bool {
    let is_version = |version: &str| {
        !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    matches!(name, "node" | "nodejs") || name.strip_prefix("node-").is_some_and(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_follows_from_the_name_of_the_executable() {
        let none = Path::new("/nowhere");
        for (name, tool) in [
            ("python", Tool::Debugpy),
            ("python3.11", Tool::Debugpy),
            ("python3.14t", Tool::Debugpy),
            ("python3.13d", Tool::Debugpy),
            ("pypy3", Tool::Debugpy),
            ("uwsgi", Tool::Debugpy),
            ("python-config", Tool::Gdbserver),
            ("node", Tool::Node),
            ("nodejs", Tool::Node),
            ("node-22", Tool::Node),
            ("node-gyp", Tool::Gdbserver),
            ("node-", Tool::Gdbserver),
            ("java", Tool::Jdwp),
            ("nginx", Tool::Gdbserver),
        ] {
            assert_eq!(tool_for(name, none), tool, "{name}");
        }
    }
}
