//! What happens in a run.

use std::time::Duration;

use p2pdbg_nat::NatKind;

use crate::which_end::End;

/// Something that goes wrong, or that somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What `from` sends on the direct path, or else by the relay, is lost for a time.
    Silence {
        /// Whether it is the direct path.
        direct: bool,
        /// Whose datagrams are lost; both if none.
        from: Option<End>,
        /// For how long it lasts.
        time: Duration,
    },
    /// A NAT maps the direct path anew: what stood on it stands no more.
    Rebind,
    /// The NAT of this end maps it anew, and the path is found to stand a moment later, under the same address as
    /// before as this end sees it. What stood on it stands no more.
    Forget(End),
    /// The rendezvous is away for a time, and its relay with it.
    RendezvousAway(Duration),
    /// The control connection of this end to the rendezvous breaks; it matters only to a run with meetings.
    LinkLost(End),
    /// A process is stopped for a time.
    Stop(End, Duration),
    /// The opening of a tunnel arrives again: this one, counted from the first.
    Replay(usize),
    /// One host has other addresses from now on.
    NetworkChanged(End),
    /// The relay becomes so slow.
    RelayDelay(Duration),
    /// A local program at this end breaks off one of the streams.
    BreakOff(End, usize),
    /// A process dies and its host says nothing; the peer learns it later from the next one.
    Restart(End),
    /// A user ends the session.
    Close(End),
}

/// A fault and when it happens, from the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// When it happens, from the beginning of the run.
    pub at: Duration,
    /// What goes wrong then.
    pub fault: Fault,
}

/// All that a run depends on: with the same script it is the same run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Draws delays and what the local programs do.
    pub seed: u64,
    /// Whether the two find each other by the meetings that ship; else they are introduced from the beginning.
    pub meets: bool,
    /// Whether somebody guesses at the code first, so that it burns; of a run with meetings.
    pub guessed: bool,
    /// Whether the connector may be called before it dials.
    pub calls: bool,
    /// Whether a direct path can be found.
    pub direct: bool,
    /// The NATs of the listener and of the connector, behind which the engines look for it; none to find it without
    /// them.
    pub nats: Option<[NatKind; 2]>,
    /// Whether the relay may be used.
    pub relay: bool,
    /// How many streams are opened.
    pub streams: usize,
    /// What goes wrong, in the order of time.
    pub faults: Vec<Timed>,
}

impl Script {
    /// A run of a minute with up to a dozen faults.
    pub fn draw(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(0..12);
        let mut faults: Vec<Timed> = (0..count).map(|_| Timed::draw(&mut random)).collect();
        faults.sort_by_key(|timed| timed.at);
        // What ends a session comes last, and not always.
        let last = Duration::from_secs(60);
        match random.u8(0..10) {
            0 => faults.push(Timed {
                at: last,
                fault: Fault::Restart(end(&mut random)),
            }),
            1 => faults.push(Timed {
                at: last,
                fault: Fault::Close(end(&mut random)),
            }),
            _ => {}
        }
        Self {
            seed,
            meets: false,
            guessed: false,
            calls: random.bool(),
            direct: random.u8(0..4) > 0,
            nats: None,
            relay: true,
            streams: random.usize(1..6),
            faults,
        }
    }
}

/// The kinds of NAT through which the engines find a path without trying many ports.
const EASY: [NatKind; 4] = [
    NatKind::NONE,
    NatKind::FULL_CONE,
    NatKind::ADDRESS_RESTRICTED,
    NatKind::PORT_RESTRICTED,
];

impl Script {
    /// The same run with the meetings, whose control connections break too.
    pub fn draw_with_meetings(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x6d65_6574);
        let script = Self::draw(seed);
        let lost = (0..random.usize(0..4)).map(|_| Timed {
            at: Duration::from_millis(random.u64(0..60_000)),
            fault: Fault::LinkLost(end(&mut random)),
        });
        let mut faults: Vec<Timed> = lost.chain(script.faults).collect();
        faults.sort_by_key(|timed| timed.at);
        Self {
            meets: true,
            guessed: random.u8(0..4) == 0,
            faults,
            ..script
        }
    }

    /// The same run with the engines and two NATs drawn from the seed.
    pub fn draw_with_engines(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(!seed);
        let nats = [(); 2].map(|()| EASY[random.usize(0..EASY.len())]);
        Self {
            direct: true,
            nats: Some(nats),
            ..Self::draw(seed)
        }
    }
}

impl Timed {
    fn draw(random: &mut fastrand::Rng) -> Self {
        let at = Duration::from_millis(random.u64(0..60_000));
        let time = Duration::from_millis(random.u64(10..15_000));
        let fault = match random.u8(0..16) {
            0..=4 => Fault::Silence {
                direct: random.bool(),
                from: random.bool().then(|| end(random)),
                time,
            },
            5 => Fault::Rebind,
            6 => Fault::Forget(end(random)),
            7 | 8 => Fault::RendezvousAway(time),
            9 | 10 => Fault::Stop(end(random), time),
            11 | 12 => Fault::Replay(random.usize(0..8)),
            13 => Fault::NetworkChanged(end(random)),
            14 => Fault::RelayDelay(Duration::from_millis(random.u64(1..300))),
            _ => Fault::BreakOff(end(random), random.usize(0..6)),
        };
        Self { at, fault }
    }
}

fn end(random: &mut fastrand::Rng) -> End {
    End::BOTH[random.usize(0..2)]
}
