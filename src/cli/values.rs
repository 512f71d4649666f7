//! Single values, from wherever they may be given: the command line, a variable, the configuration file.

use std::{env, str::FromStr};

use clap::Arg;
use p2pdbg_base::{ErrorCode, Failure, PeerName, secret_variables};
use p2pdbg_forward::NotAForward;
use p2pdbg_net::stun_servers::{MAX_FURTHER, StunServer};
use p2pdbg_proto::{code::Code, url::RendezvousUrl};

use crate::config::Config;

/// The keys of the rendezvous' URL on the command line, among the variables and in the file.
pub(super) const RENDEZVOUS: (&str, &str, &str) =
    ("--rendezvous", secret_variables::RENDEZVOUS, "rendezvous");

/// A failure with the place where the value at fault stands.
pub(super) fn at(place: &str, failure: Failure) -> Failure {
    Failure {
        message: format!("{place}: {}", failure.message),
        ..failure
    }
}

/// Whether an option is written so: `--long`, or `-s`.
pub(super) fn is_called(option: &Arg, name: &str) -> bool {
    let long = option.get_long().map(|long| format!("--{long}"));
    let short = option.get_short().map(|short| format!("-{short}"));
    [long, short].iter().flatten().any(|own| own == name)
}

/// A value and where it stands: of the command line, of a variable, or of the file.
pub(super) fn found(
    (option, variable, key): (&str, &str, &str),
    asked: Option<String>,
    config: &Config,
    configured: Option<String>,
) -> Option<(String, String)> {
    if let Some(value) = given(asked) {
        // clap has taken the variable where there was no option.
        let place = match env::var(variable).as_ref() == Ok(&value) {
            true => variable.to_owned(),
            false => option.to_owned(),
        };
        return Some((value, place));
    }
    given(configured).map(|value| (value, config.place(key)))
}

/// Parses the rendezvous' URL.
pub(super) fn parse_url((url, place): (String, String)) -> Result<RendezvousUrl, Failure> {
    let fault = |fault: <RendezvousUrl as FromStr>::Err| {
        let failure = Failure::new(ErrorCode::RendezvousUrl, fault.to_string());
        at(
            &place,
            failure.hint("copy the whole URL that p2pdbg-rendezvous printed"),
        )
    };
    url.parse().map_err(fault)
}

/// The STUN servers of the command line, or of the file if it names none.
pub(super) fn resolve_stun(args: &[String], config: &Config) -> Result<Vec<StunServer>, Failure> {
    let (servers, place) = match args.is_empty() {
        true => (&config.stun[..], config.place("stun")),
        false => (args, "--stun".to_owned()),
    };
    if servers.len() > MAX_FURTHER {
        let message = format!(
            "{place}: {} STUN servers are named, and at most {MAX_FURTHER} are asked",
            servers.len()
        );
        return Err(Failure::new(ErrorCode::Usage, message));
    }
    let parse = |text: &String| {
        without_scheme(text.trim()).parse().map_err(|fault| {
            let message = format!("{place} {text:?}: {fault}");
            Failure::new(ErrorCode::Usage, message).hint("write HOST or HOST:PORT")
        })
    };
    servers.iter().map(parse).collect()
}

/// A STUN server without the `stun:` with which WebRTC's are written (RFC 7064); a host may be called so itself.
fn without_scheme(text: &str) -> &str {
    let rest = text.strip_prefix("stun:");
    let is_port = |rest: &str| rest.parse::<u16>().is_ok();
    rest.filter(|rest| !is_port(rest))
        .map_or(text, |rest| rest.trim_start_matches('/'))
}

/// A variable or a key that is set to nothing counts as not set.
pub(super) fn given(value: impl Into<Option<String>>) -> Option<String> {
    value.into().filter(|value| !value.trim().is_empty())
}

/// Whether a code stands in the place of another value, so that no message may repeat it.
pub(super) fn is_code(text: &str) -> bool {
    text.parse::<Code>().is_ok()
}

/// Whether a rendezvous' URL stands in a text, with its access key maybe. It may be written in capitals.
pub(super) fn holds_url(text: &str) -> bool {
    text.to_ascii_lowercase().contains("p2pdbg://")
}

pub(super) fn parse_name(option: &str, text: &str) -> Result<PeerName, Failure> {
    if is_code(text) {
        let message = format!("{option} takes a peer's name, and a code stands there");
        return Err(Failure::new(ErrorCode::Usage, message)
            .hint("a code stands alone, as in p2pdbg connect CODE"));
    }
    if holds_url(text) {
        let message = format!("{option} takes a name, and the rendezvous' URL stands there");
        return Err(Failure::new(ErrorCode::Usage, message)
            .hint("the URL stands behind --rendezvous, or is kept by p2pdbg setup"));
    }
    text.parse().map_err(|fault| {
        // The name is quoted so that nothing in it reaches the terminal.
        Failure::new(ErrorCode::Usage, format!("{option} {text:?}: {fault}"))
    })
}

pub(crate) fn forward_malformed(fault: NotAForward) -> Failure {
    Failure::new(ErrorCode::ForwardMalformed, fault.to_string()).hint(fault.hint())
}
