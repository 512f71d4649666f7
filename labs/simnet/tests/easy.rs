//! NATs whose mapping does not depend on the destination, against each other.

use std::time::Duration;

use p2pdbg_simnet::{NatKind, Scenario};

const EASY: [NatKind; 5] = [
    NatKind::NONE,
    NatKind::FIREWALL,
    NatKind::FULL_CONE,
    NatKind::ADDRESS_RESTRICTED,
    NatKind::PORT_RESTRICTED,
];

#[test]
fn every_easy_pair_goes_direct_within_three_round_trips() {
    for a in EASY {
        for b in EASY {
            for rtt in [40, 200].map(Duration::from_millis) {
                for seed in 0..25 {
                    let outcome = Scenario::new(a, b)
                        .rtt(rtt)
                        .seed(seed)
                        .run(Duration::from_secs(20));
                    let case = format!("{a} / {b}, {rtt:?}, seed {seed}: {outcome:?}");
                    let after = outcome.direct.unwrap_or_else(|| panic!("{case}"));
                    assert!(after <= rtt * 3, "{case}");
                    assert!(outcome.carries, "{case}");
                }
            }
        }
    }
}

#[test]
fn every_easy_pair_goes_direct_with_five_percent_loss() {
    for a in EASY {
        for b in EASY {
            for rtt in [40, 200].map(Duration::from_millis) {
                for seed in 0..25 {
                    let outcome = Scenario::new(a, b)
                        .rtt(rtt)
                        .loss(0.05)
                        .seed(seed)
                        .run(Duration::from_secs(20));
                    assert!(
                        outcome.direct.is_some() && outcome.carries,
                        "{a} / {b}, {rtt:?}, seed {seed}: {outcome:?}"
                    );
                }
            }
        }
    }
}
