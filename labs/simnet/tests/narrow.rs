//! Paths that carry small datagrams and lose large ones: no path for a tunnel, whose packets begin at 1,200 bytes.

use std::time::Duration;

use p2pdbg_punch::Technique;
use p2pdbg_simnet::{NatKind, Scenario, Simulation, Site};

const S: Duration = Duration::from_secs(1);

/// The shortest IPv4 packet with 1,200 bytes in UDP.
const ENOUGH: u16 = 1228;

fn run(scenario: &Scenario, deadline: Duration) -> Simulation {
    let mut simulation = scenario.build();
    simulation.start();
    simulation.run_until(deadline, |_| false);
    simulation
}

#[test]
fn a_path_that_loses_large_datagrams_is_never_nominated_and_the_reason_is_given() {
    let pairs = [
        (NatKind::PORT_RESTRICTED, NatKind::PORT_RESTRICTED),
        (NatKind::NONE, NatKind::SYMMETRIC_RANDOM),
        (NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_SEQUENTIAL),
    ];
    for (a, b) in pairs {
        for (seed, loss) in [(1, 0.0), (2, 0.05)] {
            let scenario = Scenario::new(a, b).mtu(ENOUGH - 1).loss(loss).seed(seed);
            let simulation = run(&scenario, 30 * S);
            for n in 0..2 {
                let peer = simulation.peer(n);
                assert_eq!(peer.nominations().count(), 0, "{a} / {b}, peer {n}");
                let why = peer.engine.why_relayed().expect("it is relayed");
                assert!(why.to_string().contains("small packets"), "{why}");
            }
        }
    }
}

#[test]
fn a_narrow_path_costs_little_and_is_looked_at_again_ever_more_rarely() {
    let scenario =
        Scenario::new(NatKind::PORT_RESTRICTED, NatKind::PORT_RESTRICTED).mtu(ENOUGH - 1);
    let mut simulation = run(&scenario, 600 * S);
    let early: u64 = (0..2).map(|n| simulation.peer(n).packets_sent()).sum();
    assert!(early < 1000, "{early} packets in ten minutes");
    simulation.run_until(1200 * S, |_| false);
    let both: u64 = (0..2).map(|n| simulation.peer(n).packets_sent()).sum();
    assert!(both - early < 400, "{} in the next ten", both - early);
}

#[test]
fn a_narrow_path_opens_no_search() {
    let scenario =
        Scenario::new(NatKind::PORT_RESTRICTED, NatKind::PORT_RESTRICTED).mtu(ENOUGH - 1);
    let simulation = run(&scenario, 120 * S);
    for n in 0..2 {
        assert_eq!(simulation.peer(n).most_sockets(), 1);
    }
}

#[test]
fn a_path_that_just_carries_the_tunnels_datagrams_is_taken_as_soon_as_any() {
    for seed in 0..25 {
        let rtt = Duration::from_millis(40);
        let kind = NatKind::PORT_RESTRICTED;
        let outcome = Scenario::new(kind, kind)
            .rtt(rtt)
            .mtu(ENOUGH)
            .seed(seed)
            .run(20 * S);
        assert!(
            outcome.direct.is_some_and(|after| after <= rtt * 3) && outcome.carries,
            "{outcome:?}"
        );
    }
}

#[test]
fn a_better_path_that_is_too_narrow_makes_way_for_one_that_is_not() {
    // The headers of IPv6 are longer by 20 bytes.
    let site = || Site::from(NatKind::PORT_RESTRICTED).with_ipv6();
    for seed in 0..10 {
        let outcome = Scenario::new(site(), site())
            .mtu(ENOUGH + 12)
            .seed(seed)
            .run(20 * S);
        assert!(
            outcome.direct.is_some_and(|after| after <= 3 * S) && outcome.carries,
            "{outcome:?}"
        );
        let [a, b] = outcome.technique.expect("it is direct");
        assert_eq!((a, b), (Technique::HolePunch, Technique::HolePunch));
    }
}

#[test]
fn a_path_that_becomes_narrow_under_its_tunnel_is_left_to_the_relay_until_it_is_wide_again() {
    let kind = NatKind::PORT_RESTRICTED;
    let mut simulation = Scenario::new(kind, kind).build();
    simulation.start();
    assert!(simulation.run_until(5 * S, Simulation::is_direct));
    let id = simulation.boxes[0][0];
    simulation.world.link(id).mtu = Some(ENOUGH - 1);
    for n in 0..2 {
        simulation.tell(n, p2pdbg_punch::Input::TunnelUp);
        simulation.tell(n, p2pdbg_punch::Input::TunnelLost);
    }
    let now = simulation.world.now();
    simulation.run_until(now + 60 * S, |_| false);
    for n in 0..2 {
        assert_eq!(simulation.peer(n).nominations().count(), 1);
    }
    simulation.world.link(id).mtu = None;
    let now = simulation.world.now();
    assert!(simulation.run_until(now + 400 * S, Simulation::is_direct));
    assert!(simulation.carries());
}
