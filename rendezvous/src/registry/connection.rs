//! What is remembered of a control connection while it lasts.

use std::{collections::HashSet, net::IpAddr, time::Instant};

use p2pdbg_proto::{code::Nameplate, rendezvous::SessionId};

use super::{Arrival, handle_side::HandleSide, prepared::Prepared};
use crate::{
    keys::KeyId,
    limits::{Bucket, Prefix},
    registry::voucher_codec::Account,
};

/// How a peer is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not said hello.
    Stranger {
        /// When it is shut out if it has not said hello by then.
        greet_by: Instant,
    },
    /// It has said hello and shown nothing: it may join a nameplate.
    Keyless,
    /// It has a voucher for waiting at handles, granted under this key.
    Vouched(KeyId, Account),
    /// It has this key, or none is needed.
    Full(KeyId),
}

/// Whose sessions are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Key(KeyId),
    Voucher(Account),
    Address(Prefix),
}

#[derive(Debug)]
pub(super) struct Connection {
    /// Where it comes from; an IPv4 address as such.
    pub(super) ip: IpAddr,
    /// What it is to be told about that.
    pub(super) arrival: Arrival,
    /// How it is let in.
    pub(super) standing: Standing,
    /// Until when it may say hello.
    pub(super) greet_by: Instant,
    /// When it came, or asked for somebody last.
    pub(super) asked: Instant,
    /// Since when it may have waited for nothing, as [`super::room::Resting`] has it.
    pub(super) rests_since: Instant,
    /// What it may say yet.
    pub(super) messages: Bucket,
    /// What of that may be signals.
    pub(super) signals: Bucket,
    /// How many introductions at handles it may cause yet.
    pub(super) introductions: Bucket,
    /// What the store may be told and asked because of it.
    pub(super) asks: Bucket,
    pub(super) nameplates: HashSet<Nameplate>,
    pub(super) handles: HashSet<HandleSide>,
    /// What it says to the next whom it meets.
    pub(super) prepared: Prepared,
    /// What it is a member of.
    pub(super) sessions: HashSet<SessionId>,
    /// Whether it has been told to go to another node, since this one goes out of service.
    pub(super) sent_on: bool,
}

impl Connection {
    /// A connection that has been made at this time, and has until `greet_by` to say hello.
    pub(super) fn new(arrival: Arrival, now: Instant, greet_by: Instant) -> Self {
        Self {
            ip: arrival.observed.ip().to_canonical(),
            arrival,
            standing: Standing::Stranger { greet_by },
            greet_by,
            asked: now,
            rests_since: now,
            messages: Bucket::default(),
            signals: Bucket::default(),
            introductions: Bucket::default(),
            asks: Bucket::default(),
            nameplates: HashSet::new(),
            handles: HashSet::new(),
            prepared: Prepared::default(),
            sessions: HashSet::new(),
            sent_on: false,
        }
    }

    /// Whether it has a key of its own, rather than a voucher or nothing.
    pub(super) fn has_key(&self) -> bool {
        matches!(self.standing, Standing::Full(_))
    }

    /// By which key it is let in.
    pub(super) fn key(&self) -> Option<KeyId> {
        match self.standing {
            Standing::Full(key) | Standing::Vouched(key, _) => Some(key),
            Standing::Keyless | Standing::Stranger { .. } => None,
        }
    }

    /// Whose sessions its own count as.
    pub(super) fn holder(&self) -> Holder {
        match self.standing {
            Standing::Full(key) => Holder::Key(key),
            Standing::Vouched(_, account) => Holder::Voucher(account),
            Standing::Keyless | Standing::Stranger { .. } => Holder::Address(Prefix::of(self.ip)),
        }
    }
}
