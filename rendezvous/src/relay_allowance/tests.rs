//! The books, with senders that send whatever they like.

use super::*;
use crate::keys::KeyLimits;

const SECOND: u64 = 1_000_000_000;
const TICK: Duration = Duration::from_millis(250);
const ONE: KeyId = KeyId([1; 8]);
const OTHER: KeyId = KeyId([2; 8]);

/// A host, and legs that each offer so many bytes a second in batches of 1,000 bytes.
struct Scene {
    book: Book,
    began: Instant,
    ticks: u32,
    unix_s: u64,
}

impl Scene {
    fn new(host_mbit: Option<u64>, keys: &[(KeyId, KeyLimits)]) -> Self {
        let began = Instant::now();
        let mut book = Book::new(began, 0, host_mbit);
        book.set_keys(&KeyRing::of(keys), 0);
        Self {
            book,
            began,
            ticks: 0,
            unix_s: 0,
        }
    }

    fn leg(&mut self, key: KeyId) -> Arc<LegMeter> {
        self.book.open([key; 2])[0].clone()
    }

    /// Lets the legs send for so many seconds; what got through of each, in bytes a second.
    fn send<const N: usize>(&mut self, seconds: u64, legs: [(&LegMeter, u64); N]) -> [u64; N] {
        let mut passed = [0; N];
        for _ in 0..seconds * 4 {
            let from = u64::from(self.ticks) * SECOND / 4;
            let mut batches: Vec<(u64, usize)> = Vec::new();
            for (at, (_, rate)) in legs.iter().enumerate() {
                let count = rate / 4 / 1_000;
                batches.extend((0..count).map(|n| (from + n * SECOND / 4 / count, at)));
            }
            batches.sort_unstable();
            for (when, at) in batches {
                if legs[at].0.admits(when, 1_000) {
                    passed[at] += 1_000;
                }
            }
            self.ticks += 1;
            let now = self.began + TICK * self.ticks;
            self.book.settle(now, self.unix_s);
        }
        passed.map(|bytes| bytes / seconds)
    }
}

fn mbit(count: u64) -> KeyLimits {
    KeyLimits {
        relay_mbit: Some(count),
        ..KeyLimits::default()
    }
}

/// Whether it is as much as was expected, give or take a twentieth.
fn near(is: u64, expected: u64) -> bool {
    is.abs_diff(expected) <= expected / 20
}

#[test]
fn without_limits_everything_passes_and_is_counted() {
    let mut scene = Scene::new(None, &[(ONE, KeyLimits::default())]);
    let leg = scene.leg(ONE);
    assert_eq!(scene.send(4, [(&leg, 50_000_000)]), [50_000_000]);
    assert_eq!(scene.book.usage(ONE).month_bytes, 200_000_000);
    assert!(near(scene.book.usage(ONE).rate, 50_000_000));
}

#[test]
fn a_full_host_gives_fair_shares_and_the_sparse_lose_nothing() {
    let free = KeyLimits::default();
    let mut scene = Scene::new(Some(80), &[(ONE, free), (OTHER, free)]);
    let [greedy, flood, sparse] = [ONE, OTHER, OTHER].map(|key| scene.leg(key));
    let load = [
        (&*greedy, 20_000_000),
        (&*flood, 100_000_000),
        (&*sparse, 200_000),
    ];
    // Two seconds are given to finding the level.
    scene.send(2, load);
    let [a, b, c] = scene.send(8, load);
    assert!(near(a, 5_000_000) && near(b, 4_800_000), "{a} {b}");
    assert_eq!(c, 200_000);
}

#[test]
fn a_key_with_many_legs_takes_nothing_from_the_one_leg_of_another() {
    let free = KeyLimits::default();
    let mut scene = Scene::new(Some(80), &[(ONE, free), (OTHER, free)]);
    let one = scene.leg(ONE);
    let many = [(); 9].map(|()| scene.leg(OTHER));
    let mut load = [(&*one, 8_000_000); 10];
    for (place, leg) in load[1..].iter_mut().zip(&many) {
        place.0 = leg;
    }
    scene.send(2, load);
    let passed = scene.send(8, load);
    assert!(near(passed[0], 5_000_000), "{passed:?}");
    let others: u64 = passed[1..].iter().sum();
    assert!(near(others, 5_000_000), "{passed:?}");
}

#[test]
fn a_key_with_a_low_bound_leaves_the_rest_of_the_host_to_others() {
    let mut scene = Scene::new(Some(80), &[(ONE, mbit(8)), (OTHER, KeyLimits::default())]);
    let [one, other] = [ONE, OTHER].map(|key| scene.leg(key));
    let load = [(&*one, 20_000_000), (&*other, 20_000_000)];
    scene.send(2, load);
    let [a, b] = scene.send(8, load);
    assert!(near(a, 1_000_000) && near(b, 9_000_000), "{a} {b}");
}

#[test]
fn one_that_begins_on_a_full_host_gets_its_share_and_gives_it_back() {
    let mut scene = Scene::new(Some(80), &[(ONE, KeyLimits::default())]);
    let [first, second] = [ONE, ONE].map(|key| scene.leg(key));
    let alone = [(&*first, 50_000_000)];
    let both = [(&*first, 50_000_000), (&*second, 50_000_000)];
    scene.send(2, alone);
    assert!(near(scene.send(4, alone)[0], 10_000_000));
    scene.send(2, both);
    let [a, b] = scene.send(8, both);
    assert!(near(a, 5_000_000) && near(b, 5_000_000), "{a} {b}");
    scene.send(4, alone);
    assert!(near(scene.send(4, alone)[0], 10_000_000));
}

#[test]
fn a_key_gets_no_more_than_its_bandwidth_and_others_do_not_feel_it() {
    let mut scene = Scene::new(None, &[(ONE, mbit(8)), (OTHER, KeyLimits::default())]);
    let [one, two, other] = [ONE, ONE, OTHER].map(|key| scene.leg(key));
    let load = [(&*one, 8_000_000), (&*two, 8_000_000), (&*other, 8_000_000)];
    scene.send(2, load);
    let [a, b, c] = scene.send(8, load);
    assert!(near(a, 500_000) && near(b, 500_000), "{a} {b}");
    assert_eq!(c, 8_000_000);
}

#[test]
fn a_month_that_is_used_up_slows_new_legs_until_the_next_one_and_leaves_those_that_run() {
    let limits = KeyLimits {
        relay_gib_month: Some(1),
        ..KeyLimits::default()
    };
    let mut scene = Scene::new(None, &[(ONE, limits)]);
    let running = scene.leg(ONE);
    scene.send(9, [(&running, 100_000_000)]);
    assert_eq!(scene.book.poll_notice(), Some(Notice::Nearly(ONE)));
    scene.send(3, [(&running, 100_000_000)]);
    assert_eq!(scene.book.poll_notice(), Some(Notice::UsedUp(ONE)));
    assert_eq!(scene.book.poll_notice(), None);
    let late = scene.leg(ONE);
    let [a, b] = scene.send(20, [(&running, 1_000_000), (&late, 1_000_000)]);
    assert_eq!(a, 1_000_000);
    assert!(near(b, SLOW), "{b}");
    scene.unix_s = 40 * 86_400;
    scene.send(1, [(&running, 1_000_000)]);
    let next_month = scene.leg(ONE);
    let both = [(&*next_month, 1_000_000), (&*late, 1_000_000)];
    assert_eq!(scene.send(4, both), [1_000_000; 2]);
}

#[test]
fn legs_of_a_month_that_is_used_up_are_slow_no_longer_once_their_key_may_relay_more() {
    let limits = |gib: u64| KeyLimits {
        relay_gib_month: Some(gib),
        ..KeyLimits::default()
    };
    let mut scene = Scene::new(None, &[(ONE, limits(1))]);
    let running = scene.leg(ONE);
    scene.send(12, [(&running, 100_000_000)]);
    let late = scene.leg(ONE);
    for (gib, own) in [(1, SLOW), (2, UNBOUNDED)] {
        scene.book.set_keys(&KeyRing::of(&[(ONE, limits(gib))]), 0);
        assert_eq!(late.terms().1, own);
    }
    assert_eq!(scene.send(4, [(&late, 1_000_000)]), [1_000_000]);
}

#[test]
fn leg_that_is_slow_by_itself_leaves_what_it_cannot_use_to_others() {
    let limits = KeyLimits {
        relay_gib_month: Some(1),
        ..KeyLimits::default()
    };
    let mut scene = Scene::new(Some(80), &[(ONE, limits), (OTHER, KeyLimits::default())]);
    let before = scene.leg(ONE);
    scene.send(120, [(&before, 10_000_000)]);
    let (slow, other) = (scene.leg(ONE), scene.leg(OTHER));
    assert_eq!(slow.terms().1, SLOW);
    let load = [(&*slow, 20_000_000), (&*other, 20_000_000)];
    scene.send(4, load);
    let [a, b] = scene.send(8, load);
    assert!(near(a, SLOW) && near(b, 10_000_000 - SLOW), "{a} {b}");
}

#[test]
fn a_month_goes_on_after_a_restart_and_when_the_clock_is_set() {
    let keys = [(ONE, KeyLimits::default())];
    let mut scene = Scene::new(None, &keys);
    let (january, february) = (Month::of(0), Month::of(40 * 86_400));
    scene.book.restore(vec![(january, vec![(ONE, 7_000)])]);
    let leg = scene.leg(ONE);
    scene.send(1, [(&leg, 4_000)]);
    assert_eq!(scene.book.used(), [(january, vec![(ONE, 11_000)])]);
    // Forward by mistake, and back.
    scene.unix_s = 40 * 86_400;
    scene.send(1, [(&leg, 4_000)]);
    assert_eq!(scene.book.usage(ONE).month_bytes, 4_000);
    scene.unix_s = 0;
    scene.send(1, [(&leg, 4_000)]);
    assert_eq!(scene.book.usage(ONE).month_bytes, 15_000);
    let used = scene.book.used();
    assert_eq!(used[0], (january, vec![(ONE, 15_000)]));
    assert_eq!(used[1], (february, vec![(ONE, 4_000)]));
    let mut again = Book::new(scene.began, 40 * 86_400, None);
    again.set_keys(&KeyRing::of(&keys), 0);
    again.restore(used);
    assert_eq!(again.usage(ONE).month_bytes, 4_000);
}

#[test]
fn month_that_is_used_up_is_over_when_the_clock_comes_back_from_years_ahead() {
    let limits = KeyLimits {
        relay_gib_month: Some(1),
        ..KeyLimits::default()
    };
    let mut scene = Scene::new(None, &[(ONE, limits)]);
    scene.unix_s = 3_650 * 86_400;
    let leg = scene.leg(ONE);
    scene.send(12, [(&leg, 100_000_000)]);
    for unix_s in [0, 40 * 86_400] {
        scene.unix_s = unix_s;
        scene.send(1, []);
    }
    let next_month = scene.leg(ONE);
    assert_eq!(scene.send(4, [(&next_month, 1_000_000)]), [1_000_000]);
}

#[test]
fn sessions_that_end_before_the_books_are_settled_count_as_long_ones_do() {
    let mut scene = Scene::new(None, &[(ONE, KeyLimits::default())]);
    for _ in 0..100 {
        let leg = scene.leg(ONE);
        assert!(leg.admits(0, 1_000));
        drop(leg);
    }
    scene.send(1, []);
    assert_eq!(scene.book.usage(ONE).month_bytes, 100_000);
}

#[test]
fn legs_of_a_key_that_is_no_more_send_nothing_and_others_go_on() {
    let keys = [(ONE, KeyLimits::default()), (OTHER, KeyLimits::default())];
    let mut scene = Scene::new(None, &keys);
    let [one, other] = [ONE, OTHER].map(|key| scene.leg(key));
    scene.book.set_keys(&KeyRing::of(&keys[1..]), 0);
    let passed = scene.send(1, [(&one, 1_000_000), (&other, 1_000_000)]);
    assert_eq!(passed, [0, 1_000_000]);
}

#[test]
fn a_leg_that_nobody_holds_is_forgotten() {
    let mut scene = Scene::new(None, &[(ONE, KeyLimits::default())]);
    let meters = scene.book.open([ONE; 2]);
    assert_eq!(scene.book.legs.len(), 2);
    drop(meters);
    scene.send(1, []);
    assert!(scene.book.legs.is_empty());
}

#[test]
fn limits_of_a_guest_hold_after_a_restart_and_when_keys_are_read_again() {
    let mut scene = Scene::new(None, &[]);
    scene.book.restore(vec![(Month::of(0), vec![(ONE, 1_000)])]);
    let terms = Terms {
        key: ONE,
        mbit: Some(8),
        gib_month: None,
        sessions: None,
    };
    let [leg, _] = scene.book.open_guest([terms; 2]);
    scene.book.set_keys(&KeyRing::of(&[]), 0);
    let load = [(&*leg, 8_000_000)];
    scene.send(2, load);
    assert!(near(scene.send(8, load)[0], 1_000_000));
    assert!(scene.book.usage(ONE).month_bytes > 1_000);
}

#[test]
fn leg_that_was_carried_over_sends_nothing_if_its_key_is_none_of_this_hosts() {
    let mut scene = Scene::new(None, &[]);
    scene.book.restore(vec![(Month::of(0), vec![(ONE, 1_000)])]);
    let leg = scene.book.reopen((ONE, UNBOUNDED));
    assert_eq!(scene.send(1, [(&leg, 1_000_000)]), [0]);
}

#[test]
fn key_sends_its_part_of_what_all_nodes_may_relay_and_its_month_ends_with_what_others_have_relayed()
{
    let limits = KeyLimits {
        relay_mbit: Some(8),
        relay_gib_month: Some(4),
        ..KeyLimits::default()
    };
    let mut scene = Scene::new(None, &[(ONE, limits)]);
    scene.book.share_with(4);
    let leg = scene.leg(ONE);
    let load = [(&*leg, 8_000_000)];
    // Before the others are heard of, a quarter.
    scene.send(2, load);
    assert!(near(scene.send(8, load)[0], 250_000));
    let now = |scene: &Scene| scene.book.settled;
    let hear = |scene: &mut Scene, part: u64, gib: u64| {
        let account = Account {
            key: ONE,
            kind: Kind::Relay,
        };
        let parts = Parts {
            asked: now(scene),
            parts: HashMap::from([(account, part)]),
            month: Month::of(0).number(),
            relayed_elsewhere: HashMap::from([(ONE, gib * GIB)]),
        };
        scene.book.on_parts(now(scene), parts);
    };
    hear(&mut scene, 750_000, 3);
    scene.send(2, load);
    assert!(near(scene.send(6, load)[0], 750_000));
    let (month, relayed) = scene.book.relayed();
    assert_eq!(month, Month::of(0).number());
    assert_eq!(relayed[&ONE], scene.book.usage(ONE).month_bytes);
    // What is left of four, with three elsewhere, is not used up; with four elsewhere it is.
    assert_eq!(scene.leg(ONE).terms().1, UNBOUNDED);
    hear(&mut scene, 750_000, 4);
    assert_eq!(scene.leg(ONE).terms().1, SLOW);
    // Cut off with one GiB left, each of the four takes a quarter of that by itself, and no more.
    hear(&mut scene, 750_000, 3);
    scene.send(12, [(&*leg, 0)]);
    assert_eq!(scene.leg(ONE).terms().1, UNBOUNDED);
    let used = scene.book.usage(ONE).month_bytes;
    scene.book.accounts.get_mut(&ONE).unwrap().usage.month_bytes = used + GIB / 4;
    assert_eq!(scene.leg(ONE).terms().1, SLOW);
}

#[test]
fn what_others_have_relayed_in_the_month_before_makes_no_session_of_this_one_slow() {
    let limits = KeyLimits {
        relay_gib_month: Some(4),
        ..KeyLimits::default()
    };
    let mut scene = Scene::new(None, &[(ONE, limits)]);
    scene.book.share_with(2);
    let later = scene.book.settled + Duration::from_secs(1);
    scene.book.settle(later, 32 * 86_400);
    for (month, own) in [(Month::of(0), UNBOUNDED), (Month::of(32 * 86_400), SLOW)] {
        let parts = Parts {
            asked: later,
            parts: HashMap::new(),
            month: month.number(),
            relayed_elsewhere: HashMap::from([(ONE, 4 * GIB)]),
        };
        scene.book.on_parts(later, parts);
        assert_eq!(scene.leg(ONE).terms().1, own);
    }
}

#[test]
fn legs_that_began_slow_before_the_other_nodes_were_heard_of_are_so_no_longer_once_they_are() {
    let limits = KeyLimits {
        relay_gib_month: Some(4),
        ..KeyLimits::default()
    };
    let mut scene = Scene::new(None, &[(ONE, limits)]);
    scene.book.share_with(2);
    let running = scene.leg(ONE);
    // By itself it takes no more than one of two equal parts for its own.
    scene.send(25, [(&running, 100_000_000)]);
    let late = scene.leg(ONE);
    assert_eq!(late.terms().1, SLOW);
    scene.book.on_parts(
        scene.book.settled,
        Parts {
            asked: scene.book.settled,
            parts: HashMap::new(),
            month: Month::of(0).number(),
            relayed_elsewhere: HashMap::new(),
        },
    );
    scene.send(1, [(&late, 1_000)]);
    assert_eq!(late.terms().1, UNBOUNDED);
}
