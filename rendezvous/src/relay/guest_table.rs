//! Which sessions of other nodes are relayed, which of them have no member yet that has answered a challenge, and how
//! many there are of one session and of one key.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Instant,
};

use p2pdbg_proto::control::SessionId;

use crate::{
    keys::KeyId,
    limits::Tally,
    relay_ticket::{Origin, Ticket, TicketKey},
};

/// So many guests one session may be: that of the ticket which is renewed, and that of the new one.
const OF_ONE_SESSION: usize = 2;

/// Among whom a guest is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Among {
    /// Those of one session.
    Session(Origin),
    /// Those on the account of one key.
    Key(KeyId),
}

/// The guests, and what opens their tickets.
#[derive(Debug)]
pub(super) struct Guests {
    pub(super) key: Option<TicketKey>,
    pub(super) table: HashMap<SessionId, Guest>,
    /// Those of which no member has answered a challenge so far, and since when they are there, in that order.
    pub(super) unproved: VecDeque<(SessionId, Instant)>,
    /// The others, by among whom they are counted and in the order in which a member of each answered first.
    proved: BTreeMap<(Among, u64), SessionId>,
    counts: Tally<Among>,
    /// The next place in that order.
    next: u64,
    /// So many there may be on the account of one key.
    per_key: usize,
}

#[derive(Debug)]
pub(super) struct Guest {
    pub(super) until: Instant,
    /// Since when no member is there that has answered a challenge.
    pub(super) absent_since: Option<Instant>,
    /// Among whom it is counted, and how many those may be.
    pub(super) counted: Vec<(Among, usize)>,
    /// Its place in the order of those of which a member has answered; none before.
    pub(super) place: Option<u64>,
}

impl Guests {
    /// None yet; there may be so many on the account of one key.
    pub(super) fn new(per_key: usize) -> Self {
        Self {
            key: None,
            table: HashMap::new(),
            unproved: VecDeque::new(),
            proved: BTreeMap::new(),
            counts: Tally::new(),
            next: 0,
            per_key: per_key.max(1),
        }
    }

    /// Among whom the guest of a ticket is counted, and how many those may be.
    pub(super) fn counted(&self, ticket: &Ticket) -> Vec<(Among, usize)> {
        let mut counted = vec![(Among::Session(ticket.origin), OF_ONE_SESSION)];
        for terms in &ticket.terms {
            let own = terms.sessions.map(|most| {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                most.saturating_mul(OF_ONE_SESSION).max(1)
            });
            let most = own.map_or(self.per_key, |own| own.min(self.per_key));
            let key = Among::Key(terms.key);
            if counted.iter().all(|(among, _)| *among != key) {
                counted.push((key, most));
            }
        }
        counted
    }

    /// Whether a session is a guest.
    pub(super) fn has(&self, session: SessionId) -> bool {
        self.table.contains_key(&session)
    }

    pub(super) fn remove(&mut self, session: SessionId) {
        let Some(guest) = self.table.remove(&session) else {
            return;
        };
        match guest.place {
            Some(place) => {
                for (among, _) in guest.counted {
                    self.proved.remove(&(among, place));
                    self.counts.remove(&among);
                }
            }
            None => self.unproved.retain(|(unproved, _)| *unproved != session),
        }
    }

    /// A member has answered its challenge; which others make room.
    pub(super) fn prove(&mut self, session: SessionId) -> Vec<SessionId> {
        let Some(guest) = self.table.get_mut(&session) else {
            return Vec::new();
        };
        guest.absent_since = None;
        if guest.place.is_some() {
            return Vec::new();
        }
        let place = self.next;
        self.next += 1;
        guest.place = Some(place);
        self.unproved.retain(|(unproved, _)| *unproved != session);
        let mut oldest = Vec::new();
        for (among, most) in &guest.counted {
            self.proved.insert((*among, place), session);
            self.counts.add(*among);
            if self.counts.of(among) > *most {
                let first = self.proved.range((*among, 0)..(*among, place)).next();
                oldest.extend(first.map(|(_, session)| *session));
            }
        }
        oldest
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
