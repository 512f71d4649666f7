//! A direct path by TCP between two ends that UDP does not join.

use std::time::Duration;

use p2pdbg_punch::{Input, Technique};
use p2pdbg_simnet::{NatConfig, NatKind, Outcome, Scenario, Simulation, Site, TcpRules};

/// A box of this kind that lets no UDP through.
fn without_udp(kind: NatKind) -> NatConfig {
    NatConfig::from(NatKind {
        blocks_udp: true,
        ..kind
    })
}

fn with_rules(rules: TcpRules) -> NatConfig {
    without_udp(NatKind::PORT_RESTRICTED).with_tcp(rules)
}

/// Rules as most boxes have them.
const USUAL: TcpRules = TcpRules {
    web_only: false,
    inspects: false,
    keeps_web_port: true,
    resets: false,
    simultaneous_open: true,
};

const RESETS: TcpRules = TcpRules {
    resets: true,
    ..USUAL
};

const NO_SIMULTANEOUS_OPEN: TcpRules = TcpRules {
    simultaneous_open: false,
    ..USUAL
};

const WEB_ONLY: TcpRules = TcpRules {
    web_only: true,
    ..USUAL
};

fn meet(scenario: Scenario) -> Outcome {
    scenario.with_tcp().run(Duration::from_secs(20))
}

/// What each pair comes to in this many seeds: all of them the same.
#[track_caller]
fn expect(a: impl Into<Site>, b: impl Into<Site>, technique: Option<Technique>) {
    let (a, b) = (a.into(), b.into());
    for [a, b] in [[&a, &b], [&b, &a]] {
        for seed in 0..20 {
            let outcome = meet(Scenario::new(a.clone(), b.clone()).seed(seed));
            let direct = outcome.technique.map(|[at_a, _]| at_a);
            assert_eq!(direct, technique, "{a:?} {b:?} seed {seed}: {outcome:?}");
            assert_eq!(outcome.carries, technique.is_some(), "seed {seed}");
        }
    }
}

#[test]
fn two_port_restricted_nats_without_udp_are_punched_by_simultaneous_open() {
    let nat = without_udp(NatKind::PORT_RESTRICTED);
    expect(nat, nat, Some(Technique::TcpPunch));
    // One that drops datagrams at one end only is enough for TCP to be needed.
    expect(nat, NatKind::PORT_RESTRICTED, Some(Technique::TcpPunch));
}

#[test]
fn end_that_can_be_connected_to_is_enough_whatever_is_at_the_other() {
    let hard = without_udp(NatKind::SYMMETRIC_RANDOM);
    expect(hard, Site::public(), Some(Technique::TcpPublicAddress));
    expect(hard, NatKind::FULL_CONE, Some(Technique::TcpPunch));
    let mapped = Site::from(NatKind::PORT_RESTRICTED).with_mapped_port();
    expect(hard, mapped, Some(Technique::TcpPortMapping));
}

#[test]
fn nat_with_another_port_for_each_destination_is_not_punched() {
    let hard = without_udp(NatKind::SYMMETRIC_RANDOM);
    expect(hard, hard, None);
    expect(hard, NatKind::PORT_RESTRICTED, None);
}

#[test]
fn nat_with_another_port_for_each_destination_is_punched_where_any_of_its_ports_is_let_in() {
    let hard = without_udp(NatKind::SYMMETRIC_RANDOM);
    let restricted = NatKind::ADDRESS_RESTRICTED;
    expect(hard, restricted, Some(Technique::TcpPunch));
}

#[test]
fn nat_that_counts_its_ports_is_punched_though_others_connect_behind_it() {
    let hard = without_udp(NatKind::SYMMETRIC_SEQUENTIAL);
    expect(hard, NatKind::PORT_RESTRICTED, Some(Technique::TcpPunch));
    expect(
        hard.with_foreign(5.0),
        NatKind::PORT_RESTRICTED,
        Some(Technique::TcpPunch),
    );
    // Where neither can be called, none is called in vain.
    expect(hard, hard, None);
}

#[test]
fn two_ipv6_firewalls_without_udp_are_punched() {
    let site = Site::from(without_udp(NatKind::SYMMETRIC_RANDOM)).with_ipv6();
    expect(site.clone(), site, Some(Technique::TcpIpv6));
}

#[test]
fn nats_that_answer_syns_by_resets_are_punched() {
    expect(
        with_rules(RESETS),
        with_rules(RESETS),
        Some(Technique::TcpPunch),
    );
}

#[test]
fn one_nat_that_lets_in_simultaneous_syns_is_enough() {
    let (strict, other) = (with_rules(NO_SIMULTANEOUS_OPEN), with_rules(RESETS));
    expect(strict, strict, None);
    let lenient = with_rules(TcpRules::default());
    expect(strict, lenient, Some(Technique::TcpPunch));
    expect(strict, other, Some(Technique::TcpPunch));
}

#[test]
fn host_that_has_no_udp_socket_offers_tcp() {
    let site = Site::from(NatKind::PORT_RESTRICTED).without_udp_sockets();
    let punched = Some(Technique::TcpPunch);
    expect(site.clone(), NatKind::PORT_RESTRICTED, punched);
    expect(site.clone(), site, punched);
}

#[test]
fn network_that_lets_out_the_web_alone_reaches_an_end_that_listens_on_its_port() {
    let public = Some(Technique::TcpPublicAddress);
    expect(with_rules(WEB_ONLY), Site::public().with_web_port(), public);
    let hard = NatConfig {
        kind: NatKind {
            blocks_udp: true,
            ..NatKind::SYMMETRIC_RANDOM
        },
        ..with_rules(WEB_ONLY)
    };
    expect(hard, Site::public().with_web_port(), public);
    let mapped = Site::from(NatKind::PORT_RESTRICTED).with_mapped_web_port();
    expect(hard, mapped, Some(Technique::TcpPortMapping));
    // Both NATs keep the ports of their hosts.
    let restricted = Site::from(NatKind::PORT_RESTRICTED).with_web_port();
    let punched = Some(Technique::TcpPunch);
    expect(with_rules(WEB_ONLY), restricted.clone(), punched);
    expect(hard, restricted, None);
}

#[test]
fn network_that_lets_out_the_web_alone_reaches_no_other_port() {
    expect(with_rules(WEB_ONLY), Site::public(), None);
    let mapped = Site::from(NatKind::PORT_RESTRICTED).with_mapped_port();
    expect(with_rules(WEB_ONLY), mapped, None);
    // One that looks inside finds that it is not the web.
    let inspects = with_rules(TcpRules {
        inspects: true,
        ..WEB_ONLY
    });
    expect(inspects, Site::public().with_web_port(), None);
}

#[test]
fn way_that_drops_1200_bytes_and_tells_nobody_is_gone_by_tcp() {
    let nat = NatKind::PORT_RESTRICTED;
    for seed in 0..20 {
        let outcome = meet(Scenario::new(nat, nat).mtu(1200).seed(seed));
        let direct = outcome.technique.map(|[at_a, _]| at_a);
        assert_eq!(
            direct,
            Some(Technique::TcpPunch),
            "seed {seed}: {outcome:?}"
        );
        // As soon as that is found out, and not when the attempt over UDP is over.
        let soon = Duration::from_secs(3);
        assert!(
            outcome.direct.is_some_and(|after| after < soon),
            "{outcome:?}"
        );
        assert!(outcome.carries, "seed {seed}");
    }
}

#[test]
fn lost_segments_are_sent_again() {
    let nat = without_udp(NatKind::PORT_RESTRICTED);
    let direct = |seed| {
        let outcome = meet(Scenario::new(nat, nat).loss(0.1).seed(seed));
        outcome.direct.is_some() && outcome.carries
    };
    let all = (0..50).filter(|&seed| direct(seed)).count();
    assert!(all >= 49, "{all} of 50");
}

#[test]
fn path_by_tcp_lasts_while_it_idles() {
    let nat = without_udp(NatKind::PORT_RESTRICTED);
    let mut simulation = Scenario::new(nat, nat).with_tcp().build();
    simulation.start();
    assert!(simulation.run_until(Duration::from_secs(20), Simulation::is_direct));
    simulation.run_until(Duration::from_secs(900), |_| false);
    assert!(simulation.is_direct() && simulation.carries());
    assert!((0..2).all(|n| simulation.lost(n).is_none()));
}

#[test]
fn tcp_takes_the_place_of_udp_that_carries_too_little_and_gives_it_back() {
    let nat = NatKind::PORT_RESTRICTED;
    for seed in 0..10 {
        let scenario = Scenario::new(nat, nat).with_tcp().seed(seed);
        let mut simulation = scenario.build();
        simulation.start();
        let used =
            |s: &Simulation| [0, 1].map(|n| s.peer(n).engine.nominated().map(|p| p.technique));
        let (udp, tcp) = (
            [Some(Technique::HolePunch); 2],
            [Some(Technique::TcpPunch); 2],
        );
        assert!(simulation.run_until(Duration::from_secs(5), |s| used(s) == udp));
        let avoided = Duration::from_secs(60);
        for n in 0..2 {
            simulation.tell(n, Input::StreamsActive(true));
            simulation.tell(n, Input::TunnelUp);
            simulation.tell(n, Input::AvoidUdp(avoided));
        }
        let until = simulation.world.now() + avoided;
        let soon = simulation.world.now() + Duration::from_secs(4);
        assert!(
            simulation.run_until(soon, |s| used(s) == tcp),
            "seed {seed}"
        );
        for n in 0..2 {
            simulation.tell(n, Input::TunnelUp);
        }
        assert!(simulation.carries(), "seed {seed}");
        // Nothing goes to and fro meanwhile, however good the round trips over UDP are.
        let left = simulation.run_until(until - Duration::from_millis(10), |s| used(s) != tcp);
        assert!(!left, "seed {seed}: {:?}", used(&simulation));
        let later = until + Duration::from_secs(40);
        assert!(
            simulation.run_until(later, |s| used(s) == udp),
            "seed {seed}"
        );
        assert!((0..2).all(|n| simulation.lost(n).is_none()), "seed {seed}");
    }
}

#[test]
fn connector_that_avoids_udp_has_tcp_tried_before_the_listener_hears_why() {
    let nat = NatKind::PORT_RESTRICTED;
    for seed in 0..10 {
        let mut simulation = Scenario::new(nat, nat).with_tcp().seed(seed).build();
        simulation.start();
        assert!(simulation.run_until(Duration::from_secs(5), Simulation::is_direct));
        simulation.use_path();
        simulation.tell(0, Input::AvoidUdp(Duration::from_secs(60)));
        let soon = simulation.world.now() + Duration::from_secs(4);
        let by_tcp = |s: &Simulation| {
            (0..2).all(|n| {
                let path = s.peer(n).engine.nominated();
                path.is_some_and(|path| path.technique == Technique::TcpPunch)
            })
        };
        assert!(simulation.run_until(soon, by_tcp), "seed {seed}");
        assert!(simulation.carries(), "seed {seed}");
    }
}

#[test]
fn direct_tcp_is_there_five_seconds_after_udp_ended_in_mid_session() {
    let nat = NatKind::PORT_RESTRICTED;
    for (blocked, seed) in [&[0][..], &[1], &[0, 1]].into_iter().zip(0..) {
        let mut simulation = Scenario::new(nat, nat).with_tcp().seed(seed).build();
        simulation.start();
        assert!(simulation.run_until(Duration::from_secs(5), Simulation::is_direct));
        simulation.use_path();
        let ended = simulation.world.now() + Duration::from_secs(20);
        simulation.run_until(ended, |_| false);
        for &n in blocked {
            let outermost = simulation.boxes[n][0];
            let without = without_udp(nat).kind;
            simulation.world.nat(outermost).set_kind(without);
        }
        let by_tcp = |s: &Simulation| {
            (0..2).all(|n| {
                let path = s.peer(n).engine.nominated();
                path.is_some_and(|path| path.technique == Technique::TcpPunch)
            })
        };
        // The tunnel is silent, as its owner notices and says again.
        for ms in (300..5_300).step_by(2_000) {
            simulation.run_until(ended + Duration::from_millis(ms), by_tcp);
            for n in 0..2 {
                simulation.tell(n, Input::PathSilent);
            }
        }
        let soon = ended + Duration::from_millis(5_300);
        assert!(simulation.run_until(soon, by_tcp), "{blocked:?}");
        assert!(simulation.carries(), "{blocked:?}");
    }
}

#[test]
fn outages_one_after_the_other_leave_the_path_over_udp() {
    let nat = NatKind::PORT_RESTRICTED;
    let by_udp = |s: &Simulation| {
        (0..2).all(|n| {
            let path = s.peer(n).engine.nominated();
            path.is_some_and(|path| !path.technique.is_tcp())
        })
    };
    let mut over_tcp = 0;
    for seed in 0..20 {
        let mut simulation = Scenario::new(nat, nat).with_tcp().seed(seed).build();
        simulation.start();
        assert!(simulation.run_until(Duration::from_secs(5), by_udp));
        for outage in [2, 5, 8, 9, 12, 14, 16, 17, 18, 21, 24] {
            simulation.use_path();
            let host = simulation.hosts[seed as usize % 2];
            simulation.world.set_up(host, false);
            let back = simulation.world.now() + Duration::from_secs(outage);
            simulation.run_until(back, |_| false);
            simulation.world.set_up(host, true);
            // Both come back, and a pause between two attempts over UDP may just have begun.
            let found = back + Duration::from_secs(40);
            assert!(
                simulation.run_until(found, Simulation::is_direct),
                "{seed} {outage}"
            );
            over_tcp += u32::from(!by_udp(&simulation));
            let later = simulation.world.now() + Duration::from_secs(8);
            assert!(simulation.run_until(later, by_udp), "{seed} {outage}");
            simulation.run_until(later + Duration::from_secs(20), |_| false);
            assert!(by_udp(&simulation), "{seed} {outage}");
        }
    }
    assert!(over_tcp > 0, "TCP was first once at least");
}
