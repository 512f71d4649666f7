//! Nodes that share keys by a store which loses, falls back, splits and lies.

use std::collections::HashMap;

use p2pdbg_proto::{secret::Secret, url::AccessKey};
use proptest::prelude::*;

use super::*;
use crate::keys::{KeyLimits, KeySeal};

/// The keys that lie in a store, sealed.
type Sealed = Option<String>;

/// Three nodes and a store that may be two.
struct World {
    seal: KeySeal,
    nodes: Vec<SharedKeys>,
    /// What lies in either part of the store, and what has ever lain there.
    stores: [Sealed; 2],
    past: Vec<Sealed>,
    /// Which part each node asks.
    side: Vec<usize>,
    now: u64,
    /// How often nodes have said that the store has fallen back.
    fell_back: usize,
}

/// What happens in it.
#[derive(Clone, Debug)]
enum Happens {
    Add(usize, u8),
    Revoke(usize, u8),
    Rotate(usize, u8),
    /// A node asks the store.
    Look(usize),
    /// A node asks the store, and what it writes gets lost, or its answer.
    LookInVain(usize, bool),
    /// The store loses everything.
    Forgets(usize),
    /// It has what it had once.
    FallsBack(usize, u8),
    /// A node asks the other part of a store that has split.
    Moves(usize),
    /// Somebody writes what was never sealed here.
    Forges(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    let (node, name, part) = (0..3_usize, 0..4_u8, 0..2_usize);
    prop_oneof![
        2 => (node.clone(), name.clone()).prop_map(|(n, k)| Happens::Add(n, k)),
        2 => (node.clone(), name.clone()).prop_map(|(n, k)| Happens::Revoke(n, k)),
        1 => (node.clone(), name).prop_map(|(n, k)| Happens::Rotate(n, k)),
        8 => node.clone().prop_map(Happens::Look),
        1 => (node.clone(), any::<bool>()).prop_map(|(n, a)| Happens::LookInVain(n, a)),
        1 => part.clone().prop_map(Happens::Forgets),
        1 => (part.clone(), any::<u8>()).prop_map(|(p, at)| Happens::FallsBack(p, at)),
        1 => node.prop_map(Happens::Moves),
        1 => part.prop_map(Happens::Forges),
    ]
}

impl World {
    fn new() -> Self {
        let mut file = KeyFile::default();
        file.share();
        Self {
            seal: KeySeal::of(&Secret::from_bytes([7; 32])),
            nodes: (0..3)
                .map(|_| SharedKeys::new(file.clone(), None))
                .collect(),
            stores: [None, None],
            past: vec![None],
            side: vec![0; 3],
            now: 1_000,
            fell_back: 0,
        }
    }

    fn happens(&mut self, what: &Happens) {
        self.now += 1;
        let now = self.now;
        match *what {
            Happens::Add(node, name) => self.change(node, |file| {
                let limits = KeyLimits::default();
                let _ = file.add(name_of(name), &AccessKey::random(), limits, now, None);
            }),
            Happens::Revoke(node, name) => self.change(node, |file| {
                let _ = file.revoke(&name_of(name), now);
            }),
            Happens::Rotate(node, name) => self.change(node, |file| {
                let _ = file.rotate(&name_of(name), &AccessKey::random(), Some(now + 9));
            }),
            Happens::Look(node) => self.look(node, true, true),
            Happens::LookInVain(node, arrives) => self.look(node, arrives, false),
            Happens::Forgets(part) => self.stores[part] = None,
            Happens::FallsBack(part, at) => {
                let past = usize::from(at) % self.past.len();
                self.stores[part] = self.past[past].clone();
            }
            Happens::Moves(node) => self.side[node] ^= 1,
            Happens::Forges(part) => {
                let mut text = self.stores[part]
                    .clone()
                    .unwrap_or_else(|| "1:9:a:b".into());
                text.pop();
                self.stores[part] = Some(text);
            }
        }
    }

    fn change(&mut self, node: usize, change: impl FnOnce(&mut KeyFile)) {
        let mut file = self.nodes[node].file().clone();
        change(&mut file);
        self.nodes[node].on_file(file);
    }

    /// As the store's task does it: reads, joins, and gives the store what it lacks.
    fn look(&mut self, node: usize, arrives: bool, is_answered: bool) {
        let part = self.side[node];
        let stored = self.stores[part]
            .as_deref()
            .and_then(|text| self.seal.open(text));
        let verdict = self.nodes[node].on_stored(self.now, stored.as_ref());
        self.fell_back += usize::from(verdict.fell_back);
        if verdict.write && arrives {
            let sealed = Some(self.seal.seal(self.nodes[node].file()));
            self.stores[part].clone_from(&sealed);
            self.past.push(sealed);
            if is_answered {
                self.nodes[node].confirm(self.now);
            }
        }
    }

    /// Everybody asks one store until nobody has anything to say.
    fn settle(&mut self) {
        self.side = vec![0; 3];
        for _ in 0..4 {
            for node in 0..3 {
                self.now += 1;
                self.look(node, true, true);
            }
        }
    }
}

fn name_of(name: u8) -> KeyName {
    format!("key-{name}").parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn shared_keys_once_revoked_stay_revoked_at_each_node_that_knew_and_all_nodes_end_alike(
        history in proptest::collection::vec(happens(), 1..60),
    ) {
        let mut world = World::new();
        let mut revoked: Vec<HashMap<crate::keys::KeyId, u64>> = vec![HashMap::new(); 3];
        let mut ever: std::collections::HashSet<_> = Default::default();
        for what in &history {
            world.happens(what);
            for (node, known) in world.nodes.iter().zip(&mut revoked) {
                let keys = node.file().keys();
                ever.extend(keys.iter().map(|key| key.id));
                for (id, _) in known.iter() {
                    let key = keys.iter().find(|key| key.id == *id);
                    prop_assert!(key.is_some_and(|key| key.revoked.is_some()), "{what:?}");
                }
                let ended = keys.iter().filter_map(|key| Some((key.id, key.revoked?)));
                known.extend(ended);
            }
        }
        world.settle();
        let first = world.nodes[0].file().clone();
        for node in &world.nodes {
            prop_assert_eq!(node.file(), &first);
            prop_assert_eq!(node.basis(world.now), Basis::Whole);
        }
        // No key of any node was lost, and no two of those that live have one name.
        for id in &ever {
            prop_assert!(first.keys().iter().any(|key| key.id == *id));
        }
        prop_assert_eq!(KeyFile::parse_shared(&first.text()), Ok(first.clone()));
        for known in &revoked {
            for id in known.keys() {
                let key = first.keys().iter().find(|key| key.id == *id);
                prop_assert!(key.is_some_and(|key| key.revoked.is_some()));
            }
        }
    }

    #[test]
    fn copies_of_shared_keys_come_to_the_same_in_whichever_order_they_are_joined(
        history in proptest::collection::vec(happens(), 1..40),
    ) {
        let mut world = World::new();
        history.iter().for_each(|what| world.happens(what));
        let [a, b, c] = [0, 1, 2].map(|node| world.nodes[node].file().clone());
        prop_assert_eq!(a.join(&b), b.join(&a));
        prop_assert_eq!(a.join(&a).keys, a.join(&KeyFile::default()).keys);
        let once = a.join(&b).join(&c);
        prop_assert_eq!(&once.join(&a).join(&b).join(&c), &once);
    }
}

#[test]
fn store_that_falls_back_is_told_once_and_given_again_what_it_had() {
    let mut world = World::new();
    world.happens(&Happens::Add(0, 1));
    world.settle();
    let old = world.stores[0].clone();
    world.happens(&Happens::Revoke(0, 1));
    world.settle();
    assert_eq!(world.fell_back, 0);
    world.stores[0] = old;
    world.look(1, false, false);
    world.look(1, false, false);
    assert_eq!(world.fell_back, 1);
    world.settle();
    let stored = world
        .seal
        .open(world.stores[0].as_deref().unwrap())
        .unwrap();
    assert!(stored.keys()[0].revoked.is_some());
}

#[test]
fn node_that_becomes_one_of_several_gives_its_own_keys_other_names_and_they_open_all_the_same() {
    let mut world = World::new();
    world.change(0, |file| {
        let limits = KeyLimits::default();
        file.add(name_of(1), &AccessKey::random(), limits, 500, None)
            .unwrap();
    });
    world.settle();
    // Older than that of the nodes, which keeps its name all the same.
    let secret = AccessKey::random();
    let mut own = KeyFile::default();
    own.add(name_of(1), &secret, KeyLimits::default(), 100, None)
        .unwrap();
    own.share();
    let id = own.keys()[0].id;
    world.nodes[2] = SharedKeys::new(own, None);
    let stored = world.stores[0]
        .as_deref()
        .and_then(|text| world.seal.open(text));
    let verdict = world.nodes[2].on_stored(world.now, stored.as_ref());
    assert_eq!(verdict.renamed.len(), 1);
    assert_eq!(verdict.renamed[0].0, name_of(1));
    world.settle();
    let file = world.nodes[0].file();
    assert_ne!(file.find(&name_of(1)).unwrap().id, id);
    let ring = crate::keys::KeyRing::new(file, false);
    assert_eq!(ring.authenticate(&secret, 1_000), Some(id));
}

/// Keys of a host that has `default` with this secret since then.
fn with_default(secret: &AccessKey, made: u64) -> KeyFile {
    let mut file = KeyFile::default();
    let name = crate::keys::DEFAULT.parse().unwrap();
    file.add(name, secret, KeyLimits::default(), made, None)
        .unwrap();
    file.share();
    file
}

#[test]
fn key_that_was_made_anew_for_the_secret_of_a_shared_one_comes_to_that_one() {
    let secret = AccessKey::random();
    let (shared, anew) = (with_default(&secret, 100), with_default(&secret, 700));
    let joined = shared.join(&anew);
    assert_eq!(joined, anew.join(&shared));
    assert_eq!(joined.keys(), shared.keys());
    // Neither is another name told of, nor does the store get anything.
    let mut node = SharedKeys::new(anew.clone(), None);
    assert_eq!(node.on_stored(800, Some(&shared)), Verdict::default());
    assert_eq!(node.file().keys(), shared.keys());

    // Also where the shared one has another secret by now, and where it was revoked.
    let name = crate::keys::DEFAULT.parse().unwrap();
    let mut rotated = shared.clone();
    rotated
        .rotate(&name, &AccessKey::random(), Some(1_000))
        .unwrap();
    assert_eq!(anew.join(&rotated).keys(), rotated.keys());
    let mut revoked = shared.clone();
    revoked.revoke(&name, 500).unwrap();
    let joined = anew.join(&revoked);
    assert_eq!(joined.keys(), revoked.keys());
    // Whichever was made first by the clocks of the hosts.
    let early = with_default(&secret, 50);
    let joined = early.join(&revoked);
    assert_eq!(joined, revoked.join(&early));
    assert_eq!(joined.keys().len(), 1);
    assert_eq!(joined.keys()[0].revoked, Some(500));
}

#[test]
fn keys_that_nobody_could_read_again_are_not_written_in_place_of_others() {
    let files = crate::keys::KeyDirectory::new(p2pdbg_identity::StateDir::in_memory());
    let before = files.load_or_make(100).unwrap();
    let secret = AccessKey::random();
    let two = |_: &KeyFile| {
        let mut file = with_default(&secret, 100);
        file.keys.extend(with_default(&secret, 700).keys);
        file
    };
    assert!(files.update(two).is_err());
    assert_eq!(files.load_or_make(200).unwrap(), before);
}

#[test]
fn keys_are_relied_on_for_a_day_without_the_store_and_never_before_it_has_confirmed_them() {
    let mut file = KeyFile::default();
    file.share();
    let mut keys = SharedKeys::new(file.clone(), None);
    assert_eq!(keys.basis(1_000), Basis::Stale);
    keys.confirm(1_000);
    let day = KEPT_FOR.as_secs();
    assert_eq!(keys.basis(1_000 + 9 * day), Basis::Whole);
    keys.on_away();
    assert_eq!(keys.basis(1_000 + day - 1), Basis::Kept);
    assert_eq!(keys.basis(1_000 + day), Basis::Stale);
    // Nor does a clock that was set back end it.
    assert_eq!(keys.basis(10), Basis::Kept);
    // The same after a start with what was written down.
    let noted = {
        keys.confirm(2_000);
        keys.poll_note(2_000)
    };
    assert_eq!(noted.map(|(at, _)| at), Some(2_000));
    let again = SharedKeys::new(file, noted);
    assert_eq!(again.basis(2_000 + day - 1), Basis::Kept);
}

#[test]
fn shared_key_that_was_changed_by_hand_counts_as_changed_and_one_that_was_taken_out_comes_back() {
    let mut file = KeyFile::default();
    file.share();
    for name in [1, 2] {
        let limits = KeyLimits::default();
        file.add(name_of(name), &AccessKey::random(), limits, 1, None)
            .unwrap();
    }
    let mut edited = file.clone();
    edited.keys[0].limits.sessions = Some(3);
    edited.keys.remove(1);
    let after = file.with_edits(&edited);
    assert_eq!(after.keys().len(), 2);
    assert_eq!(after.find(&name_of(1)).unwrap().limits.sessions, Some(3));
    assert_eq!(after.join(&file), after);
    assert_eq!(file.with_edits(&file), file.join(&file));
}
