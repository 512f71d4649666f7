//! A small sample of the simulated internet, with floors that hold with a margin; `--example internet` has the figures.

use std::time::Duration;

use p2pdbg_punch::Budget;
use p2pdbg_simnet::{
    population::Mix,
    survey::{Survey, quantile},
};

/// Asserts what holds for every pair of any mix, whether it went direct or not.
fn assert_within_the_caps(survey: &Survey) {
    let budget = Budget::default();
    for fate in survey.fates() {
        assert_eq!(fate.carries, fate.direct.is_some(), "{fate:?}");
        assert_eq!(fate.lasts, fate.direct.is_some(), "{fate:?}");
        assert!(fate.sockets <= 2 + budget.search_sockets, "{fate:?}");
        let most = u64::from(budget.packets_per_attempt);
        assert!(fate.packets.iter().all(|&sent| sent <= most), "{fate:?}");
        assert!(fate.direct.is_some() || fate.why.is_some(), "{fate:?}");
    }
}

#[test]
fn more_than_nine_in_ten_pairs_go_direct_where_udp_passes() {
    let survey = Survey::of(&Mix::PUBLISHED, 0..500);
    assert_within_the_caps(&survey);
    let udp = survey.those(|fate| fate.udp);
    assert!(udp.direct() >= 0.95, "{}", udp.direct());
    let times = udp.times();
    assert!(quantile(&times, 0.5) <= Some(Duration::from_millis(300)));
    assert!(quantile(&times, 0.97) <= Some(Duration::from_secs(4)));
    let by_tcp = survey.those(|fate| !fate.udp);
    assert!(by_tcp.direct() >= 0.4, "{}", by_tcp.direct());
    // Where the other end has port 443, and nothing looks inside.
    let web = by_tcp.those(|fate| fate.web_only).direct();
    assert!(web > 0.0 && web < 0.5, "{web}");
}

#[test]
fn four_in_five_still_do_where_all_that_is_uncertain_turns_out_for_the_worse() {
    let survey = Survey::of(&Mix::PESSIMISTIC, 0..250);
    assert_within_the_caps(&survey);
    let udp = survey.those(|fate| fate.udp);
    assert!(udp.direct() >= 0.82, "{}", udp.direct());
    // Where only one end is hard, it is no question of luck.
    let one = udp.those(|fate| fate.hard < 2);
    assert!(one.direct() >= 0.96, "{}", one.direct());
}

/// Of 70,000 pairs these two had a path that carried nothing. One was looked at while the two ends went over from one
/// path to another, one after the other; the other's connection lost one segment in seven, and repeated each after a
/// time that doubled, since those behind it told nothing.
#[test]
fn two_pairs_whose_paths_seemed_to_carry_nothing_have_one_that_does() {
    for (mix, seed) in [(&Mix::PUBLISHED, 29_955), (&Mix::PESSIMISTIC, 6_776)] {
        assert_within_the_caps(&Survey::of(mix, [seed]));
    }
}
