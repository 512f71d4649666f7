//! How much of a key's limits each of several nodes may give away: a part of each, on *lease* from a table that they
//! share by the store. No I/O and no clock: the [store's task](crate::cluster_store) carries the table.
//!
//! A node enters in the table what it needs of each limit, and what it would like to have at hand, and is granted
//! a part; all parts of those that renew theirs are no more than the limit. It renews every second. Nodes share no
//! clock, so each judges by its own how long the entry of another has stood still:
//!
//! - for [`LIVE_FOR`] it counts as it stands: what others have is not granted twice;
//! - for [`KEPT_FOR`] more its node may be cut off from the store and go on with its last part, so that much may be
//!   granted once more and no further: together no more than twice the limit;
//! - after that the node has gone down to the limit divided by the number of nodes, which is counted for each node
//!   that is in the list and has no live entry, whether it lives or not. One that is in the list no more counts for
//!   nothing then.
//!
//! A table that is new, or that lacks what this node has written, tells that the store has lost something. Nobody's
//! part grows until all nodes have entered theirs anew, or until those that have not must have gone down by
//! themselves.

#![cfg_attr(
    not(feature = "cluster"),
    allow(dead_code, reason = "there is no store without the feature")
)]

mod relayed_before;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use p2pdbg_proto::secret::random_bytes;

use self::relayed_before::RelayedBefore;
pub(crate) use self::table::{Account, Entry, Kind, Lease, Table};
use crate::keys::KeyId;

/// How long a part is good without being renewed, counted from when the node asked for it.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(10);

/// How long a node that cannot renew its part goes on with it after that.
pub(crate) const LAST_FOR: Duration = Duration::from_secs(590);

/// How long an entry that stands still is taken for one that is renewed; longer than [`GOOD_FOR`].
const LIVE_FOR: Duration = Duration::from_secs(15);

/// And after that for one of a node that may go on with it; together longer than [`GOOD_FOR`] and [`LAST_FOR`].
const KEPT_FOR: Duration = Duration::from_secs(600);

/// How long what the process before this one had counts as needed here: its peers come back within that.
const INHERITED_FOR: Duration = Duration::from_secs(30);

/// What the registry says of one limit of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Of which limit of which key.
    pub(crate) account: Account,
    /// The limit, for all nodes together.
    pub(crate) limit: u64,
    /// What is given away here and cannot be taken back; nothing of a rate.
    pub(crate) in_use: u64,
    /// What is needed here: what is in use, and what was asked for beyond.
    pub(crate) need: u64,
}

/// What a node may give away, by the table as it was when the node asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// When it asked.
    pub(crate) asked: Instant,
    /// Its part of each limit.
    pub(crate) parts: HashMap<Account, u64>,
    /// The month of what follows, as [`Month`](crate::month::Month) counts it.
    pub(crate) month: u64,
    /// What each key has relayed in that month at the other nodes, and at this one before this process counted.
    pub(crate) relayed_elsewhere: HashMap<KeyId, u64>,
}

/// What a node may give away of a limit when it has no part of it.
pub(crate) fn alone(limit: u64, nodes: usize, kind: Kind) -> u64 {
    let equal = limit / nodes.max(1) as u64;
    match kind {
        Kind::Relay => equal,
        // Less than one would be none at all.
        _ => equal.max(limit.min(1)),
    }
}

/// What a node may give away at this time of that limit, which `nodes` share: its part, or while it has none that is
/// good, as much as [`alone`].
pub(crate) fn part(
    parts: Option<&Parts>,
    now: Instant,
    account: Account,
    limit: u64,
    nodes: usize,
) -> u64 {
    let is_good = |parts: &&Parts| now.saturating_duration_since(parts.asked) < GOOD_FOR + LAST_FOR;
    let part = parts
        .filter(is_good)
        .and_then(|parts| parts.parts.get(&account));
    match part {
        Some(part) => limit.min(*part),
        None => alone(limit, nodes, account.kind),
    }
}

/// What a node has seen of another's entry.
#[derive(Clone, Copy, Debug)]
struct Seen {
    epoch: u64,
    round: u64,
    /// When it was another one before.
    at: Instant,
}

/// A node at the table.
#[derive(Debug)]
pub(crate) struct Leases {
    own: u8,
    nodes: Vec<u8>,
    epoch: u64,
    /// The process before this one, which is gone.
    before: Option<u64>,
    /// What that one had of each limit, and when this one has found it in the table.
    inherited: Option<(HashMap<Account, u64>, Instant)>,
    round: u64,
    /// The round that the store is known to have.
    written: u64,
    /// The table that this node has entered its parts in, and when it asked for them last.
    entered: Option<(u64, Instant)>,
    /// The table that there is, and since when this node knows it.
    known: Option<(u64, Instant)>,
    /// What the registry was told last that it may give away: never more than the table has for this node.
    parts: HashMap<Account, u64>,
    /// When this node asked for what the registry was told last.
    told: Option<Instant>,
    seen: HashMap<u8, Seen>,
    relayed_before: RelayedBefore,
}

impl Leases {
    /// A process of this one of these nodes, in the place of the one `before`.
    pub(crate) fn new(own: u8, nodes: Vec<u8>, epoch: u64, before: Option<u64>) -> Self {
        Self {
            own,
            nodes,
            epoch,
            before,
            inherited: None,
            round: 0,
            written: 0,
            entered: None,
            known: None,
            parts: HashMap::new(),
            told: None,
            seen: HashMap::new(),
            relayed_before: RelayedBefore::default(),
        }
    }

    /// The table as this node would have it, from the one that there is: to be written in its place and in no other's.
    /// With it what the registry is to be told then. `uses` are as they were when the registry had `heard` what was
    /// asked for at that time.
    pub(crate) fn enter(
        &mut self,
        now: Instant,
        table: Option<&Table>,
        uses: &[Use],
        relayed: (u64, BTreeMap<KeyId, u64>),
        heard: Option<Instant>,
    ) -> (Table, HashMap<Account, u64>) {
        self.round += 1;
        let mut next = table.cloned().unwrap_or_default();
        let own = next.nodes.remove(&self.own);
        self.find_relayed_before(own.as_ref());
        let is_lost = match (&self.entered, &own) {
            (None, _) => table.is_none(),
            (Some(_), None) => true,
            // Of a process before this one, or of this one as it was: the store has fallen back.
            (Some(_), Some(own)) => own.epoch != self.epoch || own.round < self.written,
        };
        if is_lost || next.born == 0 {
            next.born = u64::from_be_bytes(random_bytes()).max(1);
        }
        if self.known.is_none_or(|(born, _)| born != next.born) {
            self.known = Some((next.born, now));
        }
        self.look(now, &next);
        self.clear_retired(now, &mut next, relayed.0);
        let may_grow = self.may_grow(now, &next);
        let own = own.filter(|own| !is_lost && self.is_own(own, next.born));
        self.inherit(now, own.as_ref());
        let is_heard = self.told.is_none_or(|told| heard == Some(told));
        let mut parts = HashMap::new();
        let leases = uses.iter().map(|asked| {
            let asked = &self.with_inherited(now, *asked);
            let granted = self.grant(now, &next, asked, may_grow);
            parts.insert(asked.account, granted);
            // The registry is told first that it has less: until it has heard that, it may give away what it had, and
            // others must not be given that too. Before it was told anything it took an equal part.
            let equal = alone(asked.limit, self.nodes.len(), asked.account.kind);
            let told = self.parts.get(&asked.account).copied();
            let there = own.as_ref().and_then(|own| own.leases.get(&asked.account));
            let there = there.map_or(told.unwrap_or(equal), |there| there.granted);
            let least = match told {
                Some(told) if is_heard => told.max(asked.in_use),
                _ => there,
            };
            let lease = Lease {
                granted: granted.max(least.min(there)),
                need: asked.need.min(asked.limit),
                reserve: reserve(asked, self.nodes.len()),
            };
            (asked.account, lease)
        });
        let entry = Entry {
            born: next.born,
            epoch: self.epoch,
            round: self.round,
            leases: leases.collect(),
            month: relayed.0,
            relayed: self.relayed_before.raise(relayed.0, relayed.1),
        };
        next.nodes.insert(self.own, entry);
        (next, parts)
    }

    /// Whether this entry of this node is what it has: by this process, or at first by the one before it in this
    /// table.
    fn is_own(&self, own: &Entry, born: u64) -> bool {
        let is_before = self.entered.is_none() && Some(own.epoch) == self.before;
        own.epoch == self.epoch || is_before && own.born == born
    }

    /// Takes note of what keys have relayed here by the entry of another process.
    fn find_relayed_before(&mut self, own: Option<&Entry>) {
        if let Some(of_another) = own.filter(|own| own.epoch != self.epoch) {
            self.relayed_before.find(of_another);
        }
    }

    /// Takes over what the process before this one had, whose entry is found once at the most.
    fn inherit(&mut self, now: Instant, own: Option<&Entry>) {
        if let Some(before) = own.filter(|own| own.epoch != self.epoch) {
            let had = before.leases.iter();
            let had = had.map(|(account, lease)| (*account, lease.granted));
            let since = self.inherited.as_ref().map_or(now, |(_, since)| *since);
            self.inherited = Some((had.collect(), since));
        }
    }

    /// What was had of a limit by the process before this one, whose peers are about to come back.
    fn inherited(&self, now: Instant, account: Account) -> u64 {
        let inherited = self.inherited.as_ref();
        let is_good = |since: Instant| now.saturating_duration_since(since) < INHERITED_FOR;
        let inherited = inherited.filter(|(_, since)| is_good(*since));
        let had = inherited.and_then(|(had, _)| had.get(&account));
        had.copied().unwrap_or_default()
    }

    /// As the registry says it, with those who are about to come back.
    fn with_inherited(&self, now: Instant, asked: Use) -> Use {
        Use {
            need: asked.need.max(self.inherited(now, asked.account)),
            ..asked
        }
    }

    /// The table was written as this node would have it: what it may give away, as it asked then.
    pub(crate) fn on_entered(
        &mut self,
        asked: Instant,
        table: &Table,
        parts: HashMap<Account, u64>,
    ) -> Parts {
        let own = table.nodes.get(&self.own);
        self.parts = parts;
        self.told = Some(asked);
        self.written = self.round;
        self.entered = Some((table.born, asked));
        let mut elsewhere = self.relayed_before.beyond().clone();
        let month = own.map_or(0, |own| own.month);
        let others = table.nodes.iter().filter(|(node, _)| **node != self.own);
        for (_, entry) in others.filter(|(_, entry)| entry.month == month) {
            for (key, bytes) in &entry.relayed {
                let sum = elsewhere.entry(*key).or_default();
                *sum = sum.saturating_add(*bytes);
            }
        }
        Parts {
            asked,
            parts: self.parts.clone(),
            month,
            relayed_elsewhere: elsewhere,
        }
    }

    /// Nobody knows whether the table was written. What this node has is what it has in either case; what it may give
    /// away then, as it was asked for before.
    pub(crate) fn on_unknown(&mut self, parts: &HashMap<Account, u64>) -> &HashMap<Account, u64> {
        for (account, part) in &mut self.parts {
            *part = (*part).min(parts.get(account).copied().unwrap_or_default());
        }
        &self.parts
    }

    /// Takes note of how long the entries of others have stood still.
    fn look(&mut self, now: Instant, table: &Table) {
        for (node, entry) in &table.nodes {
            let (epoch, round) = (entry.epoch, entry.round);
            let is_another = |seen: &Seen| (seen.epoch, seen.round) != (epoch, round);
            if self.seen.get(node).is_none_or(is_another) {
                let seen = Seen {
                    epoch,
                    round,
                    at: now,
                };
                self.seen.insert(*node, seen);
            }
        }
    }

    /// Takes away what nodes had that are in the list no more and must have gone down: who begins later would take
    /// their entries for new ones. What they have relayed in this month stays.
    fn clear_retired(&self, now: Instant, table: &mut Table, month: u64) {
        let is_gone = |node: u8| {
            let is_listed = node == self.own || self.nodes.contains(&node);
            !is_listed && self.still_for(now, node) >= LIVE_FOR + KEPT_FOR
        };
        table
            .nodes
            .retain(|node, entry| !is_gone(*node) || entry.month >= month);
        for (_, entry) in table.nodes.iter_mut().filter(|(node, _)| is_gone(**node)) {
            entry.leases.clear();
        }
    }

    /// How long the entry of a node has stood still.
    fn still_for(&self, now: Instant, node: u8) -> Duration {
        let seen = self.seen.get(&node);
        seen.map_or(Duration::MAX, |seen| now.saturating_duration_since(seen.at))
    }

    /// Whether all are known that may hold a part: each has entered this table, or must have gone down by itself.
    fn may_grow(&self, now: Instant, table: &Table) -> bool {
        let since = self.known.map_or(now, |(_, since)| since);
        if now.saturating_duration_since(since) >= LIVE_FOR + KEPT_FOR {
            return true;
        }
        let others = self.nodes.iter().filter(|node| **node != self.own);
        let mut entries = others.map(|node| table.nodes.get(node));
        entries.all(|entry| entry.is_some_and(|entry| entry.born == table.born))
    }

    fn grant(&self, now: Instant, table: &Table, asked: &Use, may_grow: bool) -> u64 {
        let (limit, account) = (asked.limit, asked.account);
        let equal = alone(limit, self.nodes.len(), account.kind);
        let is_good =
            |(_, asked): (u64, Instant)| now.saturating_duration_since(asked) < GOOD_FOR + LAST_FOR;
        let held = self
            .parts
            .get(&account)
            .filter(|_| self.entered.is_some_and(is_good));
        let held = match self.entered {
            Some(_) => held.copied().unwrap_or_default(),
            None => self.inherited(now, account),
        };
        let (mut live, mut taken) = (0_u64, 0_u64);
        let (mut needs, mut reserves) = (0_u64, 0_u64);
        let numbers = self.nodes.iter().chain(table.nodes.keys());
        let others: std::collections::BTreeSet<u8> = numbers.copied().collect();
        for node in others.into_iter().filter(|node| *node != self.own) {
            let entry = table.nodes.get(&node);
            let is_listed = self.nodes.contains(&node);
            if !is_listed && entry.is_none_or(|entry| entry.leases.is_empty()) {
                continue;
            }
            let lease = entry.and_then(|entry| entry.leases.get(&account));
            let granted = lease.map_or(0, |lease| lease.granted);
            // A process that has just begun, or has been cut off for long, takes so much by itself.
            let least = limit / self.nodes.len().max(1) as u64;
            match self.still_for(now, node) {
                still if entry.is_some() && still < LIVE_FOR => {
                    live = live.saturating_add(granted);
                    taken = taken.saturating_add(granted.max(least));
                    needs = needs.saturating_add(lease.map_or(0, |lease| lease.need));
                    reserves = reserves.saturating_add(lease.map_or(0, |lease| lease.reserve));
                }
                still if entry.is_some() && still < LIVE_FOR + KEPT_FOR => {
                    taken = taken.saturating_add(granted.max(least));
                }
                _ if is_listed => taken = taken.saturating_add(least),
                _ => {}
            }
        }
        let wanted = fair(asked, needs, reserves, self.nodes.len()).max(asked.in_use);
        let wanted = match may_grow {
            true => wanted,
            false => wanted.min(held.max(equal)).max(asked.in_use.min(held)),
        };
        let twice = limit.saturating_mul(2);
        wanted
            .min(limit.saturating_sub(live))
            .min(twice.saturating_sub(taken))
    }
}

/// What a node would like to have at hand, beyond what it needs: so that what comes next need not wait.
fn reserve(asked: &Use, nodes: usize) -> u64 {
    let least = u64::from(!matches!(asked.account.kind, Kind::Relay));
    (asked.limit / (4 * nodes.max(1) as u64)).max(least)
}

/// What is this node's part beside what the others need and would like to have.
fn fair(asked: &Use, needs: u64, reserves: u64, nodes: usize) -> u64 {
    let limit = asked.limit;
    let need = asked.need.min(limit);
    let sum = needs.saturating_add(need);
    if sum > limit {
        let part = u128::from(limit) * u128::from(need) / u128::from(sum);
        // Where each would get less than one, who asks first gets one.
        let least = need.min(u64::from(!matches!(asked.account.kind, Kind::Relay)));
        return u64::try_from(part).unwrap_or(limit).max(least);
    }
    let own = reserve(asked, nodes);
    let all = u128::from(reserves.saturating_add(own)).max(1);
    let part = (u128::from(limit - sum) * u128::from(own) / all).min(u128::from(own));
    need + u64::try_from(part).unwrap_or(0)
}

#[cfg(test)]
mod tests;
