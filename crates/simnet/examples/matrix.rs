//! Scratch: success and times by pair.
use std::time::Duration;

use p2pdbg_simnet::{NatConfig, NatKind, Scenario};

fn main() {
    let seeds: u64 = std::env::args()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(20);
    let only = std::env::args().nth(2);
    let kinds: Vec<(String, NatConfig)> = vec![
        ("none".into(), NatKind::NONE.into()),
        ("pr".into(), NatKind::PORT_RESTRICTED.into()),
        ("seq1".into(), NatKind::SYMMETRIC_SEQUENTIAL.into()),
        ("seq2".into(), NatKind::symmetric_sequential(2).into()),
        (
            "seq1+20".into(),
            NatConfig::from(NatKind::SYMMETRIC_SEQUENTIAL).with_foreign(20.0),
        ),
        ("block".into(), NatKind::SYMMETRIC_BLOCK.into()),
        ("random".into(), NatKind::SYMMETRIC_RANDOM.into()),
    ];
    for (an, a) in &kinds {
        for (bn, b) in &kinds {
            let name = format!("{an}/{bn}");
            if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
                continue;
            }
            for (rtt, loss) in [(40, 0.0), (200, 0.05)] {
                let mut times = Vec::new();
                let mut packets = 0;
                let mut techniques = std::collections::BTreeMap::new();
                for seed in 0..seeds {
                    let o = Scenario::new(*a, *b)
                        .rtt(Duration::from_millis(rtt))
                        .loss(loss)
                        .seed(seed)
                        .run(Duration::from_secs(20));
                    packets += o.packets[0] + o.packets[1];
                    if let Some(d) = o.direct {
                        if !o.carries && loss == 0.0 {
                            println!("NOT CARRIED {name} seed {seed} {o:?}");
                        }
                        times.push(d.as_millis());
                        *techniques.entry(o.technique.map(|t| t[0])).or_insert(0) += 1;
                    }
                }
                times.sort_unstable();
                let q = |p: f64| {
                    times
                        .get(((times.len() as f64 * p) as usize).min(times.len().saturating_sub(1)))
                        .copied()
                };
                println!(
                    "{name:18} rtt {rtt:3} loss {loss:.2}: {:3.0} %  p50 {:?} p97 {:?} max {:?} packets {} {:?}",
                    100.0 * times.len() as f64 / seeds as f64,
                    q(0.5),
                    q(0.97),
                    times.last(),
                    packets / seeds,
                    techniques
                );
            }
        }
    }
}
