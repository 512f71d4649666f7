//! Who is here by which key, so that the key is found that has most of them.

use std::collections::{BTreeSet, HashMap};

use crate::keys::KeyId;

/// Peers of one kind by their keys, so that of the key with most of them one is found without a look at all. They are
/// told apart by something that grows in the order in which they came.
#[derive(Debug)]
pub(super) struct PeersOfKeys<C> {
    /// Those of each key.
    of_key: HashMap<KeyId, BTreeSet<C>>,
    /// The keys by how many they have.
    heaviest: BTreeSet<(usize, KeyId)>,
    all: usize,
}

impl<C> Default for PeersOfKeys<C> {
    fn default() -> Self {
        Self {
            of_key: HashMap::new(),
            heaviest: BTreeSet::new(),
            all: 0,
        }
    }
}

impl<C: Ord + Copy> PeersOfKeys<C> {
    pub(super) fn add(&mut self, key: KeyId, id: C) {
        self.change(key, |own| own.insert(id));
    }

    pub(super) fn remove(&mut self, key: KeyId, id: C) {
        self.change(key, |own| own.remove(&id));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all
    }

    /// How many there are under this key.
    pub(super) fn of(&self, key: KeyId) -> usize {
        self.of_key.get(&key).map_or(0, BTreeSet::len)
    }

    /// Of the key with most of them the one that came first, if that has more than this one.
    pub(super) fn first_of_a_greater(&self, than: KeyId) -> Option<C> {
        let (most, key) = self.heaviest.last()?;
        let first = self.of_key.get(key)?.first().copied();
        first.filter(|_| *most > self.of(than))
    }

    /// The same of the one that came last.
    pub(super) fn last_of_a_greater(&self, than: KeyId) -> Option<C> {
        let (most, key) = self.heaviest.last()?;
        let last = self.of_key.get(key)?.last().copied();
        last.filter(|_| *most > self.of(than))
    }

    fn change(&mut self, key: KeyId, change: impl FnOnce(&mut BTreeSet<C>) -> bool) {
        let own = self.of_key.entry(key).or_default();
        let before = own.len();
        change(own);
        let now = own.len();
        self.heaviest.remove(&(before, key));
        if now == 0 {
            self.of_key.remove(&key);
        } else {
            self.heaviest.insert((now, key));
        }
        self.all = self.all - before + now;
    }
}
