//! A host that runs the traversal engine, driven in virtual time.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_punch::{
    Config, Engine, Family, Input, LocalAddress, Output, Path, PunchEvent, SocketId, WEB_PORT,
};

use crate::{
    direct_tcp::{DirectTcp, TcpNews},
    segment::Transport,
    world::{Delivery, HostId, NatId, World},
};

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
    tcp: DirectTcp,
    /// The box that maps ports for it, if one does.
    gateway: Option<NatId>,
    web_port: WebPort,
}

/// What a peer may have of the port of the web.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WebPort {
    /// Whether its gateway maps it, if it maps any.
    pub(crate) mapped: bool,
    /// Whether its host lets it listen there.
    pub(crate) own: bool,
}

impl Peer {
    /// A peer whose engine has been told its sockets and addresses. `epoch` is the instant of virtual time 0, and `udp`
    /// says whether its host lets it have sockets of UDP.
    #[must_use]
    pub fn new(world: &mut World, host: HostId, config: Config, epoch: Instant, udp: bool) -> Self {
        let seed = world.random().seed();
        let servers = config.stun_servers.iter().copied();
        let key = config.key.clone();
        let tcp = DirectTcp::new(host, key.clone(), config.role, servers);
        let mut engine = Engine::new(config, seed, epoch + world.now());
        engine.authenticated(&key);
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
            tcp,
            gateway: None,
            web_port: WebPort::default(),
        };
        let addresses = world.addresses(host).to_vec();
        if udp && addresses.iter().any(IpAddr::is_ipv4) {
            peer.open(world, SocketId::V4, Family::V4);
        }
        if udp && addresses.iter().any(IpAddr::is_ipv6) {
            peer.open(world, SocketId::V6, Family::V6);
        }
        let local: Vec<LocalAddress> = addresses.iter().map(|&ip| ip.into()).collect();
        peer.handle(world, Input::LocalAddresses(&local));
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

    /// Has a box map this peer's TCP port as soon as it listens on one.
    pub fn map_tcp_at(&mut self, gateway: NatId) {
        self.gateway = Some(gateway);
    }

    /// Says what this peer may have of the port of the web.
    pub(crate) fn set_web_port(&mut self, web_port: WebPort) {
        self.web_port = web_port;
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

    /// When the engine or TCP wants to be woken, in virtual time.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        let engine = self.engine.poll_timeout();
        let engine = engine.map(|at| at.saturating_duration_since(self.epoch));
        engine.into_iter().chain(self.tcp.next_at()).min()
    }

    /// Does what is due.
    pub fn wake(&mut self, world: &mut World) {
        let news = self.tcp.wake(world);
        self.on_tcp_news(world, news);
        self.handle(world, Input::Timeout);
    }

    /// The peer's end of the connection by which this one's path goes, if it goes by TCP.
    #[must_use]
    pub fn tcp_path(&self) -> Option<SocketAddr> {
        self.tcp.remote(self.engine.nominated()?.socket)
    }

    /// Takes a packet that arrived. True if it was for this peer.
    pub fn deliver(&mut self, world: &mut World, delivery: &Delivery) -> bool {
        if delivery.host != self.host {
            return false;
        }
        if let Transport::Tcp(segment) = delivery.transport {
            let news = self.tcp.deliver(world, delivery, segment);
            self.on_tcp_news(world, news);
            return true;
        }
        let to = self
            .sockets
            .iter()
            .find(|(_, port)| **port == delivery.port);
        let Some((&socket, _)) = to else { return true };
        self.take(world, socket, delivery.from, &delivery.payload);
        true
    }

    fn take(&mut self, world: &mut World, socket: SocketId, from: SocketAddr, payload: &[u8]) {
        if payload.first().is_some_and(|&first| first < 4) {
            let input = Input::Datagram {
                socket,
                from,
                payload,
            };
            self.handle(world, input);
        } else {
            self.inbox.push((socket, from, payload.to_vec()));
        }
    }

    fn on_tcp_news(&mut self, world: &mut World, news: Vec<TcpNews>) {
        for news in news {
            match news {
                TcpNews::Ports(ports) => self.handle(world, Input::TcpPorts(&ports)),
                TcpNews::Connected {
                    socket,
                    local,
                    remote,
                    dialled,
                } => {
                    let connected = Input::TcpConnected {
                        socket,
                        local,
                        remote,
                        dialled,
                    };
                    self.handle(world, connected);
                }
                TcpNews::Closed(socket) => self.handle(world, Input::TcpClosed { socket }),
                TcpNews::Datagram(socket, from, payload) => {
                    self.take(world, socket, from, &payload);
                }
            }
        }
    }

    /// Sends something that is not STUN on the nominated path, as the tunnel would.
    pub fn send_on_path(&mut self, world: &mut World, payload: &[u8]) {
        let Some(path) = self.engine.nominated().copied() else {
            return;
        };
        if path.socket.is_stream() {
            self.tcp.send(world, path.socket, payload.to_vec());
        } else if let Some(&port) = self.sockets.get(&path.socket) {
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
    pub fn events(&self) -> impl Iterator<Item = (Duration, &PunchEvent)> {
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
                    ttl,
                    payload,
                    ..
                } if socket.is_stream() => {
                    self.sent += 1;
                    if ttl.is_none() {
                        self.tcp.send(world, socket, payload);
                    }
                }
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
                    self.tcp.close(world, socket);
                }
                Output::TcpGather { web } => {
                    let changed = self.tcp.gather(world, web.then_some(self.web_port.own));
                    if let (true, Some(gateway), Some(inside)) =
                        (changed, self.gateway, self.tcp.endpoint(world))
                    {
                        let wanted = (web && self.web_port.mapped).then_some(WEB_PORT);
                        let external = world.forward_tcp(gateway, inside, wanted);
                        self.tcp.on_mapped(external);
                    }
                }
                Output::TcpDial { to, patience } => self.tcp.dial(world, to, patience),
                Output::TcpRest => self.tcp.rest(world),
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
