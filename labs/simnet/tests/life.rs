//! What happens to a path over time: idleness, outages, new addresses, and looking on from the relay.

use std::time::Duration;

use p2pdbg_punch::{Input, LocalAddress, LossReason, Output, PunchEvent, Technique};
use p2pdbg_simnet::{NatConfig, NatKind, Scenario, Simulation, Site};

const S: Duration = Duration::from_secs(1);

fn direct(scenario: &Scenario) -> Simulation {
    let mut simulation = scenario.build();
    simulation.start();
    let done = simulation.run_until(20 * S, Simulation::is_direct);
    assert!(done, "{:?}", simulation.outcome());
    simulation
}

fn losses(simulation: &Simulation, n: usize) -> usize {
    let lost = |(_, output): &&(Duration, Output)| matches!(output, Output::PathLost { .. });
    simulation.peer(n).log().iter().filter(lost).count()
}

#[test]
fn an_idle_path_lives_on_behind_nats_that_forget_after_ten_seconds() {
    let kind = NatKind::PORT_RESTRICTED.with_timeout(10 * S);
    let mut simulation = direct(&Scenario::new(kind, kind));
    for n in 0..2 {
        simulation.tell(n, Input::TunnelUp);
    }
    let before = simulation.world.packets_sent();
    simulation.run_until(simulation.world.now() + 600 * S, |_| false);
    assert_eq!((losses(&simulation, 0), losses(&simulation, 1)), (0, 0));
    assert!(simulation.carries());
    // Once it was seen that fifteen seconds are too long: a check and its answer every five, from one side.
    let packets = simulation.world.packets_sent() - before;
    assert!((225..300).contains(&packets), "{packets}");
}

#[test]
fn an_idle_path_behind_nats_that_remember_for_half_a_minute_costs_one_check_in_fifteen_seconds() {
    let kind = NatKind::PORT_RESTRICTED.with_timeout(30 * S);
    let mut simulation = direct(&Scenario::new(kind, kind));
    for n in 0..2 {
        simulation.tell(n, Input::TunnelUp);
    }
    // What the beginning costs is over.
    simulation.run_until(simulation.world.now() + 30 * S, |_| false);
    let before = simulation.world.packets_sent();
    simulation.run_until(simulation.world.now() + 600 * S, |_| false);
    assert_eq!((losses(&simulation, 0), losses(&simulation, 1)), (0, 0));
    assert!(simulation.carries());
    let packets = simulation.world.packets_sent() - before;
    assert!((75..110).contains(&packets), "{packets}");
}

#[test]
fn a_dead_path_is_noticed_within_five_seconds_while_streams_move() {
    let mut simulation = direct(&Scenario::new(
        NatKind::PORT_RESTRICTED,
        NatKind::PORT_RESTRICTED,
    ));
    simulation.use_path();
    simulation.run_until(simulation.world.now() + 10 * S, |_| false);
    let cut = simulation.world.now();
    let host = simulation.hosts[0];
    simulation.world.set_up(host, false);
    simulation.run_until(cut + 60 * S, |s| s.lost(0).is_some() && s.lost(1).is_some());
    for n in 0..2 {
        let (at, reason) = simulation.lost(n).expect("the path is dead");
        assert_eq!(reason, LossReason::ConsentExpired);
        assert!(at - cut <= 5 * S, "{:?}", at - cut);
        assert!(simulation.peer(n).engine.why_relayed().is_some());
    }
    simulation.world.set_up(host, true);
    for n in 0..2 {
        simulation.tell(n, Input::NetworkChanged);
    }
    let back = simulation.world.now();
    assert!(simulation.run_until(back + 5 * S, Simulation::is_direct));
    assert!(simulation.carries());
}

#[test]
fn an_idle_path_survives_an_outage_of_twenty_seconds() {
    let mut simulation = direct(&Scenario::new(
        NatKind::PORT_RESTRICTED,
        NatKind::PORT_RESTRICTED,
    ));
    for n in 0..2 {
        simulation.tell(n, Input::TunnelUp);
    }
    let host = simulation.hosts[0];
    simulation.world.set_up(host, false);
    simulation.run_until(simulation.world.now() + 20 * S, |_| false);
    simulation.world.set_up(host, true);
    simulation.run_until(simulation.world.now() + 60 * S, |_| false);
    assert_eq!((losses(&simulation, 0), losses(&simulation, 1)), (0, 0));
    assert!(simulation.carries());
}

#[test]
fn after_ten_minutes_without_any_network_the_path_is_found_within_two_seconds_of_the_news() {
    for which in 0..2 {
        let mut simulation = direct(&Scenario::new(
            NatKind::PORT_RESTRICTED,
            NatKind::PORT_RESTRICTED,
        ));
        simulation.use_path();
        let host = simulation.hosts[which];
        simulation.world.set_up(host, false);
        let before = simulation.world.packets_sent();
        let back = simulation.world.now() + 600 * S;
        simulation.run_until(back, |_| false);
        assert_eq!((losses(&simulation, 0), losses(&simulation, 1)), (1, 1));
        // What the search costs while there is nothing to be found.
        let packets = simulation.world.packets_sent() - before;
        assert!(packets < 3_000, "{packets}");
        simulation.world.set_up(host, true);
        // The interface tells one of them, and the other hears of it from its peer.
        simulation.tell(which, Input::NetworkChanged);
        assert!(simulation.run_until(back + 2 * S, Simulation::is_direct));
        assert!(simulation.carries());
    }
}

#[test]
fn a_path_that_was_lost_while_the_rendezvous_is_away_is_found_again_by_both_ends_themselves() {
    for which in 0..2 {
        let mut simulation = direct(&Scenario::new(
            NatKind::PORT_RESTRICTED,
            NatKind::PORT_RESTRICTED,
        ));
        simulation.use_path();
        simulation.lose_rendezvous();
        let host = simulation.hosts[which];
        simulation.world.set_up(host, false);
        // The NATs have forgotten by then what both have sent at first.
        let back = simulation.world.now() + 150 * S;
        simulation.run_until(back, |_| false);
        assert_eq!((losses(&simulation, 0), losses(&simulation, 1)), (1, 1));
        simulation.world.set_up(host, true);
        // Nobody tells them: the next attempts are told by the clock alone.
        assert!(
            simulation.run_until(back + 180 * S, Simulation::is_direct),
            "{which}: {:?}",
            simulation.outcome()
        );
        assert!(simulation.carries());
    }
}

#[test]
fn a_new_external_address_is_punched_again_at_once_when_the_host_notices() {
    for which in 0..2 {
        let mut simulation = direct(&Scenario::new(
            NatKind::PORT_RESTRICTED,
            NatKind::PORT_RESTRICTED,
        ));
        let changed = simulation.world.now();
        let nat = simulation.boxes[which][0];
        simulation.world.renumber(nat);
        simulation.tell(which, Input::NetworkChanged);
        let again = |s: &Simulation| {
            (0..2).all(|n| {
                s.peer(n)
                    .nominations()
                    .last()
                    .is_some_and(|(at, _)| at > changed)
            })
        };
        assert!(simulation.run_until(changed + 2 * S, again), "peer {which}");
        assert!(simulation.carries());
        assert!(simulation.world.now() - changed < S / 2 + 2 * S);
    }
}

#[test]
fn a_new_external_address_that_nobody_notices_is_found_when_consent_expires() {
    let mut simulation = direct(&Scenario::new(
        NatKind::PORT_RESTRICTED,
        NatKind::PORT_RESTRICTED,
    ));
    simulation.use_path();
    let changed = simulation.world.now();
    let nat = simulation.boxes[1][0];
    simulation.world.renumber(nat);
    let again = |s: &Simulation| {
        s.is_direct()
            && (0..2).all(|n| {
                s.peer(n)
                    .nominations()
                    .last()
                    .is_some_and(|(at, _)| at > changed)
            })
    };
    assert!(simulation.run_until(changed + 20 * S, again));
    assert!(simulation.carries());
}

#[test]
fn a_mapping_that_is_forgotten_under_the_path_is_found_again_within_seconds() {
    let kind = NatKind::PORT_RESTRICTED.with_allocation(p2pdbg_simnet::Allocation::Random);
    for which in 0..2 {
        let mut simulation = direct(&Scenario::new(kind, kind));
        for n in 0..2 {
            simulation.tell(n, Input::TunnelUp);
        }
        let nat = simulation.boxes[which][0];
        simulation.world.nat(nat).flush();
        let flushed = simulation.world.now();
        let again = |s: &Simulation| {
            (0..2).all(|n| {
                s.peer(n)
                    .nominations()
                    .last()
                    .is_some_and(|(at, _)| at > flushed)
            })
        };
        assert!(
            simulation.run_until(flushed + 45 * S, again),
            "peer {which}"
        );
        assert!(simulation.carries());
    }
}

#[test]
fn a_relayed_session_looks_on_with_growing_pauses_and_little_traffic() {
    let scenario = Scenario::new(NatKind::SYMMETRIC_RANDOM, NatKind::SYMMETRIC_RANDOM);
    let mut simulation = scenario.build();
    simulation.start();
    simulation.run_until(3600 * S, |_| false);
    assert!(!simulation.is_direct());
    let pauses: Vec<Duration> = simulation
        .peer(0)
        .events()
        .filter_map(|(_, event)| match event {
            PunchEvent::AttemptFailed { pause, .. } => Some(*pause),
            _ => None,
        })
        .collect();
    assert!(pauses.len() > 10 && pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses.last(), Some(&(300 * S)));
    for n in 0..2 {
        // 240 refreshes of the mapping and some 18 attempts at three pairs.
        assert!(
            simulation.peer(n).packets_sent() < 1800,
            "{}",
            simulation.peer(n).packets_sent()
        );
        let why = simulation
            .peer(n)
            .engine
            .why_relayed()
            .expect("it is relayed");
        assert!(why.to_string().contains("both NATs"), "{why}");
        assert!(why.help().is_some());
    }
}

#[test]
fn a_relayed_session_goes_direct_at_once_when_a_hard_nat_is_left_behind() {
    let mut simulation =
        Scenario::new(NatKind::SYMMETRIC_RANDOM, NatKind::SYMMETRIC_RANDOM).build();
    simulation.start();
    simulation.run_until(300 * S, |_| false);
    assert!(!simulation.is_direct());
    // Another network, with an easy NAT: the box changes under the host, as far as the host can tell.
    let nat = simulation.boxes[1][0];
    simulation.world.nat(nat).set_kind(NatKind::FULL_CONE);
    simulation.world.renumber(nat);
    let seen = simulation.world.seen_as(simulation.hosts[1]);
    simulation.tell(0, Input::PeerSeen(&seen));
    let changed = simulation.world.now();
    simulation.tell(1, Input::NetworkChanged);
    assert!(
        simulation.run_until(changed + 2 * S, Simulation::is_direct),
        "{:?}",
        simulation.outcome()
    );
    assert!(simulation.carries());
}

#[test]
fn blocked_udp_is_named_at_the_end_where_it_is_blocked() {
    for (a, b, words) in [
        (
            NatKind::UDP_BLOCKED,
            NatKind::FULL_CONE,
            ["out of this network", "the peer's network"],
        ),
        (
            NatKind::FULL_CONE,
            NatKind::UDP_BLOCKED,
            ["the peer's network", "out of this network"],
        ),
        (
            NatKind::UDP_BLOCKED,
            NatKind::UDP_BLOCKED,
            ["neither network", "neither network"],
        ),
    ] {
        let outcome = Scenario::new(a, b).run(30 * S);
        assert_eq!(outcome.direct, None);
        for (why, word) in outcome.why.iter().zip(words) {
            let why = why.as_deref().expect("a reason");
            assert!(why.contains(word), "{why}");
        }
    }
}

#[test]
fn peers_in_one_network_meet_over_it_whatever_their_nat_is() {
    for kind in [
        NatKind::PORT_RESTRICTED,
        NatKind::SYMMETRIC_RANDOM,
        NatKind::UDP_BLOCKED,
    ] {
        let outcome = Scenario::same_network(kind).run(10 * S);
        assert_eq!(outcome.technique, Some([Technique::Lan; 2]), "{kind}");
        assert!(outcome.carries);
    }
}

#[test]
fn ipv6_at_both_ends_passes_hard_nats_by() {
    let site = || Site::from(NatKind::SYMMETRIC_RANDOM).with_ipv6();
    let outcome = Scenario::new(site(), site()).run(10 * S);
    assert_eq!(outcome.technique, Some([Technique::Ipv6; 2]));
    assert!(outcome.carries);
    let mixed = Scenario::new(site(), NatKind::PORT_RESTRICTED).run(20 * S);
    assert!(mixed.direct.is_some() && mixed.carries, "{mixed:?}");
}

#[test]
fn two_nats_in_a_row_are_crossed() {
    let cgn = |kind: NatKind| Site::from(kind).behind(NatKind::PORT_RESTRICTED);
    for (a, b) in [
        (cgn(NatKind::PORT_RESTRICTED), cgn(NatKind::PORT_RESTRICTED)),
        (
            cgn(NatKind::SYMMETRIC_SEQUENTIAL),
            NatKind::PORT_RESTRICTED.into(),
        ),
        (cgn(NatKind::SYMMETRIC_BLOCK), cgn(NatKind::FULL_CONE)),
        (
            cgn(NatKind::SYMMETRIC_RANDOM),
            NatKind::PORT_RESTRICTED.into(),
        ),
    ] {
        for seed in 0..5 {
            let scenario = Scenario::new(a.clone(), b.clone()).seed(seed);
            let outcome = scenario.run(20 * S);
            assert!(
                outcome.direct.is_some() && outcome.carries,
                "{a:?} / {b:?}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_public_peer_without_any_nat_is_reached() {
    for kind in NatKind::ALL {
        if kind.blocks_udp {
            continue;
        }
        let outcome = Scenario::new(Site::public(), kind).run(10 * S);
        assert!(
            outcome.direct.is_some() && outcome.carries,
            "{kind}: {outcome:?}"
        );
    }
}

#[test]
fn a_box_that_punishes_unsolicited_packets_is_not_provoked() {
    let punishing = NatConfig::from(NatKind::PORT_RESTRICTED)
        .with_unsolicited(p2pdbg_simnet::Unsolicited::Punished(60 * S));
    for seed in 0..50 {
        let outcome = Scenario::new(punishing, punishing).seed(seed).run(20 * S);
        assert!(
            outcome.direct.is_some_and(|after| after <= S / 5),
            "seed {seed}: {outcome:?}"
        );
    }
}

#[test]
fn the_interface_may_vanish_in_the_middle_of_a_search() {
    let mut simulation = Scenario::new(NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_RANDOM).build();
    simulation.start();
    let searching = |s: &Simulation| s.peer(1).sockets() > 100;
    assert!(simulation.run_until(20 * S, searching));
    let host = simulation.hosts[1];
    simulation.world.set_up(host, false);
    simulation.tell(1, Input::LocalAddresses(&[]));
    simulation.tell(1, Input::NetworkChanged);
    simulation.run_until(simulation.world.now() + 60 * S, |_| false);
    simulation.world.set_up(host, true);
    let ip = simulation.world.ip(host);
    simulation.tell(1, Input::LocalAddresses(&[LocalAddress::from(ip)]));
    simulation.tell(1, Input::NetworkChanged);
    assert!(simulation.run_until(simulation.world.now() + 20 * S, Simulation::is_direct));
    assert!(simulation.carries());
    simulation.run_until(simulation.world.now() + 5 * S, |_| false);
    assert!(
        simulation.peer(1).sockets() <= 2,
        "what the search opened is closed again"
    );
}

#[test]
fn a_search_waits_for_its_turn_on_the_host() {
    let mut simulation = Scenario::new(NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_RANDOM).build();
    simulation.start();
    for n in 0..2 {
        simulation.tell(n, Input::SearchAllowed(false));
    }
    simulation.run_until(20 * S, |_| false);
    assert!(!simulation.is_direct());
    assert!(simulation.peer(1).most_sockets() < 10);
    for n in 0..2 {
        simulation.tell(n, Input::SearchAllowed(true));
    }
    assert!(simulation.run_until(simulation.world.now() + 90 * S, Simulation::is_direct));
}

#[test]
fn a_path_on_which_no_tunnel_comes_up_is_not_tried_for_ever() {
    let mut simulation = direct(&Scenario::new(
        NatKind::PORT_RESTRICTED,
        NatKind::PORT_RESTRICTED,
    ));
    let end = simulation.world.now() + 600 * S;
    while simulation.world.now() < end {
        for n in 0..2 {
            if simulation.peer(n).engine.nominated().is_some() {
                simulation.tell(n, Input::TunnelLost);
            }
        }
        simulation.run_until(simulation.world.now() + S / 10, |_| false);
    }
    let nominations = simulation.peer(0).nominations().count();
    assert!((3..20).contains(&nominations), "{nominations}");
    let why = simulation
        .peer(0)
        .engine
        .why_relayed()
        .expect("it is relayed");
    assert!(why.to_string().contains("tunnel"), "{why}");
}

#[test]
fn a_search_begins_when_the_rendezvous_has_seen_the_peer() {
    let mut simulation =
        Scenario::new(NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_SEQUENTIAL).build();
    simulation.hide_peers();
    simulation.start();
    assert!(!simulation.run_until(3 * S, Simulation::is_direct));
    for n in 0..2 {
        let seen = simulation.world.seen_as(simulation.hosts[1 - n]);
        simulation.tell(n, Input::PeerSeen(&seen));
    }
    let seen_at = simulation.world.now();
    assert!(simulation.run_until(seen_at + 2 * S, Simulation::is_direct));
}

#[test]
fn a_nat_with_a_pool_of_addresses_is_searched_at_all_that_were_seen() {
    let pooled = NatConfig::from(NatKind::SYMMETRIC_SEQUENTIAL).with_external_addresses(3);
    let mut direct = 0;
    for seed in 0..20 {
        let outcome = Scenario::new(NatKind::PORT_RESTRICTED, pooled)
            .seed(seed)
            .run(20 * S);
        direct += u32::from(outcome.direct.is_some() && outcome.carries);
    }
    assert!(direct >= 19, "{direct} of 20");
}

#[test]
fn two_homes_behind_one_carrier_meet_through_its_hairpin() {
    let mut simulation = Scenario::shared_carrier(
        NatKind::PORT_RESTRICTED.with_hairpin(),
        NatKind::PORT_RESTRICTED,
    )
    .build();
    simulation.start();
    assert!(
        simulation.run_until(10 * S, Simulation::is_direct),
        "{:?}",
        simulation.outcome()
    );
    assert!(simulation.carries());
}

#[test]
fn two_homes_behind_one_carrier_that_does_not_hairpin_are_told_that_this_is_why() {
    let nat = NatKind::PORT_RESTRICTED;
    let mut simulation = Scenario::shared_carrier(nat, nat).build();
    simulation.start();
    assert!(!simulation.run_until(20 * S, Simulation::is_direct));
    for n in 0..2 {
        let why = simulation
            .peer(n)
            .engine
            .why_relayed()
            .expect("it is relayed");
        assert!(why.to_string().contains("hairpin"), "{why}");
    }
}

#[test]
fn a_change_of_network_that_changes_nothing_keeps_the_path() {
    for which in 0..2 {
        let mut simulation = direct(&Scenario::new(
            NatKind::PORT_RESTRICTED,
            NatKind::SYMMETRIC_SEQUENTIAL,
        ));
        for n in 0..2 {
            simulation.tell(n, Input::TunnelUp);
        }
        simulation.tell(which, Input::NetworkChanged);
        simulation.run_until(simulation.world.now() + 20 * S, |_| false);
        assert_eq!(
            (losses(&simulation, 0), losses(&simulation, 1)),
            (0, 0),
            "peer {which}"
        );
        assert!(simulation.carries());
    }
}

#[test]
fn a_host_that_moves_from_an_easy_nat_behind_a_hard_one_is_searched_at_once() {
    for which in 0..2 {
        let mut simulation = direct(&Scenario::new(
            NatKind::PORT_RESTRICTED,
            NatKind::PORT_RESTRICTED,
        ));
        let nat = simulation.boxes[which][0];
        simulation
            .world
            .nat(nat)
            .set_kind(NatKind::SYMMETRIC_SEQUENTIAL);
        simulation.world.renumber(nat);
        let seen = simulation.world.seen_as(simulation.hosts[which]);
        simulation.tell(1 - which, Input::PeerSeen(&seen));
        let moved = simulation.world.now();
        simulation.tell(which, Input::NetworkChanged);
        let again = |s: &Simulation| {
            (0..2).all(|n| {
                s.peer(n)
                    .nominations()
                    .last()
                    .is_some_and(|(at, _)| at > moved)
            })
        };
        assert!(simulation.run_until(moved + 4 * S, again), "peer {which}");
        assert!(simulation.carries());
    }
}

#[test]
fn a_port_that_a_gateway_mapped_is_found_by_a_peer_behind_the_hardest_nat() {
    let hard = NatKind::SYMMETRIC_RANDOM;
    for seed in 0..10 {
        let mapped = Site::from(NatKind::PORT_RESTRICTED).with_mapped_port();
        let outcome = Scenario::new(mapped, hard).seed(seed).run(5 * S);
        assert!(
            outcome.direct.is_some_and(|after| after <= S / 4) && outcome.carries,
            "{outcome:?}"
        );
    }
}
