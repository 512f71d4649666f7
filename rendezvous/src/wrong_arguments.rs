//! Command lines that clap refuses with words that do not help, or that repeat a secret.

use std::net::SocketAddr;

use clap::{
    Command, CommandFactory, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use p2pdbg_base::value_of;
use p2pdbg_proto::{
    code::Code,
    spelling::{is_near, nearest, option_of_dashes},
};

use crate::cli::Cli;

/// What was meant by the words after the program's name, of which clap has refused one: what is wrong, and what to
/// write instead. `None` where what clap has found says enough.
pub(crate) fn misread(error: &Error, words: &[String]) -> Option<(String, String)> {
    if let Some(told) = instead_of_secret(error, words) {
        return Some(told);
    }
    let kind = match error.kind() {
        // Behind an option clap takes no word, whether it is a command or none.
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
            ContextKind::InvalidSubcommand
        }
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    let Some(ContextValue::String(refused)) = error.get(kind) else {
        return None;
    };
    if error.kind() == ErrorKind::ArgumentConflict
        && let Some(command) = Cli::command().find_subcommand(refused)
    {
        return Some(stand_before(error, command, words));
    }
    let name = refused.split('=').next().unwrap_or(refused);
    let within = words.first().map_or("", String::as_str);
    let cli = Cli::command();
    let command = cli.find_subcommand(within).filter(|_| within != name);
    let of = match command {
        Some(_) => format!("p2pdbg-rendezvous {within}"),
        None => "p2pdbg-rendezvous".to_owned(),
    };
    let hint = match instead_of(name, within) {
        Some(hint) => hint,
        // clap's word for what is near is better than none.
        None if is_suggested(error, name) => return None,
        None => match near(name).filter(|_| error.kind() == ErrorKind::ArgumentConflict) {
            Some(near) => format!("is {near} meant? What is for it stands behind it"),
            None if command.is_some_and(|it| it.has_subcommands() && has(it, name)) => {
                format!("it stands behind a command of {within}: {of} --help says which there are")
            }
            None => format!("{of} --help says what there is"),
        },
    };
    if is_below_zero(name) {
        return Some((
            format!("no number below zero is taken, as {name} is"),
            format!("{of} --help says what there is"),
        ));
    }
    let what = match name.strip_prefix('-') {
        Some(_) => "option",
        None if command.is_some_and(|it| !it.has_subcommands()) => "place for",
        None => "command",
    };
    Some((format!("{of} has no {what} {name:?}"), hint))
}

/// What is said where a URL or a code stands, which clap would repeat.
fn instead_of_secret(error: &Error, words: &[String]) -> Option<(String, String)> {
    let said = error.to_string();
    let holds_url = |word: &str| word.to_ascii_lowercase().contains("p2pdbg://");
    let repeats = |word: &String| holds_url(word) && said.contains(value_of(word));
    if words.iter().any(repeats) {
        return Some((
            "a URL is what p2pdbg-rendezvous prints, and what peers are given".to_owned(),
            "run p2pdbg-rendezvous alone; p2pdbg setup keeps the URL on a peer".to_owned(),
        ));
    }
    // A code lets whoever reads it into a session.
    let is_code = |word: &String| value_of(word).parse::<Code>().is_ok();
    if words
        .iter()
        .any(|word| is_code(word) && said.contains(value_of(word)))
    {
        return Some((
            "a code is for the peers, and stands behind p2pdbg connect".to_owned(),
            "run p2pdbg connect CODE on the debuggee's host; p2pdbg-rendezvous alone serves"
                .to_owned(),
        ));
    }
    None
}

/// Whether what clap takes for an option is a number.
fn is_below_zero(name: &str) -> bool {
    let is_of_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let digits = name.strip_prefix('-');
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(is_of_number))
}

/// Whether clap has found a word that is like this one, and not by chance.
fn is_suggested(error: &Error, name: &str) -> bool {
    let kinds = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand];
    kinds.into_iter().any(|kind| match error.get(kind) {
        Some(ContextValue::String(near)) => is_near(name, near),
        Some(ContextValue::Strings(near)) => near.iter().any(|near| is_near(name, near)),
        _ => false,
    })
}

/// What is said of options that stand before the command.
fn stand_before(error: &Error, command: &Command, words: &[String]) -> (String, String) {
    let given = match error.get(ContextKind::PriorArg) {
        Some(ContextValue::String(option)) => vec![option.clone()],
        Some(ContextValue::Strings(options)) => options.clone(),
        _ => Vec::new(),
    };
    let name = |option: &str| option.split(' ').next().unwrap_or_default().to_owned();
    let names: Vec<_> = given.iter().map(|option| name(option)).collect();
    let mut path = format!("p2pdbg-rendezvous {}", command.get_name());
    let mut within = command;
    let behind = words.iter().skip_while(|word| *word != command.get_name());
    for word in behind.skip(1) {
        let Some(inner) = within.find_subcommand(word) else {
            break;
        };
        path = format!("{path} {word}");
        within = inner;
    }
    let of_serving: Vec<_> = names.iter().filter(|name| !has(within, name)).collect();
    let hint = match of_serving.first() {
        Some(name) => format!("{path} has no {name}, which is for p2pdbg-rendezvous alone"),
        None => {
            let inner = ["", " COMMAND"][usize::from(within.has_subcommands())];
            let options = given.join(" ").replace(['<', '>'], "");
            format!("write {path}{inner} {options}")
        }
    };
    let stand = ["stand", "stands"][usize::from(names.len() == 1)];
    (
        format!("{} {stand} before the command", names.join(", ")),
        hint,
    )
}

/// Whether a command, or one of its own commands, has an option.
fn has(command: &Command, option: &str) -> bool {
    let long = option.trim_start_matches('-');
    let mut options = command.get_arguments();
    options.any(|it| it.get_long() == Some(long))
        || command.get_subcommands().any(|inner| has(inner, option))
}

/// The command whose name is nearly this word.
fn near(word: &str) -> Option<String> {
    let cli = Cli::command();
    let names = cli.get_subcommands().map(Command::get_name);
    nearest(word, names).map(str::to_owned)
}

/// What to write in place of `name`, which stands behind the command `within` or is the first word.
fn instead_of(name: &str, within: &str) -> Option<String> {
    let known = behind(name, within)
        .or_else(|| instead_of_command(name))
        .or_else(|| instead_of_option(name));
    if let Some(known) = known {
        return Some(known.to_owned());
    }
    Some(match name {
        "connect" | "setup" | "doctor" | "pipe" | "attach" => {
            format!("p2pdbg {name} is a command of p2pdbg, which runs on the peers")
        }
        _ => match option_of_dashes(name) {
            Some(option) => format!(
                "an option begins with hyphens, of which a program for text has made a dash: write {option}"
            ),
            None => format!(
                "to serve at another address or port: --bind {}",
                address(name)?
            ),
        },
    })
}

/// The same of what stands behind a command that has its own words.
fn behind(name: &str, within: &str) -> Option<&'static str> {
    Some(match name {
        "remove" | "delete" | "rm" | "del" if within == "keys" => {
            "p2pdbg-rendezvous keys revoke NAME ends a key"
        }
        "create" | "new" if within == "keys" => "p2pdbg-rendezvous keys add NAME makes a key",
        "show" | "get" | "ls" if within == "keys" => {
            "p2pdbg-rendezvous keys list shows the keys, and p2pdbg-rendezvous url the URL"
        }
        "--for" if within == "keys" => "how long a key is good for is --expires TIME",
        "--cancel" | "--stop" | "--off" if within == "drain" => {
            "p2pdbg-rendezvous undrain has it give codes and sessions again"
        }
        "add" if within == "authority" => "p2pdbg-rendezvous authority issue certifies a host",
        _ if within == "authority" && name.contains('/') => {
            "a directory stands behind an option: --state DIR is the authority's, --into DIR the host's"
        }
        _ => return None,
    })
}

/// The same of a word that is no command.
fn instead_of_command(name: &str) -> Option<&'static str> {
    Some(match name {
        "start" | "serve" | "run" | "listen" | "up" | "server" => "p2pdbg-rendezvous alone serves",
        "stop" | "quit" | "shutdown" | "kill" | "restart" => {
            "^C ends it, or the service manager that has started it; p2pdbg-rendezvous drain lets its sessions end first"
        }
        "key" | "token" | "user" | "users" => {
            "p2pdbg-rendezvous keys has add, list, revoke and rotate"
        }
        "version" => "p2pdbg-rendezvous --version",
        "$" | "#" | ">" | "p2pdbg-rendezvous" => {
            "the prompt, or the program's name, stands there twice"
        }
        _ => return None,
    })
}

/// The same of an option of other programs.
fn instead_of_option(name: &str) -> Option<&'static str> {
    Some(match name {
        "--port" | "-p" | "-P" | "--listen" | "--address" => {
            "write --bind ADDR:PORT, as in --bind '[::]:3478'"
        }
        "--host" | "--name" | "--url" | "--hostname" | "--domain" => {
            "the name that the URL gives to peers is --public HOST[:PORT]"
        }
        "--daemon" | "--background" | "--detach" | "-d" => {
            "it stays in the foreground, for a service manager: docs/OPERATING.md has a systemd unit"
        }
        "--cert" | "--tls-cert" | "--certificate" | "--tls-key" | "--tls" => {
            "it makes its certificate itself, which the URL pins by its fingerprint"
        }
        "--config" | "--config-file" => {
            "it has no configuration file: all is given by options, or kept in --state DIR"
        }
        "--debug" | "--log-level" | "--loglevel" | "--trace" => {
            "-v says more, and --log json says it as JSON"
        }
        "--key" | "--keys" | "--token" | "--password" => {
            "no secret is given on the command line: p2pdbg-rendezvous keys add NAME makes a key"
        }
        _ => return None,
    })
}

/// The address that a word is, or that has the port which it is.
fn address(word: &str) -> Option<String> {
    match word.parse::<u16>() {
        Ok(port) => Some(format!("'[::]:{port}'")),
        Err(_) => word.parse::<SocketAddr>().is_ok().then(|| word.to_owned()),
    }
}
