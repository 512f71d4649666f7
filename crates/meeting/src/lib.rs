//! Meeting peers at the rendezvous: by code or as known peers, for the first time and again.
//!
//! What is decided is sans-IO ([`Meetings`]): whom to await and by what, the exchanges that are under way, a sealed
//! channel to each peer with which one has succeeded. One task (`driver`) moves messages and time between it and the
//! [`Link`](p2pdbg_rendezvous_client::Link), and keeps the paths that are made ready meanwhile. Its owner learns of new
//! peers ([`MeetingEvent::Met`]) and of the same peer met again ([`MeetingEvent::Introduced`]), and talks to them
//! without knowing how. Whom to await, and how many, is the owner's affair ([`MeetingCommand::Await`]).

mod channel;
mod channels;
mod driver;
mod encounter;
mod failures;
mod io;
mod meetings;
mod own_code;
mod refusals;
mod registration;
mod stun;
#[cfg(test)]
mod tests;

pub use self::{
    io::{Input, Output, Reached},
    meetings::Meetings,
};

use std::{net::IpAddr, sync::Arc, time::Duration};

use p2pdbg_base::{Failure, PathPolicy, PeerName};
use p2pdbg_identity::Identity;
use p2pdbg_net::{changes::Changes, stun_servers::FurtherServers};
use p2pdbg_pairing::{KnownPeer, PairSecret, SessionKeys};
use p2pdbg_path::{Approach, Introduction, PathContext, RelayAt, traversal_options::Traversal};
use p2pdbg_proto::{
    code::Code,
    fingerprint::Fingerprint,
    node::NodeNumber,
    rendezvous::Role,
    signal::{PeerInfo, PeerMessage},
    url::RendezvousUrl,
};
use p2pdbg_rendezvous_client::{LinkError, TcpRoute, Transports};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How many commands or events may wait.
const QUEUE: usize = 256;

/// Whom to meet, and as whom.
pub struct MeetingConfig {
    /// The rendezvous at which both peers meet.
    pub rendezvous: RendezvousUrl,
    /// This host's certificate, to which the exchange binds the session.
    pub identity: Arc<Identity>,
    /// What this host calls itself.
    pub name: PeerName,
    /// Which of its processes this is, from 1.
    pub process: u16,
    /// Whom this process meets there, until it is told otherwise by [`MeetingCommand::Await`].
    pub whom: Whom,
    /// Which transports may be used to reach it.
    pub transports: Transports,
    /// What holds for the paths to all peers; the way to the rendezvous over TCP is the relay's.
    pub paths: PathContext,
    /// STUN servers besides the rendezvous.
    pub further_stun: Arc<FurtherServers>,
}

impl MeetingConfig {
    /// A first process that may use every path and transport, and that leaves its host's files, gateway and network
    /// alone: for simulators and tests, which settle otherwise what they need.
    pub fn detached(
        role: Role,
        identity: Arc<Identity>,
        whom: Whom,
        rendezvous: RendezvousUrl,
    ) -> Self {
        let paths = PathContext {
            role,
            policy: PathPolicy::Any,
            traversal: Traversal {
                port_mapping: false,
                ..Traversal::default()
            },
            // There is no such directory, so nobody else holds the lock.
            search_lock: "/nowhere/search.lock".into(),
            route: TcpRoute::new(&rendezvous),
            changes: Changes::silent(),
        };
        Self {
            rendezvous,
            identity,
            name: PeerName::nearest("host"),
            process: 1,
            whom,
            transports: Transports::Any,
            paths,
            further_stun: Arc::default(),
        }
    }
}

/// Whom a process wants to meet; settled before it goes to the rendezvous.
#[derive(Debug, Clone)]
pub enum Whom {
    /// Whoever has the code that this listener makes.
    CodeHolder,
    /// The listener that made this code.
    CodeMaker(Code),
    /// A peer from an earlier pairing.
    Known(KnownPeer),
    /// Several at a time: those that are known, and whoever has the code that this listener makes.
    Several(Awaited),
}

/// Whom a listener awaits at a moment.
#[derive(Debug, Clone, Default)]
pub struct Awaited {
    /// Peers from earlier pairings, those with which there is a session among them: each may come as a new process.
    pub known: Vec<KnownPeer>,
    /// Whether a code leads here. One code leads one peer here; the next is made when this is said again.
    pub code: bool,
}

/// Names the sealed channel to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u64);

/// What the owner tells the meeting.
#[derive(Debug)]
pub enum MeetingCommand {
    /// Say this to the peer of a session.
    Message(ChannelId, PeerMessage),
    /// Have a session relayed by this node too; [`MeetingEvent::RelayAt`] follows if that can be,
    /// [`MeetingEvent::RelayRefused`] if it goes out of service.
    Relay(ChannelId, NodeNumber),
    /// A session is over: its channel is of no more use.
    SessionOver(ChannelId),
    /// The peer is not heard: what failed before may work now, and what seems to stand may be gone.
    Doubt,
    /// The relay does not know the leg of this session. A rendezvous that has started anew knows nothing else either;
    /// one that has not gives another leg with another session.
    LegLost(ChannelId),
    /// From now on these are the peers to meet.
    Await(Awaited),
}

/// A peer that has been met, and with which a session can begin.
#[derive(Debug)]
pub struct Met {
    /// The sealed channel to it through the rendezvous, which lives as long as the session.
    pub channel: ChannelId,
    /// The fingerprint of its certificate, as the exchange has proved it.
    pub peer: Fingerprint,
    /// What it says of itself.
    pub info: PeerInfo,
    /// The keys of the session.
    pub keys: SessionKeys,
    /// To be remembered; none if the two knew each other.
    pub pair_secret: Option<PairSecret>,
    /// The code with which the two paired.
    pub code: Option<Code>,
    /// How to reach it: what the rendezvous said when it introduced the two.
    pub at: Introduction,
    /// What was made ready meanwhile.
    pub approach: Option<Approach>,
}

/// What the meeting tells its owner.
#[derive(Debug)]
pub enum MeetingEvent {
    /// The rendezvous is reached, and has let this host in.
    LinkUp,
    /// The rendezvous is not reached; another attempt follows.
    LinkDown(LinkError),
    /// The rendezvous hands out the program, by a script with this SHA-256. Comes before the code.
    Offered([u8; 32]),
    /// The rendezvous goes out of service within this time, or stays after all.
    Draining(Option<Duration>),
    /// This code leads here now.
    Code(Code),
    /// Somebody tried the last code with a wrong word; another follows.
    CodeBurned,
    /// So were several in a row, and no other follows; the sessions that there are go on.
    CodesOver(Failure),
    /// Somebody is here, and keys are being exchanged.
    Pairing,
    /// The exchange that [`MeetingEvent::Pairing`] told of has failed; others may follow.
    PairingFailed(p2pdbg_pairing::Failure),
    /// A peer has been met.
    Met(Box<Met>),
    /// The peer of a session has been met again.
    Introduced(ChannelId, Introduction),
    /// The rendezvous sees the peer of a session there too, and perhaps saw it bind its leg.
    PeerSeen(ChannelId, Vec<IpAddr>, bool),
    /// A session may be relayed by this node too.
    RelayAt(ChannelId, RelayAt),
    /// This node relays no further sessions at the moment.
    RelayRefused(ChannelId, NodeNumber),
    /// The peer of a session has left the rendezvous, which says that it did so on purpose.
    PeerLeft(ChannelId),
    /// The peer of a session says this.
    Message(ChannelId, PeerMessage),
    /// The meeting is over, for this reason.
    Failed(Failure),
}

/// A handle on the meeting's task; dropping it leaves the rendezvous.
#[derive(Debug)]
pub struct Meeting {
    commands: mpsc::Sender<MeetingCommand>,
    events: mpsc::Receiver<MeetingEvent>,
    closing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Meeting {
    /// Begins a task that dials the rendezvous, and again whenever the connection is lost. Within a tokio runtime.
    pub fn start(config: MeetingConfig) -> Self {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let (report, events) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let driver = driver::MeetingDriver::new(config, report);
        let task = driver.run(receiver, closing.clone());
        Self {
            commands,
            events,
            closing,
            task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// Hands a command to the task, without waiting; one too many is dropped, with a line in the log.
    pub fn command(&self, command: MeetingCommand) {
        if self.commands.try_send(command).is_err() {
            tracing::warn!("the meeting takes no more commands");
        }
    }

    /// What happens next; `None` after [`MeetingEvent::Failed`].
    pub async fn event(&mut self) -> Option<MeetingEvent> {
        self.events.recv().await
    }

    /// Leaves the rendezvous, after what was to be said to the peer has been said.
    pub async fn close(self) {
        self.closing.cancel();
        let _ = self.task.await;
    }
}
