//! Which programs of this user run here and may be debugged.

use std::cell::OnceCell;

use p2pdbg_debugger::Preset;
use p2pdbg_net::listening::{self, ListeningSocket};
use p2pdbg_proto::attach::{MAX_COMMAND, MAX_LISTED, Program, Tool};

use crate::{
    adapters::{Adapter, adapters},
    preset,
    process::{self, Process},
    tool_choice::tool_for,
};

/// The programs that are meant by a process id or a part of the command line (all by none), those that are best
/// debugged first, and how many more there are.
pub(crate) fn list(meant: &str) -> (Vec<Program>, usize) {
    let listening = Listening::now();
    let own = process::user();
    let mut programs: Vec<Program> = process::all()
        .filter(|process| process.user() == own && !process.is_self())
        .filter(|process| is_meant(process, meant))
        .filter_map(|process| program(&process, &listening))
        .collect();
    programs.sort_by_key(|program| (program.tool == Tool::Gdbserver, program.pid));
    let more = programs.len().saturating_sub(MAX_LISTED);
    programs.truncate(MAX_LISTED);
    (programs, more)
}

fn is_meant(process: &Process, meant: &str) -> bool {
    match meant.parse::<u32>() {
        Ok(pid) => process.pid() == pid,
        Err(_) => process.command_line().join(" ").contains(meant),
    }
}

/// A process as it is listed, unless it is the kernel's, a debugger, or gone.
fn program(process: &Process, listening: &Listening) -> Option<Program> {
    let command_line = process.command_line();
    let name = process.executable_name()?;
    if command_line.is_empty() || is_debugger(&name, &command_line) {
        return None;
    }
    let tool = tool_for(&name, &process.executable_link());
    let preset = preset(tool);
    let port = listening.port_of(process, preset);
    Some(Program {
        pid: process.pid(),
        started: process.started()?,
        tool,
        command: shortened(&command_line.join(" ")),
        port,
    })
}

/// Whether a process is a debugger's own, or p2pdbg.
pub(crate) fn is_debugger(name: &str, command_line: &[String]) -> bool {
    let has = |part: &str| command_line.iter().any(|word| word.ends_with(part));
    matches!(
        name,
        "gdbserver" | "lldb-server" | "dlv" | "gdb" | "lldb" | "p2pdbg"
    ) || has("debugpy/adapter")
        || has("debugpy.adapter")
}

/// What listens on this host, as it was at one moment.
pub(crate) struct Listening {
    sockets: Vec<ListeningSocket>,
    /// Those of debugpy, looked for when a program of Python is.
    adapters: OnceCell<Vec<Adapter>>,
}

impl Listening {
    /// What listens now.
    pub(crate) fn now() -> Self {
        Self {
            sockets: listening::all(),
            adapters: OnceCell::new(),
        }
    }

    /// The port at which a process awaits the IDE of a debugger, itself or by debugpy's adapter.
    pub(crate) fn port_of(&self, process: &Process, preset: Preset) -> Option<u16> {
        let words = process.words();
        let debugger = preset.debugger();
        let fits = |socket: &&ListeningSocket| debugger.listens_as(&words, socket.address.port());
        let mut fitting = self.sockets.iter().filter(fits).peekable();
        if fitting.peek().is_some() {
            let inodes = process.sockets();
            if let Some(found) = fitting.find(|socket| inodes.contains(&socket.inode)) {
                return Some(found.address.port());
            }
        }
        match preset {
            Preset::Debugpy => self.port_of_adapter(process),
            _ => None,
        }
    }

    fn port_of_adapter(&self, process: &Process) -> Option<u16> {
        let adapters = self.adapters.get_or_init(|| adapters(&self.sockets));
        if adapters.is_empty() {
            return None;
        }
        let inodes = process.sockets();
        let mut its = adapters.iter().filter(|adapter| {
            let mut ends = adapter.debuggees.iter();
            ends.any(|end| inodes.contains(&end.inode))
        });
        its.next().map(|adapter| adapter.port)
    }
}

/// No more of a command line than is listed, cut between characters.
fn shortened(command: &str) -> String {
    let mut end = command.len().min(MAX_COMMAND);
    while !command.is_char_boundary(end) {
        end -= 1;
    }
    command[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::tests::{Pair, end};

    #[test]
    fn program_of_this_user_is_listed_with_its_command_line_and_this_one_is_not() {
        let mut child = std::process::Command::new("sleep")
            .arg("613")
            .spawn()
            .unwrap();
        // It is the same process that becomes `sleep`.
        while process::find(child.id()).unwrap().command_line() != ["sleep", "613"] {
            std::thread::yield_now();
        }
        let process = process::find(child.id()).unwrap();
        let listed = program(&process, &Listening::now()).unwrap();
        let (programs, _) = list("");
        let (meant, _) = list(&child.id().to_string());
        let (none, more) = list("no program is called so");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((listed.command.as_str(), listed.port), ("sleep 613", None));
        assert_eq!(listed.tool, Tool::Gdbserver);
        assert_eq!(meant, [listed]);
        assert_eq!((none.len(), more), (0, 0));
        assert!(programs.len() <= MAX_LISTED);
        assert!(
            programs
                .iter()
                .all(|program| program.pid != std::process::id())
        );
    }

    #[test]
    fn program_of_root_that_another_user_has_started_is_not_listed() {
        if process::user() != Some(0) {
            return eprintln!("left out: only root starts programs for another user");
        }
        let start = |user: &str| {
            let mut command = std::process::Command::new("setpriv");
            command
                .args(["--ruid", user, "sleep", "614"])
                .spawn()
                .unwrap()
        };
        let mut children = ["12345", "0"].map(start);
        for child in &children {
            while process::find(child.id()).unwrap().command_line() != ["sleep", "614"] {
                std::thread::yield_now();
            }
        }
        let is_listed = |child: &std::process::Child| {
            let (listed, _) = list(&child.id().to_string());
            !listed.is_empty()
        };
        let listed = children.each_ref().map(is_listed);
        children.iter_mut().for_each(end);
        assert_eq!(listed, [false, true]);
    }

    #[test]
    fn port_of_debugpys_adapter_is_that_of_the_program_which_it_has_a_connection_to() {
        let pair = Pair::new("debugpy");
        let other = Pair::new("database");
        let start = |socket| {
            let mut command = std::process::Command::new("tail");
            command.args(["-f", "/dev/null"]).stdin(socket);
            command.spawn().unwrap()
        };
        let mut children = [&pair, &other].map(|pair| start(pair.end()));
        let listening = Listening::now();
        let ports = [&children[0], &children[1], &pair.adapter].map(|child| {
            let process = process::find(child.id()).unwrap();
            listening.port_of(&process, Preset::Debugpy)
        });
        children.iter_mut().for_each(end);
        // The adapter's own is found by its own socket.
        assert_eq!(ports, [Some(pair.port), None, Some(pair.port)]);
    }

    #[test]
    fn command_line_is_cut_between_characters() {
        let long = "é".repeat(MAX_COMMAND);
        let cut = shortened(&long);
        assert!(cut.len() <= MAX_COMMAND && cut.chars().all(|c| c == 'é'));
    }
}
