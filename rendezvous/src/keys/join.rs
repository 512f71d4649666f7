//! Keys that several nodes share: what two copies of them come to.
//!
//! Each node has a copy, and the store has one. None of them is the right one by itself: a store may have fallen back,
//! and two nodes may each have changed what the other had not seen. So copies are *joined*, in whichever order and as
//! often as it happens, and whatever the store does all end with the same keys:
//!
//! - a key that one copy has, all have: none is taken away, and one that was revoked stays so for good;
//! - of a key that two copies have differently, the one that was changed in the later version holds;
//! - of two keys of one name the one that was made first keeps it, and the other one gets its id appended;
//! - of two keys with one secret, as a host has them that has lost `keys.toml` and made `default` anew, the one that
//!   was made first stays alone.

use std::collections::{BTreeMap, HashMap};

use super::{
    KeyFault, KeyId, KeyName,
    file::{KeyFile, NamedKey},
};

/// What has become of a node's keys beside those of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The keys that hold from now on.
    pub(crate) file: KeyFile,
    /// Whether the store has yet to be given them.
    pub(crate) to_be_written: bool,
}

impl KeyFile {
    /// How often they were changed since several nodes share them; none if they are one host's own.
    pub fn shared(&self) -> Option<u64> {
        self.shared
    }

    /// Has them be shared from now on: what ends stays in the file, so that no node brings it back.
    pub fn share(&mut self) {
        self.shared.get_or_insert(1);
    }

    /// The version that a change makes, if they are shared; 0 if not.
    pub(super) fn advance(&mut self) -> u64 {
        let next = self.shared.map(|version| version.saturating_add(1));
        self.shared = next;
        next.unwrap_or_default()
    }

    /// These keys and those of another copy.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let mut by_id: BTreeMap<KeyId, NamedKey> = BTreeMap::new();
        for key in self.keys.iter().chain(&other.keys) {
            by_id
                .entry(key.id)
                .and_modify(|there| *there = join_keys(there, key))
                .or_insert_with(|| key.clone());
        }
        let mut keys: Vec<NamedKey> = by_id.into_values().collect();
        keys.sort_by_key(|key| (key.created, key.id));
        let mut keys = one_of_a_secret(keys);
        rename_doubles(&mut keys);
        Self {
            shared: self.shared.max(other.shared),
            keys,
        }
    }

    /// These keys beside those that the store has, if it has some.
    pub(crate) fn beside(&self, stored: Option<&Self>) -> Joined {
        let Some(stored) = stored else {
            return Joined {
                file: self.clone(),
                to_be_written: true,
            };
        };
        let mut file = self.join(stored);
        let to_be_written = file.keys != stored.keys;
        // One number stands for one set of keys, or who has read the other set would seem to have read this one.
        if to_be_written && (file.keys != self.keys || self.shared <= stored.shared) {
            file.advance();
        }
        Joined {
            file,
            to_be_written,
        }
    }

    /// With what somebody has changed by hand: that counts as a change of now. What was taken out comes back.
    pub(crate) fn with_edits(&self, edited: &Self) -> Self {
        let mut edited = edited.clone();
        let known: HashMap<KeyId, &NamedKey> = self.keys.iter().map(|key| (key.id, key)).collect();
        let version = self.shared.max(edited.shared).unwrap_or_default();
        let version = version.saturating_add(1);
        let mut is_changed = false;
        for key in &mut edited.keys {
            let before = known.get(&key.id);
            if before.is_none_or(|before| before.changed == key.changed && *before != key) {
                is_changed = true;
                key.changed = version;
            }
        }
        if is_changed {
            edited.shared = Some(version);
        }
        self.join(&edited)
    }

    /// Gives keys whose names are others' in `taken` new ones; the old and the new names.
    pub(crate) fn make_way(&mut self, taken: &Self) -> Vec<(KeyName, KeyName)> {
        let of_others = |key: &NamedKey| {
            let other = taken.find(&key.name);
            let is_another = |other: &NamedKey| other.id != key.id && !has_secret_of(other, key);
            key.revoked.is_none() && other.is_some_and(is_another)
        };
        let mut renamed = Vec::new();
        let in_the_way: Vec<usize> = (0..self.keys.len())
            .filter(|index| of_others(&self.keys[*index]))
            .collect();
        for index in in_the_way {
            let changed = self.advance();
            let key = &mut self.keys[index];
            let name = with_id(&key.name, key.id);
            renamed.push((std::mem::replace(&mut key.name, name.clone()), name));
            key.changed = changed;
        }
        renamed
    }

    /// What of a copy from elsewhere can be relied on.
    ///
    /// # Errors
    /// When two of its keys have one id or secret, or it is not one that is shared.
    pub(crate) fn parse_shared(text: &str) -> Result<Self, KeyFault> {
        let file = Self::parse(text)?;
        match file.shared {
            Some(_) => Ok(file),
            None => Err(KeyFault::Syntax("these are not shared keys".into())),
        }
    }
}

/// What two copies of one key come to.
fn join_keys(one: &NamedKey, other: &NamedKey) -> NamedKey {
    let revoked = match (one.revoked, other.revoked) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let later = if order(one) >= order(other) {
        one
    } else {
        other
    };
    let mut joined = later.clone();
    joined.revoked = revoked;
    if revoked.is_some() {
        joined.previous = None;
    }
    joined
}

/// Which of two copies holds: the later change, and of two in one version the same one at each node.
fn order(key: &NamedKey) -> impl Ord {
    let previous = key.previous.unwrap_or_default();
    let limits = key.limits;
    (
        key.changed,
        key.sha256,
        previous,
        key.name.clone(),
        (key.created, key.expires),
        (limits.peers, limits.sessions, limits.codes),
        (limits.relay_mbit, limits.relay_gib_month),
    )
}

/// The first one of several keys that have a secret in common, without which they would be no file of keys. It is
/// revoked if one of them is: whoever has their secret is not to come in again.
fn one_of_a_secret(keys: Vec<NamedKey>) -> Vec<NamedKey> {
    let mut firsts: Vec<NamedKey> = Vec::new();
    let mut by_secret: HashMap<[u8; 32], usize> = HashMap::new();
    for key in keys {
        let first = secrets(&key).find_map(|secret| by_secret.get(&secret).copied());
        match first {
            Some(first) if key.revoked.is_some() => {
                let first = &mut firsts[first];
                first.revoked = first.revoked.min(key.revoked).or(key.revoked);
                first.previous = None;
            }
            Some(_) => {}
            None => {
                by_secret.extend(secrets(&key).map(|secret| (secret, firsts.len())));
                firsts.push(key);
            }
        }
    }
    firsts
}

/// The hashes of a key's secret and of the one before.
fn secrets(key: &NamedKey) -> impl Iterator<Item = [u8; 32]> {
    let previous = key.previous.map(|(sha256, _)| sha256);
    [Some(key.sha256), previous].into_iter().flatten()
}

fn has_secret_of(one: &NamedKey, other: &NamedKey) -> bool {
    secrets(one).any(|secret| secrets(other).any(|others| others == secret))
}

/// Gives the later ones of several keys of one name another.
fn rename_doubles(keys: &mut [NamedKey]) {
    let mut names: HashMap<KeyName, ()> = HashMap::new();
    for key in keys.iter_mut().filter(|key| key.revoked.is_none()) {
        if names.insert(key.name.clone(), ()).is_some() {
            key.name = with_id(&key.name, key.id);
            // Above the copy that has the name yet, so that it does not come back.
            key.changed = key.changed.saturating_add(1);
            names.insert(key.name.clone(), ());
        }
    }
}

/// A name that no other key has.
fn with_id(name: &KeyName, id: KeyId) -> KeyName {
    let cut: String = name.as_ref().chars().take(23).collect();
    let name = format!("{cut}-{id}");
    name.parse().expect("a name that is short and plain")
}
