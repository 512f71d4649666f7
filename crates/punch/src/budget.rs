//! How much a search for a path may cost.
//!
//! [`Budget`] is what a user may settle, and holds for all searches; the constants are what follows from how NATs work.
//! The amounts of each search are a row of [`crate::search::plan`], the order of the searches is [`crate::ladder`].

use std::time::Duration;

use p2pdbg_nat::Ports;

/// Fresh sockets that sample a NAT whose ports depend on the destination. With two servers each they make eight
/// mappings, the fewest that tell a sequence with its stride, a block and chance apart.
pub(crate) const SAMPLING_SOCKETS: u32 = 4;

/// Servers asked from each of them.
pub(crate) const SAMPLING_SERVERS: usize = 2;

/// Ports between two bracketed ones that are worth probing; where more lie between them, others make mappings faster
/// than we can ask.
pub(crate) const BRACKET_GAP: u32 = 48;

/// Ports behind the last one, which is bracketed on one side only.
pub(crate) const BEYOND_BRACKET: u32 = 6;

/// How often a volley is fired: first with a short life, to open our NAT and not to annoy the other, then for good.
pub(crate) const VOLLEY_PASSES: u32 = 3;

/// Addresses of the peer that an opener sends to.
pub(crate) const OPENER_TARGETS: usize = 2;

/// Ports in one side's hints.
pub(crate) const MAX_HINTS: usize = 256;

/// All ports that a NAT may choose.
pub(crate) const ALL_PORTS: (u16, u16) = (1024, u16::MAX);

/// The least and the most of [`head_start`].
const HEAD_START: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(700));

/// Caps on what an engine may spend. They hold whatever the peer, a server or a forger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Datagrams a second, of all kinds together.
    ///
    /// 250 of about 100 bytes are 0.2 Mbit/s, and let a search of 1,000 probes end in four seconds.
    pub packets_per_second: u32,
    /// Datagrams that may leave in one go after a silence. The first checks and the bursts of a port prediction
    /// must be close together.
    pub burst: u32,
    /// Datagrams of one attempt, answers to the peer's checks not counted.
    pub packets_per_attempt: u32,
    /// Sockets that a search may open on top of the session's two. Home routers hold some thousand mappings, office
    /// gear some ten thousand for everybody.
    pub search_sockets: usize,
    /// Of an inferred port block, the share in percent that a search may occupy: the subscriber's other programs
    /// live on the rest.
    pub block_share_percent: u32,
    /// Ports that a search probes at one address.
    pub search_ports: u32,
    /// Flows (a socket and a destination each) that searches may have living in the NATs at a time, of all attempts
    /// together. A subscriber of Starlink has 1,200, and the other programs of the house live on the rest.
    pub search_flows: u32,
    /// Candidates of the peer that are checked; what it names beyond is ignored.
    pub peer_candidates: usize,
    /// Addresses that are checked because an authenticated check came from them unannounced.
    pub peer_reflexive: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            packets_per_second: 250,
            burst: 20,
            packets_per_attempt: 4000,
            search_sockets: 512,
            block_share_percent: 25,
            search_ports: 2048,
            search_flows: 800,
            peer_candidates: 24,
            peer_reflexive: 32,
        }
    }
}

impl Budget {
    /// Mappings that a search may occupy in our port block, if there is one.
    pub(crate) fn block_share(&self, ports: Ports) -> u32 {
        match ports {
            Ports::Block { first, last } => {
                let width = u32::from(last.saturating_sub(first)) + 1;
                width * self.block_share_percent / 100
            }
            _ => u32::MAX,
        }
    }

    /// Time between two packets at the pace.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.packets_per_second.max(1)
    }
}

/// How long a costly search waits for the plain checks, for peers that are so far from each other by way of their
/// servers: one round trip and a half.
pub(crate) fn head_start(round_trip: Duration) -> Duration {
    (round_trip * 3 / 2).clamp(HEAD_START.0, HEAD_START.1)
}
