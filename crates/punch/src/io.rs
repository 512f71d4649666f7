//! What goes into the engine and what comes out of it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_nat::NatReport;

use crate::{LocalAddress, Technique, why::Obstacle};

/// A UDP socket of this peer, in the engine's numbering.
///
/// The driver opens [`SocketId::V4`] and [`SocketId::V6`] by itself and reports them with
/// [`Input::SocketOpened`]; all others are opened when [`Output::OpenSocket`] asks for them, under the number that it
/// gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The session's IPv4 socket.
    pub const V4: Self = Self(0);
    /// The session's IPv6 socket (V6ONLY).
    pub const V6: Self = Self(1);
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `ip`.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What the driver tells the engine.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram came whose first byte is 0..=3. The rest is for others: relay frames and QUIC.
    Datagram {
        /// The socket it came to.
        socket: SocketId,
        /// Where it came from.
        from: SocketAddr,
        /// All of it.
        payload: &'a [u8],
    },
    /// A socket is open: one of the session's two, or one that [`Output::OpenSocket`] asked for. Reported again
    /// when a socket was rebound to another port.
    SocketOpened {
        /// Its number.
        socket: SocketId,
        /// What it is bound to; the address is usually unspecified, the port counts.
        local: SocketAddr,
    },
    /// A socket could not be opened or has failed for good.
    SocketFailed {
        /// Its number.
        socket: SocketId,
    },
    /// The addresses of all interfaces that are up, each time all of them. Leave loopback out unless the session
    /// may stay on this host: a peer's loopback candidate is only used when this list has a loopback address.
    LocalAddresses(&'a [LocalAddress]),
    /// What the peer's [`Output::Signal`] said. The driver has authenticated it as the peer's, and signals come in
    /// the order in which they were sent.
    PeerSignal(&'a [u8]),
    /// Addresses that the rendezvous itself saw the peer use; adds to those named before. Many ports are only ever
    /// tried at these.
    PeerSeen(&'a [IpAddr]),
    /// The operating system refused to send.
    SendFailed {
        /// The socket.
        socket: SocketId,
        /// The destination.
        to: SocketAddr,
    },
    /// A gateway maps an external address to a socket for as long as nobody says otherwise.
    MappedPort {
        /// The socket.
        socket: SocketId,
        /// The external address, or `None` when the mapping has gone.
        external: Option<SocketAddr>,
    },
    /// An address or a route of this host changed: look at everything again, at once.
    NetworkChanged,
    /// A tunnel stands on the nominated path.
    TunnelUp,
    /// The tunnel on the nominated path was lost; the path is given up and looked for anew.
    TunnelLost,
    /// A tunnel, on the nominated path or on the relay, sends and hears nothing: ask the path itself, and the servers
    /// whether this host has another address now, which nothing else would tell. A search makes no new flow until one
    /// of them has answered, since it may be what has silenced the tunnel.
    PathSilent,
    /// Whether streams move now: the nominated path is then watched more closely.
    StreamsActive(bool),
    /// Whether this host may search many ports now (the default). False while another session on the host searches.
    SearchAllowed(bool),
    /// The time that `poll_timeout` named has come. Any other input does as well.
    Timeout,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// From this socket.
        socket: SocketId,
        /// To this address.
        to: SocketAddr,
        /// With this IP time to live (hop limit), or the system's. A driver that cannot set it for one datagram
        /// skips the datagram: it is there to open this side's NAT and must not reach the other.
        ttl: Option<u8>,
        /// These bytes.
        payload: Vec<u8>,
    },
    /// Seal these bytes and bring them to the peer's engine, in order.
    Signal(Vec<u8>),
    /// Open one more socket on a port of the system's choice; answer with [`Input::SocketOpened`] or
    /// [`Input::SocketFailed`].
    OpenSocket {
        /// The number it will have.
        socket: SocketId,
        /// Its family.
        family: Family,
    },
    /// Close a socket that [`Output::OpenSocket`] asked for. Never the one of the nominated path.
    CloseSocket {
        /// Its number.
        socket: SocketId,
    },
    /// Both peers agree on this path. It replaces the one nominated before, if any, which may be the same: after a
    /// change of network, a path that still works is confirmed anew.
    Nominated(Path),
    /// The nominated path is no more; the engine is already looking for another.
    PathLost {
        /// What the loss was seen by.
        reason: LossReason,
    },
    /// Something happened that is worth a trace line or a status line.
    Event(Event),
}

/// A nominated path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The socket at this end.
    pub socket: SocketId,
    /// The peer's address as this end must use it.
    pub remote: SocketAddr,
    /// What made it work.
    pub technique: Technique,
    /// Round-trip time of the check that proved it.
    pub rtt: Duration,
    /// Time from when this end knew the peer's candidates (of the peer's current generation) to the nomination.
    pub after: Duration,
}

/// Why a nominated path was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// No check was answered for too long (RFC 7675).
    ConsentExpired,
    /// The driver lost its tunnel.
    TunnelLost,
    /// The system closed the socket, or lets nothing be sent from it.
    SocketFailed,
}

/// Things worth a trace line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This end has a candidate.
    Gathered {
        /// Its kind.
        kind: crate::candidate::Kind,
        /// Its address.
        address: SocketAddr,
    },
    /// No STUN server of this family answers.
    StunSilent(Family),
    /// What the NAT in front of this end looks like now.
    Nat(NatReport),
    /// The peer's candidates are known, so many of them usable.
    PeerCandidates {
        /// The peer's generation.
        generation: u32,
        /// How many will be checked.
        usable: usize,
    },
    /// An attempt began.
    AttemptBegan {
        /// Its number since the last restart, from 0.
        attempt: u32,
    },
    /// The nominated path was in doubt, and a check has been answered on it.
    PathAnswers {
        /// For how long it was in doubt.
        after: Duration,
    },
    /// A search began.
    SearchBegan {
        /// Its technique.
        technique: Technique,
        /// Sockets that this end opens for it.
        sockets: usize,
    },
    /// A search is over, found or not.
    SearchEnded {
        /// Its technique.
        technique: Technique,
        /// Flows that it leaves behind in the NATs of this end, until they forget them.
        flows: u32,
    },
    /// Right after a search made flows, servers that had answered did not any more, or this end's mapping was gone: the
    /// network is taken to be easily harmed.
    SearchHarmful {
        /// Flows that were made just before.
        flows: u32,
        /// Until there may be another search, smaller and slower; none: never on this network.
        again: Option<Duration>,
    },
    /// The controlled side hears an authenticated check on a pair while there is no path: that way at least it passes.
    Heard {
        /// This end's socket.
        socket: SocketId,
        /// The peer's address.
        remote: SocketAddr,
    },
    /// A pair answered a check.
    PairValid {
        /// This end's socket.
        socket: SocketId,
        /// The peer's address.
        remote: SocketAddr,
        /// What made it work.
        technique: Technique,
        /// The check's round trip.
        rtt: Duration,
    },
    /// There is another way than the path, by another technique, and it is not used since it is slower: the best of
    /// these. Told again when its figure, or the technique, has changed by much.
    Unused {
        /// How it works.
        technique: Technique,
        /// Its round trip.
        rtt: Duration,
        /// The nominated path's round trip, for comparison.
        path_rtt: Duration,
    },
    /// An attempt ended without a path; the next begins after a pause.
    AttemptFailed {
        /// Its number.
        attempt: u32,
        /// Datagrams that it cost this end.
        packets: u32,
        /// Until the next one.
        pause: Duration,
        /// What stands in the way.
        obstacle: Obstacle,
    },
    /// A signal of the peer could not be read and was dropped.
    BadSignal,
    /// A cap of [`crate::Budget`] was reached.
    BudgetSpent,
}
