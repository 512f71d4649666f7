//! The command line of `p2pdbg connect`, and what it comes to.

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, ValueHint};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
#[cfg(unix)]
use p2pdbg_attach::Consent;
use p2pdbg_base::{ErrorCode, Failure, HostPort, PeerName, secret_variables};
use p2pdbg_facts::on_path;
use p2pdbg_forward::{Direction, Forward, ForwardSpec};
use p2pdbg_proto::code::{Code, Nameplate, NotACode};

use super::{
    completion,
    environment::Environment,
    session::{SessionArgs, SessionOptions, existing, resolve_session},
    values::{at, given, holds_url, is_called, parse_name},
};

const EXAMPLES: &str = "\
Examples:
  p2pdbg connect 482913-orbit-lemon-tiger
  p2pdbg connect --peer laptop            a peer known from before: no code
  p2pdbg connect CODE -- python app.py    run it once the forwards stand, with
                                          START_DEBUGGER=1, DEBUGGER_HOST and
                                          DEBUGGER_PORT (and DEBUGGER_MODE: listen or
                                          connect) set; ends with its status
  p2pdbg connect CODE --allow db:5432     let the peer dial db:5432 through here";

/// How often a code is asked for before the program gives up.
const QUESTIONS: usize = 3;

/// The arguments of `p2pdbg connect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
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

    /// End when standard input ends, as on ^C: for a program that starts this one and holds its input open
    #[arg(long, hide = true, conflicts_with = "command")]
    pub until_stdin_ends: bool,

    /// The program to run once the forwards stand, after --
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// What `p2pdbg connect` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// What `listen` and `connect` have in common.
    pub session: SessionOptions,
    /// How the listener is found.
    pub meeting: Meeting,
    /// Whether somebody is there to be asked: a terminal that is no COMMAND's.
    pub asks: bool,
    /// Whether it ends with standard input.
    pub until_stdin_ends: bool,
    /// The process with which it ends.
    pub owner: Option<i32>,
    /// The program to run once the forwards stand, and its arguments; none to serve until ^C.
    pub command: Option<Command>,
}

/// How a connector finds its listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meeting {
    /// By the code that the listener printed.
    Code(Code),
    /// As one of the peers known from an earlier session.
    Known(PeerName),
}

/// A program to run, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, by its path or its name in `PATH`.
    pub program: OsString,
    /// Its arguments, as they are: they are not the shell's any more.
    pub arguments: Vec<OsString>,
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
    refuse_more_than_a_code(&args.code)?;
    let command = parse_command(args.command, args.code.is_empty())?;
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    let asks = terminal && !args.session.json && command.is_none();
    let named = named(args.peer, &args.code, environment.code)?;
    let mut session = resolve_session(args.session, environment.config)?;
    #[cfg(unix)]
    {
        if args.accept_attach {
            session.policy.attach = Consent::Given;
        }
    }
    if let Some(directory) = &args.accept_push {
        let inbox = existing("--accept-push", directory)?;
        let sources = session.policy.sources.with_inbox(inbox);
        session.policy.sources = sources.map_err(|root| {
            let message = format!(
                "--accept-push {directory:?} is neither within --sources {root:?} nor around it, so no file could be \
                 put in its place"
            );
            Failure::new(ErrorCode::Usage, message)
        })?;
    }
    // Behind all else that may be wrong: the last thing to bother the user with.
    let meeting = match named {
        Some(meeting) => meeting,
        None => Meeting::Code(ask(environment.ask_code)?),
    };
    #[cfg(unix)]
    let owner = args.pid;
    #[cfg(not(unix))]
    let owner = None;
    Ok(ConnectOptions {
        session,
        meeting,
        asks: asks && !args.until_stdin_ends,
        until_stdin_ends: args.until_stdin_ends,
        owner,
        command,
    })
}

/// How the listener is found, if that is said: by a peer's name, by the words that are typed, or by a code that comes
/// in elsewhere.
fn named(
    peer: Option<String>,
    words: &[String],
    elsewhere: Option<String>,
) -> Result<Option<Meeting>, Failure> {
    let elsewhere = given(elsewhere);
    let is_elsewhere = elsewhere.is_some();
    Ok(match (peer, given(words.join(" ")).or(elsewhere)) {
        (Some(name), _) => Some(Meeting::Known(parse_name("--peer", &name)?)),
        (None, Some(code)) => {
            let malformed = |fault| match words {
                [] => at(secret_variables::CODE, code_malformed(&fault, &code)),
                words => no_code_but_a_program(words, is_elsewhere)
                    .unwrap_or_else(|| code_malformed(&fault, &code)),
            };
            Some(Meeting::Code(code.parse().map_err(malformed)?))
        }
        (None, None) => None,
    })
}

/// What stands before or after a code and is none of it: what was meant, as far as it can be told.
pub(super) fn refuse_more_than_a_code(words: &[String]) -> Result<(), Failure> {
    let is_code = |words: &[String]| words.join(" ").parse::<Code>().is_ok();
    if is_code(words) {
        return Ok(());
    }
    let mut ends = 1..words.len();
    let mut starts = ends.clone();
    let end = ends.find(|&end| is_code(&words[..end]));
    let start = starts.find(|&start| is_code(&words[start..]));
    let behind = end.map(|end| &words[end..]);
    match behind.or(start.map(|start| &words[..start])) {
        Some(rest) => Err(instead_of(rest, "CODE")),
        None => Ok(()),
    }
}

/// The same of words that come without a code, since `meeting` says whom to connect to. `None` if they may be meant for
/// a code or a peer's name.
pub(super) fn instead_of_words(words: &[String], meeting: &str) -> Option<Failure> {
    let first = words.first()?;
    let said = words.join(" ");
    // Without its number, which is what most of them lack, or with one that is none, it is a code still.
    let after_number = said.trim_start_matches(|c: char| c.is_ascii_digit());
    let whole = format!(
        "{} {}",
        Nameplate::MIN,
        after_number.trim_start_matches('-')
    );
    let may_be_misspelt = after_number != said || words.len() == 1 && first.split('-').count() == 3;
    let is_like_a_code = matches!(
        said.parse::<Code>(),
        Ok(_) | Err(NotACode::Word { .. } | NotACode::Shape | NotACode::Program)
    ) || match whole.parse::<Code>() {
        Ok(_) => true,
        Err(fault) => may_be_misspelt && matches!(fault, NotACode::Word { .. }),
    };
    let is_meant = is_like_a_code || completion::known_peers().contains(first);
    (!is_meant).then(|| instead_of(words, meeting))
}

/// What is said of words that are no code, if they are a program's: one that is there, or any where a code is given
/// elsewhere.
fn no_code_but_a_program(words: &[String], elsewhere: bool) -> Option<Failure> {
    let first = words.first()?;
    let is_there = || Path::new(first).is_file() || on_path(first.as_ref()).is_some();
    (elsewhere || is_there())
        .then(|| instead_of_words(words, "CODE"))
        .flatten()
}

/// What was meant by words that stand where a code alone may, with `meeting` as the way to write how the peer is found.
fn instead_of(words: &[String], meeting: &str) -> Failure {
    if words.iter().all(|word| word.parse::<ForwardSpec>().is_ok()) {
        return forwards_at_the_wrong_end("debuggers");
    }
    let is_forward = |word: &String| {
        word.parse::<u16>().is_ok()
            // A path is a program's here, and not a Unix socket's.
            || (!word.starts_with('/') && word.parse::<HostPort>().is_ok())
            || Forward::parse(Direction::ToDebuggee, word).is_ok()
    };
    if words.iter().all(is_forward) {
        return forwards_at_the_wrong_end("ports");
    }
    if words.iter().all(|word| word.parse::<Code>().is_ok())
        || words.join(" ").parse::<Code>().is_ok()
    {
        let message = "two codes stand there";
        return Failure::new(ErrorCode::Usage, message)
            .hint("give the one that p2pdbg listen printed last, once");
    }
    // Neither the code nor what may hold a password is repeated.
    if words.iter().any(|word| holds_url(word)) {
        let message = "the rendezvous' URL is no part of the code";
        return Failure::new(ErrorCode::Usage, message).hint(
            "write --rendezvous before it, or set P2PDBG_RENDEZVOUS, or run p2pdbg setup once",
        );
    }
    let message = match meeting {
        "CODE" => "a word that is no part of a code stands there",
        _ => "a word stands there that p2pdbg connect has no place for",
    };
    Failure::new(ErrorCode::Usage, message).hint(format!(
        "to run a program, put -- before it: p2pdbg connect {meeting} -- python app.py"
    ))
}

/// Whether `word` is an option of `p2pdbg connect` that has its value in the next word.
pub(super) fn has_value(word: &str) -> bool {
    let definitions = ConnectArgs::augment_args(clap::Command::new("connect"));
    let mut options = definitions.get_arguments();
    let found = options.find(|option| is_called(option, word));
    found.is_some_and(|option| option.get_action().takes_values())
}

fn forwards_at_the_wrong_end(what: &str) -> Failure {
    let message = format!("{what} are given to p2pdbg listen, beside the IDE");
    Failure::new(ErrorCode::Usage, message).hint(
        "run p2pdbg listen there with them, and p2pdbg connect CODE here with the code that it shows",
    )
}

/// The program to run; `alone` where nothing stands before the `--`.
fn parse_command(words: Vec<OsString>, alone: bool) -> Result<Option<Command>, Failure> {
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        return Ok(None);
    };
    let fault = |message, hint| Err(Failure::new(ErrorCode::Usage, message).hint(hint));
    if program.is_empty() {
        let example = "p2pdbg connect CODE -- python app.py";
        return fault("the program to run is empty", example);
    }
    if program
        .to_str()
        .is_some_and(|program| program.starts_with('-'))
    {
        return fault(
            "an option stands behind --, where the program does",
            "what is for p2pdbg stands before it: p2pdbg connect CODE OPTIONS -- python app.py",
        );
    }
    let is_code = |program: &str| program.parse::<Code>().is_ok();
    if alone && program.to_str().is_some_and(is_code) {
        return fault(
            "the code stands behind --, where the program does",
            "write it before: p2pdbg connect CODE -- python app.py",
        );
    }
    Ok(Some(Command {
        program,
        arguments: words.collect(),
    }))
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
            Err(error) => fault = Some(code_malformed(&error, &answer)),
        }
    }
    Err(fault.unwrap_or_else(|| {
        Failure::new(ErrorCode::CodeMissing, "there is no code to connect with").hint(
            "run p2pdbg connect CODE with the code that p2pdbg listen printed beside the IDE, or --peer NAME for a peer known from before",
        )
    }))
}

fn code_malformed(fault: &<Code as FromStr>::Err, typed: &str) -> Failure {
    let typed = typed.trim();
    let hint = match typed {
        _ if *fault == NotACode::Program => {
            "the code stands alone; behind it comes the program: p2pdbg connect CODE -- python app.py".to_owned()
        }
        _ if holds_url(typed) => {
            "that is the rendezvous' URL, for p2pdbg setup or P2PDBG_RENDEZVOUS; a code is what p2pdbg listen printed"
                .to_owned()
        }
        _ if completion::known_peers().iter().any(|name| name.as_str() == typed) => {
            format!("to connect to a known peer, write --peer {typed}")
        }
        _ if is_address(typed) => {
            "p2pdbg finds the other host by the code alone: copy the one that p2pdbg listen printed beside the IDE"
                .to_owned()
        }
        _ => "copy the code that p2pdbg listen printed beside the IDE".to_owned(),
    };
    Failure::new(ErrorCode::CodeMalformed, fault.to_string()).hint(hint)
}

/// Whether that says where a host is, as ssh takes it.
fn is_address(typed: &str) -> bool {
    let host = typed.rsplit('@').next().unwrap_or(typed);
    typed.contains('@')
        || host.parse::<std::net::IpAddr>().is_ok()
        || !host.starts_with('/') && host.parse::<HostPort>().is_ok()
}
