//! The tasks of the forwards: one accepts on an open port, one looks whether a target listens.

use std::{sync::Arc, time::Duration};

use p2pdbg_base::HostPort;
use p2pdbg_forward::OpenPort;
use p2pdbg_net::listening::{self, Presence};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::{
    Event,
    first_word::{Screen, Screened},
};

/// How often the table of listening sockets is looked at for a forward that refuses while its target is absent.
const LOOK: Duration = Duration::from_millis(250);

/// Connections to one port that may have said nothing yet.
const MOST_SILENT: usize = 1024;

/// Accepts connections of a port; those that are to be screened count from their first word on.
///
/// Told to by `sweep`, it takes those that the kernel holds already and then says so: a program may have connected,
/// written and ended before anybody came to accept.
pub(super) async fn accept(
    port: Arc<OpenPort>,
    forward: u16,
    screen: Option<Screen>,
    sweep: Arc<Notify>,
    events: mpsc::Sender<Event>,
) {
    let mut silent = JoinSet::new();
    loop {
        let event = tokio::select! {
            biased;
            Some(screened) = silent.join_next() => match screened {
                Ok(Screened::Client(connection)) => Event::Accepted(forward, connection),
                Ok(Screened::WebPage(connection)) => {
                    reset(&connection);
                    Event::TurnedAway(forward)
                }
                Ok(Screened::Silent) | Err(_) => continue,
            },
            accepted = port.accept() => match (accepted, screen) {
                (Ok(connection), Some(_)) if silent.len() >= MOST_SILENT => {
                    tracing::debug!("too many connections say nothing: one more is reset");
                    reset(&connection);
                    continue;
                }
                (Ok(connection), Some(screen)) => {
                    silent.spawn(screen.judge(connection));
                    continue;
                }
                (Ok(connection), None) => Event::Accepted(forward, connection),
                (Err(error), _) => {
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

/// Has whoever is at the other end see a RST when the connection is dropped.
fn reset(connection: &TcpStream) {
    let _ = SockRef::from(connection).set_linger(Some(Duration::ZERO));
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
