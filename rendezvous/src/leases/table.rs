//! The table that nodes share: what each has entered, as it lies in the store (sealed, in the encoding of postcard).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::keys::KeyId;

/// Which of a key's limits it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Peers that are connected.
    Peers,
    /// Sessions that the rendezvous has introduced and that are not over.
    Sessions,
    /// Codes that wait.
    Codes,
    /// Bytes a second through the relay.
    Relay,
}

/// A limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Whose limit it is.
    pub(crate) key: KeyId,
    /// Which of its limits.
    pub(crate) kind: Kind,
}

/// What a node has of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// What it may give away.
    pub(crate) granted: u64,
    /// What is in use there, and what was asked for beyond: with less it turns peers away.
    pub(crate) need: u64,
    /// What it would like to have at hand beyond that.
    pub(crate) reserve: u64,
}

/// What a node has entered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The table in which it has entered it, or copied it to.
    pub(crate) born: u64,
    /// The process that has.
    pub(crate) epoch: u64,
    /// Counts how often that has; so others see that it lives.
    pub(crate) round: u64,
    pub(crate) leases: BTreeMap<Account, Lease>,
    /// The month of what follows, as [`Month`](crate::month::Month) counts it.
    pub(crate) month: u64,
    /// What each key has relayed at this node in that month, in bytes.
    pub(crate) relayed: BTreeMap<KeyId, u64>,
}

/// All that nodes have entered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Drawn when it was begun, which is when the store had lost the one before; 0 of none.
    pub(crate) born: u64,
    /// By the nodes' numbers.
    pub(crate) nodes: BTreeMap<u8, Entry>,
}

impl Table {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Numbers always have an encoding.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// What is encoded there; none if that is not a table.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
