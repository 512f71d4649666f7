//! Row 8: what it costs to wait.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Context,
    names::{CROWD, IDLE_PEERS},
};
use crate::{
    process::Process,
    results::Row,
    site::{Site, code_of, is_path},
    vitals::Vitals,
};

const OTHER: &str = "other";

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "peers: paired, direct, one forward open, nobody connected, 40 s; rendezvous: so many listeners registered \
               and idle, 20 s, its limits for strangers raised (`p2pdbg-bench serve`); % of one core";
    let mut row = Row::new(8, "Cost of being idle", how);
    let site = Site::near(&context.tools)?;
    // More than once the longest pause between keep-alives.
    let (rest, window) = if context.quick {
        (Duration::from_secs(18), Duration::from_secs(10))
    } else {
        (Duration::from_secs(40), Duration::from_secs(20))
    };
    peers(&mut row, &site, rest)?;
    let crowds: &[usize] = if context.quick {
        &[100, 1_000]
    } else {
        &[100, 1_000, 10_000]
    };
    for count in crowds {
        crowd(&mut row, &site, *count, window)?;
    }
    for (name, path) in [
        ("p2pdbg", &context.tools.p2pdbg),
        ("p2pdbg-rendezvous", &context.tools.rendezvous),
    ] {
        let size = std::fs::metadata(path)?.len() as f64 / f64::from(1 << 20);
        row.add(OTHER, name, "size, MiB", size);
        for _ in 0..20 {
            let began = Instant::now();
            Command::new(path).arg("--version").output()?;
            let took = began.elapsed().as_secs_f64() * 1e3;
            row.add(OTHER, name, "--version, ms", took);
        }
    }
    Ok(row)
}

fn peers(row: &mut Row, site: &Site, window: Duration) -> Result<()> {
    let (rendezvous, url) = site.rendezvous()?;
    let mut listen = site.peer("listen", "listen", &url)?;
    listen.args(["-L", &format!("127.0.0.1:7001:localhost:{}", site.service)]);
    let mut listen = Process::start("p2pdbg listen", listen)?;
    let code = code_of(&mut listen)?;
    let mut connect = site.peer("connect", "connect", &url)?;
    connect.env("P2PDBG_CODE", code);
    let connect = Process::start("p2pdbg connect", connect)?;
    listen.event("path", is_path("direct"))?;
    // What comes at the beginning passes.
    std::thread::sleep(Duration::from_secs(5));
    let all = [
        ("listen", &listen),
        ("connect", &connect),
        ("rendezvous of the two", &rendezvous),
    ];
    let before: Vec<Vitals> = all
        .iter()
        .map(|(_, p)| Vitals::of(p.id()))
        .collect::<Result<_>>()?;
    std::thread::sleep(window);
    for ((name, process), before) in all.iter().zip(before) {
        let after = Vitals::of(process.id())?;
        let seconds = window.as_secs_f64();
        row.add(IDLE_PEERS, name, "RSS, MiB", after.rss_kib / 1024.0);
        row.add(
            IDLE_PEERS,
            name,
            "CPU, %",
            after.cpu_since(&before) / seconds * 100.0,
        );
        row.add(
            IDLE_PEERS,
            name,
            "wake-ups a second",
            after.sleeps_since(&before) / seconds,
        );
    }
    Ok(())
}

fn crowd(row: &mut Row, site: &Site, count: usize, window: Duration) -> Result<()> {
    let (server, url) =
        site.bench_rendezvous(&std::env::current_exe()?, &format!("crowd-{count}"), 3478)?;
    std::thread::sleep(Duration::from_secs(1));
    let empty = Vitals::of(server.id())?;
    let pairs = count.min(1_000);
    let mut command = site.ide.command(std::env::current_exe()?);
    command.args(["crowd", "--url", &url, "--listeners", &count.to_string()]);
    command.args(["--pairs", &pairs.to_string()]);
    let mut crowd = Process::start("crowd", command)?;
    let seconds =
        |what: &'static str| move |line: &str| line.strip_prefix(what)?.trim().parse::<f64>().ok();
    let (_, registered) = crowd.find_within(
        Duration::from_secs(180),
        "registered",
        seconds("registered"),
    )?;
    let full = Vitals::of(server.id())?;
    let (_, joined) = crowd.find_within(Duration::from_secs(60), "joined", seconds("joined"))?;
    std::thread::sleep(Duration::from_secs(2));
    let before = Vitals::of(server.id())?;
    std::thread::sleep(window);
    let after = Vitals::of(server.id())?;
    let line = format!("{count} listeners");
    let each = (full.rss_kib - empty.rss_kib) / count as f64;
    row.add(CROWD, &line, "RSS, MiB", full.rss_kib / 1024.0);
    row.add(CROWD, &line, "KiB for each", each);
    let cpu = after.cpu_since(&before) / window.as_secs_f64() * 100.0;
    row.add(CROWD, &line, "CPU, %", cpu);
    row.add(
        CROWD,
        &line,
        "registrations a second",
        count as f64 / registered,
    );
    let spent = full.cpu_since(&empty) * 1e3 / count as f64;
    row.add(CROWD, &line, "CPU for a registration, ms", spent);
    row.add(CROWD, &line, "new sessions a second", pairs as f64 / joined);
    Ok(())
}
