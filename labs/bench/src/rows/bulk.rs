//! Row 2: how much gets through.

use anyhow::Result;

use super::{
    Context,
    names::{BULK, BULK_COST},
};
use crate::{
    contenders::Kind,
    results::Row,
    traffic::{self, Way, bulk_all},
};

/// About how long one measurement takes, in seconds.
const ABOUT: f64 = 0.7;

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "on a veth; as many bytes as take about 0.7 s, until the last is known to have arrived; each way in turns. \
               Processor time is that of all programs that carry, at both ends and between";
    let mut row = Row::new(2, "Bulk", how);
    let rounds = context.rounds(5, 3);
    let near = context.near()?;
    let mut connections = Vec::new();
    for contender in &near.contenders {
        let mut streams = Vec::new();
        for _ in 0..8 {
            streams.push(contender.connect(&near.site)?);
        }
        // What a stream may have in flight grows with use.
        traffic::bulk(&mut streams[0], Way::Up, 64 << 20)?;
        let took = traffic::bulk(&mut streams[0], Way::Up, 32 << 20)?;
        let length = (ABOUT / took.as_secs_f64() * f64::from(32 << 20)) as usize;
        connections.push((contender, streams, length));
    }
    for _ in 0..rounds {
        for (contender, streams, length) in &mut connections {
            for (column, count, way) in [
                ("one stream, up", 1, Way::Up),
                ("one stream, down", 1, Way::Down),
                ("eight streams, up", 8, Way::Up),
                ("eight streams, down", 8, Way::Down),
            ] {
                let (name, before) = (contender.kind.name(), contender.cpu()?);
                let rate = bulk_all(&mut streams[..count], way, *length / count)?;
                row.add(BULK, name, column, rate);
                if contender.kind != Kind::Raw {
                    let mib = *length as f64 / f64::from(1 << 20);
                    let cost = (contender.cpu()? - before) * 1e3 / mib;
                    row.add(BULK_COST, name, column, cost);
                }
            }
        }
    }
    Ok(row)
}
