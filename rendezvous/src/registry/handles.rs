//! Handles: where peers that know each other meet.
//!
//! A handle is a secret between its two peers, so the table holds its hash, which also spares lookups from
//! comparing secrets.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use p2pdbg_proto::rendezvous::{Handle, MeetingPoint, Refusal, Role, SessionId};

use super::{
    ConnId, Effect, Now, Registry,
    connection::{Connection, Holder, Standing},
    handle_side::HandleSide,
    limit,
};
use crate::{
    keys::KeyId,
    limits::{Rate, Tally, share_of_one, unreserved},
};

/// Who waits at a side of a handle.
#[derive(Debug)]
struct Waiter {
    conn: ConnId,
    holder: Holder,
    /// On whose account it waits, by the key or by a voucher.
    key: KeyId,
    since: Instant,
    /// Whether the store has been told of somebody there, and is to be told when nobody is any more.
    told: bool,
}

/// Who waits where: the newest registration of each side of a handle.
#[derive(Debug)]
pub(super) struct Handles {
    waiting: HashMap<HandleSide, Waiter>,
    /// How many each account without the access key has there.
    held: Tally<Holder>,
    /// How many there are on each key's account.
    by_key: Tally<KeyId>,
    /// How many those have together.
    without_key: usize,
}

impl Handles {
    pub(super) fn new() -> Self {
        Self {
            waiting: HashMap::new(),
            held: Tally::new(),
            by_key: Tally::new(),
            without_key: 0,
        }
    }

    pub(super) fn at(&self, meeting: &HandleSide) -> Option<ConnId> {
        self.waiting.get(meeting).map(|waiter| waiter.conn)
    }

    /// The handles at which listeners wait, by their digests, and since when. The store is told of all of them.
    pub(super) fn tell_listeners(&mut self) -> Vec<([u8; 32], Instant)> {
        let waiting = self.waiting.iter_mut();
        let listeners = waiting.filter(|(side, _)| side.is_listener());
        listeners
            .map(|(side, waiter)| {
                waiter.told = true;
                (side.digest(), waiter.since)
            })
            .collect()
    }

    /// The connectors whose listener is not here, and on which key's account each waits.
    pub(super) fn alone(&self) -> impl Iterator<Item = (KeyId, ConnId, HandleSide)> {
        let connectors = self.waiting.iter().filter(|(side, _)| !side.is_listener());
        let alone = connectors.filter(|(side, _)| self.at(&side.other_side()).is_none());
        alone.map(|(side, waiter)| (waiter.key, waiter.conn, *side))
    }

    /// Lets a connection wait; whose place it takes.
    fn wait(&mut self, meeting: HandleSide, mut waiter: Waiter) -> Option<ConnId> {
        let (holder, key) = (waiter.holder, waiter.key);
        waiter.told |= self.waiting.get(&meeting).is_some_and(|there| there.told);
        let replaced = self.waiting.insert(meeting, waiter);
        self.by_key.add(key);
        if !matches!(holder, Holder::Key(_)) {
            self.held.add(holder);
            self.without_key += 1;
        }
        let replaced = replaced?;
        self.release(&replaced);
        Some(replaced.conn)
    }

    /// Stops waiting, if it is this connection that waits; whether the store knows that it did.
    pub(super) fn leave(&mut self, meeting: &HandleSide, conn: ConnId) -> bool {
        if self.at(meeting) != Some(conn) {
            return false;
        }
        let left = self.waiting.remove(meeting);
        left.is_some_and(|waiter| {
            self.release(&waiter);
            waiter.told
        })
    }

    fn release(&mut self, waiter: &Waiter) {
        self.by_key.remove(&waiter.key);
        if !matches!(waiter.holder, Holder::Key(_)) {
            self.held.remove(&waiter.holder);
            self.without_key -= 1;
        }
    }

    /// Whether nobody waits at any handle.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let nobody_waits = self.waiting.is_empty() && self.without_key == 0;
        nobody_waits && self.held.is_empty() && self.by_key.is_empty()
    }
}

/// How many introductions a peer may cause: one at each handle that it may wait at, and then six a second. Whoever
/// waits is told of each, whether or not it reads.
const INTRODUCTIONS: Rate = Rate {
    burst: 64,
    per_minute: 375,
};

impl Registry {
    /// Introduces the peer to who waits on the other side of the handle, if somebody does, one of the two has the
    /// access key, and they do not share the session `already`; and lets it wait on its own side, for the next time
    /// too, if it has the key or a voucher.
    pub(super) fn meet(
        &mut self,
        now: Now,
        id: ConnId,
        handle: Handle,
        role: Role,
        already: Option<SessionId>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let meeting = HandleSide::new(&handle, role);
        let waiting = self.handles.at(&meeting.other_side());
        let waiting = waiting.filter(|other| *other != id && self.may_share([id, *other]));
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let (holder, key, keyless) = (
            connection.holder(),
            connection.key().unwrap_or(KeyId::NOBODY),
            connection.standing == Standing::Keyless,
        );
        if !keyless {
            self.may_wait(&self.connections[&id], &meeting)?;
        }
        if waiting.is_none() && role == Role::Connector {
            self.seek(now, id, &meeting, effects);
        }
        if waiting.is_none() && keyless {
            return Err(Refusal::NobodyThere);
        }
        let together = |other| already.is_some_and(|s| self.sessions.joins(s, id, other));
        if let Some(waiting) = waiting.filter(|other| !together(*other)) {
            let (listener, connector) = match role {
                Role::Listener => (id, waiting),
                Role::Connector => (waiting, id),
            };
            self.pay_for_introduction(now, id)?;
            let point = MeetingPoint::Handle(handle);
            self.introduce(now, point, listener, connector, effects)?;
        }
        if keyless {
            // It has shown nothing yet that lasts longer than this session.
            return Ok(());
        }
        let waiter = Waiter {
            conn: id,
            holder,
            key,
            since: now.instant,
            told: self.note_waiting(now, id, &meeting, effects),
        };
        if let Some(replaced) = self.handles.wait(meeting, waiter)
            && replaced != id
            && let Some(replaced) = self.connections.get_mut(&replaced)
        {
            replaced.handles.remove(&meeting);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.handles.insert(meeting);
        }
        Ok(())
    }

    fn pay_for_introduction(&mut self, now: Now, id: ConnId) -> Result<(), Refusal> {
        match self.connections.get_mut(&id) {
            Some(peer) => peer
                .introductions
                .take(INTRODUCTIONS, now.instant, 1)
                .map_err(limit),
            None => Ok(()),
        }
    }

    /// Whether there is room for a connection to wait, if it does not wait there already.
    fn may_wait(&self, connection: &Connection, meeting: &HandleSide) -> Result<(), Refusal> {
        let (handles, most) = (&self.handles, self.limits.waiting);
        let own = self.limits.waiting_per_connection;
        let holder = connection.holder();
        let without_key = !connection.has_key();
        if connection.handles.contains(meeting) {
            return Ok(());
        }
        let key = connection.key().unwrap_or(KeyId::NOBODY);
        let others = handles
            .waiting
            .len()
            .saturating_sub(handles.by_key.of(&key));
        let of_key = share_of_one(most, self.limits.waiting_per_key, others);
        let of_key = if without_key {
            unreserved(of_key)
        } else {
            of_key
        };
        // Who comes back before it was missed takes its own place.
        let is_own = handles.waiting.get(meeting).is_some_and(|w| w.key == key);
        if connection.handles.len() >= own
            || without_key && handles.held.of(&holder) >= own
            || !is_own && handles.by_key.of(&key) >= of_key
        {
            return Err(limit(Duration::from_secs(60)));
        }
        let full = handles.waiting.len() >= most && !handles.waiting.contains_key(meeting)
            || without_key && handles.without_key >= unreserved(most);
        if full { Err(Refusal::Full) } else { Ok(()) }
    }

    /// Has a connection wait at a handle no longer; nothing if it did not.
    pub(super) fn unmeet(&mut self, id: ConnId, meeting: &HandleSide, effects: &mut Vec<Effect>) {
        if self.handles.leave(meeting, id) {
            self.note_left(meeting, effects);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.handles.remove(meeting);
        }
    }
}
