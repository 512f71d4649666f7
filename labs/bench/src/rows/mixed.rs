//! Row 3: a debugger that steps while a heap dump is under way.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Result;

use super::{Context, names::UNDER_BULK};
use crate::{
    results::Row,
    stats::percentile,
    traffic::{self, Way},
};

/// How long a round of one way takes.
const ROUND: Duration = Duration::from_millis(1_500);

/// Bytes asked for at a time.
const PORTION: usize = 64 << 20;

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "on a veth; two connections of one session, one pouring from the debuggee's end all the time; each way in turns";
    let mut row = Row::new(3, "Ping-pong under bulk", how);
    let rounds = context.rounds(4, 2);
    let near = context.near()?;
    for _ in 0..rounds {
        for carrier in &near.carriers {
            let mut steps = carrier.connect(&near.site)?;
            let mut dump = carrier.connect(&near.site)?;
            traffic::ping(&mut steps, 200, 50)?;
            let over = AtomicBool::new(false);
            let (took, moved) = std::thread::scope(|scope| {
                let pouring = scope.spawn(|| {
                    let mut moved = 0;
                    while !over.load(Ordering::Relaxed) {
                        traffic::bulk(&mut dump, Way::Down, PORTION)?;
                        moved += PORTION;
                    }
                    Ok::<_, std::io::Error>(moved)
                });
                // Until the pouring is in full flow.
                std::thread::sleep(Duration::from_millis(200));
                let began = std::time::Instant::now();
                let took = traffic::ping_until(&mut steps, 200, || began.elapsed() > ROUND);
                over.store(true, Ordering::Relaxed);
                (took, pouring.join())
            });
            let mut took = took?;
            took.sort_by(f64::total_cmp);
            for (name, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0)] {
                row.add(
                    UNDER_BULK,
                    carrier.kind.name(),
                    name,
                    percentile(&took, percent),
                );
            }
            let moved = moved.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            let whole = ROUND + Duration::from_millis(200);
            row.add(
                "Gbit/s beside it, about",
                carrier.kind.name(),
                "bulk",
                traffic::gbits(moved, whole),
            );
        }
    }
    Ok(row)
}
