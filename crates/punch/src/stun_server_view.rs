//! What a STUN server is worth: whether it sees the packets as they come from the NAT, and whether one that the peer
//! names may be asked.

use std::net::SocketAddr;

use p2pdbg_proto::address;

use crate::{candidate, nat_observation::Sample};

/// Whether an answer says nothing of the NAT: a server on the internet that sees a private address does not see the
/// packets as they came to it. Behind a container's proxy or a load balancer all peers have one address.
pub(crate) fn is_poor_view(sample: &Sample) -> bool {
    address::is_private(sample.mapped.ip()) && !address::is_private(sample.server.ip())
}

/// Whether a server that the peer lends may be asked: on the internet, since the peer must not have this host ask
/// around in its own network.
pub(crate) fn may_be_lent(server: SocketAddr) -> bool {
    candidate::is_usable(server) && !address::is_private(server.ip())
}
