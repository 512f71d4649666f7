//! What goes into the engine and what comes out of it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_nat::NatReport;

use crate::{LocalAddress, Technique, obstacle::Obstacle};

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

    /// The session's socket of the address's family.
    #[must_use]
    pub fn for_address(address: SocketAddr) -> Self {
        match Family::of(address.ip()) {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }

    /// The number of a TCP connection, the driver's `count`th.
    #[must_use]
    pub fn of_stream(count: u32) -> Self {
        Self(count | Self::STREAMS)
    }

    /// Whether it is a TCP connection that stands in for a socket.
    #[must_use]
    pub fn is_stream(self) -> bool {
        self.0 & Self::STREAMS != 0
    }

    /// What the engine numbers itself is below this.
    const STREAMS: u32 = 1 << 31;
}

/// A version of IP: two ends must have it in common for a path.
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

/// What the driver learnt of this host's TCP ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpPorts {
    /// The port that is listened on over IPv4, if any, and dialled from.
    pub v4: Option<u16>,
    /// The same over IPv6; it may be another port.
    pub v6: Option<u16>,
    /// How servers see these ports: see [`crate::tcp_seen`].
    pub seen: Vec<SocketAddr>,
    /// The address that a gateway maps to the IPv4 port.
    pub mapped: Option<SocketAddr>,
    /// The round trip to a server that answers at a port which is not of the web ([`crate::is_of_web`]). Where none
    /// does, the peer takes this network for one that lets out nothing else.
    pub server_rtt: Option<Duration>,
}

/// What the driver tells the engine.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram came whose first byte is 0..=3. The rest is for others: relay frames and QUIC.
    Datagram {
        /// The socket it came to.
        socket: SocketId,
        /// The source address of the datagram.
        from: SocketAddr,
        /// The whole datagram, without its UDP header.
        payload: &'a [u8],
    },
    /// A socket is open: one of the session's two, or one that [`Output::OpenSocket`] asked for. Reported again
    /// when a socket was rebound to another port.
    SocketOpened {
        /// The number that the session, or the engine, gave it.
        socket: SocketId,
        /// What it is bound to; the address is usually unspecified, the port counts.
        local: SocketAddr,
    },
    /// A socket could not be opened or has failed for good.
    SocketFailed {
        /// The number of the socket; nothing is sent from it any more.
        socket: SocketId,
    },
    /// The addresses of all interfaces that are up, each time all of them, the likeliest to be reached first: where
    /// there are too many, those are told to the peer. Others than before are told to it too, and begin nothing
    /// anew: for that there is [`Input::NetworkChanged`]. Leave loopback out unless the session
    /// may stay on this host: a peer's loopback candidate is only used when this list has a loopback address.
    LocalAddresses(&'a [LocalAddress]),
    /// What the peer's [`Output::Signal`] said. The driver has authenticated it as the peer's, and signals come in
    /// the order in which they were sent.
    PeerSignal(&'a [u8]),
    /// The peers have met again: what was last signalled may not have arrived, and is to be signalled again.
    MetAgain,
    /// Addresses that the rendezvous itself saw the peer use; adds to those named before. Many ports are only ever
    /// tried at these.
    PeerSeen(&'a [IpAddr]),
    /// The operating system refused to send.
    SendFailed {
        /// The socket that it was to leave by.
        socket: SocketId,
        /// The address that it was for.
        to: SocketAddr,
    },
    /// A gateway maps an external address to a socket for as long as nobody says otherwise.
    MappedPort {
        /// One of the two of the session.
        socket: SocketId,
        /// The external address, or `None` when the mapping has gone.
        external: Option<SocketAddr>,
    },
    /// An address or a route of this host changed: look at everything again, at once.
    NetworkChanged,
    /// The same of a network within this host, by which it reaches no others as far as is known: ask the path, and the
    /// servers whether this host is still where it was. What was learned and found holds.
    NearbyChanged,
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
    /// What the nominated path carries over UDP is too little, for so long: a path by TCP is looked for beside it, at
    /// this end and the peer's, and takes its place. Zero: no longer; UDP is used again if it is about as fast.
    AvoidUdp(Duration),
    /// What the driver has learnt since [`Output::TcpGather`]; again when it changes.
    TcpPorts(&'a TcpPorts),
    /// A TCP connection has proved to lead to the peer ([`crate::TcpProof`]), and carries datagrams from now on as a
    /// socket would.
    TcpConnected {
        /// Its number, from [`SocketId::of_stream`].
        socket: SocketId,
        /// This end's address and port.
        local: SocketAddr,
        /// The peer's address and port as this end sees them.
        remote: SocketAddr,
        /// Whether it was dialled by this end.
        dialled: bool,
    },
    /// A TCP connection to the peer has ended.
    TcpClosed {
        /// The number that the connection had.
        socket: SocketId,
    },
    /// Whether this host may search many ports now (the default). False while another session on the host searches.
    SearchAllowed(bool),
    /// The time that `poll_timeout` named has come. Any other input does as well.
    Timeout,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram. If it cannot be sent, [`Input::SendFailed`] is told.
    Send {
        /// The socket to send from, since each has a mapping of its own at a NAT.
        socket: SocketId,
        /// The address to send to, in the socket's family.
        to: SocketAddr,
        /// With this IP time to live (hop limit), or the system's. A driver that cannot set it for one datagram
        /// skips the datagram: it is there to open this side's NAT and must not reach the other.
        ttl: Option<u8>,
        /// The UDP payload, whole.
        payload: Vec<u8>,
    },
    /// Seal these bytes and bring them to the peer's engine, in order.
    Signal(Vec<u8>),
    /// Open one more socket on a port of the system's choice; answer with [`Input::SocketOpened`] or
    /// [`Input::SocketFailed`].
    OpenSocket {
        /// The number it will have.
        socket: SocketId,
        /// The family that it is bound for, to any address.
        family: Family,
    },
    /// Close a socket that [`Output::OpenSocket`] asked for, or a TCP connection. Never the one of the nominated path.
    CloseSocket {
        /// The number by which it was asked for; it is not used again.
        socket: SocketId,
    },
    /// Listen on TCP ports, the same as before if there were any, find out how a server sees them, and tell by
    /// [`Input::TcpPorts`]. The connection to the server is to be kept until [`Output::TcpRest`].
    TcpGather {
        /// The peer's network seems to let out nothing but the web: listen on [`crate::WEB_PORT`] if this host may and
        /// nobody else does, and have a gateway map that one.
        web: bool,
    },
    /// Dial these addresses from the TCP ports at once, for so long at the most.
    TcpDial {
        /// Addresses of the peer; each from the port of its family.
        to: Vec<SocketAddr>,
        /// No dial goes on for longer.
        patience: Duration,
    },
    /// Nothing is dialled for a while: the NAT need not hold the ports.
    TcpRest,
    /// Both peers agree on this path. It replaces the one nominated before, if any, which may be the same: after a
    /// change of network, a path that still works is confirmed anew.
    Nominated(Path),
    /// The nominated path is no more; the engine is already looking for another.
    PathLost {
        /// What the loss was seen by.
        reason: LossReason,
    },
    /// Something happened that is worth a trace line or a status line.
    Event(PunchEvent),
}

/// A nominated path: a socket here and an address there, between which checks went both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The socket at this end.
    pub socket: SocketId,
    /// The peer's address as this end must use it.
    pub remote: SocketAddr,
    /// The technique that made it work, for a person.
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
    /// Its TCP connection has ended.
    Disconnected,
}

/// Things worth a trace line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PunchEvent {
    /// This end has a candidate.
    Gathered {
        /// How this end came to know the address.
        kind: crate::candidate::Kind,
        /// What the peer is told.
        address: SocketAddr,
    },
    /// No STUN server of this family answers.
    StunSilent(Family),
    /// What the NAT in front of this end looks like now.
    Nat(NatReport),
    /// The peer's candidates are known, so many of them usable.
    PeerCandidates {
        /// Counts the peer's restarts, after which all its candidates are new.
        generation: u32,
        /// How many will be checked.
        usable: usize,
    },
    /// Checks of all pairs begin, and the searches that the two NATs call for.
    AttemptBegan {
        /// Its number since the last restart, from 0.
        attempt: u32,
    },
    /// The attempt under way may search, if [`Input::SearchAllowed`] says that this host may: the controlling side's
    /// always, the controlled side's when it is told of a search.
    SearchPossible,
    /// The nominated path was in doubt, and a check has been answered on it.
    PathAnswers {
        /// For how long it was in doubt.
        after: Duration,
    },
    /// The nominated path was taken for a VPN's since its first answers were late; it leads over a LAN.
    PathIsLan,
    /// Many ports, or many sockets, are tried, since single checks cannot get through.
    SearchBegan {
        /// Which of the techniques it is that search.
        technique: Technique,
        /// Sockets that this end opens for it.
        sockets: usize,
    },
    /// A search is over, found or not.
    SearchEnded {
        /// The same as when it began.
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
        /// The socket of this end that the check came to.
        socket: SocketId,
        /// The address that it came from.
        remote: SocketAddr,
    },
    /// A pair answered a check.
    PairValid {
        /// The socket of this end that the answer came to.
        socket: SocketId,
        /// The address that it came from.
        remote: SocketAddr,
        /// The technique that made it work.
        technique: Technique,
        /// The round trip of the check that was answered.
        rtt: Duration,
    },
    /// There is another way than the path, by another technique, and it is not used since it is slower: the best of
    /// these. Told again when its figure, or the technique, has changed by much.
    Unused {
        /// The technique that made it work.
        technique: Technique,
        /// The round trip of its checks.
        rtt: Duration,
        /// The nominated path's round trip, for comparison.
        path_rtt: Duration,
    },
    /// An attempt ended without a path; the next begins after a pause.
    AttemptFailed {
        /// The same as when it began.
        attempt: u32,
        /// Datagrams that it cost this end.
        packets: u32,
        /// How long it is until the next attempt.
        pause: Duration,
        /// What stands in the way.
        obstacle: Obstacle,
    },
    /// A path by TCP is looked for: both ends find out about their ports.
    TcpSeries,
    /// Both ends dial each other at the same moment.
    TcpRound {
        /// Which time in this series.
        round: u32,
        /// How many addresses of the peer this end dials.
        addresses: usize,
    },
    /// A signal of the peer could not be read and was dropped.
    BadSignal,
    /// A cap of [`crate::Budget`] was reached.
    BudgetSpent,
}
