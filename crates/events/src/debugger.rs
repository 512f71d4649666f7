//! What was seen of a debugger, as it is reported.

use std::fmt;

use p2pdbg_base::Untrusted;
use serde::{Deserialize, Serialize};

/// A debugger, by what it and its IDE say to each other. Both may lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DebuggerReport {
    /// What is spoken: `dap`, `pydevd`, `dbgp`, `gdb-remote`, `jdwp`, `cdp`, `delve`, `rdbg` or `tls`.
    pub protocol: String,
    /// What the debugger calls itself: `debugpy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Untrusted>,
    /// Its version, in its own words: `1.8.22`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Untrusted>,
    /// What runs the program, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Untrusted>,
    /// The process id of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What the IDE calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ide: Option<Untrusted>,
    /// What the program is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramState>,
    /// The file in which it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Untrusted>,
    /// The line in that file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// How many round trips the last step took; beside the IDE alone, since it cannot be seen elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_round_trips: Option<u32>,
}

/// What a program that is debugged is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramState {
    /// Running: a breakpoint that is hit would stop it.
    Running,
    /// Stopped, at a breakpoint or since somebody asked: it waits for its IDE.
    Stopped,
    /// Ended; its debugger may still be there.
    Ended,
}

/// `debugpy 1.8.22, Python 3.11, pid 4242, stopped at app.py:17`.
impl fmt::Display for DebuggerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.version) {
            (Some(name), Some(version)) => write!(f, "{name} {version}")?,
            (Some(name), None) => write!(f, "{name}")?,
            (None, _) => f.write_str(&self.protocol)?,
        }
        if let Some(runtime) = &self.runtime {
            write!(f, ", {runtime}")?;
        }
        if let Some(pid) = self.pid {
            write!(f, ", pid {pid}")?;
        }
        match (self.program, &self.file, self.line) {
            (Some(ProgramState::Stopped), Some(file), Some(line)) => {
                let file = file.as_str();
                let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
                write!(f, ", stopped at {name}:{line}")
            }
            (Some(ProgramState::Stopped), _, _) => f.write_str(", stopped"),
            (Some(ProgramState::Running), _, _) => f.write_str(", running"),
            (Some(ProgramState::Ended), _, _) => f.write_str(", ended"),
            (None, _, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debugger_is_told_in_one_line_that_moves_no_cursor() {
        let mut report = DebuggerReport {
            protocol: "dap".to_owned(),
            name: Some(Untrusted::new("debugpy")),
            version: Some(Untrusted::new("1.8.22")),
            runtime: Some(Untrusted::new("Python 3.11")),
            pid: Some(4242),
            ide: None,
            program: Some(ProgramState::Stopped),
            file: Some(Untrusted::new("/srv/app/app.py")),
            line: Some(17),
            step_round_trips: None,
        };
        let text = "debugpy 1.8.22, Python 3.11, pid 4242, stopped at app.py:17";
        assert_eq!(report.to_string(), text);
        report.file = Some(Untrusted::new("C:\\work\\a\u{1b}[2J.py"));
        assert!(report.to_string().ends_with(r"stopped at u{1b}[2J.py:17"));
        report.name = None;
        report.runtime = None;
        report.pid = None;
        report.program = Some(ProgramState::Running);
        assert_eq!(report.to_string(), "dap, running");
    }
}
