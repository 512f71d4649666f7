//! What happens within a session, for its task.

use std::net::SocketAddr;

use p2pdbg_forward::Connection;
use p2pdbg_ledger::{CarrierHeader, CopyHeader, StreamId};
use p2pdbg_proto::tunnel::{PathKind, TunnelMessage};
use p2pdbg_rendezvous_client::NodeAway;
use p2pdbg_tunnel::{Answered, ControlStreamReader, Tunnel, TunnelError};
use quinn::RecvStream;

use super::debuggers_elsewhere::Seen;
use crate::watch as inspect;

/// What happens within a session.
#[derive(Debug)]
pub(super) enum SessionEvent {
    TunnelUp(Tunnel, ControlStreamReader),
    DialFailed {
        number: u64,
        path: PathKind,
        error: TunnelError,
    },
    TunnelEnded(u64, quinn::ConnectionError),
    Control(u64, TunnelMessage),
    Carrier(u64, CarrierHeader, RecvStream),
    Copy(CopyHeader, bytes::Bytes),
    Accepted(u16, Connection),
    Swept,
    TargetListening(u16, bool),
    StreamWaiting(StreamId, u16),
    OpenToNetwork(SocketAddr),
    /// What listens on this host, whenever that has changed.
    Listening(Seen),
    /// A web page was turned away from the port of a forward.
    TurnedAway(u16),
    /// A client at the port of a forward says nothing and waits.
    Silent(u16),
    /// A program of this other user was turned away from the port of a forward.
    OtherUser(u16, Option<u32>),
    /// What listens at the target of a forward has closed a connection without a word.
    HungUp(u16),
    /// A connection to the target of a forward stands.
    Reached(u16),
    Called(Answered),
    CallFailed,
    /// So far the nodes of the rendezvous are from here.
    Measured(Vec<NodeAway>),
    Inspected(StreamId, Box<inspect::Report>),
    Sources(p2pdbg_sources::Told),
    Attached(p2pdbg_attach::Attached),
}

impl From<p2pdbg_sources::Told> for SessionEvent {
    fn from(told: p2pdbg_sources::Told) -> Self {
        Self::Sources(told)
    }
}
