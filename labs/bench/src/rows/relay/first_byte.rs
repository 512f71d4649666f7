//! The byte by which the relay knows a datagram of QUIC's.

/// What QUIC's first byte looks like.
pub(super) const QUIC: u8 = 0x40;
