//! The debuggers that p2pdbg knows by name: which end listens, on which port, and how each is started.
//!
//! A preset is notation for a forward with the same port at both ends, since debuggers tell each other port
//! numbers (debugpy's subprocesses dial the port that the client named). The commands shown here are hints
//! for people; nothing runs them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Direction;

/// A debugger's way of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// debugpy with `--listen`: VS Code, Visual Studio, nvim-dap, Zed, PyCharm over DAP.
    Debugpy,
    /// ptvsd, debugpy's predecessor.
    Ptvsd,
    /// gdbserver.
    Gdbserver,
    /// lldb-server in its gdbserver mode.
    Lldb,
    /// delve, for Go.
    Delve,
    /// A JVM with `server=y`.
    Jdwp,
    /// node with `--inspect`.
    Node,
    /// Ruby's rdbg.
    Rdbg,
    /// pydevd-pycharm: PyCharm's Python Debug Server.
    Pydevd,
    /// debugpy with `--connect`.
    DebugpyConnect,
    /// A JVM with `server=n`.
    JdwpListen,
    /// PHP's Xdebug.
    Xdebug,
}

impl Preset {
    /// Every preset, in the order of the help text.
    pub const ALL: [Preset; 12] = [
        Preset::Debugpy,
        Preset::Ptvsd,
        Preset::Gdbserver,
        Preset::Lldb,
        Preset::Delve,
        Preset::Jdwp,
        Preset::Node,
        Preset::Rdbg,
        Preset::Pydevd,
        Preset::DebugpyConnect,
        Preset::JdwpListen,
        Preset::Xdebug,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Which way the connections go.
    pub fn direction(self) -> Direction {
        self.row().1
    }

    /// The port used when none is given: the debugger's own, or a customary one where it has none.
    pub fn default_port(self) -> u16 {
        self.row().2
    }

    /// The command, or the line of code, that starts the debuggee so that it uses `port`.
    pub fn start_debuggee(self, port: u16) -> String {
        self.row().3.replace("PORT", &port.to_string())
    }

    /// Whether its client must rather be refused than held while the debuggee does not listen.
    ///
    /// gdb repeats what is not answered within two seconds and gets out of step for good when all of it is answered at
    /// once later (seen with gdb 13.1: held for five seconds, it took the answers for those to other questions). It
    /// tries again by itself for 15 s when it is refused. lldb speaks the same protocol.
    pub fn must_not_be_held(self) -> bool {
        matches!(self, Self::Gdbserver | Self::Lldb)
    }

    fn row(self) -> (&'static str, Direction, u16, &'static str) {
        use Direction::{ToDebuggee, ToIde};
        match self {
            Self::Debugpy => (
                "debugpy",
                ToDebuggee,
                5678,
                "python -m debugpy --listen 127.0.0.1:PORT --wait-for-client app.py",
            ),
            Self::Ptvsd => (
                "ptvsd",
                ToDebuggee,
                5678,
                "python -m ptvsd --host 127.0.0.1 --port PORT --wait app.py",
            ),
            Self::Gdbserver => (
                "gdbserver",
                ToDebuggee,
                1234,
                "gdbserver 127.0.0.1:PORT ./app",
            ),
            Self::Lldb => (
                "lldb",
                ToDebuggee,
                1234,
                "lldb-server gdbserver 127.0.0.1:PORT -- ./app",
            ),
            Self::Delve => (
                "delve",
                ToDebuggee,
                2345,
                "dlv exec --headless --accept-multiclient --listen=127.0.0.1:PORT ./app",
            ),
            Self::Jdwp => (
                "jdwp",
                ToDebuggee,
                5005,
                "java -agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:PORT -jar app.jar",
            ),
            Self::Node => (
                "node",
                ToDebuggee,
                9229,
                "node --inspect-brk=127.0.0.1:PORT app.js",
            ),
            Self::Rdbg => (
                "rdbg",
                ToDebuggee,
                12345,
                "rdbg --open --host 127.0.0.1 --port PORT app.rb",
            ),
            Self::Pydevd => (
                "pydevd",
                ToIde,
                5678,
                "import pydevd_pycharm; pydevd_pycharm.settrace('127.0.0.1', port=PORT)",
            ),
            Self::DebugpyConnect => (
                "debugpy-connect",
                ToIde,
                5678,
                "python -m debugpy --connect 127.0.0.1:PORT app.py",
            ),
            Self::JdwpListen => (
                "jdwp-listen",
                ToIde,
                5005,
                "java -agentlib:jdwp=transport=dt_socket,server=n,suspend=y,address=127.0.0.1:PORT -jar app.jar",
            ),
            Self::Xdebug => (
                "xdebug",
                ToIde,
                9003,
                "php -d xdebug.mode=debug -d xdebug.start_with_request=yes -d xdebug.client_host=127.0.0.1 -d xdebug.client_port=PORT app.php",
            ),
        }
    }
}

/// A text that names no preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPreset;

impl FromStr for Preset {
    type Err = NotAPreset;

    fn from_str(text: &str) -> Result<Self, NotAPreset> {
        let mut all = Self::ALL.into_iter();
        all.find(|preset| preset.name() == text).ok_or(NotAPreset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_found_by_its_name_on_the_command_line_and_in_json() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
            let json = serde_json::to_string(&preset).unwrap();
            assert_eq!(json, format!("{:?}", preset.name()));
        }
    }

    #[test]
    fn every_start_command_carries_the_port_once_and_loopback_alone() {
        for preset in Preset::ALL {
            let command = preset.start_debuggee(40_123);
            assert_eq!(command.matches("40123").count(), 1, "{command}");
            assert_eq!(command.matches("127.0.0.1").count(), 1, "{command}");
            assert!(!command.contains("PORT"), "{command}");
        }
    }
}
