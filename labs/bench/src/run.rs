//! The command line, and the order of things.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{
    crowd, document,
    results::Results,
    rows::{self, Context},
    tools::{Tools, machine},
};

/// Measures p2pdbg beside ssh, bore, dumbpipe and iroh-relay.
#[derive(Debug, Parser)]
struct Options {
    /// Fewer rounds, for work on the program; nothing is written to docs
    #[arg(long)]
    quick: bool,
    /// Only these rows (1 to 10); nothing is written to docs
    #[arg(long, value_name = "ROW", value_parser = clap::value_parser!(u8).range(1..=10))]
    only: Vec<u8>,
    /// Measure these rows once more, in the place of what the last run found
    #[arg(long, value_name = "ROW", value_parser = clap::value_parser!(u8).range(1..=10))]
    again: Vec<u8>,
    /// Where cargo installed the programs that are compared
    #[arg(long, value_name = "DIR", default_value = "target/bench-tools")]
    tools: PathBuf,
    /// Where p2pdbg and p2pdbg-rendezvous were built
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    programs: PathBuf,
    /// Another build of p2pdbg: rows 1 to 3 compare ours with it, raw TCP and ssh alone
    #[arg(long, value_name = "PROGRAM")]
    other: Option<PathBuf>,
    /// Another build of this bench: row 7 compares our rendezvous with that one's, in turns
    #[arg(long, value_name = "BENCH")]
    other_rendezvous: Option<PathBuf>,
    /// Where BENCHMARKS.md and bench/ go
    #[arg(long, value_name = "DIR", default_value = "docs")]
    docs: PathBuf,
    /// Write the documents again from the last results, without measuring
    #[arg(long)]
    render: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A process that takes part in a measurement.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// The rendezvous without its limits for strangers
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        bind: std::net::SocketAddr,
        #[arg(long)]
        state: PathBuf,
    },
    /// Many that register there
    #[command(hide = true)]
    Crowd {
        #[arg(long)]
        url: String,
        #[arg(long)]
        listeners: usize,
        #[arg(long)]
        pairs: usize,
    },
}

pub(crate) fn main() -> Result<()> {
    let options = Options::parse();
    match options.part {
        Some(Part::Serve { bind, state }) => return crowd::serve(bind, state),
        Some(Part::Crowd {
            url,
            listeners,
            pairs,
        }) => return crowd::crowd(&url, listeners, pairs),
        None => {}
    }
    let json = options.docs.join("bench/results.json");
    if options.render {
        let results = serde_json::from_str(&fs::read_to_string(&json)?)?;
        return document::write(&results, &options.docs);
    }
    let mut tools = Tools::find(&options.programs, &options.tools, options.other.clone());
    tools.other_rendezvous = options.other_rendezvous.clone();
    let mut results = Results {
        command: command(),
        date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?,
        machine: machine(),
        versions: tools.versions(),
        rows: Vec::new(),
    };
    if !options.again.is_empty() {
        results = serde_json::from_str(&fs::read_to_string(&json)?)?;
        results
            .rows
            .retain(|row| !options.again.contains(&row.number));
    }
    let compares = options.other.is_some() || options.other_rendezvous.is_some();
    let partial = options.quick || !options.only.is_empty() || compares;
    let mut context = Context::new(tools, options.quick);
    for number in rows::ALL {
        let chosen = [&options.only[..], &options.again[..]].concat();
        if !chosen.is_empty() && !chosen.contains(&number) {
            continue;
        }
        eprintln!("row {number} …");
        match rows::run(number, &mut context) {
            Ok(row) => {
                println!("{}", document::row(&row));
                results.rows.push(row);
                results.rows.sort_by_key(|row| row.number);
                if !partial {
                    // What was measured is kept, whatever becomes of the rest.
                    fs::create_dir_all(options.docs.join("bench"))?;
                    fs::write(&json, serde_json::to_string_pretty(&results)? + "\n")
                        .with_context(|| format!("cannot write {}", json.display()))?;
                    document::write(&results, &options.docs)?;
                }
            }
            Err(error) => eprintln!("row {number} failed: {error:#}"),
        }
    }
    println!("{}", document::targets(&results));
    Ok(())
}

fn command() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("scripts/bench {}", arguments.join(" "))
        .trim()
        .to_owned()
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
