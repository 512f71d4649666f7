//! The command line of `p2pdbg ide`, and what it comes to.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCandidates;

use super::{completion, session::state, values::given};
use crate::config::{Config, at_home};

const EXAMPLES: &str = "\
Ports, direction and path mappings come from the p2pdbg listen that runs on this
host, or the one that ran last.

Examples:
  p2pdbg ide vscode                       prints launch.json and tasks.json
  p2pdbg ide vscode --write               merges them into .vscode, comments kept
  p2pdbg ide pycharm --write --dir ~/app";

/// The arguments of `p2pdbg ide`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct IdeArgs {
    /// The IDE
    #[arg(value_enum, ignore_case = true, value_name = "IDE")]
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
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        env = "P2PDBG_STATE",
        hide_env_values = true
    )]
    pub state: Option<OsString>,
}

/// An IDE for which configurations are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ide {
    /// .vscode/launch.json and tasks.json
    #[value(aliases = ["code", "vs-code", "vscodium", "codium", "cursor", "windsurf"])]
    Vscode,
    /// .idea/runConfigurations: Python Debug Server, Attach to DAP
    Pycharm,
    /// .p2pdbg/dap.lua, for nvim-dap
    #[value(aliases = ["neovim", "vim", "nvim-dap"])]
    Nvim,
    /// .zed/debug.json
    Zed,
    /// .idea/runConfigurations: Go Remote
    Goland,
    /// .idea/runConfigurations: Remote JVM Debug
    #[value(aliases = ["intellij", "intellij-idea", "jetbrains"])]
    Idea,
}

/// What `p2pdbg ide` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdeOptions {
    /// The IDE whose files are made.
    pub ide: Ide,
    /// Whether files are changed, rather than printed.
    pub write: bool,
    /// The project; none for the working directory.
    pub directory: Option<PathBuf>,
    /// The peer whose session is meant.
    pub peer: Option<String>,
    /// The state directory; none for the platform's own.
    pub state: Option<PathBuf>,
}

/// The options of an `ide`.
pub fn resolve_ide(args: IdeArgs, config: Config) -> IdeOptions {
    IdeOptions {
        ide: args.ide,
        write: args.write,
        directory: args.dir.map(at_home),
        peer: given(args.peer),
        state: state(args.state, config.state),
    }
}
