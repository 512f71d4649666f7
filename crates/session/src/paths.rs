//! The ways to the peer, as the session's task uses them: the paths, and the sockets that a path was found on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_base::PathPolicy;
use p2pdbg_path::{PathCommand, PathEvent, PathSocket, Paths};
use p2pdbg_proto::{relay::LegId, rendezvous::Role};
use p2pdbg_punch::{PunchKey, SocketId};
use p2pdbg_rendezvous_client::TcpRoute;
use tokio::sync::Notify;

use super::near_relay_choice::RelayChoice;

/// For how long the peer may have this end's leg of the relay carried over TCP, until it asks again.
const MOST_BY_TCP: Duration = Duration::from_secs(600);

/// What leads to the peer.
pub(super) struct SessionPaths {
    paths: Paths,
    /// The socket of the nominated path, which may be none of those that the session began with. Kept no longer than
    /// that path, since a clone of a socket keeps it open.
    nominated: Option<PathSocket>,
    /// Authenticates the checks of the direct paths.
    punch_key: PunchKey,
    policy: PathPolicy,
    /// The relay besides the rendezvous'.
    pub(super) relays: Relays,
    /// Until when the leg of the relay is to be carried over TCP: as this end wants it, and as the peer does.
    by_tcp_until: [Option<Instant>; 2],
}

/// Whose path starves, so that the relay's leg is carried over TCP.
#[derive(Clone, Copy)]
pub(super) enum StarvingEnd {
    Here,
    Peer,
}

/// The relay besides the rendezvous' own: what leads to its choice.
pub(super) struct Relays {
    pub(super) choice: RelayChoice,
    /// This end's leg there.
    pub(super) leg: Option<LegId>,
    pub(super) route: TcpRoute,
    /// Whether the user lets the session be relayed over UDP.
    pub(super) allowed: bool,
    pub(super) look: Arc<Notify>,
}

impl Relays {
    pub(super) fn new(role: Role, route: TcpRoute, policy: PathPolicy) -> Self {
        Self {
            choice: RelayChoice::new(role),
            leg: None,
            route,
            allowed: matches!(policy, PathPolicy::Any | PathPolicy::Relay),
            look: Arc::default(),
        }
    }

    /// Has the distances measured soon.
    pub(super) fn look_soon(&self) {
        self.look.notify_one();
    }
}

impl SessionPaths {
    pub(super) fn new(
        paths: Paths,
        punch_key: PunchKey,
        policy: PathPolicy,
        relays: Relays,
    ) -> Self {
        Self {
            paths,
            nominated: None,
            punch_key,
            policy,
            relays,
            by_tcp_until: [None; 2],
        }
    }

    /// Whether the user lets streams take a direct path.
    pub(super) fn allow_direct(&self) -> bool {
        self.policy.allows_direct()
    }

    /// What the paths tell next. May be cancelled at any time.
    pub(super) async fn event(&mut self) -> Option<PathEvent> {
        self.paths.event().await
    }

    /// What they have told by now.
    pub(super) fn try_event(&mut self) -> Option<PathEvent> {
        self.paths.try_event()
    }

    /// What somebody has over UDP starves: datagrams by the relay are to go over TCP for so long from now on and a
    /// direct path by TCP is looked for, or no more as far as he is concerned. What the other end wants stays as it is.
    pub(super) fn avoid_udp(&mut self, who: StarvingEnd, time: Duration) {
        match self.policy {
            // Without a relay, a direct path by TCP is looked for all the same.
            PathPolicy::Any | PathPolicy::Relay | PathPolicy::Direct => {}
            PathPolicy::RelayTcp => return,
        }
        let now = Instant::now();
        if let Some(until) = self.by_tcp_until.get_mut(who as usize) {
            *until = Some(now + time.min(MOST_BY_TCP));
        }
        let latest = self.by_tcp_until.iter().flatten().max();
        let left = latest.map(|until| until.saturating_duration_since(now));
        self.command(PathCommand::AvoidUdp(left.unwrap_or_default()));
    }

    pub(super) fn command(&self, command: PathCommand) {
        self.paths.command(command);
    }

    /// Begins to look for direct paths: both peers have proven who they are.
    pub(super) fn search(&self) {
        let key = self.punch_key.clone();
        self.command(PathCommand::Authenticated(key));
    }

    /// The socket of the nominated path, as long as there is one.
    pub(super) fn on_nominated(&mut self, socket: Option<PathSocket>) {
        self.nominated = socket;
    }

    /// The sockets that the session has from its beginning.
    pub(super) fn sockets(&self) -> &[PathSocket] {
        self.paths.sockets()
    }

    /// These, and that of the nominated path, which a TCP connection may be.
    pub(super) fn all_sockets(&self) -> Vec<PathSocket> {
        let sockets = self.sockets().iter().chain(&self.nominated);
        sockets.cloned().collect()
    }

    /// The socket of this number, among these.
    pub(super) fn socket(&self, id: SocketId) -> Option<PathSocket> {
        let mut sockets = self.nominated.iter().chain(self.paths.sockets());
        sockets.find(|socket| socket.id == id).cloned()
    }

    pub(super) async fn close(self) {
        self.paths.close().await;
    }
}
