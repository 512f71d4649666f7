//! Why a session is over.

use std::fmt;

use p2pdbg_base::Failure;

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// This side was told to end it.
    Closed,
    /// The peer ended it on purpose.
    PeerClosed,
    /// The peer came back as another process.
    Replaced,
    /// The peer was out of reach for longer than streams are held.
    PeerGone,
    /// It could not be set up.
    Failed(Failure),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the session was ended here"),
            Self::PeerClosed => f.write_str("the peer ended the session"),
            Self::Replaced => f.write_str("the peer came back as another process"),
            Self::PeerGone => f.write_str("the peer was out of reach for too long"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}
