//! The tasks in which tunnels come up: what is dialled, called and answered, and what a new tunnel begins with.

use std::net::SocketAddr;

use p2pdbg_base::Untrusted;
use p2pdbg_path::{FirstTunnel, PathCommand};
use p2pdbg_proto::tunnel::{PathKind, TunnelMessage};
use p2pdbg_punch::SocketId;
use p2pdbg_tunnel::{Answered, TunnelError};
use tokio::sync::oneshot;

use super::{decisions::Input, driver::SessionDriver, event::SessionEvent, tunnel_connections};

impl SessionDriver {
    /// Waits for the first tunnel, which was prepared before there was a session.
    pub(super) fn go_on_with(&mut self, first: FirstTunnel) {
        let events = self.events.clone();
        match first {
            FirstTunnel::Expected(mut calls) => {
                self.decide(Input::CallExpected);
                self.connections.share_epochs(calls.epochs());
                if self.ways.allow_direct() {
                    calls.answer_direct();
                }
                self.tasks.spawn(async move {
                    while let Some(answered) = calls.next().await {
                        let _ = events.send(SessionEvent::Called(answered)).await;
                    }
                });
            }
            FirstTunnel::Called(endpoint, call) => {
                let first = self.connections.complete(endpoint, call);
                self.tasks.spawn(async move {
                    match first.await {
                        Ok((tunnel, control)) => {
                            let _ = events.send(SessionEvent::TunnelUp(tunnel, control)).await;
                        }
                        Err(error) => tracing::info!(%error, "no first tunnel"),
                    }
                });
            }
        }
    }

    pub(super) fn dial(
        &mut self,
        number: u64,
        (socket, remote): (SocketId, SocketAddr),
        path: PathKind,
    ) {
        let dialing = self
            .ways
            .socket(socket)
            .map(|socket| self.connections.dial(socket.endpoint, remote, path));
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let dialled = match dialing {
                Some(dialing) => dialing.await,
                None => Err(TunnelError::Lost("its socket is gone".into())),
            };
            let event = match dialled {
                Ok((tunnel, control)) => SessionEvent::TunnelUp(tunnel, control),
                Err(error) => SessionEvent::DialFailed {
                    number,
                    path,
                    error,
                },
            };
            let _ = events.send(event).await;
        });
    }

    pub(super) fn call(&mut self, socket: SocketId, remote: SocketAddr) {
        let (to, given) = oneshot::channel();
        self.ways.command(PathCommand::Give { socket, to });
        let call = self.connections.call(given, remote);
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let event = match call.await {
                Ok((tunnel, control)) => SessionEvent::Called(Answered {
                    socket,
                    remote,
                    tunnel,
                    control,
                }),
                Err(error) => {
                    tracing::debug!(%error, "the call came to nothing");
                    SessionEvent::CallFailed
                }
            };
            let _ = events.send(event).await;
        });
    }

    /// Uses a tunnel from now on, and says what every new tunnel begins with.
    pub(super) fn adopt(&mut self, epoch: u64) {
        let Some(tunnel) = self.connections.adopt(epoch, &mut self.tasks) else {
            return;
        };
        tunnel.send(TunnelMessage::Facts(self.peers.here.to_wire()));
        self.announce(epoch);
        self.begin_sources();
    }

    /// Has the streams use this tunnel from now on. What was said last may have been said on one that was dead.
    pub(super) fn use_for_streams(&mut self, epoch: Option<u64>) {
        self.connections.use_for_streams(epoch);
        if let Some(epoch) = epoch.filter(|epoch| !self.connections.heard_last(*epoch)) {
            self.announce(epoch);
        }
    }

    /// Says on a tunnel what the other end must know, whatever it has heard of it.
    fn announce(&mut self, epoch: u64) {
        let Some(tunnel) = self.connections.find(epoch) else {
            return;
        };
        for message in self.forwards.announcements() {
            tunnel.send(message);
        }
        for message in self.streams.announcements(self.role) {
            tunnel.send(message);
        }
        self.connections.told(epoch);
    }

    /// The listener's call was answered.
    pub(super) fn on_called(&mut self, answered: Answered) {
        let Answered {
            socket,
            remote,
            tunnel,
            control,
        } = answered;
        self.catch_up_with_paths();
        let tunnel = self.connections.insert(tunnel, control);
        self.decide(Input::CallUp {
            socket,
            remote,
            tunnel,
        });
    }

    pub(super) fn on_tunnel_ended(&mut self, epoch: u64, error: &quinn::ConnectionError) {
        let words = Untrusted::of_error(error);
        tracing::info!(epoch, why = words.as_str(), "a tunnel ended");
        let why = tunnel_connections::end_of(error);
        self.decide(Input::TunnelEnded { epoch, why });
    }
}
