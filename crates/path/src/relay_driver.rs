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
    leg_transport::{LegTransports, Relay, RelayAction},
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
    /// The connection that carries the leg, or is to, by its number.
    stream: Option<(u64, RelayTcpLeg)>,
    /// Whether it carries the leg.
    carries: bool,
    /// The one before, which serves until another way does.
    previous: Option<(u64, RelayTcpLeg)>,
    /// Counts them, so that what each says is known to be its own.
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
        if self
            .previous
            .take_if(|(previous, _)| *previous == id)
            .is_some()
        {
            tracing::debug!(?event, "the connection before has ended");
            return;
        }
        let is_current = self
            .stream
            .as_ref()
            .is_some_and(|(current, _)| *current == id);
        let Some(relay) = self.relay.as_mut().filter(|_| is_current) else {
            return;
        };
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
                self.stream = self.previous.take().filter(|_| relay.is_by_stream());
                self.carries = self.stream.is_some();
                match self.carries {
                    // Nobody has taken the leg from it, and it may live on all the same.
                    true => relay.on_stream_kept(now),
                    false => relay.on_stream_ended(now),
                }
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
                    if let Some((_, stream)) = &self.stream {
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
        self.put_aside();
        self.streams += 1;
        let stream = RelayTcpLeg::open(LegStreamConfig {
            id: self.streams,
            route: self.route.clone(),
            address,
            grant,
            arrivals: socket.mux.detour().arrivals(),
            events: self.report.clone(),
        });
        self.stream = Some((self.streams, stream));
    }
}

fn ready(socket: PathSocket, remote: SocketAddr, transport: LegTransport) -> PathEvent {
    PathEvent::Relay {
        socket,
        remote,
        transport,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use p2pdbg_net::{changes::Changes, nat64::Nat64, tcp_detour::outbox};
    use p2pdbg_proto::{
        relay::{LegId, RelayRefusal},
        rendezvous::Role,
        secret::Secret,
    };

    use super::*;
    use crate::traversal_options::Traversal;

    /// A leg that a connection over TCP carries, and a change of the network by which another one is being made.
    struct Moved {
        driver: RelayDriver,
        sockets: HashMap<SocketId, PathSocket>,
        _directory: tempfile::TempDir,
    }

    impl Moved {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
            let mut driver = RelayDriver::new(&PathContext {
                role: Role::Listener,
                policy: PathPolicy::RelayTcp,
                traversal: Traversal::default(),
                search_lock: directory.path().join("lock"),
                route: TcpRoute::new(&url),
                changes: Changes::silent(),
            });
            let (others, _) = mpsc::channel(1);
            let opened = PathSocket::open_both(&Nat64::default(), &others).unwrap();
            let sockets = HashMap::from_iter(opened.into_iter().map(|s| (s.id, s)));
            let introduction = Introduction {
                leg: LegGrant {
                    leg: LegId([7; 16]),
                    key: Secret::from_bytes([3; 32]),
                },
                rendezvous: (Ipv4Addr::LOCALHOST, 9).into(),
                stun: Vec::new(),
                peer_seen: Vec::new(),
                peer_bound: true,
                over_tcp: true,
            };
            driver.begin(&introduction, &sockets);
            driver.handle_timeout();
            driver.flush(&sockets);
            let mut moved = Self {
                driver,
                sockets,
                _directory: directory,
            };
            moved.hear(1, TcpLegEvent::Bound(outbox().0, LegTransport::Tcp));
            moved.driver.on_network_changed();
            moved.driver.flush(&moved.sockets);
            assert_eq!(moved.carrying(), None, "connection 2 is being made");
            moved
        }

        fn hear(&mut self, id: u64, event: TcpLegEvent) {
            self.driver.handle_event((id, event), &self.sockets);
            self.driver.flush(&self.sockets);
        }

        /// The number of the connection that carries the leg.
        fn carrying(&self) -> Option<u64> {
            let (id, _) = self.driver.stream.as_ref()?;
            self.driver.carries.then_some(*id)
        }
    }

    fn ended() -> TcpLegEvent {
        TcpLegEvent::Ended("refused".to_owned())
    }

    #[tokio::test]
    async fn connection_carries_the_leg_on_where_no_other_can_be_had_after_a_change_of_the_network()
    {
        let mut moved = Moved::new();
        moved.hear(2, ended());
        assert_eq!(moved.carrying(), Some(1));
        // Now it ends itself, and is heard.
        moved.hear(1, ended());
        assert_eq!(moved.carrying(), None);
        assert!(moved.driver.stream.is_none());
    }

    #[tokio::test]
    async fn connection_that_has_ended_or_whose_leg_is_gone_is_not_gone_back_to() {
        let mut moved = Moved::new();
        moved.hear(1, ended());
        moved.hear(2, ended());
        assert!(moved.driver.stream.is_none());
        let mut moved = Moved::new();
        moved.hear(2, TcpLegEvent::Refused(RelayRefusal::UnknownLeg));
        assert!(moved.driver.stream.is_none() && moved.driver.previous.is_none());
    }
}
