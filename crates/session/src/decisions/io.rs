//! What the decisions are told, and what they want done.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_events::Event as Report;
use p2pdbg_net::changes::Reason;
use p2pdbg_path::{LegTransport, PathCommand};
use p2pdbg_proto::{node::NodeNumber, tunnel::PathKind};
use p2pdbg_punch::{LossReason, Obstacle, Path, SocketId, Technique};

use crate::end::SessionEnd;

/// A tunnel that has come up: its proofs have verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelFacts {
    /// Numbers it among the tunnels of the session; a newer one is higher.
    pub epoch: u64,
    /// How its datagrams travel.
    pub path: PathKind,
    /// This end's address, if the operating system tells it.
    pub local: Option<SocketAddr>,
    /// The other end's address: the peer's, or the relay's.
    pub remote: SocketAddr,
    /// Its smoothed round-trip time when it came up.
    pub rtt: Duration,
}

/// What QUIC has counted on one tunnel, from its beginning on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// The epoch of the tunnel: by it alone a tunnel is known here.
    pub epoch: u64,
    /// Whether the connection has not ended.
    pub open: bool,
    /// UDP datagrams received. One that grows shows that the tunnel lives.
    pub heard: u64,
    /// UDP datagrams sent. While `heard` stands still and this grows, nothing is answered.
    pub sent: u64,
    /// QUIC packets sent, several of which may share a datagram.
    pub packets_sent: u64,
    /// QUIC packets that QUIC takes for lost.
    pub packets_lost: u64,
    /// Where the peer is now: a NAT on its side may have given it another address.
    pub remote: SocketAddr,
    /// The smoothed round-trip time, as QUIC has it now.
    pub rtt: Duration,
}

/// A relay besides the rendezvous' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Near {
    /// The address at which it relays over UDP.
    pub address: SocketAddr,
    /// The number of the node in its cluster.
    pub node: NodeNumber,
}

/// What the streams want to send, and have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes that the peer has acknowledged, of all streams that live.
    pub delivered: u64,
    /// Bytes that local programs wrote and the peer has not acknowledged.
    pub held: u64,
}

/// Something that happened, to be told at once and with the time.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// The time that `poll_timeout` gave has come. The counters are those of every tunnel that was adopted and has not
    /// been reported as ended.
    Timeout(&'a [Counters]),
    /// The listener's first call was prepared while the peers authenticated each other, so the connector need not dial
    /// as soon as it can. To be told before anything else.
    CallExpected,
    /// The rendezvous introduced the peers, the first time or again.
    Introduced,
    /// The peer can be reached through the relay.
    Relay {
        /// The socket of this end whose mapping the leg is bound to.
        socket: SocketId,
        /// The address of the relay, to which a tunnel is dialled.
        remote: SocketAddr,
        /// What carries this end's leg.
        transport: LegTransport,
    },
    /// The rendezvous says that the peer has bound its leg of the relay, for the first time or again.
    PeerBound,
    /// This is the relay besides the rendezvous' own, from now on; none is any more.
    NearAt(Option<Near>),
    /// The peer can be reached through it.
    NearRelay {
        /// The socket that this end's leg there is bound with.
        socket: SocketId,
        /// The address of that relay.
        remote: SocketAddr,
    },
    /// The peer's checks come from there, which is not nominated yet.
    Heard {
        /// The socket of this end at which they come in.
        socket: SocketId,
        /// The address from which they come, as a NAT of the peer's may have made it.
        remote: SocketAddr,
    },
    /// The traversal engine has nominated a direct path.
    Nominated(Path),
    /// The nominated path was taken for a VPN's, and leads over a LAN.
    PathIsLan,
    /// The nominated path is gone.
    DirectLost(LossReason),
    /// There is another direct way, which is not used since it is slower.
    Unused {
        /// What made it work, for a person.
        technique: Technique,
        /// The round trip of the check that proved it.
        rtt: Duration,
    },
    /// What stands in the way of a direct path has changed.
    Obstacle(Obstacle),
    /// A tunnel came up that this end accepted, or that it was asked to dial.
    TunnelUp(TunnelFacts),
    /// A tunnel came up that the listener dialled. At the connector, whatever it answered.
    CallUp {
        /// On this socket of this end.
        socket: SocketId,
        /// From or to this address.
        remote: SocketAddr,
        /// The tunnel, which is not adopted yet.
        tunnel: TunnelFacts,
    },
    /// What [`Output::Call`] asked for came to nothing.
    CallFailed,
    /// What [`Output::Dial`] asked for by this number came to nothing.
    DialFailed(u64),
    /// The nominated path was in doubt, and a check has been answered on it.
    PathAnswers {
        /// For how long it was in doubt.
        after: Duration,
    },
    /// The peer says on a tunnel for how long nothing has answered it there.
    Pulse {
        /// The epoch of the tunnel on which it says so.
        epoch: u64,
        /// For how long; zero if it is answered.
        unanswered: Duration,
    },
    /// An adopted tunnel ended.
    TunnelEnded {
        /// The epoch of the tunnel; no counters are told of it from now on.
        epoch: u64,
        /// Whether the peer ended it on purpose, and the session with it, or it was lost.
        why: TunnelEnd<'a>,
    },
    /// How many streams of local programs live, and whether the peer has confirmed all that they brought and their
    /// ends.
    Streams {
        /// Streams that belong to forwards.
        live: usize,
        /// Whether nothing is left to deliver.
        delivered: bool,
    },
    /// What the streams want to send, and have; told before each [`Input::Timeout`].
    Flow(Flow),
    /// The local program has ended: tell when its last bytes have been delivered. `ports` ports are asked for the
    /// connections that still wait in the kernel.
    Drain {
        /// How many ports are asked: so many [`Input::Swept`] follow.
        ports: usize,
    },
    /// One port has handed over the connections that waited.
    Swept,
    /// A tunnel or a message was rejected: a person may have to hear of it soon.
    Rejected,
    /// This host's addresses or routes changed.
    NetworkChanged {
        /// Whether that is because it slept.
        woke: bool,
    },
    /// Somebody asks the peer something, and wants to hear soon if it is not there.
    Asked,
    /// The peer asks that UDP be avoided for so long, or, for no time, no longer.
    AskedForTcp(Duration),
    /// The rendezvous says that the peer has left.
    PeerLeft,
    /// Ends the session for this reason.
    End(&'a SessionEnd),
}

impl From<Reason> for Input<'_> {
    fn from(reason: Reason) -> Self {
        match reason {
            // What is known of the ways to the peer still holds.
            Reason::Nearby => Self::Asked,
            Reason::Network => Self::NetworkChanged { woke: false },
            Reason::Woke { .. } => Self::NetworkChanged { woke: true },
        }
    }
}

/// Why a tunnel ended: what the session makes of it hangs on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEnd<'a> {
    /// The peer closed it and said that the session is over.
    Goodbye,
    /// One of the ends closed it because there is another, which is no news to anybody.
    Replaced,
    /// Anything else, in words; whatever the peer said in it is escaped.
    Lost(&'a str),
}

/// Something to be done. The order matters.
#[derive(Debug)]
pub enum Output {
    /// Dial a tunnel, and answer with [`Input::TunnelUp`] or [`Input::DialFailed`].
    Dial {
        /// Each has another one: where it is dialled anew, the one before may fail later.
        number: u64,
        /// The socket of this end that has the path.
        socket: SocketId,
        /// Where the peer, or the relay, is reached.
        remote: SocketAddr,
        /// How its datagrams will travel.
        path: PathKind,
    },
    /// Dial the connector, as the listener, on a direct path that may be nominated. Answer with [`Input::CallUp`] or
    /// [`Input::CallFailed`].
    Call {
        /// The socket of this end that the connector's checks came to.
        socket: SocketId,
        /// The address from which they came.
        remote: SocketAddr,
    },
    /// Accept tunnels on this socket, if that is not done already.
    Accept(SocketId),
    /// Use a tunnel that came up from now on: read what it brings, say on it what every new tunnel begins with.
    Adopt(u64),
    /// Close a tunnel, adopted or not, with a code of [`p2pdbg_proto::tunnel::close`].
    Close {
        /// The epoch of the tunnel.
        epoch: u64,
        /// The code that the peer is given, one of [`p2pdbg_proto::tunnel::close`].
        code: u32,
    },
    /// Ask for a sign of life on a tunnel, and say there for how long nothing has answered.
    Ping {
        /// The epoch of the tunnel that is to show whether it lives.
        epoch: u64,
        /// For how long nothing has answered there; zero if something has.
        unanswered: Duration,
    },
    /// Streams use this tunnel from now on, or none.
    Use(Option<u64>),
    /// The streams must not count on this tunnel any more, though it may come back: it does not answer, another does.
    Leave(u64),
    /// A tunnel and all that was on it is lost to the streams.
    Lost(u64),
    /// Give the checks of direct paths their key, so that one may be found; once a session.
    Search,
    /// Tell the task of the paths, which has the sockets.
    Path(PathCommand),
    /// Ask the peer to have its leg of the relay carried over TCP and to look for a direct path by TCP for so long; for
    /// no time: no longer.
    AskForTcp(Duration),
    /// Do so here, since the peer has asked for it.
    AvoidUdpForPeer(Duration),
    /// The tunnel through the relay besides the rendezvous' own is lost, or none came up. Answered by
    /// [`Input::NearAt`].
    NearLost,
    /// The rendezvous may not know this end any more, or know an address that it has no more.
    Doubt,
    /// Streams have come where there were none, or the last has ended.
    InUse(bool),
    /// Everything was delivered, or the time for it is over.
    Drained,
    /// Report this to whoever watches the session.
    Report(Report),
    /// What [`Decisions::activity`](super::Decisions::activity) tells may have changed, or the round-trip time.
    Status,
    /// The session is over. Nothing follows.
    Over(SessionEnd),
}

/// What the decisions wait for; each is set once at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// When to look at the counters of the tunnels.
    Look,
    /// When to close a tunnel in whose place a newer one has come.
    Retire(u64),
    /// When to have a path looked for again on which no tunnel came up.
    Redial(PathKind),
    /// When the connector dials itself, because the listener has not called there.
    CallDue {
        socket: SocketId,
        remote: SocketAddr,
        path: PathKind,
    },
    /// When to close a tunnel of the listener's whose path was not nominated.
    CallUnused(u64),
    /// When to have the relay's leg carried over TCP, since no tunnel has come up over UDP.
    Uncarried,
    /// When to give up a peer that is out of reach.
    ResumeExpired,
    /// When to give up a session that may only use a direct path and has none.
    NoPath,
    /// When to give up delivering what is left.
    DrainExpired,
}

/// What is waited for, and until when. At most a few for each tunnel.
#[derive(Debug, Default)]
pub(super) struct Timers(Vec<(Instant, Timer)>);

impl Timers {
    /// Waits until then, and not until whatever this timer was set to.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.clear(timer);
        self.0.push((at, timer));
    }

    /// Waits until then, or less long if it was set to less.
    pub(super) fn set_sooner(&mut self, timer: Timer, at: Instant) {
        let sooner = self.at(timer).map_or(at, |set| set.min(at));
        self.set(timer, sooner);
    }

    /// Waits for so much longer, and in any case until then; nothing happens if it was not set.
    pub(super) fn put_off(&mut self, timer: Timer, by: Duration, least: Instant) {
        if let Some((at, _)) = self.0.iter_mut().find(|(_, set)| *set == timer) {
            *at = (*at + by).max(least);
        }
    }

    /// Waits for this no more; nothing happens if it was not set.
    pub(super) fn clear(&mut self, timer: Timer) {
        self.0.retain(|(_, set)| *set != timer);
    }

    /// When a timer fires, if it is set.
    pub(super) fn at(&self, timer: Timer) -> Option<Instant> {
        let set = self.0.iter().find(|(_, set)| *set == timer);
        set.map(|(at, _)| *at)
    }

    /// When the first of all fires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    /// Takes out the first of those that are due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let first = (0..self.0.len()).min_by_key(|index| self.0[*index].0)?;
        (self.0[first].0 <= now).then(|| self.0.remove(first).1)
    }
}
