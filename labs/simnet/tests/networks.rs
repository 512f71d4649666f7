//! Networks that do more than translate: overlays, guards against floods, tables that run out, mappings with a life of
//! their own, servers with a poor view. One network, one test, or one for each end.

use std::{net::IpAddr, time::Duration};

use p2pdbg_punch::{Input, LocalAddress, Path, PunchEvent, Technique};
use p2pdbg_simnet::{Direction, Link, NatConfig, NatKind, Overflow, Scenario, Simulation};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

const PR: NatKind = NatKind::PORT_RESTRICTED;

/// Two peers 40 ms apart and joined by a VPN that takes so long for a round trip.
fn with_vpn(rtt: Duration) -> Simulation {
    let mut simulation = Scenario::new(PR, PR).seed(3).build();
    let hosts = simulation.hosts;
    let link = Link::with_delay(rtt / 2);
    simulation.world.join_overlay(&hosts, link);
    simulation
}

fn run(simulation: &mut Simulation, time: Duration) {
    simulation.run_until(simulation.world.now() + time, |_| false);
}

fn path(simulation: &Simulation, n: usize) -> Option<Path> {
    simulation.peer(n).engine.nominated().copied()
}

/// The other way that a peer told of last: technique, its round trip and the path's.
fn unused(simulation: &Simulation, n: usize) -> Option<(Technique, Duration, Duration)> {
    let told = |(_, event): (Duration, &PunchEvent)| match *event {
        PunchEvent::Unused {
            technique,
            rtt,
            path_rtt,
        } => Some((technique, rtt, path_rtt)),
        _ => None,
    };
    simulation.peer(n).events().filter_map(told).last()
}

#[test]
fn vpn_of_80_ms_does_not_displace_a_punched_path_of_40_ms_and_both_ends_tell_the_figures() {
    let mut simulation = with_vpn(80 * MS);
    simulation.start();
    assert!(simulation.run_until(5 * S, Simulation::is_direct));
    simulation.use_path();
    run(&mut simulation, 120 * S);
    for n in 0..2 {
        let nominated: Vec<Technique> = simulation
            .peer(n)
            .nominations()
            .map(|(_, path)| path.technique)
            .collect();
        assert_eq!(nominated, [Technique::HolePunch], "peer {n}");
        let (technique, rtt, path_rtt) = unused(&simulation, n).expect("the VPN is told of");
        assert_eq!(technique, Technique::Vpn);
        assert_eq!(rtt, 80 * MS);
        assert!((40 * MS..45 * MS).contains(&path_rtt), "{path_rtt:?}");
    }
    assert!(simulation.carries());
}

#[test]
fn vpn_that_is_faster_than_the_punched_path_is_used() {
    let mut simulation = with_vpn(24 * MS);
    simulation.start();
    run(&mut simulation, 5 * S);
    for n in 0..2 {
        let path = path(&simulation, n).expect("a path");
        assert_eq!(path.technique, Technique::Vpn);
        let (technique, rtt, path_rtt) = unused(&simulation, n).expect("the other is told of");
        assert_eq!(technique, Technique::HolePunch);
        assert!(path_rtt < rtt, "{path_rtt:?} {rtt:?}");
    }
}

#[test]
fn slow_vpn_is_left_for_a_punched_path_that_works_later() {
    let mut simulation = with_vpn(200 * MS);
    simulation.start();
    let knows = |s: &Simulation| (0..2).all(|n| s.peer(n).knows_peer().is_some());
    assert!(simulation.run_until(S, knows));
    let nat = simulation.boxes[1][0];
    simulation.world.nat(nat).set_deaf(Some(Direction::In));
    assert!(simulation.run_until(5 * S, Simulation::is_direct));
    simulation.use_path();
    run(&mut simulation, 60 * S);
    let by_vpn = |n| path(&simulation, n).map(|p| p.technique);
    assert_eq!([by_vpn(0), by_vpn(1)], [Some(Technique::Vpn); 2]);
    simulation.world.nat(nat).set_deaf(None);
    let punched = |s: &Simulation| {
        (0..2).all(|n| path(s, n).is_some_and(|path| path.technique != Technique::Vpn))
    };
    let limit = simulation.world.now() + 65 * S;
    assert!(simulation.run_until(limit, punched));
    assert!(simulation.carries());
}

#[test]
fn mapping_that_lives_for_60_s_whatever_passes_is_replaced_and_the_path_stands_nearly_all_the_time()
{
    let random = PR.with_allocation(p2pdbg_simnet::Allocation::Random);
    let short_lived = NatConfig::from(random).with_lifetime(60 * S);
    for (a, b) in [(short_lived, PR.into()), (PR.into(), short_lived)] {
        let mut simulation = Scenario::new(a, b).seed(5).build();
        simulation.start();
        assert!(simulation.run_until(5 * S, Simulation::is_direct));
        let (mut direct, mut silent) = (0, 0);
        for _ in 0..6000 {
            if simulation.is_direct() {
                simulation.use_path();
            }
            run(&mut simulation, 100 * MS);
            let carries = simulation.carries_now();
            direct += u32::from(carries);
            silent = if carries { 0 } else { silent + 1 };
            // A tunnel notices after 0.12 s and two round trips that it is not heard.
            if silent == 3 {
                simulation.tell(0, Input::PathSilent);
                simulation.tell(1, Input::PathSilent);
            }
        }
        assert!(direct >= 5700, "carried in {direct} of 6000 looks");
    }
}

/// The box with a guard that takes more than sixty new flows in a second for a flood and stops all UDP for a minute.
fn guarded(kind: NatKind) -> NatConfig {
    NatConfig::from(kind).with_guard(60, 60 * S)
}

fn bans(simulation: &mut Simulation) -> u64 {
    let boxes = simulation.boxes.clone();
    let all = boxes.iter().flatten();
    all.map(|&id| simulation.world.nat(id).bans()).sum()
}

/// What a peer said of harm that its searches did, and when.
fn harms(simulation: &Simulation, n: usize) -> Vec<(Duration, Option<Duration>)> {
    let told = |(at, event): (Duration, &PunchEvent)| match *event {
        PunchEvent::SearchHarmful { again, .. } => Some((at, again)),
        _ => None,
    };
    simulation.peer(n).events().filter_map(told).collect()
}

#[test]
fn search_beside_streams_on_the_relay_never_trips_a_guard_of_sixty_new_flows_a_second() {
    let (random, counts) = (NatKind::SYMMETRIC_RANDOM, NatKind::SYMMETRIC_SEQUENTIAL);
    let block = NatKind::SYMMETRIC_BLOCK;
    for (a, b, meets) in [
        (PR, random, true),
        (random, PR, true),
        (counts, PR, true),
        (PR, block, true),
        (counts, counts, true),
        (counts, block, false),
        (block, block, false),
        (random, random, false),
    ] {
        let mut simulation = Scenario::new(guarded(a), guarded(b)).seed(7).build();
        simulation.start();
        for n in 0..2 {
            simulation.tell(n, Input::StreamsActive(true));
        }
        run(&mut simulation, 360 * S);
        assert_eq!(bans(&mut simulation), 0, "{a} / {b}");
        assert!(simulation.is_direct() || !meets, "{a} / {b}");
    }
}

#[test]
fn search_that_trips_a_guard_is_noticed_within_seconds_told_and_followed_by_a_careful_one() {
    let mut simulation = Scenario::new(guarded(PR), NatKind::SYMMETRIC_RANDOM)
        .seed(8)
        .build();
    simulation.start();
    run(&mut simulation, 10 * S);
    assert_eq!(bans(&mut simulation), 1);
    let told = harms(&simulation, 0);
    assert!(
        matches!(told[..], [(at, Some(_))] if at < 5 * S),
        "{told:?}"
    );
    run(&mut simulation, 1800 * S);
    assert_eq!(bans(&mut simulation), 1, "the next search is careful");
    assert_eq!(harms(&simulation, 0).len(), 1);
}

#[test]
fn harm_that_was_a_change_of_the_network_hinders_no_search_though_the_change_is_told_later() {
    let mut simulation = Scenario::new(NatKind::SYMMETRIC_RANDOM, PR).seed(2).build();
    simulation.start();
    let began = |s: &Simulation| {
        let mut events = s.peer(0).events();
        events.any(|(_, event)| matches!(event, PunchEvent::SearchBegan { .. }))
    };
    assert!(simulation.run_until(10 * S, began));
    run(&mut simulation, 300 * MS);
    // What an interface that goes and comes does to those behind it: their mappings are others.
    let nat = simulation.boxes[0][0];
    simulation.world.nat(nat).flush();
    let limit = simulation.world.now() + 5 * S;
    assert!(simulation.run_until(limit, |s| !harms(s, 0).is_empty()));
    simulation.tell(0, Input::NetworkChanged);
    let limit = simulation.world.now() + 20 * S;
    assert!(simulation.run_until(limit, Simulation::is_direct));
}

#[test]
fn searches_of_an_hour_fit_beside_what_a_subscriber_with_1200_sessions_has_open() {
    for (a, b) in [
        (PR, NatKind::SYMMETRIC_RANDOM),
        (NatKind::SYMMETRIC_RANDOM, NatKind::SYMMETRIC_SEQUENTIAL),
        (NatKind::SYMMETRIC_BLOCK, NatKind::SYMMETRIC_BLOCK),
    ] {
        // What is left to a search when a household has 350 connections.
        let left = |kind| NatConfig::from(kind).with_table(850, Overflow::Evicts);
        let mut simulation = Scenario::new(left(a), left(b)).seed(9).build();
        // Nothing is ever found: every attempt of the hour is made.
        for n in 0..2 {
            let nat = simulation.boxes[n][0];
            simulation.world.nat(nat).hide_from_peers();
        }
        simulation.start();
        run(&mut simulation, 3600 * S);
        for n in 0..2 {
            let nat = simulation.boxes[n][0];
            assert_eq!(simulation.world.nat(nat).evicted(), 0, "{a} / {b}");
        }
    }
}

#[test]
fn what_a_search_leaves_behind_is_counted() {
    let mut simulation = Scenario::new(PR, NatKind::SYMMETRIC_RANDOM).seed(2).build();
    simulation.start();
    assert!(simulation.run_until(20 * S, Simulation::is_direct));
    for n in 0..2 {
        let left = simulation
            .peer(n)
            .events()
            .find_map(|(_, event)| match *event {
                PunchEvent::SearchEnded { flows, .. } => Some(flows),
                _ => None,
            });
        let left = left.expect("the search is over");
        assert!((20..=800).contains(&left), "peer {n}: {left}");
    }
}

fn why(simulation: &Simulation, n: usize) -> String {
    let obstacle = simulation.peer(n).engine.why_relayed();
    obstacle.map_or_else(String::new, |obstacle| obstacle.to_string())
}

#[test]
fn server_behind_a_proxy_that_rewrites_sources_is_named_and_not_the_networks() {
    let mut simulation = Scenario::new(PR, PR).seed(11).build();
    simulation.server.rewrite_sources([172, 18, 0, 1].into());
    simulation.start();
    run(&mut simulation, 20 * S);
    for n in 0..2 {
        let why = why(&simulation, n);
        // Nor could it be told from a server in the network of one.
        for possible in ["rewrites sources", "in a peer's own network"] {
            assert!(why.contains(possible), "{why}");
        }
        let report = simulation.peer(n).engine.nat_report();
        assert!(report.poor_view && report.external.is_empty(), "{report:?}");
    }
}

#[test]
fn stun_server_of_one_side_is_lent_to_the_other_whose_rendezvous_has_a_poor_view() {
    for lender in 0..2 {
        for hard in [PR, NatKind::FULL_CONE] {
            let mut simulation = Scenario::new(PR, hard).seed(12).build();
            simulation.server.rewrite_sources([172, 18, 0, 1].into());
            simulation.add_stun_server(lender);
            simulation.start();
            assert!(simulation.run_until(5 * S, Simulation::is_direct), "{hard}");
            assert!(simulation.carries());
        }
    }
}

#[test]
fn alternative_port_that_is_closed_costs_one_round_trip() {
    let random = NatKind::SYMMETRIC_RANDOM;
    for (a, b, limit) in [
        (PR, PR, 150 * MS),
        (PR, NatKind::SYMMETRIC_SEQUENTIAL, 400 * MS),
        (NatKind::SYMMETRIC_SEQUENTIAL, PR, 400 * MS),
        (PR, random, 6 * S),
    ] {
        for seed in 0..10 {
            let mut simulation = Scenario::new(a, b).seed(seed).build();
            simulation.server.close(p2pdbg_simnet::ALTERNATIVE_PORT);
            simulation.start();
            simulation.run_until(20 * S, Simulation::is_direct);
            let outcome = simulation.outcome();
            let after = outcome.direct.unwrap_or(Duration::MAX);
            assert!(after <= limit, "{a} / {b}, seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn rendezvous_whose_udp_port_is_closed_is_named_beside_the_networks() {
    let mut simulation = Scenario::new(PR, PR).seed(13).build();
    simulation.server.close(p2pdbg_simnet::MAIN_PORT);
    simulation.server.close(p2pdbg_simnet::ALTERNATIVE_PORT);
    simulation.start();
    run(&mut simulation, 20 * S);
    for n in 0..2 {
        let obstacle = simulation.peer(n).engine.why_relayed().expect("relayed");
        assert!(obstacle.to_string().contains("its UDP port is closed"));
        assert!(
            obstacle
                .help()
                .is_some_and(|help| help.contains("3478/UDP"))
        );
    }
}

#[test]
fn outage_is_called_one_at_the_end_that_has_it() {
    let mut simulation = Scenario::new(PR, PR).seed(14).build();
    simulation.start();
    assert!(simulation.run_until(5 * S, Simulation::is_direct));
    simulation.use_path();
    let host = simulation.hosts[0];
    simulation.world.set_up(host, false);
    run(&mut simulation, 40 * S);
    assert!(
        why(&simulation, 0).contains("an outage"),
        "{}",
        why(&simulation, 0)
    );
    simulation.world.set_up(host, true);
    let limit = simulation.world.now() + 60 * S;
    simulation.tell(0, Input::NetworkChanged);
    assert!(simulation.run_until(limit, Simulation::is_direct));
}

#[test]
fn two_hosts_of_twenty_container_networks_each_meet_over_their_lan_behind_a_nat_that_does_not_hairpin()
 {
    let mut simulation = Scenario::same_network(PR).build();
    for n in 0..2 {
        simulation.start_peer(n);
        let host = simulation.hosts[n];
        let own = simulation.world.ip(host);
        // In numerical order all of them come before the LAN's.
        let bridges = (0..20).map(|bridge| IpAddr::from([10, 0, bridge, 1]));
        let local: Vec<LocalAddress> = std::iter::once(own)
            .chain(bridges)
            .map(LocalAddress::from)
            .collect();
        simulation.tell(n, Input::LocalAddresses(&local));
    }
    let limit = simulation.world.now() + 10 * S;
    assert!(simulation.run_until(limit, Simulation::is_direct));
    for n in 0..2 {
        let technique = path(&simulation, n).map(|path| path.technique);
        assert_eq!(technique, Some(Technique::Lan));
    }
}

/// What two peers behind NATs that cannot be passed sent in ten minutes on the relay.
fn sent_on_the_relay(nearby: bool) -> u64 {
    let mut simulation = Scenario::new(PR, NatKind::SYMMETRIC_RANDOM).seed(4).build();
    for n in 0..2 {
        let nat = simulation.boxes[n][0];
        simulation.world.nat(nat).hide_from_peers();
    }
    simulation.start();
    run(&mut simulation, 60 * S);
    let before = simulation.world.packets_sent();
    for round in 0..120 {
        if nearby {
            // A network of containers comes, and goes again.
            let own = simulation.world.ip(simulation.hosts[0]);
            let bridge = (round % 2 == 0).then(|| IpAddr::from([172, 18 + round as u8 / 8, 0, 1]));
            let local: Vec<LocalAddress> = [own]
                .into_iter()
                .chain(bridge)
                .map(LocalAddress::from)
                .collect();
            simulation.tell(0, Input::LocalAddresses(&local));
            simulation.tell(0, Input::NearbyChanged);
        }
        run(&mut simulation, 5 * S);
    }
    simulation.world.packets_sent() - before
}

#[test]
fn networks_of_containers_that_come_and_go_begin_no_search_anew() {
    let (quiet, busy) = (sent_on_the_relay(false), sent_on_the_relay(true));
    // Two questions each time and their answers, and some checks of each new address.
    assert!(busy < quiet + 120 * 30, "{quiet} {busy}");
}

#[test]
fn network_of_containers_that_comes_leaves_the_path_the_attempt_and_the_caution_as_they_are() {
    let mut simulation = Scenario::new(PR, PR).seed(5).build();
    simulation.start();
    assert!(simulation.run_until(20 * S, Simulation::is_direct));
    simulation.use_path();
    run(&mut simulation, 20 * S);
    let attempts = |s: &Simulation| {
        let began =
            |(_, event): &(Duration, PunchEvent)| matches!(event, PunchEvent::AttemptBegan { .. });
        [0, 1].map(|n| {
            s.peer(n)
                .events()
                .filter(|(at, event)| began(&(*at, (*event).clone())))
                .count()
        })
    };
    let before = (
        attempts(&simulation),
        path(&simulation, 0),
        path(&simulation, 1),
    );
    let own = simulation.world.ip(simulation.hosts[0]);
    let local = [own, [172, 18, 0, 1].into()].map(LocalAddress::from);
    simulation.tell(0, Input::LocalAddresses(&local));
    simulation.tell(0, Input::NearbyChanged);
    run(&mut simulation, 5 * S);
    let after = (
        attempts(&simulation),
        path(&simulation, 0),
        path(&simulation, 1),
    );
    assert_eq!(before, after);
}
