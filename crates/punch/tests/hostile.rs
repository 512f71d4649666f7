//! What peers, servers and strangers may try against an engine: it must not panic, must not send where it should not,
//! and must not send more than its caps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_punch::{
    Budget, Config, Engine, Input, LocalAddress, Output, PunchEvent, PunchKey, Role, SocketId,
};
use p2pdbg_stun::{Attribute, Class, Encoder, Message, TransactionId};
use proptest::prelude::*;

const SERVER: &str = "198.51.100.1:3478";

fn a(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An engine with its driver's view of it.
struct Bench {
    engine: Engine,
    start: Instant,
    now: Instant,
    sent: Vec<(Instant, SocketId, SocketAddr, Vec<u8>)>,
    signals: Vec<Vec<u8>>,
    events: Vec<PunchEvent>,
    sockets: BTreeSet<SocketId>,
    most_sockets: usize,
    nominated: usize,
}

impl Bench {
    fn new(role: Role) -> Self {
        Self::with(role, Budget::default())
    }

    fn with(role: Role, budget: Budget) -> Self {
        let start = Instant::now();
        let mut config = Config::new(
            role,
            PunchKey::new([7; 32]),
            vec![a(SERVER), a("198.51.100.1:3479")],
        );
        config.budget = budget;
        let mut bench = Self {
            engine: Engine::new(config, [1; 32], start),
            start,
            now: start,
            sent: Vec::new(),
            signals: Vec::new(),
            events: Vec::new(),
            sockets: BTreeSet::new(),
            most_sockets: 0,
            nominated: 0,
        };
        bench.handle(Input::LocalAddresses(&[LocalAddress::from(
            "192.168.1.2".parse::<IpAddr>().unwrap(),
        )]));
        bench.open(SocketId::V4);
        bench
    }

    fn open(&mut self, socket: SocketId) {
        self.sockets.insert(socket);
        self.most_sockets = self.most_sockets.max(self.sockets.len());
        let local = SocketAddr::from(([0, 0, 0, 0], 40_000 + socket.0 as u16));
        self.handle(Input::SocketOpened { socket, local });
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        let mut to_open = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send {
                    socket,
                    to,
                    payload,
                    ..
                } => self.sent.push((self.now, socket, to, payload)),
                Output::Signal(bytes) => self.signals.push(bytes),
                Output::OpenSocket { socket, .. } => to_open.push(socket),
                Output::CloseSocket { socket } => {
                    self.sockets.remove(&socket);
                }
                Output::Nominated(_) => self.nominated += 1,
                Output::Event(event) => self.events.push(event),
                Output::PathLost { .. } => {}
                Output::TcpGather { .. } | Output::TcpDial { .. } | Output::TcpRest => {
                    unreachable!("TCP is not switched on")
                }
            }
        }
        for socket in to_open {
            self.open(socket);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(at) = self.engine.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
            wakes += 1;
            assert!(wakes < 200_000, "the engine spins");
        }
        self.now = end;
    }

    /// Answers every question to the server so far with these mapped addresses, in turn.
    fn answer_server(&mut self, mapped: impl Fn(SocketId, SocketAddr) -> SocketAddr) {
        let questions: Vec<_> = self
            .sent
            .iter()
            .filter(|s| s.2.ip() == a(SERVER).ip())
            .cloned()
            .collect();
        self.sent.retain(|s| s.2.ip() != a(SERVER).ip());
        for (_, socket, server, payload) in &questions {
            let id = Message::decode(payload).unwrap().transaction();
            let answer = success(id, mapped(*socket, *server));
            self.handle(Input::Datagram {
                socket: *socket,
                from: *server,
                payload: &answer,
            });
        }
    }

    /// Runs with a server that answers all the while, seeing every socket at `mapped`.
    fn run_served(&mut self, time: Duration, mapped: SocketAddr) {
        let end = self.now + time;
        let mut answered = self.sent.len();
        while self.now < end {
            self.run(Duration::from_millis(50));
            let new: Vec<_> = self.sent[answered..].to_vec();
            answered = self.sent.len();
            for (_, socket, server, payload) in new {
                if server.ip() != a(SERVER).ip() {
                    continue;
                }
                let id = Message::decode(&payload).unwrap().transaction();
                let answer = success(id, mapped);
                self.handle(Input::Datagram {
                    socket,
                    from: server,
                    payload: &answer,
                });
            }
        }
    }

    fn to(&self, ip: &str) -> usize {
        let ip: IpAddr = ip.parse().unwrap();
        self.sent.iter().filter(|s| s.2.ip() == ip).count()
    }
}

fn success(id: TransactionId, mapped: SocketAddr) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut answer = Encoder::new(&mut buffer, Class::Success, id).unwrap();
    answer.push(Attribute::XorMappedAddress(mapped)).unwrap();
    answer.finish_with_fingerprint().unwrap().to_vec()
}

/// A signal as the other side's engine would make it, with these interface addresses.
fn signal_of(
    role: Role,
    addresses: &[LocalAddress],
    mapped: Option<&dyn Fn(SocketId, SocketAddr) -> SocketAddr>,
) -> Vec<u8> {
    let mut peer = Bench::new(role);
    peer.handle(Input::LocalAddresses(addresses));
    for _ in 0..8 {
        if let Some(mapped) = mapped {
            peer.answer_server(mapped);
        }
        peer.run(Duration::from_millis(300));
    }
    peer.run(Duration::from_secs(2));
    peer.signals.pop().expect("the peer said something")
}

/// A port that looks random and depends on the socket and the destination.
fn random_port(socket: SocketId, to: SocketAddr) -> u16 {
    let n = socket.0 * 2 + u32::from(to.port() % 2);
    1024 + (n.wrapping_mul(2_654_435_761) >> 16) as u16 % 60_000
}

fn locals(ips: impl Iterator<Item = String>) -> Vec<LocalAddress> {
    ips.map(|ip| LocalAddress::from(ip.parse::<IpAddr>().unwrap()))
        .collect()
}

#[test]
fn nothing_is_checked_before_the_peer_has_spoken() {
    let mut bench = Bench::new(Role::Controlling);
    bench.handle(Input::PeerSeen(&["203.0.113.7".parse().unwrap()]));
    bench.answer_server(|_, _| a("192.0.2.7:40000"));
    bench.run(Duration::from_secs(60));
    assert!(bench.sent.iter().all(|s| s.2.ip() == a(SERVER).ip()));
}

#[test]
fn a_peer_that_names_many_victims_gets_a_few_slow_checks_at_each_and_no_search() {
    let victims = locals((1..60).map(|n| format!("203.0.113.{n}")));
    let symmetric = |s, to| SocketAddr::from(([203, 0, 113, 200], random_port(s, to)));
    let signal = signal_of(Role::Controlled, &victims, Some(&symmetric));
    let mut bench = Bench::new(Role::Controlling);
    bench.answer_server(|_, _| a("192.0.2.7:40000"));
    bench.run(Duration::from_millis(500));
    // The rendezvous saw the peer elsewhere.
    bench.handle(Input::PeerSeen(&["192.0.2.99".parse().unwrap()]));
    bench.handle(Input::PeerSignal(&signal));
    bench.sent.clear();
    bench.run(Duration::from_secs(20));
    let mut by_address: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for (_, _, to, _) in bench.sent.iter().filter(|s| s.2.ip() != a(SERVER).ip()) {
        *by_address.entry(*to).or_default() += 1;
    }
    let named: Vec<_> = by_address
        .iter()
        .filter(|(to, _)| to.ip() != "192.0.2.99".parse::<IpAddr>().unwrap())
        .collect();
    assert!(
        named.len() <= Budget::default().peer_candidates,
        "{}",
        named.len()
    );
    // Two attempts of at most sixteen packets.
    assert!(named.iter().all(|(_, count)| **count <= 48), "{named:?}");
    let victim: IpAddr = "203.0.113.200".parse().unwrap();
    let ports = named.iter().filter(|(to, _)| to.ip() == victim).count();
    assert!(ports <= 2, "only the two ports that were named, {ports}");
    let searched = bench.to("192.0.2.99") as u32;
    // Where the rendezvous did see the peer, two searches fit into the time, each within its cap.
    assert!(searched <= 2 * Budget::default().search_ports, "{searched}");
}

#[test]
fn no_second_is_busier_than_the_pace_and_no_attempt_costlier_than_its_cap() {
    let peers = locals((1..30).map(|n| format!("203.0.113.{n}")));
    let random = |s, to| SocketAddr::from(([203, 0, 113, 1], random_port(s, to)));
    let signal = signal_of(Role::Controlled, &peers, Some(&random));
    let budget = Budget {
        packets_per_second: 100,
        burst: 10,
        packets_per_attempt: 600,
        ..Budget::default()
    };
    let mut bench = Bench::with(Role::Controlling, budget);
    bench.answer_server(|_, _| a("192.0.2.7:40000"));
    bench.handle(Input::PeerSeen(&["203.0.113.1".parse().unwrap()]));
    bench.handle(Input::PeerSignal(&signal));
    bench.sent.clear();
    bench.run_served(Duration::from_secs(12), a("192.0.2.7:40000"));
    let times: Vec<Instant> = bench.sent.iter().map(|s| s.0).collect();
    for (n, &time) in times.iter().enumerate() {
        let within = times[n..]
            .iter()
            .take_while(|&&t| t < time + Duration::from_secs(1))
            .count();
        assert!(within <= 110 + 4, "{within} in a second");
    }
    assert!(bench.events.contains(&PunchEvent::BudgetSpent));
    let first_attempt = bench
        .sent
        .iter()
        .filter(|s| s.0 < bench.start + Duration::from_secs(12))
        .count();
    assert!(first_attempt <= 620, "{first_attempt}");
}

#[test]
fn sockets_are_opened_up_to_the_cap_and_all_closed_again() {
    let peer = locals(std::iter::once("203.0.113.1".to_owned()));
    let signal = signal_of(
        Role::Controlled,
        &peer,
        Some(&|_, _| a("203.0.113.1:40000")),
    );
    let mut bench = Bench::with(
        Role::Controlling,
        Budget {
            search_sockets: 40,
            ..Budget::default()
        },
    );
    // Our own NAT is the hard one.
    let random = |s, to| SocketAddr::from(([192, 0, 2, 7], random_port(s, to)));
    for _ in 0..6 {
        bench.answer_server(random);
        bench.run(Duration::from_millis(100));
    }
    bench.handle(Input::PeerSeen(&["203.0.113.1".parse().unwrap()]));
    bench.handle(Input::PeerSignal(&signal));
    bench.run(Duration::from_secs(3));
    assert_eq!(bench.most_sockets, 41);
    // Between two attempts nothing is left open.
    let mut fewest = usize::MAX;
    for _ in 0..600 {
        bench.run(Duration::from_millis(100));
        fewest = fewest.min(bench.sockets.len());
    }
    assert_eq!((bench.most_sockets, fewest), (41, 1));
}

#[test]
fn lying_servers_make_no_candidates() {
    for lie in [
        "0.0.0.0:40000",
        "224.0.0.1:40000",
        "255.255.255.255:9",
        "192.0.2.7:0",
        "[2001:db8::1]:9",
    ] {
        let mut bench = Bench::new(Role::Controlling);
        bench.answer_server(|_, _| a(lie));
        bench.run(Duration::from_secs(3));
        assert!(
            !bench
                .events
                .iter()
                .any(|e| matches!(e, PunchEvent::Gathered { .. })),
            "{lie}"
        );
        assert!(!bench.engine.nat_report().answered);
    }
}

#[test]
fn answers_from_elsewhere_stale_or_invented_are_not_believed() {
    let mut bench = Bench::new(Role::Controlling);
    let (_, socket, server, payload) = bench.sent[0].clone();
    let id = Message::decode(&payload).unwrap().transaction();
    let answer = success(id, a("192.0.2.7:40000"));
    let mut invented = answer.clone();
    invented[8] ^= 1;
    for (from, bytes) in [
        (a("198.51.100.2:3478"), &answer),
        (a("198.51.100.1:3479"), &answer),
        (server, &invented),
    ] {
        bench.handle(Input::Datagram {
            socket,
            from,
            payload: bytes,
        });
        bench.handle(Input::Datagram {
            socket: SocketId(9),
            from,
            payload: bytes,
        });
    }
    assert!(!bench.engine.nat_report().answered);
    bench.handle(Input::Datagram {
        socket,
        from: server,
        payload: &answer,
    });
    assert!(bench.engine.nat_report().answered);
    let events = bench.events.len();
    bench.handle(Input::Datagram {
        socket,
        from: server,
        payload: &answer,
    });
    assert_eq!(bench.events.len(), events, "the same answer again");
}

#[test]
fn checks_without_the_key_are_not_answered() {
    let mut bench = Bench::new(Role::Controlled);
    bench.sent.clear();
    let mut buffer = [0; 96];
    for key in [&[0; 32][..], &[7; 32], b""] {
        let mut check = Encoder::new(&mut buffer, Class::Request, TransactionId([1; 12])).unwrap();
        check.push(Attribute::UseCandidate).unwrap();
        let bytes = check.finish_with_integrity(key, 16).unwrap().to_vec();
        bench.handle(Input::Datagram {
            socket: SocketId::V4,
            from: a("203.0.113.9:9"),
            payload: &bytes,
        });
    }
    let plain = Encoder::new(&mut buffer, Class::Request, TransactionId([1; 12])).unwrap();
    let bytes = plain.finish_with_fingerprint().unwrap().to_vec();
    bench.handle(Input::Datagram {
        socket: SocketId::V4,
        from: a("203.0.113.9:9"),
        payload: &bytes,
    });
    assert_eq!(bench.to("203.0.113.9"), 0);
}

#[test]
fn a_replayed_check_from_a_thousand_addresses_reveals_few_pairs_and_nominates_none() {
    let mut controlling = Bench::new(Role::Controlling);
    let peer = locals(std::iter::once("203.0.113.1".to_owned()));
    controlling.answer_server(|_, _| a("192.0.2.7:40000"));
    controlling.handle(Input::PeerSignal(&signal_of(
        Role::Controlled,
        &peer,
        Some(&|_, _| a("203.0.113.1:40000")),
    )));
    controlling.run(Duration::from_secs(1));
    let check = controlling
        .sent
        .iter()
        .find(|s| s.2.ip() == a("203.0.113.1:1").ip())
        .expect("a check")
        .3
        .clone();

    let mut bench = Bench::new(Role::Controlled);
    bench.run(Duration::from_secs(3));
    bench.sent.clear();
    for n in 0..1000_u16 {
        let from = SocketAddr::from(([203, 0, 113, (n % 250) as u8], 1000 + n));
        bench.handle(Input::Datagram {
            socket: SocketId::V4,
            from,
            payload: &check,
        });
    }
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.nominated, 0);
    let own: Vec<_> = bench
        .sent
        .iter()
        .filter(|s| Message::decode(&s.3).unwrap().class() == Class::Request)
        .collect();
    let addresses: BTreeSet<SocketAddr> = own
        .iter()
        .map(|s| s.2)
        .filter(|to| to.ip() != a(SERVER).ip())
        .collect();
    assert!(
        addresses.len() <= Budget::default().peer_reflexive,
        "{}",
        addresses.len()
    );
}

#[test]
fn a_peer_that_begins_anew_all_the_time_is_not_followed_all_the_time() {
    let victims = locals((1..24).map(|n| format!("203.0.113.{n}")));
    let signals: Vec<Vec<u8>> = (0..2)
        .map(|n| {
            let mapped = move |_, _| SocketAddr::from(([203, 0, 113, 99], 40_000 + n));
            let mut signal = signal_of(Role::Controlled, &victims, Some(&mapped));
            // The generation stands behind the version, as a varint whose first byte may be any.
            signal[1] = signal[1] & 0x80 | (n as u8 + 1);
            signal
        })
        .collect();
    let mut bench = Bench::new(Role::Controlling);
    bench.answer_server(|_, _| a("192.0.2.7:40000"));
    bench.run(Duration::from_millis(500));
    bench.sent.clear();
    bench.events.clear();
    for n in 0..3000 {
        bench.handle(Input::PeerSignal(&signals[n % 2]));
        bench.run(Duration::from_millis(20));
    }
    // A minute: ten restarts at once and then one every two seconds, each with some packets to each victim.
    let begun = bench
        .events
        .iter()
        .filter(|e| matches!(e, PunchEvent::AttemptBegan { .. }))
        .count();
    assert!((20..=42).contains(&begun), "{begun}");
    let to_victims = bench
        .sent
        .iter()
        .filter(|s| s.2.ip() != a(SERVER).ip())
        .count();
    assert!(to_victims < 42 * 24 * 13, "{to_victims}");
}

#[test]
fn a_peer_that_names_other_candidates_in_every_signal_is_not_followed_far() {
    let mut bench = Bench::new(Role::Controlling);
    bench.answer_server(|_, _| a("192.0.2.7:40000"));
    bench.run(Duration::from_millis(500));
    bench.sent.clear();
    for n in 0..40 {
        let victims = locals((1..12).map(|m| format!("203.0.{n}.{m}")));
        bench.handle(Input::PeerSignal(&signal_of(
            Role::Controlled,
            &victims,
            None,
        )));
        bench.run(Duration::from_millis(50));
    }
    bench.run(Duration::from_secs(5));
    let addresses: BTreeSet<SocketAddr> = bench
        .sent
        .iter()
        .map(|s| s.2)
        .filter(|to| to.ip() != a(SERVER).ip())
        .collect();
    assert!(
        addresses.len() <= 3 * Budget::default().peer_candidates,
        "{}",
        addresses.len()
    );
}

#[test]
fn a_hard_nat_is_not_made_to_open_hundreds_of_sockets_towards_a_victim() {
    let victim = locals(std::iter::once("203.0.113.1".to_owned()));
    let signal = signal_of(
        Role::Controlled,
        &victim,
        Some(&|_, _| a("203.0.113.1:40000")),
    );
    let mut bench = Bench::new(Role::Controlling);
    for _ in 0..6 {
        bench.answer_server(|s, to| SocketAddr::from(([192, 0, 2, 7], random_port(s, to))));
        bench.run(Duration::from_millis(100));
    }
    bench.handle(Input::PeerSeen(&["192.0.2.99".parse().unwrap()]));
    bench.handle(Input::PeerSignal(&signal));
    bench.most_sockets = 0;
    bench.run(Duration::from_secs(20));
    assert_eq!(bench.most_sockets, 0, "no search began");
    assert!(bench.to("203.0.113.1") <= 64, "{}", bench.to("203.0.113.1"));
}

#[test]
fn the_clock_may_stand_still_jump_ahead_and_seem_to_run_backwards() {
    let peer = locals(std::iter::once("203.0.113.1".to_owned()));
    let signal = signal_of(
        Role::Controlled,
        &peer,
        Some(&|_, _| a("203.0.113.1:40000")),
    );
    let mut bench = Bench::new(Role::Controlling);
    bench.answer_server(|_, _| a("192.0.2.7:40000"));
    bench.handle(Input::PeerSignal(&signal));
    for _ in 0..1000 {
        bench.handle(Input::Timeout);
    }
    let then = bench.now;
    bench.now += Duration::from_secs(48 * 3600);
    bench.handle(Input::Timeout);
    bench.now = then;
    bench.handle(Input::Timeout);
    bench.run(Duration::from_secs(49 * 3600));
    assert!(bench.engine.why_relayed().is_some());
}

/// One input of a fuzzer's making.
#[derive(Debug, Clone)]
enum Step {
    Datagram(u8, SocketAddr, Vec<u8>),
    ReplayOwn(usize, SocketAddr),
    Signal(Vec<u8>),
    RealSignal(bool, Vec<(prop::sample::Index, u8)>),
    Seen(IpAddr),
    SocketFailed(u8),
    SocketOpened(u8, u16),
    Addresses(Vec<IpAddr>),
    Mapped(Option<SocketAddr>),
    Flag(u8),
    Wait(u32),
    SendFailed(usize),
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
        Just(a(SERVER)),
        Just(a("203.0.113.1:40000")),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..120);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    prop_oneof![
        (any::<u8>(), any_address(), bytes()).prop_map(|(s, f, b)| Step::Datagram(s, f, b)),
        (any::<usize>(), any_address()).prop_map(|(n, f)| Step::ReplayOwn(n, f)),
        bytes().prop_map(Step::Signal),
        (any::<bool>(), damage).prop_map(|(hard, d)| Step::RealSignal(hard, d)),
        any_address().prop_map(|a| Step::Seen(a.ip())),
        any::<u8>().prop_map(Step::SocketFailed),
        (any::<u8>(), any::<u16>()).prop_map(|(s, p)| Step::SocketOpened(s, p)),
        prop::collection::vec(any_address().prop_map(|a| a.ip()), 0..5).prop_map(Step::Addresses),
        prop::option::of(any_address()).prop_map(Step::Mapped),
        any::<u8>().prop_map(Step::Flag),
        (0_u32..4000).prop_map(Step::Wait),
        any::<usize>().prop_map(Step::SendFailed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_sequence_of_inputs_panics_or_spins(
        controlling in any::<bool>(),
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let role = if controlling { Role::Controlling } else { Role::Controlled };
        let easy = signal_of(role.other(), &locals(std::iter::once("203.0.113.1".to_owned())), Some(&|_, _| a("203.0.113.1:40000")));
        let symmetric = |s: SocketId, to: SocketAddr| SocketAddr::from(([203, 0, 113, 1], 5000 + 2 * s.0 as u16 + to.port() % 2));
        let hard = signal_of(role.other(), &[], Some(&symmetric));
        let mut bench = Bench::new(role);
        for step in steps {
            match step {
                Step::Datagram(s, from, payload) => bench.handle(Input::Datagram { socket: SocketId(u32::from(s)), from, payload: &payload }),
                Step::ReplayOwn(n, from) => {
                    if let Some((_, socket, _, payload)) = bench.sent.get(n % bench.sent.len().max(1)).cloned() {
                        bench.handle(Input::Datagram { socket, from, payload: &payload });
                    }
                }
                Step::Signal(bytes) => bench.handle(Input::PeerSignal(&bytes)),
                Step::RealSignal(is_hard, damage) => {
                    let mut bytes = if is_hard { hard.clone() } else { easy.clone() };
                    for (at, value) in damage {
                        let at = at.index(bytes.len());
                        bytes[at] = value;
                    }
                    bench.handle(Input::PeerSignal(&bytes));
                }
                Step::Seen(ip) => bench.handle(Input::PeerSeen(&[ip])),
                Step::SocketFailed(s) => bench.handle(Input::SocketFailed { socket: SocketId(u32::from(s)) }),
                Step::SocketOpened(s, port) => bench.handle(Input::SocketOpened { socket: SocketId(u32::from(s)), local: ([0, 0, 0, 0], port).into() }),
                Step::Addresses(ips) => {
                    let all: Vec<LocalAddress> = ips.into_iter().map(LocalAddress::from).collect();
                    bench.handle(Input::LocalAddresses(&all));
                }
                Step::Mapped(external) => bench.handle(Input::MappedPort { socket: SocketId::V4, external }),
                Step::Flag(flag) => bench.handle(match flag % 7 {
                    0 => Input::NetworkChanged,
                    1 => Input::TunnelUp,
                    2 => Input::TunnelLost,
                    3 => Input::StreamsActive(true),
                    4 => Input::StreamsActive(false),
                    5 => Input::SearchAllowed(false),
                    _ => Input::SearchAllowed(true),
                }),
                Step::Wait(ms) => bench.run(Duration::from_millis(u64::from(ms))),
                Step::SendFailed(n) => {
                    if let Some((_, socket, to, _)) = bench.sent.get(n % bench.sent.len().max(1)).cloned() {
                        bench.handle(Input::SendFailed { socket, to });
                    }
                }
            }
        }
        bench.run(Duration::from_secs(10));
    }
}
