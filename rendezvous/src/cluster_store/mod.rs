//! Where known peers wait that another node may look for: hints, kept in a store that all nodes of a cluster reach.
//!
//! A listener's node writes where it waits, and the connector's node reads that and sends the connector there. Nothing
//! else is in the store, and nothing depends on it but that: a record says only *look there*. It is good as long as the
//! node lives that has written it, by the *epoch* that each process of a node draws; a node that ends takes all its
//! records with it by not renewing one. The store sees keyed digests and node numbers, and where a number leads is the
//! nodes' own configuration, so that whoever writes to it can keep peers apart, and not lead them astray.

#![cfg_attr(
    not(feature = "cluster"),
    allow(
        dead_code,
        unused_imports,
        reason = "there is no store without the feature"
    )
)]

mod drains;
mod due;
mod epoch;
mod key_sync;
mod lease_sync;
#[cfg(test)]
mod memory;
mod misses;
mod presence;
#[cfg(feature = "cluster")]
pub mod scale;
mod store_handle;
mod store_task;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(feature = "cluster")]
mod valkey;

use std::{collections::HashMap, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use p2pdbg_proto::{node::NodeNumber, secret::Secret};
use sha2::{Digest, Sha256};

use crate::limits::Prefix;

#[cfg(feature = "cluster")]
pub(crate) use self::valkey::Valkey;
pub(crate) use self::{
    epoch::Epoch,
    key_sync::{KeyOrder, KeySync, Reloaded},
    lease_sync::{LeaseSync, Uses},
    misses::MISSED_FOR,
    presence::{NodesSeen, StoreState},
    store_handle::{Ask, Found, StoreHandle},
    store_task::{KeyOrders, StoreTask},
};

/// How long a node counts as alive after it has said so.
const ALIVE_FOR: Duration = Duration::from_secs(15);

/// How long a record is kept in the store at the most: longer than a listener is, as a rule, connected.
const KEPT_FOR: Duration = Duration::from_secs(26 * 3600);

/// The name of a record: tells the store nothing but whether two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name([u8; 16]);

/// Makes names of what the registry knows of handles.
#[derive(Clone)]
pub(crate) struct Names(Secret<32>);

impl Names {
    /// By the secret that all nodes share.
    pub(crate) fn new(cluster_secret: &Secret<32>) -> Self {
        Self(cluster_secret.clone())
    }

    /// The name of the count of an address' joins that found nobody, of those with a key or of the others.
    fn of_misses(&self, of: Prefix, with_key: bool) -> String {
        let said = format!("p2pdbg misses 1 {with_key} {}", of.ip());
        let name = self.of(&Sha256::digest(said).into());
        format!("miss:{}", BASE64URL_NOPAD.encode(&name.0))
    }

    fn of(&self, digest: &[u8; 32]) -> Name {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("a key of any length");
        mac.update(b"p2pdbg directory 1");
        mac.update(digest);
        let bytes = mac.finalize().into_bytes();
        let mut name = [0; 16];
        name.copy_from_slice(&bytes[..16]);
        Name(name)
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

/// A process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// The node's number.
    pub(crate) node: NodeNumber,
    /// Which of the node's processes it is: another one after each start.
    pub(crate) epoch: Epoch,
}

/// What the store says of a name: who waits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// With whom the listener waits.
    pub(crate) process: Process,
    /// How long it had waited when this was written. How long ago that was the store knows: by its clock alone, so that
    /// it does not matter what those of the nodes say.
    pub(crate) waited: Duration,
}

/// How the store knew this node when it said that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// It knew this very process.
    Ours,
    /// Not at all: it is new, or the store has forgotten.
    Missing,
    /// Another process has this number.
    Another,
}

/// What a store has of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// What is known of it already.
    Same,
    /// This, or nothing.
    Another(Option<String>),
}

/// Why the store was of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Away(pub(crate) String);

/// A store. It may forget, lag or fall back; it is waited for in the store's task alone.
pub(crate) trait Directory: Send + 'static {
    /// Says that this process lives, unless another has its number; `before` is the node's process before this one,
    /// whose place it takes. Gives all nodes that live.
    fn beat(
        &mut self,
        own: Process,
        before: Option<Epoch>,
    ) -> impl Future<Output = Result<(Held, HashMap<NodeNumber, Epoch>), Away>> + Send;

    /// Writes records. Those stay that are of one of these processes, which are `live`, and of somebody who has waited
    /// for a shorter time.
    fn write(
        &mut self,
        records: &[(Name, Record)],
        live: &[Process],
    ) -> impl Future<Output = Result<(), Away>> + Send;

    /// Removes records that are this process's.
    fn remove(
        &mut self,
        own: Process,
        names: &[Name],
    ) -> impl Future<Output = Result<(), Away>> + Send;

    /// Reads records, in the order of the names; none for a name at which nobody waits.
    fn read(
        &mut self,
        names: &[Name],
    ) -> impl Future<Output = Result<Vec<Option<Record>>, Away>> + Send;

    /// What lies there, unless it begins with what is `known`.
    fn text(&mut self, name: &str, known: &str) -> impl Future<Output = Result<Text, Away>> + Send;

    /// Writes a text for good in place of one that begins with `before`, or of none if that is empty; whether there was
    /// what was to be replaced.
    fn replace(
        &mut self,
        name: &str,
        before: &str,
        text: &str,
    ) -> impl Future<Output = Result<bool, Away>> + Send;

    /// Writes a text for so long.
    fn put(
        &mut self,
        name: &str,
        text: &str,
        kept: Duration,
    ) -> impl Future<Output = Result<(), Away>> + Send;

    /// Counts so many more of each, and gives how many that makes; what was not counted for so long begins anew.
    fn count(
        &mut self,
        more: &[(String, u32)],
        kept: Duration,
    ) -> impl Future<Output = Result<Vec<u64>, Away>> + Send;

    /// What lies there, in the order of the names.
    fn texts(
        &mut self,
        names: &[String],
    ) -> impl Future<Output = Result<Vec<Option<String>>, Away>> + Send;
}
