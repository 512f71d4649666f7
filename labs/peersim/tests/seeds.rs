//! Runs of both peers through seeded faults, and mistakes that the oracle must find.

use std::time::Duration;

use p2pdbg_peersim::{End, Fault, Mutant, NatKind, Script, Summary, Timed, run, run_seed};

/// How many seeds a test runs.
const SEEDS: u64 = 150;

/// How many a test runs in which the meetings take part.
const MEETING_SEEDS: u64 = 60;

/// How many a test runs in which the engines take part, which is slower.
const ENGINE_SEEDS: u64 = 40;

fn must(seed: u64) -> Summary {
    run_seed(seed, Mutant::None)
        .unwrap_or_else(|violation| panic!("seed {seed}: {violation}\n{:#?}", Script::draw(seed)))
}

/// What `scripts/fuzz` begins with, without the nightly compiler that it needs.
#[test]
fn scripts_that_the_fuzzer_begins_with_lose_no_byte_and_tell_no_lie() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/peersim");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let script = Script::from_bytes(&std::fs::read(&file).unwrap());
        if let Err(violation) = run(&script, Mutant::None) {
            panic!("{}: {violation}\n{script:#?}", file.display());
        }
        count += 1;
    }
    assert!(count >= 50, "{count}");
}

#[test]
fn script_in_bytes_has_its_parts_in_their_places_and_zeros_for_what_is_missing() {
    assert_eq!(Script::from_bytes(&[]).faults, []);
    let later = [0, 0b111, 0x10, 0x27, 0xe8, 3];
    let sooner = [9, 5, 1, 0, 0, 0];
    let begin = [2, 1, 0, 0, 0, 0, 0, 0, 0b10_1001, 0x12, 8];
    let bytes = [&begin[..], &later, &sooner, &[10, 1, 1]].concat();
    let silence = Fault::Silence {
        direct: true,
        from: Some(End::BOTH[1]),
        time: Duration::from_secs(1),
    };
    let timed = |at, fault| Timed {
        at: Duration::from_millis(at),
        fault,
    };
    let expected = Script {
        seed: 0x102,
        meets: true,
        guessed: false,
        calls: false,
        direct: true,
        nats: Some([NatKind::ALL[2], NatKind::ALL[1]]),
        relay: false,
        streams: 2,
        faults: vec![
            timed(1, Fault::BreakOff(End::BOTH[1], 2)),
            timed(10_000, silence),
        ],
    };
    assert_eq!(Script::from_bytes(&bytes), expected);
}

/// The first seed whose run shows a mistake.
fn found_by(mutant: Mutant) -> u64 {
    let shows = |seed: &u64| match run_seed(*seed, mutant) {
        Ok(_) => false,
        Err(violation) => {
            println!("{mutant:?}: seed {seed}: {violation}");
            true
        }
    };
    (0..SEEDS)
        .find(shows)
        .unwrap_or_else(|| panic!("no seed below {SEEDS} shows {mutant:?}"))
}

#[test]
fn seeded_faults_lose_no_byte_and_tell_no_lie() {
    let mut total = Summary::default();
    for seed in 0..SEEDS {
        let summary = must(seed);
        total.streams += summary.streams;
        total.bytes += summary.bytes;
        total.tunnels += summary.tunnels;
        total.lost += summary.lost;
        total.refused += summary.refused;
    }
    println!("{SEEDS} seeds: {total:?}");
    assert!(total.lost > 0 && total.refused > 0, "{total:?}");
    assert!(total.tunnels as u64 > 3 * SEEDS, "{total:?}");
}

/// With the engines that ship, behind NATs: the same holds, and once nothing goes wrong any more the persons at both
/// ends are told of a direct path.
#[test]
fn seeded_faults_with_engines_behind_nats_end_on_a_direct_path() {
    let mut total = Summary::default();
    for seed in 0..ENGINE_SEEDS {
        let script = Script::draw_with_engines(seed);
        let summary = run(&script, Mutant::None)
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation}\n{script:#?}"));
        let ends = |timed: &Timed| matches!(timed.fault, Fault::Restart(_) | Fault::Close(_));
        let is_over = script.faults.iter().any(ends);
        assert!(
            summary.direct || is_over,
            "seed {seed}: {summary:?}\n{script:#?}"
        );
        total.bytes += summary.bytes;
        total.tunnels += summary.tunnels;
        total.lost += summary.lost;
    }
    println!("{ENGINE_SEEDS} seeds with engines: {total:?}");
    assert!(
        total.lost > 0 && total.tunnels as u64 > 3 * ENGINE_SEEDS,
        "{total:?}"
    );
}

/// With the meetings that ship at the registry of a rendezvous, whose connections break, and which is started again:
/// the two meet once, stay in one session, and the same holds of what their users observe.
#[test]
fn seeded_faults_with_meetings_leave_the_two_in_one_session() {
    let (mut total, mut burned) = (Summary::default(), 0);
    for seed in 0..MEETING_SEEDS {
        let script = Script::draw_with_meetings(seed);
        let summary = run(&script, Mutant::None)
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation}\n{script:#?}"));
        total.bytes += summary.bytes;
        total.tunnels += summary.tunnels;
        total.lost += summary.lost;
        total.introduced += summary.introduced;
        burned += usize::from(summary.burned);
    }
    println!("{MEETING_SEEDS} seeds with meetings, {burned} with a burned code: {total:?}");
    assert!(total.introduced > 10 && burned > 2, "{total:?}");
    assert!(total.tunnels as u64 > 3 * MEETING_SEEDS, "{total:?}");
}

#[test]
fn unheard_introduction_is_found() {
    let shows = |seed: &u64| {
        let script = Script::draw_with_meetings(*seed);
        let violation = run(&script, Mutant::IntroductionUnheard).err();
        violation.inspect(|violation| println!("seed {seed}: {violation}"))
    };
    let mut seeds = 0..MEETING_SEEDS;
    assert!(seeds.any(|seed| shows(&seed).is_some()));
}

#[test]
fn code_that_somebody_guesses_at_burns_and_the_next_one_pairs() {
    let script = Script {
        meets: true,
        guessed: true,
        ..script(&[])
    };
    let summary = run(&script, Mutant::None).unwrap();
    assert!(summary.burned && summary.bytes > 0, "{summary:?}");
}

#[test]
fn rendezvous_that_is_started_again_brings_the_relay_back_to_the_same_session() {
    let script = Script {
        meets: true,
        direct: false,
        ..script(&[(10_000, Fault::RendezvousAway(Duration::from_secs(8)))])
    };
    let summary = run(&script, Mutant::None).unwrap();
    assert!(summary.introduced >= 2 && summary.lost >= 1, "{summary:?}");
}

#[test]
fn engines_behind_port_restricted_nats_bring_the_streams_to_a_direct_path() {
    let script = Script {
        nats: Some([NatKind::PORT_RESTRICTED; 2]),
        ..script(&[])
    };
    let summary = run(&script, Mutant::None).unwrap();
    assert!(summary.direct, "{summary:?}");
    assert_eq!(summary.lost, 0, "{summary:?}");
}

#[test]
fn blocked_udp_leaves_the_streams_on_the_relay() {
    let script = Script {
        nats: Some([NatKind::UDP_BLOCKED, NatKind::NONE]),
        ..script(&[])
    };
    let summary = run(&script, Mutant::None).unwrap();
    assert_eq!((summary.direct, summary.lost), (false, 0), "{summary:?}");
    assert!(summary.bytes > 0);
}

#[test]
fn nat_that_forgets_is_found_out_by_the_engines_and_the_streams_are_direct_again() {
    for end in End::BOTH {
        let script = Script {
            nats: Some([NatKind::PORT_RESTRICTED; 2]),
            ..script(&[(8000, Fault::Forget(end))])
        };
        let summary = run(&script, Mutant::None).unwrap();
        println!("{end:?}: {summary:?}");
        assert!(summary.renewed_after.is_some(), "{end:?}: {summary:?}");
        assert_eq!(summary.lost, 0, "{end:?}: {summary:?}");
    }
}

/// `PEERSIM_SEED=42 cargo test -p p2pdbg-peersim one_seed -- --nocapture`
#[test]
fn one_seed_runs_the_same_way_twice() {
    let seed = std::env::var("PEERSIM_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("{:#?}", Script::draw(seed));
    assert_eq!(must(seed), must(seed));
}

#[test]
fn unchecked_epoch_is_found() {
    found_by(Mutant::EpochUnchecked);
}

#[test]
fn repeated_fin_is_found() {
    found_by(Mutant::FinRepeated);
}

#[test]
fn forgotten_loss_is_found() {
    found_by(Mutant::LossForgotten);
}

fn script(faults: &[(u64, Fault)]) -> Script {
    let timed = |(at, fault): &(u64, Fault)| Timed {
        at: Duration::from_millis(*at),
        fault: *fault,
    };
    Script {
        seed: 1,
        meets: false,
        guessed: false,
        calls: true,
        direct: true,
        nats: None,
        relay: true,
        streams: 4,
        faults: faults.iter().map(timed).collect(),
    }
}

#[test]
fn quiet_run_has_two_tunnels_at_each_end_and_no_loss() {
    let summary = run(&script(&[]), Mutant::None).unwrap();
    assert_eq!((summary.tunnels, summary.lost), (4, 0), "{summary:?}");
    assert!(summary.bytes > 0);
}

#[test]
fn both_paths_silent_for_ten_seconds_are_told_once_at_each_end() {
    let silence = |direct| Fault::Silence {
        direct,
        from: None,
        time: Duration::from_secs(10),
    };
    let faults = [(5000, silence(true)), (5000, silence(false))];
    let summary = run(&script(&faults), Mutant::None).unwrap();
    assert_eq!(summary.lost, 2, "{summary:?}");
}

#[test]
fn direct_path_silent_one_way_moves_the_streams_to_the_relay() {
    for from in End::BOTH {
        let silence = Fault::Silence {
            direct: true,
            from: Some(from),
            time: Duration::from_secs(15),
        };
        let summary = run(&script(&[(5000, silence)]), Mutant::None).unwrap();
        assert_eq!(summary.lost, 0, "{from:?}: {summary:?}");
    }
}

#[test]
fn nat_that_forgets_either_end_costs_a_direct_tunnel_a_second_and_a_half_with_and_without_a_relay()
{
    for (end, relay) in [
        (End::Listener, true),
        (End::Listener, false),
        (End::Connector, true),
        (End::Connector, false),
    ] {
        let script = Script {
            relay,
            ..script(&[(5000, Fault::Forget(end))])
        };
        let summary = run(&script, Mutant::None).unwrap();
        println!("{end:?}, relay {relay}: {summary:?}");
        let after = summary.renewed_after.expect("a direct tunnel");
        assert!(after <= Duration::from_millis(1500), "{end:?}: {after:?}");
        assert_eq!(summary.lost, 0, "{end:?}: {summary:?}");
    }
}

#[test]
fn replayed_opening_is_refused() {
    let faults = [(10_000, Fault::Replay(0)), (11_000, Fault::Replay(1))];
    let summary = run(&script(&faults), Mutant::None).unwrap();
    assert_eq!((summary.refused, summary.tunnels), (2, 4), "{summary:?}");
}

#[test]
fn peer_that_restarts_ends_the_session_with_resets() {
    let summary = run(
        &script(&[(2000, Fault::Restart(End::Connector))]),
        Mutant::None,
    );
    assert!(summary.unwrap().bytes > 0);
}
