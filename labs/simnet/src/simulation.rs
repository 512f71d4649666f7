//! Two peers, a STUN server and the signalling between them, run in virtual time.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_punch::{Config, Input, Output, Path, PunchKey, Role, SocketId, Technique};

use crate::{
    peer::{Peer, WebPort},
    server::StunServer,
    world::{HostId, Link, NatId, World},
};

/// How a run ended for both peers.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From when both peers knew each other's candidates to when both had nominated, if they did.
    pub direct: Option<Duration>,
    /// What each peer says made it work.
    pub technique: Option<[Technique; 2]>,
    /// Whether a packet of QUIC's length on the path that each peer nominated reached the other one's path.
    pub carries: bool,
    /// Packets that each engine sent.
    pub packets: [u64; 2],
    /// The most sockets that each peer had open.
    pub sockets: [usize; 2],
    /// Why each peer is not direct, in words.
    pub why: [Option<String>; 2],
}

/// Starting times of the two peers differ by at most this.
const MAX_SKEW: Duration = Duration::from_millis(200);

/// Where the two peers were put.
pub(crate) struct Sites {
    pub(crate) boxes: [Vec<NatId>; 2],
    pub(crate) hosts: [HostId; 2],
    pub(crate) maps_ports: [bool; 2],
    pub(crate) web_ports: [WebPort; 2],
    pub(crate) no_udp: [bool; 2],
}

/// What the rendezvous still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rendezvous {
    Serves,
    AnswersStunAlone,
    Away,
}

/// Two peers in a world.
#[derive(Debug)]
pub struct Simulation {
    /// The network between them.
    pub world: World,
    /// The STUN server that both ask.
    pub server: StunServer,
    /// The boxes of each site, from the internet inwards.
    pub boxes: [Vec<NatId>; 2],
    /// The hosts of the two peers.
    pub hosts: [HostId; 2],
    maps_ports: [bool; 2],
    web_ports: [WebPort; 2],
    no_udp: [bool; 2],
    peers: [Option<Peer>; 2],
    roles: [Role; 2],
    secret: [u8; 32],
    epoch: Instant,
    signals: VecDeque<(Duration, usize, Vec<u8>)>,
    signal_delay: Duration,
    /// Whether the engines look for a path by TCP, too.
    tcp: bool,
    adjust: fn(&mut Config),
    hidden: bool,
    rendezvous: Rendezvous,
    /// A STUN server of one peer's own, besides the rendezvous'.
    own_server: Option<(usize, StunServer)>,
    strays: u64,
}

impl Simulation {
    pub(crate) fn new(
        mut world: World,
        server: StunServer,
        sites: Sites,
        signal_delay: Duration,
        (tcp, adjust): (bool, fn(&mut Config)),
    ) -> Self {
        Self {
            secret: world.random().seed(),
            epoch: Instant::now(),
            world,
            server,
            boxes: sites.boxes,
            hosts: sites.hosts,
            maps_ports: sites.maps_ports,
            web_ports: sites.web_ports,
            no_udp: sites.no_udp,
            peers: [None, None],
            roles: [Role::Controlling, Role::Controlled],
            signals: VecDeque::new(),
            signal_delay,
            tcp,
            adjust,
            hidden: false,
            rendezvous: Rendezvous::Serves,
            own_server: None,
            strays: 0,
        }
    }

    /// Has the rendezvous not say where it sees the peers.
    pub fn hide_peers(&mut self) {
        self.hidden = true;
    }

    /// Takes the rendezvous away: what the engines have for each other is lost from now on, and so is what they ask it.
    pub fn lose_rendezvous(&mut self) {
        self.signals.clear();
        self.rendezvous = Rendezvous::Away;
    }

    /// Has what the engines have for each other be lost from now on, while STUN servers answer.
    pub fn lose_signals(&mut self) {
        self.signals.clear();
        self.rendezvous = Rendezvous::AnswersStunAlone;
    }

    /// Gives one peer a STUN server that the other one does not know of, as by `--stun`.
    pub fn add_stun_server(&mut self, n: usize) {
        let server = StunServer::new(&mut self.world, 1, Link::default());
        self.own_server = Some((n, server));
    }

    /// Starts both peers, within 200 ms of each other.
    pub fn start(&mut self) {
        let skew = self.world.random().time(MAX_SKEW);
        let first = usize::from(self.world.random().chance(0.5));
        self.start_peer(first);
        self.run_until(self.world.now() + skew, |_| false);
        self.start_peer(1 - first);
    }

    /// Starts the peer of this number, 0 or 1.
    pub fn start_peer(&mut self, n: usize) {
        let mut servers = self.server.addresses().to_vec();
        if let Some((_, own)) = self.own_server.as_ref().filter(|(whose, _)| *whose == n) {
            servers.extend_from_slice(own.addresses());
        }
        let mut config = Config::new(self.roles[n], PunchKey::new(self.secret), servers);
        config.tcp = self.tcp;
        (self.adjust)(&mut config);
        let mut peer = Peer::new(
            &mut self.world,
            self.hosts[n],
            config,
            self.epoch,
            !self.no_udp[n],
        );
        peer.set_web_port(self.web_ports[n]);
        if !self.hidden {
            let seen = self.world.seen_as(self.hosts[1 - n]);
            peer.handle(&mut self.world, Input::PeerSeen(&seen));
        }
        if let (true, Some(&gateway), Some(inside)) = (
            self.maps_ports[n],
            self.boxes[n].last(),
            peer.endpoint(&self.world),
        ) {
            let external = self.world.forward(gateway, inside);
            let socket = SocketId::V4;
            peer.handle(&mut self.world, Input::MappedPort { socket, external });
            peer.map_tcp_at(gateway);
        }
        self.peers[n] = Some(peer);
        self.collect_signals(n);
    }

    /// A peer that was started.
    ///
    /// # Panics
    /// When it was not started.
    #[must_use]
    pub fn peer(&self, n: usize) -> &Peer {
        self.peers[n].as_ref().expect("the peer was started")
    }

    /// Tells a peer's engine something.
    pub fn tell(&mut self, n: usize, input: Input<'_>) {
        if let Some(peer) = &mut self.peers[n] {
            peer.handle(&mut self.world, input);
            self.collect_signals(n);
        }
    }

    /// Both ends have a tunnel on their path, and streams that move there.
    pub fn use_path(&mut self) {
        for n in 0..2 {
            self.tell(n, Input::TunnelUp);
            self.tell(n, Input::StreamsActive(true));
        }
    }

    /// Packets that reached hosts which are neither peers nor servers.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Whether both peers have a path now.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.peers
            .iter()
            .all(|p| p.as_ref().is_some_and(|p| p.engine.nominated().is_some()))
    }

    /// When something happens next; none if nothing ever will.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        let wakes = self.peers.iter().flatten().filter_map(Peer::next_at).min();
        let started = |s: &&(Duration, usize, Vec<u8>)| self.peers[s.1].is_some();
        let signal = self.signals.iter().filter(started).map(|s| s.0).min();
        let next = [wakes, signal, self.world.next_at()];
        next.into_iter().flatten().min()
    }

    /// Runs until `done`, or up to `deadline` of virtual time. True if `done` came true.
    ///
    /// # Panics
    /// When an engine asks to be woken again and again without time passing.
    pub fn run_until(&mut self, deadline: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let mut spins = 0;
        loop {
            if done(self) {
                return true;
            }
            let Some(next) = self.next_at().filter(|&next| next <= deadline) else {
                self.world.run_until(deadline);
                return done(self);
            };
            spins = if next <= self.world.now() {
                spins + 1
            } else {
                0
            };
            assert!(spins < 100_000, "an engine spins at {:?}", self.world.now());
            if let Some(delivery) = self.world.run_until(next) {
                let own = self.own_server.as_ref();
                let own = own.is_some_and(|(_, own)| own.handle(&mut self.world, &delivery));
                let asked = self.rendezvous != Rendezvous::Away
                    && self.server.handle(&mut self.world, &delivery);
                if !own && !asked {
                    self.strays += u64::from(!self.hosts.contains(&delivery.host));
                    for n in 0..2 {
                        if let Some(peer) = &mut self.peers[n]
                            && peer.deliver(&mut self.world, &delivery)
                        {
                            self.collect_signals(n);
                        }
                    }
                }
                continue;
            }
            self.deliver_signals();
            for n in 0..2 {
                let due = self.peers[n]
                    .as_ref()
                    .and_then(Peer::next_at)
                    .is_some_and(|at| at <= self.world.now());
                if due && let Some(peer) = &mut self.peers[n] {
                    peer.wake(&mut self.world);
                    self.collect_signals(n);
                }
            }
        }
    }

    fn deliver_signals(&mut self) {
        let now = self.world.now();
        while let Some(position) = self
            .signals
            .iter()
            .position(|(at, to, _)| *at <= now && self.peers[*to].is_some())
        {
            let Some((_, to, bytes)) = self.signals.remove(position) else {
                return;
            };
            self.tell(to, Input::PeerSignal(&bytes));
        }
    }

    fn collect_signals(&mut self, from: usize) {
        let at = self.world.now() + self.signal_delay;
        if let Some(peer) = &mut self.peers[from] {
            let signals = peer.take_signals().into_iter();
            let signals = signals.filter(|_| self.rendezvous == Rendezvous::Serves);
            self.signals
                .extend(signals.map(|bytes| (at, 1 - from, bytes)));
        }
    }

    /// Sends a packet each way on the nominated paths and says whether both arrived on the other's path, be it the one
    /// that the other had then or a better one that it has by now. Where the two move to another path meanwhile, one
    /// after the other, that one is what counts.
    pub fn carries(&mut self) -> bool {
        loop {
            if !self.is_direct() {
                return false;
            }
            let then = [0, 1].map(|n| self.path(n));
            if self.carried(then) {
                return true;
            }
            let way = |path: Option<Path>| path.map(|path| (path.socket, path.remote));
            if [0, 1].map(|n| way(self.path(n))) == then.map(way) {
                return false;
            }
        }
    }

    fn carried(&mut self, then: [Option<Path>; 2]) -> bool {
        let deadline = self.world.now() + Duration::from_secs(2);
        for n in 0..2 {
            let Some(peer) = &mut self.peers[n] else {
                return false;
            };
            peer.take_inbox();
            // Several, in case the links lose some.
            for _ in 0..8 {
                peer.send_on_path(&mut self.world, &[0x80; 1200]);
            }
        }
        self.run_until(deadline, |_| false);
        (0..2).all(|n| {
            let paths = [then[n], self.path(n)];
            let inbox = self.peers[n].as_mut().map(Peer::take_inbox);
            inbox.into_iter().flatten().any(|(socket, from, _)| {
                let is_of = |path: &Path| (path.socket, path.remote) == (socket, from);
                paths.iter().flatten().any(is_of)
            })
        })
    }

    /// Whether the two peers have the same path now, and the boxes on it would let a packet through each way.
    ///
    /// Nothing is sent: looking does not keep mappings alive.
    #[must_use]
    pub fn carries_now(&self) -> bool {
        (0..2).all(|n| {
            let Some(path) = self.path(n) else {
                return false;
            };
            if path.socket.is_stream() {
                return self.peers[n].as_ref().and_then(Peer::tcp_path).is_some();
            }
            let from = self.peers[n].as_ref().and_then(|p| p.port(path.socket));
            from.is_some_and(|port| {
                let source = SocketAddr::new(self.world.ip(self.hosts[n]), port);
                self.world.would_reach(self.hosts[n], source, path.remote)
                    == Some(self.hosts[1 - n])
            })
        })
    }

    /// The path that a peer has now.
    fn path(&self, n: usize) -> Option<Path> {
        self.peers[n].as_ref()?.engine.nominated().copied()
    }

    /// How things stand for both peers now.
    #[must_use]
    pub fn outcome(&mut self) -> Outcome {
        let knew = self
            .peers
            .iter()
            .map(|p| p.as_ref().and_then(Peer::knows_peer))
            .collect::<Option<Vec<_>>>();
        let nominated = self
            .peers
            .iter()
            .map(|p| {
                p.as_ref()
                    .filter(|p| p.engine.nominated().is_some())?
                    .nominations()
                    .next()
            })
            .collect::<Option<Vec<_>>>();
        let direct = knew.zip(nominated.as_ref()).map(|(knew, nominated)| {
            let both_know = knew.into_iter().max().unwrap_or_default();
            let both_have = nominated.iter().map(|n| n.0).max().unwrap_or_default();
            both_have.saturating_sub(both_know)
        });
        let count = |f: fn(&Peer) -> u64| [0, 1].map(|n| self.peers[n].as_ref().map_or(0, f));
        let packets = count(Peer::packets_sent);
        let sockets = count(|p| p.most_sockets() as u64).map(|n| n as usize);
        let technique = nominated.map(|n| [n[0].1.technique, n[1].1.technique]);
        let why = [0, 1].map(|n| {
            let obstacle = self.peers[n].as_ref()?.engine.why_relayed()?;
            Some(obstacle.to_string())
        });
        let carries = self.carries();
        Outcome {
            direct,
            technique,
            carries,
            packets,
            sockets,
            why,
        }
    }

    /// When a peer's path was lost last, and why.
    #[must_use]
    pub fn lost(&self, n: usize) -> Option<(Duration, p2pdbg_punch::LossReason)> {
        self.peer(n)
            .log()
            .iter()
            .rev()
            .find_map(|(at, output)| match output {
                Output::PathLost { reason } => Some((*at, *reason)),
                _ => None,
            })
    }
}
