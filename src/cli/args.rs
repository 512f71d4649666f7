//! What may be written on the command line. Help, completions and man pages are made from this.
//!
//! Values stay strings here: they may hold secrets, which clap would repeat in its messages, and they may
//! come from a variable or the configuration file as well. What has many options stands with what is made of them, in
//! a module of its own: `listen`, `connect`, what both have in `session`, `ide`, `doctor`.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::{Shell, engine::ArgValueCandidates};
use p2pdbg_base::version::FULL;

use super::{
    completion, connect::ConnectArgs, doctor::DoctorArgs, ide::IdeArgs, listen::ListenArgs,
};

const ABOUT: &str = "Connects a debugger to a program on another host when both sit behind NATs";

const EXAMPLES: &str = "\
Examples:
  Beside the IDE:            p2pdbg listen
  On the debuggee's host:    p2pdbg connect 482913-orbit-lemon-tiger

Both need to know the rendezvous: set P2PDBG_RENDEZVOUS to the URL that p2pdbg-rendezvous printed.

Exit status: 0 done, 1 failed, 2 usage, 3 code refused or expired,
4 rendezvous unreachable or refused, 130 on ^C; with COMMAND, its own.";

/// The command line as it was written; what it means is found out by [`CliCommand`]'s parts.
#[derive(Debug, Parser)]
#[command(name = "p2pdbg", version = FULL, about = ABOUT, after_help = EXAMPLES)]
#[command(max_term_width = 100)]
pub struct Cli {
    /// Log more to standard error: -v what is done, -vv why, -vvv everything (or set P2PDBG_LOG)
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 900)]
    pub verbose: u8,

    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// The commands, each with what was written for it.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run beside the IDE: prints a code, waits for the peer and opens the forwards
    Listen(ListenArgs),
    /// Run on the debuggee's host: connects to the peer that printed the code
    Connect(ConnectArgs),
    /// Keep the rendezvous' URL in the configuration file, so that it is given once
    Setup {
        /// What p2pdbg-rendezvous printed. Asked for if not given here, where other users of this host could see the
        /// key in it while the command runs
        url: Option<String>,
    },
    /// Examine this host's network: what it does to connections, and what to expect of it
    Doctor(DoctorArgs),
    /// Print the configuration that fits the running or last session, or merge it into a project
    Ide(IdeArgs),
    /// Show what the p2pdbg processes that you run here are doing
    Status(StatusArgs),
    /// Join standard input and output to a target at the debuggee, for IDEs that debug through a program
    Pipe(PipeArgs),
    /// Have a debugger attach to a program that runs at the debuggee, or list those that there are
    Attach(AttachArgs),
    /// Add a forward to the session that runs here, for a debugger at the debuggee that came later
    Forward(ForwardPortArgs),
    /// List the source files that differ from the debuggee's
    Sources(SourcesArgs),
    /// Copy source files to the debuggee's host, where p2pdbg connect --accept-push runs
    Push(PushArgs),
    /// Print a systemd unit that keeps this host reachable for a known peer, from the boot on
    #[cfg(unix)]
    Unit(UnitArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  p2pdbg completions bash > ~/.local/share/bash-completion/completions/p2pdbg"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page of p2pdbg or of a command, or write those of all commands to a directory
    Man {
        /// Where to write p2pdbg.1, p2pdbg-listen.1, …; or the command whose page is printed
        #[arg(value_name = "DIR|COMMAND", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// The arguments of `p2pdbg sources`.
#[derive(Debug, Args)]
pub struct SourcesArgs {
    /// The directory that is compared [default: the Git work tree around the working directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub sources: Option<PathBuf>,

    /// The peer, if there are sessions with several
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: Option<String>,
}

const ATTACH_EXAMPLES: &str = "\
It goes over the session of the p2pdbg listen that runs here, to a p2pdbg connect --accept-attach.
python -m debugpy --pid, node's inspector (SIGUSR1), dlv attach, gdbserver --attach, or, of a JVM
that was started with onjcmd=y, jcmd: whichever suits the program.

Examples:
  p2pdbg attach                           the programs of connect's user there
  p2pdbg attach 4242                      the program with this process id
  p2pdbg attach app.py                    the one with this in its command line
  p2pdbg attach 4242 --with gdbserver     by another debugger than suits it best

Exit status: 0 when the debugger awaits its IDE, at the port that is named, 1 otherwise.";

/// The arguments of `p2pdbg attach`.
#[derive(Debug, Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub struct AttachArgs {
    /// The program: its process id, or what stands in its command line alone [default: list them]
    #[arg(value_name = "PID|NAME")]
    pub program: Option<String>,

    /// Attach this debugger [default: the one that suits the program]
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "DEBUGGER",
        requires = "program"
    )]
    pub with: Option<AttachBy>,

    /// The peer, if there are sessions with several
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: Option<String>,
}

/// The arguments of `p2pdbg forward`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  p2pdbg forward node:9230                the inspector of a worker of node's cluster"
)]
pub struct ForwardPortArgs {
    /// The debugger and the port at which it listens at the debuggee; here it is the same port, or the next that is
    /// free
    #[arg(value_name = "DEBUGGER[:PORT]", add = ArgValueCandidates::new(completion::forwards))]
    pub forward: String,

    /// The peer, if there are sessions with several
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: Option<String>,
}

/// A debugger that can attach to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttachBy {
    /// To Python: python -m debugpy --pid
    Debugpy,
    /// To Node.js: its own inspector
    Node,
    /// To a JVM that was started with onjcmd=y
    Jdwp,
    /// To Go: dlv attach
    Delve,
    /// To any program: gdbserver --attach, for each gdb that comes
    Gdbserver,
}

const PUSH_EXAMPLES: &str = "\
Each file is put in its place whole or not at all. Nothing is deleted there.

Examples:
  p2pdbg push                             the files that differ, but for installed
                                          packages (node_modules, a venv)
  p2pdbg push app.py web                  these, whether they are there or not

Exit status: 0 when all of them are there, 1 otherwise.";

/// The arguments of `p2pdbg push`.
#[derive(Debug, Args)]
#[command(after_help = PUSH_EXAMPLES)]
pub struct PushArgs {
    /// Files and directories [default: the files that differ]
    #[arg(value_name = "PATHS", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,

    /// What both commands have.
    #[command(flatten)]
    pub sources: SourcesArgs,
}

/// The arguments of `p2pdbg status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Stay, and show how it changes: paths, round-trip times and loss, debuggers; q ends it
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,

    /// Write one JSON object a line on standard output, one for each process
    #[arg(long)]
    pub json: bool,
}

#[cfg(unix)]
const UNIT_EXAMPLES: &str = "\
The two hosts have to know each other from an earlier session, by a code.

Examples:
  p2pdbg unit --peer laptop > ~/.config/systemd/user/p2pdbg.service
  p2pdbg unit --peer laptop -- python -m debugpy --listen 127.0.0.1:5678 app.py";

/// The arguments of `p2pdbg unit`.
#[cfg(unix)]
#[derive(Debug, Args)]
#[command(after_help = UNIT_EXAMPLES)]
pub struct UnitArgs {
    /// The peer beside whose IDE p2pdbg listen runs
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: String,

    /// For the host, with a user of its own, rather than for your user
    #[arg(long)]
    pub system: bool,

    /// The program to run once the forwards stand, after --
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

const PIPE_EXAMPLES: &str = "\
It goes over the session of the p2pdbg listen that runs here.

Examples:
  gdb -ex 'target remote | p2pdbg pipe localhost:1234' ./app
  \"pipeTransport\": {\"pipeProgram\": \"p2pdbg\", \"pipeArgs\": [\"pipe\", \"localhost:4711\"], …}

Exit status: 0 when both directions have ended, 1 when the connection broke or could not be made.";

/// The arguments of `p2pdbg pipe`.
#[derive(Debug, Args)]
#[command(after_help = PIPE_EXAMPLES)]
pub struct PipeArgs {
    /// What is dialled at the debuggee: its loopback, or what p2pdbg connect was told to --allow there; with a / at the
    /// beginning, a Unix socket
    #[arg(value_name = "HOST:PORT")]
    pub target: String,

    /// The peer whose session it takes, if there are several
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: Option<String>,

    /// More arguments, which are ignored: IDEs append the command that they would run at the other end
    #[arg(
        value_name = "IGNORED",
        hide = true,
        allow_hyphen_values = true,
        trailing_var_arg = true
    )]
    pub ignored: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
