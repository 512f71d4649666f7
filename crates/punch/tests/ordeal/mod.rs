//! Two engines, what lies between them, and a string of bytes that says what happens: anything that peers, servers,
//! strangers, operating systems and clocks may do, in any order.
//!
//! What must hold whatever happens is asserted at every step, see [`End::take_outputs`] and [`End::check_pace`]. Both
//! the test suite and the fuzzer run it, the one with random bytes, the other with bytes that reach new code.
//!
//! The engines are real on both sides, so that valid checks, nominations and signals are at hand; the bytes say which
//! of them arrive, where they seem to come from, and how they are damaged.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_punch::{
    Budget, Config, Engine, Family, Input, LocalAddress, Output, PunchEvent, PunchKey, Role,
    SocketId, TcpPorts, candidate,
};
use p2pdbg_stun::{Attribute, Class, Encoder, Message};

/// The two STUN ports; no other address may hear of an engine before the peer has spoken.
const SERVERS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 3478),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 3479),
];

/// Datagrams in flight that are remembered.
const FLIGHT: usize = 1024;

/// Datagrams after which a run ends; a search alone is some thousand.
const MOST_SENT: usize = 30_000;

/// Timeouts in a row without time passing.
const MOST_SPINS: u32 = 64;

/// What a search may leave open besides its own: the sample of the NAT, the path's socket, and those of former paths,
/// for ten seconds each.
const OTHER_SOCKETS: usize = 2 + 4 + 8;

/// What leaves at once whatever the pace says, in a second: nominations, consent and questions to servers.
const UNPACED: usize = 64;

/// Ports of an address that an engine tries because the peer named or showed them, in one generation.
const NAMED_PORTS: usize = 3 * 24 + 32;

/// Reads the bytes to the end and asserts what must hold.
pub(crate) fn run(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut ordeal = Ordeal::new(&mut script);
    while !script.0.is_empty() && ordeal.ends.iter().all(|end| end.sent < MOST_SENT) {
        ordeal.step(&mut script);
    }
    for _ in 0..4 {
        ordeal.wait(Duration::from_millis(500));
        ordeal.deliver_signals();
        ordeal.deliver_all();
    }
}

/// What is left of the bytes; zeros follow.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn end(&mut self) -> usize {
        usize::from(self.byte() % 2)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    fn ip(&mut self) -> IpAddr {
        let n = self.byte();
        let last = n >> 4;
        match n % 16 {
            0 => Ipv4Addr::UNSPECIFIED.into(),
            1 => Ipv4Addr::new(224, 0, 0, last).into(),
            2 => Ipv4Addr::BROADCAST.into(),
            3 => Ipv4Addr::new(127, 0, 0, 1 + last).into(),
            4 => SERVERS[0].ip(),
            5 => Ipv4Addr::new(203, 0, 113, last).into(),
            6 => Ipv4Addr::new(192, 168, 1, last).into(),
            7 => Ipv4Addr::new(10, last, 0, 1).into(),
            8 => Ipv4Addr::new(169, 254, 0, last).into(),
            9 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)).into(),
            10 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(last)).into(),
            11 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
            12 => Ipv6Addr::UNSPECIFIED.into(),
            13 => Ipv4Addr::new(203, 0, 113, last).to_ipv6_mapped().into(),
            14 => external(usize::from(last) % 2),
            _ => Ipv4Addr::from(u32::from(self.number()) << 16 | u32::from(self.number())).into(),
        }
    }

    fn address(&mut self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.number())
    }
}

/// The address of an end's NAT.
fn external(end: usize) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 100 + end as u8).into()
}

/// A datagram on its way.
#[derive(Clone)]
struct Flight {
    from: usize,
    socket: SocketId,
    to: SocketAddr,
    payload: Vec<u8>,
}

struct Ordeal {
    ends: [End; 2],
    start: Instant,
    /// The drivers' clock, which may jump either way.
    time: Duration,
    flights: VecDeque<Flight>,
    signals: [VecDeque<Vec<u8>>; 2],
}

impl Ordeal {
    fn new(script: &mut Script<'_>) -> Self {
        let start = Instant::now();
        let budget = match script.byte() % 3 {
            0 => Budget::default(),
            1 => Budget {
                packets_per_second: 40,
                burst: 5,
                packets_per_attempt: 100,
                search_sockets: 8,
                search_ports: 64,
                ..Budget::default()
            },
            _ => Budget {
                packets_per_second: 1000,
                burst: 100,
                search_sockets: 1,
                peer_candidates: 2,
                peer_reflexive: 1,
                ..Budget::default()
            },
        };
        let end = |n, role| End::new(n, role, budget, start);
        let mut ordeal = Self {
            ends: [end(0, Role::Controlling), end(1, Role::Controlled)],
            start,
            time: Duration::ZERO,
            flights: VecDeque::new(),
            signals: Default::default(),
        };
        for n in 0..2 {
            let local = [LocalAddress::from(IpAddr::from([192, 168, n as u8, 2]))];
            ordeal.tell(n, Input::LocalAddresses(&local));
            ordeal.tell(
                n,
                Input::SocketOpened {
                    socket: SocketId::V4,
                    local: ([0, 0, 0, 0], 40_000).into(),
                },
            );
        }
        ordeal
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let n = script.end();
        match script.byte() % 28 {
            0 => self.wait(Duration::from_millis(script.byte().into())),
            1 => self.wait(Duration::from_millis(script.number().into())),
            2..=4 => {
                self.deliver_signals();
                self.deliver_all();
                self.wait(Duration::from_millis(20));
                self.deliver_all();
            }
            5 => self.deliver_signals(),
            6 => self.deliver_all(),
            7 => self.flights.clear(),
            8 => self.deliver_one(script),
            9 => {
                let (from, payload) = (script.address(), script.bytes());
                let socket = SocketId(script.byte().into());
                self.receive(n, socket, from, &payload);
            }
            10 => {
                let bytes = script.bytes();
                self.tell(n, Input::PeerSignal(&bytes));
            }
            11 => {
                if let Some(mut signal) = self.signals[n].front().cloned() {
                    let at = usize::from(script.number()) % signal.len();
                    signal[at] ^= script.byte();
                    self.tell(n, Input::PeerSignal(&signal));
                }
            }
            12 => {
                self.signals[n].pop_front();
            }
            13 => {
                let seen: Vec<IpAddr> = (0..script.byte() % 4).map(|_| script.ip()).collect();
                self.see(n, &seen);
            }
            14 => self.see(n, &[external(1 - n)]),
            15 => {
                let mut ips: Vec<LocalAddress> = Vec::new();
                for _ in 0..script.byte() % 6 {
                    let (ip, scope_id) = (script.ip(), u32::from(script.byte() % 3));
                    ips.push(LocalAddress { ip, scope_id });
                }
                self.tell(n, Input::LocalAddresses(&ips));
            }
            16 => {
                let socket = SocketId(script.byte().into());
                self.ends[n].open.remove(&socket);
                self.tell(n, Input::SocketFailed { socket });
            }
            17 => {
                let socket = SocketId(u32::from(script.byte() % 2));
                let port = script.number();
                let local = match socket {
                    SocketId::V4 => ([0, 0, 0, 0], port).into(),
                    _ => ([0; 8], port).into(),
                };
                self.tell(n, Input::SocketOpened { socket, local });
            }
            18 => {
                // One that nobody asked for.
                let socket = SocketId(2 + u32::from(script.number()));
                let local = ([0, 0, 0, 0], script.number()).into();
                self.tell(n, Input::SocketOpened { socket, local });
            }
            19 => {
                let to = script.address();
                let known = self.flights.back().map(|f| (f.socket, f.to));
                let (socket, to) = known.unwrap_or((SocketId::V4, to));
                self.tell(n, Input::SendFailed { socket, to });
            }
            20 => {
                let some = script.byte().is_multiple_of(2);
                let external = some.then(|| script.address());
                let socket = SocketId(u32::from(script.byte() % 4));
                self.tell(n, Input::MappedPort { socket, external });
            }
            21 => self.tell(n, Input::NetworkChanged),
            22 => {
                let input = match script.byte() % 4 {
                    0 | 1 => Input::TunnelUp,
                    2 => Input::TunnelLost,
                    _ => Input::StreamsActive(script.byte().is_multiple_of(2)),
                };
                self.tell(n, input);
            }
            23 => {
                let allowed = script.byte().is_multiple_of(2);
                self.ends[n].allowed = allowed;
                self.tell(n, Input::SearchAllowed(allowed));
            }
            24 => self.time += Duration::from_secs(u64::from(script.number()) * 10),
            25 => {
                let back = Duration::from_millis(u64::from(script.number()) * 100);
                self.time = self.time.saturating_sub(back);
            }
            26 => self.ends[n].nat = script.byte() % 4,
            _ => self.ends[n].refuses_sockets = script.byte().is_multiple_of(2),
        }
    }

    /// Lets time pass, with every timer in its turn.
    fn wait(&mut self, time: Duration) {
        let until = self.time + time;
        let mut woken = [(Duration::ZERO, 0); 2];
        loop {
            let next = |n: usize| {
                let at = self.ends[n].engine.poll_timeout()?;
                Some((at.saturating_duration_since(self.start), n))
            };
            let Some((at, n)) = [0, 1]
                .into_iter()
                .filter_map(next)
                .min()
                .filter(|&(at, _)| at <= until)
            else {
                break;
            };
            if self.ends.iter().any(|end| end.sent > MOST_SENT) {
                return;
            }
            let (last, spins) = woken[n];
            woken[n] = (at, if at > last { 0 } else { spins + 1 });
            assert!(
                woken[n].1 < MOST_SPINS,
                "end {n} asks to be woken and does nothing"
            );
            self.time = self.time.max(at);
            self.tell(n, Input::Timeout);
        }
        self.time = self.time.max(until);
    }

    fn tell(&mut self, n: usize, input: Input<'_>) {
        if let Input::PeerSignal(_) = input {
            // It is authenticated by the driver, so it is the peer's whatever it says.
            self.ends[n].heard_peer = true;
            self.ends[n].peer_generations += 1;
        }
        let now = self.start + self.time;
        let end = &mut self.ends[n];
        end.now = end.now.max(now);
        end.engine.handle(now, input);
        end.take_outputs(now, &mut self.flights, &mut self.signals[1 - n]);
        while self.flights.len() > FLIGHT {
            self.flights.pop_front();
        }
    }

    fn see(&mut self, n: usize, ips: &[IpAddr]) {
        self.ends[n]
            .seen
            .extend(ips.iter().map(|ip| ip.to_canonical()));
        self.tell(n, Input::PeerSeen(ips));
    }

    fn receive(&mut self, n: usize, socket: SocketId, from: SocketAddr, payload: &[u8]) {
        self.ends[n].received += 1;
        self.ends[n].longest_received = payload.len().max(72);
        // Whatever bears the peer's key counts as its word, since only the peers have it.
        self.ends[n].heard_peer |= self.ends[1 - n].wrote.contains(payload);
        self.tell(
            n,
            Input::Datagram {
                socket,
                from,
                payload,
            },
        );
    }

    fn deliver_signals(&mut self) {
        for n in 0..2 {
            for _ in 0..self.signals[n].len() {
                if let Some(signal) = self.signals[n].pop_front() {
                    self.tell(n, Input::PeerSignal(&signal));
                }
            }
        }
    }

    /// Brings everything that is on its way where it belongs.
    fn deliver_all(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.deliver(&flight, None);
        }
    }

    /// One datagram again, or for the first time, perhaps from elsewhere, perhaps damaged.
    fn deliver_one(&mut self, script: &mut Script<'_>) {
        let at = usize::from(script.number());
        let Some(mut flight) = self.flights.get(at % self.flights.len().max(1)).cloned() else {
            return;
        };
        let how = script.byte();
        if how & 1 == 1 {
            let at = usize::from(script.number()) % flight.payload.len();
            flight.payload[at] ^= script.byte();
        }
        let from = (how & 2 == 2).then(|| script.address());
        if how & 4 == 4 {
            // Back to its sender.
            let from = from.unwrap_or(flight.to);
            self.receive(flight.from, flight.socket, from, &flight.payload);
        } else {
            self.deliver(&flight, from);
        }
    }

    fn deliver(&mut self, flight: &Flight, from: Option<SocketAddr>) {
        let mapped = self.ends[flight.from].map(flight.socket, flight.to);
        if SERVERS.contains(&flight.to) {
            if let Some(answer) = answer(&flight.payload, from.unwrap_or(mapped)) {
                self.receive(flight.from, flight.socket, flight.to, &answer);
            }
            return;
        }
        let to = 1 - flight.from;
        if let Some(socket) = self.ends[to].unmap(flight.to) {
            self.receive(to, socket, from.unwrap_or(mapped), &flight.payload);
        }
    }
}

/// A STUN server's answer.
fn answer(question: &[u8], mapped: SocketAddr) -> Option<Vec<u8>> {
    let id = Message::decode(question).ok()?.transaction();
    let mut buffer = [0; 64];
    let mut answer = Encoder::new(&mut buffer, Class::Success, id).ok()?;
    answer.push(Attribute::XorMappedAddress(mapped)).ok()?;
    Some(answer.finish_with_fingerprint().ok()?.to_vec())
}

struct End {
    n: usize,
    engine: Engine,
    budget: Budget,
    /// The latest time that the engine was told.
    now: Instant,
    open: BTreeSet<SocketId>,
    asked_for: BTreeSet<SocketId>,
    allowed: bool,
    refuses_sockets: bool,
    heard_peer: bool,
    peer_generations: usize,
    own_generations: usize,
    seen: BTreeSet<IpAddr>,
    received: usize,
    longest_received: usize,
    answers: usize,
    sent: usize,
    /// Checks and questions of this attempt.
    attempt: usize,
    /// When checks left, in the last second.
    recent: VecDeque<Instant>,
    /// Ports that were tried at addresses that the rendezvous had not seen.
    tried: BTreeMap<IpAddr, BTreeSet<u16>>,
    /// TCP connections that it was given.
    streams: u32,
    /// When it last had the peer dialled.
    dialled_at: Option<Instant>,
    /// All that this end signed with the session's key.
    wrote: BTreeSet<Vec<u8>>,
    nat: u8,
    counter: u16,
    mappings: BTreeMap<(SocketId, Option<SocketAddr>), u16>,
}

impl End {
    fn new(n: usize, role: Role, budget: Budget, now: Instant) -> Self {
        let mut config = Config::new(role, PunchKey::new([7; 32]), SERVERS.to_vec());
        config.budget = budget;
        config.tcp = true;
        let mut engine = Engine::new(config, [n as u8 + 1; 32], now);
        engine.authenticated(&PunchKey::new([7; 32]));
        Self {
            n,
            engine,
            streams: 0,
            dialled_at: None,
            budget,
            now,
            open: BTreeSet::from([SocketId::V4, SocketId::V6]),
            asked_for: BTreeSet::new(),
            allowed: true,
            refuses_sockets: false,
            heard_peer: false,
            peer_generations: 1,
            own_generations: 1,
            seen: BTreeSet::new(),
            received: 0,
            longest_received: 0,
            answers: 0,
            sent: 0,
            attempt: 0,
            recent: VecDeque::new(),
            tried: BTreeMap::new(),
            wrote: BTreeSet::new(),
            nat: 0,
            counter: 20_000,
            mappings: BTreeMap::new(),
        }
    }

    /// How the NAT of this end shows a socket to a destination.
    fn map(&mut self, socket: SocketId, to: SocketAddr) -> SocketAddr {
        let toward = (self.nat != 0).then_some(to);
        let next = match self.nat {
            2 => 30_000 + (self.counter.wrapping_mul(40_503) % 1000),
            3 => 1024 + self.counter.wrapping_mul(40_503) % 64_000,
            _ => self.counter,
        };
        if self.mappings.len() > 4096 {
            self.mappings.clear();
        }
        let port = *self.mappings.entry((socket, toward)).or_insert_with(|| {
            self.counter = self.counter.wrapping_add(1).max(1024);
            next
        });
        SocketAddr::new(external(self.n), port)
    }

    /// The socket behind an address; an interface's own address leads to the session's.
    fn unmap(&self, at: SocketAddr) -> Option<SocketId> {
        if at.ip() != external(self.n) {
            return (at == SocketAddr::from(([192, 168, self.n as u8, 2], 40_000)))
                .then_some(SocketId::V4);
        }
        let found = self.mappings.iter().find(|(_, port)| **port == at.port());
        found.map(|((socket, _), _)| *socket)
    }

    /// Does what the engine wants, and asserts what it may want.
    fn take_outputs(
        &mut self,
        now: Instant,
        flights: &mut VecDeque<Flight>,
        signals: &mut VecDeque<Vec<u8>>,
    ) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send {
                    socket,
                    to,
                    ttl,
                    payload,
                } => {
                    self.check_sent(socket, to, ttl, &payload);
                    if flights.len() <= FLIGHT {
                        flights.push_back(Flight {
                            from: self.n,
                            socket,
                            to,
                            payload,
                        });
                    }
                }
                Output::Signal(bytes) => {
                    assert!(bytes.len() <= 8192, "a signal of {} bytes", bytes.len());
                    signals.push_back(bytes);
                    if signals.len() > 64 {
                        signals.pop_front();
                    }
                }
                Output::OpenSocket { socket, family } => {
                    assert!(socket > SocketId::V6, "the driver's own socket");
                    assert!(
                        self.asked_for.insert(socket),
                        "{socket:?} for the second time"
                    );
                    let local: SocketAddr = match family {
                        Family::V4 => ([0, 0, 0, 0], 41_000).into(),
                        Family::V6 => ([0; 8], 41_000).into(),
                    };
                    if self.refuses_sockets {
                        self.engine.handle(now, Input::SocketFailed { socket });
                        continue;
                    }
                    self.open.insert(socket);
                    let most = self.budget.search_sockets.max(64) + OTHER_SOCKETS;
                    assert!(self.open.len() <= most, "{} sockets", self.open.len());
                    self.engine
                        .handle(now, Input::SocketOpened { socket, local });
                }
                Output::CloseSocket { socket } => {
                    assert!(socket > SocketId::V6, "the driver's own socket");
                    let path = self.engine.nominated().map(|path| path.socket);
                    assert_ne!(path, Some(socket), "the path's socket");
                    self.open.remove(&socket);
                }
                Output::Nominated(_) => assert!(self.heard_peer, "a path before the peer spoke"),
                Output::PathLost { .. } => self.own_generations += 1,
                Output::Event(PunchEvent::AttemptBegan { .. }) => self.attempt = 0,
                Output::Event(PunchEvent::SearchBegan { .. }) => {
                    assert!(self.allowed, "a search that was not allowed");
                }
                Output::TcpGather { .. } => {
                    let ports = TcpPorts {
                        v4: Some(42_000),
                        ..TcpPorts::default()
                    };
                    self.engine.handle(now, Input::TcpPorts(&ports));
                }
                Output::TcpDial { to, patience } => self.dial(now, &to, patience),
                Output::TcpRest | Output::Event(_) => {}
            }
        }
    }

    /// Gives it a connection to the first address that it has dialled, of which nothing ever comes.
    fn dial(&mut self, now: Instant, to: &[SocketAddr], patience: Duration) {
        assert!(self.heard_peer, "a connection before the peer spoke");
        assert!((1..=8).contains(&to.len()), "{} addresses", to.len());
        assert!(to.iter().all(|to| candidate::is_usable(*to)));
        let before = self.dialled_at.replace(self.now);
        assert!(before.is_none_or(|at| self.now >= at + Duration::from_secs(1)));
        assert!(patience < Duration::from_secs(2));
        if let Some(remote) = to.iter().copied().find(SocketAddr::is_ipv4) {
            let socket = SocketId::of_stream(self.streams);
            self.streams += 1;
            self.open.insert(socket);
            let connected = Input::TcpConnected {
                socket,
                local: ([192, 168, self.n as u8, 2], 42_000).into(),
                remote,
                dialled: true,
            };
            self.engine.handle(now, connected);
        }
    }

    fn check_sent(&mut self, socket: SocketId, to: SocketAddr, ttl: Option<u8>, payload: &[u8]) {
        self.sent += 1;
        let ip = to.ip();
        assert!(
            !ip.is_unspecified() && !ip.is_multicast() && to.port() != 0,
            "sent to {to}"
        );
        assert_ne!(ip, IpAddr::from(Ipv4Addr::BROADCAST));
        assert!(
            !matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()),
            "not canonical: {to}"
        );
        assert!(ttl != Some(0) && payload.len() <= 1200);
        let message = Message::decode(payload).expect("all that is sent is STUN");
        match message.class() {
            Class::Request => {}
            Class::Success => {
                self.answers += 1;
                assert!(self.answers <= self.received, "more answers than questions");
                assert!(payload.len() <= self.longest_received, "a longer answer");
                assert!(self.heard_peer, "an answer to a stranger");
                self.wrote.insert(payload.to_vec());
                return;
            }
            class => panic!("sent {class:?}"),
        }
        if SERVERS.contains(&to) {
            return;
        }
        self.wrote.insert(payload.to_vec());
        assert!(self.heard_peer, "a check to {to} before the peer spoke");
        let family = if socket == SocketId::V6 {
            Family::V6
        } else {
            Family::V4
        };
        assert_eq!(Family::of(ip), family, "{socket:?} to {to}");
        self.check_pace();
        if !self.seen.contains(&ip) {
            let ports = self.tried.entry(ip).or_default();
            ports.insert(to.port());
            let most = NAMED_PORTS * (self.peer_generations + self.own_generations);
            assert!(ports.len() <= most, "{} ports of {ip}", ports.len());
        }
    }

    fn check_pace(&mut self) {
        self.attempt += 1;
        self.recent.push_back(self.now);
        while self
            .recent
            .front()
            .is_some_and(|&at| self.now >= at + Duration::from_secs(1))
        {
            self.recent.pop_front();
        }
        let most = (self.budget.packets_per_second + self.budget.burst) as usize + UNPACED;
        assert!(
            self.recent.len() <= most,
            "{} in a second",
            self.recent.len()
        );
    }
}
