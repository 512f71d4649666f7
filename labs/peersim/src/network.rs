//! The modelled network: two links, and tunnels on them that repeat what is lost and end after a long silence.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use p2pdbg_ledger::{CarrierHeader, Frame, StreamId};

use crate::End;

/// As long as QUIC waits before it gives a silent connection up.
pub(crate) const IDLE: Duration = Duration::from_secs(30);

/// The longest pause between two repetitions.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What goes over a tunnel.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    /// A carrier begins, on the tunnel of this packet.
    Open { number: u64, header: CarrierHeader },
    /// Bytes of a carrier, behind those that came before.
    Data {
        stream: StreamId,
        number: u64,
        bytes: Bytes,
    },
    /// A carrier ends after what it brought.
    Finish { stream: StreamId, number: u64 },
    /// A carrier ends at once.
    Reset { stream: StreamId, number: u64 },
    /// The reader of a carrier wants no more of it.
    Stopped { stream: StreamId, number: u64 },
    /// A frame of the ledger.
    Frame(Frame),
    /// A request for a sign of life, and for how long its sender has not been answered.
    Ping(Duration),
}

/// One way between the ends.
#[derive(Debug)]
pub(crate) struct Link {
    /// Until when what each end sends is lost.
    silent_until: [Duration; 2],
    /// Until when nothing passes at all.
    away_until: Duration,
    /// Counts the mappings of its NATs: a tunnel on an older one is dead.
    pub(crate) mapping: u32,
    /// Under which number each end is seen by the other.
    pub(crate) seen: [u32; 2],
    /// How long a packet takes from end to end.
    pub(crate) delay: Duration,
}

impl Link {
    pub(crate) fn new(delay: Duration) -> Self {
        Self {
            silent_until: [Duration::ZERO; 2],
            away_until: Duration::ZERO,
            mapping: 0,
            seen: [0; 2],
            delay,
        }
    }

    pub(crate) fn silence(&mut self, from: End, until: Duration) {
        let silent = &mut self.silent_until[from.index()];
        *silent = until.max(*silent);
    }

    /// What was away for nobody knew how long is there again.
    pub(crate) fn come_back(&mut self, now: Duration) {
        if self.away_until == Duration::MAX {
            self.away_until = now;
        }
    }

    pub(crate) fn leave(&mut self, until: Duration) {
        self.away_until = until.max(self.away_until);
    }

    /// Whether what an end sends now arrives.
    pub(crate) fn passes(&self, from: End, now: Duration) -> bool {
        now >= self.silent_until[from.index()] && now >= self.away_until
    }

    /// A NAT maps this end anew: whatever stood stands no more, and the other end is where it was.
    pub(crate) fn forget(&mut self, at: End) {
        self.mapping += 1;
        self.seen[at.index()] = self.mapping;
    }

    pub(crate) fn passes_both_ways(&self, now: Duration) -> bool {
        End::BOTH.into_iter().all(|from| self.passes(from, now))
    }
}

/// A tunnel of one epoch, over one path.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) epoch: u64,
    pub(crate) direct: bool,
    pub(crate) mapping: u32,
    /// Under which number each end is seen by the other.
    pub(crate) seen: [u32; 2],
    pub(crate) ends: [TunnelEnd; 2],
}

/// What one end has of a tunnel.
#[derive(Debug, Default)]
pub(crate) struct TunnelEnd {
    /// Whether it has come up here and has not ended.
    pub(crate) up: bool,
    pub(crate) adopted: bool,
    /// What has come up to the other end's card, and waits for the wire to carry it here.
    pub(crate) inbox: VecDeque<Packet>,
    /// Whether an arrival here is on its way.
    pub(crate) scheduled: bool,
    /// Whether what this end has sent last was not acknowledged.
    pub(crate) unacknowledged: bool,
    pub(crate) pause: Duration,
    pub(crate) heard: u64,
    pub(crate) sent: u64,
    pub(crate) heard_at: Duration,
}

impl TunnelEnd {
    /// The pause before the next repetition, twice as long each time.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.pause.max(Duration::from_millis(50));
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}
