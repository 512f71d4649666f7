//! Row 10: a bottleneck that is shared with TCP.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, Result};
use p2pdbg_natlab::Impairments;

use super::Context;
use crate::{
    contenders::{Contender, Kind},
    results::Row,
    site::Site,
    stats::percentile,
    traffic,
};

const RATE: u64 = 50_000_000;
const DELAY: Duration = Duration::from_millis(20);

/// What fits into the path, in bytes: a round trip of the rate.
const FITS: usize = 250_000;

/// How long both have to find their shares, and how long these are then measured.
const SETTLE: Duration = Duration::from_secs(6);
const MEASURE: Duration = Duration::from_secs(12);

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "50 Mbit/s, RTT 40 ms, a buffer before the link of so many times what fits into the path; both carry bulk \
               from the debuggee's end for 18 s, of which the last 12 count. Jain's index: 1 is half each, 0.5 all for one";
    let mut row = Row::new(10, "A shared bottleneck", how);
    for room in [0.5, 1.0, 2.0, 4.0] {
        let site = Site::far(&context.tools, Impairments::NONE, Duration::ZERO)?;
        let link = Impairments::delayed(DELAY)
            .with_rate(RATE)
            .with_queue((room * FITS as f64) as usize);
        site.debuggee.link().impair(link)?;
        let contenders = Contender::all(&site, &[Kind::Direct], site.service);
        let ours = contenders.first().context("p2pdbg does not run")?;
        let column = format!("buffer × {room}");
        alone(&site, ours, &mut row, &column)?;
        for other in ["cubic", "bbr"] {
            let port = traffic::serve(&site.debuggee, Some(other))?;
            let mut streams = [
                ours.connect(&site)?,
                site.connect(site.debuggee.ip(), port)?,
            ];
            let rates = traffic::pour_beside(&mut streams, SETTLE, MEASURE)?;
            let [ours, theirs] = rates[..] else {
                continue;
            };
            let jain = (ours + theirs).powi(2) / (2.0 * (ours * ours + theirs * theirs));
            row.add("Jain's index", &format!("beside {other}"), &column, jain);
            let who = format!("p2pdbg beside {other}");
            row.add("Mbit/s", &who, &column, ours);
            row.add("Mbit/s", &format!("{other} beside it"), &column, theirs);
        }
    }
    Ok(row)
}

/// p2pdbg alone: what it carries, and how long somebody else's message takes meanwhile.
fn alone(site: &Site, ours: &Contender, row: &mut Row, column: &str) -> Result<()> {
    let mut streams = [ours.connect(site)?];
    let mut other = site.connect(site.debuggee.ip(), site.service)?;
    let done = AtomicBool::new(false);
    let (rates, pings) = std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            std::thread::sleep(SETTLE);
            traffic::ping_until(&mut other, 200, || done.load(Relaxed))
        });
        let rates = traffic::pour_beside(&mut streams, SETTLE, MEASURE);
        done.store(true, Relaxed);
        (rates, pings.join())
    });
    let mut took = pings.ok().context("the messages panicked")??;
    took.sort_by(f64::total_cmp);
    if let [rate] = rates?[..] {
        row.add("Mbit/s", "p2pdbg alone", column, rate);
    }
    let queued = "raw TCP, 200 B there and back beside p2pdbg's bulk alone, ms";
    row.add(queued, "p50", column, percentile(&took, 50.0) / 1e3);
    row.add(queued, "p99", column, percentile(&took, 99.0) / 1e3);
    Ok(())
}
