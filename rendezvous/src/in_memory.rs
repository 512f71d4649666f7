//! The registry without sockets: what the tests of its clients drive in memory, with a clock of their own.

use std::{net::SocketAddr, time::Instant};

use p2pdbg_proto::{
    rendezvous::{FromRendezvous, ToRendezvous},
    secret::Secret,
    url::AccessKey,
};

use crate::{
    keys::{DEFAULT, KeyFile, KeyLimits, KeyRing},
    limits::Limits,
    registry::{Arrival, ConnId, Effect, Now, Registry, voucher_codec::Vouchers},
};

/// What comes of an input: for which connection, and what it is told; `None` if it is closed instead.
pub type Told = (u64, Option<FromRendezvous>);

/// A rendezvous whose control connections are numbers. Legs of the relay are granted and lead nowhere.
#[derive(Debug)]
pub struct InMemory {
    registry: Registry,
    file: KeyFile,
    secret: Secret<32>,
    began: Instant,
    connections: u64,
}

impl InMemory {
    /// A rendezvous that has just begun, for the first time, and lets in whoever shows `key`.
    ///
    /// # Panics
    /// If a key file cannot hold one key.
    pub fn new(key: &AccessKey, now: Instant) -> Self {
        let mut file = KeyFile::default();
        let name = DEFAULT.parse().expect("a key's name");
        file.add(name, key, KeyLimits::default(), 0, None)
            .expect("one key");
        let secret = Secret::random();
        let vouchers = Vouchers::new(&secret);
        let mut registry = Registry::new(Limits::default(), KeyRing::new(&file, false), vouchers);
        registry.begin(now, false);
        Self {
            registry,
            file,
            secret,
            began: now,
            connections: 0,
        }
    }

    /// The process ends and another begins with the same state directory: all connections are gone, unheard.
    pub fn restart(&mut self, now: Instant) {
        let vouchers = Vouchers::new(&self.secret);
        let ring = KeyRing::new(&self.file, false);
        self.registry = Registry::new(Limits::default(), ring, vouchers);
        self.registry.begin(now, true);
    }

    /// A peer has connected from this address; its connection.
    pub fn connect(&mut self, now: Instant, observed: SocketAddr) -> u64 {
        self.connections += 1;
        let arrival = Arrival {
            over_tcp: false,
            span: tracing::Span::none(),
            observed,
            stun: vec![SocketAddr::from(([192, 0, 2, 1], 3478))],
        };
        let id = ConnId(self.connections);
        self.registry.on_connected(self.now(now), id, arrival);
        self.connections
    }

    /// A peer says this on its connection; what the rendezvous says to whom because of it.
    pub fn say(&mut self, now: Instant, connection: u64, message: ToRendezvous) -> Vec<Told> {
        let id = ConnId(connection);
        told(self.registry.handle(self.now(now), id, message))
    }

    /// A connection is gone; `on_purpose` if the peer closed it.
    pub fn lose(&mut self, now: Instant, connection: u64, on_purpose: bool) -> Vec<Told> {
        let id = ConnId(connection);
        told(self.registry.on_lost(self.now(now), id, on_purpose))
    }

    /// Ends what has lasted long enough; to be called about once a second.
    pub fn expire(&mut self, now: Instant) -> Vec<Told> {
        told(self.registry.expire(self.now(now)))
    }

    /// All sessions end, and their members' connections go on: as if each had taken in what it was told too slowly.
    pub fn end_sessions(&mut self) -> Vec<Told> {
        told(self.registry.end_sessions())
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.registry.sessions()
    }

    fn now(&self, instant: Instant) -> Now {
        let passed = instant.saturating_duration_since(self.began);
        Now {
            instant,
            unix_s: 1_000_000 + passed.as_secs(),
        }
    }
}

fn told(effects: Vec<Effect>) -> Vec<Told> {
    let told = effects.into_iter().filter_map(|effect| match effect {
        Effect::Tell(ConnId(to), message) => Some((to, Some(message))),
        Effect::Close(ConnId(to), _) => Some((to, None)),
        _ => None,
    });
    told.collect()
}
