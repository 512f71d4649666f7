//! Dialling the target of a forward for a stream, at the end that dials.

use std::sync::Arc;

use p2pdbg_base::HostPort;
use p2pdbg_forward::{Turns, dial};
use p2pdbg_ledger::StreamId;
use p2pdbg_net::listening::{self, Presence};
use tokio::sync::mpsc;

use crate::{event::Event, stream::Dialing};

/// What is dialled for a stream.
#[derive(Clone)]
pub(super) struct TargetDial {
    pub(super) stream: StreamId,
    pub(super) forward: u16,
    pub(super) target: HostPort,
    pub(super) turns: Arc<Turns>,
    pub(super) events: mpsc::Sender<Event>,
}

impl TargetDial {
    pub(super) fn dial(self) -> Dialing {
        Box::pin(async move {
            let (forward, events) = (self.forward, self.events);
            let waiting = |_: &std::io::Error| {
                // If the session is that busy, nobody reads what is awaited.
                let _ = events.try_send(Event::StreamWaiting(self.stream, forward));
            };
            let connection = dial(&self.target, &self.turns, waiting).await;
            let _ = events.try_send(Event::Reached(forward));
            if let Ok(Presence::Listening(found)) = listening::look(&self.target)
                && found.is_open_to_network()
            {
                let _ = events.try_send(Event::OpenToNetwork(found.address));
            }
            Ok(connection)
        })
    }
}
