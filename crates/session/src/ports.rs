//! The tasks of the forwards: one accepts on an open port, one looks whether a target listens.

use std::{sync::Arc, time::Duration};

use p2pdbg_base::HostPort;
use p2pdbg_forward::OpenPort;
use p2pdbg_net::listening::{self, Presence};
use tokio::sync::{Notify, mpsc};

use super::Event;

/// How often the table of listening sockets is looked at for a forward that refuses while its target is absent.
const LOOK: Duration = Duration::from_millis(250);

/// Accepts connections of a port.
///
/// Told to by `sweep`, it takes those that the kernel holds already and then says so: a program may have connected,
/// written and ended before anybody came to accept.
pub(super) async fn accept(
    port: Arc<OpenPort>,
    forward: u16,
    sweep: Arc<Notify>,
    events: mpsc::Sender<Event>,
) {
    loop {
        let event = tokio::select! {
            biased;
            accepted = port.accept() => match accepted {
                Ok(connection) => Event::Accepted(forward, connection),
                Err(error) => {
                    // Descriptors have run out, say: a loop without a pause would only make it worse.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            },
            () = sweep.notified() => {
                while let Some(connection) = port.accept_now() {
                    if events.send(Event::Accepted(forward, connection)).await.is_err() {
                        return;
                    }
                }
                Event::Swept
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Tells whenever a target begins or ceases to listen.
pub(super) async fn look(target: HostPort, forward: u16, events: mpsc::Sender<Event>) {
    let mut known = None;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let listens = match listening::look(&target) {
            // What cannot be seen may be there.
            Ok(presence) => presence != Presence::Absent,
            Err(error) => {
                tracing::warn!(%error, "cannot see which ports listen");
                continue;
            }
        };
        if known != Some(listens) {
            known = Some(listens);
            let event = Event::TargetListening(forward, listens);
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}
