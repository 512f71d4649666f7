//! Why there is no tunnel.

use p2pdbg_base::Untrusted;

/// Why there is no tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TunnelError {
    /// The path did not carry it, or carries it no longer.
    #[error("the tunnel was lost: {0}")]
    Lost(String),
    /// The peer's certificate or proof is wrong.
    #[error("the other end is not the peer of this session: {0}")]
    Impostor(String),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol of tunnels")]
    Misbehaved,
    /// The epoch is not higher than one that was accepted before.
    #[error("the tunnel is older than one that was already up")]
    OldEpoch,
}

impl TunnelError {
    pub(super) fn lost(why: &dyn std::fmt::Display) -> Self {
        Self::Lost(Untrusted::of_error(why).to_string())
    }

    pub(super) fn impostor(why: &dyn std::fmt::Display) -> Self {
        Self::Impostor(Untrusted::of_error(why).to_string())
    }
}
