//! What runs on this host and may be debugged: which debuggers listen where, and having one attach to a program.
//!
//! It looks at the table of processes (`/proc` of Linux). What it runs are the debuggers' own tools, by their arguments
//! and never by a shell; a process is named by number and start, so that no other takes its place. Only what belongs to
//! this process' own user is listed or attached to. Elsewhere than on Linux nothing is seen, and nothing attached to.

#[cfg(target_os = "linux")]
mod adapters;
mod consent;
mod conversation;
#[cfg(target_os = "linux")]
mod debuggable_programs;
#[cfg(target_os = "linux")]
mod elf;
mod listening;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod ptrace_permission;
#[cfg(target_os = "linux")]
mod python_name;
mod service;
#[cfg(target_os = "linux")]
mod tcp_nodelay;
#[cfg(target_os = "linux")]
mod tool_choice;
#[cfg(target_os = "linux")]
mod tools;
#[cfg(all(test, target_os = "linux"))]
#[path = "../../../tests/harness/written_programs.rs"]
mod written_programs;

use std::pin::Pin;

use p2pdbg_base::Descriptors;
use p2pdbg_debugger::Preset;
use p2pdbg_proto::attach::Tool;
use p2pdbg_proto::attach::{Program, Refusal, Wanted};

pub use consent::{Consent, Question};
pub use conversation::Conversation;
pub use listening::{ListeningDebugger, debuggers};
pub use service::Programs;

/// A debugger that has attached, or will when its IDE connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The id of the process that is debugged now.
    pub pid: u32,
    /// Its command line as one text, as it stands on the debuggee's host; it comes from there, so escape it before
    /// showing.
    pub command: String,
    /// The debugger that attached to it.
    pub debugger: Preset,
    /// The port of the loopback at which it awaits its IDE.
    pub port: u16,
}

/// What has to go on while a debugger is attached; dropped, the debugger lets the program go.
type GoesOn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The debugger by whose forward the IDE of a tool comes.
pub fn preset(tool: Tool) -> Preset {
    match tool {
        Tool::Debugpy => Preset::Debugpy,
        Tool::Node => Preset::Node,
        Tool::Jdwp => Preset::Jdwp,
        Tool::Delve => Preset::Delve,
        Tool::Gdbserver => Preset::Gdbserver,
    }
}

/// The programs that may be debugged, and how many more there are.
#[cfg(target_os = "linux")]
fn programs(meant: &str) -> Result<(Vec<Program>, usize), Refusal> {
    Ok(debuggable_programs::list(meant))
}

#[cfg(not(target_os = "linux"))]
fn programs(_meant: &str) -> Result<(Vec<Program>, usize), Refusal> {
    Err(Refusal::System)
}

/// Has a debugger attach, if the user of this host agrees.
#[cfg(target_os = "linux")]
async fn attach(
    wanted: &Wanted,
    consent: &Consent,
    descriptors: Descriptors,
) -> Result<(Attached, Option<GoesOn>), Refusal> {
    let process = process::find(wanted.pid).filter(|process| {
        process.started() == Some(wanted.started)
            && process.user() == process::user()
            && !process.is_self()
    });
    let process = process.ok_or(Refusal::Gone)?;
    let command = process.command_line().join(" ");
    let debugger = preset(wanted.tool);
    // Before anybody is asked: the peer asks again, for any port. The port may be this very program's debugger's.
    if wanted.port != 0
        && p2pdbg_net::listening::seen_on(wanted.port)
        && debuggable_programs::Listening::now().port_of(&process, debugger) != Some(wanted.port)
    {
        return Err(Refusal::PortTaken(wanted.port));
    }
    if !consent.ask(wanted.pid, command.clone(), debugger).await {
        return Err(Refusal::Declined);
    }
    // The answer may have taken a minute, and is good for what was shown alone.
    let is_same = process.started() == Some(wanted.started)
        && process.user() == process::user()
        && process.command_line().join(" ") == command;
    if !is_same {
        return Err(Refusal::Gone);
    }
    let (port, running) = tools::attach(&process, wanted.tool, wanted.port, descriptors).await?;
    let attached = Attached {
        pid: wanted.pid,
        command,
        debugger,
        port,
    };
    Ok((attached, running.goes_on(process)))
}

#[cfg(not(target_os = "linux"))]
async fn attach(
    _wanted: &Wanted,
    _consent: &Consent,
    _descriptors: Descriptors,
) -> Result<(Attached, Option<GoesOn>), Refusal> {
    Err(Refusal::System)
}
