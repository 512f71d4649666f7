//! The listener's calls, at both ends: which tunnel comes of them, and when it counts.
//!
//! A call through the relay counts as soon as it is a tunnel. One on a direct path is made while that path is being
//! nominated, and counts once it is: what is nominated in the end may be another one.

use std::{net::SocketAddr, time::Duration};

use p2pdbg_path::{FirstTunnel, PathSocket};
use p2pdbg_proto::{
    control::Role,
    tunnel::{PathKind, close},
};
use p2pdbg_punch::SocketId;
use p2pdbg_tunnel::Answered;

use super::{Event, driver::Driver};

/// How much later than it could itself the connector dials where the listener is to call. The call's handshake takes a
/// little over two round trips by the relay, of which one has begun.
const BY_RELAY: Duration = Duration::from_millis(500);

/// The same on a direct path, on which the call has begun before the nomination.
const DIRECTLY: Duration = Duration::from_millis(30);

/// How long a call may go unused.
const UNUSED: Duration = Duration::from_secs(5);

/// What there is of calls.
#[derive(Default)]
pub(super) struct CallBook {
    /// Whether the relay's leg is ready for the first time and the listener is expected to call.
    pub(super) expects: bool,
    /// Whether this end answers calls, or makes one now.
    active: bool,
    /// The direct path that is nominated.
    nominated: Option<(SocketId, SocketAddr)>,
    /// A tunnel on a direct path that is not.
    ready: Option<Answered>,
}

impl Driver {
    /// Goes on with what was begun before there was a session.
    pub(super) fn go_on_with(&mut self, begun: FirstTunnel) {
        let events = self.events.clone();
        match begun {
            FirstTunnel::Expected(mut calls) => {
                self.calls.expects = true;
                self.calls.active = true;
                self.tunnels.share_epochs(calls.epochs());
                if self.policy.allows_direct() {
                    calls.answer_direct();
                }
                self.tasks.spawn(async move {
                    while let Some(answered) = calls.next().await {
                        let _ = events.send(Event::Called(answered)).await;
                    }
                });
            }
            FirstTunnel::Called(endpoint, call) => {
                let first = self.tunnels.complete(endpoint, call);
                self.tasks.spawn(async move {
                    match first.await {
                        Ok((tunnel, control)) => {
                            let _ = events.send(Event::TunnelUp(tunnel, control)).await;
                        }
                        Err(error) => tracing::info!(%error, "no first tunnel"),
                    }
                });
            }
        }
    }

    /// The listener hears the connector on a path: that one may be nominated.
    pub(super) fn on_heard(&mut self, socket: &PathSocket, remote: SocketAddr) {
        if self.role != Role::Listener || std::mem::replace(&mut self.calls.active, true) {
            return;
        }
        let id = socket.id;
        let call = self.tunnels.call(socket.endpoint.clone(), remote);
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let event = match call.await {
                Ok((tunnel, control)) => Event::Called(Answered {
                    socket: id,
                    remote,
                    tunnel,
                    control,
                }),
                Err(error) => {
                    tracing::debug!(%error, "the call came to nothing");
                    Event::NotCalling
                }
            };
            let _ = events.send(event).await;
        });
    }

    /// The listener's call has come to nothing: another may be made.
    pub(super) fn on_not_calling(&mut self) {
        self.calls.active = false;
    }

    /// A call is a tunnel, at either end.
    pub(super) fn on_called(&mut self, answered: Answered) {
        if self.role == Role::Listener {
            self.calls.active = false;
        }
        let at = (answered.socket, answered.remote);
        if answered.tunnel.path != PathKind::Direct || self.calls.nominated == Some(at) {
            self.on_tunnel_up(answered.tunnel, answered.control);
            return;
        }
        let (epoch, events) = (answered.tunnel.epoch, self.events.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(UNUSED).await;
            let _ = events.send(Event::Unused(epoch)).await;
        });
        if let Some(older) = self.calls.ready.replace(answered) {
            older.tunnel.close(close::REPLACED);
        }
    }

    /// A tunnel that was called is not used after all.
    pub(super) fn drop_call(&mut self, epoch: u64) {
        let unused = |ready: &mut Answered| ready.tunnel.epoch == epoch;
        if let Some(unused) = self.calls.ready.take_if(unused) {
            unused.tunnel.close(close::REPLACED);
        }
    }

    /// A direct path is nominated: the call on it counts, or the connector dials.
    pub(super) fn on_nominated(&mut self, socket: PathSocket, remote: SocketAddr) {
        let at = (socket.id, remote);
        self.calls.nominated = Some(at);
        if let Some(ready) = self.calls.ready.take() {
            if (ready.socket, ready.remote) == at {
                self.on_tunnel_up(ready.tunnel, ready.control);
                return;
            }
            ready.tunnel.close(close::REPLACED);
        }
        match self.role {
            Role::Connector if self.calls.active => {
                self.await_call(socket, remote, PathKind::Direct);
            }
            Role::Connector => self.dial(socket, remote, PathKind::Direct),
            Role::Listener => self.accept_on(socket),
        }
    }

    /// No direct path is nominated.
    pub(super) fn on_not_nominated(&mut self) {
        self.calls.nominated = None;
    }

    /// The listener's call is due. The connector dials by itself a little later.
    pub(super) fn await_call(&mut self, socket: PathSocket, remote: SocketAddr, path: PathKind) {
        let patience = match path {
            PathKind::Direct => DIRECTLY,
            PathKind::RelayUdp | PathKind::RelayTcp => BY_RELAY,
        };
        let events = self.events.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(patience).await;
            let _ = events.send(Event::NotCalled(socket, remote, path)).await;
        });
    }

    /// It has not come.
    pub(super) fn on_not_called(&mut self, socket: PathSocket, remote: SocketAddr, path: PathKind) {
        let (serves, due) = match path {
            PathKind::Direct => (
                self.tunnels.reaches(remote),
                self.calls.nominated == Some((socket.id, remote)),
            ),
            PathKind::RelayUdp | PathKind::RelayTcp => (self.tunnels.serves(path), true),
        };
        if due && !serves {
            self.dial(socket, remote, path);
        }
    }
}
