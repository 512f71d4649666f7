//! Row 1: how long a message and its answer take.

use anyhow::Result;

use super::{
    Context,
    names::{PING_2K, PING_200, PING_COST},
};
use crate::{contenders::Kind, results::Row, stats::percentile, traffic};

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "one connection on a veth, one message at a time; each way in turns, a median over rounds of 2,000 messages. \
               Processor time is that of all programs that carry, at both ends and between";
    let mut row = Row::new(1, "Ping-pong", how);
    let (rounds, count) = (context.rounds(9, 3), context.rounds(2_000, 1_000));
    let near = context.near()?;
    let mut connections = Vec::new();
    for contender in &near.contenders {
        let mut stream = contender.connect(&near.site)?;
        traffic::ping(&mut stream, 200, 300)?;
        connections.push((contender, stream));
    }
    for _ in 0..rounds {
        for (contender, stream) in &mut connections {
            for (table, size, bytes) in [(PING_200, 200, "200 B"), (PING_2K, 2_000, "2 KB")] {
                let (line, before) = (contender.kind.name(), contender.cpu()?);
                let mut took = traffic::ping(stream, size, count)?;
                took.sort_by(f64::total_cmp);
                for (name, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0)] {
                    row.add(table, line, name, percentile(&took, percent));
                }
                if contender.kind != Kind::Raw {
                    let cost = (contender.cpu()? - before) * 1e6 / count as f64;
                    row.add(PING_COST, line, bytes, cost);
                }
            }
        }
    }
    Ok(row)
}
