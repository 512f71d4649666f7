//! Sessions of other nodes that this one relays, by ticket: who is let in, and when they end.
//!
//! The registry knows nothing of them. A guest ends with its ticket, or before it when neither member has been there
//! for a while: nobody tells this host that a session is over.
//!
//! Whoever has caught a BIND on its way can send it again for as long as its ticket is good, and cannot answer the
//! challenge. So until a member has, a place is one of few, for a moment, of which one key has half of what the others
//! leave, and the oldest of those makes room.
//!
//! Who has a key can have as many tickets made as it likes, and hold a place with each for an hour. So the places of
//! one session, and of all on one key's account, are few of all, and there too the oldest makes room: for one of which
//! a member has answered, since else a BIND that was caught would end others' sessions. However many keys take all that
//! they may, there is room for one more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    relay::{RelayFrame, bind_is_genuine, ticket_in},
    rendezvous::SessionId,
};

use super::Relay;
use crate::{
    relay_allowance::LegMeter,
    ticket_codec::{Ticket, TicketKey},
};

/// So long both members may take to bind their legs, or to bind them again.
const ABSENT: Duration = Duration::from_secs(60);

/// So long the first answer of a member may take. It gives its leg up after as long.
const UNPROVED: Duration = Duration::from_secs(5);

impl Relay {
    /// Lets sessions of other nodes in by tickets under this key.
    pub(crate) fn take_tickets(&mut self, key: TicketKey) {
        self.guests.key = Some(key);
    }

    /// Lets no more of them in, or lets them in again. Those that are here go on until they end.
    pub(crate) fn drain(&mut self, draining: bool) {
        self.guests.draining = draining;
    }

    /// How many sessions of other nodes there are.
    pub(crate) fn guests(&self) -> usize {
        self.guests.len()
    }

    /// The ticket in a BIND for a leg that is not known here, if it is good: made by a node of the cluster for this
    /// one, and brought by who has the leg's key. Whoever has caught it on its way has not.
    pub(crate) fn admit(&self, unix_s: u64, datagram: &[u8]) -> Option<Ticket> {
        let sealed = ticket_in(datagram)?;
        let Ok(RelayFrame::Bind { leg, mac }) = RelayFrame::decode(datagram) else {
            return None;
        };
        if self.legs.contains_key(&leg) || !self.takes_guests() {
            return None;
        }
        let ticket = self.guests.key.as_ref()?.open(sealed, unix_s)?;
        let grant = ticket.legs.iter().find(|grant| grant.leg == leg)?;
        bind_is_genuine(&grant.key, &leg, &mac).then_some(ticket)
    }

    /// Opens the legs of a session of another node's until then, unless they are open.
    pub(crate) fn open_guest(
        &mut self,
        now: Instant,
        ticket: Ticket,
        meters: [Arc<LegMeter>; 2],
        until: Instant,
    ) {
        let counted = self.guests.counted(&ticket);
        let Ticket { session, legs, .. } = ticket;
        let [one, other] = legs.each_ref().map(|grant| &grant.leg);
        let is_taken = self.legs.contains_key(one) || self.legs.contains_key(other) || one == other;
        if is_taken
            // What was admitted a moment before is asked again, since it comes by way of the hub.
            || self.sessions.contains_key(&session)
            || !self.takes_guests()
        {
            return;
        }
        let places = self.most_unproved();
        let guest = (until, counted);
        for oldest in self.guests.take_in(now, session, guest, places) {
            self.close(oldest);
        }
        self.open(session, legs, meters);
    }

    /// Whether there is room for another one. There is a bound on all, so that guests leave room for sessions of this
    /// host's own.
    fn takes_guests(&self) -> bool {
        !self.guests.draining && self.guests.proved() < self.capacity / 4
    }

    /// A member has answered its challenge, or come over TCP with the same proof.
    pub(super) fn prove_guest(&mut self, session: SessionId) {
        for oldest in self.guests.prove(session, self.capacity / 4) {
            self.close(oldest);
        }
    }

    /// A bound on places that nobody has proved to need.
    fn most_unproved(&self) -> usize {
        (self.capacity / 16).max(1)
    }

    /// Ends guests whose time is over, who have left, or who have not come.
    pub(super) fn expire_guests(&mut self, now: Instant) {
        let unproved = self.guests.unproved.iter();
        let late = unproved.take_while(|(_, since)| now >= *since + UNPROVED);
        let mut over: Vec<SessionId> = late.map(|(session, _)| *session).collect();
        for (session, guest) in &mut self.guests.table {
            let legs = self.sessions.get(session).into_iter().flatten();
            let is_present = { legs }.any(|leg| leg.is_proved());
            match is_present {
                true => guest.absent_since = None,
                false => {
                    guest.absent_since.get_or_insert(now);
                }
            }
            let absent = guest.absent_since;
            let has_left = absent.is_some_and(|since| now >= since + ABSENT);
            if guest.until <= now || has_left {
                over.push(*session);
            }
        }
        for session in over {
            self.close(session);
        }
    }
}

#[cfg(test)]
mod tests;
