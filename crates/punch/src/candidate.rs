//! Candidates: addresses at which a peer may be reached (RFC 8445 section 5.1).

use serde::{Deserialize, Serialize};

/// How an address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// An interface's own address.
    Host,
    /// A gateway was asked to map it.
    Mapped,
    /// A STUN server saw it.
    ServerReflexive,
    /// An authenticated check came from it.
    PeerReflexive,
    /// It was computed from what a sequential NAT did before.
    Predicted,
}
