//! The mappings that this end makes on its NAT, in their order.
//!
//! A sequential NAT moves on by one for every new destination, ours and other people's alike. Whoever wants to know how
//! much others make has to subtract his own.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use crate::SocketId;

/// Destinations that are remembered; a search at its cap makes some thousand.
const CAPACITY: usize = 16_384;

/// Every destination that was sent to over IPv4, with its place in the order.
#[derive(Debug, Default)]
pub(crate) struct OwnMappings {
    made: HashMap<(SocketId, SocketAddr), u32>,
    count: u32,
}

impl OwnMappings {
    /// A packet leaves. Only the first one to a destination makes a mapping.
    pub(crate) fn on_sent(&mut self, socket: SocketId, to: SocketAddr) {
        if to.is_ipv6() || self.made.contains_key(&(socket, to)) {
            return;
        }
        if self.made.len() >= CAPACITY {
            // Forgetting makes later packets to old destinations count twice: a worse guess, no worse than that.
            self.made.clear();
        }
        self.count = self.count.wrapping_add(1);
        self.made.insert((socket, to), self.count);
    }

    /// Nothing leaves by these sockets any more, and nobody asks for their places. They had them all the same, so what
    /// follows comes after.
    pub(crate) fn forget(&mut self, closed: &HashSet<SocketId>) {
        self.made.retain(|(socket, _), _| !closed.contains(socket));
        self.made.shrink_to_fit();
    }

    /// How many destinations are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.made.len()
    }

    /// The place of a destination's mapping among ours.
    pub(crate) fn place(&self, socket: SocketId, to: SocketAddr) -> Option<u32> {
        self.made.get(&(socket, to)).copied()
    }
}
