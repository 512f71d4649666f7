//! Room for a peer, when there are as many as may be.
//!
//! A quarter of all places is kept for those who have a key, and a quarter for those who have none. Where those who
//! have one have taken the rest, the key that has most of them gives one up for a peer of a key that has fewer: else
//! whoever has one key, and enough addresses, would keep everybody out who has another.
//!
//! A peer without a key is here to join a nameplate, and has a session soon, or asks again every few seconds for a
//! listener that is on its way back; or it shows a voucher and waits at handles. One that does nothing of this waits
//! for nobody, and makes room for who comes: otherwise a crowd that says hello and no more would keep everybody out who
//! has a code.

use std::{collections::BTreeSet, time::Instant};

use p2pdbg_proto::rendezvous::{Refusal, Request, close};

use super::{ConnId, Effect, Now, Registry, connection::Connection};
use crate::limits::unreserved;

/// Those without a key, by the time since when each may have waited for nothing, the ones over UDP and the ones over
/// TCP. A crowd that asks while all is taken has the first looked at, not all.
#[derive(Debug, Default)]
pub(super) struct Resting {
    by_tcp: [BTreeSet<(Instant, ConnId)>; 2],
    /// How often one was looked at.
    #[cfg(test)]
    pub(super) looks: usize,
}

impl Resting {
    pub(super) fn insert(&mut self, over_tcp: bool, since: Instant, id: ConnId) {
        self.by_tcp[usize::from(over_tcp)].insert((since, id));
    }

    pub(super) fn remove(&mut self, since: Instant, id: ConnId) {
        for all in &mut self.by_tcp {
            all.remove(&(since, id));
        }
    }

    /// The one that may have rested for longest, of all or of those over TCP.
    fn first(&self, of_tcp: bool) -> Option<(Instant, ConnId)> {
        let sets = self.by_tcp.iter().skip(usize::from(of_tcp));
        sets.filter_map(BTreeSet::first).min().copied()
    }
}

impl Registry {
    /// Whether there is room for one more peer, once others have gone if need be.
    pub(super) fn has_room(&mut self, now: Now, id: ConnId, effects: &mut Vec<Effect>) -> bool {
        let has_key = self.connections.get(&id).is_some_and(Connection::has_key);
        let leaving = match has_key {
            true => self
                .room_for_holder(now.instant, id)
                .map(|gone| [gone, None]),
            false => self.leaving_for(now, id),
        };
        let Some(leaving) = leaving else {
            return false;
        };
        for gone in leaving.into_iter().flatten() {
            self.make_way(now, gone, effects);
        }
        true
    }

    /// Who has to go for a peer without a key: one with a voucher, and one that waits for nothing; or one of a
    /// key of which more have a voucher. `None` if there is no place for it then either, so that nobody goes in vain.
    fn leaving_for(&mut self, now: Now, id: ConnId) -> Option<[Option<ConnId>; 2]> {
        let bearer = self.room_for_vouched(id)?;
        let over_tcp = |id| {
            let connection = self.connections.get(&id);
            connection.is_some_and(|one| one.arrival.over_tcp)
        };
        let bearers = usize::from(bearer.is_some());
        let bearers_over_tcp = usize::from(bearer.is_some_and(over_tcp));
        let (present, limits) = (&self.present, &self.limits);
        let of_tcp = over_tcp(id)
            && present.without_key_over_tcp - bearers_over_tcp
                >= unreserved(limits.tcp_connections);
        let is_full = present.without_key - bearers >= unreserved(limits.connections);
        let idle = match of_tcp || is_full {
            true => Some(self.idlest(now.instant, of_tcp)?),
            false => None,
        };
        let idle = idle.filter(|idle| bearer != Some(*idle));
        if bearer.or(idle).is_some() || self.present.peers < self.limits.connections {
            return Some([bearer, idle]);
        }
        let idle = self.idlest(now.instant, false);
        let other = idle.or_else(|| self.yielding_to_vouched(id));
        other.map(|other| [Some(other), None])
    }

    /// Shuts a peer out, for another to have its place.
    pub(super) fn make_way(&mut self, now: Now, id: ConnId, effects: &mut Vec<Effect>) {
        self.refuse(id, Request::Other, Refusal::Full, effects);
        effects.push(Effect::Close(id, close::REFUSED));
        self.forget(now, id, false, effects);
    }

    /// The peer without a key that has waited for nothing for longest, if one has for so long that it may go. One that
    /// waits for somebody when it is looked at may stay as long again.
    pub(super) fn idlest(&mut self, now: Instant, of_tcp: bool) -> Option<ConnId> {
        let mut busy = Vec::new();
        let resting = &mut self.present.resting;
        let idle = loop {
            let Some((since, id)) = resting.first(of_tcp) else {
                break None;
            };
            if now.saturating_duration_since(since) < self.limits.keyless_rest {
                break None;
            }
            #[cfg(test)]
            {
                resting.looks += 1;
            }
            let Some(connection) = self.connections.get_mut(&id) else {
                resting.remove(since, id);
                continue;
            };
            let waits = !connection.sessions.is_empty() || !connection.handles.is_empty();
            if !waits && connection.asked <= since {
                break Some(id);
            }
            connection.rests_since = if waits { now } else { connection.asked };
            busy.push((connection.arrival.over_tcp, connection.rests_since, id));
            resting.remove(since, id);
        };
        for (over_tcp, since, id) in busy {
            resting.insert(over_tcp, since, id);
        }
        idle
    }
}
