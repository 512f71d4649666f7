//! When what waits on a tunnel counts as starved, with counters set by hand.

use super::*;

const STEP: Duration = Duration::from_millis(150);

/// A session that sends at some rate, in bytes a second.
struct Bench {
    starvation: Starvation,
    now: Instant,
    flow: Flow,
    counters: Counters,
}

impl Bench {
    fn new(held: u64) -> Self {
        let remote = SocketAddr::from(([192, 0, 2, 1], 1000));
        Self {
            starvation: Starvation::of_direct_path(),
            now: Instant::now(),
            flow: Flow { delivered: 0, held },
            counters: Counters {
                epoch: 1,
                open: true,
                heard: 0,
                sent: 0,
                packets_sent: 0,
                packets_lost: 0,
                remote,
                rtt: Duration::from_millis(40),
            },
        }
    }

    /// Passes time in which the direct path and the relay carry so much; returns what was decided.
    fn pass(&mut self, time: Duration, [direct, relay]: [f64; 2], lost: u64) -> Vec<Verdict> {
        let (until, mut verdicts) = (self.now + time, Vec::new());
        while self.now < until {
            self.now += STEP;
            let relayed = self.starvation.prefers_second();
            let rate = if relayed { relay } else { direct };
            self.flow.delivered += (rate * STEP.as_secs_f64()) as u64;
            self.counters.packets_sent += 100;
            self.counters.packets_lost += lost;
            let direct = Some(&self.counters).filter(|_| !relayed);
            let look = self.starvation.look(self.flow, direct, true, self.now);
            verdicts.extend(look);
        }
        verdicts
    }
}

const S: Duration = Duration::from_secs(1);
const BULK: u64 = 1 << 20;

#[test]
fn silences_under_load_count_if_each_comes_soon_after_the_one_before() {
    let relay = Starvation::of_relay;
    for (new, pauses, leaves) in [
        (Starvation::of_direct_path as fn() -> _, &[0, 9][..], true),
        (Starvation::of_direct_path, &[0, 46], false),
        (relay, &[0, 9], false),
        (relay, &[0, 9, 40], true),
        (relay, &[0, 9, 46], false),
    ] {
        let mut bench = Bench::new(BULK);
        bench.starvation = new();
        let mut verdicts = Vec::new();
        for pause in pauses {
            bench.now += *pause * S;
            bench.pass(S / 2, [12e3, 2e6], 0);
            let (flow, now) = (bench.flow, bench.now);
            verdicts.extend(bench.starvation.on_silent(flow, true, false, now));
        }
        assert_eq!(!verdicts.is_empty(), leaves, "{pauses:?}: {verdicts:?}");
    }
}

#[test]
fn policed_direct_path_yields_to_a_relay_that_carries_more_and_is_tried_again() {
    let mut bench = Bench::new(BULK);
    let verdicts = bench.pass(10 * S, [12e3, 2e6], 60);
    let [Verdict::Try(why), Verdict::Keep(kept, more)] = &verdicts[..] else {
        panic!("{verdicts:?}");
    };
    assert!(why.contains("carries 0.1 Mbit/s and loses 60 %"), "{why}");
    assert!(more.contains("carries 16.0 Mbit/s"), "{more}");
    assert_eq!(*kept, FIRST);
    let verdicts = bench.pass(FIRST, [12e3, 2e6], 60);
    assert!(verdicts.contains(&Verdict::Back), "{verdicts:?}");
}

#[test]
fn path_that_carried_more_before_it_was_policed_yields_for_what_it_carries_now() {
    let mut bench = Bench::new(BULK);
    assert_eq!(bench.pass(2 * S, [400e3, 400e3], 0), []);
    let verdicts = bench.pass(12 * S, [12e3, 400e3], 60);
    let [Verdict::Try(why), Verdict::Keep(..)] = &verdicts[..] else {
        panic!("{verdicts:?}");
    };
    assert!(why.contains("carries 0.1 Mbit/s"), "{why}");
}

#[test]
fn relay_that_is_no_better_is_left_and_not_tried_again_soon() {
    let mut bench = Bench::new(BULK);
    let verdicts = bench.pass(25 * S, [12e3, 14e3], 60);
    assert!(
        matches!(&verdicts[..], [Verdict::Try(_), Verdict::Back]),
        "{verdicts:?}"
    );
    assert_eq!(bench.pass(40 * S, [12e3, 14e3], 60), []);
    assert!(!bench.pass(40 * S, [12e3, 14e3], 60).is_empty());
}

#[test]
fn relay_that_carries_nothing_either_is_left() {
    let mut bench = Bench::new(BULK);
    let verdicts = bench.pass(25 * S, [0.0, 0.0], 60);
    assert!(
        matches!(&verdicts[..], [Verdict::Try(_), Verdict::Back]),
        "{verdicts:?}"
    );
}

#[test]
fn relay_that_fails_while_it_is_tried_is_left_alone_for_a_while() {
    let mut bench = Bench::new(BULK);
    bench.pass(4 * S, [12e3, 2e6], 60);
    assert!(bench.starvation.prefers_second());
    let failed = bench.starvation.look(bench.flow, None, false, bench.now);
    assert_eq!(failed, Some(Verdict::Back));
    assert_eq!(bench.pass(50 * S, [12e3, 2e6], 60), []);
}

#[test]
fn few_packets_are_no_share_of_anything() {
    let mut bench = Bench::new(BULK);
    for _ in 1..FEW {
        bench.now += S;
        bench.counters.packets_sent += 1;
        bench.counters.packets_lost += 1;
        let direct = Some(&bench.counters);
        let verdict = bench.starvation.look(bench.flow, direct, true, bench.now);
        assert_eq!(verdict, None);
    }
}

#[test]
fn path_that_is_slow_without_losses_or_lossy_and_fast_or_little_used_is_kept() {
    for (held, rate, lost) in [(BULK, 12e3, 3), (BULK, 2e6, 60), (1000, 12e3, 60)] {
        let mut bench = Bench::new(held);
        assert_eq!(bench.pass(60 * S, [rate, 9e6], lost), []);
    }
}

#[test]
fn another_network_ends_what_was_found() {
    let mut bench = Bench::new(BULK);
    bench.pass(10 * S, [12e3, 2e6], 60);
    let back = bench.starvation.start_anew();
    assert_eq!(back, Some(Verdict::Back));
    assert_eq!(bench.starvation.start_anew(), None);
}
