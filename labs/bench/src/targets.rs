//! What was aimed at, held against what was measured.

use crate::{
    number::number,
    results::Results,
    rows::names::{
        AND_BACK, AS_COMMAND, BULK, CROWD, DIRECT_PATH, FAR, HALF, IDLE_PEERS, LATENCY, LONG_FAT,
        LOSSY, PING_2K, PING_200, RELAY_COST, ROUND_TRIP, SECOND, STARTED, STEP, TO_DEBUGGEE,
        UNDER_BULK, UNDER_BULK_SHAPED,
    },
};

const RAW: &str = "raw TCP";
const SSH: &str = "ssh -L";
const BORE: &str = "bore";
const DUMBPIPE: &str = "dumbpipe";
const OURS: &str = "p2pdbg, direct";
const RELAYED: &str = "p2pdbg, relay";
const IROH: &str = "iroh, relay";

/// A target and its fate.
pub(crate) struct Judged {
    pub(crate) target: String,
    pub(crate) measured: String,
    /// None if it was not measured.
    pub(crate) met: Option<bool>,
}

/// What is compared, and what it has to be.
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

/// Judges every target that the run has the figures for.
pub(crate) fn judge(results: &Results) -> Vec<Judged> {
    let mut all = Vec::new();
    let one = |who| results.median(2, BULK, who, "one stream, up");
    let mut ratio = |target: &str, ours: Option<f64>, theirs: Option<f64>, wanted: Wanted| {
        let measured = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        all.push(judged(target, measured, "×", wanted));
    };
    use Wanted::{AtLeast, AtMost};
    for (table, bytes) in [(PING_200, "200 B"), (PING_2K, "2 KB")] {
        let ping = |who, column| results.median(1, table, who, column);
        for (who, target, column, most) in [
            (SSH, "p50, direct: ≤ 0.9 × ssh -L", "p50", 0.9),
            (BORE, "p50, stretch: ≤ bore", "p50", 1.0),
            (DUMBPIPE, "p50: ≤ dumbpipe", "p50", 1.0),
            (SSH, "p99: ≤ ssh -L", "p99", 1.0),
        ] {
            let target = format!("ping-pong {bytes}, {target}");
            ratio(&target, ping(OURS, column), ping(who, column), AtMost(most));
        }
    }
    for (column, most) in [
        ("one stream, up", 1.3),
        ("one stream, down", 1.3),
        ("eight streams, up", 1.2),
        ("eight streams, down", 1.2),
    ] {
        let bulk = |who| results.median(2, BULK, who, column);
        let target = format!("bulk, {column}, direct: ≥ {most} × ssh -L");
        ratio(&target, bulk(OURS), bulk(SSH), AtLeast(most));
    }
    ratio(
        "bulk, one stream, up: ≥ 1.25 × dumbpipe",
        one(OURS),
        one(DUMBPIPE),
        AtLeast(1.25),
    );
    for column in ["p50", "p99"] {
        let beside = |who| results.median(3, UNDER_BULK, who, column);
        let target = format!("{column} beside bulk: ≤ ssh -L");
        ratio(&target, beside(OURS), beside(SSH), AtMost(1.0));
    }
    for (debugger, rtt, most) in [
        ("debugpy --connect", "RTT 0 ms", 0.5),
        ("debugpy --connect", "RTT 10 ms", 0.5),
        ("pydevd", "RTT 0 ms", 0.5),
        ("pydevd", "RTT 10 ms", 0.5),
        ("debugpy --listen", "RTT 0 ms", 1.0),
        ("debugpy --listen", "RTT 10 ms", 1.0),
        ("gdb", "RTT 0 ms", 1.0),
        ("gdb", "RTT 10 ms", 1.0),
    ] {
        let step = |who| results.median(4, STEP, &format!("{debugger}, {who}"), rtt);
        let target = format!("a step, {debugger}, {rtt}: ≤ {most} of ssh -L's");
        // Never slower, within what two runs of one thing differ by.
        let limit = if most < 1.0 { most } else { 1.05 };
        ratio(&target, step(OURS), step(SSH), AtMost(limit));
    }
    ratio(
        "bulk through our relay: ≥ 85 % of our direct path",
        one(RELAYED),
        one(OURS),
        AtLeast(0.85),
    );
    ratio(
        "bulk through our relay: ≥ 3 × iroh-relay",
        one(RELAYED),
        one(IROH),
        AtLeast(3.0),
    );
    let lossy = |who| results.median(6, LONG_FAT, who, LOSSY);
    ratio(
        "1 % loss, 40 ms: ≥ raw TCP (cubic)",
        lossy(OURS),
        lossy(RAW),
        AtLeast(1.0),
    );

    let mut value = |target: &str, measured: Option<f64>, unit: &str, wanted: Wanted| {
        all.push(judged(target, measured, unit, wanted));
    };
    let added = results.median(3, UNDER_BULK_SHAPED, OURS, "added p99");
    value(
        "what bulk adds to the p99 of messages, 100 Mbit/s, RTT 20 ms: ≤ 10 ms",
        added.map(|us| us / 1e3),
        "ms",
        AtMost(10.0),
    );
    value(
        "a step, debugpy --listen started by p2pdbg connect, RTT 10 ms: ≤ 60 ms",
        results.median(4, STEP, AS_COMMAND, "RTT 10 ms"),
        "ms",
        AtMost(60.0),
    );
    // What the peers' links delay, and what passing them takes besides.
    let round_trip = results.median(5, SECOND, FAR, ROUND_TRIP).unwrap_or(40.0);
    for (place, name) in [
        (FAR, "rendezvous as far as the peer"),
        (HALF, "rendezvous half as far"),
    ] {
        let started = |column| results.median(5, STARTED, place, column);
        value(
            &format!("first byte at the debuggee, peer RTT 40 ms, {name}: ≤ 240 ms"),
            started(TO_DEBUGGEE),
            "ms",
            AtMost(240.0),
        );
        value(
            &format!("… and its answer beside the IDE, {name} (no target)"),
            started(AND_BACK),
            "ms",
            AtMost(f64::INFINITY),
        );
        value(
            &format!("direct between port-restricted NATs, {name}: ≤ 300 ms"),
            started(DIRECT_PATH),
            "ms",
            AtMost(300.0),
        );
        value(
            &format!("second connection, {name}: ≤ 1 RTT as raw TCP has it + 1 ms"),
            results.median(5, SECOND, place, "of the same session"),
            "ms",
            AtMost(round_trip + 1.0),
        );
    }
    let cost = results.median(7, RELAY_COST, "1200 B, 1 session", "Gbit");
    value(
        "relay, 1,200 B: ≥ 2 Gbit/s per core",
        cost,
        "Gbit/s",
        AtLeast(2.0),
    );
    let added = results.median(7, LATENCY, "added, each way", "RTT");
    value("relay, added p50: ≤ 30 µs", added, "µs", AtMost(30.0));
    for peer in ["listen", "connect"] {
        let idle = |column| results.median(8, IDLE_PEERS, peer, column);
        value(
            &format!("idle {peer}: ≤ 10 MiB RSS"),
            idle("RSS, MiB"),
            "MiB",
            AtMost(10.0),
        );
        value(
            &format!("idle {peer}: under 2 wake-ups a second"),
            idle("wake-ups a second"),
            "",
            AtMost(2.0),
        );
    }
    let crowd = |column| results.median(8, CROWD, "10000 listeners", column);
    value(
        "rendezvous: ≤ 40 KiB for each idle peer, at 10,000",
        crowd("KiB for each"),
        "KiB",
        AtMost(40.0),
    );
    value(
        "rendezvous: under 3 % of a core at 10,000",
        crowd("CPU, %"),
        "%",
        AtMost(3.0),
    );
    all
}

fn judged(target: &str, measured: Option<f64>, unit: &str, wanted: Wanted) -> Judged {
    let met = measured.map(|measured| match wanted {
        Wanted::AtMost(most) => measured <= most,
        Wanted::AtLeast(least) => measured >= least,
    });
    let text = measured.map_or_else(
        || "–".to_owned(),
        |value| format!("{} {unit}", number(value)),
    );
    Judged {
        target: target.to_owned(),
        measured: text.trim().to_owned(),
        met,
    }
}
