//! What a search wants sent, and what its two sides tell each other.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::SocketId;

/// What one side tells the other about its NAT in the middle of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hints {
    /// The attempt that they belong to.
    pub(crate) attempt: u32,
    /// The round within it, for [`SearchPlan::Mutual`](super::SearchPlan::Mutual).
    pub(crate) round: u8,
    /// Ports that the sender's mappings probably have, the likeliest first; at most
    /// [`MAX_HINTS`](crate::budget::MAX_HINTS) count.
    pub(crate) ports: Vec<u16>,
    /// The range that they lie in.
    pub(crate) range: Option<(u16, u16)>,
    /// Where the sender's NAT had counted to just now.
    pub(crate) counter: Option<SocketAddr>,
    /// The mappings that others make behind the sender's NAT, a thousandfold: per 1,000 seconds.
    pub(crate) foreign_per_kilosecond: u32,
}

/// Something that a search wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shot {
    /// Ask the STUN server from this socket.
    Ask {
        socket: SocketId,
        server: SocketAddr,
    },
    /// Send a check from this socket, with this time to live if one is given.
    Check {
        socket: SocketId,
        to: SocketAddr,
        ttl: Option<u8>,
    },
}
