//! Both peers in virtual time through any script of faults: no user observes what must not be.
//!
//! What is guided by coverage here are the decisions of a meeting and of a session, the ledger, and the engine that
//! looks for a path.
//! A script that fails is printed, and can be made a test of labs/peersim.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use p2pdbg_peersim::{End, Fault, Mutant, NatKind, Script, Timed, run};

/// More faults make a run slow and find nothing that fewer do not.
const MOST_FAULTS: usize = 24;

#[derive(Debug, Arbitrary)]
enum What {
    Silence { direct: bool, from: Option<bool> },
    Rebind,
    Forget(bool),
    RendezvousAway,
    LinkLost(bool),
    Stop(bool),
    Replay(u8),
    NetworkChanged(bool),
    RelayDelay,
    BreakOff(bool, u8),
    Restart(bool),
    Close(bool),
}

#[derive(Debug, Arbitrary)]
struct Step {
    at_ms: u16,
    for_ms: u16,
    what: What,
}

#[derive(Debug, Arbitrary)]
struct Begin {
    seed: u64,
    meets: bool,
    guessed: bool,
    calls: bool,
    direct: bool,
    relay: bool,
    /// Which NATs; none for the model that does without engines.
    nats: Option<(u8, u8)>,
    streams: u8,
}

fn nat(number: u8) -> NatKind {
    NatKind::ALL[usize::from(number) % NatKind::ALL.len()]
}

fn end(connector: bool) -> End {
    End::BOTH[usize::from(connector)]
}

impl Step {
    fn timed(&self) -> Timed {
        let time = Duration::from_millis(u64::from(self.for_ms));
        let fault = match self.what {
            What::Silence { direct, from } => Fault::Silence { direct, from: from.map(end), time },
            What::Rebind => Fault::Rebind,
            What::Forget(at) => Fault::Forget(end(at)),
            What::RendezvousAway => Fault::RendezvousAway(time),
            What::LinkLost(at) => Fault::LinkLost(end(at)),
            What::Stop(at) => Fault::Stop(end(at), time),
            What::Replay(which) => Fault::Replay(which.into()),
            What::NetworkChanged(at) => Fault::NetworkChanged(end(at)),
            What::RelayDelay => Fault::RelayDelay(time / 64),
            What::BreakOff(at, which) => Fault::BreakOff(end(at), which.into()),
            What::Restart(at) => Fault::Restart(end(at)),
            What::Close(at) => Fault::Close(end(at)),
        };
        let at = Duration::from_millis(u64::from(self.at_ms));
        Timed { at, fault }
    }
}

fuzz_target!(|input: (Begin, Vec<Step>)| {
    let (begin, steps) = input;
    let mut faults: Vec<Timed> = steps.iter().take(MOST_FAULTS).map(Step::timed).collect();
    faults.sort_by_key(|timed| timed.at);
    let script = Script {
        seed: begin.seed,
        meets: begin.meets,
        guessed: begin.guessed,
        calls: begin.calls,
        direct: begin.direct,
        nats: begin.nats.map(|(one, other)| [nat(one), nat(other)]),
        // Without either way there is nothing to see.
        relay: begin.relay || !begin.direct,
        streams: usize::from(begin.streams % 6),
        faults,
    };
    if let Err(violation) = run(&script, Mutant::None) {
        panic!("{violation}\n{script:#?}");
    }
});
