//! Who comes in at the open port of a forward: the task that accepts, and turns other users' programs and web pages
//! away, for as long as the port is open.

use std::{sync::Arc, time::Duration};

use p2pdbg_forward::{Connection, OpenPort};
use p2pdbg_net::tcp_reset::reset_when_dropped;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};

use super::{
    first_word::Filtered,
    same_user::{Gate, Whose},
};
use crate::event::SessionEvent;

/// How long to wait when a connection cannot be accepted.
const PAUSE: Duration = Duration::from_millis(250);

/// Connections to one port that may have said nothing yet.
const MOST_SILENT: usize = 1024;

/// A port that is open, and the task that accepts there.
#[derive(Debug)]
pub(super) struct Accepting {
    task: AbortHandle,
    sweep: Arc<Notify>,
    /// Ends when the task has let the port go.
    closed: oneshot::Receiver<()>,
}

impl Accepting {
    pub(super) fn begin(
        port: Arc<OpenPort>,
        forward: u16,
        gate: Gate,
        events: mpsc::Sender<SessionEvent>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let sweep = Arc::<Notify>::default();
        let (closes, closed) = oneshot::channel();
        let held = Held {
            port,
            _closes: closes,
        };
        let task = tasks.spawn(accept(held, forward, gate, Arc::clone(&sweep), events));
        Self {
            task,
            sweep,
            closed,
        }
    }

    /// Has the connections taken that wait in the kernel; whether [`SessionEvent::Swept`] follows.
    pub(super) fn sweep(&self) -> bool {
        let runs = !self.task.is_finished();
        if runs {
            self.sweep.notify_one();
        }
        runs
    }

    /// Closes the port. It may be opened again at once: an aborted task that has its socket still would be in the way.
    pub(super) async fn close(self) {
        self.task.abort();
        let _ = self.closed.await;
    }
}

/// The port as its task has it, wherever that is aborted: its fields are dropped in this order.
struct Held {
    port: Arc<OpenPort>,
    _closes: oneshot::Sender<()>,
}

/// Accepts connections of a port; those that are to be filtered count from their first word on.
///
/// Told to by `sweep`, it takes those that the kernel holds already and then says so: a program may have connected,
/// written and ended before anybody came to accept.
async fn accept(
    held: Held,
    forward: u16,
    gate: Gate,
    sweep: Arc<Notify>,
    events: mpsc::Sender<SessionEvent>,
) {
    let mut silent = JoinSet::new();
    loop {
        let event = tokio::select! {
            biased;
            Some(filtered) = silent.join_next() => {
                let filtered = filtered.unwrap_or(Filtered::Gone);
                match on_filtered(filtered, forward, gate, &mut silent) {
                    Some(event) => event,
                    None => continue,
                }
            }
            accepted = held.port.accept() => match (accepted, gate.filter) {
                (Ok(connection), _) if !is_let_in(gate, forward, &connection, &events) => continue,
                (Ok(Connection::Tcp(connection)), Some(_)) if silent.len() >= MOST_SILENT => {
                    tracing::debug!("too many connections say nothing: one more is reset");
                    reset_when_dropped(&connection);
                    continue;
                }
                (Ok(Connection::Tcp(connection)), Some(filter)) => {
                    silent.spawn(filter.judge(connection, Some(filter.patience())));
                    continue;
                }
                // No web page reaches a Unix socket, and no scan of ports.
                (Ok(connection), _) => SessionEvent::Accepted(forward, connection),
                (Err(error), _) => {
                    // Descriptors have run out, say: a loop without a pause would only make it worse.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = sweep.notified() => {
                while let Some(connection) = held.port.accept_now() {
                    if !is_let_in(gate, forward, &connection, &events) {
                        continue;
                    }
                    if events.send(SessionEvent::Accepted(forward, connection)).await.is_err() {
                        return;
                    }
                }
                SessionEvent::Swept
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// What a connection turned out to be; one that waits may be waited for again.
fn on_filtered(
    filtered: Filtered,
    forward: u16,
    gate: Gate,
    silent: &mut JoinSet<Filtered>,
) -> Option<SessionEvent> {
    match filtered {
        Filtered::Client(connection) => {
            Some(SessionEvent::Accepted(forward, Connection::Tcp(connection)))
        }
        Filtered::WebPage(connection) => {
            reset_when_dropped(&connection);
            Some(SessionEvent::TurnedAway(forward))
        }
        Filtered::Waits(connection) => match gate.filter {
            // It counts itself.
            Some(filter) if !filter.lets_wait(silent.len() + 1) => {
                silent.spawn(filter.judge(connection, filter.again()));
                Some(SessionEvent::Silent(forward))
            }
            _ => Some(SessionEvent::Accepted(forward, Connection::Tcp(connection))),
        },
        Filtered::Gone => None,
    }
}

/// Whether a connection may come in by whose program it is; one that may not is reset.
fn is_let_in(
    gate: Gate,
    forward: u16,
    connection: &Connection,
    events: &mpsc::Sender<SessionEvent>,
) -> bool {
    match gate.whose(connection) {
        Whose::Ours => true,
        Whose::Gone => false,
        Whose::Others(uid) => {
            connection.reset_when_dropped();
            // If the session is that busy, it is told of the next.
            let _ = events.try_send(SessionEvent::OtherUser(forward, uid));
            false
        }
    }
}
