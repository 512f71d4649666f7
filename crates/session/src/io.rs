//! What the owner of a session tells it, and what it tells its owner.

use std::net::IpAddr;

use p2pdbg_events::snapshot::SessionSnapshot;
use p2pdbg_facts::{HostFacts, SourceRoots};
use p2pdbg_forward::Forward;
use p2pdbg_path::{Introduction, RelayAt};
use p2pdbg_proto::{node::NodeNumber, signal::PeerMessage};
use tokio::sync::oneshot;

use super::{end::SessionEnd, forward_requests::ForwardRequest, pipe_requests::PipeRequest};

/// How many events may wait for the session's task.
pub(super) const QUEUE: usize = 1024;

/// What the owner of the session tells it.
#[derive(Debug)]
pub enum SessionInput {
    /// The rendezvous introduced the peers, and they have recognised each other.
    Introduced(Introduction),
    /// The rendezvous sees the peer there too.
    PeerSeen {
        /// At these addresses, at which a search for a port may aim.
        addresses: Vec<IpAddr>,
        /// Whether it saw it bind its leg.
        bound: bool,
    },
    /// The peer said something through the rendezvous.
    Message(PeerMessage),
    /// The session may be relayed by another node too.
    RelayAt(RelayAt),
    /// This node relays no further sessions at the moment.
    RelayRefused(NodeNumber),
    /// The rendezvous says that the peer has left on purpose. Its word ends nothing that ever worked without it.
    PeerLeft,
    /// The peer has come back as another process: this session is over.
    Replaced,
    /// Tell when everything that local programs wrote before they closed has been delivered, or cannot be soon.
    Drain,
    /// Tell what there is at this moment.
    Describe(oneshot::Sender<SessionSnapshot>),
    /// Open a stream for a local program to a target of its own.
    Pipe(PipeRequest),
    /// Open a port here for a debugger at the other end.
    Forward(ForwardRequest),
}

/// What the session tells its owner.
#[derive(Debug)]
pub enum SessionOutput {
    /// Say this to the peer through the rendezvous.
    Message(PeerMessage),
    /// Have the session relayed by this node too.
    Relay(NodeNumber),
    /// Where the peer runs, as it says.
    Facts(HostFacts),
    /// Which directories hold the same files at both ends; none if each end has files, all of them were read, and none
    /// is taken for one of the other's.
    Roots(Option<SourceRoots>),
    /// The forwards stand, at both ends.
    Ready(Vec<Forward>),
    /// Whether no path to the peer is left, whenever that has changed.
    Away(bool),
    /// What was to be drained is.
    Drained,
    /// Nothing is heard on the tunnels: the rendezvous may be out of reach too, or know an address that this host has
    /// no more.
    Doubt,
    /// The relay does not know the session's leg.
    LegLost,
    /// The session is over; nothing follows.
    Over(SessionEnd),
}
