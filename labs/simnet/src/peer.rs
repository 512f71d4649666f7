//! A host that runs the traversal engine, driven in virtual time.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_punch::{Config, Engine, Event, Family, Input, LocalAddress, Output, Path, SocketId};

use crate::world::{Delivery, HostId, World};

/// A peer: an engine at a host, with the sockets that it asked for.
#[derive(Debug)]
pub struct Peer {
    /// The host that it runs at.
    pub host: HostId,
    /// The traversal engine, the very code of the program.
    pub engine: Engine,
    epoch: Instant,
    sockets: BTreeMap<SocketId, u16>,
    opened: usize,
    signals: Vec<Vec<u8>>,
    log: Vec<(Duration, Output)>,
    sent: u64,
    most_sockets: usize,
    knows_peer: Option<Duration>,
    inbox: Vec<(SocketId, SocketAddr, Vec<u8>)>,
}

impl Peer {
    /// A peer whose engine has been told its sockets and addresses. `epoch` is the instant of virtual time 0.
    #[must_use]
    pub fn new(world: &mut World, host: HostId, config: Config, epoch: Instant) -> Self {
        let seed = world.random().seed();
        let engine = Engine::new(config, seed, epoch + world.now());
        let mut peer = Self {
            host,
            engine,
            epoch,
            sockets: BTreeMap::new(),
            opened: 0,
            signals: Vec::new(),
            log: Vec::new(),
            sent: 0,
            most_sockets: 0,
            knows_peer: None,
            inbox: Vec::new(),
        };
        let addresses = world.addresses(host).to_vec();
        let local: Vec<LocalAddress> = addresses.iter().map(|&ip| ip.into()).collect();
        peer.handle(world, Input::LocalAddresses(&local));
        if addresses.iter().any(IpAddr::is_ipv4) {
            peer.open(world, SocketId::V4, Family::V4);
        }
        if addresses.iter().any(IpAddr::is_ipv6) {
            peer.open(world, SocketId::V6, Family::V6);
        }
        peer
    }

    /// Hands an input to the engine and does what it asks for.
    pub fn handle(&mut self, world: &mut World, input: Input<'_>) {
        if let (Input::PeerSignal(_), None) = (&input, self.knows_peer) {
            self.knows_peer = Some(world.now());
        }
        self.engine.handle(self.epoch + world.now(), input);
        self.act(world);
    }

    /// The endpoint of the session's IPv4 socket, as the host's own network sees it.
    #[must_use]
    pub fn endpoint(&self, world: &World) -> Option<SocketAddr> {
        let port = *self.sockets.get(&SocketId::V4)?;
        Some(SocketAddr::new(world.ip(self.host), port))
    }

    /// The local port of a socket that is open.
    #[must_use]
    pub fn port(&self, socket: SocketId) -> Option<u16> {
        self.sockets.get(&socket).copied()
    }

    /// When the engine wants to be woken, in virtual time.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        let at = self.engine.poll_timeout()?;
        Some(at.saturating_duration_since(self.epoch))
    }

    /// Takes a packet that arrived. True if it was for this peer.
    pub fn deliver(&mut self, world: &mut World, delivery: &Delivery) -> bool {
        if delivery.host != self.host {
            return false;
        }
        let to = self
            .sockets
            .iter()
            .find(|(_, port)| **port == delivery.port);
        let Some((&socket, _)) = to else { return true };
        if delivery.payload.first().is_some_and(|&first| first < 4) {
            let input = Input::Datagram {
                socket,
                from: delivery.from,
                payload: &delivery.payload,
            };
            self.handle(world, input);
        } else {
            self.inbox
                .push((socket, delivery.from, delivery.payload.clone()));
        }
        true
    }

    /// Sends something that is not STUN on the nominated path, as the tunnel would.
    pub fn send_on_path(&mut self, world: &mut World, payload: &[u8]) {
        if let Some(path) = self.engine.nominated().copied()
            && let Some(&port) = self.sockets.get(&path.socket)
        {
            world.send(self.host, port, path.remote, None, payload.to_vec());
        }
    }

    /// What came that is not STUN: the socket, the source and the bytes.
    pub fn take_inbox(&mut self) -> Vec<(SocketId, SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.inbox)
    }

    /// Signals for the other peer.
    pub fn take_signals(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.signals)
    }

    /// Everything that the engine said, except packets and signals, with its time.
    #[must_use]
    pub fn log(&self) -> &[(Duration, Output)] {
        &self.log
    }

    /// The nominations, with their times.
    pub fn nominations(&self) -> impl Iterator<Item = (Duration, Path)> {
        self.log.iter().filter_map(|(at, output)| match output {
            Output::Nominated(path) => Some((*at, *path)),
            _ => None,
        })
    }

    /// The events, with their times.
    pub fn events(&self) -> impl Iterator<Item = (Duration, &Event)> {
        self.log.iter().filter_map(|(at, output)| match output {
            Output::Event(event) => Some((*at, event)),
            _ => None,
        })
    }

    /// When the first signal of the other peer came.
    #[must_use]
    pub fn knows_peer(&self) -> Option<Duration> {
        self.knows_peer
    }

    /// Packets that the engine has sent.
    #[must_use]
    pub fn packets_sent(&self) -> u64 {
        self.sent
    }

    /// The most sockets that were open at once.
    #[must_use]
    pub fn most_sockets(&self) -> usize {
        self.most_sockets
    }

    /// Sockets that are open now.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn open(&mut self, world: &mut World, socket: SocketId, family: Family) {
        let mut port = free_port(world);
        while self.sockets.values().any(|&taken| taken == port) {
            port = free_port(world);
        }
        self.sockets.insert(socket, port);
        self.opened += 1;
        self.most_sockets = self.most_sockets.max(self.sockets.len());
        let local: SocketAddr = match family {
            Family::V4 => ([0, 0, 0, 0], port).into(),
            Family::V6 => ([0; 8], port).into(),
        };
        self.engine.handle(
            self.epoch + world.now(),
            Input::SocketOpened { socket, local },
        );
        self.act(world);
    }

    fn act(&mut self, world: &mut World) {
        let mut to_open = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send {
                    socket,
                    to,
                    ttl,
                    payload,
                } => {
                    self.sent += 1;
                    if let Some(&port) = self.sockets.get(&socket) {
                        world.send(self.host, port, to, ttl, payload);
                    }
                }
                Output::Signal(bytes) => self.signals.push(bytes),
                Output::OpenSocket { socket, family } => to_open.push((socket, family)),
                Output::CloseSocket { socket } => {
                    self.sockets.remove(&socket);
                }
                other => self.log.push((world.now(), other)),
            }
        }
        for (socket, family) in to_open {
            self.open(world, socket, family);
        }
    }
}

/// A port as an operating system draws them.
fn free_port(world: &mut World) -> u16 {
    32_768 + world.random().below(28_000) as u16
}
