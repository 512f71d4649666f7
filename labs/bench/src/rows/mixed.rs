//! Row 3: a debugger that steps while a heap dump is under way.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use p2pdbg_natlab::Impairments;

use super::{
    Context,
    names::{UNDER_BULK, UNDER_BULK_SHAPED},
};
use crate::{
    contenders::{Contender, Kind},
    results::Row,
    site::Site,
    stats::percentile,
    traffic::{self, Way},
};

/// Where and for how long it is measured.
#[derive(Clone, Copy)]
struct Case {
    /// The table of the round trips.
    table: &'static str,
    /// The table of what passed beside them.
    beside: &'static str,
    /// How long a round of one way takes.
    round: Duration,
    /// Until the pouring is in full flow.
    begins: Duration,
    /// Bytes asked for at a time.
    portion: usize,
    /// Messages that are sent before the pouring begins, to know what it adds.
    alone: usize,
}

const VETH: Case = Case {
    table: UNDER_BULK,
    beside: "Gbit/s beside it, about",
    round: Duration::from_millis(1_500),
    begins: Duration::from_millis(200),
    portion: 64 << 20,
    alone: 50,
};

/// Of 100 Mbit/s, with a round trip of 20 ms.
const SHAPED: Case = Case {
    table: UNDER_BULK_SHAPED,
    beside: "Gbit/s beside it, 100 Mbit/s, RTT 20 ms",
    round: Duration::from_secs(5),
    begins: Duration::from_secs(2),
    portion: 8 << 20,
    alone: 50,
};

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "two connections of one session, one pouring from the debuggee's end all the time; each way in turns; on a \
               veth, and on a shaped link with a queue of twice what fits into the path";
    let mut row = Row::new(3, "Ping-pong under bulk", how);
    let rounds = context.rounds(4, 2);
    let near = context.near()?;
    for _ in 0..rounds {
        for contender in &near.contenders {
            measure(&mut row, &near.site, contender, VETH)?;
        }
    }
    let site = Site::far(&context.tools, Impairments::NONE, Duration::ZERO)?;
    let link = Impairments::delayed(Duration::from_millis(10))
        .with_rate(100_000_000)
        .with_queue(500_000);
    site.debuggee.link().impair(link)?;
    let other = context.tools.other.is_some();
    let mut kinds = vec![Kind::Raw, Kind::Ssh, Kind::Direct];
    kinds.push(if other { Kind::Other } else { Kind::Dumbpipe });
    let contenders = Contender::all(&site, &kinds, site.service);
    for _ in 0..context.rounds(3, 1) {
        for contender in &contenders {
            measure(&mut row, &site, contender, SHAPED)?;
        }
    }
    Ok(row)
}

fn measure(row: &mut Row, site: &Site, contender: &Contender, case: Case) -> Result<()> {
    let mut steps = contender.connect(site)?;
    let mut dump = contender.connect(site)?;
    let mut alone = traffic::ping(&mut steps, 200, case.alone)?;
    alone.sort_by(f64::total_cmp);
    let over = AtomicBool::new(false);
    let (took, moved) = std::thread::scope(|scope| {
        let pouring = scope.spawn(|| {
            let began = Instant::now();
            let mut moved = 0;
            while !over.load(Ordering::Relaxed) {
                traffic::bulk(&mut dump, Way::Down, case.portion)?;
                moved += case.portion;
            }
            Ok::<_, std::io::Error>((moved, began.elapsed()))
        });
        std::thread::sleep(case.begins);
        let began = Instant::now();
        let took = traffic::ping_until(&mut steps, 200, || began.elapsed() > case.round);
        over.store(true, Ordering::Relaxed);
        (took, pouring.join())
    });
    let mut took = took?;
    took.sort_by(f64::total_cmp);
    let name = contender.kind.name();
    for (column, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0)] {
        row.add(case.table, name, column, percentile(&took, percent));
    }
    let added = percentile(&took, 99.0) - percentile(&alone, 50.0);
    row.add(case.table, name, "added p99", added);
    let moved = moved.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    let (bytes, time) = moved?;
    row.add(case.beside, name, "bulk", traffic::gbits(bytes, time));
    Ok(())
}
