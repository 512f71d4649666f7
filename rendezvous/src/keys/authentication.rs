//! What a running rendezvous asks of its keys.

use std::collections::{HashMap, HashSet};

use p2pdbg_proto::url::AccessKey;

use super::{
    KeyId, KeyLimits, KeyName,
    file::{KeyFile, NamedKey, digest},
};

/// The keys that are taken, by what peers show and by what vouchers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyRing {
    /// By the SHA-256 of a secret. What is compared are digests, so how long a look-up takes tells nothing of a secret.
    secrets: HashMap<[u8; 32], Secret>,
    keys: HashMap<KeyId, Key>,
    /// The secrets and the keys that were revoked: of those it is known that they are good nowhere.
    ended: (HashSet<[u8; 32]>, HashSet<KeyId>),
    open: bool,
    basis: Basis,
}

/// What a ring's keys are known by, on which hangs what becomes of a key that is not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Basis {
    /// They are all that there are.
    #[default]
    Whole,
    /// They are what the store of several nodes had when it answered last: it may have others by now.
    Kept,
    /// That was too long ago: whoever comes by a key has to wait for the store.
    Stale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Secret {
    key: KeyId,
    until: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    name: Option<KeyName>,
    expires: Option<u64>,
    limits: KeyLimits,
}

impl KeyRing {
    /// The keys of a file. An `open` ring lets in who has none too.
    pub(crate) fn new(file: &KeyFile, open: bool) -> Self {
        let mut ring = Self {
            open,
            ..Self::default()
        };
        for key in file.keys() {
            if key.revoked.is_some() {
                ring.ended.0.insert(key.sha256);
                ring.ended.1.insert(key.id);
            } else {
                ring.insert(key);
            }
        }
        if open {
            let nobody = Key {
                name: None,
                expires: None,
                limits: KeyLimits::default(),
            };
            ring.keys.insert(KeyId::NOBODY, nobody);
        }
        ring
    }

    /// The same keys, known by this.
    pub(crate) fn known_by(mut self, basis: Basis) -> Self {
        self.basis = basis;
        self
    }

    /// Whether nobody can say at the moment if this secret is one of them.
    pub(crate) fn may_know_later(&self, secret: &AccessKey) -> bool {
        let digest = digest(secret);
        let is_known = self.secrets.contains_key(&digest) || self.ended.0.contains(&digest);
        self.is_in_doubt(is_known)
    }

    /// Whether nobody can say at the moment if this key still holds, or is one.
    pub(crate) fn may_hold_later(&self, key: KeyId) -> bool {
        let is_known = self.keys.contains_key(&key) || self.ended.1.contains(&key);
        self.is_in_doubt(is_known)
    }

    fn is_in_doubt(&self, is_known: bool) -> bool {
        match self.basis {
            _ if self.open => false,
            Basis::Whole => false,
            Basis::Kept => !is_known,
            Basis::Stale => true,
        }
    }

    fn insert(&mut self, key: &NamedKey) {
        let secret = |until| Secret { key: key.id, until };
        self.secrets.insert(key.sha256, secret(None));
        if let Some((before, until)) = key.previous {
            self.secrets.insert(before, secret(Some(until)));
        }
        let entry = Key {
            name: Some(key.name.clone()),
            expires: key.expires,
            limits: key.limits,
        };
        self.keys.insert(key.id, entry);
    }

    /// The key whose secret this is, if it is taken now.
    pub(crate) fn authenticate(&self, secret: &AccessKey, unix_s: u64) -> Option<KeyId> {
        let found = self.secrets.get(&digest(secret))?;
        let in_time = found.until.is_none_or(|until| unix_s < until);
        (in_time && self.is_live(found.key, unix_s)).then_some(found.key)
    }

    /// On whose account a peer without a key is, if it needs none.
    pub(crate) fn without_key(&self) -> Option<KeyId> {
        self.open.then_some(KeyId::NOBODY)
    }

    /// Whether what was granted under a key still holds.
    pub(crate) fn is_live(&self, key: KeyId, unix_s: u64) -> bool {
        let key = self.keys.get(&key);
        key.is_some_and(|key| key.expires.is_none_or(|expires| unix_s < expires))
    }

    /// What a key may take.
    pub(crate) fn limits(&self, key: KeyId) -> KeyLimits {
        self.keys
            .get(&key)
            .map(|key| key.limits)
            .unwrap_or_default()
    }

    /// What people call a key.
    pub(crate) fn name(&self, key: KeyId) -> &str {
        let name = self.keys.get(&key).and_then(|key| key.name.as_ref());
        name.map_or("-", AsRef::as_ref)
    }

    /// All of them, those that have expired too.
    pub(crate) fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().copied()
    }

    /// A ring of keys that nobody has a secret of.
    #[cfg(test)]
    pub(crate) fn of(keys: &[(KeyId, KeyLimits)]) -> Self {
        let entry = |limits| Key {
            name: None,
            expires: None,
            limits,
        };
        Self {
            keys: keys
                .iter()
                .map(|(id, limits)| (*id, entry(*limits)))
                .collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_its_own_key_until_it_ends() {
        let [one, other] = [AccessKey::random(), AccessKey::random()];
        let mut file = KeyFile::default();
        let [a, b]: [KeyName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let limits = KeyLimits::default();
        file.add(a.clone(), &one, limits, 0, Some(100)).unwrap();
        file.add(b.clone(), &other, limits, 0, None).unwrap();
        let ring = KeyRing::new(&file, false);
        let name = |at, secret| {
            ring.authenticate(secret, at)
                .map(|key| ring.name(key).to_owned())
        };
        assert_eq!(name(99, &one).as_deref(), Some("a"));
        assert_eq!(name(100, &one), None);
        assert_eq!(name(100, &other).as_deref(), Some("b"));
        assert_eq!(name(0, &AccessKey::random()), None);
        assert_eq!(ring.without_key(), None);
        file.revoke(&b, 50).unwrap();
        assert_eq!(KeyRing::new(&file, false).authenticate(&other, 50), None);
    }

    #[test]
    fn a_rotated_key_takes_both_secrets_for_its_grace_and_is_the_same_key() {
        let [before, after] = [AccessKey::random(), AccessKey::random()];
        let mut file = KeyFile::default();
        let name: KeyName = "a".parse().unwrap();
        file.add(name.clone(), &before, KeyLimits::default(), 0, None)
            .unwrap();
        file.rotate(&name, &after, Some(100)).unwrap();
        let ring = KeyRing::new(&file, false);
        assert!(ring.authenticate(&before, 99).is_some());
        assert_eq!(
            ring.authenticate(&before, 99),
            ring.authenticate(&after, 200)
        );
        assert_eq!(ring.authenticate(&before, 100), None);
        file.rotate(&name, &AccessKey::random(), None).unwrap();
        assert_eq!(KeyRing::new(&file, false).authenticate(&after, 0), None);
    }
}
