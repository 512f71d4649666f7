//! What a datagram costs on the wire, which is what a forged source can make a victim pay.

use std::net::{IpAddr, SocketAddr};

/// Datagrams that go the same way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Their payload in bytes, all together.
    pub(crate) bytes: usize,
    /// How many datagrams they are: each has headers of its own.
    pub(crate) count: usize,
}

impl Load {
    pub(crate) fn one(bytes: usize) -> Self {
        Self { bytes, count: 1 }
    }

    /// Datagrams that are each `stride` long but for the last.
    pub(crate) fn of(datagrams: &[u8], stride: usize) -> Self {
        Self {
            bytes: datagrams.len(),
            count: datagrams.len().div_ceil(stride.max(1)),
        }
    }

    /// With the headers that they have on their way to or from this address.
    pub(crate) fn on_wire(self, remote: SocketAddr) -> usize {
        self.bytes + self.count * headers(remote)
    }
}

/// The bytes that IP and UDP put before a payload that goes to, or comes from, this address.
fn headers(remote: SocketAddr) -> usize {
    match remote.ip().to_canonical() {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}
