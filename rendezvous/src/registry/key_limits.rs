//! What a key may take, and what it has taken.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use p2pdbg_proto::control::Refusal;

use super::{
    ConnId, Registry,
    connection::{Connection, Standing},
};
use crate::{
    keys::{KeyId, KeyRing},
    leases::Kind,
};

/// What a key takes at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Peers that have it, or a voucher under it.
    pub(crate) peers: usize,
    /// Sessions on its account, whoever of the two members has it.
    pub(crate) sessions: usize,
    /// Nameplates at which somebody waits.
    pub(crate) codes: usize,
}

impl Registry {
    /// The keys that are taken.
    pub(crate) fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// What keys take at the moment, of everything that they may have a limit for; none that take nothing.
    pub(crate) fn taken_by_key(&self) -> HashMap<KeyId, Taken> {
        let mut taken: HashMap<KeyId, Taken> = HashMap::new();
        for connection in self.connections.values() {
            if let Some(key) = connection.key() {
                let taken = taken.entry(key).or_default();
                taken.peers += 1;
                taken.codes += connection.nameplates.len();
            }
        }
        for (key, sessions) in self.sessions.by_key() {
            taken.entry(*key).or_default().sessions = sessions;
        }
        taken
    }

    /// Whether a peer that has just said hello is not one too many of its key.
    pub(super) fn may_come(&mut self, now: Instant, id: ConnId) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let (key, has_key) = (connection.key(), connection.has_key());
        let Some((key, most)) = key.and_then(|key| Some((key, self.keys.limits(key).peers?)))
        else {
            return Ok(());
        };
        let others = self.peers_of(key).saturating_sub(1);
        let given = match has_key {
            true => self.may_give(now, key, Kind::Peers, most, others),
            false => {
                // A voucher can be shown by as many peers as its bearer likes: those who have the key itself, and
                // without whom nobody meets, keep a part of its places.
                let vouched = self.of_key(key).filter(|c| !c.has_key()).count();
                let vouched = vouched.saturating_sub(1);
                self.may_give_vouched(now, key, most, others, vouched)
            }
        };
        if given.is_ok() {
            return Ok(());
        }
        self.turn_away(id);
        Err(Refusal::Full)
    }

    /// A peer that has said hello is refused: it is not counted as if it had been let in.
    pub(super) fn turn_away(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get(&id) {
            let greet_by = connection.greet_by;
            self.set_standing(id, Standing::Stranger { greet_by });
        }
    }

    /// Lets a peer in, in another way than before.
    pub(super) fn set_standing(&mut self, id: ConnId, standing: Standing) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let before = connection.key();
        connection.standing = standing;
        let after = connection.key();
        if before != after {
            self.no_more_of_key(id, before);
            if let Some(key) = after {
                self.present.by_key.entry(key).or_default().insert(id);
            }
        }
    }

    /// A connection is not there by this key any more.
    pub(super) fn no_more_of_key(&mut self, id: ConnId, key: Option<KeyId>) {
        let Some((key, all)) = key.and_then(|k| Some((k, self.present.by_key.get_mut(&k)?))) else {
            return;
        };
        all.remove(&id);
        if all.is_empty() {
            self.present.by_key.remove(&key);
        }
    }

    /// Whether there may be another session on the account of this key.
    pub(super) fn key_may_have_a_session(
        &mut self,
        now: Instant,
        key: KeyId,
    ) -> Result<(), Refusal> {
        match self.keys.limits(key).sessions {
            Some(most) => {
                let in_use = self.sessions.of_key(key);
                self.may_give(now, key, Kind::Sessions, most, in_use)
            }
            None => Ok(()),
        }
    }

    /// Whether another code may wait on the account of this key.
    pub(super) fn key_may_have_a_code(&mut self, now: Instant, key: KeyId) -> Result<(), Refusal> {
        match self.keys.limits(key).codes {
            Some(most) => {
                let in_use = self.codes_of(key);
                self.may_give(now, key, Kind::Codes, most, in_use)
            }
            None => Ok(()),
        }
    }

    fn of_key(&self, key: KeyId) -> impl Iterator<Item = &Connection> {
        let ids = self.present.by_key.get(&key).into_iter().flatten();
        ids.filter_map(|id| self.connections.get(id))
    }

    pub(super) fn peers_of(&self, key: KeyId) -> usize {
        self.present.by_key.get(&key).map_or(0, HashSet::len)
    }

    fn codes_of(&self, key: KeyId) -> usize {
        self.of_key(key).map(|c| c.nameplates.len()).sum()
    }
}
