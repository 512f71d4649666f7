//! What is said about programs that run at the debuggee's host: which there are, and that a debugger is to attach.
//!
//! A conversation is a stream of the session, opened by the listener, that belongs to the forward [`FORWARD`], as those
//! about sources do ([`crate::sources`]). It consists of [`crate::frame`]s of [`AttachMessage`]; the opener asks, and
//! each question has one answer.

use serde::{Deserialize, Serialize};

/// The number of the forward that stands for conversations about programs.
pub const FORWARD: u16 = u16::MAX - 1;

/// The most programs in a list.
pub const MAX_LISTED: usize = 128;

/// The longest command line in a list, in bytes.
pub const MAX_COMMAND: usize = 256;

/// The longest explanation, in bytes.
pub const MAX_WHY: usize = 600;

/// What the two ends say in a conversation about processes: a question by the listener, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachMessage {
    /// Asks which programs run there that may be debugged.
    List {
        /// Only those with this process id, or this in their command lines; empty for all. No longer than
        /// [`MAX_COMMAND`].
        meant: String,
    },
    /// The answer to `List`, in one message however many there are.
    Listed {
        /// Some of them, those that are best debugged first.
        programs: Vec<Program>,
        /// How many more there are.
        more: u32,
    },
    /// Asks for a debugger to attach to a program.
    Attach(Wanted),
    /// The answer: it has attached, or will when its IDE connects.
    Attached {
        /// The port of the debuggee's loopback at which it awaits its IDE.
        port: u16,
    },
    /// The answer to either question: it cannot be.
    Refused(Refusal),
}

/// A program that runs at the connector's host and may be debugged there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its process id at the connector's host.
    pub pid: u32,
    /// When it was started, in ticks since the host was: with the process id it names this very process.
    pub started: u64,
    /// The debugger that suits it.
    pub tool: Tool,
    /// Its command line, cut to [`MAX_COMMAND`]: for people, and of a stranger.
    pub command: String,
    /// The port at which a debugger of it awaits its IDE already.
    pub port: Option<u16>,
}

/// What is to be debugged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The process id that `List` named it by.
    pub pid: u32,
    /// When it was started, as it was listed.
    pub started: u64,
    /// The debugger that is to attach.
    pub tool: Tool,
    /// The port at which it should await its IDE, where it can be chosen; 0 for any that is free.
    pub port: u16,
}

/// A debugger that can attach to what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tool {
    /// `python -m debugpy --pid`.
    Debugpy,
    /// node's own inspector, which SIGUSR1 starts.
    Node,
    /// A JVM's own agent, which `jcmd` starts if the JVM was told so at its start.
    Jdwp,
    /// Go: `dlv attach`.
    Delve,
    /// C, C++, Rust and whatever else gdb knows: `gdbserver --attach`.
    Gdbserver,
}

/// Why a debugger does not attach, or nothing is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The connector's user has not asked for it.
    NotAccepted,
    /// There is no such process any more, or it is not the user's.
    Gone,
    /// The system lets no process be traced but its own children: the value of Yama's `ptrace_scope`.
    TracingForbidden(u8),
    /// Another process traces it already: the process id of that one.
    Traced(u32),
    /// It runs in a container of its own.
    Container,
    /// A program that is needed is not installed there.
    Missing(String),
    /// The program does not take a debugger now that it runs: what it would have had to be started with.
    StartedWithout(String),
    /// Something else has the port.
    PortTaken(u16),
    /// It was tried, and failed for this reason.
    Failed(String),
    /// It cannot be done on this system.
    System,
    /// The connector's user was asked, and has not agreed.
    Declined,
}
