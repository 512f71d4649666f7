//! Several nodes, a store that fails in every way, and two peers that know each other and wander: once all is well
//! again they meet.

use p2pdbg_proto::node::{Node, NodeNumber};

use super::*;
use crate::cluster_store::tests::{NodeProcess, Store};

const NUMBERS: [u8; 3] = [17, 18, 23];

/// How long after all is well two peers may take: a beat, a look, and what was written late.
const PATIENCE_S: u64 = 60;

/// A small generator, so that a seed says all.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

struct AtNode {
    registry: Registry,
    task: NodeProcess,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    node: usize,
    conn: ConnId,
}

struct World {
    dice: Dice,
    now: Now,
    key: AccessKey,
    /// Whether the connector has the key, and so waits where it is; else it asks again and again.
    waits: bool,
    file: KeyFile,
    secret: Secret<32>,
    store: Store,
    nodes: Vec<AtNode>,
    conns: u64,
    handle: Handle,
    /// The listener and the connector, where they are.
    peers: [Option<Place>; 2],
    /// Connections that their peers have left without a word.
    ghosts: Vec<Place>,
    met: Option<[Place; 2]>,
    hops: usize,
    passed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let key = AccessKey::random();
        let mut file = KeyFile::default();
        add(&mut file, "default", &key, KeyLimits::default());
        let mut world = Self {
            dice: Dice(seed),
            waits: seed.is_multiple_of(2),
            now: Now {
                instant: Instant::now(),
                unix_s: 1_000_000,
            },
            key,
            file,
            secret: Secret::random(),
            store: Store::default(),
            nodes: Vec::new(),
            conns: 0,
            handle: Handle::random(),
            peers: [None, None],
            ghosts: Vec::new(),
            met: None,
            hops: 0,
            passed: 0,
        };
        for number in NUMBERS {
            let task = world.store.node(number, None);
            let registry = world.registry(number);
            world.nodes.push(AtNode { registry, task });
        }
        world
    }

    fn registry(&self, number: u8) -> Registry {
        let ring = KeyRing::new(&self.file, false);
        let mut registry = Registry::new(Limits::default(), ring, Vouchers::new(&self.secret));
        let nodes = NUMBERS.map(|number| format!("{number}=node{number}").parse().unwrap());
        let own = NodeNumber::new(number).unwrap();
        registry.join_cluster(Cluster::new(own, nodes.to_vec()).with_directory());
        registry
    }

    /// The peer comes to a node.
    fn come(&mut self, peer: usize, node: usize) {
        self.conns += 1;
        let conn = ConnId(self.conns);
        let role = [Role::Listener, Role::Connector][peer];
        self.peers[peer] = Some(Place { node, conn });
        let arrival = Arrival {
            observed: SocketAddr::from(([192, 0, 2, 1], 4_000)),
            stun: Vec::new(),
            over_tcp: false,
            span: tracing::Span::none(),
        };
        let credential = match role {
            Role::Connector if !self.waits => Credential::None,
            _ => Credential::AccessKey(self.key.clone()),
        };
        let (now, agent) = (self.now, "test".to_owned());
        let registry = &mut self.nodes[node].registry;
        registry.on_connected(now, conn, arrival);
        let hello = ToRendezvous::Hello { credential, agent };
        let effects = registry.handle(now, conn, hello);
        self.carry_out(node, effects);
        self.meet(peer);
    }

    fn meet(&mut self, peer: usize) {
        let Some(Place { node, conn }) = self.peers[peer] else {
            return;
        };
        let meet = ToRendezvous::Meet {
            handle: self.handle.clone(),
            role: [Role::Listener, Role::Connector][peer],
            already: None,
        };
        let effects = self.nodes[node].registry.handle(self.now, conn, meet);
        self.carry_out(node, effects);
    }

    fn leave(&mut self, peer: usize, unheard: bool) {
        let Some(place) = self.peers[peer].take() else {
            return;
        };
        match unheard {
            true => self.ghosts.push(place),
            false => self.lose(place),
        }
    }

    fn lose(&mut self, Place { node, conn }: Place) {
        let effects = self.nodes[node].registry.on_lost(self.now, conn, false);
        self.carry_out(node, effects);
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let mut introduced = Vec::new();
        for effect in effects {
            match effect {
                Effect::Ask(ask) => {
                    let now = self.now.instant;
                    for found in self.nodes[node].task.asks_at(self.now.instant, ask) {
                        let effects = self.nodes[node].registry.on_directory(now, found);
                        self.carry_out(node, effects);
                    }
                }
                Effect::Tell(conn, FromRendezvous::GoTo { node: to })
                    if self.peers[1] == Some(Place { node, conn }) =>
                {
                    self.hops += 1;
                    self.leave(1, false);
                    self.come(1, number_of(&to));
                }
                Effect::Tell(conn, FromRendezvous::Introduced(_)) => {
                    introduced.push(Place { node, conn });
                }
                _ => {}
            }
        }
        if let Ok(met) = introduced.try_into() {
            self.met = Some(met);
        }
    }

    /// Whether the two that are there now have been introduced.
    fn have_met(&self) -> bool {
        let now: Vec<Place> = self.peers.iter().flatten().copied().collect();
        let met = self.met.as_ref();
        met.is_some_and(|met| now.len() == 2 && now.iter().all(|place| met.contains(place)))
    }

    /// A second passes.
    fn pass(&mut self) {
        self.passed += 1;
        self.now.instant += Duration::from_secs(1);
        self.now.unix_s += 1;
        self.store.passes(Duration::from_secs(1));
        for node in 0..self.nodes.len() {
            let everything = self.passed.is_multiple_of(4) && self.nodes[node].task.beat();
            if everything || self.passed.is_multiple_of(45) {
                let all = crate::cluster_store::Found::TellAll;
                let effects = self.nodes[node]
                    .registry
                    .on_directory(self.now.instant, all);
                self.carry_out(node, effects);
            }
            let effects = self.nodes[node].registry.expire(self.now);
            self.carry_out(node, effects);
        }
        if !self.waits && self.passed.is_multiple_of(2) && !self.have_met() {
            self.meet(1);
        }
    }

    fn fail_somehow(&mut self) {
        let (peer, node) = (self.dice.below(2), self.dice.below(NUMBERS.len()));
        match self.dice.below(9) {
            0 | 1 => {
                let unheard = self.dice.below(2) == 0;
                self.leave(peer, unheard);
                self.come(peer, node);
            }
            2 => self.leave(peer, false),
            3 => self.store.is_away(true),
            4 => self.store.is_away(false),
            5 => self.store.forget(),
            6 => self.store.expire(NUMBERS[node]),
            7 => {
                // Killed and started again.
                let number = NUMBERS[node];
                let task = self.store.node(number, Some(&self.nodes[node].task));
                let registry = self.registry(number);
                self.nodes[node] = AtNode { registry, task };
                self.ghosts.retain(|ghost| ghost.node != node);
                for peer in &mut self.peers {
                    *peer = peer.filter(|place| place.node != node);
                }
            }
            _ => {
                for _ in 0..self.dice.below(10) {
                    self.pass();
                }
            }
        }
    }

    /// All is well from now on: who is lost is noticed, and both peers are somewhere.
    fn mend(&mut self) {
        self.store.is_away(false);
        for node in &self.nodes {
            node.task.outlives_others(&self.store);
        }
        for ghost in std::mem::take(&mut self.ghosts) {
            self.lose(ghost);
        }
        for peer in 0..2 {
            if self.peers[peer].is_none() {
                let node = self.dice.below(NUMBERS.len());
                self.come(peer, node);
            }
        }
    }
}

fn number_of(node: &Node) -> usize {
    let mut numbers = NUMBERS.iter();
    numbers
        .position(|number| *number == node.number.get())
        .unwrap()
}

#[test]
fn known_peers_at_any_nodes_meet_once_the_store_and_the_nodes_are_well() {
    for seed in 0..10_000 {
        let mut world = World::new(seed);
        for _ in 0..world.dice.below(20) {
            world.fail_somehow();
        }
        world.mend();
        world.hops = 0;
        let began = world.passed;
        while !world.have_met() {
            assert!(world.passed < began + PATIENCE_S, "seed {seed}");
            world.pass();
        }
        // To where the listener is, and once more if a record was stale.
        assert!(world.hops <= 2, "seed {seed}: {} hops", world.hops);
    }
}
