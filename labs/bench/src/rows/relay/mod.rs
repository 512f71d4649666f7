//! Row 7: the relay by itself.

mod first_byte;
mod legs;
mod load;
mod ping;

use std::net::SocketAddr;

use anyhow::Result;
use p2pdbg_proto::url::RendezvousUrl;

use self::{
    legs::{Legs, legs},
    load::Relay,
    ping::ping,
};
use super::{
    Context,
    names::{LATENCY, RELAY_COST, RELAY_RATE, RELAY_SLEEPS},
};
use crate::{results::Row, site::Site};

/// A rendezvous, and the sessions that go by it.
struct Candidate {
    /// What is written behind the names of its lines.
    build: &'static str,
    relay: Relay,
    legs: Legs,
}

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "datagrams from one bound leg to the other: in batches of ten as QUIC sends them, or one at a time, as fast \
               as the sender can; sparse, with receivers that read in turns with it; by the processor time that the \
               rendezvous spent on them. What it does alone is measured on queues that filled while it stood still";
    let mut row = Row::new(7, "The relay alone", how);
    let site = Site::near(&context.tools)?;
    let rounds = context.rounds(5, 2);
    for sessions in [1, 1_000] {
        let mut candidates = candidates(context, &site, sessions)?;
        for _ in 0..rounds {
            for candidate in &mut candidates {
                load_with(&mut row, candidate, sessions)?;
            }
            if sessions == 1 {
                latency(&mut row, &site, &candidates[0])?;
            }
        }
    }
    Ok(row)
}

/// Ours, and the other build if there is one: both at once, measured in turns.
fn candidates(context: &Context, site: &Site, sessions: usize) -> Result<Vec<Candidate>> {
    let ours = std::env::current_exe()?;
    let other = context.tools.other_rendezvous.clone();
    let builds = [("", 3478, Some(ours)), (", the other build", 3479, other)];
    let mut candidates = Vec::new();
    for (build, port, program) in builds {
        let Some(program) = program else { continue };
        let (process, url) =
            site.bench_rendezvous(&program, &format!("relay-{sessions}-{port}"), port)?;
        let url: RendezvousUrl = url.parse()?;
        let address = SocketAddr::new(url.host.parse()?, url.port);
        let legs = site.ide.enter(|| legs(&url, address, sessions))??;
        let relay = Relay { process, address };
        candidates.push(Candidate { build, relay, legs });
    }
    Ok(candidates)
}

fn load_with(row: &mut Row, candidate: &mut Candidate, sessions: usize) -> Result<()> {
    let Candidate { build, relay, legs } = candidate;
    let plural = if sessions == 1 { "" } else { "s" };
    for size in [1_200, 200] {
        let line = |how: &str| format!("{size} B{how}, {sessions} session{plural}{build}");
        let batched = relay.flood(legs, size, true)?;
        let cost = batched.bytes * 8.0 / 1e9 / batched.cpu_s;
        row.add(RELAY_COST, &line(""), "Gbit", cost);
        row.add(
            RELAY_COST,
            &line(""),
            "packets",
            batched.packets / batched.cpu_s,
        );
        let single = relay.flood(legs, size, false)?;
        let name = line(" one at a time");
        row.add(RELAY_COST, &name, "packets", single.packets / single.cpu_s);
        let sparse = relay.trickle(legs, size)?;
        let name = line(" sparse");
        row.add(RELAY_COST, &name, "packets", sparse.packets / sparse.cpu_s);
        row.add(
            RELAY_SLEEPS,
            &name,
            "sleeps",
            sparse.sleeps / sparse.packets,
        );
        if sessions > 1 {
            for (how, batched) in [("", true), (" one at a time", false)] {
                let rate = relay.emptied(legs, size, batched)?;
                row.add(RELAY_RATE, &line(how), "packets", rate);
            }
        }
    }
    Ok(())
}

fn latency(row: &mut Row, site: &Site, candidate: &Candidate) -> Result<()> {
    let [a, b] = &candidate.legs.sockets[0];
    let relay = candidate.relay.address;
    let relayed = ping(a, b, relay, relay)?;
    let (to_b, to_a) = (b.local_addr()?, a.local_addr()?);
    let ip = site.ide.ip();
    let direct = ping(a, b, (ip, to_b.port()).into(), (ip, to_a.port()).into())?;
    row.add(LATENCY, "straight", "RTT", direct);
    row.add(LATENCY, "by the relay", "RTT", relayed);
    row.add(LATENCY, "added, each way", "RTT", (relayed - direct) / 2.0);
    Ok(())
}
