//! Command lines that clap refuses with advice that would lead astray.

use std::ffi::OsString;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};
use p2pdbg_base::{ErrorCode, Failure, in_two_lines, value_of};
use p2pdbg_debugger::Preset;
use p2pdbg_forward::ForwardSpec;
use p2pdbg_proto::{
    code::Code,
    rendezvous::Role,
    spelling::{is_near, option_of_dashes},
};

use super::{
    args::Cli,
    connect::{has_value, instead_of_words, refuse_more_than_a_code},
    foreign_options::instead_of_option,
    values::{holds_url, is_called},
};

/// What was meant by the words after the program's name, of which clap has refused one; `None` where help is shown.
pub fn misread(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    let words: Vec<String> = words
        .iter()
        .filter_map(|word| word.to_str().map(str::to_owned))
        .collect();
    let refused = |kind| match error.get(kind) {
        Some(ContextValue::String(refused)) => Some(refused.as_str()),
        _ => None,
    };
    let told = match error.kind() {
        ErrorKind::UnknownArgument => {
            let (command, rest) = words.split_first()?;
            let refused = refused(ContextKind::InvalidArg)?;
            let near = match error.get(ContextKind::SuggestedArg) {
                Some(ContextValue::String(near)) => Some(near.as_str()),
                _ => None,
            };
            option(command, refused, rest, near)
        }
        ErrorKind::InvalidSubcommand => {
            instead_of_command(refused(ContextKind::InvalidSubcommand)?, &words)
        }
        ErrorKind::InvalidValue if words.first()? == "ide" => {
            let no_ide = refused(ContextKind::InvalidArg)?.contains("IDE");
            no_ide.then(|| {
                usage(
                    "p2pdbg writes the files of vscode, pycharm, nvim, zed, goland and idea"
                        .to_owned(),
                )
                .hint("have another IDE attach to 127.0.0.1, at the port that p2pdbg status shows")
            })
        }
        ErrorKind::ArgumentConflict if is_code_with_peer(error) => {
            let plain = plain_words(words.get(1..)?);
            let program = instead_of_words(&plain, "--peer NAME");
            Some(program.unwrap_or_else(|| {
                let message = "a code is for a peer that is not known yet, --peer for one that is";
                usage(message.to_owned()).hint("give one of the two")
            }))
        }
        ErrorKind::InvalidUtf8 => variable_not_utf8(words.first()?),
        _ => None,
    };
    let told = told.or_else(|| instead_of_secret(error, &words));
    told.or_else(|| {
        let program = match words.iter().find_map(|word| is_command(word)) {
            Some(command) => format!("p2pdbg {command}"),
            None => "p2pdbg".to_owned(),
        };
        let (what, hint) = in_two_lines(error, &program)?;
        Some(usage(what).hint(hint))
    })
}

/// A word, if it is a command.
fn is_command(word: &str) -> Option<&str> {
    Cli::command().find_subcommand(word).map(|_| word)
}

/// Whether the words after the program's name ask for events as JSON, however clap took them: whoever reads those reads
/// what is wrong there too. Says which end it is.
pub fn asks_for_events(words: &[OsString]) -> Option<Role> {
    let own = words.iter().take_while(|word| *word != "--");
    let own: Vec<&str> = own.filter_map(|word| word.to_str()).collect();
    let role = match own.iter().find_map(|word| is_command(word))? {
        "listen" => Role::Listener,
        "connect" => Role::Connector,
        _ => return None,
    };
    own.contains(&"--json").then_some(role)
}

/// The words of a `connect` that are neither options nor their values, and not behind the `--`.
fn plain_words(words: &[String]) -> Vec<String> {
    let mut plain = Vec::new();
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if has_value(word) {
            words.next();
        } else if !word.starts_with('-') {
            plain.push(word.clone());
        }
    }
    plain
}

/// What is said of a program without a `--` before it, one of whose own options was refused.
fn program_without_dashes(refused: &str, rest: &[String]) -> Option<Failure> {
    let begins = |word: &String| match refused.starts_with("--") {
        true => word.split('=').next() == Some(refused),
        // Of several letters behind one hyphen, it is one.
        false => word.starts_with(refused),
    };
    let before = rest.iter().position(begins).unwrap_or(rest.len());
    let plain = plain_words(&rest[..before]);
    if let Err(failure) = refuse_more_than_a_code(&plain) {
        return Some(failure);
    }
    let is_known = rest
        .iter()
        .any(|word| word.split('=').next() == Some("--peer"));
    instead_of_words(&plain, if is_known { "--peer NAME" } else { "CODE" })
}

/// Which variable holds what cannot be read as text, where no word of the command line does.
fn variable_not_utf8(command: &str) -> Option<Failure> {
    if std::env::args_os().any(|word| word.to_str().is_none()) {
        return None;
    }
    let cli = Cli::command();
    let mut arguments = cli.find_subcommand(command)?.get_arguments();
    let variable = arguments.find_map(|argument| {
        let variable = argument.get_env()?;
        std::env::var_os(variable)?
            .to_str()
            .is_none()
            .then_some(variable)
    })?;
    let variable = variable.display();
    Some(usage(format!("{variable} is no UTF-8")).hint(format!("set {variable} anew, or unset it")))
}

/// Whether a code and a peer's name were given together.
fn is_code_with_peer(error: &clap::Error) -> bool {
    let said = error.to_string();
    let first = said.lines().next().unwrap_or_default();
    first.contains("--peer") && first.contains("[CODE]")
}

/// What is said where clap would repeat a code or the rendezvous' URL, which stands where something else should.
fn instead_of_secret(error: &clap::Error, words: &[String]) -> Option<Failure> {
    let said = error.to_string();
    let is_repeated = |word: &&String| is_secret(word) && said.contains(value_of(word));
    words.iter().find(is_repeated)?;
    let command = words
        .first()
        .filter(|first| !first.starts_with('-') && !is_secret(first));
    let command = command.map_or("p2pdbg".to_owned(), |command| format!("p2pdbg {command}"));
    Some(
        usage("a code, or the rendezvous' URL, stands where something else is expected".to_owned())
            .hint(format!("{command} --help says what stands where")),
    )
}

/// The same failure without a code or an access key that stood where something else is expected, and was repeated
/// therefore.
pub fn without_secrets(failure: Failure, words: &[OsString]) -> Failure {
    let words = words.iter().filter_map(|word| word.to_str());
    let secrets: Vec<&str> = words
        .map(value_of)
        .filter(|word| is_secret(word) && (word.contains('@') || !holds_url(word)))
        .collect();
    let hidden = |text: String| {
        secrets
            .iter()
            .fold(text, |text, word| text.replace(word, "\u{2026}"))
    };
    Failure {
        message: hidden(failure.message),
        hint: failure.hint.map(hidden),
        ..failure
    }
}

/// Whether a word holds a code, or a URL that may hold an access key.
fn is_secret(word: &str) -> bool {
    holds_url(word)
        || word
            .rsplit('=')
            .next()
            .unwrap_or(word)
            .parse::<Code>()
            .is_ok()
}

/// What to write in place of `refused`, an argument that `command` has not; `near` is an option that it has.
fn option(command: &str, refused: &str, rest: &[String], near: Option<&str>) -> Option<Failure> {
    let name = refused.split('=').next().unwrap_or(refused);
    if command.starts_with('-') {
        return before_the_command(command, rest);
    }
    if command == "connect"
        && let Some(failure) = program_without_dashes(refused, rest)
    {
        return Some(failure);
    }
    if let Some(meant) = with_one_hyphen(command, name, rest) {
        return Some(meant);
    }
    if let Some(meant) = typed_as_dash(name) {
        return Some(meant);
    }
    if !name.starts_with('-') {
        return Some(superfluous(command));
    }
    if let Some(option) = option_before_number(name, rest) {
        let message = format!("{option} takes no number below zero");
        return Some(usage(message).hint(format!("p2pdbg {command} --help says what it takes")));
    }
    let hint = instead_of_option(command, name)
        .map(str::to_owned)
        .or_else(|| elsewhere(command, name))
        .or_else(|| {
            near.filter(|near| is_near(name, near))
                .map(|near| format!("is {near} meant?"))
        })
        .unwrap_or_else(|| format!("p2pdbg {command} --help lists those that it has"));
    Some(usage(format!("{command} has no option {name}")).hint(hint))
}

/// What to write in place of an option that stands before the command.
fn before_the_command(option: &str, rest: &[String]) -> Option<Failure> {
    let cli = Cli::command();
    let found = rest.iter().find(|word| cli.find_subcommand(word).is_some());
    let Some(command) = found else {
        return without_a_command(option);
    };
    let option = option.split('=').next().unwrap_or(option);
    Some(
        usage(format!("{option} stands before the command"))
            .hint(format!("write it behind: p2pdbg {command} {option}")),
    )
}

/// What to write in place of an option where there is no command at all.
fn without_a_command(option: &str) -> Option<Failure> {
    let name = option.split('=').next().unwrap_or(option);
    written_otherwise(name).or_else(|| {
        let of_a_command = ["-L", "-R", "-N", "-c", "-l", "-p", "--port", "--code", "--peer"];
        of_a_command.contains(&name).then(|| {
            usage(format!("{name} stands where the command does")).hint(
                "a command comes first: p2pdbg listen beside the IDE, p2pdbg connect CODE on the debuggee's host",
            )
        })
    })
}

/// The option in front of a negative number, which clap takes for an option of its own.
fn option_before_number<'a>(refused: &str, rest: &'a [String]) -> Option<&'a str> {
    let digits = refused.strip_prefix('-')?;
    digits
        .starts_with(|c: char| c.is_ascii_digit())
        .then_some(())?;
    let at = rest.iter().position(|word| word.starts_with(refused))?;
    let before = rest.get(at.checked_sub(1)?)?;
    before.starts_with('-').then_some(before)
}

/// What to write in place of a long option that has one hyphen, of which clap has refused a letter.
fn with_one_hyphen(command: &str, refused: &str, rest: &[String]) -> Option<Failure> {
    let letter = refused.strip_prefix('-')?;
    let cli = Cli::command();
    let definitions = cli.find_subcommand(command)?;
    let own = rest.iter().take_while(|word| *word != "--");
    let option = own.filter(|word| word.contains(letter)).find_map(|word| {
        let long = word.split('=').next()?.strip_prefix('-')?;
        let is_it = |arg: &clap::Arg| arg.get_long() == Some(long);
        let is_there = definitions.get_arguments().any(is_it) || long == "help";
        (is_there && long.len() > 1).then_some(long)
    })?;
    let message = format!("-{option} begins with one hyphen");
    Some(usage(message).hint(format!("write --{option}")))
}

/// What to write in place of an option whose hyphens a program for text has made a dash of.
fn typed_as_dash(word: &str) -> Option<Failure> {
    let option = option_of_dashes(word)?;
    Some(
        usage("an option begins with hyphens, and a dash stands there".to_owned()).hint(format!(
            "write {option}: a program for text has made a dash of them"
        )),
    )
}

/// What is said of a word too many, which is not repeated.
fn superfluous(command: &str) -> Failure {
    let hint = match command {
        "status" => "it shows all sessions; p2pdbg status --watch stays on the screen".to_owned(),
        "ide" => "name the project's directory with --dir DIR".to_owned(),
        "sources" => "it compares all files; p2pdbg push copies those that are named".to_owned(),
        "unit" => {
            "write p2pdbg unit --peer NAME, and the program to run behind --, as in -- python app.py".to_owned()
        }
        _ => format!("p2pdbg {command} --help says what it takes"),
    };
    usage(format!(
        "a word stands behind p2pdbg {command} that it has no place for"
    ))
    .hint(hint)
}

/// Which other command has this option.
fn elsewhere(command: &str, option: &str) -> Option<String> {
    let cli = Cli::command();
    let commands = cli
        .get_subcommands()
        .map(|other| other.get_name().to_owned());
    let commands: Vec<String> = commands
        .filter(|name| {
            let other = cli.find_subcommand(name);
            name != command
                && other.is_some_and(|other| {
                    // What is hidden is there to be refused with better words.
                    other
                        .get_arguments()
                        .any(|arg| is_called(arg, option) && !arg.is_hide_set())
                })
        })
        .collect();
    let have_it = commands.iter().map(|name| format!("p2pdbg {name}"));
    let have_it = have_it.collect::<Vec<_>>().join(", ");
    (!have_it.is_empty()).then(|| format!("{option} is for {have_it}"))
}

/// What to write in place of `word`, which is no command.
fn instead_of_command(word: &str, words: &[String]) -> Option<Failure> {
    // Neither the code nor what a program is given is repeated.
    if words.join(" ").parse::<Code>().is_ok() || word.parse::<Code>().is_ok() {
        let message = "a code stands behind connect".to_owned();
        return Some(usage(message).hint("run p2pdbg connect CODE on the debuggee's host"));
    }
    if let Some(meant) = typed_as_dash(word).or_else(|| written_otherwise(word)) {
        return Some(meant);
    }
    let hint = match word {
        "$" | "#" | ">" | "p2pdbg" => {
            let cli = Cli::command();
            let command = words
                .iter()
                .find(|word| cli.find_subcommand(word).is_some());
            let command = command.map_or("--help", String::as_str);
            return Some(
                usage("the prompt, or the program's name, stands there twice".to_owned())
                    .hint(format!("write p2pdbg {command}")),
            );
        }
        _ if words.first().is_some_and(|first| first == "--") => RUN.to_owned(),
        _ if holds_url(word) => {
            let hint = "p2pdbg setup keeps the rendezvous' URL; it asks for it";
            return Some(usage("that is no command".to_owned()).hint(hint));
        }
        _ => match what_does_that(word) {
            Some(hint) => hint.to_owned(),
            None if word.parse::<ForwardSpec>().is_ok() => {
                format!("beside the IDE, p2pdbg listen {word} opens its port")
            }
            None => {
                let name = Preset::meant_by(word).first()?.name();
                nothing_near(word).then_some(())?;
                format!("beside the IDE, p2pdbg listen {name} opens its port")
            }
        },
    };
    Some(usage(format!("{word:?} is no command")).hint(hint))
}

/// What to write in place of a command in capitals, with what is behind it in one pair of quotes, or with hyphens.
fn written_otherwise(word: &str) -> Option<Failure> {
    let cli = Cli::command();
    let (first, rest) = word.split_once(' ').unwrap_or((word, ""));
    let name = first.trim_start_matches('-').to_lowercase();
    let command = cli.find_subcommand(&name)?.get_name();
    let hint = match rest {
        // What is behind it may hold a code.
        _ if !rest.is_empty() => {
            let message = format!("{command} and what is behind it stand in one pair of quotes");
            return Some(usage(message).hint("leave out the quotes"));
        }
        _ => format!("write p2pdbg {command}"),
    };
    Some(usage(format!("{first:?} is no command")).hint(hint))
}

/// How a program is run.
const RUN: &str = "to run a program under a debugger: p2pdbg connect CODE -- python app.py";

/// What does that which other programs call so.
fn what_does_that(word: &str) -> Option<&'static str> {
    Some(match word {
        "run" | "exec" | "start" | "launch" | "debug" | "python" | "python3" => RUN,
        "stop" | "kill" | "quit" | "disconnect" | "close" => {
            "^C ends p2pdbg listen and p2pdbg connect, and their connections"
        }
        "server" | "serve" | "rendezvous" | "relay" => {
            "the public host runs a program of its own: p2pdbg-rendezvous"
        }
        "version" => "p2pdbg --version",
        "peers" | "ps" | "list" | "ls" | "sessions" | "show" | "info" => {
            "p2pdbg status shows what runs"
        }
        "check" | "test" | "ping" | "diag" | "diagnose" | "diagnostics" | "verify" | "netcheck" => {
            "p2pdbg doctor examines this host's network"
        }
        "forget" | "remove" | "rm" | "delete" | "unpair" | "reset" | "clean" | "purge"
            if cfg!(windows) =>
        {
            "take its entry out of known_peers.toml, in the state directory (%LOCALAPPDATA%\\p2pdbg, or --state DIR)"
        }
        "forget" | "remove" | "rm" | "delete" | "unpair" | "reset" | "clean" | "purge" => {
            "take its entry out of known_peers.toml, in the state directory (~/.local/state/p2pdbg, or --state DIR)"
        }
        "pair" | "trust" => {
            "the first code makes two hosts known to each other: p2pdbg listen here, p2pdbg connect CODE there"
        }
        "ssh" | "shell" | "sh" | "bash" => {
            "p2pdbg runs no shell there; ssh takes p2pdbg pipe localhost:22 as its ProxyCommand"
        }
        "daemon" | "service" | "systemd" if cfg!(windows) => {
            "p2pdbg connect stays in the foreground: have the task scheduler start it"
        }
        "daemon" | "service" | "systemd" => "p2pdbg unit prints a systemd unit for connect",
        "log" | "logs" => "p2pdbg listen -v and p2pdbg connect -v tell more while they run",
        "tunnel" | "share" | "expose" | "host" | "open" | "up" | "wait" => {
            "p2pdbg listen, beside the IDE, opens the ports and shows a code"
        }
        "receive" | "accept" | "client" | "dial" | "join" => {
            "p2pdbg connect CODE connects this host"
        }
        "send" | "upload" | "copy" | "sync" | "cp" | "scp" | "rsync" => {
            "p2pdbg push copies source files there"
        }
        "key" | "keys" | "token" | "user" | "users" => {
            "the public host has the keys: p2pdbg-rendezvous keys, there"
        }
        "restart" | "reload" | "reconnect" => {
            "^C, and the same command again; peers that have met need no code: --peer NAME"
        }
        "update" | "upgrade" | "install" | "uninstall" => {
            "p2pdbg is one file: put another in its place, or delete it"
        }
        "/?" | "-?" | "?" | "/help" => "p2pdbg --help",
        "init" | "login" | "config" => "p2pdbg setup keeps the rendezvous' URL",
        _ => return None,
    })
}

/// Whether `word` is nothing like the name of a command, of which clap says which it is like.
fn nothing_near(word: &str) -> bool {
    let cli = Cli::command();
    let names = cli.get_subcommands().map(clap::Command::get_name);
    p2pdbg_proto::spelling::nearest(word, names).is_none()
}

fn usage(message: String) -> Failure {
    Failure::new(ErrorCode::Usage, message)
}
