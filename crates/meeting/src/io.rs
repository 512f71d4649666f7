//! What goes into [`Meetings`](super::Meetings) and what comes out.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use p2pdbg_pairing::TunnelKey;
use p2pdbg_path::Introduction;
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    rendezvous::{Credential, FromRendezvous, SessionId, ToRendezvous},
};
use p2pdbg_rendezvous_client::LinkError;

use super::{MeetingCommand, MeetingEvent, Met};

/// What has happened, to be told with the time.
#[derive(Debug)]
pub enum Input {
    /// There is a connection to the rendezvous.
    LinkUp {
        /// What it was told right after the hello.
        told: Vec<ToRendezvous>,
        /// What is known of it.
        reached: Reached,
    },
    /// The connection was lost, or could not be made. Unless the error is lasting, another attempt follows.
    LinkDown(LinkError),
    /// A message of the rendezvous, in the order in which it came.
    Rendezvous(FromRendezvous),
    /// The owner of the meeting says this.
    Owner(MeetingCommand),
    /// The paths that are made ready for an encounter have this for the peer's engine.
    PathSignal(SessionId, Vec<u8>),
    /// This host's network has changed.
    NetworkChanged,
    /// The time of [`poll_timeout`](super::Meetings::poll_timeout) has come.
    Timeout,
    /// The owner leaves: everything is given back to the rendezvous, and the peers are told.
    Close,
}

/// What is known of the rendezvous while there is a connection.
#[derive(Debug)]
pub struct Reached {
    /// The address by which it was reached.
    pub address: SocketAddr,
    /// Where it answers STUN; empty if it does not.
    pub stun: Vec<SocketAddr>,
    /// Whether that took TCP, so that UDP is likely to be blocked.
    pub over_tcp: bool,
    /// Until when a listener that the process before this one knew may come back.
    pub returns_until: Instant,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send this to the rendezvous. Without a connection it goes nowhere, and needs not.
    Send(ToRendezvous),
    /// Say this right after the hello at the next connection.
    BeginWith(Vec<ToRendezvous>),
    /// This lets the host in at the next connection.
    UseCredential(Credential),
    /// Dial the rendezvous at once, if that is being waited for.
    Redial,
    /// Tell the owner of the meeting.
    Event(MeetingEvent),
    /// Make paths ready for this encounter. They are kept for as long as
    /// [`Meetings::awaits`](super::Meetings::awaits) says so.
    MakeReady(SessionId, Introduction),
    /// The peer of an encounter claims this certificate: nobody else's tunnel is let in.
    ExpectTunnel {
        /// The encounter's session at the rendezvous.
        session: SessionId,
        /// The fingerprint that it claims, which is not proved yet.
        peer: Fingerprint,
        /// The key of the tunnels, at a connector, which has confirmed.
        key: Option<TunnelKey>,
    },
    /// The peer of an encounter has confirmed: what was made ready for it may show who this end is.
    Confirmed(SessionId),
    /// The rendezvous sees the peer of an encounter there too; and whether it saw it bind its leg.
    PeerSeen(SessionId, Vec<IpAddr>, bool),
    /// Tell the owner, together with what was made ready for this encounter.
    Met(SessionId, Box<Met>),
}
