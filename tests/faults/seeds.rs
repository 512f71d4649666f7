//! Faults in a row, drawn by a seed.

use std::time::Duration;

use p2pdbg_natlab::{Flow, Impairments};
use rustix::process::Signal;

use crate::session::{DELAY, Session};

const TARGET: &str = "first byte ≤ 5 s after mending";

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let given = std::env::var(name).ok()?;
    Some(
        given
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn five_faults_in_a_row_lose_nothing() {
    five_faults(1);
}

#[test]
fn five_other_faults_in_a_row_lose_nothing() {
    five_faults(2);
}

/// With `P2PDBG_FAULT_SEED`, that seed; with `P2PDBG_FAULT_SEEDS`, so many from there on: see scripts/soak.
#[test]
fn five_faults_in_a_row_drawn_anew_lose_nothing() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let drawn = u64::from(now.unwrap().subsec_nanos());
    let first = number("P2PDBG_FAULT_SEED").unwrap_or(drawn);
    let seeds = number("P2PDBG_FAULT_SEEDS").unwrap_or(1);
    (first..first + seeds).for_each(five_faults);
}

#[track_caller]
fn five_faults(seed: u64) {
    println!("P2PDBG_FAULT_SEED={seed}");
    let Some(mut session) = Session::direct("seeds") else {
        return;
    };
    session.fault(&format!("P2PDBG_FAULT_SEED={seed}"));
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    };
    for _ in 0..5 {
        let (kind, lasting) = (draw(8), Duration::from_millis(500 + draw(4500)));
        one(&mut session, kind, lasting);
    }
    session.finish();
}

/// One fault of a kind; the next comes whether or not everything has settled.
#[track_caller]
fn one(session: &mut Session, kind: u64, lasting: Duration) {
    let label = |what: &str| format!("{what} for {:.1} s", lasting.as_secs_f64());
    let lab = &session.lab;
    let between = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip());
    match kind {
        0 => session.cut(&label("IDE's link cut"), lasting, true, false),
        1 => session.cut(&label("debuggee's link cut"), lasting, false, true),
        2 => session.blow("both NATs flushed", TARGET, || {
            lab.nat_a.flush().unwrap();
            lab.nat_b.flush().unwrap();
        }),
        3 => session.blow("new external address", TARGET, || {
            lab.nat_a.renumber().unwrap();
        }),
        4 => session.outage(
            &label("direct path blocked"),
            lasting,
            TARGET,
            || lab.net.router().block(between).unwrap(),
            || lab.net.router().unblock(between).unwrap(),
        ),
        5 => {
            let began = session.fault(&label("rendezvous killed"));
            session.setting.rendezvous.process().kill();
            std::thread::sleep(lasting);
            session.setting.rendezvous.start_again();
            let mended = std::time::Instant::now();
            session.resumes(&label("rendezvous killed"), began, mended, TARGET);
        }
        6 => {
            let connector = &session.pair.connector;
            session.outage(
                &label("connector stopped"),
                lasting,
                TARGET,
                || connector.signal(Signal::STOP),
                || connector.signal(Signal::CONT),
            );
        }
        _ => {
            let link = lab.nat_b.uplink();
            let plain = Impairments::delayed(DELAY);
            session.outage(
                &label("a third of all datagrams lost"),
                lasting,
                TARGET,
                || link.impair(plain.with_loss(0.33)).unwrap(),
                || link.impair(plain).unwrap(),
            );
        }
    }
}
