//! `keys` and `url`: the file is changed here, and then a rendezvous that runs is asked to read it.

use std::io::IsTerminal;

use p2pdbg_base::say;
use p2pdbg_identity::StateDir;
use p2pdbg_proto::url::{AccessKey, RendezvousUrl};
use p2pdbg_rendezvous::{DEFAULT, KeyDirectory, KeyFile, KeyLimits, KeyReport, LAST_URL, NamedKey};
use serde_json::json;

use super::{
    print, print_json,
    state_directory::{self, now},
    table::{bytes, rate, table, time},
};
use crate::cli::{KeysCommand, StateArg};

/// Runs one of the `keys` commands; what is wrong comes back as a sentence for the operator.
pub(super) async fn run(command: KeysCommand) -> Result<(), String> {
    match command {
        KeysCommand::Add {
            name,
            limits,
            expires,
            state,
        } => {
            let state = state_directory::open(&state)?;
            catch_up(&state).await;
            let secret = AccessKey::random();
            let until = expires.map(|time| now() + time.as_secs());
            let change =
                |file: &mut KeyFile| file.add(name.clone(), &secret, limits.limits(), now(), until);
            change_keys(&state, change, &secret, name.as_ref())?;
            tell(&state).await;
            show(&state, &secret)
        }
        KeysCommand::Rotate { name, grace, state } => {
            let state = state_directory::open(&state)?;
            catch_up(&state).await;
            let secret = AccessKey::random();
            let until = grace.map(|time| now() + time.as_secs());
            let change = |file: &mut KeyFile| file.rotate(&name, &secret, until);
            change_keys(&state, change, &secret, name.as_ref())?;
            tell(&state).await;
            show(&state, &secret)
        }
        KeysCommand::Revoke { name, state } => {
            let state = state_directory::open(&state)?;
            catch_up(&state).await;
            let directory = state_directory::keys(&state);
            let revoke = |file: &mut KeyFile| file.revoke(&name, now());
            directory.change(now(), revoke).map_err(|e| e.to_string())?;
            if name.as_ref() == DEFAULT {
                directory.drop_default().map_err(|e| e.to_string())?;
            }
            say!("p2pdbg-rendezvous: the key {name} is revoked");
            tell(&state).await;
            Ok(())
        }
        KeysCommand::Share { state } => share(&state_directory::open(&state)?).await,
        KeysCommand::List { json, state } => list(&state, json).await,
    }
}

/// Changes the file; the secret of the key `default` is kept beside it, for the URL.
fn change_keys(
    state: &StateDir,
    change: impl FnOnce(&mut KeyFile) -> Result<(), p2pdbg_rendezvous::KeyFault>,
    secret: &AccessKey,
    name: &str,
) -> Result<(), String> {
    let directory = state_directory::keys(state);
    directory.change(now(), change).map_err(|e| e.to_string())?;
    if name == DEFAULT {
        directory.keep_default(secret).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Whether the keys of this directory are those of several nodes.
fn are_shared(state: &StateDir) -> bool {
    let file = state_directory::keys(state).load_or_begin(now());
    file.is_ok_and(|file| file.shared().is_some())
}

/// Has a node that runs fetch what other nodes have changed, so that what is done is done to that.
#[cfg(unix)]
async fn catch_up(state: &StateDir) {
    use p2pdbg_rendezvous::operate::control_socket::{Request, ask};

    if are_shared(state) {
        // What is wrong is told when the change has been made.
        let _ = ask(state.path(), Request::Reload).await;
    }
}

#[cfg(not(unix))]
async fn catch_up(_state: &StateDir) {}

/// `share`: the keys are those of all nodes from now on.
async fn share(state: &StateDir) -> Result<(), String> {
    if are_shared(state) {
        tell(state).await;
        return Ok(());
    }
    #[cfg(unix)]
    {
        use p2pdbg_rendezvous::operate::control_socket::{AskError, Reply, Request, ask};

        match ask(state.path(), Request::ShareKeys).await {
            Ok(Reply::Reloaded { shared, .. }) => {
                if let Some(shared) = shared {
                    tell_of(&shared);
                }
                return Ok(());
            }
            Ok(_) => return Err("the answer is not the one to the question".into()),
            Err(AskError::NotRunning(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let directory = state_directory::keys(state);
    let shared = directory.change(now(), |file| {
        file.share();
        Ok(())
    });
    shared.map_err(|error| error.to_string())?;
    say!(
        "p2pdbg-rendezvous: the keys in {} are shared with the other nodes once it serves as a node with a store",
        state.path().display()
    );
    Ok(())
}

/// Says where keys are known that nodes share.
#[cfg(unix)]
pub(super) fn tell_of(shared: &p2pdbg_rendezvous::operate::SharedReport) {
    let list = |nodes: &[u8]| {
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        nodes.join(", ")
    };
    for (before, after) in &shared.renamed {
        say!(
            "p2pdbg-rendezvous: the key {before} of this node is called {after} now, since the other nodes have another \
             one of that name"
        );
    }
    if let Some(away) = &shared.away {
        say!(
            "p2pdbg-rendezvous: this node has the keys so, and the others get them once the store is back: {away}"
        );
        return;
    }
    if !shared.known_at.is_empty() {
        let nodes = list(&shared.known_at);
        say!("p2pdbg-rendezvous: these nodes have the keys so: {nodes}");
    }
    if !shared.not_yet_at.is_empty() {
        let nodes = list(&shared.not_yet_at);
        say!(
            "p2pdbg-rendezvous: NOT YET: {nodes}; each reads them when it is back and has the store, if it shares its \
             keys (`p2pdbg-rendezvous keys share` there)"
        );
    }
}

/// Has a rendezvous that runs read the keys.
#[cfg(unix)]
async fn tell(state: &StateDir) {
    use p2pdbg_rendezvous::operate::control_socket::{AskError, Reply, Request, ask};

    match ask(state.path(), Request::Reload).await {
        Ok(Reply::Reloaded {
            shared: Some(shared),
            ..
        }) => tell_of(&shared),
        Ok(_) if are_shared(state) => say!(
            "p2pdbg-rendezvous: this node has no store, so the others do not learn of it: copy keys.toml to each and \
             `reload` there"
        ),
        Err(AskError::NotRunning(_)) if are_shared(state) => say!(
            "p2pdbg-rendezvous: no node serves with {}: the others learn of it once one does, if it has their store",
            state.path().display()
        ),
        Ok(_) | Err(AskError::NotRunning(_)) => {}
        Err(error) => say!(
            "p2pdbg-rendezvous: the keys are changed, but the process that serves has not read them: {error}; \
             send it SIGHUP"
        ),
    }
}

/// There is no way to ask it here.
#[cfg(not(unix))]
async fn tell(_state: &StateDir) {
    say!("p2pdbg-rendezvous: a process that serves reads the keys when it is started again");
}

/// Prints the URL with a key that nobody sees again.
fn show(state: &StateDir, secret: &AccessKey) -> Result<(), String> {
    let mut url = last_url(state)?;
    url.access_key = Some(secret.clone());
    print(format!("{url}\n").as_bytes())?;
    if std::io::stdout().is_terminal() {
        say!(
            "This is shown once. Give it to the peers: p2pdbg listen --rendezvous URL, or P2PDBG_RENDEZVOUS"
        );
    }
    Ok(())
}

/// The URL under which the rendezvous served last, without a key.
fn last_url(state: &StateDir) -> Result<RendezvousUrl, String> {
    let bytes = state.read(LAST_URL).map_err(|error| error.to_string())?;
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match text.map(|text| text.parse()) {
        Some(Ok(url)) => Ok(url),
        Some(Err(error)) => Err(format!(
            "the file {LAST_URL} in {} is damaged ({error}); start the rendezvous, which writes it",
            state.path().display()
        )),
        // Before it has served, nobody knows its address.
        None => Err(format!(
            "no rendezvous has served with the state directory {} yet, so its URL is not known: start it, or name the \
             directory of the one that serves with --state DIR",
            state.path().display()
        )),
    }
}

/// `url`: prints the URL that holds the key `default`.
pub(super) fn print_url(state: StateArg) -> Result<(), String> {
    let state = state_directory::open(&state)?;
    let directory: KeyDirectory = state_directory::keys(&state);
    let mut url = last_url(&state)?;
    let file = directory.load_or_begin(now()).map_err(|e| e.to_string())?;
    url.access_key = directory.default_secret(&file).map_err(|e| e.to_string())?;
    if url.access_key.is_none() {
        say!(
            "p2pdbg-rendezvous: without a key: there is no key `{DEFAULT}` whose secret is at hand; \
             `p2pdbg-rendezvous keys rotate {DEFAULT}` or `keys add {DEFAULT}` makes one"
        );
    }
    print(format!("{url}\n").as_bytes())
}

async fn list(state: &StateArg, json: bool) -> Result<(), String> {
    let state = state_directory::open(state)?;
    let file = state_directory::keys(&state)
        .load_or_begin(now())
        .map_err(|e| e.to_string())?;
    let used = usage(&state).await;
    let of = |key: &NamedKey| {
        let used = used.as_ref()?;
        let name = key.name.as_ref();
        used.iter().find(|used| used.name == name)
    };
    if json {
        let keys: Vec<_> = file
            .keys()
            .iter()
            .map(|key| as_json(key, of(key)))
            .collect();
        return print_json(&json!({ "keys": keys }));
    }
    let head = [
        "NAME", "STATE", "PEERS", "SESSIONS", "CODES", "RELAY", "MONTH", "LIMITS",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for key in file.keys() {
        // What is revoked counts for nothing, whatever has its name.
        let used = of(key).filter(|_| key.is_live(now()));
        let count = |count: fn(&KeyReport) -> String| used.map_or("-".into(), count);
        rows.push(vec![
            key.name.to_string(),
            state_of(key),
            count(|used| used.peers.to_string()),
            count(|used| used.sessions.to_string()),
            count(|used| used.codes.to_string()),
            count(|used| rate(used.relay_bytes_per_second)),
            count(|used| bytes(used.relay_bytes_month)),
            limits_of(&key.limits),
        ]);
    }
    print(table(&rows).as_bytes())
}

/// What the keys use, if a rendezvous runs that can be asked.
#[cfg(unix)]
async fn usage(state: &StateDir) -> Option<Vec<KeyReport>> {
    use p2pdbg_rendezvous::operate::control_socket::{Reply, Request, ask};

    match ask(state.path(), Request::Status).await {
        Ok(Reply::Status(status)) => Some(status.report.keys),
        _ => None,
    }
}

#[cfg(not(unix))]
async fn usage(_state: &StateDir) -> Option<Vec<KeyReport>> {
    None
}

fn state_of(key: &NamedKey) -> String {
    let left = |until: u64| until.checked_sub(now()).filter(|left| *left > 0);
    if key.revoked.is_some() {
        return "revoked".into();
    }
    let mut state = match key.expires.map(left) {
        None => "good".to_owned(),
        Some(Some(left)) => format!("good for {}", time(left)),
        Some(None) => return "expired".into(),
    };
    if let Some(until) = key.grace_until(now()) {
        let left = time(until.saturating_sub(now()));
        state.push_str(&format!(", the one before for {left}"));
    }
    state
}

fn limits_of(limits: &KeyLimits) -> String {
    let count = |what: &str, most: Option<usize>| most.map(|most| format!("{most} {what}"));
    let parts = [
        count("peers", limits.peers),
        count("sessions", limits.sessions),
        count("codes", limits.codes),
        limits.relay_mbit.map(|mbit| format!("{mbit} Mbit/s")),
        limits.relay_gib_month.map(|gib| format!("{gib} GiB/month")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "none".into()
    } else {
        parts.join(", ")
    }
}

fn as_json(key: &NamedKey, used: Option<&KeyReport>) -> serde_json::Value {
    json!({
        "name": key.name.as_ref(),
        "id": key.id.to_string(),
        "live": key.is_live(now()),
        "created_unix_s": key.created,
        "expires_unix_s": key.expires,
        "revoked_unix_s": key.revoked,
        "grace_until_unix_s": key.grace_until(now()),
        "limits": key.limits,
        "used": used.filter(|_| key.is_live(now())),
    })
}
