//! What connections of every kind share on their way in: the limits, the counters, and the way to the hub.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;
use tracing::{Span, field::Empty};

use crate::{
    connections::handshake_limits::{Admission, Transport},
    counters::Tallies,
    hub_event::HubEvent,
    limits::Limits,
    outgoing::{Inlet, outgoing_queue},
    registry::{Arrival, ConnId},
};

/// What the tasks of all connections share, whatever carries them: how they are let in, and where they lead.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Counts connections and their attempts, and judges new ones.
    pub(crate) admission: Admission,
    /// Takes what they say to the task that owns the registry.
    pub(crate) hub: mpsc::Sender<HubEvent>,
    pub(crate) tallies: Arc<Tallies>,
    pub(crate) limits: Limits,
    /// The name of the next connection.
    next: AtomicU64,
}

impl Intake {
    /// For a rendezvous to which nobody has come yet.
    pub(crate) fn new(limits: &Limits, hub: mpsc::Sender<HubEvent>, tallies: Arc<Tallies>) -> Self {
        Self {
            admission: Admission::new(limits),
            hub,
            tallies,
            limits: limits.clone(),
            next: AtomicU64::new(1),
        }
    }

    /// Makes a control connection known to the hub: its name, and where it may ask STUN. What is logged of it lies in
    /// the span. `None` if the hub has gone.
    pub(crate) async fn enter(
        &self,
        observed: SocketAddr,
        stun: Vec<SocketAddr>,
        transport: Transport,
    ) -> Option<(ConnId, Inlet, Span)> {
        self.tallies.connections.add(1);
        let id = ConnId(self.next.fetch_add(1, Ordering::Relaxed));
        let span =
            tracing::info_span!(parent: None, "connection", id = id.0, ?transport, key = Empty);
        // Where peers are is for those who ask for it.
        span.in_scope(|| tracing::debug!(%observed, "connected"));
        let arrival = Arrival {
            observed,
            stun,
            over_tcp: transport == Transport::Tcp,
            span: span.clone(),
        };
        let (outlet, inlet) = outgoing_queue(self.limits.outgoing_bytes);
        let connected = HubEvent::Connected(id, arrival, outlet);
        self.hub.send(connected).await.ok()?;
        Some((id, inlet, span))
    }
}
