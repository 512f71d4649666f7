//! A script read from any bytes, so that a fuzzer draws it and a test runs again what was found.
//!
//! The layout is written down here rather than derived from the types: so the files in `fuzz/seeds/peersim` stay the
//! scripts that they were, a byte that changes is one thing that changes, and the test needs no crate of the fuzzer's.

use std::time::Duration;

use p2pdbg_nat::NatKind;

use crate::{
    script::{Fault, Script, Timed},
    which_end::End,
};

/// More faults make a run slow and find nothing that fewer do not.
const MOST_FAULTS: usize = 24;

/// Kind, what it is about, when and for how long in milliseconds.
const FAULT: usize = 6;

/// Besides the seed: which of its choices are made, two NATs, how many streams.
const CHOICES: usize = 3;

impl Script {
    /// The script that these bytes stand for; every sequence is one. What is missing at the end counts as zeros, and
    /// half a fault as none.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (seed, rest) = bytes.split_at(bytes.len().min(size_of::<u64>()));
        let (choices, rest) = rest.split_at(rest.len().min(CHOICES));
        let choice = |at: usize| choices.get(at).copied().unwrap_or(0);
        let is_chosen = |bit: u8| choice(0) & (1 << bit) != 0;
        let direct = is_chosen(3);
        let faults = rest.as_chunks::<FAULT>().0.iter().take(MOST_FAULTS);
        let mut faults: Vec<Timed> = faults.map(fault).collect();
        faults.sort_by_key(|timed| timed.at);
        Self {
            seed: seed
                .iter()
                .rev()
                .fold(0, |seed, byte| seed << 8 | u64::from(*byte)),
            meets: is_chosen(0),
            guessed: is_chosen(1),
            calls: is_chosen(2),
            direct,
            nats: is_chosen(5).then(|| [nat(choice(1) & 0xf), nat(choice(1) >> 4)]),
            // Without either way there is nothing to see.
            relay: is_chosen(4) || !direct,
            streams: usize::from(choice(2) % 6),
            faults,
        }
    }
}

fn nat(number: u8) -> NatKind {
    NatKind::ALL[usize::from(number) % NatKind::ALL.len()]
}

fn fault(&[kind, about, at_low, at_high, for_low, for_high]: &[u8; FAULT]) -> Timed {
    let milliseconds = |bytes| Duration::from_millis(u16::from_le_bytes(bytes).into());
    let time = milliseconds([for_low, for_high]);
    let end = End::BOTH[usize::from(about & 1)];
    let which = usize::from(about >> 1);
    let fault = match kind % 12 {
        0 => Fault::Silence {
            direct: about & 2 != 0,
            from: (about & 4 != 0).then_some(end),
            time,
        },
        1 => Fault::Rebind,
        2 => Fault::Forget(end),
        3 => Fault::RendezvousAway(time),
        4 => Fault::LinkLost(end),
        5 => Fault::Stop(end, time),
        6 => Fault::Replay(which),
        7 => Fault::NetworkChanged(end),
        // A second at the most: slower is as good as away.
        8 => Fault::RelayDelay(time / 64),
        9 => Fault::BreakOff(end, which),
        10 => Fault::Restart(end),
        _ => Fault::Close(end),
    };
    Timed {
        at: milliseconds([at_low, at_high]),
        fault,
    }
}
