//! What the hub is told.

use std::time::Instant;

use p2pdbg_proto::rendezvous::ToRendezvous;
use tokio::sync::oneshot;

use crate::{
    hub_report::Report,
    keys::KeyRing,
    outgoing::Outlet,
    registry::{Arrival, ConnId},
    relay::Seen,
    ticket_codec::Ticket,
};

#[derive(Debug)]
pub(crate) enum HubEvent {
    /// A connection has been made.
    Connected(ConnId, Arrival, Outlet),
    /// A peer has said something.
    Message(ConnId, ToRendezvous),
    /// A peer has sent what is no message.
    Malformed(ConnId),
    /// A connection is gone, and nothing of it follows.
    Lost {
        id: ConnId,
        /// Whether the peer closed it.
        on_purpose: bool,
    },
    /// A member bound its leg of the relay.
    Bound(Seen),
    /// A session of another node comes with this ticket.
    Ticket(Box<Ticket>),
    /// Other keys hold from now on.
    Keys(KeyRing),
    /// Drain until then, or no more.
    Drain(Option<Instant>),
    /// Somebody wants to know how things are.
    Report(oneshot::Sender<Report>),
}
