//! NATs that give every connection another port: how often and how soon each pair goes direct.

use std::time::Duration;

use p2pdbg_punch::{Budget, Input, PunchEvent, Technique};
use p2pdbg_simnet::{NatConfig, NatKind, Outcome, Scenario, Simulation};

const S: Duration = Duration::from_secs(1);

/// The times to direct of so many seeds, shortest first, in both roles by turns.
fn times(
    easy: impl Into<NatConfig>,
    hard: impl Into<NatConfig>,
    seeds: u64,
) -> Vec<Option<Duration>> {
    let (easy, hard) = (easy.into(), hard.into());
    let run = |seed: u64| {
        let (a, b) = if seed.is_multiple_of(2) {
            (easy, hard)
        } else {
            (hard, easy)
        };
        let outcome = Scenario::new(a, b).seed(seed).run(8 * S);
        assert!(
            outcome.direct.is_none() || outcome.carries,
            "seed {seed}: {outcome:?}"
        );
        outcome.direct
    };
    let mut times: Vec<Option<Duration>> = (0..seeds).map(run).collect();
    times.sort_by_key(|t| t.unwrap_or(Duration::MAX));
    times
}

/// Asserts that this share of the runs was direct within `limit`.
fn assert_share(times: &[Option<Duration>], percent: usize, limit: Duration) {
    let within = times.iter().flatten().filter(|&&t| t <= limit).count();
    assert!(
        within * 100 >= percent * times.len(),
        "{within} of {} within {limit:?}: {times:?}",
        times.len()
    );
}

#[test]
fn a_sequential_nat_is_found_within_a_second() {
    for stride in [1, 2] {
        for foreign in [0.0, 20.0, 200.0] {
            let hard = NatConfig::from(NatKind::symmetric_sequential(stride)).with_foreign(foreign);
            assert_share(&times(NatKind::PORT_RESTRICTED, hard, 60), 99, S);
        }
    }
}

#[test]
fn a_port_block_is_searched_within_a_second() {
    let times = times(NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_BLOCK, 100);
    assert_share(&times, 50, S);
    assert_share(&times, 98, 4 * S);
}

#[test]
fn random_ports_are_searched_within_six_seconds() {
    let times = times(NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_RANDOM, 100);
    assert_share(&times, 50, 2 * S);
    assert_share(&times, 97, 6 * S);
}

#[test]
fn two_sequential_nats_foretell_each_other() {
    for foreign in [0.0, 20.0] {
        let counting =
            |stride| NatConfig::from(NatKind::symmetric_sequential(stride)).with_foreign(foreign);
        assert_share(&times(counting(1), counting(2), 60), 90, 6 * S);
    }
}

#[test]
fn a_counting_nat_meets_a_block_of_ports_at_first_in_a_sixth_of_the_cases_at_least() {
    for hard in [NatKind::SYMMETRIC_SEQUENTIAL, NatKind::SYMMETRIC_BLOCK] {
        let floor = if hard == NatKind::SYMMETRIC_BLOCK {
            1
        } else {
            14
        };
        let times = times(hard, NatKind::SYMMETRIC_BLOCK, 100);
        assert_share(&times, floor, 8 * S);
    }
}

#[test]
fn two_nats_of_which_one_draws_from_all_ports_are_not_tried_for_long_and_the_reason_is_given() {
    for other in [
        NatKind::SYMMETRIC_SEQUENTIAL,
        NatKind::SYMMETRIC_BLOCK,
        NatKind::SYMMETRIC_RANDOM,
    ] {
        for (a, b) in [
            (NatKind::SYMMETRIC_RANDOM, other),
            (other, NatKind::SYMMETRIC_RANDOM),
        ] {
            let outcome = Scenario::new(a, b).seed(3).run(20 * S);
            assert_eq!(outcome.direct, None);
            assert!(
                outcome.packets.iter().all(|&sent| sent < 300),
                "{outcome:?}"
            );
            for why in outcome.why {
                let why = why.expect("it is relayed");
                assert!(why.contains("both NATs"), "{why}");
            }
        }
    }
}

#[test]
fn where_udp_is_blocked_at_one_end_that_end_is_named_whatever_the_other_is() {
    for other in NatKind::ALL {
        let outcome = Scenario::new(NatKind::UDP_BLOCKED, other).run(20 * S);
        assert_eq!(outcome.direct, None);
        let [here, there] = outcome.why.map(|why| why.expect("it is relayed"));
        if other == NatKind::UDP_BLOCKED {
            assert!(here.contains("neither network"), "{here}");
        } else {
            assert!(here.contains("this network"), "{here}");
            assert!(there.contains("the peer's network"), "{there}");
        }
    }
}

#[test]
fn anything_reaches_a_nat_that_filters_by_address_at_most_within_three_round_trips() {
    let limit = 3 * Duration::from_millis(40);
    for easy in [
        NatKind::NONE,
        NatKind::FULL_CONE,
        NatKind::ADDRESS_RESTRICTED,
    ] {
        for hard in [
            NatKind::SYMMETRIC_SEQUENTIAL,
            NatKind::SYMMETRIC_BLOCK,
            NatKind::SYMMETRIC_RANDOM,
        ] {
            assert_share(&times(easy, hard, 20), 100, limit);
        }
    }
}

#[test]
fn a_mapping_that_depends_on_the_address_alone_is_crossed_though_one_server_cannot_show_it() {
    let hidden = NatKind {
        mapping: p2pdbg_simnet::Mapping::AddressDependent,
        ..NatKind::SYMMETRIC_SEQUENTIAL
    };
    for seed in 0..10 {
        let outcome = Scenario::new(NatKind::PORT_RESTRICTED, hidden)
            .seed(seed)
            .run(30 * S);
        assert!(
            outcome.direct.is_some() && outcome.carries,
            "seed {seed}: {outcome:?}"
        );
        let two_addresses = Scenario::new(NatKind::PORT_RESTRICTED, hidden)
            .stun_addresses(2)
            .seed(seed);
        let outcome = two_addresses.run(30 * S);
        assert!(
            outcome.direct.is_some_and(|after| after <= S),
            "seed {seed}: {outcome:?}"
        );
    }
}

#[test]
fn both_peers_give_the_same_technique() {
    for (easy, hard, technique) in [
        (
            NatKind::PORT_RESTRICTED,
            NatKind::SYMMETRIC_SEQUENTIAL,
            Technique::PortPrediction,
        ),
        (
            NatKind::PORT_RESTRICTED,
            NatKind::SYMMETRIC_BLOCK,
            Technique::BlockSearch,
        ),
        (
            NatKind::PORT_RESTRICTED,
            NatKind::SYMMETRIC_RANDOM,
            Technique::BirthdaySearch,
        ),
        (
            NatKind::SYMMETRIC_SEQUENTIAL,
            NatKind::SYMMETRIC_SEQUENTIAL,
            Technique::MutualPrediction,
        ),
    ] {
        for seed in 0..5 {
            let outcome: Outcome = Scenario::new(easy, hard).seed(seed).run(20 * S);
            let [a, b] = outcome.technique.expect("it goes direct");
            assert_eq!(a, b, "{outcome:?}");
            // A packet of a plain check may happen to be the one that is found.
            assert!(a == technique || a == Technique::HolePunch, "{outcome:?}");
        }
    }
}

#[test]
fn a_search_stays_within_its_sockets_and_packets() {
    let most = Budget::default().search_sockets;
    for seed in 0..5 {
        let outcome = Scenario::new(NatKind::SYMMETRIC_RANDOM, NatKind::PORT_RESTRICTED)
            .seed(seed)
            .run(20 * S);
        assert!(
            outcome.sockets[0] <= 2 + most && outcome.sockets[1] <= 2,
            "{outcome:?}"
        );
        assert!(
            outcome.packets.into_iter().all(|p| p <= 4000),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_search_gets_through_loss() {
    let mut direct = 0;
    for seed in 0..40 {
        let scenario = Scenario::new(NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_RANDOM)
            .loss(0.05)
            .rtt(S / 5);
        direct += u32::from(scenario.seed(seed).run(10 * S).direct.is_some());
    }
    assert!(direct >= 38, "{direct} of 40");
}

/// How often an end has begun an attempt, said that it may search, and begun a search, since then.
fn began_since(simulation: &Simulation, n: usize, then: Duration) -> [usize; 3] {
    let mut counts = [0; 3];
    for (_, event) in simulation.peer(n).events().filter(|(at, _)| *at >= then) {
        match event {
            PunchEvent::AttemptBegan { .. } => counts[0] += 1,
            PunchEvent::SearchPossible => counts[1] += 1,
            PunchEvent::SearchBegan { .. } => counts[2] += 1,
            _ => {}
        }
    }
    counts
}

#[test]
fn listener_that_looks_for_a_lost_path_by_itself_makes_no_search_that_it_was_told_of_before() {
    let random = NatKind::SYMMETRIC_RANDOM;
    let mut simulation = Scenario::new(NatKind::PORT_RESTRICTED, random).build();
    // One that answers while the rendezvous is away.
    simulation.add_stun_server(1);
    simulation.start();
    assert!(simulation.run_until(20 * S, Simulation::is_direct));
    simulation.use_path();
    assert_eq!(began_since(&simulation, 1, Duration::ZERO), [1, 1, 1]);
    simulation.lose_rendezvous();
    simulation.run_until(simulation.world.now() + S, |_| false);
    let lost = simulation.world.now();
    simulation.tell(1, Input::TunnelLost);
    // As the driver does that has had another session search meanwhile.
    simulation.tell(1, Input::SearchAllowed(false));
    simulation.tell(1, Input::SearchAllowed(true));
    assert_eq!(began_since(&simulation, 1, lost), [1, 0, 0]);
}

#[test]
fn listener_that_is_told_nothing_begins_no_attempt_while_the_connector_still_searches_with_care() {
    let random = NatKind::SYMMETRIC_RANDOM;
    let mut simulation = Scenario::new(NatKind::PORT_RESTRICTED, random).build();
    simulation.start();
    // Something moves at one end, which makes its searches slow; the other does not know, and has to leave the searches
    // of its host to another session, so that nothing is found.
    simulation.tell(0, Input::StreamsActive(true));
    simulation.tell(1, Input::SearchAllowed(false));
    let searches = |s: &Simulation| began_since(s, 0, Duration::ZERO)[2] > 0;
    assert!(simulation.run_until(5 * S, searches));
    simulation.run_until(simulation.world.now() + S, |_| false);
    simulation.lose_signals();
    let failed = |s: &Simulation| {
        let mut events = s.peer(0).events();
        events.any(|(_, event)| matches!(event, PunchEvent::AttemptFailed { .. }))
    };
    assert!(simulation.run_until(60 * S, failed));
    assert!(simulation.world.now() > 20 * S, "a careful search");
    assert_eq!(began_since(&simulation, 1, Duration::ZERO)[0], 1);
    // It looks on by itself all the same.
    simulation.run_until(simulation.world.now() + 60 * S, |_| false);
    assert!(began_since(&simulation, 1, Duration::ZERO)[0] > 1);
}
