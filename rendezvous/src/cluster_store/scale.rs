//! Very many peers at the registries of several nodes, over a real store: what `examples/cluster.rs` measures. The
//! peers live in virtual time and have no connections, so that what is measured is what the nodes decide and what the
//! store bears.

use std::{
    collections::HashMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    fingerprint::Fingerprint,
    node::{Node, NodeNumber},
    rendezvous::{Credential, FromRendezvous, Handle, Role, ToRendezvous},
    secret::Secret,
    url::AccessKey,
};

use super::{
    Ask, Epoch, Names, Process, StoreTask, Valkey,
    store_task::{BATCH, BEAT},
};
use crate::{
    keys::{KeyFile, KeyLimits, KeyRing},
    limits::Limits,
    registry::{Arrival, ConnId, Effect, Now, Registry, cluster::Cluster, voucher_codec::Vouchers},
};

/// What one phase of the measurement took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phase {
    /// How many peers did something in it.
    pub peers: usize,
    /// What the registries took for it.
    pub registries: Duration,
    /// Questions and records that went to the store.
    pub asked: usize,
    /// How long the nodes waited for it, one after the other.
    pub store: Duration,
}

/// What the measurement has shown, a phase after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    /// The listeners come, and wait for known peers.
    pub listeners: Phase,
    /// The connectors come, each to another node than its listener, and are sent on.
    pub meetings: Phase,
    /// A node is lost, and all who were there come to the next one and meet again.
    pub loss: Phase,
    /// Pairs that have met, and those of them that have met again after the loss.
    pub met: (usize, usize),
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| what | peers | registries, µs a peer | store, entries | store, entries a second |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|")?;
        for (name, phase) in [
            ("listeners come", self.listeners),
            ("connectors come to other nodes, and meet", self.meetings),
            ("a node is lost, its peers meet at the next", self.loss),
        ] {
            let micros = phase.registries.as_micros() as f64 / phase.peers.max(1) as f64;
            let rate = phase.asked as f64 / phase.store.as_secs_f64().max(1e-9);
            writeln!(
                f,
                "| {name} | {} | {micros:.0} | {} | {rate:.0} |",
                phase.peers, phase.asked
            )?;
        }
        let (met, again) = self.met;
        write!(
            f,
            "\n{met} pairs have met, {again} of them again after the loss"
        )
    }
}

/// Runs it with so many pairs, over that store.
///
/// # Errors
/// Why the store is of no use, or who has not met.
pub async fn run(store: &str, pairs: usize) -> Result<Scale, String> {
    let mut world = World::new(store, pairs).await?;
    let mut scale = Scale::default();
    for peer in (0..pairs).map(|pair| 2 * pair) {
        let node = peer / 2 % world.nodes.len();
        world.come(peer, node);
    }
    world.settle().await?;
    scale.listeners = world.end_phase();
    for peer in (0..pairs).map(|pair| 2 * pair + 1) {
        let node = (peer / 2 + 1) % world.nodes.len();
        world.come(peer, node);
    }
    world.settle().await?;
    scale.meetings = world.end_phase();
    scale.met.0 = world.have_met();
    world.now.instant += Duration::from_secs(60);
    world.now.unix_s += 60;
    let lost: Vec<usize> = (0..2 * pairs)
        .filter(|peer| world.places[*peer].is_some_and(|(node, _)| node == 0))
        .collect();
    for peer in &lost {
        world.met[peer / 2] = [false; 2];
        world.come(*peer, 1);
    }
    world.settle().await?;
    scale.loss = world.end_phase();
    scale.met.1 = lost.len() / 2;
    if world.have_met() < pairs {
        let missing = pairs - world.have_met();
        return Err(format!("{missing} pairs have not met"));
    }
    Ok(scale)
}

struct AtNode {
    registry: Registry,
    task: StoreTask<Valkey>,
    asks: Vec<Ask>,
}

struct World {
    now: Now,
    key: AccessKey,
    handles: Vec<Handle>,
    nodes: Vec<AtNode>,
    numbers: Vec<NodeNumber>,
    /// Where each peer is: listeners have even numbers, the connector of each follows.
    places: Vec<Option<(usize, ConnId)>>,
    peers: HashMap<(usize, ConnId), usize>,
    conns: u64,
    met: Vec<[bool; 2]>,
    /// Connectors that are sent on.
    moves: Vec<(usize, usize)>,
    phase: Phase,
    beaten: Instant,
}

impl World {
    async fn new(store: &str, pairs: usize) -> Result<Self, String> {
        let named = ["17=a", "18=b", "23=c"].into_iter();
        let named: Vec<Node> = named.filter_map(|node| node.parse().ok()).collect();
        let numbers: Vec<NodeNumber> = named.iter().map(|node| node.number).collect();
        let (secret, key) = (Secret::random(), AccessKey::random());
        let mut file = KeyFile::default();
        let name = "default".parse().map_err(|_| "no name")?;
        file.add(name, &key, KeyLimits::default(), 0, None)
            .map_err(|error| error.to_string())?;
        // How many there are is the experiment.
        let limits = Limits {
            sessions: 2 * pairs,
            sessions_per_key: 2 * pairs,
            waiting: 2 * pairs,
            waiting_per_key: 2 * pairs,
            ..Limits::default()
        };
        let authority = Fingerprint::of_certificate(secret.expose());
        let now = Now {
            instant: Instant::now(),
            unix_s: 1_795_000_000,
        };
        let mut nodes = Vec::new();
        for number in &numbers {
            let ring = KeyRing::new(&file, false);
            let mut registry = Registry::new(limits.clone(), ring, Vouchers::new(&secret));
            registry.begin(now.instant, false);
            registry.join_cluster(Cluster::new(*number, named.clone()).with_directory());
            let process = Process {
                node: *number,
                epoch: Epoch::draw(),
            };
            let store = Valkey::new(store, authority)?;
            let task = StoreTask::new(store, Names::new(&secret), process, None);
            nodes.push(AtNode {
                registry,
                task,
                asks: Vec::new(),
            });
        }
        let mut world = Self {
            now,
            key,
            handles: (0..pairs).map(|_| Handle::random()).collect(),
            nodes,
            numbers,
            places: vec![None; 2 * pairs],
            peers: HashMap::new(),
            conns: 0,
            met: vec![[false; 2]; pairs],
            moves: Vec::new(),
            phase: Phase::default(),
            beaten: now.instant,
        };
        // Once so that all are there, and once more so that each knows of all.
        for _ in 0..2 {
            world.beat().await?;
        }
        Ok(world)
    }

    async fn beat(&mut self) -> Result<(), String> {
        self.beaten = Instant::now();
        for node in &mut self.nodes {
            node.task.beat().await;
            node.task.check()?;
        }
        Ok(())
    }

    /// A peer comes to a node, after it has left the one where it was.
    fn come(&mut self, peer: usize, node: usize) {
        let began = Instant::now();
        if let Some((before, conn)) = self.places[peer].take() {
            self.peers.remove(&(before, conn));
            // A node that is lost notices nothing.
            if before != 0 || node != 1 {
                let effects = self.nodes[before].registry.on_lost(self.now, conn, false);
                self.apply(before, effects);
            }
        }
        self.conns += 1;
        let conn = ConnId(self.conns);
        self.places[peer] = Some((node, conn));
        self.peers.insert((node, conn), peer);
        let ip = Ipv4Addr::from(0x0a00_0000 + u32::try_from(peer).unwrap_or_default());
        let arrival = Arrival {
            observed: SocketAddr::from((ip, 4_000)),
            stun: Vec::new(),
            over_tcp: false,
            span: tracing::Span::none(),
        };
        let hello = ToRendezvous::Hello {
            credential: Credential::AccessKey(self.key.clone()),
            agent: "scale".to_owned(),
        };
        let meet = ToRendezvous::Meet {
            handle: self.handles[peer / 2].clone(),
            role: [Role::Listener, Role::Connector][peer % 2],
            already: None,
        };
        let registry = &mut self.nodes[node].registry;
        registry.on_connected(self.now, conn, arrival);
        let mut effects = registry.handle(self.now, conn, hello);
        effects.extend(registry.handle(self.now, conn, meet));
        self.apply(node, effects);
        self.phase.peers += 1;
        self.phase.registries += began.elapsed();
    }

    fn apply(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask(ask) => self.nodes[node].asks.push(ask),
                Effect::Tell(conn, FromRendezvous::GoTo { node: to }) => {
                    let to = self.numbers.iter().position(|one| *one == to.number);
                    if let (Some(peer), Some(to)) = (self.peers.get(&(node, conn)), to) {
                        self.moves.push((*peer, to));
                    }
                }
                Effect::Tell(conn, FromRendezvous::Introduced(_)) => {
                    if let Some(peer) = self.peers.get(&(node, conn)) {
                        self.met[peer / 2][peer % 2] = true;
                    }
                }
                _ => {}
            }
        }
    }

    /// Until nobody has anything to ask, and nobody is sent on.
    async fn settle(&mut self) -> Result<(), String> {
        loop {
            let moves = std::mem::take(&mut self.moves);
            let mut is_idle = moves.is_empty();
            for (peer, to) in moves {
                self.phase.peers -= 1;
                self.come(peer, to);
            }
            for node in 0..self.nodes.len() {
                if self.beaten.elapsed() > BEAT {
                    self.beat().await?;
                }
                let asks = &mut self.nodes[node].asks;
                let rest = asks.split_off(asks.len().min(BATCH));
                let mut batch = std::mem::replace(asks, rest);
                if batch.is_empty() {
                    continue;
                }
                is_idle = false;
                self.phase.asked += batch.len();
                let began = Instant::now();
                let found = self.nodes[node]
                    .task
                    .answer(self.now.instant, &mut batch)
                    .await;
                self.phase.store += began.elapsed();
                self.nodes[node].task.check()?;
                for found in found {
                    let began = Instant::now();
                    let effects = self.nodes[node].registry.on_directory(began, found);
                    self.phase.registries += began.elapsed();
                    self.apply(node, effects);
                }
            }
            if is_idle {
                return Ok(());
            }
        }
    }

    fn end_phase(&mut self) -> Phase {
        std::mem::take(&mut self.phase)
    }

    fn have_met(&self) -> usize {
        self.met.iter().filter(|met| **met == [true; 2]).count()
    }
}
