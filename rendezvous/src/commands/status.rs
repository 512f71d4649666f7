//! `status`, `reload`, `drain` and `undrain`: what the rendezvous is asked that serves with a state directory.

use std::time::Duration;

use p2pdbg_base::{say, takes_escapes};
use p2pdbg_rendezvous::{
    Report,
    operate::{
        NodesReport, Status, StoreReport,
        control_socket::{Reply, Request, ask},
    },
};

use super::{
    keys, print, state_directory,
    table::{bytes, rate, table, time},
};
use crate::cli::StateArg;

/// How often `--watch` asks.
const AGAIN: Duration = Duration::from_secs(2);

/// Clears a terminal and goes to its beginning.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `status`: prints how the running rendezvous is, once or until it is interrupted.
pub(super) async fn run(state: StateArg, watch: bool, json: bool) -> Result<(), String> {
    let state = state_directory::open(&state)?;
    let clear = watch && !json && takes_escapes(&std::io::stdout());
    loop {
        let reply = ask(state.path(), Request::Status).await;
        let Reply::Status(status) = reply.map_err(|error| error.to_string())? else {
            return Err("the answer is not the one to the question".into());
        };
        let text = if json {
            serde_json::to_string(&status).map_err(|e| e.to_string())? + "\n"
        } else {
            show(&status)
        };
        print(format!("{}{text}", if clear { CLEAR } else { "" }).as_bytes())?;
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// `nodes`: prints which nodes of the cluster live and which of them drain, as the running one sees them.
pub(super) async fn nodes(state: StateArg, json: bool) -> Result<(), String> {
    let state = state_directory::open(&state)?;
    let reply = ask(state.path(), Request::Status).await;
    let Reply::Status(status) = reply.map_err(|error| error.to_string())? else {
        return Err("the answer is not the one to the question".into());
    };
    let cluster = status
        .cluster
        .ok_or("it is the one host: it was started without --node")?;
    let text = match json {
        true => serde_json::to_string(&cluster).map_err(|e| e.to_string())? + "\n",
        false => show_nodes(&cluster),
    };
    print(text.as_bytes())
}

fn show_nodes(cluster: &NodesReport) -> String {
    let mut rows = vec![["NODE", "AT", ""].map(str::to_owned).to_vec()];
    for node in &cluster.nodes {
        let how = match node.lives {
            _ if node.number == cluster.own => "this one",
            Some(true) if node.at.is_empty() => "alive, and not in --nodes here",
            Some(true) => "alive",
            Some(false) => "AWAY",
            None => "unknown",
        };
        let drains = match node.drains {
            Some(true) => ", drains",
            _ => "",
        };
        rows.push(vec![
            node.number.to_string(),
            node.at.clone(),
            format!("{how}{drains}"),
        ]);
    }
    format!("{}\nstore: {}\n", table(&rows), show_store(cluster))
}

fn show_store(cluster: &NodesReport) -> String {
    match &cluster.store {
        Some(StoreReport { answers: true, .. }) => "answers".to_owned(),
        Some(StoreReport { why, .. }) => format!(
            "AWAY, known peers at different nodes do not meet: {}",
            why.as_deref().unwrap_or("no reason is known")
        ),
        None => "none, known peers at different nodes do not meet".to_owned(),
    }
}

/// `reload`: has the running rendezvous read the keys again.
pub(super) async fn reload(state: StateArg) -> Result<(), String> {
    let state = state_directory::open(&state)?;
    match ask(state.path(), Request::Reload).await {
        Ok(Reply::Reloaded { keys, shared }) => {
            say!("p2pdbg-rendezvous: the keys are read again; {keys} let somebody in");
            if let Some(shared) = shared {
                keys::tell_of(&shared);
            }
            Ok(())
        }
        Ok(_) => Err("the answer is not the one to the question".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// `drain`: has it give no new codes and sessions, and end when the sessions have, or at the deadline.
pub(super) async fn drain(state: StateArg, most: Option<Duration>) -> Result<(), String> {
    let state = state_directory::open(&state)?;
    let for_s = most.map(|most| most.as_secs().max(1));
    match ask(state.path(), Request::Drain { for_s }).await {
        Ok(Reply::Draining { left_s }) => {
            say!(
                "p2pdbg-rendezvous: it gives no new codes and sessions, and ends with the last session, in {} at the \
                 latest; `p2pdbg-rendezvous undrain` takes that back",
                time(left_s)
            );
            Ok(())
        }
        Ok(_) => Err("the answer is not the one to the question".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// `undrain`: has it give codes and sessions again.
pub(super) async fn undrain(state: StateArg) -> Result<(), String> {
    let state = state_directory::open(&state)?;
    match ask(state.path(), Request::Undrain).await {
        Ok(Reply::Serving { drained: true }) => {
            say!("p2pdbg-rendezvous: it gives codes and sessions again");
            Ok(())
        }
        Ok(Reply::Serving { drained: false }) => {
            say!("p2pdbg-rendezvous: it was not draining");
            Ok(())
        }
        Ok(_) => Err("the answer is not the one to the question".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn show(status: &Status) -> String {
    let (report, counters) = (&status.report, &status.counters);
    let health = if status.healthy { "well" } else { "STUCK" };
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let mut rows = vec![
        row("rendezvous", status.url_without_key.clone()),
        row(
            "version",
            format!(
                "{}, {health}, up {}{}",
                status.version,
                time(status.uptime_s),
                draining(status)
            ),
        ),
        row(
            "peers",
            format!(
                "{}, {} of them over TCP so far",
                report.peers, counters.tcp_connections
            ),
        ),
        row(
            "sessions",
            format!(
                "{}{}, {} legs bound, {} of them over TCP",
                report.sessions,
                guests(counters.guests),
                counters.legs,
                counters.tcp_legs
            ),
        ),
        row(
            "relayed",
            format!(
                "{} in {} datagrams",
                bytes(counters.relayed_bytes),
                counters.relayed
            ),
        ),
        row(
            "dropped",
            format!(
                "{}, and {} for too much",
                counters.dropped, counters.policed
            ),
        ),
        row(
            "refused",
            format!("{} connections", counters.connections_refused),
        ),
    ];
    if let Some(cluster) = &status.cluster {
        let nodes = cluster.nodes.len();
        rows.push(row("node", format!("{} of {nodes}", cluster.own)));
        rows.push(row("store", show_store(cluster)));
    }
    format!("{}\n{}", table(&rows), show_keys(report))
}

fn guests(count: u64) -> String {
    match count {
        0 => String::new(),
        count => format!(", and {count} of other nodes"),
    }
}

fn show_keys(report: &Report) -> String {
    let head = ["KEY", "PEERS", "SESSIONS", "CODES", "RELAY", "MONTH"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for key in &report.keys {
        rows.push(vec![
            key.name.clone(),
            key.peers.to_string(),
            key.sessions.to_string(),
            key.codes.to_string(),
            rate(key.relay_bytes_per_second),
            bytes(key.relay_bytes_month),
        ]);
    }
    table(&rows)
}

fn draining(status: &Status) -> String {
    let left = status.draining_s.map(time);
    left.map_or_else(String::new, |left| {
        format!(", drains for {left} at the most")
    })
}
