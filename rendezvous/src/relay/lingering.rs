//! Sessions whose legs last a while longer, by the keys on whose account they are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use p2pdbg_proto::rendezvous::SessionId;

use crate::keys::KeyId;

/// When it ends, and what tells it from others that end then.
type Ending = (Instant, u64);

#[derive(Debug, Default)]
pub(super) struct Lingering {
    places: HashMap<SessionId, (KeyId, Ending)>,
    /// Those of each key, the first to end first.
    order: HashMap<KeyId, BTreeMap<Ending, SessionId>>,
    /// The keys by how many they have.
    heaviest: BTreeSet<(usize, KeyId)>,
    /// Tells those apart that end at the same time.
    next: u64,
}

impl Lingering {
    /// Has a session linger until then, on the account of this key.
    pub(super) fn insert(&mut self, session: SessionId, key: KeyId, until: Instant) {
        self.remove(session);
        let place = (until, self.next);
        self.next += 1;
        self.places.insert(session, (key, place));
        self.change(key, |own| {
            own.insert(place, session);
        });
    }

    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some((key, place)) = self.places.remove(&session) {
            self.change(key, |own| {
                own.remove(&place);
            });
        }
    }

    /// Until when a session lingers, if it does.
    pub(super) fn until(&self, session: SessionId) -> Option<Instant> {
        self.places.get(&session).map(|(_, (until, _))| *until)
    }

    /// Which makes room when there is none: of the key with most of them the one that ends first.
    pub(super) fn first_to_go(&self) -> Option<SessionId> {
        let (_, key) = *self.heaviest.last()?;
        let (_, session) = self.order.get(&key)?.first_key_value()?;
        Some(*session)
    }

    /// Those that have lingered long enough.
    pub(super) fn over(&self, now: Instant) -> Vec<SessionId> {
        let all = self.places.iter();
        let over = all.filter(|(_, (_, (until, _)))| *until <= now);
        over.map(|(session, _)| *session).collect()
    }

    /// Changes those of a key, and its place among the keys.
    fn change(&mut self, key: KeyId, change: impl FnOnce(&mut BTreeMap<Ending, SessionId>)) {
        let own = self.order.entry(key).or_default();
        self.heaviest.remove(&(own.len(), key));
        change(own);
        if own.is_empty() {
            self.order.remove(&key);
        } else {
            self.heaviest.insert((own.len(), key));
        }
    }
}
