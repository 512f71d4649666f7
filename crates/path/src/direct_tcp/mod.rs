//! Direct paths by TCP as the paths' task uses them: carries out what the engine wants, with this host's TCP ports.
//!
//! A connection stands in for a UDP socket: QUIC's datagrams leave and come by its detour, as they do on a leg of the
//! relay over TCP, and the engine's checks go the same way. Before that it has to prove that it leads to the peer.

mod connection;
mod newcomers;
mod tcp_ports;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_net::{mux::Datagram, tcp_detour::outbox, tcp_port::TcpPort};
use p2pdbg_proto::{address::canonical, url::DEFAULT_PORT};
use p2pdbg_punch::{PunchKey, Role, SocketId, TcpPorts, WEB_PORT, is_of_web};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use self::connection::{Ends, Proven, carry, prove};
use super::PathSocket;

/// How many events may wait.
const EVENTS: usize = 16;

/// Checks that wait for a connection.
const CHECKS: usize = 32;

/// Servers of one family that are asked.
const SERVERS: usize = 3;

/// Addresses of the peer from which connections are expected.
const EXPECTED: usize = 16;

/// How long the ports are listened on, and mapped, after the search by TCP has come to rest and its last connection has
/// ended. A path that is lost soon, and the first pause between two series, find them as they were.
const KEPT: Duration = Duration::from_secs(30);

/// What the tasks of ports, dials and connections tell the owner of the paths.
#[derive(Debug)]
pub(super) enum DirectTcpEvent {
    /// What was learnt of the ports.
    Ports(TcpPorts),
    /// A connection leads to the peer.
    Proven(Proven),
    /// A connection to the peer has ended.
    Ended(SocketId),
}

/// A connection that is in use as a socket.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) socket: PathSocket,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) dialled: bool,
}

/// What the task has of TCP.
pub(super) struct DirectTcp {
    role: Role,
    key: Option<PunchKey>,
    listening: Listening,
    /// Servers that may answer STUN over TCP.
    servers: Vec<SocketAddr>,
    asking: Option<AbortOnDropHandle<()>>,
    dialling: JoinSet<()>,
    connections: HashMap<SocketId, Connection>,
    /// How many connections have had a socket's number, so that each gets another.
    count: u32,
    expected: watch::Sender<Vec<IpAddr>>,
    known: TcpPorts,
    /// Whether the servers have been asked since the last time.
    asked: bool,
    /// Since when nobody needs the ports.
    unneeded: Option<Instant>,
    report: mpsc::Sender<DirectTcpEvent>,
    events: mpsc::Receiver<DirectTcpEvent>,
}

/// The ports, and who lets in whoever connects there.
#[derive(Default)]
struct Listening {
    ports: Vec<TcpPort>,
    accepting: Vec<AbortOnDropHandle<()>>,
    /// Whether they are those of the web, where they could be had.
    web: bool,
}

struct Connection {
    checks: mpsc::Sender<Vec<u8>>,
    _task: AbortOnDropHandle<()>,
}

impl DirectTcp {
    pub(super) fn new(role: Role) -> Self {
        let (report, events) = mpsc::channel(EVENTS);
        Self {
            role,
            key: None,
            listening: Listening::default(),
            servers: Vec::new(),
            asking: None,
            dialling: JoinSet::new(),
            connections: HashMap::new(),
            count: 0,
            expected: watch::Sender::default(),
            known: TcpPorts::default(),
            asked: false,
            unneeded: None,
            report,
            events,
        }
    }

    /// The peers have authenticated each other: this key proves connections.
    pub(super) fn authenticated(&mut self, key: PunchKey) {
        self.key = Some(key);
    }

    /// Servers that may be asked, the best first.
    pub(super) fn on_servers(&mut self, servers: impl Iterator<Item = SocketAddr>) {
        self.servers = to_ask(servers);
    }

    /// The peer may connect from these addresses.
    pub(super) fn expect(&self, addresses: impl Iterator<Item = IpAddr>) {
        self.expected.send_modify(|expected| {
            for ip in addresses.map(|ip| ip.to_canonical()) {
                if !expected.contains(&ip) {
                    expected.insert(0, ip);
                }
            }
            expected.truncate(EXPECTED);
        });
    }

    /// Listens, and asks the servers how they see it. `web` says that the port of the web is to be listened on, where
    /// this host may, and no longer if not. Whether other ports were closed for that, so that nothing need be mapped to
    /// them. Those of a connection that stands are kept, by which it may have come.
    pub(super) fn gather(&mut self, web: bool) -> bool {
        let Some(key) = self.key.clone() else {
            return false;
        };
        self.unneeded = None;
        let differs = web != self.listening.web && !self.listening.ports.is_empty();
        let others = differs && self.connections.is_empty();
        if others {
            self.close_ports();
        }
        if self.listening.ports.is_empty() {
            self.listening.web = web;
            self.listen(&key);
        }
        let of = |v4| {
            self.listening
                .ports
                .iter()
                .find(|p| p.is_ipv4() == v4)
                .map(TcpPort::number)
        };
        self.known.v4 = of(true);
        self.known.v6 = of(false);
        // The connections of the last time go first, since the new ones have the same ends.
        self.asking = None;
        self.asked = false;
        let asking = tcp_ports::ask(
            self.listening.ports.clone(),
            self.servers.clone(),
            self.known.clone(),
            self.report.clone(),
        );
        self.asking = Some(AbortOnDropHandle::new(tokio::spawn(asking)));
        others
    }

    fn listen(&mut self, key: &PunchKey) {
        let families: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for family in families {
            let of_web = self.listening.web.then(|| of_web(family)).flatten();
            let (port, listener) = match of_web.map_or_else(|| TcpPort::listen(family), Ok) {
                Ok(listening) => listening,
                Err(error) => {
                    tracing::debug!(%error, "no TCP port of one family");
                    continue;
                }
            };
            let (expected, report) = (self.expected.subscribe(), self.report.clone());
            let accepting = tcp_ports::accept(listener, key.clone(), self.role, expected, report);
            self.listening
                .accepting
                .push(AbortOnDropHandle::new(tokio::spawn(accepting)));
            self.listening.ports.push(port);
        }
    }

    fn close_ports(&mut self) {
        self.listening = Listening::default();
        self.known = TcpPorts::default();
        self.asked = false;
    }

    /// Dials these addresses at the same time, each from the listening port of its family, for `patience` at the
    /// most.
    pub(super) fn dial(&mut self, to: Vec<SocketAddr>, patience: Duration) {
        while self.dialling.try_join_next().is_some() {}
        self.expect(to.iter().map(SocketAddr::ip));
        let Some(key) = &self.key else {
            return;
        };
        for to in to {
            let port = self
                .listening
                .ports
                .iter()
                .find(|port| port.is_of_family_of(to.ip()));
            let Some(port) = port.copied() else {
                continue;
            };
            let (key, role, report) = (key.clone(), self.role, self.report.clone());
            self.dialling.spawn(async move {
                match dial(port, to, patience, &key, role).await {
                    Ok(proven) => {
                        let _ = report.send(DirectTcpEvent::Proven(proven)).await;
                    }
                    Err(error) => tracing::debug!(%to, %error, "no connection to the peer"),
                }
            });
        }
    }

    /// Nothing is looked for any more: the NAT need not hold the ports, and they close if this lasts.
    pub(super) fn rest(&mut self, now: Instant) {
        self.asking = None;
        self.unneeded = Some(now);
    }

    /// When the ports close, if nothing comes in between. Those of connections that stand are kept: a gateway's mapping
    /// may be what one of them goes by.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let unneeded = self.unneeded?;
        let idle = self.connections.is_empty() && !self.listening.ports.is_empty();
        idle.then_some(unneeded + KEPT)
    }

    /// Closes the ports if it is time; whether they were closed, so that nothing need be mapped to them.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        if due {
            self.close_ports();
        }
        due
    }

    /// The next event; cancel-safe.
    pub(super) async fn event(&mut self) -> DirectTcpEvent {
        match self.events.recv().await {
            Some(event) => event,
            // Cannot be: one end of the channel is here.
            None => std::future::pending().await,
        }
    }

    /// What was learnt of the ports, to be told.
    pub(super) fn on_ports(&mut self, ports: TcpPorts) -> TcpPorts {
        let mapped = self.known.mapped;
        self.known = TcpPorts { mapped, ..ports };
        self.asked = true;
        self.known.clone()
    }

    /// A gateway maps the IPv4 port, or does so no longer; what is to be told, if the servers have been asked.
    pub(super) fn on_mapped(&mut self, external: Option<SocketAddr>) -> Option<TcpPorts> {
        self.known.mapped = external;
        self.asked.then(|| self.known.clone())
    }

    /// The port over IPv4.
    pub(super) fn v4_port(&self) -> Option<u16> {
        self.known.v4
    }

    /// Makes a socket of a connection that leads to the peer.
    ///
    /// # Errors
    /// If QUIC cannot be started on it.
    pub(super) fn connect(
        &mut self,
        proven: Proven,
        others: &mpsc::Sender<Datagram>,
    ) -> io::Result<Connected> {
        let id = SocketId::of_stream(self.count);
        self.count = self.count.wrapping_add(1);
        let remote = canonical(proven.remote);
        let socket = PathSocket::on_stream(id, proven.local, others.clone())?;
        let (outbox, backlog) = outbox();
        socket.mux.detour().open(remote, outbox);
        let (checks, waiting) = mpsc::channel(CHECKS);
        let ends = Ends {
            socket: id,
            arrivals: socket.mux.detour().arrivals(),
            others: others.clone(),
            backlog,
            checks: waiting,
        };
        let connected = Connected {
            socket,
            local: proven.local,
            remote,
            dialled: proven.dialled,
        };
        let report = self.report.clone();
        let task = tokio::spawn(async move {
            let why = carry(proven, ends).await;
            tracing::debug!(?why, "a connection to the peer has ended");
            let _ = report.send(DirectTcpEvent::Ended(id)).await;
        });
        let connection = Connection {
            checks,
            _task: AbortOnDropHandle::new(task),
        };
        self.connections.insert(id, connection);
        Ok(connected)
    }

    /// Sends a check by a connection; what does not fit is dropped, and repeated by the engine.
    pub(super) fn send(&self, socket: SocketId, check: Vec<u8>) {
        if let Some(connection) = self.connections.get(&socket) {
            let _ = connection.checks.try_send(check);
        }
    }

    /// Ends a connection that was in use as this socket.
    pub(super) fn close(&mut self, now: Instant, socket: SocketId) {
        if self.connections.remove(&socket).is_some() {
            self.unneeded = self.unneeded.map(|_| now);
        }
    }
}

/// Those of the servers that are asked. A host that serves a port of the web is asked at the usual one too, so that a
/// network that lets out more than the web is known by something.
pub(super) fn to_ask(servers: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut asked: Vec<SocketAddr> = Vec::new();
    for server in servers.map(canonical) {
        let of_family = asked.iter().filter(|s| s.is_ipv4() == server.is_ipv4());
        if of_family.count() < SERVERS && !asked.contains(&server) {
            asked.push(server);
        }
    }
    for v4 in [true, false] {
        let of_web = |s: &&SocketAddr| s.is_ipv4() == v4 && is_of_web(s.port());
        let usual = asked.iter().find(of_web).map(|server| {
            let mut usual = *server;
            usual.set_port(DEFAULT_PORT);
            usual
        });
        asked.extend(usual.filter(|usual| !asked.contains(usual)));
    }
    asked
}

/// The port of the web, if this host may have it.
fn of_web(family: IpAddr) -> Option<(TcpPort, TcpListener)> {
    let listening = TcpPort::listen_at(family, WEB_PORT);
    let told = |error: &io::Error| tracing::debug!(%error, "the port of the web is not to be had");
    let listening = listening.inspect_err(told).ok()?;
    tracing::info!("listening at port {WEB_PORT}: the peer's network lets out the web alone");
    Some(listening)
}

async fn dial(
    port: TcpPort,
    to: SocketAddr,
    patience: Duration,
    key: &PunchKey,
    role: Role,
) -> io::Result<Proven> {
    let stream = timeout(patience, port.dial(to)).await;
    let stream = stream.map_err(|_| io::ErrorKind::TimedOut)??;
    prove(stream, key, role, true).await
}
