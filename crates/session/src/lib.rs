//! A session: everything between this host and one peer, for as long as both processes live.
//!
//! What it decides is in [`decisions`], which does no I/O. One task carries it out and owns the rest: the tunnels'
//! connections (`connections`), the streams (`streams`), the forwards (`forwards`). Sockets and traversal belong to
//! [`p2pdbg_path`], the rendezvous to `p2pdbg-meeting`; both are told what to do and tell what happened. Whatever else
//! takes time (a handshake, reading a carrier's header, accepting a connection) runs in a task of its own and sends an
//! `Event`.

mod debugger_reports;
mod debuggers_elsewhere;
pub mod decisions;
mod driver;
mod first_word;
mod forward_requests;
mod forwards;
mod messages;
mod paths;
mod pipes;
mod policy;
mod rejections;
mod relay_choice;
mod relays;
mod snapshot;
mod sources;
mod stream;
mod streams;
mod tunnel_connections;
mod watch;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use p2pdbg_base::{ErrorCode, Failure, Untrusted};
use p2pdbg_events::{Reporter, snapshot::SessionSnapshot};
use p2pdbg_facts::{HostFacts, SourceRoots};
use p2pdbg_forward::{Connection, Forward, OpenPort};
use p2pdbg_identity::Identity;
use p2pdbg_ledger::{CarrierHeader, CopyHeader, StreamId};
use p2pdbg_pairing::SessionKeys;
use p2pdbg_path::{Approach, Introduction, PathContext, Paths, RelayAt};
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    node::NodeNumber,
    signal::PeerMessage,
    tunnel::{PathKind, TunnelMessage},
};
use p2pdbg_rendezvous_client::NodeAway;
use p2pdbg_tunnel::{Answered, ControlReader, Tunnel, TunnelConfig, TunnelError};
use quinn::RecvStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument;

use self::driver::{Begun, Driver};
pub use self::forward_requests::ForwardRequest;
pub use self::forwards::while_absent;
pub use self::pipes::{PipeRequest, PipeTarget};
pub use self::policy::SessionPolicy;
use crate::watch as inspect;

/// How many events may wait for the session's task.
const QUEUE: usize = 1024;

/// Everything that a session starts with.
pub struct SessionConfig {
    /// This host's certificate, which the peer has pinned.
    pub identity: Arc<Identity>,
    /// The fingerprint of the peer's certificate: a tunnel with another one does not come up.
    pub peer: Fingerprint,
    /// The keys on which both agreed.
    pub keys: SessionKeys,
    /// Whether the peer is on this host, where one port cannot be opened twice.
    pub same_host: bool,
    /// Whether another process of this host does the same, so that a port may be open for that one.
    pub further: bool,
    /// The forwards; a connector learns them from the listener.
    pub forwards: Vec<Forward>,
    /// The listener's ports that are open already, in the order of the forwards.
    pub ports: Vec<Option<Arc<OpenPort>>>,
    /// What holds for the paths to all peers.
    pub paths: PathContext,
    /// What the user settled about it.
    pub policy: Arc<SessionPolicy>,
    /// What the peer is told of where this side runs.
    pub facts: HostFacts,
    /// What was made ready while the peers authenticated each other.
    pub approach: Option<Approach>,
    /// Where to report, under the name of the peer if there are several.
    pub reporter: Reporter,
    /// What the peer is called here.
    pub peer_name: Untrusted,
    /// Whether the two knew each other before.
    pub known: bool,
}

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
    /// Which directories hold the same files at both ends.
    Roots(SourceRoots),
    /// The forwards stand, at both ends.
    Ready(Vec<Forward>),
    /// Whether no path to the peer is left, whenever that has changed.
    Away(bool),
    /// What was to be drained is.
    Drained,
    /// The relay does not know this host any more, or nothing is heard on the tunnels: the rendezvous may be out of
    /// reach too, or know an address that this host has no more.
    Doubt,
    /// The session is over; nothing follows.
    Over(SessionEnd),
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// This side was told to end it.
    Closed,
    /// The peer ended it on purpose.
    PeerClosed,
    /// The peer came back as another process.
    Replaced,
    /// The peer was out of reach for longer than streams are held.
    PeerGone,
    /// It could not be set up.
    Failed(Failure),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the session was ended here"),
            Self::PeerClosed => f.write_str("the peer ended the session"),
            Self::Replaced => f.write_str("the peer came back as another process"),
            Self::PeerGone => f.write_str("the peer was out of reach for too long"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

/// What happens within a session.
#[derive(Debug)]
enum Event {
    TunnelUp(Tunnel, ControlReader),
    DialFailed {
        path: PathKind,
        remote: SocketAddr,
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
    Listening(debuggers_elsewhere::Seen),
    /// A web page was turned away from the port of a forward.
    TurnedAway(u16),
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

impl From<p2pdbg_sources::Told> for Event {
    fn from(told: p2pdbg_sources::Told) -> Self {
        Self::Sources(told)
    }
}

/// A handle on a running session.
#[derive(Debug)]
pub struct Session {
    inputs: mpsc::Sender<SessionInput>,
    closing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Session {
    /// Starts a session. What it tells comes out of `outputs`.
    ///
    /// # Errors
    /// If QUIC cannot be started, or the identity is of no use.
    pub fn start(
        mut config: SessionConfig,
        outputs: mpsc::Sender<SessionOutput>,
    ) -> Result<Self, Failure> {
        let internal = |e: &dyn std::fmt::Display| Failure::new(ErrorCode::Internal, e.to_string());
        let tunnel_config =
            TunnelConfig::new(&config.identity, config.peer).map_err(|e| internal(&e))?;
        let begun = match config.approach.take() {
            Some(approach) => Begun {
                paths: approach.paths,
                told: approach.told,
                tunnel: approach.tunnel,
            },
            None => {
                let paths = Paths::open(config.paths.clone())
                    .map_err(|e| internal(&format!("cannot start QUIC: {e}")))?;
                Begun {
                    paths,
                    told: Vec::new(),
                    tunnel: None,
                }
            }
        };
        let (inputs, receiver) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        // Of several sessions, the log says which it tells of.
        let span = match config.reporter.session() {
            Some(peer) => tracing::error_span!("session", peer),
            None => tracing::Span::none(),
        };
        let Begun {
            paths,
            told,
            tunnel,
        } = begun;
        let changes = config.paths.changes.clone();
        let (driver, events) = Driver::new(config, tunnel_config, paths, outputs);
        let run = driver.run(receiver, events, told, tunnel, changes, closing.clone());
        let task = tokio::spawn(run.instrument(span));
        let task = AbortOnDropHandle::new(task);
        Ok(Self {
            inputs,
            closing,
            task,
        })
    }

    /// Hands something to the session's task, without waiting; what it has no room for is dropped, with a line in the
    /// log.
    pub fn input(&self, input: SessionInput) {
        if self.inputs.try_send(input).is_err() {
            tracing::warn!("the session takes no more");
        }
    }

    /// Ends the session because its peer's process is gone; its ports are free afterwards.
    pub async fn replace(self) {
        self.input(SessionInput::Replaced);
        let _ = self.task.await;
    }

    /// Ends the session: the peer is told at once, the streams are reset.
    pub async fn close(self) {
        self.closing.cancel();
        let _ = self.task.await;
    }
}
