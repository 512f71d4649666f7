//! How things are, for the operator: what the hub says when it is asked.

use serde::{Deserialize, Serialize};

use crate::{registry::Registry, relay_allowance::Book, self_check::Finding};

/// How a rendezvous is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Peers that are connected and have said hello.
    pub peers: usize,
    /// Sessions between two peers.
    pub sessions: usize,
    /// What each key takes, by name.
    pub keys: Vec<KeyReport>,
    /// What the operator should mend, as far as the rendezvous can tell.
    pub findings: Vec<Finding>,
}

/// What one key takes of what the rendezvous gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyReport {
    /// Its name; `-` stands for those who come without a key to an open rendezvous.
    pub name: String,
    /// Peers that have it, or a voucher under it.
    pub peers: usize,
    /// Sessions on its account, whoever of the two members has it.
    pub sessions: usize,
    /// Nameplates at which somebody waits.
    pub codes: usize,
    /// Bytes that its sessions have relayed this month (UTC).
    pub relay_bytes_month: u64,
    /// What its sessions relay, in bytes a second, over the last seconds.
    pub relay_bytes_per_second: u64,
}

/// What the hub's parts say together.
pub(crate) fn report(registry: &Registry, book: &Book, unix_s: u64) -> Report {
    let keys = registry.keys();
    let live = keys.ids().filter(|key| keys.is_live(*key, unix_s));
    let taken_by_key = registry.taken_by_key();
    let mut rows: Vec<KeyReport> = live
        .map(|key| {
            let taken = taken_by_key.get(&key).copied().unwrap_or_default();
            let usage = book.usage(key);
            KeyReport {
                name: keys.name(key).to_owned(),
                peers: taken.peers,
                sessions: taken.sessions,
                codes: taken.codes,
                relay_bytes_month: usage.month_bytes,
                relay_bytes_per_second: usage.rate,
            }
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Report {
        peers: registry.peers(),
        sessions: registry.sessions(),
        keys: rows,
        findings: Vec::new(),
    }
}
