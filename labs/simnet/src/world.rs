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
    /// The UDP payload.
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Packet {
    source: SocketAddr,
    to: SocketAddr,
    ttl: u8,
    payload: Vec<u8>,
}

impl Packet {
    /// Bytes with the headers of IP and UDP.
    fn len(&self) -> usize {
        let headers = if self.to.is_ipv4() { 20 + 8 } else { 40 + 8 };
        headers + self.payload.len()
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
    pub(crate) nat: Nat,
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

    /// Packets that hosts have sent so far.
    #[must_use]
    pub fn packets_sent(&self) -> u64 {
        self.sent
    }

    /// Sends a packet from a host's port.
    pub fn send(
        &mut self,
        host: HostId,
        port: u16,
        to: SocketAddr,
        ttl: Option<u8>,
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
                ttl: ttl.unwrap_or(DEFAULT_TTL),
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
            ttl: ttl.unwrap_or(DEFAULT_TTL),
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
                let gateway = &mut self.boxes[id.0];
                let passes = gateway
                    .nat
                    .lets_through(self.now, packet.len(), Direction::In);
                passes.then_some(())?;
                packet.to = gateway.nat.inbound(self.now, packet.source, packet.to)?;
                let inside = gateway.inside;
                self.arrive(Place::Network(inside), packet)
            }
            Place::Host(host) => {
                let up = self.hosts[host.0].up;
                up.then_some(Delivery {
                    host,
                    port: packet.to.port(),
                    from: packet.source,
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
        let passes = gateway
            .nat
            .lets_through(self.now, packet.len(), Direction::Out);
        passes.then_some(())?;
        packet.source =
            gateway
                .nat
                .outbound(self.now, packet.source, packet.to, &mut self.random)?;
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
        if self.random.chance(link.loss) {
            return;
        }
        if self.random.chance(link.duplication) {
            let again = self.now + link.delay + self.random.time(link.jitter);
            self.push(again, place.clone(), packet.clone());
        }
        let at = self.now + link.delay + self.random.time(link.jitter);
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
