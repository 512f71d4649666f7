//! Whether there may be another session, and which ones end for it.

use std::time::{Duration, Instant};

use p2pdbg_proto::rendezvous::{MeetingPoint, Refusal, SessionId};

use super::{ConnId, Registry, connection::Holder, limit};
use crate::{
    keys::KeyId,
    limits::{Prefix, share_of_one, unreserved},
};

impl Registry {
    /// The sessions that end if these two begin another one: the oldest of the two's own, if they have as many together
    /// as they may, and one of whoever has most with one of them, if that has all that it may. Whatever else might keep
    /// another session from beginning is to be asked as if they had ended.
    pub(super) fn ending_for_another(
        &self,
        place: &MeetingPoint,
        [listener, connector]: [ConnId; 2],
    ) -> Vec<SessionId> {
        let of_one = self.connections.get(&listener);
        let of_one = of_one.into_iter().flat_map(|one| &one.sessions);
        let superfluous = self.sessions.superfluous(of_one, [listener, connector]);
        let mut ending: Vec<_> = superfluous.into_iter().collect();
        // Not for whoever has guessed at a code.
        if matches!(place, MeetingPoint::Handle(_)) {
            ending.extend(self.ending_for_others(listener, connector, &ending));
            ending.extend(self.ending_for_others(connector, listener, &ending));
        }
        ending
    }

    /// The sessions whose place another one of these two would take, once both have confirmed it: a key that has all
    /// that it may has room for it, or its members could not go on together until one of them came anew.
    pub(super) fn replaced_by_another(
        &self,
        place: &MeetingPoint,
        ids: [ConnId; 2],
    ) -> Vec<SessionId> {
        // Whoever has guessed at a code has confirmed nothing by that.
        let of_one = match place {
            MeetingPoint::Handle(_) => self.connections.get(&ids[0]),
            MeetingPoint::Nameplate(_) => None,
        };
        let of_one = of_one.into_iter().flat_map(|one| &one.sessions);
        self.sessions.succeeded(of_one, ids)
    }

    /// What makes room at a connection that has all the sessions that it may, at the cost of whoever has most of them:
    /// one peer that comes by many connections would keep all others out.
    fn ending_for_others(
        &self,
        at: ConnId,
        comes: ConnId,
        ending: &[SessionId],
    ) -> Option<SessionId> {
        let (full, other) = (self.connections.get(&at)?, self.connections.get(&comes)?);
        let staying = || full.sessions.iter().filter(|one| !ending.contains(one));
        if staying().count() < self.limits.sessions_per_connection {
            return None;
        }
        let comes = (other.holder(), Prefix::of(other.ip));
        self.sessions.of_the_greediest(staying(), at, comes)
    }

    /// Whether these two may begin another session, on the account of these keys, once these sessions have ended; in
    /// the place of the others on their keys' accounts. One of the two has shown nothing if one is `unknown`.
    pub(super) fn may_begin(
        &mut self,
        now: Instant,
        ids: [ConnId; 2],
        keys: [KeyId; 2],
        unknown: bool,
        [ending, replaced]: [&[SessionId]; 2],
    ) -> Result<(), Refusal> {
        self.has_room_for_session(unknown, ending)?;
        for id in ids {
            self.may_hold_another(id, ending)?;
        }
        let mut not_counted = ending.to_vec();
        not_counted.extend(replaced.iter().filter(|one| !ending.contains(one)));
        for key in keys {
            self.key_may_have_a_session(now, key, &not_counted)?;
        }
        Ok(())
    }

    /// Whether there can be another session once these have ended, with a member without a key if one is `unknown`.
    fn has_room_for_session(&self, unknown: bool, ending: &[SessionId]) -> Result<(), Refusal> {
        let most = self.limits.sessions;
        let is_full = self.sessions.len_without(ending) >= most;
        if is_full || unknown && self.sessions.unconfirmed_without(ending) >= unreserved(most) {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Whether a connection, and whoever is behind it, may have another session once these have ended.
    fn may_hold_another(&self, id: ConnId, ending: &[SessionId]) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let holder = connection.holder();
        let allowed = match holder {
            Holder::Key(key) => {
                let of_key = self.sessions.of_key_without(key, ending);
                let others = self.sessions.len_without(ending).saturating_sub(of_key);
                share_of_one(self.limits.sessions, self.limits.sessions_per_key, others)
            }
            Holder::Voucher(_) | Holder::Address(_) => self.limits.sessions_per_voucher,
        };
        let own = connection.sessions.iter();
        let own = own.filter(|one| !ending.contains(one)).count();
        let is_within = own < self.limits.sessions_per_connection;
        if is_within && self.sessions.held_without(holder, ending) < allowed {
            Ok(())
        } else {
            Err(limit(Duration::from_secs(60)))
        }
    }
}
