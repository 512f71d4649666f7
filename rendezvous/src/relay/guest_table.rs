//! Which sessions of other nodes are relayed, which of them have no member yet that has answered a challenge, and how
//! many there are of one session and of one key.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Instant,
};

use p2pdbg_proto::rendezvous::SessionId;

use crate::{
    keys::KeyId,
    limits::{Tally, share_of_one},
    ticket_codec::{Origin, Ticket, TicketKey},
};

/// So many guests one session may be: that of the ticket which is renewed, and that of the new one.
const OF_ONE_SESSION: usize = 2;

/// And so many of which no member has answered: that of either member, with either ticket.
const UNPROVED_OF_ONE_SESSION: usize = 4;

/// Among whom a guest is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Among {
    /// Those of one session.
    Session(Origin),
    /// Those on the account of one key.
    Key(KeyId),
}

/// Guests by among whom they are counted, and in the order of their places.
#[derive(Debug, Default)]
struct GuestOrder {
    ordered: BTreeMap<(Among, u64), SessionId>,
    counts: Tally<Among>,
}

impl GuestOrder {
    fn add(&mut self, guest: &Guest, session: SessionId) {
        for (among, _) in &guest.counted {
            self.ordered.insert((*among, guest.place), session);
            self.counts.add(*among);
        }
    }

    fn remove(&mut self, guest: &Guest) {
        for (among, _) in &guest.counted {
            self.ordered.remove(&(*among, guest.place));
            self.counts.remove(among);
        }
    }

    /// The first of those, if there are more than `most` of them, and it is not this one itself.
    fn one_too_many(&self, among: Among, most: usize, but: SessionId) -> Option<SessionId> {
        if self.counts.of(&among) <= most {
            return None;
        }
        let (_, first) = self.ordered.range((among, 0)..=(among, u64::MAX)).next()?;
        (*first != but).then_some(*first)
    }
}

/// The guests, and what opens their tickets.
#[derive(Debug)]
pub(super) struct Guests {
    pub(super) key: Option<TicketKey>,
    /// Whether no more are let in, since this host goes out of service.
    pub(super) draining: bool,
    pub(super) table: HashMap<SessionId, Guest>,
    /// Those of which no member has answered a challenge so far, and since when they are there, in that order.
    pub(super) unproved: VecDeque<(SessionId, Instant)>,
    /// The same in the order in which they came.
    came: GuestOrder,
    /// The others in the order in which a member of each answered first.
    proved: GuestOrder,
    /// The next place in either order.
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
    /// Whether a member has answered a challenge.
    is_proved: bool,
    /// Its place in the order of those of which one has, or of the others.
    place: u64,
}

impl Guests {
    /// None yet; there may be so many on the account of one key.
    pub(super) fn new(per_key: usize) -> Self {
        Self {
            key: None,
            draining: false,
            table: HashMap::new(),
            unproved: VecDeque::new(),
            came: GuestOrder::default(),
            proved: GuestOrder::default(),
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
        match guest.is_proved {
            true => self.proved.remove(&guest),
            false => {
                self.came.remove(&guest);
                self.unproved.retain(|(unproved, _)| *unproved != session);
            }
        }
    }

    /// Takes one in of which no member has answered a challenge, of `places` for such; which others make room: the
    /// oldest of its own session or key, if those have as many as they may.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        session: SessionId,
        (until, counted): (Instant, Vec<(Among, usize)>),
        places: usize,
    ) -> Vec<SessionId> {
        let guest = Guest {
            until,
            absent_since: Some(now),
            counted,
            is_proved: false,
            place: self.next,
        };
        self.next += 1;
        self.came.add(&guest, session);
        self.unproved.push_back((session, now));
        let all = self.unproved.len();
        let mut oldest = Vec::new();
        for (among, _) in &guest.counted {
            let most = match among {
                Among::Session(_) => UNPROVED_OF_ONE_SESSION,
                Among::Key(_) => {
                    let others = all.saturating_sub(self.came.counts.of(among));
                    share_of_one(places, (places / 2).max(1), others).max(1)
                }
            };
            oldest.extend(self.came.one_too_many(*among, most, session));
        }
        if oldest.is_empty() && all > places {
            oldest.extend(self.unproved.front().map(|(oldest, _)| *oldest));
        }
        self.table.insert(session, guest);
        oldest
    }

    /// A member has answered its challenge; which others make room, of `places` for those.
    pub(super) fn prove(&mut self, session: SessionId, places: usize) -> Vec<SessionId> {
        let all = self.proved() + 1;
        let Some(guest) = self.table.get_mut(&session) else {
            return Vec::new();
        };
        guest.absent_since = None;
        if guest.is_proved {
            return Vec::new();
        }
        self.came.remove(guest);
        self.unproved.retain(|(unproved, _)| *unproved != session);
        guest.is_proved = true;
        guest.place = self.next;
        self.next += 1;
        self.proved.add(guest, session);
        let mut oldest = Vec::new();
        for (among, most) in &guest.counted {
            let most = match among {
                Among::Session(_) => *most,
                Among::Key(_) => {
                    let others = all.saturating_sub(self.proved.counts.of(among));
                    share_of_one(places, self.per_key, others).max(1).min(*most)
                }
            };
            oldest.extend(self.proved.one_too_many(*among, most, session));
        }
        oldest
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many there are of which a member has answered a challenge.
    pub(super) fn proved(&self) -> usize {
        self.table.len().saturating_sub(self.unproved.len())
    }
}
