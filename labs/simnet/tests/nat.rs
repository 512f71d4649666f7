//! The simulated NAT by itself: mapping, filtering, allocation, time.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use p2pdbg_simnet::{Nat, NatConfig, NatKind, Random, Unsolicited};

const INSIDE: &str = "192.168.0.2:5000";
const SERVER: &str = "198.18.0.1:3478";
const OTHER_PORT: &str = "198.18.0.1:3479";
const OTHER_HOST: &str = "198.18.0.9:3478";

fn a(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

struct Bench {
    nat: Nat,
    random: Random,
    now: Duration,
}

impl Bench {
    fn new(config: impl Into<NatConfig>) -> Self {
        let mut random = Random::new(7);
        let nat = Nat::new(
            config.into(),
            vec!["198.18.1.1".parse().unwrap()],
            &mut random,
        );
        Self {
            nat,
            random,
            now: Duration::ZERO,
        }
    }

    fn out(&mut self, from: &str, to: &str) -> SocketAddr {
        self.nat
            .outbound(self.now, a(from), a(to), &mut self.random)
            .unwrap()
    }

    fn forward(&mut self, inside: &str) -> SocketAddr {
        self.nat
            .forward(self.now, a(inside), None, &mut self.random)
            .unwrap()
    }

    fn passes(&mut self, from: &str, to: SocketAddr) -> bool {
        self.nat.inbound(self.now, a(from), to).is_some()
    }
}

#[test]
fn the_kinds_map_and_filter_as_they_are_called() {
    for (kind, one_port, others_pass, other_ports_pass) in [
        (NatKind::FULL_CONE, true, true, true),
        (NatKind::ADDRESS_RESTRICTED, true, false, true),
        (NatKind::PORT_RESTRICTED, true, false, false),
        (NatKind::SYMMETRIC_RANDOM, false, false, false),
        (NatKind::SYMMETRIC_SEQUENTIAL, false, false, false),
        (NatKind::SYMMETRIC_BLOCK, false, false, false),
    ] {
        let mut bench = Bench::new(kind);
        let mapped = bench.out(INSIDE, SERVER);
        assert!(bench.passes(SERVER, mapped), "{kind}");
        assert_eq!(bench.passes(OTHER_HOST, mapped), others_pass, "{kind}");
        assert_eq!(bench.passes(OTHER_PORT, mapped), other_ports_pass, "{kind}");
        assert_eq!(bench.out(INSIDE, OTHER_PORT) == mapped, one_port, "{kind}");
        assert_eq!(bench.out(INSIDE, SERVER), mapped, "{kind}");
    }
}

#[test]
fn sequential_ports_step_by_the_stride_and_foreign_traffic_takes_some() {
    let mut quiet = Bench::new(NatKind::symmetric_sequential(2));
    let ports: Vec<u16> = (1..5)
        .map(|p| quiet.out(INSIDE, &format!("198.18.0.1:{p}")).port())
        .collect();
    assert!(ports.windows(2).all(|w| w[1] == w[0] + 2), "{ports:?}");
    let mut busy = Bench::new(NatConfig::from(NatKind::SYMMETRIC_SEQUENTIAL).with_foreign(100.0));
    let before = busy.out(INSIDE, SERVER).port();
    busy.now += Duration::from_secs(1);
    let gap = busy.out(INSIDE, OTHER_PORT).port() - before;
    assert!((70..130).contains(&gap), "{gap}");
}

#[test]
fn a_block_holds_all_ports_of_one_host_and_no_more() {
    let mut bench = Bench::new(NatKind::symmetric_block(100));
    let ports: HashSet<u16> = (1..=100)
        .map(|p| bench.out(INSIDE, &format!("198.18.0.1:{p}")).port())
        .collect();
    assert_eq!(ports.len(), 100);
    assert_eq!(
        ports.iter().max().unwrap() - ports.iter().min().unwrap(),
        99
    );
    let full = bench
        .nat
        .outbound(bench.now, a(INSIDE), a(OTHER_HOST), &mut bench.random);
    assert_eq!(full, None);
}

#[test]
fn an_idle_mapping_is_forgotten() {
    let kind = NatKind::SYMMETRIC_RANDOM.with_timeout(Duration::from_secs(20));
    let mut bench = Bench::new(kind);
    let mapped = bench.out(INSIDE, SERVER);
    bench.now += Duration::from_secs(20);
    assert!(bench.passes(SERVER, mapped));
    bench.now += Duration::from_secs(21);
    assert!(!bench.passes(SERVER, mapped));
    assert_ne!(bench.out(INSIDE, SERVER), mapped);
}

#[test]
fn a_box_that_punishes_stops_what_came_too_early() {
    let config = NatConfig::from(NatKind::PORT_RESTRICTED)
        .with_unsolicited(Unsolicited::Punished(Duration::from_secs(5)));
    let mut bench = Bench::new(config);
    let mapped = bench.out(INSIDE, SERVER);
    assert!(!bench.passes(OTHER_HOST, mapped));
    bench.out(INSIDE, OTHER_HOST);
    assert!(!bench.passes(OTHER_HOST, mapped));
    bench.now += Duration::from_secs(5);
    assert!(bench.passes(OTHER_HOST, mapped));
}

#[test]
fn a_blocked_box_lets_nothing_through() {
    let mut bench = Bench::new(NatKind::UDP_BLOCKED);
    let none = bench
        .nat
        .outbound(bench.now, a(INSIDE), a(SERVER), &mut bench.random);
    assert_eq!(none, None);
}

#[test]
fn a_flow_keeps_its_port_when_the_other_end_finds_a_mapped_one_and_answers_there_leave_from_it() {
    let mut bench = Bench::new(NatKind::PORT_RESTRICTED);
    let (inside, peer, other) = ("192.168.0.2:5000", "198.51.100.1:7", "198.51.100.2:7");
    let flow = bench.out(inside, peer);
    let mapped = bench.forward(inside);
    assert_ne!(flow, mapped);
    assert!(bench.passes(peer, mapped) && bench.passes(other, mapped));
    assert_eq!(bench.out(inside, peer), flow);
    assert_eq!(bench.out(inside, other), mapped);
}
