//! What an outage costs in memory: no more the longer it lasts.

use std::time::Duration;

use crate::{
    flow::{Flow, Pace},
    harness::{Peer, eventually},
    session::Session,
};

/// How long nothing may be written before writers count as blocked: longer than a busy host keeps a program waiting.
const BLOCKED: Duration = Duration::from_secs(8);

/// What a stream may hold at first, in bytes; nothing is acknowledged in an outage, so it stays at that.
const HELD: u64 = 4 << 20;

/// What comes and goes by itself, in bytes.
const NOISE: u64 = 4 << 20;

#[test]
fn writers_are_held_back_in_an_outage_and_memory_does_not_grow() {
    const FLOWS: u64 = 3;
    let Some(session) = Session::direct("memory") else {
        return;
    };
    let flows: Vec<Flow> = (0..FLOWS)
        .map(|index| {
            let flow = session.flow(Pace::FLOOD, 100 + 10 * index);
            flow.rest(true);
            flow
        })
        .collect();
    let before = session.peers().map(resident);
    let links = [session.lab.nat_a.uplink(), session.lab.nat_b.uplink()];
    let began = session.fault("both links cut");
    links.iter().for_each(|link| link.cut().unwrap());
    flows.iter().for_each(|flow| flow.rest(false));
    let written = || flows.iter().map(Flow::written).sum::<u64>();
    eventually("blocked writers", || {
        let so_far = written();
        std::thread::sleep(BLOCKED);
        (written() == so_far).then_some(())
    });
    let blocked = session.peers().map(resident);
    std::thread::sleep(Duration::from_secs(10));
    let later = session.peers().map(resident);
    println!(
        "memory: {} MiB written into the outage; resident before, blocked, 10 s later: {before:?}, {blocked:?}, {later:?}",
        written() >> 20
    );
    for ((before, blocked), later) in before.into_iter().zip(blocked).zip(later) {
        // The two other streams of the session may hold as much.
        let held = (FLOWS + 2) * HELD;
        assert!(blocked <= before + held + NOISE, "{before} {blocked}");
        assert!(later <= blocked + NOISE, "{blocked} {later}");
    }
    flows.iter().for_each(|flow| flow.rest(true));
    links.iter().for_each(|link| link.mend().unwrap());
    let mended = std::time::Instant::now();
    session.resumes(
        "outage with writers that press on",
        began,
        mended,
        "first byte ≤ 5 s",
    );
    for flow in flows {
        flow.finish();
    }
    session.finish();
}

/// The resident memory of a peer in bytes.
fn resident(peer: &Peer) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", peer.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse::<u64>().unwrap() * 1024
}
