//! Which sessions of other nodes are relayed, and which of them have no member yet that has answered a challenge.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use p2pdbg_proto::control::SessionId;

use crate::relay_ticket::TicketKey;

/// The guests, and what opens their tickets.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) key: Option<TicketKey>,
    pub(super) table: HashMap<SessionId, Guest>,
    /// Those of which no member has answered a challenge so far, and since when they are there, in that order.
    pub(super) unproved: VecDeque<(SessionId, Instant)>,
}

#[derive(Debug)]
pub(super) struct Guest {
    pub(super) until: Instant,
    /// Since when no member is there that has answered a challenge.
    pub(super) absent_since: Option<Instant>,
}

impl Guests {
    /// Whether a session is a guest.
    pub(super) fn has(&self, session: SessionId) -> bool {
        self.table.contains_key(&session)
    }

    pub(super) fn remove(&mut self, session: SessionId) {
        if self.table.remove(&session).is_some() {
            self.prove(session);
        }
    }

    /// A member has answered its challenge.
    pub(super) fn prove(&mut self, session: SessionId) {
        if let Some(guest) = self.table.get_mut(&session) {
            guest.absent_since = None;
        }
        self.unproved.retain(|(unproved, _)| *unproved != session);
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
