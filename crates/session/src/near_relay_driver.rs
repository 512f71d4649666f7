//! The relay besides the rendezvous' own, as the session's task uses it: measures, tells the peer, asks, and goes
//! there.

use std::{sync::Arc, time::Instant};

use p2pdbg_path::{NearRelay, PathCommand, RelayAt};
use p2pdbg_proto::{
    node::NodeNumber,
    relay::LegId,
    signal::{Distance, PeerMessage},
    tunnel::PathKind,
};
use p2pdbg_rendezvous_client::{NodeAway, TcpRoute};
use tokio::{
    sync::{Notify, mpsc},
    time::{Duration, sleep},
};

use super::{
    decisions::{Input, Near},
    driver::SessionDriver,
    event::SessionEvent,
    io::SessionOutput,
    near_relay_choice::Choice,
};
use crate::stream::BestTunnel;

/// How soon after its beginning a session looks for a nearer relay: by then most have a direct path and need none.
const AT_FIRST: Duration = Duration::from_secs(2);

/// How often it looks again.
const AGAIN: Duration = Duration::from_secs(120);

/// The same when its home did not answer.
const UNANSWERED: Duration = Duration::from_secs(10);

/// How soon it looks when something has changed.
const SOON: Duration = Duration::from_secs(1);

/// Measures how far the nodes are, now and then, while there are several and the streams have no direct path.
async fn measure(
    route: TcpRoute,
    look: Arc<Notify>,
    best: BestTunnel,
    events: mpsc::Sender<SessionEvent>,
) {
    let mut pause = AT_FIRST;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = look.notified() => sleep(SOON).await,
        }
        pause = AGAIN;
        let is_relayed = {
            let best = best.borrow();
            best.as_ref()
                .is_some_and(|tunnel| tunnel.path != PathKind::Direct)
        };
        let several = route.nodes().filter(|nodes| nodes.relays.len() > 1);
        if let Some(nodes) = several.filter(|_| is_relayed) {
            let here = route.distances().await;
            if here.iter().all(|away| away.number != nodes.own) {
                // Nothing can be held against a home that has not answered.
                pause = UNANSWERED;
            }
            if events.send(SessionEvent::Measured(here)).await.is_err() {
                return;
            }
        } else {
            tracing::debug!(is_relayed, "no nearer relay is looked for");
        }
    }
}

impl SessionDriver {
    /// Begins to look for nearer relays.
    pub(super) fn watch_relays(&mut self) {
        if self.ways.relays.allowed {
            let (route, look) = (
                self.ways.relays.route.clone(),
                Arc::clone(&self.ways.relays.look),
            );
            let measuring = measure(route, look, self.connections.best(), self.events.clone());
            self.tasks.spawn(measuring);
        }
    }

    /// So far the nodes are from here.
    pub(super) fn on_measured(&mut self, here: Vec<NodeAway>) {
        let home = self.ways.relays.route.nodes().map(|nodes| nodes.own);
        let told = self.ways.relays.choice.on_measured(home, here);
        self.tell(SessionOutput::Message(PeerMessage::Distances(told)));
        self.choose_relay();
    }

    /// So far they are from the peer.
    pub(super) fn on_distances(&mut self, there: Vec<Distance>) {
        if self.ways.relays.allowed {
            self.ways.relays.choice.on_told(there);
            self.choose_relay();
        }
    }

    fn choose_relay(&mut self) {
        match self.ways.relays.choice.choose(Instant::now()) {
            Some(Choice::Ask(node)) => self.tell(SessionOutput::Relay(node)),
            Some(Choice::Leave) => self.leave_near_relay(),
            None => {}
        }
    }

    /// Both have a ticket for this relay.
    pub(super) fn on_relay_at(&mut self, at: RelayAt) {
        let RelayAt { node, leg, ticket } = at;
        if !self.ways.relays.allowed {
            return;
        }
        let Some(address) = self.ways.relays.choice.on_granted(node, Instant::now()) else {
            tracing::debug!(%node, "this host does not reach the relay that its peer has chosen");
            return;
        };
        tracing::info!(%node, "a nearer relay");
        self.decide(Input::NearAt(Some(Near { address, node })));
        self.ways.relays.leg = Some(leg.leg);
        let near = NearRelay {
            address,
            leg,
            ticket,
        };
        self.ways.command(PathCommand::Near(Some(near)));
    }

    /// This node goes out of service: the next best one is asked for.
    pub(super) fn on_relay_refused(&mut self, node: NodeNumber) {
        tracing::debug!(%node, "the relay that was asked for takes no new sessions");
        self.ways.relays.choice.on_refused(node, Instant::now());
        self.choose_relay();
    }

    /// The home may be another now: one that is the relay too makes the second leg there superfluous.
    pub(super) fn on_home(&mut self) {
        let home = self.ways.relays.route.nodes().map(|nodes| nodes.own);
        if home.is_some_and(|home| self.ways.relays.choice.is_used(home)) {
            self.leave_near_relay();
        }
        self.ways.relays.look_soon();
    }

    fn leave_near_relay(&mut self) {
        self.ways.relays.choice.on_left();
        self.drop_near_leg();
    }

    /// The relay does not answer on this leg, or does not know it any more.
    pub(super) fn on_near_gone(&mut self, leg: LegId) {
        // What was said of the one before must not end the one that took its place meanwhile.
        if self.ways.relays.leg == Some(leg) {
            self.on_near_lost();
        }
    }

    /// The relay is of no use to this session, or not any more.
    pub(super) fn on_near_lost(&mut self) {
        tracing::info!("the nearer relay is left");
        self.ways.relays.choice.on_gone(Instant::now());
        self.drop_near_leg();
        self.ways.relays.look_soon();
    }

    fn drop_near_leg(&mut self) {
        self.ways.relays.leg = None;
        self.ways.command(PathCommand::Near(None));
        self.decide(Input::NearAt(None));
    }
}
