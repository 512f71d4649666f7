//! Command lines that clap refuses with words that do not help, or that repeat a secret.

use std::net::SocketAddr;

use clap::{
    Command, CommandFactory, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use p2pdbg_base::value_of;
use p2pdbg_proto::spelling::{nearest, option_of_dashes};

use crate::cli::Cli;

/// What was meant by the words after the program's name, of which clap has refused one: what is wrong, and what to
/// write instead. `None` where what clap has found says enough.
pub(crate) fn misread(error: &Error, words: &[String]) -> Option<(String, String)> {
    let said = error.to_string();
    let holds_url = |word: &str| word.to_ascii_lowercase().contains("p2pdbg://");
    let repeats = |word: &String| holds_url(word) && said.contains(value_of(word));
    if words.iter().any(repeats) {
        return Some((
            "a URL is what p2pdbg-rendezvous prints, and what peers are given".to_owned(),
            "run p2pdbg-rendezvous alone; p2pdbg setup keeps the URL on a peer".to_owned(),
        ));
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
    let hint = match instead_of(name, within) {
        Some(hint) => hint,
        // clap's word for what is near is better than none.
        None if error.get(ContextKind::SuggestedArg).is_some()
            || error.get(ContextKind::SuggestedSubcommand).is_some() =>
        {
            return None;
        }
        None => match near(name).filter(|_| error.kind() == ErrorKind::ArgumentConflict) {
            Some(near) => format!("is {near} meant? What is for it stands behind it"),
            None => "p2pdbg-rendezvous --help says what there is".to_owned(),
        },
    };
    let what = if name.starts_with('-') {
        "option"
    } else {
        "command"
    };
    let of = match Cli::command().find_subcommand(within) {
        Some(_) if within != name => format!("p2pdbg-rendezvous {within}"),
        _ => "p2pdbg-rendezvous".to_owned(),
    };
    Some((format!("{of} has no {what} {name:?}"), hint))
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
    Some(match name {
        "remove" | "delete" | "rm" | "del" if within == "keys" => {
            "p2pdbg-rendezvous keys revoke NAME ends a key".to_owned()
        }
        "create" | "new" if within == "keys" => {
            "p2pdbg-rendezvous keys add NAME makes a key".to_owned()
        }
        "start" | "serve" | "run" | "listen" | "up" | "server" => {
            "p2pdbg-rendezvous alone serves".to_owned()
        }
        "stop" | "quit" | "shutdown" | "kill" | "restart" => {
            "^C ends it, or the service manager that has started it; p2pdbg-rendezvous drain lets its sessions end first"
                .to_owned()
        }
        "connect" | "setup" | "doctor" | "pipe" | "attach" => {
            format!("p2pdbg {name} is a command of p2pdbg, which runs on the peers")
        }
        "key" | "token" | "user" | "users" => {
            "p2pdbg-rendezvous keys has add, list, revoke and rotate".to_owned()
        }
        "version" => "p2pdbg-rendezvous --version".to_owned(),
        "$" | "#" | ">" | "p2pdbg-rendezvous" => {
            "the prompt, or the program's name, stands there twice".to_owned()
        }
        "--port" | "-p" | "-P" | "--listen" | "--address" => {
            "write --bind ADDR:PORT, as in --bind '[::]:3478'".to_owned()
        }
        "--host" | "--name" | "--url" | "--hostname" | "--domain" => {
            "the name that the URL gives to peers is --public HOST[:PORT]".to_owned()
        }
        "--key" | "--keys" | "--token" | "--password" => {
            "no secret is given on the command line: p2pdbg-rendezvous keys add NAME makes a key"
                .to_owned()
        }
        _ => match option_of_dashes(name) {
            Some(option) => format!(
                "an option begins with hyphens, of which a program for text has made a dash: write {option}"
            ),
            None => format!("to serve at another address or port: --bind {}", address(name)?),
        },
    })
}

/// The address that a word is, or that has the port which it is.
fn address(word: &str) -> Option<String> {
    match word.parse::<u16>() {
        Ok(port) => Some(format!("'[::]:{port}'")),
        Err(_) => word.parse::<SocketAddr>().is_ok().then(|| word.to_owned()),
    }
}
