//! Command lines that clap refuses with words that do not help, or that repeat a secret.

use std::net::SocketAddr;

use clap::{
    CommandFactory, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use p2pdbg_base::value_of;
use p2pdbg_proto::spelling::option_of_dashes;

use crate::cli::Cli;

/// What was meant by the words after the program's name, of which clap has refused one: what is wrong, and what to
/// write instead. `None` where what clap has found says enough.
pub(crate) fn misread(error: &Error, words: &[String]) -> Option<(String, String)> {
    let said = error.to_string();
    let repeats = |word: &String| word.contains("p2pdbg://") && said.contains(value_of(word));
    if words.iter().any(repeats) {
        return Some((
            "a URL is what p2pdbg-rendezvous prints, and what peers are given".to_owned(),
            "run p2pdbg-rendezvous alone; p2pdbg setup keeps the URL on a peer".to_owned(),
        ));
    }
    let kind = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    let Some(ContextValue::String(refused)) = error.get(kind) else {
        return None;
    };
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
        None => "p2pdbg-rendezvous --help says what there is".to_owned(),
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
