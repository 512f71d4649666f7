//! `authority`: the certificates of several hosts that serve one URL.

use std::{io::IsTerminal, time::Duration};

use p2pdbg_base::say;
use p2pdbg_identity::{Authority, IDENTITY_FILE, StateDir};
use p2pdbg_proto::{
    node::NodeNumber,
    url::{HostAt, RendezvousUrl},
};
use p2pdbg_rendezvous::{CLUSTER_SECRET, KEY_FILES, KeyFile, PROGRAM, RELAY_KEY, relay_key};

use super::{print, state_directory};
use crate::cluster_args::AuthorityCommand;

/// Does it.
///
/// # Errors
/// Why not, in a sentence.
pub(super) fn run(command: AuthorityCommand) -> Result<(), String> {
    match command {
        AuthorityCommand::New { state } => {
            let state = state_directory::open(&state)?;
            let authority = Authority::load_or_make(&state).map_err(|e| e.to_string())?;
            let secret = state.secret32(CLUSTER_SECRET);
            secret.map_err(|error| error.to_string())?;
            let share = |file: &mut KeyFile| {
                file.share();
                Ok(())
            };
            let shared = state_directory::keys(&state).change(state_directory::now(), share);
            shared.map_err(|error| error.to_string())?;
            print(format!("{}\n", authority.fingerprint()).as_bytes())
        }
        AuthorityCommand::Issue {
            hosts,
            into,
            lifetime,
            relay,
            state,
        } => {
            let (state, authority) = open(&state)?;
            let node = StateDir::open(Some(&into), PROGRAM).map_err(|e| e.to_string())?;
            if node.path() == state.path() {
                return Err(
                    "--into names the directory of the authority; a node has one of its own".into(),
                );
            }
            match relay {
                Some(number) => share_with_relay(&state, &node, number)?,
                None => share_with_node(&state, &node)?,
            }
            issue(&authority, &node, &hosts, lifetime)
        }
        AuthorityCommand::Url { hosts, state } => {
            let (state, authority) = open(&state)?;
            print_url(&state, &authority, &hosts)
        }
    }
}

fn open(state: &crate::cli::StateArg) -> Result<(StateDir, Authority), String> {
    let state = state_directory::open(state)?;
    let authority = Authority::load(&state).map_err(|error| error.to_string())?;
    let authority = authority.ok_or_else(|| {
        format!(
            "there is no authority in {}; `p2pdbg-rendezvous authority new` makes one",
            state.path().display()
        )
    })?;
    Ok((state, authority))
}

/// Gives a node what all nodes share.
fn share_with_node(state: &StateDir, node: &StateDir) -> Result<(), String> {
    let text = |error: p2pdbg_identity::StateError| error.to_string();
    // A node that has served may know of keys and ends of keys of which the authority's directory does not.
    let taken = state_directory::keys(node).take_from(&state_directory::keys(state));
    let keys = match taken.map_err(|error| error.to_string())? {
        true => &[][..],
        false => &KEY_FILES[..],
    };
    for name in [CLUSTER_SECRET].iter().chain(keys) {
        if let Some(bytes) = state.read(name).map_err(text)? {
            let bytes = zeroize::Zeroizing::new(bytes);
            node.write_atomically(name, &bytes).map_err(text)?;
        }
    }
    Ok(())
}

/// Gives a host that relays alone what it opens its tickets with.
fn share_with_relay(state: &StateDir, relay: &StateDir, number: NodeNumber) -> Result<(), String> {
    let text = |error: p2pdbg_identity::StateError| error.to_string();
    // Whatever else lies there goes to the relay's host with it. A relay that has served has keys of its own.
    let was_relay = relay.read(RELAY_KEY).map_err(text)?.is_some();
    let own = KEY_FILES.into_iter().filter(|_| !was_relay);
    for name in [CLUSTER_SECRET].into_iter().chain(own) {
        if relay.read(name).map_err(text)?.is_some() {
            return Err(format!(
                "{} is the directory of a host that serves peers: a host that only relays is not to have the {name} in \
                 it, so name another directory",
                relay.path().display()
            ));
        }
    }
    let secret = state.secret32(CLUSTER_SECRET).map_err(text)?;
    let key = relay_key(&secret, number);
    relay
        .write_atomically(RELAY_KEY, key.expose())
        .map_err(text)
}

/// Makes a certificate, and puts it where a node will serve.
fn issue(
    authority: &Authority,
    node: &StateDir,
    hosts: &[String],
    lifetime: Duration,
) -> Result<(), String> {
    let text = |error: p2pdbg_identity::StateError| error.to_string();
    let pem = authority.issue(hosts, lifetime).map_err(text)?;
    node.write_atomically(IDENTITY_FILE, &pem).map_err(text)?;
    say!(
        "p2pdbg-rendezvous: {} is the state directory of the node {}; move it there as it is, it holds secrets",
        node.path().display(),
        hosts.join(", ")
    );
    Ok(())
}

fn print_url(state: &StateDir, authority: &Authority, hosts: &[HostAt]) -> Result<(), String> {
    let directory = state_directory::keys(state);
    let file = directory
        .load_or_begin(state_directory::now())
        .map_err(|e| e.to_string())?;
    let access_key = directory.default_secret(&file).map_err(|e| e.to_string())?;
    let [first, further @ ..] = hosts else {
        return Err("name a host".into());
    };
    let url = RendezvousUrl {
        access_key,
        host: first.host.clone(),
        port: first.port,
        further: further.to_vec(),
        fingerprint: Some(authority.fingerprint()),
    };
    // The same text must be one that peers take.
    let checked: RendezvousUrl = url.to_string().parse().map_err(|e| format!("{e}"))?;
    print(format!("{checked}\n").as_bytes())?;
    if std::io::stdout().is_terminal() {
        say!("Give it to the peers: p2pdbg listen --rendezvous URL, or P2PDBG_RENDEZVOUS");
    }
    Ok(())
}
