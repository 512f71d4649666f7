//! Which kinds of pairs of the simulated internet stay on the relay, and the seeds of some.
//!
//! ```text
//! cargo run --release -p p2pdbg-simnet --example relayed [-- PAIRS [SECONDS [FIRST]]]
//! ```
//!
//! A pair has so many seconds to go direct, 20 unless told otherwise, and nothing moves in its session. With `PAIRS` of
//! 1 and a seed for `FIRST`, the networks of that pair are written, and what its two ends did.

use std::{collections::BTreeMap, time::Duration};

use p2pdbg_punch::Output;
use p2pdbg_simnet::{
    Allocation, Filtering, Mapping, Simulation,
    population::{End, Mix, Pair},
};

/// Seeds that are written for each kind.
const SEEDS: usize = 4;

/// What became of the pairs of one kind.
#[derive(Default)]
struct Kind {
    pairs: u64,
    relayed: Vec<u64>,
}

/// What an end's network does that decides about a direct path, UDP first.
fn kind(end: &End) -> String {
    if end.web_only {
        return "the web alone".to_owned();
    }
    let is_hard = |mapping| {
        matches!(
            mapping,
            Mapping::AddressDependent | Mapping::AddressAndPortDependent
        )
    };
    let boxes = || end.site.boxes.iter();
    let hard: Vec<&str> = boxes()
        .filter(|b| is_hard(b.kind.mapping))
        .map(|b| match b.kind.allocation {
            Allocation::Sequential { .. } => "counting",
            Allocation::Block { .. } => "block",
            Allocation::Preserving | Allocation::Random => "random",
        })
        .collect();
    let lets_in = boxes().all(|b| b.kind.filtering == Filtering::EndpointIndependent);
    let ports = match (hard.is_empty(), lets_in) {
        (false, _) => hard.join(" behind "),
        (true, true) => "lets in anybody".to_owned(),
        (true, false) => "lets in answers".to_owned(),
    };
    let no_udp = if end.udp { "" } else { ", no UDP" };
    let one_sided = !end.udp && boxes().any(|b| !b.tcp.simultaneous_open);
    let one_sided = if one_sided {
        ", no simultaneous open"
    } else {
        ""
    };
    let pool = boxes().any(|b| b.external_addresses > 1);
    let pool = if pool { ", several addresses" } else { "" };
    format!("{ports}{no_udp}{one_sided}{pool}")
}

fn kind_of_pair(pair: &Pair) -> String {
    let mut kinds = pair.ends.each_ref().map(kind);
    kinds.sort();
    kinds.join(" ↔ ")
}

/// Writes what is to be known of one pair.
fn describe(pair: &Pair, simulation: &mut Simulation) {
    for (n, end) in pair.ends.iter().enumerate() {
        println!("{n}: {end:#?}");
        for (at, output) in simulation.peer(n).log() {
            match output {
                Output::Event(event) => println!("{n} {at:?} {event:?}"),
                Output::TcpDial { .. } | Output::Nominated(_) | Output::PathLost { .. } => {
                    println!("{n} {at:?} {output:?}");
                }
                _ => {}
            }
        }
    }
    println!("{:#?}", simulation.outcome());
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()?;
    let argument = |n: usize, otherwise| arguments.get(n).copied().unwrap_or(otherwise);
    let (pairs, seconds, first) = (argument(0, 10_000), argument(1, 20), argument(2, 0));
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for seed in first..first + pairs {
        let pair = Mix::PUBLISHED.pair(seed);
        let mut simulation = pair.scenario.build();
        simulation.start();
        let direct = simulation.run_until(Duration::from_secs(seconds), Simulation::is_direct);
        if pairs == 1 {
            describe(&pair, &mut simulation);
        }
        let kind = kinds.entry(kind_of_pair(&pair)).or_default();
        kind.pairs += 1;
        kind.relayed.extend((!direct).then_some(seed));
    }
    let relayed: usize = kinds.values().map(|kind| kind.relayed.len()).sum();
    let percent = |count: usize| 100.0 * count as f64 / pairs.max(1) as f64;
    println!(
        "{:.2} % of {pairs} pairs are direct within {seconds} s",
        100.0 - percent(relayed)
    );
    let mut kinds: Vec<_> = kinds
        .iter()
        .filter(|(_, k)| !k.relayed.is_empty())
        .collect();
    kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.relayed.len()));
    println!("| pair | relayed | of | of all pairs | seeds |\n|---|---:|---:|---:|---|");
    for (name, kind) in kinds {
        let count = kind.relayed.len();
        let seeds = &kind.relayed[..count.min(SEEDS)];
        println!(
            "| {name} | {count} | {} | {:.2} % | {seeds:?} |",
            kind.pairs,
            percent(count)
        );
    }
    Ok(())
}
