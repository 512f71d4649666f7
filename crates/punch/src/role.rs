//! Which of the two peers decides.

use serde::{Deserialize, Serialize};

/// Which side decides (RFC 8445 section 6.1.1). The roles are given, never negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Nominates pairs and plans the attempts: the connector.
    Controlling,
    /// Follows what the other side nominates: the listener.
    Controlled,
}

impl Role {
    /// The role that the other side of the session has.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Controlling => Self::Controlled,
            Self::Controlled => Self::Controlling,
        }
    }
}
