//! The command line of `p2pdbg listen`, and what it comes to.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use p2pdbg_base::{ErrorCode, Failure, HoldPolicy};
use p2pdbg_forward::{Direction, Forward, ForwardSpec, NotAForward, Preset};
use p2pdbg_proto::code::Code;
use p2pdbg_session::SessionPolicy;

use super::{
    completion,
    environment::Environment,
    forward_args::{ForwardArg, ForwardArgs},
    peers::{self, PeersOptions},
    repeated_options::Given,
    session::{SessionArgs, SessionOptions, resolve_session},
    values::{at, forward_malformed, is_called},
};

const EXAMPLES: &str = "\
Examples:
  p2pdbg listen                           prints a code for the other side
  p2pdbg listen debugpy:5679              another port, at both ends
  p2pdbg listen pydevd -L 8000:localhost:8000
  p2pdbg listen --peer web-1              a peer known from before: no code
  p2pdbg listen --peers 3 --map db=5700   three at once, on ports 5678, 5679 and, for the
                                          one that is called db, 5700

Exit status: 130 on ^C, which is how it ends if all goes well. With several peers the end
or failure of one is reported and ends nothing else.";

/// How wide the lists of debuggers are, which stand beside the way their connections go.
const LIST_WIDTH: usize = 55;

/// The debuggers there are, by the way that their connections go.
fn debuggers() -> String {
    let list = |direction| {
        let of_it = Preset::ALL
            .into_iter()
            .filter(|preset| preset.direction() == direction);
        let items: Vec<String> = of_it
            .map(|preset| format!("{} {}", preset.name(), preset.default_port()))
            .collect();
        let mut lines = vec![String::new()];
        for (at, item) in items.iter().enumerate() {
            let item = item.clone() + if at + 1 < items.len() { "," } else { "" };
            match lines.last_mut() {
                Some(line) if line.is_empty() => *line = item,
                Some(line) if line.len() + item.len() < LIST_WIDTH => {
                    line.push(' ');
                    line.push_str(&item);
                }
                _ => lines.push(item),
            }
        }
        lines.join("\n                              ")
    };
    format!(
        "\
FORWARD is auto or a debugger, each with an optional :PORT (the same at both ends):
  the debuggee listens (-L)   {}
  the IDE listens (-R)        {}
  auto (5678)                 -R if something beside the IDE listens on the port
                              already, else -L; used if no forward is given

",
        list(Direction::ToDebuggee),
        list(Direction::ToIde)
    )
}

/// The arguments of `p2pdbg listen`.
#[derive(Debug, Args)]
#[command(after_help = debuggers() + EXAMPLES)]
pub struct ListenArgs {
    /// How all of this was written. Stands first: whatever stands before it takes its values away.
    #[command(flatten)]
    pub given: Given,

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

    /// What a forward does while nothing listens at its far end [default: hold; refuse for
    /// gdbserver, lldb and xdebug; hold-once for pydevd]
    #[arg(long, value_enum, ignore_case = true, value_name = "HOW")]
    pub absent: Option<HoldPolicy>,

    /// End when standard input ends, as on ^C: for a program that starts this one and holds its input open
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,

    /// What both commands have.
    #[command(flatten)]
    pub session: SessionArgs,
}

/// What `p2pdbg listen` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// What `listen` and `connect` have in common.
    pub session: SessionOptions,
    /// How many peers may come, which, and how.
    pub peers: PeersOptions,
    /// The forwards; never empty.
    pub forwards: Vec<ForwardSpec>,
    /// Whether it ends with standard input.
    pub until_stdin_ends: bool,
    /// How it was started, but for its forwards and the peers that it names.
    pub given: Given,
}

/// The options of a `listen`.
///
/// # Errors
/// Says what does not parse or is missing, and what to write instead. Exit status 2.
pub fn resolve_listen(
    args: ListenArgs,
    environment: Environment<'_>,
) -> Result<ListenOptions, Failure> {
    let config = environment.config;
    let peers = peers::resolve(&args.peer, args.peers.as_deref(), &args.map)?;
    refuse_code_in_words(&args.forwards.in_order)?;
    let mut forwards = Vec::new();
    for written in args.forwards.in_order {
        forwards.push(written.parse().map_err(no_forward)?);
    }
    if forwards.is_empty() {
        for text in &config.forwards {
            let stands = |fault| at(&config.place("forwards"), forward_malformed(fault));
            forwards.push(parse_configured(text).map_err(stands)?);
        }
    }
    if forwards.is_empty() {
        forwards.push(ForwardSpec::default());
    }
    refuse_duplicates(&forwards)?;
    refuse_circles(&forwards)?;
    let mut session = resolve_session(args.session, config)?;
    session.policy = SessionPolicy {
        absent: args.absent,
        follows_ports: args.follow_ports,
        // Nobody means all of their home, and its names are nobody else's business.
        sources: session.policy.sources.unless_home(),
        ..session.policy
    };
    Ok(ListenOptions {
        session,
        until_stdin_ends: args.until_stdin_ends,
        given: args.given,
        peers,
        forwards,
    })
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches, &definitions()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// It defines nothing: it reads again what the others define.
impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// What may be written after `p2pdbg listen`.
fn definitions() -> Command {
    ListenArgs::augment_args(Command::new("listen"))
}

/// The option of `p2pdbg listen` that `word` is.
fn option(word: &str) -> Option<Arg> {
    let is_meant = |arg: &&Arg| is_called(arg, word);
    definitions().get_arguments().find(is_meant).cloned()
}

/// Whether `word` is an option of `p2pdbg listen` that has its value in the next word.
pub(crate) fn has_value(word: &str) -> bool {
    option(word).is_some_and(|option| option.get_action().takes_values())
}

/// Whether `word` is an option of `p2pdbg listen` that may be given several times.
pub(crate) fn is_repeated(word: &str) -> bool {
    option(word)
        .is_some_and(|option| matches!(option.get_action(), ArgAction::Append | ArgAction::Count))
}

/// Whether `word` is an option of `p2pdbg listen` whose value is a directory.
pub(crate) fn is_directory(word: &str) -> bool {
    option(word).is_some_and(|option| option.get_value_hint() == ValueHint::DirPath)
}

/// Tells a code apart whose parts are words of their own, of which each would be told to be no debugger.
fn refuse_code_in_words(forwards: &[ForwardArg]) -> Result<(), Failure> {
    let words = forwards.iter().filter_map(|forward| match forward {
        ForwardArg::Preset(word) => Some(word.as_str()),
        ForwardArg::Fixed(..) => None,
    });
    match words.collect::<Vec<_>>().join(" ").parse::<Code>() {
        Ok(_) => Err(forward_malformed(NotAForward::Code)),
        Err(_) => Ok(()),
    }
}

/// What was meant by a word that is no forward. A known peer's name is told apart here, where peers are known.
fn no_forward(fault: NotAForward) -> Failure {
    let peer = match &fault {
        NotAForward::UnknownPreset(text) if text == "peer" => Some("NAME"),
        NotAForward::UnknownPreset(text) if completion::known_peers().contains(text) => {
            Some(text.as_str())
        }
        _ => None,
    };
    let hint = peer.map(|name| format!("to wait for a known peer, write --peer {name}"));
    let failure = forward_malformed(fault);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A forward of the configuration file: a preset, or `-L SPEC`.
fn parse_configured(text: &str) -> Result<ForwardSpec, NotAForward> {
    let text = text.trim();
    for (option, direction) in [("-L", Direction::ToDebuggee), ("-R", Direction::ToIde)] {
        if let Some(spec) = text.strip_prefix(option) {
            return Forward::parse(direction, spec.trim_start()).map(ForwardSpec::Fixed);
        }
    }
    text.parse()
}

/// Two forwards, each of which dials the port that the other one opens, would pass a connection round without end.
fn refuse_circles(forwards: &[ForwardSpec]) -> Result<(), Failure> {
    // `auto` is told as the `-L` that it mostly is; as a `-R` it would open the port twice.
    let settled = || {
        let specs = forwards.iter().cloned();
        specs.map(|spec| spec.resolve(|_| false))
    };
    for one in settled().filter(|one| one.direction == Direction::ToDebuggee) {
        if settled().any(|other| one.leads_round_with(&other)) {
            let port = one.target.port;
            let message =
                format!("two forwards lead to each other, over port {port} of the debuggee");
            return Err(Failure::new(ErrorCode::ForwardMalformed, message).hint(
                "leave out one of them, or give it another port, as in debugpy-connect:5679",
            ));
        }
    }
    Ok(())
}

/// Two forwards cannot open one port.
fn refuse_duplicates(forwards: &[ForwardSpec]) -> Result<(), Failure> {
    // `auto` may come to be either; it is told from a fixed one as the `-L` that it mostly is.
    let opened = |spec: &ForwardSpec| match spec {
        ForwardSpec::Fixed(forward) => (forward.direction, forward.bind),
        ForwardSpec::Auto { port } => (Direction::ToDebuggee, p2pdbg_base::Bind::loopback(*port)),
    };
    for (index, spec) in forwards.iter().enumerate() {
        let (direction, bind) = opened(spec);
        let twice = bind.port != 0
            && forwards[..index]
                .iter()
                .map(opened)
                .any(|other| other == (direction, bind));
        if twice {
            let end = match direction {
                Direction::ToDebuggee => "beside the IDE",
                Direction::ToIde => "at the debuggee",
            };
            let message = format!("two forwards would open port {} {end}", bind.port);
            return Err(Failure::new(ErrorCode::ForwardMalformed, message)
                .hint("give one of them another port, as in debugpy:5679"));
        }
    }
    Ok(())
}
