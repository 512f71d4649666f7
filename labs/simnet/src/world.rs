//! The modelled internet: hosts, NAT boxes and the links between them, in virtual time.
//!
//! A packet is an event at every box it crosses, so that what a box knows when the packet arrives is what decides.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    nat::{Direction, Nat},
    random::Random,
    segment::{Segment, Transport},
};

/// The time to live that a packet starts with unless its sender says otherwise.
const DEFAULT_TTL: u8 = 64;

/// Routers between two sites of the internet, each of which takes one from the time to live.
const CORE_HOPS: u8 = 8;

/// A network: the internet or the inside of a NAT box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(pub(crate) usize);

impl NetworkId {
    /// The network that all others are reached through.
    pub const INTERNET: Self = Self(0);
}

/// Names a NAT box of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NatId(pub(crate) usize);

/// Names a host of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub(crate) usize);

/// What a link does to packets, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// How long a packet takes one way.
    pub delay: Duration,
    /// Up to so much more, drawn for each packet; packets may overtake each other.
    pub jitter: Duration,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplication: f64,
    /// Bytes of the longest IP packet that passes; a longer one is dropped and nobody is told. `None`: any.
    pub mtu: Option<u16>,
}

impl Link {
    /// A link with a delay and nothing else.
    #[must_use]
    pub fn with_delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// A packet that has arrived at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The host that gets it.
    pub host: HostId,
    /// The port that it was sent to.
    pub port: u16,
    /// The source address as the host sees it.
    pub from: SocketAddr,
    /// UDP, or TCP with what its header says.
    pub transport: Transport,
    /// What is in it, without the headers.
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Packet {
    source: SocketAddr,
    to: SocketAddr,
    ttl: u8,
    transport: Transport,
    payload: Vec<u8>,
}

impl Packet {
    /// Bytes with the headers of IP and UDP or TCP; of the longest packet, if it takes several.
    fn len(&self) -> usize {
        let ip = if self.to.is_ipv4() { 20 } else { 40 };
        ip + match self.transport {
            Transport::Udp => 8 + self.payload.len(),
            Transport::Tcp(_) => Segment::HEADER + self.payload.len().min(Segment::LONGEST),
        }
    }

    /// The segment, if it is one.
    fn segment(&self) -> Option<Segment> {
        match self.transport {
            Transport::Tcp(segment) => Some(segment),
            Transport::Udp => None,
        }
    }
}

#[derive(Clone, Debug)]
enum Place {
    /// In a network, to be handed to its owner or to the gateway.
    Network(NetworkId),
    /// At a box, from outside.
    Box(NatId),
    /// Arrived at a host.
    Host(HostId),
}

#[derive(Debug)]
struct Event {
    at: Duration,
    order: u64,
    place: Place,
    packet: Packet,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    Host(HostId),
    Box(NatId),
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) gateway: Option<NatId>,
    pub(crate) owners: HashMap<IpAddr, Owner>,
    /// Whether its hosts have addresses that the whole internet routes.
    pub(crate) public: bool,
    pub(crate) prefix: [u8; 3],
    pub(crate) hosts: u8,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) network: NetworkId,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) link: Link,
    pub(crate) up: bool,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    /// Its table of UDP.
    pub(crate) nat: Nat,
    /// Its table of TCP.
    pub(crate) tcp: Nat,
    pub(crate) outside: NetworkId,
    pub(crate) inside: NetworkId,
    pub(crate) link: Link,
}

/// The modelled internet: hosts, boxes, links and what is on its way.
#[derive(Debug)]
pub struct World {
    pub(crate) now: Duration,
    queue: BinaryHeap<Reverse<Event>>,
    order: u64,
    pub(crate) random: Random,
    /// What becomes of TCP is drawn apart, so that it changes nothing for UDP.
    pub(crate) tcp_random: Random,
    pub(crate) networks: Vec<Network>,
    pub(crate) boxes: Vec<Gateway>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) public_addresses: u32,
    /// Packets that hosts have sent.
    sent: u64,
    /// A VPN: the link between any two members by way of its hub, and the members' addresses on it.
    pub(crate) overlay: (Link, Vec<(HostId, IpAddr)>),
}

impl World {
    /// An internet with nothing on it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let internet = Network {
            gateway: None,
            owners: HashMap::new(),
            public: true,
            prefix: [0; 3],
            hosts: 0,
        };
        Self {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            order: 0,
            random: Random::new(seed),
            tcp_random: Random::new(!seed),
            networks: vec![internet],
            boxes: Vec::new(),
            hosts: Vec::new(),
            public_addresses: 0,
            sent: 0,
            overlay: (Link::default(), Vec::new()),
        }
    }

    /// Virtual time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The world's randomness, for whoever wants to stay repeatable.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// What TCP draws from.
    pub(crate) fn tcp_random(&mut self) -> &mut Random {
        &mut self.tcp_random
    }

    /// Packets that hosts have sent so far.
    #[must_use]
    pub fn packets_sent(&self) -> u64 {
        self.sent
    }

    /// Sends a datagram from a host's port.
    pub fn send(
        &mut self,
        host: HostId,
        port: u16,
        to: SocketAddr,
        ttl: Option<u8>,
        payload: Vec<u8>,
    ) {
        let ttl = ttl.unwrap_or(DEFAULT_TTL);
        self.leave_host(host, port, to, ttl, Transport::Udp, payload);
    }

    /// Sends a segment of TCP from a host's port.
    pub fn send_segment(
        &mut self,
        host: HostId,
        port: u16,
        to: SocketAddr,
        segment: Segment,
        payload: Vec<u8>,
    ) {
        let transport = Transport::Tcp(segment);
        self.leave_host(host, port, to, DEFAULT_TTL, transport, payload);
    }

    fn leave_host(
        &mut self,
        host: HostId,
        port: u16,
        to: SocketAddr,
        ttl: u8,
        transport: Transport,
        payload: Vec<u8>,
    ) {
        self.sent += 1;
        let sender = &self.hosts[host.0];
        let Some(&ip) = sender
            .addresses
            .iter()
            .find(|ip| ip.is_ipv4() == to.is_ipv4())
        else {
            return;
        };
        if !sender.up {
            return;
        }
        if let Some((overlay, member)) = self.overlay_towards(host, to.ip()) {
            // Encrypted and sent by way of a hub: to the two ends it is one link.
            let packet = Packet {
                source: SocketAddr::new(overlay.1, port),
                to,
                ttl,
                transport,
                payload,
            };
            self.travel(overlay.0, Place::Host(member), packet);
            return;
        }
        let sender = &self.hosts[host.0];
        let (network, link) = (sender.network, sender.link);
        let packet = Packet {
            source: SocketAddr::new(ip, port),
            to,
            ttl,
            transport,
            payload,
        };
        self.travel(link, Place::Network(network), packet);
    }

    /// The link of the overlay and a host's address on it, and the member that has the other one, if both are on it.
    fn overlay_towards(&self, host: HostId, to: IpAddr) -> Option<((Link, IpAddr), HostId)> {
        let (link, members) = &self.overlay;
        let ours = members.iter().find(|(member, _)| *member == host)?.1;
        let member = members.iter().find(|(_, ip)| *ip == to)?.0;
        Some(((*link, ours), member))
    }

    /// The host that a packet would reach, by mappings that are there already; overlays and hairpins aside.
    pub(crate) fn would_reach(
        &self,
        host: HostId,
        mut source: SocketAddr,
        mut to: SocketAddr,
    ) -> Option<HostId> {
        let mut network = self.hosts[host.0].network;
        loop {
            match self.networks[network.0].owners.get(&to.ip()).copied() {
                Some(Owner::Host(host)) => return Some(host),
                Some(Owner::Box(id)) => {
                    let gateway = &self.boxes[id.0];
                    to = gateway.nat.clone().inbound(self.now, source, to)?;
                    network = gateway.inside;
                }
                None => {
                    let gateway = &self.boxes[self.networks[network.0].gateway?.0];
                    source = gateway.nat.existing(self.now, source, to)?;
                    network = gateway.outside;
                }
            }
        }
    }

    /// When something happens next; none if nothing is on its way.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse(event)| event.at)
    }

    /// Lets time pass up to `until`, or to the next packet that reaches a host.
    pub fn run_until(&mut self, until: Duration) -> Option<Delivery> {
        while self.next_at().is_some_and(|at| at <= until) {
            let Reverse(event) = self.queue.pop()?;
            self.now = self.now.max(event.at);
            if let Some(delivery) = self.arrive(event.place, event.packet) {
                return Some(delivery);
            }
        }
        self.now = self.now.max(until);
        None
    }

    fn arrive(&mut self, place: Place, mut packet: Packet) -> Option<Delivery> {
        match place {
            Place::Network(network) => {
                if network == NetworkId::INTERNET {
                    packet.ttl = packet.ttl.checked_sub(CORE_HOPS)?;
                }
                match self.networks[network.0]
                    .owners
                    .get(&packet.to.ip())
                    .copied()
                {
                    Some(Owner::Host(host)) => {
                        let link = self.hosts[host.0].link;
                        self.travel(link, Place::Host(host), packet);
                    }
                    Some(Owner::Box(id)) => {
                        let link = self.boxes[id.0].link;
                        self.travel(link, Place::Box(id), packet);
                    }
                    None => self.leave(network, packet)?,
                }
                None
            }
            Place::Box(id) => {
                packet.ttl = packet.ttl.checked_sub(1).filter(|&ttl| ttl > 0)?;
                packet.to = match packet.segment() {
                    None => self.boxes[id.0].admit(self.now, &packet)?,
                    Some(segment) => match self.boxes[id.0].admit_tcp(self.now, &packet, segment) {
                        Ok(inside) => inside,
                        Err(answer) => {
                            let link = self.boxes[id.0].link;
                            let outside = self.boxes[id.0].outside;
                            self.travel(link, Place::Network(outside), answer?);
                            return None;
                        }
                    },
                };
                let inside = self.boxes[id.0].inside;
                self.arrive(Place::Network(inside), packet)
            }
            Place::Host(host) => {
                let up = self.hosts[host.0].up;
                up.then_some(Delivery {
                    host,
                    port: packet.to.port(),
                    from: packet.source,
                    transport: packet.transport,
                    payload: packet.payload,
                })
            }
        }
    }

    /// A packet for nobody in this network goes to the gateway.
    fn leave(&mut self, network: NetworkId, mut packet: Packet) -> Option<()> {
        let id = self.networks[network.0].gateway?;
        packet.ttl = packet.ttl.checked_sub(1).filter(|&ttl| ttl > 0)?;
        let gateway = &mut self.boxes[id.0];
        let (source, to) = (packet.source, packet.to);
        packet.source = match packet.transport {
            Transport::Udp => {
                let nat = &mut gateway.nat;
                nat.lets_through(Direction::Out).then_some(())?;
                nat.outbound(self.now, source, to, &mut self.random)?
            }
            Transport::Tcp(_) => {
                let nat = &mut gateway.tcp;
                nat.tcp_rules().lets_out(to.port()).then_some(())?;
                nat.outbound(self.now, source, to, &mut self.tcp_random)?
            }
        };
        if gateway.nat.owns(packet.to.ip()) {
            if gateway.nat.hairpins() {
                self.push(self.now, Place::Box(id), packet);
            }
            return Some(());
        }
        let (outside, link) = (gateway.outside, gateway.link);
        self.travel(link, Place::Network(outside), packet);
        Some(())
    }

    fn travel(&mut self, link: Link, place: Place, packet: Packet) {
        if link.mtu.is_some_and(|mtu| packet.len() > usize::from(mtu)) {
            return;
        }
        let random = match packet.transport {
            Transport::Udp => &mut self.random,
            Transport::Tcp(_) => &mut self.tcp_random,
        };
        if random.chance(link.loss) {
            return;
        }
        let again = random.chance(link.duplication);
        let again = again.then(|| self.now + link.delay + random.time(link.jitter));
        let at = self.now + link.delay + random.time(link.jitter);
        if let Some(again) = again {
            self.push(again, place.clone(), packet.clone());
        }
        self.push(at, place, packet);
    }

    fn push(&mut self, at: Duration, place: Place, packet: Packet) {
        self.order += 1;
        let order = self.order;
        self.queue.push(Reverse(Event {
            at,
            order,
            place,
            packet,
        }));
    }
}

impl Gateway {
    /// A datagram from outside: the inside endpoint that it is for, if it gets in.
    fn admit(&mut self, now: Duration, packet: &Packet) -> Option<SocketAddr> {
        let nat = &mut self.nat;
        nat.lets_through(Direction::In).then_some(())?;
        nat.inbound(now, packet.source, packet.to)
    }

    /// The same for a segment, or how the box answers one that does not get in.
    fn admit_tcp(
        &mut self,
        now: Duration,
        packet: &Packet,
        segment: Segment,
    ) -> Result<SocketAddr, Option<Packet>> {
        let (nat, source, to) = (&mut self.tcp, packet.source, packet.to);
        let rules = nat.tcp_rules();
        let expected = !segment.is_first() || rules.simultaneous_open || nat.is_open(to);
        let inside = nat.inbound(now, source, to).filter(|_| expected);
        if segment.rst && inside.is_some() {
            nat.reset(source, to);
        }
        inside.ok_or_else(|| {
            (segment.is_first() && rules.resets).then_some(Packet {
                source: to,
                to: source,
                ttl: DEFAULT_TTL,
                transport: Transport::Tcp(Segment::RESET),
                payload: Vec::new(),
            })
        })
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
