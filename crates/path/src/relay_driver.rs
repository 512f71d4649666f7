//! The relay as the paths' task uses it: carries out what [`Relay`] decides, with the sockets and the connection over
//! TCP.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_base::PathPolicy;
use p2pdbg_net::mux::Datagram;
use p2pdbg_proto::{
    address::canonical,
    relay::{LegGrant, RelayFrame},
};
use p2pdbg_punch::SocketId;
use p2pdbg_rendezvous_client::{TcpRoute, is_unknown};
use tokio::sync::mpsc;

use super::{
    Introduction, LegTransport, PathContext, PathEvent, PathSocket,
    relay::{LegTransports, Relay, RelayAction},
    relay_tcp_leg::{LegStreamConfig, RelayTcpLeg, TcpLegEvent},
};

/// How many events of connections over TCP may wait.
const EVENTS: usize = 16;

/// What the task has of the relay.
pub(super) struct RelayDriver {
    relay: Option<Relay>,
    /// How it is reached over TCP.
    route: TcpRoute,
    /// Whether it must not be reached otherwise.
    tcp_alone: bool,
    /// The connection that carries the leg, or is to.
    stream: Option<RelayTcpLeg>,
    /// Whether it carries the leg.
    carries: bool,
    /// The one before, which serves until another way does.
    previous: Option<RelayTcpLeg>,
    /// Counts them, so that what an older one still says is known to be old.
    streams: u64,
    report: mpsc::Sender<(u64, TcpLegEvent)>,
    events: mpsc::Receiver<(u64, TcpLegEvent)>,
}

impl RelayDriver {
    pub(super) fn new(context: &PathContext) -> Self {
        let (report, events) = mpsc::channel(EVENTS);
        Self {
            relay: None,
            route: context.route.clone(),
            tcp_alone: context.policy == PathPolicy::RelayTcp,
            stream: None,
            carries: false,
            previous: None,
            streams: 0,
            report,
            events,
        }
    }

    /// The rendezvous has granted a leg, in place of any before.
    pub(super) fn begin(
        &mut self,
        introduction: &Introduction,
        sockets: &HashMap<SocketId, PathSocket>,
    ) {
        let (grant, peer_bound) = (introduction.leg.clone(), introduction.peer_bound);
        if let Some(relay) = self.relay.as_mut().filter(|r| r.grant.leg == grant.leg) {
            // It is being bound already.
            if peer_bound {
                relay.on_peer_bound(Instant::now());
            }
            return;
        }
        let address = canonical(introduction.rendezvous);
        let socket = SocketId::for_address(address);
        let has_udp = sockets.get(&socket).is_some_and(|s| s.port.is_some());
        let transports = if self.tcp_alone || !has_udp || is_unknown(address) {
            LegTransports::TcpAlone
        } else if introduction.over_tcp {
            LegTransports::Both
        } else {
            LegTransports::UdpFirst
        };
        match &self.relay {
            // Whatever carried the old leg does so until the new one is bound.
            Some(old) if old.socket == socket && old.address == address => self.put_aside(),
            _ => self.end(sockets),
        }
        let now = Instant::now();
        let relay = Relay::new(grant, address, socket, transports, peer_bound, now);
        self.relay = Some(relay);
    }

    fn put_aside(&mut self) {
        if let Some(stream) = self.stream.take()
            && std::mem::take(&mut self.carries)
        {
            self.previous = Some(stream);
        }
    }

    fn end(&mut self, sockets: &HashMap<SocketId, PathSocket>) {
        (self.stream, self.previous) = (None, None);
        self.carries = false;
        if let Some(relay) = self.relay.take()
            && let Some(socket) = sockets.get(&relay.socket)
        {
            socket.mux.detour().close();
        }
    }

    /// The next event of the connection over TCP; cancel-safe.
    pub(super) async fn event(&mut self) -> (u64, TcpLegEvent) {
        match self.events.recv().await {
            Some(event) => event,
            // Cannot be: one end of the channel is here.
            None => std::future::pending().await,
        }
    }

    /// Takes in what became of the connection that carries the leg.
    pub(super) fn handle_event(
        &mut self,
        (id, event): (u64, TcpLegEvent),
        sockets: &HashMap<SocketId, PathSocket>,
    ) {
        let now = Instant::now();
        let Some(relay) = self.relay.as_mut().filter(|_| id == self.streams) else {
            return;
        };
        if self.stream.is_none() {
            return;
        }
        match event {
            TcpLegEvent::Bound(outbox, transport) => {
                tracing::debug!(?transport, "the leg of the relay is bound over TCP");
                if let Some(socket) = sockets.get(&relay.socket) {
                    socket.mux.detour().open(relay.address, outbox);
                }
                relay.on_stream_bound(now, transport);
                self.carries = true;
                self.previous = None;
            }
            TcpLegEvent::Refused(reason) => {
                tracing::debug!(?reason, "the relay refuses the leg over TCP");
                (self.stream, self.carries) = (None, false);
                relay.on_stream_refused(now, reason);
            }
            TcpLegEvent::Ended(why) => {
                tracing::debug!(why, "no connection to the relay over TCP");
                (self.stream, self.carries) = (None, false);
                relay.on_stream_ended(now);
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.relay.as_ref().and_then(Relay::poll_timeout)
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self) {
        self.with(|relay| relay.handle_timeout(Instant::now()));
    }

    /// Takes a frame of the relay that came over UDP.
    pub(super) fn handle_frame(&mut self, datagram: &Datagram) {
        self.with(|relay| {
            let from_relay = (datagram.socket, datagram.from) == (relay.socket, relay.address);
            if from_relay && let Ok(frame) = RelayFrame::decode(&datagram.payload) {
                relay.handle_frame(Instant::now(), &frame);
            }
        });
    }

    /// The relay or the peer is not heard: binds the leg anew.
    pub(super) fn rebind(&mut self) {
        self.with(|relay| relay.rebind(Instant::now()));
    }

    /// TCP is to carry the leg for so long, or UDP again.
    pub(super) fn avoid_udp(&mut self, time: Duration) {
        self.with(|relay| relay.avoid_udp(time, Instant::now()));
    }

    /// This host's network has changed: binds anew, from another address perhaps.
    pub(super) fn on_network_changed(&mut self) {
        self.with(|relay| relay.on_network_changed(Instant::now()));
    }

    /// The peer has bound its leg.
    pub(super) fn on_peer_bound(&mut self) {
        self.with(|relay| relay.on_peer_bound(Instant::now()));
    }

    fn with(&mut self, work: impl FnOnce(&mut Relay)) {
        if let Some(relay) = &mut self.relay {
            work(relay);
        }
    }

    /// Carries out what is to be done; gives what the session is to be told.
    pub(super) fn flush(&mut self, sockets: &HashMap<SocketId, PathSocket>) -> Vec<PathEvent> {
        let mut news = Vec::new();
        let now = Instant::now();
        while let Some(relay) = &mut self.relay
            && let Some(action) = relay.poll_action(now)
        {
            let Some(socket) = sockets.get(&relay.socket) else {
                // A host without the relay's address family, which no address of it was reached by.
                tracing::warn!("no socket for the relay's address family");
                self.relay = None;
                break;
            };
            match action {
                RelayAction::Send(frame) => {
                    if let Err(error) = socket.mux.send(relay.address, &frame, None) {
                        tracing::debug!(%error, "cannot send to the relay");
                    }
                }
                RelayAction::Connect => {
                    let (address, grant) = (relay.address, relay.grant.clone());
                    self.connect(address, grant, socket);
                }
                RelayAction::Check => {
                    if let Some(stream) = &self.stream {
                        stream.check();
                    }
                }
                RelayAction::LeaveTcp => {
                    socket.mux.detour().close();
                    self.previous = None;
                }
                RelayAction::HangUp => (self.stream, self.carries) = (None, false),
                RelayAction::Near => news.push(PathEvent::Near {
                    socket: socket.clone(),
                    remote: relay.address,
                }),
                RelayAction::Ready(transport) => {
                    if transport == LegTransport::Udp {
                        // Also of a leg before this one.
                        socket.mux.detour().close();
                        self.previous = None;
                    }
                    let (socket, remote) = (socket.clone(), relay.address);
                    news.push(ready(socket, remote, transport));
                }
                RelayAction::Gone => {
                    self.end(sockets);
                    news.push(PathEvent::RelayGone);
                }
            }
        }
        news
    }

    /// Begins to connect over TCP; a connection that carries the leg goes on until the new one does.
    fn connect(&mut self, address: SocketAddr, grant: LegGrant, socket: &PathSocket) {
        if let Some(stream) = self.stream.take()
            && std::mem::take(&mut self.carries)
        {
            self.previous = Some(stream);
        }
        self.streams += 1;
        self.stream = Some(RelayTcpLeg::open(LegStreamConfig {
            id: self.streams,
            route: self.route.clone(),
            address,
            grant,
            arrivals: socket.mux.detour().arrivals(),
            events: self.report.clone(),
        }));
    }
}

fn ready(socket: PathSocket, remote: SocketAddr, transport: LegTransport) -> PathEvent {
    PathEvent::Relay {
        socket,
        remote,
        transport,
    }
}
