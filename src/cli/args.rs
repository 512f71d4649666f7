//! What may be written on the command line. Help, completions and man pages are made from this.
//!
//! Values stay strings here: they may hold secrets, which clap would repeat in its messages, and they may
//! come from a variable or the configuration file as well. `resolve` parses them all alike.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::{
    Shell,
    engine::{ArgValueCandidates, ArgValueCompleter},
};
use p2pdbg_base::{Absent, PathPolicy, version::FULL};

use super::{completion, doctor::DoctorArgs, forward_args::ForwardArgs};
use crate::ide::Ide;

const ABOUT: &str = "Connects a debugger to a program on another host when both sit behind NATs";

const EXAMPLES: &str = "\
Examples:
  Beside the IDE:            p2pdbg listen
  On the debuggee's host:    p2pdbg connect 482913-orbit-lemon-tiger

Both need to know the rendezvous: set P2PDBG_RENDEZVOUS to the URL that p2pdbg-rendezvous printed.

Exit status: 0 done, 1 failed, 2 usage, 3 code refused or expired,
4 rendezvous unreachable or refused, 130 on ^C; with COMMAND, its own.";

const LISTEN_EXAMPLES: &str = "\
FORWARD is auto or a debugger, each with an optional :PORT (the same at both ends):
  the debuggee listens (-L)   debugpy 5678, ptvsd 5678, gdbserver 1234, lldb 1234,
                              delve 2345, jdwp 5005, node 9229, rdbg 12345
  the IDE listens (-R)        pydevd 5678, debugpy-connect 5678, jdwp-listen 5005,
                              xdebug 9003
  auto (5678)                 -R if something beside the IDE listens on the port
                              already, else -L; used if no forward is given

Examples:
  p2pdbg listen                           prints a code for the other side
  p2pdbg listen debugpy:5679              another port, at both ends
  p2pdbg listen pydevd -L 8000:localhost:8000
  p2pdbg listen --peer web-1              a peer known from before: no code
  p2pdbg listen --peers 3 --map db=5700   three at once, on ports 5678, 5679 and, for the
                                          one that is called db, 5700

Exit status: 130 on ^C, which is how it ends if all goes well. With several peers the end
or failure of one is reported and ends nothing else.";

const CONNECT_EXAMPLES: &str = "\
Examples:
  p2pdbg connect 482913-orbit-lemon-tiger
  p2pdbg connect --peer laptop            a peer known from before: no code
  p2pdbg connect CODE -- python app.py    run it once the forwards stand, with
                                          START_DEBUGGER=1, DEBUGGER_HOST and
                                          DEBUGGER_PORT (and DEBUGGER_MODE: listen or
                                          connect) set; ends with its status
  p2pdbg connect CODE --allow db:5432     let the peer dial db:5432 through here";

const IDE_EXAMPLES: &str = "\
Ports, direction and path mappings come from the p2pdbg listen that runs on this
host, or the one that ran last.

Examples:
  p2pdbg ide vscode                       prints launch.json and tasks.json
  p2pdbg ide vscode --write               merges them into .vscode, comments kept
  p2pdbg ide pycharm --write --dir ~/app";

/// The whole command line.
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

/// What to do.
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
    /// Print the manual page of p2pdbg, or write those of all commands to a directory
    Man {
        /// Where to write p2pdbg.1, p2pdbg-listen.1, …
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// The arguments of `p2pdbg listen`.
#[derive(Debug, Args)]
#[command(after_help = LISTEN_EXAMPLES)]
pub struct ListenArgs {
    /// What is forwarded.
    #[command(flatten)]
    pub forwards: ForwardArgs,

    /// Wait for the peer of this name, known from an earlier session, instead of making a code. Repeatable
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: Vec<String>,

    /// Let in so many peers at once, up to 16: each by a code of its own, one shown after the other, or by --peer.
    /// The forwards of each further one open the next free ports here [default: one, or as many as --peer names]
    #[arg(long, value_name = "N")]
    pub peers: Option<String>,

    /// Open these ports here for the forwards of the peer of this name, in their order. Repeatable
    #[arg(long, value_name = "NAME=PORT[,PORT...]")]
    pub map: Vec<String>,

    /// Forward further ports as debuggers come to listen there: the workers of node's cluster (seen on Linux)
    #[arg(long)]
    pub follow_ports: bool,

    /// What a forward does while nothing listens at its far end [default: hold; refuse for gdbserver and lldb]
    #[arg(long, value_enum, value_name = "HOW")]
    pub absent: Option<Absent>,

    /// What both commands have.
    #[command(flatten)]
    pub session: SessionArgs,
}

/// The arguments of `p2pdbg connect`.
#[derive(Debug, Args)]
#[command(after_help = CONNECT_EXAMPLES)]
pub struct ConnectArgs {
    /// The code that `p2pdbg listen` printed; it works once. Taken from P2PDBG_CODE if not given here,
    /// where other users of this host could see it, and else asked for
    // In as many words as it has parts, for those who type it with blanks; what else stands there gets a line that
    // helps.
    #[arg(value_name = "CODE", num_args = 0.., conflicts_with = "peer")]
    #[arg(add = ArgValueCompleter::new(completion::code_words))]
    pub code: Vec<String>,

    /// Forwards, which belong to the other end: taken to say so.
    #[arg(short = 'L', short_alias = 'R', value_name = "SPEC", hide = true)]
    pub forwards: Vec<String>,

    /// Connect to the peer of this name, known from an earlier session, without a code
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: Option<String>,

    /// What both commands have.
    #[command(flatten)]
    pub session: SessionArgs,

    /// Let the peer's p2pdbg push put files into this directory, and nowhere else
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub accept_push: Option<PathBuf>,

    /// Let the peer's p2pdbg attach have debuggers attach to programs of this user that run here; on a terminal, and
    /// without COMMAND or --json, each time asks first
    #[cfg(unix)]
    #[arg(long)]
    pub accept_attach: bool,

    /// End when the process with this id ends, however it ends: for a program that starts its own tunnel
    #[cfg(unix)]
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,

    /// The program to run once the forwards stand, after --
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// The arguments of `p2pdbg ide`.
#[derive(Debug, Args)]
#[command(after_help = IDE_EXAMPLES)]
pub struct IdeArgs {
    /// The IDE
    #[arg(value_enum, value_name = "IDE")]
    pub ide: Ide,

    /// Merge it into the project; nothing else in its files is touched
    #[arg(long)]
    pub write: bool,

    /// The project [default: the working directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,

    /// Take the session with the peer of this name
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::peers))]
    pub peer: Option<String>,

    /// Where p2pdbg listen keeps its state [default: p2pdbg in the user's state directory]
    #[arg(
        long,
        value_name = "STATE",
        value_hint = ValueHint::DirPath,
        env = "P2PDBG_STATE",
        hide_env_values = true
    )]
    pub state: Option<OsString>,
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
    #[arg(long, value_enum, value_name = "DEBUGGER", requires = "program")]
    pub with: Option<AttachBy>,

    /// The peer, if there are sessions with several
    #[arg(long, value_name = "NAME")]
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
  p2pdbg push                             the files that differ
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
    /// What is dialled at the debuggee: its loopback, or what p2pdbg connect was told to --allow there
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

/// What both commands have.
#[derive(Debug, Args)]
pub struct SessionArgs {
    /// Where the peers meet.
    // Not the doc comment: rustdoc takes the brackets for links.
    #[arg(
        long,
        value_name = "URL",
        env = "P2PDBG_RENDEZVOUS",
        hide_env_values = true,
        help = "Where the peers meet: p2pdbg://[KEY@]HOST[:PORT][#FINGERPRINT], as p2pdbg-rendezvous prints it. \
                A key given here can be seen by other users of this host: rather use the variable or the file"
    )]
    pub rendezvous: Option<String>,

    /// What this host calls itself towards the peer [default: its host name]
    #[arg(long, value_name = "NAME", env = "P2PDBG_NAME", hide_env_values = true)]
    pub name: Option<String>,

    /// Let the peer dial HOST:PORT from here; loopback is always allowed. Repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub allow: Vec<String>,

    /// Use no other kind of path [default: the best there is]
    #[arg(long, value_enum, value_name = "KIND")]
    pub path: Option<PathPolicy>,

    /// Ask this STUN server too, besides the rendezvous, how the NAT here behaves. Up to four
    #[arg(long, value_name = "HOST[:PORT]")]
    pub stun: Vec<String>,
    /// Do not ask the gateway to map a port (PCP, NAT-PMP, UPnP) for the direct path
    #[arg(long)]
    pub no_port_mapping: bool,

    /// Let nobody but this user's programs, and root's, connect to the ports that are opened here (Linux)
    #[arg(long)]
    pub same_user: bool,

    /// Hold the connections of a peer that is lost for this long: 90s, 30m, 12h, 2d
    #[arg(long, value_name = "TIME", default_value = "12h")]
    pub resume_for: String,

    /// Keep identity and known peers here [default: p2pdbg in the user's state directory]
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        env = "P2PDBG_STATE",
        hide_env_values = true
    )]
    pub state: Option<OsString>,

    /// Compare the files of this directory with the peer's, by name and SHA-256, and tell which differ
    /// [default: the Git work tree around the working directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub sources: Option<PathBuf>,

    /// Compare no source files, and tell the peer of none
    #[arg(long, conflicts_with = "sources")]
    pub no_sources: bool,

    /// Do not look at what the debuggers say to each other, and so not name them or advise on them
    #[arg(long)]
    pub no_inspect: bool,

    /// Report events as JSON, one object a line, on standard output
    #[arg(long)]
    pub json: bool,
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
