//! Networks in which UDP carries far less than TCP, or nothing whenever it is used: policers and guards.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use p2pdbg_events::{Event, PathKind, PathReport, Via};
use p2pdbg_natlab::{Flow, TwoNats};

use crate::{
    harness::{
        Pair, Setting,
        traffic::{accept, receive, send},
    },
    session::{both_at_once, setting, two_nats},
};

/// 0.1 Mbit/s, in kilobytes a second.
const POLICED: u32 = 12;

const LENGTH: usize = 2 << 20;

/// UDP is first seen to carry too little, which the peer may hear late of, and then five rounds are dialled.
const LONG: Duration = Duration::from_secs(120);

/// A session with one stream. What is killed first stands first.
struct Starved {
    name: &'static str,
    debuggee: TcpStream,
    ide: TcpStream,
    pair: Pair,
    _setting: Setting,
    /// Whether the IDE sends, and not the debuggee.
    ide_sends: bool,
    /// Streams of bytes that have passed.
    passed: u64,
}

impl Starved {
    /// Begins it with `--path PATH`, if that is given, and waits for a path of this kind.
    #[track_caller]
    fn begin(name: &'static str, lab: &TwoNats, path: Option<&str>, kind: PathKind) -> Self {
        let setting = setting(lab);
        let setting = match path {
            Some(path) => setting.with_path(path),
            None => setting,
        };
        let port = setting.port();
        let target = setting.debuggee.listen(port);
        let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{port}")], port);
        let ide = setting.ide.connect(port);
        let debuggee = accept(&target);
        for peer in [&pair.listener, &pair.connector] {
            peer.path(kind);
        }
        Self {
            name,
            debuggee,
            ide,
            pair,
            _setting: setting,
            ide_sends: false,
            passed: 0,
        }
    }

    /// What is sent gets through.
    #[track_caller]
    fn pass(&mut self, length: usize) {
        self.passed += 1;
        let began = Instant::now();
        let (from, to) = match self.ide_sends {
            true => (&self.ide, &self.debuggee),
            false => (&self.debuggee, &self.ide),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| send(from, self.passed, length));
            receive(to, self.passed, length);
        });
        let took = began.elapsed();
        if took > Duration::from_secs(1) {
            let seconds = took.as_secs_f64();
            println!("{}: {} kB within {seconds:.1} s", self.name, length >> 10);
        }
    }

    /// Sends on until both ends have gone over to a direct path by TCP; gives what the sender has said of its paths.
    #[track_caller]
    fn pass_until_direct_by_tcp(&mut self) -> Vec<PathReport> {
        let by_tcp = |path: &PathReport| path.kind == PathKind::Direct && path.via == Via::Tcp;
        let began = Instant::now();
        while began.elapsed() < LONG {
            self.pass(LENGTH / 4);
            let peers = [&self.pair.listener, &self.pair.connector];
            let [ide, debuggee] = peers.map(|peer| peer.paths());
            let sender = if self.ide_sends { ide } else { debuggee };
            if peers.iter().all(|peer| peer.paths().iter().any(by_tcp)) {
                for path in &sender {
                    println!(
                        "{}: {:?} {:?}: {}",
                        self.name, path.kind, path.via, path.why
                    );
                }
                return sender;
            }
        }
        let paths = self.pair.connector.paths();
        panic!("{}: no direct path by TCP: {paths:?}", self.name);
    }
}

/// A direct path is found, and then UDP is policed at a NAT; what the debuggee sends gets through all the same. What is
/// policed is UDP, so both ends find a direct path by TCP meanwhile, and the streams go on by it.
#[track_caller]
fn starves(name: &'static str, path: Option<&str>, nat: usize, ide_sends: bool) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    let mut session = Starved::begin(name, &lab, path, PathKind::Direct);
    session.ide_sends = ide_sends;
    let nat = [&lab.nat_a, &lab.nat_b][nat];
    nat.block(Flow::udp().faster_than(POLICED)).unwrap();
    if path.is_none() {
        // Over UDP alone it would take 175 s.
        session.pass(LENGTH);
    }
    session.pass_until_direct_by_tcp();
}

#[test]
fn direct_path_policed_far_below_the_relay_yields_to_it_and_to_tcp() {
    both_at_once(
        || starves("policed-a", None, 0, false),
        || starves("policed-b", None, 1, true),
    );
}

#[test]
fn direct_path_policed_where_no_relay_is_allowed_is_gone_by_tcp() {
    both_at_once(
        || starves("policed-da", Some("direct"), 0, false),
        || starves("policed-db", Some("direct"), 1, false),
    );
}

#[test]
fn direct_path_policed_where_the_listener_sends_is_gone_by_tcp_too() {
    both_at_once(
        || starves("policed-ua", Some("direct"), 0, true),
        || starves("policed-ub", Some("direct"), 1, true),
    );
}

/// Between the NATs stands a box that drops all UDP from one to the other for 3 s as soon as more than 60 datagrams a
/// second come: checks and small messages pass, and the path is dead, in one direction, whenever much is sent.
#[track_caller]
fn goes_silent(name: &'static str, path: Option<&str>) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    let mut session = Starved::begin(name, &lab, path, PathKind::Direct);
    let (to, from) = (lab.nat_a.external_ip(), lab.nat_b.external_ip());
    lab.net
        .router()
        .nft(&format!(
            "table ip guard {{ \
             set banned {{ type ipv4_addr; flags dynamic,timeout; timeout 3s; }}; \
             chain forward {{ type filter hook forward priority 0; \
             ip saddr {from} ip daddr {to} meta l4proto udp jump guarded; }}; \
             chain guarded {{ ip saddr @banned counter drop; \
             limit rate over 60/second burst 30 packets add @banned {{ ip saddr }} counter drop; }}; }}"
        ))
        .unwrap();
    let paths = session.pass_until_direct_by_tcp();
    assert!(
        paths
            .iter()
            .any(|path| path.why.contains("again and again"))
            || path.is_some(),
        "{paths:?}"
    );
}

#[test]
fn direct_path_that_dies_whenever_much_is_sent_is_gone_by_tcp_with_a_relay_and_without() {
    both_at_once(
        || goes_silent("guarded", None),
        || goes_silent("guarded-d", Some("direct")),
    );
}

/// The relay is all there is, and UDP to it is policed at a NAT: the leg from there goes over TCP. The other end's may,
/// as it may take its peer's trouble for its own.
#[track_caller]
fn relayed(name: &'static str, nat: usize) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    let mut session = Starved::begin(name, &lab, Some("relay"), PathKind::Relay);
    let policing = [&lab.nat_a, &lab.nat_b][nat];
    policing.block(Flow::udp().faster_than(POLICED)).unwrap();
    session.pass(LENGTH);
    let peers = [&session.pair.listener, &session.pair.connector];
    peers[nat].event("path by TCP", |event| match event {
        Event::Path(path) if path.via == Via::Tcp => Some(()),
        _ => None,
    });
    for peer in peers {
        let paths = peer.paths();
        let why: Vec<&str> = paths.iter().map(|path| path.why.as_str()).collect();
        println!("{name}: {why:?}");
        assert!(
            why.iter().all(|why| !why.contains("does not get out")),
            "{why:?}"
        );
    }
}

#[test]
fn relay_policed_over_udp_at_either_end_is_gone_by_tcp() {
    both_at_once(|| relayed("policed-ra", 0), || relayed("policed-rb", 1));
}
