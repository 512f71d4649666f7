//! What the relay's table is told of, and what it tells: sources and routes, and what becomes of a datagram or a frame.

use std::net::{IpAddr, SocketAddr};

use p2pdbg_proto::{
    relay::RelayFrame,
    rendezvous::{Role, SessionId},
};

/// Where datagrams of a leg come from: a socket of ours and an address in that socket's own notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) socket: usize,
    pub(crate) remote: SocketAddr,
}

/// How a leg's member is reached over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UdpRoute {
    /// By this socket, at this address.
    pub(crate) source: Source,
    /// From this address of ours, the one that the member knows.
    pub(crate) local: Option<IpAddr>,
}

/// Names a connection over TCP that carries a leg, or asks to. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TcpLegId(pub(crate) u64);

/// How a leg's member is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Udp(UdpRoute),
    Stream(TcpLegId),
}

/// What to do with a datagram that is neither STUN nor one of our frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// Its source is no bound leg.
    NotALeg,
    /// The leg of this member, the other one, is not bound.
    NotYet(SessionId, Role),
    /// Drop it: its leg has sent as much as it may.
    TooMuch,
    /// Send it there as it is.
    To(Route),
}

/// A member bound its leg, and so was seen to receive at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) session: SessionId,
    /// Its part in the session.
    pub(crate) role: Role,
    pub(crate) ip: IpAddr,
}

/// What came of a frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// To be sent back to where the frame came from; never longer than the frame.
    pub(crate) reply: Option<RelayFrame>,
    /// The registry wants to know.
    pub(crate) seen: Option<Seen>,
    /// What waits for this member may be sent, as far as that may be.
    pub(crate) began: Option<(SessionId, Role)>,
}

/// What came of a JOIN.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// What the member is told.
    pub(crate) reply: RelayFrame,
    /// The registry wants to know.
    pub(crate) seen: Option<Seen>,
}
