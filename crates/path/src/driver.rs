//! The task that owns the sockets and drives leg and engine.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use p2pdbg_base::descriptors;
use p2pdbg_net::{
    changes::Reason, deadline::sleep_until, interfaces::local_addresses, mux::Datagram,
};
use p2pdbg_portmap::{InsidePort, PortMapper};
use p2pdbg_proto::{relay::is_relay_frame, rendezvous::Role, secret::random_bytes};
use p2pdbg_punch::{
    self as punch, Config, Engine, Family, Input, Output, PunchEvent, SocketId, WEB_PORT,
};
use p2pdbg_rendezvous_client::is_unknown;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Introduction, PathCommand, PathContext, PathEvent, PathSocket,
    direct_tcp::{DirectTcp, DirectTcpEvent},
    mappers::{Mappers, external_port},
    near_leg::NearLeg,
    relay_driver::RelayDriver,
    search_lock::Permit,
    sockets::{self, Sockets},
};

/// How many datagrams that are not QUIC may wait, of all sockets together.
pub(super) const DATAGRAMS: usize = 1024;

/// Addresses of the peer that are kept until there is an engine.
const PEER_SEEN: usize = 32;

pub(super) struct PathDriver {
    context: PathContext,
    sockets: Sockets,
    others: mpsc::Sender<Datagram>,
    report: mpsc::Sender<PathEvent>,
    relaying: RelayDriver,
    near: NearLeg,
    engine: Option<Engine>,
    /// What was learned before there was an engine.
    peer_seen: Vec<IpAddr>,
    obstacle: Option<punch::Obstacle>,
    /// Whether the rendezvous is on this host, and the peer may be too.
    on_this_host: bool,
    /// Looks whether there is a NAT64.
    looking: Option<AbortOnDropHandle<()>>,
    mappers: Mappers,
    permit: Option<Permit>,
    tcp: DirectTcp,
    /// What the session has not been told yet.
    news: VecDeque<PathEvent>,
}

impl PathDriver {
    pub(super) fn new(
        context: PathContext,
        sockets: Vec<PathSocket>,
        others: mpsc::Sender<Datagram>,
        report: mpsc::Sender<PathEvent>,
    ) -> Self {
        Self {
            sockets: Sockets::new(sockets),
            others,
            report,
            looking: None,
            relaying: RelayDriver::new(&context),
            near: NearLeg::default(),
            engine: None,
            peer_seen: Vec::new(),
            obstacle: None,
            on_this_host: false,
            mappers: Mappers::default(),
            permit: None,
            tcp: DirectTcp::new(role_of(context.role)),
            news: VecDeque::new(),
            context,
        }
    }

    pub(super) async fn run(
        mut self,
        mut datagrams: mpsc::Receiver<Datagram>,
        mut commands: mpsc::Receiver<PathCommand>,
    ) {
        let mut changes = self.context.changes.subscribe();
        let mut nat64 = self.context.route.nat64().subscribe();
        self.look_for_nat64();
        loop {
            let timeout = self.poll_timeout();
            tokio::select! {
                Some(datagram) = datagrams.recv() => self.handle_datagram(&datagram),
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => break,
                },
                event = self.tcp.event() => self.on_tcp_event(event),
                event = self.relaying.event() => self.relaying.handle_event(event, self.sockets.with_quic()),
                external = external_port(&mut self.mappers.udp) => {
                    let socket = SocketId::V4;
                    self.tell_engine(Input::MappedPort { socket, external });
                }
                external = external_port(&mut self.mappers.tcp) => {
                    if let Some(ports) = self.tcp.on_mapped(external) {
                        self.tell_engine(Input::TcpPorts(&ports));
                    }
                }
                () = sleep_until(timeout) => self.handle_timeout(),
                reason = changes.news() => self.on_change(reason),
                // All of IPv4 is reached by another way than before.
                Ok(()) = nat64.changed() => self.on_network_changed(),
            }
            if !self.flush().await {
                break;
            }
        }
        self.mappers.release_all().await;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let relay = self.relaying.poll_timeout();
        let engine = self.engine.as_ref().and_then(Engine::poll_timeout);
        let permit = self.permit.as_ref().and_then(Permit::poll_timeout);
        let near = self.near.poll_timeout();
        let paths = relay.into_iter().chain(near);
        let tcp = self.tcp.poll_timeout();
        paths.chain(engine).chain(permit).chain(tcp).min()
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.relaying.handle_timeout();
        self.near.handle_timeout(now);
        if self.tcp.handle_timeout(now) {
            self.mappers.release_tcp();
        }
        if let Some(engine) = &mut self.engine {
            if let Some(permit) = &mut self.permit
                && let Some(allowed) = permit.handle_timeout(now)
            {
                engine.handle(now, Input::SearchAllowed(allowed));
            }
            engine.handle(now, Input::Timeout);
        }
    }

    fn handle_datagram(&mut self, datagram: &Datagram) {
        let Some(&first) = datagram.payload.first() else {
            return;
        };
        if is_relay_frame(first) {
            self.relaying.handle_frame(datagram);
            self.near.handle_frame(datagram, Instant::now());
        } else if let Some(engine) = &mut self.engine {
            let input = Input::Datagram {
                socket: datagram.socket,
                from: datagram.from,
                payload: &datagram.payload,
            };
            engine.handle(Instant::now(), input);
        }
    }

    fn handle_command(&mut self, command: PathCommand) {
        match command {
            PathCommand::Introduced(introduction) => self.on_introduced(introduction),
            PathCommand::PeerSeen { addresses, bound } => {
                self.on_peer_seen(&addresses);
                if bound {
                    self.relaying.on_peer_bound();
                }
            }
            PathCommand::Authenticated(key) => {
                self.tcp.authenticated(key.clone());
                if let Some(engine) = &mut self.engine {
                    engine.authenticated(&key);
                    self.start_mapper();
                }
            }
            PathCommand::PeerSignal(signal) => self.tell_engine(Input::PeerSignal(&signal)),
            PathCommand::DirectUp => self.tell_engine(Input::TunnelUp),
            PathCommand::DirectLost => self.tell_engine(Input::TunnelLost),
            PathCommand::StreamsActive(active) => {
                self.tell_engine(Input::StreamsActive(active));
            }
            PathCommand::Silent => {
                self.tell_engine(Input::PathSilent);
                self.relaying.rebind();
                self.near.rebind(Instant::now());
            }
            PathCommand::SendSingly => self.sockets.send_singly(),
            PathCommand::Near(near) => self.near.set(near, Instant::now()),
            PathCommand::Returned => self.tell_engine(Input::NetworkChanged),
            PathCommand::AvoidUdp(time) => {
                self.relaying.avoid_udp(time);
                self.tell_engine(Input::AvoidUdp(time));
            }
            PathCommand::RelayLost => self.relaying.rebind(),
            PathCommand::Give { socket, to } => {
                if let Some(socket) = self.sockets.take_for_quic(socket) {
                    let _ = to.send(socket);
                }
            }
        }
    }

    fn on_peer_seen(&mut self, addresses: &[IpAddr]) {
        self.tcp.expect(addresses.iter().copied());
        self.tell_engine(Input::PeerSeen(addresses));
        if self.engine.is_none() {
            self.peer_seen.extend_from_slice(addresses);
            self.peer_seen.truncate(PEER_SEEN);
        }
    }

    fn on_introduced(&mut self, introduction: Introduction) {
        self.on_peer_seen(&introduction.peer_seen);
        self.on_this_host = introduction.rendezvous.ip().to_canonical().is_loopback();
        if self.context.policy.allows_relay() {
            self.relaying.begin(&introduction, self.sockets.with_quic());
        }
        self.tell_engine(Input::MetAgain);
        // One that runs looks on by itself; it has the peer's new addresses.
        if self.context.policy.allows_direct() && self.engine.is_none() {
            let rendezvous = introduction.rendezvous;
            let servers = [rendezvous].into_iter().filter(|r| !is_unknown(*r));
            self.tcp
                .on_servers(servers.chain(introduction.stun.iter().copied()));
            self.start_engine(introduction.stun);
        }
    }

    fn start_engine(&mut self, stun: Vec<SocketAddr>) {
        let now = Instant::now();
        let role = role_of(self.context.role);
        // Nobody else's, until the peers have authenticated each other.
        let key = punch::PunchKey::new(random_bytes());
        let mut config = Config::new(role, key, stun);
        config.budget = sockets::within(
            self.context.traversal.budget,
            descriptors::limit(),
            self.context.route.nat64().is_used(),
        );
        config.tcp = self.context.traversal.tcp;
        let mut engine = Engine::new(config, random_bytes(), now);
        for socket in self.sockets.with_quic().values() {
            let any: IpAddr = match socket.id {
                SocketId::V4 => Ipv4Addr::UNSPECIFIED.into(),
                _ => Ipv6Addr::UNSPECIFIED.into(),
            };
            if let Some(port) = socket.port {
                let opened = Input::SocketOpened {
                    socket: socket.id,
                    local: SocketAddr::new(any, port),
                };
                engine.handle(now, opened);
            }
        }
        engine.handle(now, Input::PeerSeen(&self.peer_seen));
        engine.handle(now, Input::SearchAllowed(false));
        self.permit = Some(Permit::new(self.context.search_lock.clone()));
        self.engine = Some(engine);
        self.tell_addresses();
    }

    /// Asks the gateway for a mapping, which is not done for strangers.
    fn start_mapper(&mut self) {
        let socket = self.sockets.with_quic().get(&SocketId::V4);
        if let Some(port) = socket.and_then(|socket| socket.port)
            && self.context.traversal.port_mapping
            && !self.on_this_host
        {
            self.mappers.udp = Some(PortMapper::start(
                InsidePort::Udp(port),
                None,
                &self.context.changes,
            ));
        }
    }

    /// The same for TCP, once that is needed; `web` says that a peer is to come that can call the web's port alone.
    fn start_tcp_mapper(&mut self, web: bool) {
        if let Some(port) = self.tcp.v4_port()
            && self.context.traversal.port_mapping
            && !self.on_this_host
            && self.mappers.tcp.is_none()
        {
            let (port, wanted) = (InsidePort::Tcp(port), web.then_some(WEB_PORT));
            let mapper = PortMapper::start(port, wanted, &self.context.changes);
            self.mappers.tcp = Some(mapper);
        }
    }

    fn look_for_nat64(&mut self) {
        let nat64 = self.context.route.nat64().clone();
        let looking = tokio::spawn(async move { nat64.look_again().await });
        self.looking = Some(AbortOnDropHandle::new(looking));
    }

    fn on_change(&mut self, reason: Reason) {
        tracing::debug!(?reason, "looking at all paths again");
        match reason {
            // Who reaches this host there hears of it, and what stands is asked; nothing is forgotten.
            Reason::Nearby => {
                self.tell_addresses();
                self.tell_engine(Input::NearbyChanged);
            }
            Reason::Network | Reason::Woke { .. } => {
                self.look_for_nat64();
                self.on_network_changed();
            }
        }
    }

    /// Whatever stood may not stand any more, with the same addresses too.
    fn on_network_changed(&mut self) {
        self.sockets.on_network_changed();
        self.tell_addresses();
        self.tell_engine(Input::NetworkChanged);
        self.relaying.on_network_changed();
        self.near.rebind(Instant::now());
    }

    fn tell_addresses(&mut self) {
        let servers = self.engine.as_ref().map_or(&[][..], Engine::stun_servers);
        let addresses = local_addresses(self.on_this_host, servers);
        self.tell_engine(Input::LocalAddresses(&addresses));
    }

    fn tell_engine(&mut self, input: Input<'_>) {
        if let Some(engine) = &mut self.engine {
            engine.handle(Instant::now(), input);
        }
    }

    /// Carries out what leg and engine want; whether the session still listens.
    async fn flush(&mut self) -> bool {
        let news = self.relaying.flush(self.sockets.with_quic());
        self.news.extend(news);
        let near = self.near.flush(self.sockets.with_quic(), Instant::now());
        self.news.extend(near);
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll_output) {
            self.act(output);
        }
        let obstacle = self.engine.as_ref().and_then(Engine::why_relayed);
        if obstacle != self.obstacle {
            self.obstacle = obstacle;
            if let Some(obstacle) = obstacle {
                self.tell(PathEvent::Obstacle(obstacle));
            }
        }
        while let Some(event) = self.news.pop_front() {
            if self.report.send(event).await.is_err() {
                return false;
            }
        }
        true
    }

    fn act(&mut self, output: Output) {
        match output {
            // A connection cannot lower the time to live, and needs not.
            Output::Send {
                socket,
                ttl,
                payload,
                ..
            } if socket.is_stream() => {
                if ttl.is_none() {
                    self.tcp.send(socket, payload);
                }
            }
            Output::Send {
                socket,
                to,
                ttl,
                payload,
            } => {
                if !send(&self.sockets, socket, to, &payload, ttl) {
                    self.tell_engine(Input::SendFailed { socket, to });
                }
            }
            Output::Signal(signal) => self.tell(PathEvent::Signal(signal)),
            Output::OpenSocket { socket, family } => self.open_socket(socket, family),
            Output::CloseSocket { socket } => {
                if self.sockets.remove(socket) {
                    self.tell(PathEvent::Closed { socket });
                }
                self.tcp.close(Instant::now(), socket);
            }
            Output::TcpGather { web } => {
                if self.tcp.gather(web) {
                    self.mappers.release_tcp();
                }
                self.start_tcp_mapper(web);
            }
            Output::TcpDial { to, patience } => self.tcp.dial(to, patience),
            Output::TcpRest => self.tcp.rest(Instant::now()),
            Output::Nominated(path) => {
                self.allow_search(false);
                if let Some(socket) = self.sockets.take_for_quic(path.socket) {
                    self.tell(PathEvent::Direct { socket, path });
                }
            }
            Output::PathLost { reason } => {
                let mappers = self.mappers.udp.iter().chain(&self.mappers.tcp);
                mappers.for_each(PortMapper::doubt);
                self.tell(PathEvent::DirectLost(reason));
            }
            Output::Event(event) => self.on_engine_event(event),
        }
    }

    fn on_engine_event(&mut self, event: PunchEvent) {
        tracing::debug!(?event, "traversal");
        match event {
            PunchEvent::SearchPossible => self.allow_search(true),
            PunchEvent::AttemptFailed { .. } => self.allow_search(false),
            PunchEvent::Heard { socket, remote } => self.tell(PathEvent::Heard { socket, remote }),
            PunchEvent::PathAnswers { after } => self.tell(PathEvent::Answers { after }),
            PunchEvent::PathIsLan => self.tell(PathEvent::IsLan),
            PunchEvent::Unused { technique, rtt, .. } => {
                self.tell(PathEvent::Unused { technique, rtt });
            }
            _ => {}
        }
    }

    /// An attempt may search, if no other session of this host does; between attempts others may.
    fn allow_search(&mut self, wanted: bool) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        let allowed = wanted && permit.want(Instant::now());
        if !wanted {
            permit.release();
        }
        self.tell_engine(Input::SearchAllowed(allowed));
    }

    fn on_tcp_event(&mut self, event: DirectTcpEvent) {
        match event {
            DirectTcpEvent::Ports(ports) => {
                let ports = self.tcp.on_ports(ports);
                self.tell_engine(Input::TcpPorts(&ports));
            }
            DirectTcpEvent::Proven(proven) => match self.tcp.connect(proven, &self.others) {
                Ok(connected) => {
                    let socket = connected.socket.id;
                    self.sockets.insert(connected.socket);
                    self.tell_engine(Input::TcpConnected {
                        socket,
                        local: connected.local,
                        remote: connected.remote,
                        dialled: connected.dialled,
                    });
                }
                Err(error) => tracing::debug!(%error, "no QUIC on a connection"),
            },
            DirectTcpEvent::Ended(socket) => self.tell_engine(Input::TcpClosed { socket }),
        }
    }

    fn open_socket(&mut self, id: SocketId, family: Family) {
        let any = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let nat64 = self.context.route.nat64();
        let opened = self
            .sockets
            .open_for_search(id, any, nat64, self.others.clone());
        match opened {
            Ok(port) => {
                let local = SocketAddr::new(any, port);
                self.tell_engine(Input::SocketOpened { socket: id, local });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot open a socket for the search");
                self.tell_engine(Input::SocketFailed { socket: id });
            }
        }
    }

    fn tell(&mut self, event: PathEvent) {
        self.news.push_back(event);
    }
}

fn role_of(role: Role) -> p2pdbg_punch::Role {
    match role {
        Role::Connector => p2pdbg_punch::Role::Controlling,
        Role::Listener => p2pdbg_punch::Role::Controlled,
    }
}

/// Sends a datagram that is not QUIC; whether the operating system took it or it may be repeated.
fn send(
    sockets: &Sockets,
    socket: SocketId,
    to: SocketAddr,
    payload: &[u8],
    ttl: Option<u8>,
) -> bool {
    let Some(mux) = sockets.mux(socket) else {
        return false;
    };
    match mux.send(to, payload, ttl) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => true,
        Err(error) => {
            tracing::debug!(%error, "cannot send");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_base::PathPolicy;
    use p2pdbg_net::changes::Changes;
    use p2pdbg_rendezvous_client::TcpRoute;
    use tokio::sync::oneshot;

    use super::*;
    use crate::traversal_options::Traversal;

    fn listener(directory: &std::path::Path) -> PathDriver {
        let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
        let context = PathContext {
            role: Role::Listener,
            policy: PathPolicy::Direct,
            traversal: Traversal::default(),
            search_lock: directory.join("lock"),
            route: TcpRoute::new(&url),
            changes: Changes::silent(),
        };
        let (others, _) = mpsc::channel(1);
        let (report, _) = mpsc::channel(1);
        let sockets = PathSocket::open_both(context.route.nat64(), &others).unwrap();
        PathDriver::new(context, sockets, others, report)
    }

    #[tokio::test]
    async fn listener_leaves_the_searches_of_its_host_to_others_until_it_is_told_of_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut driver = listener(directory.path());
        driver.start_engine(Vec::new());
        let mut other = Permit::new(directory.path().join("lock"));
        driver.act(Output::Event(PunchEvent::AttemptBegan { attempt: 1 }));
        assert!(other.want(Instant::now()));
        other.release();
        driver.act(Output::Event(PunchEvent::SearchPossible));
        assert!(!other.want(Instant::now()));
    }

    #[tokio::test]
    async fn of_the_sockets_of_a_search_that_hear_the_peer_only_the_one_that_calls_gets_quic() {
        let directory = tempfile::tempdir().unwrap();
        let mut driver = listener(directory.path());
        let at_first = driver.sockets.with_quic().len();
        for socket in (2..34).map(SocketId) {
            driver.open_socket(socket, Family::V4);
            let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
            driver.act(Output::Event(PunchEvent::Heard { socket, remote }));
        }
        let told = |event: &PathEvent| matches!(event, PathEvent::Heard { .. });
        assert_eq!(driver.news.iter().filter(|event| told(event)).count(), 32);
        assert_eq!(driver.sockets.with_quic().len(), at_first);
        let mut ask = |socket| {
            let (to, given) = oneshot::channel();
            driver.handle_command(PathCommand::Give { socket, to });
            given
        };
        let given = ask(SocketId(5)).await.unwrap();
        assert_eq!(given.id, SocketId(5));
        assert!(ask(SocketId(77)).await.is_err(), "there is no such socket");
        assert_eq!(driver.sockets.with_quic().len(), at_first + 1);
    }
}
