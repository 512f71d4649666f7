//! Ways to the peer: the leg of the relay, and the direct path that the traversal engine finds.
//!
//! One task owns the session's UDP sockets, the `Leg` and the [`p2pdbg_punch::Engine`]; it moves datagrams
//! and timers between them and tells the session what it may dial. It knows nothing of tunnels and streams.

mod approach;
mod direct_tcp;
mod driver;
mod leg_transport;
mod mappers;
mod near_leg;
mod packets;
mod relay_driver;
mod relay_tcp_leg;
mod relay_udp_leg;
mod search_lock;
mod sockets;
#[cfg(test)]
mod tests;
pub mod traversal_options;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use p2pdbg_base::PathPolicy;
use p2pdbg_proto::{
    node::NodeNumber,
    relay::{LegGrant, LegId},
    rendezvous::Role,
    tunnel::PathKind,
};
use p2pdbg_punch::{LossReason, Obstacle, PunchKey, SocketId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

pub use approach::{Approach, FirstTunnel};
pub use search_lock::SEARCH_LOCK;
pub use sockets::PathSocket;

use p2pdbg_events::Via;
use p2pdbg_net::changes::Changes;
use p2pdbg_rendezvous_client::TcpRoute;

use crate::traversal_options::Traversal;

/// How many commands or events may wait.
const QUEUE: usize = 256;

/// Where two peers that have been introduced can reach each other, as the rendezvous and this end's connection to it
/// say.
///
/// It is made once, when the rendezvous introduces the two ([`p2pdbg_proto::rendezvous::Introduction`] is what it
/// says), and goes as it is from the meeting to the session and its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// This side's leg of the relay.
    pub leg: LegGrant,
    /// Where the relay is: the address at which this end reached the rendezvous.
    pub rendezvous: SocketAddr,
    /// Addresses that answer STUN, the rendezvous' first.
    pub stun: Vec<SocketAddr>,
    /// Where the rendezvous saw the peer: the only addresses at which many ports may be searched.
    pub peer_seen: Vec<IpAddr>,
    /// Whether the peer has bound its leg already, so that it can be dialled as soon as this end has.
    pub peer_bound: bool,
    /// Whether it took TCP to reach the rendezvous, so that the leg is tried over TCP at once.
    pub over_tcp: bool,
}

/// A relay besides the rendezvous': another node, which is nearer to both peers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearRelay {
    /// The address at which it relays over UDP.
    pub address: SocketAddr,
    /// The leg that this side binds there.
    pub leg: LegGrant,
    /// What lets it know of the session.
    pub ticket: Vec<u8>,
}

/// What the rendezvous says of a relay besides its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAt {
    /// The node's number in its cluster.
    pub node: NodeNumber,
    /// The leg that this side may bind there.
    pub leg: LegGrant,
    /// What lets it know of the session.
    pub ticket: Vec<u8>,
}

/// What a process settles for the paths of all its sessions. A new option of theirs is a field here, read where it is
/// used.
#[derive(Debug, Clone)]
pub struct PathContext {
    /// This side's part in every session.
    pub role: Role,
    /// Which paths may be used.
    pub policy: PathPolicy,
    /// How a direct one is looked for.
    pub traversal: Traversal,
    /// The file that is locked by the one session of this host that searches.
    pub search_lock: PathBuf,
    /// How rendezvous and relay are reached over TCP.
    pub route: TcpRoute,
    /// Says when this host's network changes.
    pub changes: Changes,
}

/// What the session tells the paths.
#[derive(Debug)]
pub enum PathCommand {
    /// The rendezvous introduced the peers, for the first time or again: bind this leg, and look for a direct path,
    /// each as far as the policy allows it.
    Introduced(Introduction),
    /// The rendezvous sees the peer there too.
    PeerSeen {
        /// At these addresses; the ports would be those of its control connection.
        addresses: Vec<IpAddr>,
        /// Whether it saw it bind its leg.
        bound: bool,
    },
    /// The peers have authenticated each other, and this is the key of their checks. Before, the search has a key that
    /// nobody else knows, so that its checks open this end's NATs and convince nobody; and the gateway is asked for
    /// nothing.
    Authenticated(PunchKey),
    /// A message of the peer's engine.
    PeerSignal(Vec<u8>),
    /// A tunnel stands on the nominated path.
    DirectUp,
    /// The tunnel on the nominated path is gone.
    DirectLost,
    /// A tunnel sends and hears nothing: what silenced it may have given this end another address, which the relay and
    /// the peer have to learn.
    Silent,
    /// A tunnel has been silent for so long that streams leave it: for a while nothing is sent in batches, which a box
    /// on the way may drop as a whole.
    SendSingly,
    /// The peer is heard again after it was lost: what stood in the way of a direct path may be gone too.
    Returned,
    /// Have TCP carry the leg of the relay for so long, and look for a direct path by TCP, since the network carries
    /// little over UDP; for no time: let UDP carry them again.
    AvoidUdp(Duration),
    /// The tunnel on the relay is gone: bind again.
    RelayLost,
    /// Bind a leg at this relay too, over UDP, or none any more. The one at the rendezvous stays as it is.
    Near(Option<NearRelay>),
    /// The listener calls from this socket, on which the peer was heard: give it, with QUIC on it. Nothing is given if
    /// it is closed by now.
    Give {
        /// The socket that [`PathEvent::Heard`] named.
        socket: SocketId,
        /// Who wants it.
        to: oneshot::Sender<PathSocket>,
    },
    /// Whether streams move: while they do, the nominated path is watched more closely.
    StreamsActive(bool),
}

/// What the paths tell the session.
#[derive(Debug)]
pub enum PathEvent {
    /// Both legs are bound, as far as can be known: the peer can be dialled through the relay.
    Relay {
        /// The socket that the leg is bound with.
        socket: PathSocket,
        /// The address to dial: that of the relay, which passes on what comes there.
        remote: SocketAddr,
        /// What carries this end's leg.
        transport: LegTransport,
    },
    /// The same of the relay of [`PathCommand::Near`].
    NearRelay {
        /// The socket that the leg is bound with.
        socket: PathSocket,
        /// The address to dial: that of this relay.
        remote: SocketAddr,
    },
    /// That relay does not take this end's leg, or not any more.
    NearGone {
        /// The leg: there may be another by now, at the same relay too.
        leg: LegId,
    },
    /// This end has begun to bind its leg over UDP: what is sent there now comes behind the BIND, and the relay passes
    /// the first datagrams on, or keeps them for a moment if the peer has not begun yet.
    Near {
        /// The socket that the leg is being bound with.
        socket: PathSocket,
        /// The address of the relay.
        remote: SocketAddr,
    },
    /// The relay knows the leg no longer; another introduction is needed.
    RelayGone,
    /// The peer's checks come from there, which is not nominated yet: at the listener, and more than once.
    Heard {
        /// The number of the socket that they come to, which need not have QUIC before [`PathCommand::Give`].
        socket: SocketId,
        /// The address that they come from; dialling it goes through the hole that they made.
        remote: SocketAddr,
    },
    /// The peer can be dialled directly.
    Direct {
        /// The socket that the path begins at.
        socket: PathSocket,
        /// The path that both engines agree on.
        path: p2pdbg_punch::Path,
    },
    /// The direct path was in doubt, and a check has been answered on it.
    Answers {
        /// For how long it was in doubt.
        after: std::time::Duration,
    },
    /// The direct path was taken for a VPN's, and leads over a LAN.
    IsLan,
    /// The direct path is no more.
    DirectLost(LossReason),
    /// A socket that a path was found on is not used any more. It stays open as long as anybody holds its endpoint.
    Closed {
        /// The number that it had.
        socket: SocketId,
    },
    /// A message for the peer's engine.
    Signal(Vec<u8>),
    /// There is another direct way, which is not used since it is slower.
    Unused {
        /// What made it work, for a person.
        technique: p2pdbg_punch::Technique,
        /// The round trip of its checks.
        rtt: std::time::Duration,
    },
    /// What stands in the way of a direct path has changed.
    Obstacle(Obstacle),
}

/// What carries a leg of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegTransport {
    /// UDP, as long as it passes: nothing waits for what was lost.
    Udp,
    /// TLS over TCP, where UDP does not pass, or starves.
    Tcp,
    /// The same inside a WebSocket, where nothing but the web passes.
    Web,
}

impl LegTransport {
    /// How a tunnel is named that is dialled over it.
    pub fn path(self) -> PathKind {
        match self {
            Self::Udp => PathKind::RelayUdp,
            Self::Tcp | Self::Web => PathKind::RelayTcp,
        }
    }

    /// What a report says of it.
    pub fn via(self) -> Via {
        match self {
            Self::Udp => Via::Udp,
            Self::Tcp => Via::Tcp,
            Self::Web => Via::WebSocket,
        }
    }
}

/// A handle on the task that owns the sockets; dropping it closes them.
#[derive(Debug)]
pub struct Paths {
    commands: mpsc::Sender<PathCommand>,
    events: mpsc::Receiver<PathEvent>,
    sockets: Vec<PathSocket>,
    task: AbortOnDropHandle<()>,
}

impl Paths {
    /// Opens the sockets and starts the task.
    ///
    /// # Errors
    /// If QUIC cannot be started.
    pub fn open(context: PathContext) -> std::io::Result<Self> {
        let (others, datagrams) = mpsc::channel(driver::DATAGRAMS);
        let sockets = PathSocket::open_both(context.route.nat64(), &others)?;
        let (commands, receiver) = mpsc::channel(QUEUE);
        let (report, events) = mpsc::channel(QUEUE);
        let driver = driver::PathDriver::new(context, sockets.clone(), others, report);
        let task = AbortOnDropHandle::new(tokio::spawn(driver.run(datagrams, receiver)));
        Ok(Self {
            commands,
            events,
            sockets,
            task,
        })
    }

    /// The two sockets that every session starts with; the listener accepts on them.
    pub fn sockets(&self) -> &[PathSocket] {
        &self.sockets
    }

    /// Hands a command to the task, without waiting; one too many is dropped, with a line in the log.
    pub fn command(&self, command: PathCommand) {
        if self.commands.try_send(command).is_err() {
            tracing::warn!("the paths take no more commands");
        }
    }

    /// What the task has told already.
    pub fn try_event(&mut self) -> Option<PathEvent> {
        self.events.try_recv().ok()
    }

    /// What the task tells next, as a poll.
    pub fn poll_event(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<PathEvent>> {
        self.events.poll_recv(cx)
    }

    /// What the task tells next.
    pub async fn event(&mut self) -> Option<PathEvent> {
        self.events.recv().await
    }

    /// Ends the task, after it has taken back what it asked of the gateway; a second at the most.
    pub async fn close(self) {
        drop((self.commands, self.events));
        let _ = self.task.await;
    }
}
