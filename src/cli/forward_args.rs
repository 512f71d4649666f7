//! The forwards of `p2pdbg listen`, in the order in which they were written.
//!
//! The order counts, since the first one is the debugger that a COMMAND is told of, and clap keeps it only
//! within one option. What is derived here is what may be written; the reading is done by hand.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use clap_complete::engine::ArgValueCandidates;
use p2pdbg_forward::{Direction, Forward, ForwardSpec, NotAForward};

use super::completion;

/// The forwards of a `listen`.
#[derive(Debug)]
pub struct ForwardArgs {
    /// All of them, as written.
    pub in_order: Vec<ForwardArg>,
}

/// One forward, as it was written; whether it makes sense is found out later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardArg {
    /// A debugger's name, or `auto`.
    Preset(String),
    /// What stood after `-L` or `-R`.
    Fixed(Direction, String),
}

impl ForwardArg {
    /// What it means.
    ///
    /// # Errors
    /// If it does not parse.
    pub fn parse(&self) -> Result<ForwardSpec, NotAForward> {
        match self {
            Self::Preset(text) => text.parse(),
            Self::Fixed(direction, text) => {
                Forward::parse(*direction, text).map(ForwardSpec::Fixed)
            }
        }
    }
}

/// What may be written.
#[derive(Args)]
struct Written {
    /// Debuggers to forward for, as listed below [default: auto]
    #[arg(value_name = "FORWARD", add = ArgValueCandidates::new(completion::forwards))]
    forwards: Vec<String>,

    /// Open PORT beside the IDE and dial HOST:PORT at the debuggee (PORT 0: any; BIND *: all addresses; a path with a
    /// / in place of PORT or of HOST:PORT: a Unix socket)
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:PORT")]
    left: Vec<String>,

    /// Open PORT at the debuggee and dial HOST:PORT beside the IDE
    #[arg(short = 'R', value_name = "[BIND:]PORT:HOST:PORT")]
    right: Vec<String>,
}

impl FromArgMatches for ForwardArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let Written {
            forwards,
            left,
            right,
        } = Written::from_arg_matches(matches)?;
        let at = |id| matches.indices_of(id).into_iter().flatten();
        let presets = forwards.into_iter().map(ForwardArg::Preset);
        let left = left
            .into_iter()
            .map(|spec| ForwardArg::Fixed(Direction::ToDebuggee, spec));
        let right = right
            .into_iter()
            .map(|spec| ForwardArg::Fixed(Direction::ToIde, spec));
        let mut placed: Vec<(usize, ForwardArg)> = at("forwards")
            .zip(presets)
            .chain(at("left").zip(left))
            .chain(at("right").zip(right))
            .collect();
        placed.sort_by_key(|(place, _)| *place);
        Ok(Self {
            in_order: placed.into_iter().map(|(_, forward)| forward).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ForwardArgs {
    fn augment_args(command: Command) -> Command {
        Written::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Written::augment_args_for_update(command)
    }
}
