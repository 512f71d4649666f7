//! How a session reaches its peer: tunnels that come up, fail and end, and which one is used.

use std::{net::SocketAddr, time::Duration};

use p2pdbg_path::{Carrier, PathCommand, PathSocket};
use p2pdbg_proto::tunnel::{PathKind, TunnelMessage};
use p2pdbg_tunnel::{ControlReader, Tunnel, TunnelError};

use super::{Event, driver::Driver, tunnels};

/// The pause before a path is tried again on which no tunnel came up.
const REDIAL: Duration = Duration::from_secs(1);

/// How long a tunnel stays up after a newer one on the same kind of path.
const RETIRE: Duration = Duration::from_secs(5);

/// For how long nothing may get through before a person hears of it: what is over by then was hardly noticed.
const HICCUP: Duration = Duration::from_secs(2);

impl Driver {
    pub(super) fn on_tunnel_up(&mut self, tunnel: Tunnel, control: ControlReader) {
        let path = tunnel.path;
        if path == PathKind::Direct {
            self.paths.command(PathCommand::DirectUp);
        }
        tunnels::watch(&tunnel, control, &self.events, &mut self.tasks);
        tunnel.send(TunnelMessage::Facts(self.facts.to_wire()));
        for message in self.forwards.announcements() {
            tunnel.send(message);
        }
        for stream in self.streams.waiting_here(self.role) {
            let (stream, waiting) = (stream.to_u64(), true);
            tunnel.send(TunnelMessage::StreamWaiting { stream, waiting });
        }
        for epoch in self.tunnels.insert(tunnel) {
            let events = self.events.clone();
            self.tasks.spawn(async move {
                // What is in flight on it arrives, or is sent again.
                tokio::time::sleep(RETIRE).await;
                let _ = events.send(Event::Retire(epoch)).await;
            });
        }
        self.on_best_changed();
        #[cfg(unix)]
        self.begin_sources();
    }

    pub(super) fn on_dial_failed(&mut self, path: PathKind, error: &TunnelError) {
        tracing::info!(%error, ?path, "no tunnel");
        self.tunnels.on_dial_failed(path);
        // Whoever stands on the path may have caused it, an impostor's certificate too: that ends no session.
        let events = self.events.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(REDIAL).await;
            let _ = events.send(Event::PathFailed(path)).await;
        });
    }

    /// The leg of the relay is carried by this now.
    pub(super) fn on_relay(&mut self, carrier: Carrier) {
        let changed = self.status.on_relay(carrier);
        let current = self.tunnels.current();
        if changed
            && let Some(tunnel) = current.filter(|tunnel| tunnel.path != PathKind::Direct)
            && let Some(report) = self.status.on_path(tunnel)
        {
            self.chart.on_path(report);
        }
    }

    /// Has a path looked for anew after its tunnel was lost or did not come up.
    pub(super) fn on_path_failed(&mut self, path: PathKind) {
        if !self.tunnels.has(path) {
            self.paths.command(match path {
                PathKind::Direct => PathCommand::DirectLost,
                PathKind::RelayUdp | PathKind::RelayTcp => PathCommand::RelayLost,
            });
        }
    }

    pub(super) fn on_tunnel_ended(&mut self, epoch: u64, why: &str) {
        let Some(path) = self.tunnels.remove(epoch) else {
            return;
        };
        tracing::info!(epoch, ?path, why, "a tunnel ended");
        self.streams.on_tunnel_lost(epoch);
        self.on_path_failed(path);
        self.status.on_lost(path, why);
        self.on_best_changed();
    }

    /// Tells what has changed when the streams move to another tunnel, or have none.
    pub(super) fn on_best_changed(&mut self) {
        let changed = self.tunnels.choose();
        while let Some(silent) = self.tunnels.poll_forsaken() {
            self.streams.on_tunnel_silent(silent);
        }
        let streams = self.streams.count();
        self.out_of_reach_since = match (self.tunnels.out_of_reach_since(), self.out_of_reach_since)
        {
            (Some(_), Some(since)) => Some(since),
            (since, _) => since.map(Into::into),
        };
        match (self.out_of_reach_since, self.lost_since) {
            (Some(since), None) if since.elapsed() >= HICCUP => {
                self.lost_since = Some(since);
                self.status.on_peer_lost(streams);
            }
            (None, Some(since)) => {
                self.lost_since = None;
                let is_direct = |tunnel: &Tunnel| tunnel.path == PathKind::Direct;
                if !self.tunnels.current().is_some_and(is_direct) {
                    self.paths.command(PathCommand::Returned);
                }
                self.status.on_resumed(since.elapsed(), streams);
            }
            _ => {}
        }
        self.path_untold |= changed;
        // Which of several silent tunnels will be the first to be heard is no news.
        if self.path_untold
            && self.out_of_reach_since.is_none()
            && let Some(tunnel) = self.tunnels.current()
        {
            self.path_untold = false;
            if let Some(report) = self.status.on_path(tunnel) {
                self.chart.on_path(report);
            }
        }
        self.update_status();
    }

    /// Dials a tunnel in a task of its own.
    pub(super) fn dial(&mut self, socket: PathSocket, remote: SocketAddr, path: PathKind) {
        let Some(dialing) = self.tunnels.dial(socket.endpoint, remote, path) else {
            return;
        };
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let event = match dialing.await {
                Ok((tunnel, control)) => Event::TunnelUp(tunnel, control),
                Err(error) => Event::DialFailed(path, error),
            };
            let _ = events.send(event).await;
        });
    }

    pub(super) fn accept_tunnels(&mut self) {
        for socket in self.paths.sockets().to_vec() {
            self.accept_on(socket);
        }
    }

    pub(super) fn accept_on(&mut self, socket: PathSocket) {
        if let Some(accepting) = self.tunnels.accept_on(&socket, self.events.clone()) {
            self.tasks.spawn(accepting);
        }
    }
}
