//! Limits of a key that several nodes share: what this one uses of them, and what it may give away.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use p2pdbg_proto::rendezvous::Refusal;

use super::{ConnId, Effect, Registry, limit};
use crate::{
    cluster_store::{Ask, MISSED_FOR},
    keys::KeyId,
    leases::{Account, Kind, Parts, Use, part},
    limits::{Prefix, unreserved},
};

/// When a peer may ask again that was refused for want of a part: by then this node has asked for more of it.
const MORE_SOON: Duration = Duration::from_secs(4);

/// What was asked for in vain is needed for so long: until whoever asked does so again.
const UNMET_FOR: Duration = Duration::from_secs(6);

/// When it may ask again if all of the limit is given away.
const ALL_GIVEN: Duration = Duration::from_secs(60);

/// So many addresses are known by what joins from there have found nobody.
const MOST_MISSED: usize = 16_384;

/// Joins at other nodes are owed for so long at the most.
pub(super) const OWED_FOR: Duration = Duration::from_secs(300);

/// Whether what was refused may be had soon, since only this node's part of a limit is used up.
pub(super) fn is_met_soon(refusal: &Refusal) -> bool {
    *refusal == limit(MORE_SOON)
}

/// What a node may give away of the keys' limits.
#[derive(Debug)]
pub(super) struct SharedLimits {
    nodes: usize,
    shares: Option<Parts>,
    /// What was asked for in vain, and when it was last.
    unmet: HashMap<Account, Instant>,
    /// How many joins from an address, of those with a key or of the others, had found nobody when this node heard of
    /// it last.
    missed: HashMap<(Prefix, bool), (u64, Instant)>,
}

impl SharedLimits {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            shares: None,
            unmet: HashMap::new(),
            missed: HashMap::new(),
        }
    }

    /// How many of so many joins that found nobody were at other nodes, and are new; `own` were at this one since it
    /// heard of them last.
    fn missed_elsewhere(&mut self, now: Instant, of: (Prefix, bool), count: u64, own: u32) -> u64 {
        if self.missed.len() >= MOST_MISSED {
            self.missed
                .retain(|_, (_, at)| now.saturating_duration_since(*at) < MISSED_FOR);
        }
        if self.missed.len() >= MOST_MISSED && !self.missed.contains_key(&of) {
            // Nothing would tell the next time what has been charged already.
            return 0;
        }
        let before = self.missed.insert(of, (count, now));
        // A count below the one before has begun anew.
        let before = before.map_or(0, |(before, _)| before);
        let new = count.checked_sub(before).unwrap_or(count);
        new.saturating_sub(u64::from(own))
    }

    fn part(&self, now: Instant, account: Account, limit: u64) -> u64 {
        part(self.shares.as_ref(), now, account, limit, self.nodes)
    }
}

impl Registry {
    /// What this node may give away from now on.
    pub(crate) fn on_parts(&mut self, shares: Parts) {
        if let Some(shared) = self.shared_limits() {
            shared.shares = Some(shares);
        }
    }

    /// A join of this connection has found nobody, which counts at all nodes.
    pub(super) fn note_miss(&mut self, id: ConnId, effects: &mut Vec<Effect>) {
        let connection = self.connections.get(&id);
        let of = connection.map(|connection| (Prefix::of(connection.ip), connection.has_key()));
        if let Some((of, with_key)) = of.filter(|_| self.shared_limits().is_some()) {
            effects.push(Effect::Ask(Ask::Missed(of, with_key, 1)));
        }
    }

    /// So many joins from an address have found nobody at all nodes, `own` of them here: what others have seen of them
    /// costs as much here, and is owed if there is not so much.
    pub(super) fn on_missed(
        &mut self,
        now: Instant,
        (of, with_key): (Prefix, bool),
        count: u64,
        own: u32,
    ) {
        let (rate, cost) = (self.limits.joins, self.limits.join_miss_cost);
        let Some(shared) = self.shared_limits() else {
            return;
        };
        let elsewhere = shared.missed_elsewhere(now, (of, with_key), count, own);
        // The other nodes let no address miss more often in a minute: whoever writes other counts into the store shuts
        // an address out for no longer than that is worth.
        let others = u64::try_from(shared.nodes.saturating_sub(1)).unwrap_or(u64::MAX);
        let each = u64::from(rate.burst.saturating_add(rate.per_minute) / cost.max(1));
        let elsewhere = elsewhere.min(others.saturating_mul(each));
        let cost = cost.saturating_mul(u32::try_from(elsewhere).unwrap_or(u32::MAX));
        let joins = match with_key {
            true => &mut self.joins_with_key,
            false => &mut self.joins,
        };
        if cost > 0 {
            joins.owe(of.ip(), rate, now, cost, OWED_FOR);
        }
    }

    /// When this node asked for what it goes by.
    pub(crate) fn heard_parts(&mut self) -> Option<Instant> {
        Some(self.shared_limits()?.shares.as_ref()?.asked)
    }

    /// What keys use here of their limits, for the other nodes. What they relay, `relaying` says, in bytes a second;
    /// none if there are no nodes with whom to share.
    pub(crate) fn uses(
        &mut self,
        now: Instant,
        relaying: &HashMap<KeyId, u64>,
    ) -> Option<Vec<Use>> {
        let unmet = &mut self.shared_limits()?.unmet;
        unmet.retain(|_, at| now.saturating_duration_since(*at) < UNMET_FOR);
        let unmet = unmet.clone();
        let taken = self.taken_by_key();
        let mut uses = Vec::new();
        for key in self.keys.ids() {
            let (limits, taken) = (self.keys.limits(key), taken.get(&key));
            let taken = taken.copied().unwrap_or_default();
            let counts = [
                (Kind::Peers, limits.peers, taken.peers),
                (Kind::Sessions, limits.sessions, taken.sessions),
                (Kind::Codes, limits.codes, taken.codes),
            ];
            for (kind, limit, in_use) in counts {
                let account = Account { key, kind };
                let (Some(limit), in_use) = (limit, in_use as u64) else {
                    continue;
                };
                let need = in_use + u64::from(unmet.contains_key(&account));
                let limit = limit as u64;
                uses.push(Use {
                    account,
                    limit,
                    in_use,
                    need,
                });
            }
            if let Some(limit) = limits.relay_bytes_per_second() {
                let kind = Kind::Relay;
                uses.push(Use {
                    account: Account { key, kind },
                    limit,
                    in_use: 0,
                    need: relaying.get(&key).copied().unwrap_or_default(),
                });
            }
        }
        Some(uses)
    }

    /// Whether there may be one more of a kind, of which there are `in_use` here and may be `limit` at all nodes.
    pub(super) fn may_give(
        &mut self,
        now: Instant,
        key: KeyId,
        kind: Kind,
        limit_of_all: usize,
        in_use: usize,
    ) -> Result<(), Refusal> {
        if in_use >= limit_of_all {
            return Err(limit(ALL_GIVEN));
        }
        self.fits(now, Account { key, kind }, limit_of_all, |all| all, in_use)
    }

    /// The same of peers with a voucher, of whom there are `vouched` here: the last quarter of what this node may give
    /// away is for those who have the key.
    pub(super) fn may_give_vouched(
        &mut self,
        now: Instant,
        key: KeyId,
        limit_of_all: usize,
        in_use: usize,
        vouched: usize,
    ) -> Result<(), Refusal> {
        let kind = Kind::Peers;
        self.may_give(now, key, kind, limit_of_all, in_use)?;
        self.fits(
            now,
            Account { key, kind },
            limit_of_all,
            unreserved,
            vouched,
        )
    }

    /// Whether there may be one more than `count` of what there may be `of` all that this node may give away.
    fn fits(
        &mut self,
        now: Instant,
        account: Account,
        limit_of_all: usize,
        of: fn(usize) -> usize,
        count: usize,
    ) -> Result<(), Refusal> {
        let Some(shared) = self.shared_limits() else {
            return match count < of(limit_of_all) {
                true => Ok(()),
                false => Err(limit(ALL_GIVEN)),
            };
        };
        let part = shared.part(now, account, limit_of_all as u64);
        if count < of(usize::try_from(part).unwrap_or(usize::MAX)) {
            shared.unmet.remove(&account);
            return Ok(());
        }
        shared.unmet.insert(account, now);
        Err(limit(MORE_SOON))
    }

    fn shared_limits(&mut self) -> Option<&mut SharedLimits> {
        self.cluster.as_mut()?.shared_limits()
    }
}
