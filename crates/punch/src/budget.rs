//! How much a search for a path may cost: every amount and every cap, in one place.
//!
//! [`Budget`] is what a user may settle; the constants are what follows from how NATs work. What is done with an amount
//! stands where it is used: the order of techniques in [`crate::ladder`], the machines in [`crate::search`].

use std::time::Duration;

use p2pdbg_nat::Ports;

use crate::search::SearchPlan;

/// Fresh sockets that sample a NAT whose ports depend on the destination. With two servers each they make eight
/// mappings, the fewest that tell a sequence with its stride, a block and chance apart.
pub(crate) const SAMPLING_SOCKETS: u32 = 4;

/// Servers asked from each of them.
pub(crate) const SAMPLING_SERVERS: usize = 2;

/// Sockets that bracket a sequential NAT's mappings: enough for the peer to see which of them others have moved on.
const BRACKET_SOCKETS: u32 = 6;

/// Ports between two bracketed ones that are worth probing; where more lie between them, others make mappings faster
/// than we can ask.
pub(crate) const BRACKET_GAP: u32 = 48;

/// Ports behind the last one, which is bracketed on one side only.
pub(crate) const BEYOND_BRACKET: u32 = 6;

/// Sockets in a port block, if the block is large enough.
const BLOCK_SOCKETS: u32 = 64;

/// How many of a block's sockets look at the block first. Each of them takes two ports of it.
const BLOCK_ASKING: u32 = 12;

/// Packets of a volley into the peer's block from a NAT that counts.
const SCATTER_PACKETS: u32 = 256;

/// Packets in a volley at a NAT that counts, when ours counts, too: more would outlast what a guess at other people's
/// mappings is good for.
pub(crate) const MUTUAL_PACKETS: u32 = 56;

/// Rounds of [`SearchPlan::Mutual`] in one attempt.
pub(crate) const MUTUAL_ROUNDS: u8 = 5;

/// How often a volley is fired: first with a short life, to open our NAT and not to annoy the other, then for good.
pub(crate) const VOLLEY_PASSES: u32 = 3;

/// Addresses of the peer that an opener sends to.
pub(crate) const OPENER_TARGETS: usize = 2;

/// Ports in one side's hints.
pub(crate) const MAX_HINTS: usize = 256;

/// All ports that a NAT may choose.
pub(crate) const ALL_PORTS: (u16, u16) = (1024, u16::MAX);

/// How long a costly search waits at least and at most for the plain checks to succeed.
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

/// What a search by many sockets looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Sockets to open.
    pub(crate) sockets: u32,
    /// How many of them ask the STUN server before they send to the peer.
    pub(crate) asking: u32,
    /// Whether they must send in order, so that their ports bracket each other.
    pub(crate) in_order: bool,
    /// Time to live of each socket's first packet to the peer.
    pub(crate) first_ttl: Option<u8>,
    /// Until a socket sends to the peer again.
    pub(crate) repeat: Duration,
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
    /// The sockets of the side that opens in a search, behind a NAT that gives out ports like this.
    pub(crate) fn opener(&self, plan: SearchPlan, ports: Ports, first_ttl: Option<u8>) -> Shape {
        let most = self.search_sockets as u32;
        match plan {
            SearchPlan::Bracket { .. } => Shape {
                sockets: BRACKET_SOCKETS.min(most),
                asking: BRACKET_SOCKETS,
                in_order: true,
                first_ttl,
                repeat: Duration::from_millis(200),
            },
            SearchPlan::Block { .. } => Shape {
                sockets: BLOCK_SOCKETS
                    .min(self.block_share(ports).saturating_sub(BLOCK_ASKING))
                    .clamp(4, most.max(4)),
                asking: BLOCK_ASKING,
                in_order: false,
                first_ttl,
                repeat: Duration::from_millis(500),
            },
            _ => Shape {
                sockets: most.min(self.block_share(ports)).max(4),
                asking: 0,
                in_order: false,
                first_ttl,
                repeat: Duration::from_millis(1500),
            },
        }
    }

    /// Where the side that probes draws ports from, if it draws any besides those that are hinted.
    pub(crate) fn probed(plan: SearchPlan, theirs: Ports) -> Option<(u16, u16)> {
        match (plan, theirs) {
            (SearchPlan::Bracket { .. }, _) => None,
            (SearchPlan::Block { .. }, Ports::Block { first, last }) => Some((first, last)),
            _ => Some(ALL_PORTS),
        }
    }

    /// Packets of one pass of a volley from behind a NAT that gives out ports like this.
    pub(crate) fn volley(&self, plan: SearchPlan, ours: Ports) -> u32 {
        match plan {
            SearchPlan::Mutual { .. } => MUTUAL_PACKETS,
            _ => SCATTER_PACKETS
                .min(self.block_share(ours))
                .min(self.search_ports)
                .max(1),
        }
    }

    /// Mappings that a search may occupy in our port block, if there is one.
    fn block_share(&self, ports: Ports) -> u32 {
        match ports {
            Ports::Block { first, last } => {
                let width = u32::from(last.saturating_sub(first)) + 1;
                width * self.block_share_percent / 100
            }
            _ => u32::MAX,
        }
    }

    /// How long one round of a search may take, with so much time between two new flows if it is a careful one.
    pub(crate) fn duration(&self, plan: SearchPlan, careful: Option<Duration>) -> Duration {
        let (flows, usual) = match plan {
            SearchPlan::Bracket { .. } => (120, Duration::from_secs(3)),
            SearchPlan::Block { .. } => (400, Duration::from_secs(4)),
            SearchPlan::Birthday { .. } => {
                // All the probes that the budget allows, and a while for the last ones to arrive.
                let probes = self.interval() * self.search_ports;
                let flows = self.search_ports.min(self.search_flows);
                (flows, probes + Duration::from_secs(1))
            }
            SearchPlan::Mutual { .. } => (MUTUAL_PACKETS, Duration::from_millis(1300)),
            SearchPlan::Scatter => (SCATTER_PACKETS, Duration::from_secs(5)),
        };
        let slow = careful.map_or(Duration::ZERO, |interval| {
            interval * flows + Duration::from_secs(1)
        });
        usual.max(slow).min(Duration::from_secs(30))
    }

    /// Time between two packets at the pace.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.packets_per_second.max(1)
    }
}

/// The least pause after an attempt with this search. What it occupies of a port block has to expire before it may
/// occupy as much again; RFC 4787 REQ-5 has mappings live for two minutes.
pub(crate) fn least_pause(plan: Option<SearchPlan>) -> Duration {
    match plan {
        Some(SearchPlan::Scatter | SearchPlan::Block { .. }) => Duration::from_secs(130),
        _ => Duration::ZERO,
    }
}

/// Whether the search opens so many sockets that the plain checks deserve their chance first.
pub(crate) fn is_costly(plan: SearchPlan) -> bool {
    matches!(
        plan,
        SearchPlan::Block { .. } | SearchPlan::Birthday { .. } | SearchPlan::Scatter
    )
}

/// That chance, for peers that are so far from each other by way of their servers: one round trip and a half.
pub(crate) fn head_start(round_trip: Duration) -> Duration {
    (round_trip * 3 / 2).clamp(HEAD_START.0, HEAD_START.1)
}
