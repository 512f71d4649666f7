//! TCP of a host that looks for a direct path by it: what the driver of the engine does with the kernel's.
//!
//! One port of each family is listened on and dialled from. Connections prove that they lead to the peer by the proof
//! that ships.

mod connection;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_punch::{PunchKey, Role, SocketId, TcpPorts, TcpProof, WEB_PORT, tcp_seen};
use p2pdbg_stun::{Class, Encoder, Message, TransactionId};

use self::connection::{Arrived, Connection};
use crate::{
    segment::Segment,
    world::{Delivery, HostId, World},
};

/// How long servers are waited for, and how long once one has answered.
const ANSWER: Duration = Duration::from_millis(1_500);
const GRACE: Duration = Duration::from_millis(150);

/// How long a connection may take to prove itself.
const PROOF: Duration = Duration::from_secs(3);

/// Servers of one family that are asked.
const SERVERS: usize = 3;

/// What the host's TCP tells.
#[derive(Debug)]
pub(crate) enum TcpNews {
    /// What was learnt of the ports.
    Ports(TcpPorts),
    /// A connection leads to the peer.
    Connected {
        socket: SocketId,
        local: SocketAddr,
        remote: SocketAddr,
        dialled: bool,
    },
    /// One that did has ended.
    Closed(SocketId),
    /// A datagram has come by one.
    Datagram(SocketId, SocketAddr, Vec<u8>),
}

/// What a connection is for.
#[derive(Debug)]
enum Use {
    /// Asks a server how it sees the port; what it said.
    Question(Option<SocketAddr>),
    /// Leads to the peer or not, which is to be known by then.
    Proof {
        proof: TcpProof,
        dialled: bool,
        until: Duration,
    },
    Socket(SocketId),
}

/// A host's TCP.
#[derive(Debug)]
pub(crate) struct DirectTcp {
    host: HostId,
    key: PunchKey,
    role: Role,
    servers: Vec<SocketAddr>,
    /// What is listened on, once it is.
    port: Option<u16>,
    /// Whether that is the port of the web, if it may be.
    web: bool,
    mapped: Option<SocketAddr>,
    connections: BTreeMap<SocketAddr, (Connection, Use)>,
    /// Until when servers are waited for.
    asking_until: Option<Duration>,
    count: u32,
}

impl DirectTcp {
    pub(crate) fn new(
        host: HostId,
        key: PunchKey,
        role: Role,
        servers: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let (v4, v6): (Vec<SocketAddr>, Vec<_>) = servers.into_iter().partition(|s| s.is_ipv4());
        let servers = [v4, v6]
            .into_iter()
            .flat_map(|s| s.into_iter().take(SERVERS));
        Self {
            host,
            key,
            role,
            servers: servers.collect(),
            port: None,
            web: false,
            mapped: None,
            connections: BTreeMap::new(),
            asking_until: None,
            count: 0,
        }
    }

    /// The endpoint to map at a gateway, once there is one.
    pub(crate) fn endpoint(&self, world: &World) -> Option<SocketAddr> {
        Some(SocketAddr::new(world.ip(self.host), self.port?))
    }

    /// A gateway maps the port.
    pub(crate) fn on_mapped(&mut self, external: Option<SocketAddr>) {
        self.mapped = external;
    }

    /// Listens, and asks the servers. `web` says that the port of the web is wanted, and whether it may be listened on.
    /// Whether it is another port than before.
    pub(crate) fn gather(&mut self, world: &mut World, web: Option<bool>) -> bool {
        self.rest(world);
        let another = self.port.is_none() || web.is_some() && !self.web;
        if another {
            let before: Vec<SocketAddr> = self.connections.keys().copied().collect();
            before
                .into_iter()
                .for_each(|remote| self.end(world, remote));
            self.web = web.is_some();
            self.port = Some(match web {
                Some(true) => WEB_PORT,
                _ => 32_768 + world.tcp_random().below(28_000) as u16,
            });
            self.mapped = None;
        }
        self.asking_until = Some(world.now() + ANSWER);
        for server in self.servers.clone() {
            if self.local(world, server).is_none() {
                continue;
            }
            let mut connection = Connection::dial(world.now());
            let mut buffer = [0; 64];
            let transaction = TransactionId([0; 12]);
            let question = Encoder::new(&mut buffer, Class::Request, transaction)
                .and_then(|message| message.finish_with_fingerprint().map(<[u8]>::to_vec));
            if let Ok(question) = question {
                connection.send(world.now(), question);
                self.begin(world, server, connection, Use::Question(None));
            }
        }
        another
    }

    /// Dials the peer.
    pub(crate) fn dial(&mut self, world: &mut World, to: Vec<SocketAddr>, patience: Duration) {
        for to in to {
            // The kernel has no two connections between the same two ends either.
            if self.local(world, to).is_some() && !self.connections.contains_key(&to) {
                let proving = Use::Proof {
                    proof: self.proof(world, true),
                    dialled: true,
                    until: world.now() + patience,
                };
                self.begin(world, to, Connection::dial(world.now()), proving);
            }
        }
    }

    /// Ends the connections to the servers.
    pub(crate) fn rest(&mut self, world: &mut World) {
        let asked = self.connections.iter();
        let asked: Vec<SocketAddr> = asked
            .filter(|(_, (_, of))| matches!(of, Use::Question(_)))
            .map(|(server, _)| *server)
            .collect();
        asked.into_iter().for_each(|server| self.end(world, server));
        self.asking_until = None;
    }

    /// Sends a datagram by a connection.
    pub(crate) fn send(&mut self, world: &mut World, socket: SocketId, datagram: Vec<u8>) {
        let of_socket = |of: &Use| matches!(of, Use::Socket(other) if *other == socket);
        let found = self
            .connections
            .iter_mut()
            .find(|(_, (_, of))| of_socket(of));
        if let Some((&remote, (connection, _))) = found
            && let Some((segment, message)) = connection.send(world.now(), datagram)
        {
            self.transmit(world, remote, segment, message);
        }
    }

    /// Ends a connection.
    pub(crate) fn close(&mut self, world: &mut World, socket: SocketId) {
        if let Some(remote) = self.remote(socket) {
            self.end(world, remote);
        }
    }

    /// The other end of a connection that leads to the peer.
    pub(crate) fn remote(&self, socket: SocketId) -> Option<SocketAddr> {
        let found = self.connections.iter();
        found
            .filter(|(_, (_, of))| matches!(of, Use::Socket(other) if *other == socket))
            .map(|(remote, _)| *remote)
            .next()
    }

    /// Takes a segment.
    pub(crate) fn deliver(
        &mut self,
        world: &mut World,
        delivery: &Delivery,
        segment: Segment,
    ) -> Vec<TcpNews> {
        let (from, now) = (delivery.from, world.now());
        let listening = self.port == Some(delivery.port);
        if !self.connections.contains_key(&from) || !listening {
            if listening && segment.is_first() {
                let proving = Use::Proof {
                    proof: self.proof(world, false),
                    dialled: false,
                    until: now + PROOF,
                };
                self.begin(world, from, Connection::accept(now), proving);
            } else if !segment.rst {
                world.send_segment(self.host, delivery.port, from, Segment::RESET, Vec::new());
            }
            return Vec::new();
        }
        let Some((connection, of)) = self.connections.get_mut(&from) else {
            return Vec::new();
        };
        let stood = connection.stands();
        let arrived = connection.handle(now, segment, &delivery.payload);
        if !stood
            && connection.stands()
            && let Use::Proof { proof, until, .. } = of
        {
            *until = now + PROOF;
            let hello = proof.begin();
            let hello = hello.and_then(|hello| connection.send(now, hello));
            if let Some((segment, message)) = hello {
                self.transmit(world, from, segment, message);
            }
        }
        self.on_arrived(world, from, arrived)
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        let connections = self.connections.values().flat_map(|(connection, of)| {
            let until = match of {
                Use::Proof { until, .. } => Some(*until),
                _ => None,
            };
            [connection.next_at(), until]
        });
        connections.chain([self.asking_until]).flatten().min()
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, world: &mut World) -> Vec<TcpNews> {
        let now = world.now();
        let mut again = Vec::new();
        let mut late = Vec::new();
        for (&remote, (connection, of)) in &mut self.connections {
            match of {
                Use::Proof { until, .. } if *until <= now => late.push(remote),
                _ => again.extend(connection.again(now).into_iter().map(|s| (remote, s))),
            }
        }
        late.into_iter().for_each(|remote| self.end(world, remote));
        for (remote, (segment, message)) in again {
            self.transmit(world, remote, segment, message);
        }
        match self.asking_until {
            Some(until) if until <= now => {
                self.asking_until = None;
                vec![TcpNews::Ports(self.ports(world))]
            }
            _ => Vec::new(),
        }
    }

    fn on_arrived(
        &mut self,
        world: &mut World,
        from: SocketAddr,
        arrived: Arrived,
    ) -> Vec<TcpNews> {
        for (segment, message) in arrived.answers {
            self.transmit(world, from, segment, message);
        }
        let mut news = Vec::new();
        for message in arrived.messages {
            if let Some(told) = self.on_message(world, from, message) {
                news.push(told);
            }
        }
        if arrived.closed
            && let Some((_, Use::Socket(socket))) = self.connections.remove(&from)
        {
            news.push(TcpNews::Closed(socket));
        }
        news
    }

    fn on_message(
        &mut self,
        world: &mut World,
        from: SocketAddr,
        message: Vec<u8>,
    ) -> Option<TcpNews> {
        let local = self.local(world, from)?;
        let (connection, of) = self.connections.get_mut(&from)?;
        match of {
            Use::Question(answer) => {
                *answer = mapped(&message);
                let waiting = self.connections.values();
                let all = waiting
                    .filter_map(|(_, of)| match of {
                        Use::Question(answer) => Some(answer.is_some()),
                        _ => None,
                    })
                    .all(|answered| answered);
                let grace = if all { Duration::ZERO } else { GRACE };
                let soon = world.now() + grace;
                self.asking_until = self.asking_until.map(|until| until.min(soon));
                None
            }
            Use::Socket(socket) => Some(TcpNews::Datagram(*socket, from, message)),
            Use::Proof { proof, dialled, .. } => {
                let dialled = *dialled;
                let Ok(step) = proof.handle(&message) else {
                    self.end(world, from);
                    return None;
                };
                let reply = step.reply.and_then(|r| connection.send(world.now(), r));
                let socket = SocketId::of_stream(self.count);
                if step.proven {
                    *of = Use::Socket(socket);
                    self.count += 1;
                }
                if let Some((segment, message)) = reply {
                    self.transmit(world, from, segment, message);
                }
                step.proven.then_some(TcpNews::Connected {
                    socket,
                    local,
                    remote: from,
                    dialled,
                })
            }
        }
    }

    fn ports(&self, world: &World) -> TcpPorts {
        let answers = self.connections.values().filter_map(|(c, of)| match of {
            Use::Question(Some(seen)) => Some((*seen, c.rtt())),
            _ => None,
        });
        let answers: Vec<(SocketAddr, Duration)> = answers.collect();
        let seen = tcp_seen(answers.iter().map(|(seen, _)| *seen));
        let has = |v4| {
            world
                .addresses(self.host)
                .iter()
                .any(|ip| ip.is_ipv4() == v4)
        };
        TcpPorts {
            v4: self.port.filter(|_| has(true)),
            v6: self.port.filter(|_| has(false)),
            seen,
            mapped: self.mapped,
            server_rtt: answers.iter().map(|(_, rtt)| *rtt).min(),
        }
    }

    fn proof(&self, world: &mut World, dialled: bool) -> TcpProof {
        let nonce = world.tcp_random().seed();
        TcpProof::new(&self.key, self.role, dialled, nonce)
    }

    fn begin(&mut self, world: &mut World, remote: SocketAddr, connection: Connection, of: Use) {
        let first = connection.first();
        self.connections.insert(remote, (connection, of));
        self.transmit(world, remote, first, Vec::new());
    }

    fn end(&mut self, world: &mut World, remote: SocketAddr) {
        if let Some((connection, _)) = self.connections.remove(&remote)
            && connection.stands()
        {
            self.transmit(world, remote, Segment::RESET, Vec::new());
        }
    }

    fn transmit(&self, world: &mut World, to: SocketAddr, segment: Segment, message: Vec<u8>) {
        if let Some(port) = self.port {
            world.send_segment(self.host, port, to, segment, message);
        }
    }

    fn local(&self, world: &World, to: SocketAddr) -> Option<SocketAddr> {
        let addresses = world.addresses(self.host);
        let ip: &IpAddr = addresses.iter().find(|ip| ip.is_ipv4() == to.is_ipv4())?;
        Some(SocketAddr::new(*ip, self.port?))
    }
}

/// Where a server saw the question come from.
fn mapped(answer: &[u8]) -> Option<SocketAddr> {
    Message::decode(answer).ok()?.mapped_address()
}
