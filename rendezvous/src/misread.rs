//! Command lines that clap refuses with words that do not help, or that repeat a secret.

use clap::{
    CommandFactory, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::cli::Cli;

/// What was meant by the words after the program's name, of which clap has refused one: what is wrong, and what to
/// write instead. `None` where clap's own words do.
pub(crate) fn misread(error: &Error, words: &[String]) -> Option<(String, String)> {
    let said = error.to_string();
    let repeats = |word: &&String| word.contains("p2pdbg://") && said.contains(word.as_str());
    if words.iter().any(|word| repeats(&word)) {
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
        _ if is_dashed(name) => {
            "an option begins with hyphens, of which a program for text has made a dash: write --"
                .to_owned()
                + name.trim_start_matches(|c| is_dash(c) || c == '-')
        }
        _ if is_address(name) => {
            format!("to serve at another address or port: --bind {}", address(name))
        }
        _ => return None,
    })
}

/// Whether a program for text makes this of a hyphen.
fn is_dash(c: char) -> bool {
    matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn is_dashed(word: &str) -> bool {
    word.starts_with(is_dash)
}

/// Whether a word is a port, or an address with one.
fn is_address(word: &str) -> bool {
    word.parse::<u16>().is_ok() || word.parse::<std::net::SocketAddr>().is_ok()
}

fn address(word: &str) -> String {
    match word.parse::<u16>() {
        Ok(port) => format!("'[::]:{port}'"),
        Err(_) => word.to_owned(),
    }
}
