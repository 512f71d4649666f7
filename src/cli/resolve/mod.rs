//! From strings of three origins to options: the command line wins over variables, those over the file.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    str::FromStr,
};

use p2pdbg_attach::Consent;
use p2pdbg_base::{ErrorCode, Failure, HostPort, PeerName, duration};
use p2pdbg_facts::{by_its_name, default_root, working_directory};
use p2pdbg_forward::{Direction, Forward, ForwardSpec, NotAForward};
use p2pdbg_path::traversal::Traversal;
use p2pdbg_proto::code::Code;
use p2pdbg_sources::SourcesOptions;

use super::{
    args::{ConnectArgs, IdeArgs, ListenArgs, SessionArgs},
    given::Given,
    options::{Command, ConnectOptions, IdeOptions, ListenOptions, Meeting, SessionOptions},
    peers,
    values::{
        RENDEZVOUS, at, forward_malformed, found, given, parse_name, parse_url, resolve_stun,
    },
};
use crate::config::{self, Config, at_home};

/// How often a code is asked for before the program gives up.
const QUESTIONS: usize = 3;

/// What options are made of besides the command line.
pub struct Environment<'a> {
    /// The configuration file.
    pub config: Config,
    /// The variable `P2PDBG_CODE`.
    pub code: Option<String>,
    /// Asks the user for the code, with what was wrong with the last answer; `None` if nobody can be asked.
    pub ask_code: &'a mut dyn FnMut(Option<&str>) -> Option<String>,
}

impl<'a> Environment<'a> {
    /// The environment of this process.
    ///
    /// # Errors
    /// If the configuration file cannot be used.
    pub fn of_process(
        ask_code: &'a mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            config: Config::load()?,
            code: env::var("P2PDBG_CODE").ok(),
            ask_code,
        })
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
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
    let given = Given::of(&args);
    let peers = peers::resolve(&args.peer, args.peers.as_deref(), &args.map)?;
    let mut forwards = Vec::new();
    for written in args.forwards.in_order {
        forwards.push(written.parse().map_err(forward_malformed)?);
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
    let session = resolve_session(args.session, config)?;
    Ok(ListenOptions {
        session: SessionOptions {
            // Nobody means all of their home, and its names are nobody else's business.
            sources: session.sources.unless_home(),
            follows_ports: args.follow_ports,
            ..session
        },
        given,
        peers,
        forwards,
        absent: args.absent,
    })
}

/// The options of a `connect`.
///
/// # Errors
/// Says what does not parse or is missing, and what to write instead. Exit status 2.
pub fn resolve_connect(
    args: ConnectArgs,
    environment: Environment<'_>,
) -> Result<ConnectOptions, Failure> {
    if !args.forwards.is_empty() {
        return Err(forwards_at_the_wrong_end("-L and -R"));
    }
    let typed = args.code.join(" ");
    refuse_more_than_a_code(&args.code)?;
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    let asks = terminal && !args.session.json && args.command.is_empty();
    // Before the code is asked for, which is the last thing to bother the user with.
    let mut session = resolve_session(args.session, environment.config)?;
    #[cfg(unix)]
    {
        if args.accept_attach {
            session.attach = Consent::Given;
        }
    }
    if let Some(directory) = &args.accept_push {
        let inbox = existing("--accept-push", directory)?;
        session.sources = session.sources.with_inbox(inbox).map_err(|root| {
            let message = format!(
                "--accept-push {directory:?} is neither within --sources {root:?} nor around it, so no file could be \
                 put in its place"
            );
            Failure::new(ErrorCode::Usage, message)
        })?;
    }
    let given_here = !args.code.is_empty();
    let meeting = match (args.peer, given(typed).or(given(environment.code))) {
        (Some(name), _) => Meeting::Known(parse_name("--peer", &name)?),
        (None, Some(code)) => {
            let malformed = |fault| match given_here {
                true => code_malformed(&fault),
                false => at("P2PDBG_CODE", code_malformed(&fault)),
            };
            Meeting::Code(code.parse().map_err(malformed)?)
        }
        (None, None) => Meeting::Code(ask(environment.ask_code)?),
    };
    #[cfg(unix)]
    let owner = args.pid;
    #[cfg(not(unix))]
    let owner = None;
    Ok(ConnectOptions {
        session,
        meeting,
        asks,
        owner,
        command: parse_command(args.command),
    })
}

/// What stands after a code and is none of it: what was meant, as far as it can be told.
pub(super) fn refuse_more_than_a_code(words: &[String]) -> Result<(), Failure> {
    let is_code = |words: &[String]| words.join(" ").parse::<Code>().is_ok();
    let whole = (1..words.len()).find(|&end| is_code(&words[..end]));
    let Some(end) = whole.filter(|_| !is_code(words)) else {
        return Ok(());
    };
    let rest = &words[end..];
    if rest.iter().all(|word| word.parse::<ForwardSpec>().is_ok()) {
        return Err(forwards_at_the_wrong_end("debuggers"));
    }
    // Neither the code nor what may hold a password is repeated.
    let message = "what stands after the code is no part of it";
    Err(Failure::new(ErrorCode::Usage, message)
        .hint("to run a program, put -- before it: p2pdbg connect CODE -- python app.py"))
}

fn forwards_at_the_wrong_end(what: &str) -> Failure {
    let message = format!("{what} are given to p2pdbg listen, beside the IDE");
    Failure::new(ErrorCode::Usage, message).hint(
        "run p2pdbg listen there with them, and p2pdbg connect CODE here with the code that it shows",
    )
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

/// The directory whose files are meant: the one that is named, or else the one around the working directory.
fn resolve_sources(named: Option<PathBuf>, none: bool) -> Result<SourcesOptions, Failure> {
    let is_named = named.is_some();
    let root = match named {
        Some(directory) => Some(existing("--sources", &directory)?),
        None => working_directory().as_deref().map(default_root),
    };
    Ok(SourcesOptions {
        root,
        compares: !none,
        is_named,
        inbox: None,
    })
}

/// A directory that is there, by the name that it was given.
fn existing(option: &str, directory: &Path) -> Result<PathBuf, Failure> {
    let directory = at_home(directory.to_owned());
    let found = by_its_name(&directory).and_then(|found| match found.is_dir() {
        true => Ok(found),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    });
    found
        .map_err(|error| Failure::new(ErrorCode::Usage, format!("{option} {directory:?}: {error}")))
}

/// The state directory that is asked for on the command line, in a variable or in the file.
fn state(asked: Option<OsString>, configured: Option<PathBuf>) -> Option<PathBuf> {
    let asked = asked.map(|dir| at_home(PathBuf::from(dir)));
    let mut states = asked.into_iter().chain(configured);
    states.find(|dir| !dir.as_os_str().is_empty())
}

/// Whether only this user's programs are let in, which only Linux tells from others'.
fn same_user(asked: bool) -> Result<bool, Failure> {
    if asked && !cfg!(target_os = "linux") {
        let message = "--same-user is there on Linux alone";
        return Err(Failure::new(ErrorCode::Usage, message));
    }
    Ok(asked)
}

fn resolve_session(args: SessionArgs, config: Config) -> Result<SessionOptions, Failure> {
    let (url, name) = (config.rendezvous.clone(), config.name.clone());
    let rendezvous = match found(RENDEZVOUS, args.rendezvous, &config, url) {
        Some(url) => parse_url(url)?,
        None => return Err(rendezvous_missing()),
    };
    let name = match found(("--name", "P2PDBG_NAME", "name"), args.name, &config, name) {
        Some((name, place)) => parse_name(&place, &name)?,
        None => PeerName::of_this_host(),
    };
    let allow = args.allow.iter().map(|text| {
        text.parse::<HostPort>().map_err(|fault| {
            let message = format!("--allow {text}: {fault}");
            Failure::new(ErrorCode::Usage, message).hint("write --allow HOST:PORT")
        })
    });
    let stun = resolve_stun(&args.stun, &config)?;
    let resume_for = duration::parse(&args.resume_for).map_err(|fault| {
        let message = format!("--resume-for {}: {fault}", args.resume_for);
        Failure::new(ErrorCode::Usage, message)
    })?;
    let traversal = config.traversal.resolve(&|key| config.place(key))?;
    let state = state(args.state, config.state);
    let sources = resolve_sources(args.sources, args.no_sources)?;
    Ok(SessionOptions {
        attach: Consent::Refused,
        follows_ports: false,
        same_user: same_user(args.same_user)?,
        sources,
        rendezvous,
        name,
        allow: allow.collect::<Result<_, _>>()?,
        path: args.path.unwrap_or_default(),
        traversal: Traversal {
            port_mapping: traversal.port_mapping && !args.no_port_mapping,
            ..traversal
        },
        inspect: !args.no_inspect,
        resume_for,
        stun,
        state,
    })
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

fn parse_command(words: Vec<OsString>) -> Option<Command> {
    let mut words = words.into_iter();
    let program = words.next()?;
    Some(Command {
        program,
        arguments: words.collect(),
    })
}

fn ask(ask_code: &mut dyn FnMut(Option<&str>) -> Option<String>) -> Result<Code, Failure> {
    let mut fault: Option<Failure> = None;
    for _ in 0..QUESTIONS {
        let message = fault.as_ref().map(|fault| fault.message.as_str());
        let Some(answer) = given(ask_code(message)) else {
            break;
        };
        match answer.parse() {
            Ok(code) => return Ok(code),
            Err(error) => fault = Some(code_malformed(&error)),
        }
    }
    Err(fault.unwrap_or_else(|| {
        Failure::new(ErrorCode::CodeMissing, "there is no code to connect with").hint(
            "run p2pdbg connect CODE with the code that p2pdbg listen printed beside the IDE, or --peer NAME for a peer known from before",
        )
    }))
}

fn code_malformed(fault: &<Code as FromStr>::Err) -> Failure {
    Failure::new(ErrorCode::CodeMalformed, fault.to_string())
        .hint("copy the code that p2pdbg listen printed beside the IDE")
}

fn rendezvous_missing() -> Failure {
    let file = config::default_path().map_or("the configuration file".into(), |path| {
        path.display().to_string()
    });
    Failure::new(ErrorCode::RendezvousMissing, "no rendezvous is configured").hint(format!(
        "run p2pdbg setup, which keeps the URL that p2pdbg-rendezvous printed in {file}; or set P2PDBG_RENDEZVOUS"
    ))
}

#[cfg(test)]
mod tests;
