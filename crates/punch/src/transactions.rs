//! Requests under way: which transaction was sent where, when and what for.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_stun::TransactionId;

use crate::{
    SocketId,
    check::{Length, Nominated},
};

/// How long an answer is waited for. Longer than any round trip that is of use.
const LIFETIME: Duration = Duration::from_secs(10);

/// Requests that are remembered at once, above what any search sends in [`LIFETIME`].
const CAPACITY: usize = 8192;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Asks a STUN server for the mapped address.
    Server,
    /// Checks a pair, nominating it if there is a nomination.
    Check {
        nomination: Option<Nominated>,
        length: Length,
    },
}

impl Purpose {
    /// A check that only asks whether the pair works.
    pub(crate) const CHECK: Self = Self::Check {
        nomination: None,
        length: Length::Short,
    };
}

/// A request that was sent and has no answer yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) at: Instant,
    pub(crate) purpose: Purpose,
}

/// Every transmission is a transaction of its own, so that a round trip is never measured against the wrong copy.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    sent: HashMap<TransactionId, Sent>,
    order: VecDeque<(Instant, TransactionId)>,
}

impl Transactions {
    pub(crate) fn insert(&mut self, id: TransactionId, sent: Sent) {
        while let Some(&(at, oldest)) = self.order.front() {
            if sent.at.duration_since(at) < LIFETIME && self.order.len() < CAPACITY {
                break;
            }
            self.order.pop_front();
            self.sent.remove(&oldest);
        }
        self.order.push_back((sent.at, id));
        self.sent.insert(id, sent);
    }

    pub(crate) fn peek(&self, id: TransactionId) -> Option<&Sent> {
        self.sent.get(&id)
    }

    /// Takes a request that was answered; a second answer finds nothing.
    pub(crate) fn take(&mut self, id: TransactionId) -> Option<Sent> {
        self.sent.remove(&id)
    }
}
