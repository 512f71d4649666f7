//! The claim of this crate: whatever the tunnels do, exactly the bytes that were written come out, and then the end.

mod simulator;

use p2pdbg_ledger::{Budget, EndKind, Limits, ResetCode};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use simulator::{Seen, Step, World};

/// Limits small enough that they, their growth and the budget are met all the time, and what happens.
#[derive(Debug, Clone)]
struct Story {
    limits: Limits,
    budget: usize,
    steps: Vec<Step>,
    receiver_notices: bool,
}

impl Story {
    fn run(&self) -> Seen {
        let mut world = World::new(self.limits, Budget::new(self.budget));
        for step in &self.steps {
            world.step(*step);
        }
        world.finish(self.receiver_notices)
    }
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..300usize, 2 => 1..20_000usize, 1 => Just(usize::MAX)]
}

fn end_kind() -> impl Strategy<Value = EndKind> {
    prop_oneof![
        Just(EndKind::Fin),
        any::<u8>().prop_map(|code| EndKind::Reset(ResetCode(code))),
    ]
}

/// Which of the existing ones, counted from the newest.
fn choice() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0..3usize, 1 => 0..20usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => length().prop_map(Step::Write),
        3 => length().prop_map(Step::WriteLate),
        1 => Just(Step::OpenTunnel),
        3 => choice().prop_map(Step::Attach),
        10 => (length(), any::<bool>()).prop_map(|(most, many)| Step::Transmit { most, many }),
        3 => length().prop_map(|most| Step::TransmitLate { most }),
        14 => (choice(), length()).prop_map(|(carrier, count)| Step::Arrive { carrier, count }),
        14 => (choice(), length()).prop_map(|(carrier, most)| Step::Read { carrier, most }),
        6 => length().prop_map(Step::Consume),
        2 => Just(Step::Timer),
        5 => (choice(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(tunnel, to_sender, twice)| Step::Control { tunnel, to_sender, twice }),
        1 => choice().prop_map(Step::Kill),
        1 => choice().prop_map(Step::SenderNotices),
        1 => choice().prop_map(Step::ReceiverNotices),
        1 => Just(Step::SenderSeesRefusals),
        1 => any::<bool>().prop_map(|sender| Step::Reannounce { sender }),
    ]
}

/// Many steps, among which the local program ends somewhere, or not.
fn story() -> impl Strategy<Value = Story> {
    let steps = prop::collection::vec(step(), 0..400);
    let end = prop::option::of((end_kind(), any::<prop::sample::Index>()));
    let initial = (128..=300usize).prop_map(|initial| initial << 10);
    let budget = prop::sample::select(vec![0, 64 << 10, 200 << 10]);
    (steps, end, initial, budget, any::<bool>()).prop_map(
        |(mut steps, end, initial, budget, receiver_notices)| {
            if let Some((kind, at)) = end {
                steps.insert(at.index(steps.len() + 1), Step::Close(kind));
            }
            steps.insert(0, Step::OpenTunnel);
            let limits = Limits {
                guaranteed: 128 << 10,
                initial,
                max: 500 << 10,
            };
            Story {
                limits,
                budget,
                steps,
                receiver_notices,
            }
        },
    )
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    config.max_shrink_iters = 200_000;
    // The default generator takes most of the time in a debug build.
    config.rng_algorithm = RngAlgorithm::XorShift;
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 1_500;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_tunnels_do_exactly_the_bytes_written_arrive_and_then_the_end(story in story()) {
        story.run();
    }

    #[test]
    fn a_receiver_that_wants_no_more_lets_both_ends_finish(
        mut story in story(),
        at in any::<prop::sample::Index>(),
    ) {
        story.steps.insert(at.index(story.steps.len() + 1), Step::Stop);
        story.run();
    }
}

/// The model is worth nothing if its steps never reach what is difficult.
#[test]
fn the_steps_reach_every_rare_case() {
    let mut runner =
        TestRunner::new_with_rng(config(), TestRng::deterministic_rng(RngAlgorithm::XorShift));
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for _ in 0..1_500 {
        let story = story().new_tree(&mut runner).unwrap().current();
        let Seen {
            lost,
            repeated,
            ahead,
            two_readable,
            displaced,
            overtaken,
            skipped,
            opened_by_end,
            replies,
            grown,
            out_of_budget,
        } = story.run();
        let run = [
            ("lost", lost),
            ("repeated", repeated),
            ("ahead", ahead),
            ("two_readable", two_readable),
            ("displaced", displaced),
            ("overtaken", overtaken),
            ("skipped", skipped),
            ("opened_by_end", opened_by_end),
            ("replies", replies),
            ("grown", grown),
            ("out_of_budget", out_of_budget),
        ];
        if seen.is_empty() {
            seen = run.map(|(name, _)| (name, 0)).to_vec();
        }
        for (total, (_, count)) in seen.iter_mut().zip(run) {
            total.1 += usize::from(count > 0);
        }
    }
    println!("runs of 1500 that met it: {seen:?}");
    let missed: Vec<_> = seen.iter().filter(|(_, runs)| *runs < 5).collect();
    assert!(
        missed.is_empty(),
        "met in fewer than 5 runs of 1500: {missed:?}"
    );
}
