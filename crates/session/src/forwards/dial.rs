//! Dialling the target of a forward for a stream, at the end that dials.

use std::sync::Arc;

use p2pdbg_base::HostPort;
use p2pdbg_forward::{Turns, dial};
use p2pdbg_ledger::{ResetCode, StreamId};
use p2pdbg_net::listening::{self, Presence};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{event::SessionEvent, stream::Dialing};

/// What is dialled for a stream.
#[derive(Clone)]
pub(super) struct TargetDial {
    pub(super) stream: StreamId,
    pub(super) forward: u16,
    pub(super) target: HostPort,
    pub(super) turns: Arc<Turns>,
    /// Tells whether the target listens, if a connection is broken off that waits for one that has gone.
    pub(super) absence: Option<watch::Receiver<Option<bool>>>,
    pub(super) events: mpsc::Sender<SessionEvent>,
}

impl TargetDial {
    pub(super) fn dial(self) -> Dialing {
        Box::pin(async move {
            let (forward, events) = (self.forward, self.events);
            let (waits, begins_to_wait) = oneshot::channel();
            let waiting = |_: &std::io::Error| {
                // If the session is that busy, nobody reads what is awaited.
                let _ = events.try_send(SessionEvent::StreamWaiting(self.stream, forward));
                let _ = waits.send(());
            };
            let connection = tokio::select! {
                connection = dial(&self.target, &self.turns, waiting) => connection,
                () = refused(self.absence, begins_to_wait) => return Err(ResetCode::CONNECTION),
            };
            let _ = events.try_send(SessionEvent::Reached(forward));
            if let Ok(Presence::Listening(found)) = listening::look(&self.target)
                && found.is_open_to_network()
            {
                let _ = events.try_send(SessionEvent::OpenToNetwork(found.address));
            }
            Ok(connection)
        })
    }
}

/// Ends when a connection that waits is to be refused after all. The target had gone already when it came in, but the
/// port was open still: to hold it is what the port's refusals are there to prevent.
async fn refused(
    absence: Option<watch::Receiver<Option<bool>>>,
    begins_to_wait: oneshot::Receiver<()>,
) {
    let is_absent = |listening: &Option<bool>| *listening == Some(false);
    if let Some(mut listening) = absence
        && begins_to_wait.await.is_ok()
        && listening.wait_for(is_absent).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
