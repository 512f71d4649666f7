//! What came of it.

use std::{fmt, time::Duration};

/// From the moment when the rendezvous was told to end until all peers were back.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many peers there are.
    pub peers: usize,
    /// When the rendezvous served again.
    pub served: Duration,
    /// Those that heard of the end from the rendezvous, this one or the next, rather than from its silence.
    pub told: usize,
    /// Attempts to connect, those that went well among them.
    pub dials: usize,
    /// Attempts that were refused before the handshake.
    pub refused: usize,
    /// Attempts that nobody answered in time: those that cost the rendezvous a handshake for nothing among them.
    pub unanswered: usize,
    /// When each peer was back, in this order.
    pub returns: Vec<Duration>,
    /// Processor time of the rendezvous that they came back to.
    pub processor: Duration,
    /// Codes that were tried meanwhile, and how many of them were said to be nobody's although their listener lives.
    pub codes: usize,
    /// How many of the codes were refused; see `codes`.
    pub codes_denied: usize,
}

impl Report {
    /// How often each peer dialled, on the average.
    pub fn dials_per_peer(&self) -> f64 {
        self.dials as f64 / self.peers.max(1) as f64
    }

    /// When so many in a hundred were back.
    pub fn back(&self, percent: usize) -> Duration {
        let count = (self.returns.len() * percent).div_ceil(100);
        let last = count.saturating_sub(1);
        self.returns.get(last).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [50, 95, 100].map(|percent| self.back(percent).as_secs_f64());
        write!(
            f,
            "{} peers: served again after {:.1} s; back 50 % {half:.1} s, 95 % {most:.1} s, all {all:.1} s; told {}; \
             {:.2} dials a peer, {} refused, {} unanswered; rendezvous {:.1} s of processor; {} codes tried, {} denied",
            self.peers,
            self.served.as_secs_f64(),
            self.told,
            self.dials_per_peer(),
            self.refused,
            self.unanswered,
            self.processor.as_secs_f64(),
            self.codes,
            self.codes_denied,
        )
    }
}
