//! Measures every kind of NAT against every other and writes the tables into docs/TRAVERSAL.md.
//!
//! ```text
//! cargo run --release -p p2pdbg-simnet --example matrix [-- SEEDS]
//! ```
//!
//! Each cell is the same on every machine: everything is drawn from the seeds.

use std::{
    fmt::Write as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use p2pdbg_simnet::{NatConfig, NatKind, Outcome, Scenario};

const BEGIN: &str = "<!-- measured: cargo run --release -p p2pdbg-simnet --example matrix -->";
const END: &str = "<!-- end of what was measured -->";

/// How long a pair is given. Attempts after the first come later and count as well.
const DEADLINE: Duration = Duration::from_secs(20);

/// For the pairs that meet by chance at one of many attempts.
const LONG_DEADLINE: Duration = Duration::from_secs(3600);

fn kinds() -> Vec<(&'static str, NatConfig)> {
    let sequential = NatConfig::from(NatKind::SYMMETRIC_SEQUENTIAL);
    vec![
        ("none", NatKind::NONE.into()),
        ("full cone", NatKind::FULL_CONE.into()),
        ("addr.-restr.", NatKind::ADDRESS_RESTRICTED.into()),
        ("port-restr.", NatKind::PORT_RESTRICTED.into()),
        ("sequential", sequential),
        (
            "sequential, stride 2",
            NatKind::symmetric_sequential(2).into(),
        ),
        ("sequential, busy", sequential.with_foreign(20.0)),
        ("block of 1,000", NatKind::SYMMETRIC_BLOCK.into()),
        ("random", NatKind::SYMMETRIC_RANDOM.into()),
        ("UDP blocked", NatKind::UDP_BLOCKED.into()),
    ]
}

/// All runs of one pair under one condition.
#[derive(Default)]
struct Cell {
    runs: usize,
    times: Vec<Duration>,
    packets: u64,
    sockets: usize,
    failures_to_carry: usize,
}

impl Cell {
    fn measure(scenario: &Scenario, seeds: u64, deadline: Duration) -> Self {
        let mut cell = Self::default();
        for seed in 0..seeds {
            cell.add(&scenario.clone().seed(seed).run(deadline));
        }
        cell.times.sort_unstable();
        cell
    }

    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.packets += outcome.packets.iter().sum::<u64>();
        self.sockets = self
            .sockets
            .max(outcome.sockets.into_iter().max().unwrap_or(0));
        if let Some(after) = outcome.direct {
            self.times.push(after);
            self.failures_to_carry += usize::from(!outcome.carries);
        }
    }

    fn share(&self) -> f64 {
        100.0 * self.times.len() as f64 / self.runs.max(1) as f64
    }

    /// The time within which this share of the successful runs was direct.
    fn quantile(&self, share: f64) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        self.times
            .get(((self.times.len() as f64 * share) as usize).min(last))
            .copied()
    }

    fn seconds(&self, share: f64) -> String {
        self.quantile(share)
            .map_or("–".to_owned(), |t| format!("{:.2} s", t.as_secs_f64()))
    }
}

fn percent(share: f64) -> String {
    let tenths = (share * 10.0).round() as u64;
    match tenths % 10 {
        0 => format!("{} %", tenths / 10),
        rest => format!("{}.{rest} %", tenths / 10),
    }
}

/// Runs the jobs on all cores and gives the results back in their order.
fn in_parallel(jobs: Vec<(Scenario, Duration)>, seeds: u64) -> Vec<Cell> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut cells: Vec<(usize, Cell)> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            while let Some((n, (scenario, deadline))) = {
                let n = next.fetch_add(1, Ordering::Relaxed);
                jobs.get(n).map(|job| (n, job))
            } {
                done.push((n, Cell::measure(scenario, seeds, *deadline)));
            }
            done
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().expect("a worker panicked"))
            .collect()
    });
    cells.sort_by_key(|(n, _)| *n);
    cells.into_iter().map(|(_, cell)| cell).collect()
}

fn squares(out: &mut String, seeds: u64) -> std::fmt::Result {
    let kinds = kinds();
    for (rtt, loss) in [(40, 0.0), (40, 0.05), (200, 0.0), (200, 0.05)] {
        let job = |a: &NatConfig, b: &NatConfig| {
            let scenario = Scenario::new(*a, *b)
                .rtt(Duration::from_millis(rtt))
                .loss(loss);
            (scenario, DEADLINE)
        };
        let jobs = kinds
            .iter()
            .flat_map(|(_, a)| kinds.iter().map(move |(_, b)| job(a, b)))
            .collect();
        let cells = in_parallel(jobs, seeds);
        writeln!(out, "\n### RTT {rtt} ms, {:.0} % loss\n", loss * 100.0)?;
        write!(out, "| connector ↓ listener → |")?;
        for (name, _) in &kinds {
            write!(out, " {name} |")?;
        }
        writeln!(out, "\n|---|{}", "---|".repeat(kinds.len()))?;
        for ((name, _), row) in kinds.iter().zip(cells.chunks(kinds.len())) {
            write!(out, "| **{name}** |")?;
            for cell in row {
                match cell.quantile(0.5) {
                    None => write!(out, " relay |")?,
                    Some(_) => write!(out, " {} {} |", percent(cell.share()), cell.seconds(0.5))?,
                }
                assert_eq!(
                    cell.failures_to_carry, 0,
                    "{name}: a path that does not carry"
                );
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

fn details(out: &mut String, seeds: u64) -> std::fmt::Result {
    let kinds = kinds();
    let kind = |name: &str| {
        kinds
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, k)| *k)
            .expect("a kind of the list")
    };
    let pairs = [
        ("port-restr.", "port-restr."),
        ("port-restr.", "sequential"),
        ("port-restr.", "sequential, busy"),
        ("port-restr.", "block of 1,000"),
        ("port-restr.", "random"),
        ("sequential", "sequential"),
        ("sequential, busy", "sequential, busy"),
        ("sequential", "block of 1,000"),
        ("block of 1,000", "block of 1,000"),
        ("random", "random"),
    ];
    let jobs = pairs
        .iter()
        .map(|(a, b)| (Scenario::new(kind(a), kind(b)), DEADLINE))
        .collect();
    let cells = in_parallel(jobs, seeds);
    writeln!(
        out,
        "\n### The pairs that need more than punching (RTT 40 ms, no loss)\n"
    )?;
    writeln!(
        out,
        "| pair | direct | median | 97 % within | packets, both ends | most sockets at an end |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for ((a, b), cell) in pairs.iter().zip(&cells) {
        let packets = cell.packets / cell.runs.max(1) as u64;
        writeln!(
            out,
            "| {a} ↔ {b} | {} | {} | {} | {packets} | {} |",
            percent(cell.share()),
            cell.seconds(0.5),
            cell.seconds(0.97),
            cell.sockets,
        )?;
    }
    Ok(())
}

fn persistence(out: &mut String, seeds: u64) -> std::fmt::Result {
    let pairs = [
        (
            "sequential ↔ block of 1,000",
            NatKind::SYMMETRIC_SEQUENTIAL,
            NatKind::SYMMETRIC_BLOCK,
        ),
        (
            "block of 1,000 ↔ block of 1,000",
            NatKind::SYMMETRIC_BLOCK,
            NatKind::SYMMETRIC_BLOCK,
        ),
        (
            "random ↔ random",
            NatKind::SYMMETRIC_RANDOM,
            NatKind::SYMMETRIC_RANDOM,
        ),
    ];
    let jobs = pairs
        .iter()
        .map(|(_, a, b)| (Scenario::new(*a, *b), LONG_DEADLINE))
        .collect();
    let cells = in_parallel(jobs, seeds);
    writeln!(
        out,
        "\n### Looking on from the relay (RTT 40 ms, no loss)\n"
    )?;
    writeln!(
        out,
        "| pair | direct after 20 s | 10 min | 1 h | packets of both ends until then |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for ((name, ..), cell) in pairs.iter().zip(&cells) {
        let within = |seconds: u64| {
            let limit = Duration::from_secs(seconds);
            percent(
                100.0 * cell.times.iter().filter(|&&t| t <= limit).count() as f64
                    / cell.runs.max(1) as f64,
            )
        };
        let packets = cell.packets / cell.runs.max(1) as u64;
        writeln!(
            out,
            "| {name} | {} | {} | {} | {packets} |",
            within(20),
            within(600),
            within(3600)
        )?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds: u64 = std::env::args().nth(1).map_or(Ok(200), |s| s.parse())?;
    let mut out = String::new();
    writeln!(
        out,
        "\nEach cell: the share of {seeds} seeded runs that went direct within {} s, and the median time from",
        DEADLINE.as_secs()
    )?;
    writeln!(
        out,
        "when both peers knew each other's candidates to when both had nominated the same path."
    )?;
    details(&mut out, seeds * 5)?;
    persistence(&mut out, seeds)?;
    squares(&mut out, seeds)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/TRAVERSAL.md");
    let page = std::fs::read_to_string(&path)?;
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or("docs/TRAVERSAL.md has no place for the tables")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("docs/TRAVERSAL.md has no end of the tables")?;
    std::fs::write(&path, format!("{before}{BEGIN}\n{out}\n{END}{after}"))?;
    print!("{out}");
    Ok(())
}
