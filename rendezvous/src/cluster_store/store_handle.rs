//! The registry's end of the store's task: what it asks, what it is told, and what waits until there is room.

use std::{collections::HashMap, time::Instant};

use p2pdbg_proto::node::NodeNumber;
use tokio::sync::mpsc;

use super::{lease_sync::Uses, misses::Misses};
use crate::{keys::KeyRing, leases::Parts, limits::Prefix};

/// What the registry asks. Handles are named by their digest, connections by their number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A listener waits there since then.
    Waits([u8; 32], Instant),
    /// No listener waits there any more.
    Left([u8; 32]),
    /// This connector looks for the listener there.
    Seek(u64, [u8; 32]),
    /// All listeners that wait, which the store's task has asked for.
    All(Vec<([u8; 32], Instant)>),
    /// What keys use here of the limits that nodes share.
    Uses(Uses),
    /// So many joins from there have found nobody; whether who joined has a key.
    Missed(Prefix, bool, u32),
    /// Whether this node goes out of service.
    Drain(bool),
}

/// What the registry is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The listener that this connector looks for waits at that node.
    At(u64, [u8; 32], NodeNumber),
    /// All listeners that wait here are wanted, by [`Ask::All`].
    TellAll,
    /// These nodes live, this one among them; nobody knows while the store does not say.
    Living(Option<Vec<NodeNumber>>),
    /// These of the other nodes go out of service, and no others.
    Draining(Vec<NodeNumber>),
    /// These keys hold from now on: nodes share them.
    Keys(Box<KeyRing>),
    /// What this node may give away of the keys' limits.
    Parts(Parts),
    /// So many joins from there have found nobody, at all nodes, lately, and so many of them are what this node has
    /// just told; whether who joined has a key.
    Missed(Prefix, bool, u64, u32),
}

/// What may wait for the store's task, and for the hub. Who looks for a peer has half of it.
pub(super) const QUEUE: usize = 4_096;

/// On so many listeners the last word is kept while there is no room for it: as many as there may be.
pub(super) const WORDS: usize = 65_536;

/// The registry's end of the store's task.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    asks: mpsc::Sender<Ask>,
    found: mpsc::Receiver<Found>,
    backlog: Backlog,
}

/// What must not be lost, and had no room: the newest of each.
#[derive(Debug, Default)]
struct Backlog {
    /// All listeners. It goes before the words, which are newer.
    all: Option<Ask>,
    uses: Option<Ask>,
    drain: Option<Ask>,
    /// The last word on each listener: since when it waits, or none if it has left.
    words: HashMap<[u8; 32], Option<Instant>>,
    missed: Misses,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        let whole = [&self.all, &self.uses, &self.drain];
        let none = whole.into_iter().all(Option::is_none);
        none && self.words.is_empty() && self.missed.is_empty()
    }

    fn keep(&mut self, ask: Ask) {
        let (digest, word) = match ask {
            Ask::All(_) => {
                self.all = Some(ask);
                return;
            }
            Ask::Uses(_) => {
                self.uses = Some(ask);
                return;
            }
            Ask::Drain(_) => {
                self.drain = Some(ask);
                return;
            }
            Ask::Waits(digest, since) => (digest, Some(since)),
            Ask::Left(digest) => (digest, None),
            Ask::Missed(of, with_key, count) => {
                self.missed.add(Instant::now(), (of, with_key), count);
                return;
            }
            Ask::Seek(..) => {
                tracing::debug!("the directory is not asked: too much waits for it");
                return;
            }
        };
        if self.words.len() < WORDS || self.words.contains_key(&digest) {
            self.words.insert(digest, word);
        }
    }

    fn pop(&mut self) -> Option<Ask> {
        for kept in [&mut self.drain, &mut self.all, &mut self.uses] {
            if let Some(ask) = kept.take() {
                return Some(ask);
            }
        }
        if let Some(((of, with_key), count)) = self.missed.pop() {
            return Some(Ask::Missed(of, with_key, count));
        }
        let digest = *self.words.keys().next()?;
        let (digest, word) = self.words.remove_entry(&digest)?;
        Some(match word {
            Some(since) => Ask::Waits(digest, since),
            None => Ask::Left(digest),
        })
    }
}

impl StoreHandle {
    pub(super) fn new(asks: mpsc::Sender<Ask>, found: mpsc::Receiver<Found>) -> Self {
        Self {
            asks,
            found,
            backlog: Backlog::default(),
        }
    }

    /// Asks, if there is room; what must not be lost is kept until there is.
    pub(crate) fn ask(&mut self, ask: Ask) {
        let room = match ask {
            Ask::Seek(..) => self.asks.capacity() > QUEUE / 2,
            Ask::Missed(..) => true,
            // Behind what is kept already, or an older word would be the last.
            _ => self.backlog.is_empty(),
        };
        match self.asks.try_reserve() {
            Ok(permit) if room => permit.send(ask),
            _ => self.backlog.keep(ask),
        }
    }

    /// The next answer; never without a line, or when the store's task has ended. Asks what is kept meanwhile.
    pub(crate) async fn next(line: &mut Option<Self>) -> Found {
        let Some(line) = line else {
            return std::future::pending().await;
        };
        let Self {
            asks,
            found,
            backlog,
        } = line;
        loop {
            tokio::select! {
                found = found.recv() => match found {
                    Some(found) => return found,
                    None => return std::future::pending().await,
                },
                Ok(permit) = asks.reserve(), if !backlog.is_empty() => {
                    if let Some(ask) = backlog.pop() {
                        permit.send(ask);
                    }
                }
            }
        }
    }
}
