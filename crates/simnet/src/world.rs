//! The modelled internet: hosts, NAT boxes and the links between them, in virtual time.
//!
//! A packet is an event at every box it crosses, so that what a box knows when the packet arrives is what decides.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use crate::{
    nat::{Nat, NatConfig},
    random::Random,
};

/// The time to live that a packet starts with unless its sender says otherwise.
const DEFAULT_TTL: u8 = 64;

/// Routers between two sites of the internet, each of which takes one from the time to live.
const CORE_HOPS: u8 = 8;

/// A network: the internet or the inside of a NAT box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(usize);

impl NetworkId {
    /// The internet.
    pub const INTERNET: Self = Self(0);
}

/// A NAT box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NatId(usize);

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(usize);

/// What a link does to packets, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// One-way delay.
    pub delay: Duration,
    /// Up to so much more, drawn for each packet; packets may overtake each other.
    pub jitter: Duration,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplication: f64,
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
    /// The host.
    pub host: HostId,
    /// Its port.
    pub port: u16,
    /// The source address as the host sees it.
    pub from: SocketAddr,
    /// What is in it.
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Packet {
    source: SocketAddr,
    to: SocketAddr,
    ttl: u8,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Place {
    /// In a network, to be handed to its owner or to the gateway.
    Network(NetworkId),
    /// At a box, from outside.
    Box(NatId),
    /// At a host.
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
enum Owner {
    Host(HostId),
    Box(NatId),
}

#[derive(Debug)]
struct Network {
    gateway: Option<NatId>,
    owners: HashMap<IpAddr, Owner>,
    /// Whether its hosts have addresses that the whole internet routes.
    public: bool,
    prefix: [u8; 3],
    hosts: u8,
}

#[derive(Debug)]
struct Host {
    network: NetworkId,
    addresses: Vec<IpAddr>,
    link: Link,
    up: bool,
}

#[derive(Debug)]
struct Gateway {
    nat: Nat,
    outside: NetworkId,
    inside: NetworkId,
    link: Link,
}

/// The modelled internet.
#[derive(Debug)]
pub struct World {
    now: Duration,
    queue: BinaryHeap<Reverse<Event>>,
    order: u64,
    random: Random,
    networks: Vec<Network>,
    boxes: Vec<Gateway>,
    hosts: Vec<Host>,
    public_addresses: u32,
    /// Packets that hosts have sent.
    sent: u64,
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

    /// Puts a box into `outside`, reached over `link`, and gives back the network behind it.
    pub fn add_nat(
        &mut self,
        outside: NetworkId,
        config: impl Into<NatConfig>,
        link: Link,
    ) -> (NatId, NetworkId) {
        let config = config.into();
        let id = NatId(self.boxes.len());
        let inside = NetworkId(self.networks.len());
        let external: Vec<IpAddr> = (0..config.external_addresses.max(1))
            .map(|_| self.next_address(outside))
            .collect();
        for &ip in &external {
            self.route(outside, ip, Owner::Box(id));
        }
        let public = !config.kind.translates() && self.networks[outside.0].public;
        let nat = Nat::new(config, external, &mut self.random);
        self.boxes.push(Gateway {
            nat,
            outside,
            inside,
            link,
        });
        let n = inside.0 as u8;
        self.networks.push(Network {
            gateway: Some(id),
            owners: HashMap::new(),
            public,
            prefix: [10, n, 1],
            hosts: 1,
        });
        (id, inside)
    }

    /// Puts a host into `network`, reached over `link` within it.
    pub fn add_host(&mut self, network: NetworkId, link: Link) -> HostId {
        let id = HostId(self.hosts.len());
        let ip = self.next_address(network);
        self.hosts.push(Host {
            network,
            addresses: vec![ip],
            link,
            up: true,
        });
        self.route(network, ip, Owner::Host(id));
        id
    }

    /// Gives a host a global IPv6 address.
    pub fn add_ipv6(&mut self, host: HostId) -> IpAddr {
        let network = self.hosts[host.0].network;
        let ip: IpAddr = Ipv6Addr::new(
            0x2001,
            0x0db9,
            0,
            network.0 as u16,
            0,
            0,
            0,
            1 + host.0 as u16,
        )
        .into();
        self.hosts[host.0].addresses.push(ip);
        self.route(network, ip, Owner::Host(host));
        ip
    }

    /// A host's addresses.
    #[must_use]
    pub fn addresses(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.0].addresses
    }

    /// A host's IPv4 address.
    #[must_use]
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.hosts[host.0].addresses[0]
    }

    /// The box, to look into or to change.
    pub fn nat(&mut self, id: NatId) -> &mut Nat {
        &mut self.boxes[id.0].nat
    }

    /// The link between a box and the network outside of it, to change.
    pub fn link(&mut self, id: NatId) -> &mut Link {
        &mut self.boxes[id.0].link
    }

    /// Connects or disconnects a host.
    pub fn set_up(&mut self, host: HostId, up: bool) {
        self.hosts[host.0].up = up;
    }

    /// The addresses by which the internet sees what is behind the outermost box of a host's network.
    #[must_use]
    pub fn seen_as(&self, host: HostId) -> Vec<IpAddr> {
        let mut network = self.hosts[host.0].network;
        let mut seen = vec![self.ip(host)];
        while let Some(gateway) = self.networks[network.0].gateway {
            let gateway = &self.boxes[gateway.0];
            if gateway.nat.translates() {
                seen = gateway.nat.external().to_vec();
            }
            network = gateway.outside;
        }
        seen.extend(self.addresses(host).iter().filter(|ip| ip.is_ipv6()));
        seen
    }

    /// Gives a box other external addresses, as when a line is dialled anew; its mappings are gone.
    pub fn renumber(&mut self, id: NatId) {
        let outside = self.boxes[id.0].outside;
        let ip = self.next_address(outside);
        self.route(outside, ip, Owner::Box(id));
        self.boxes[id.0].nat.set_external(vec![ip]);
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
        let (network, link) = (sender.network, sender.link);
        let packet = Packet {
            source: SocketAddr::new(ip, port),
            to,
            ttl: ttl.unwrap_or(DEFAULT_TTL),
            payload,
        };
        self.travel(link, Place::Network(network), packet);
    }

    /// When something happens next.
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

    /// An address that is free in `network`.
    fn next_address(&mut self, network: NetworkId) -> IpAddr {
        if self.networks[network.0].public {
            self.public_addresses += 1;
            return Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + self.public_addresses)
                .into();
        }
        let network = &mut self.networks[network.0];
        network.hosts += 1;
        let [a, b, c] = network.prefix;
        Ipv4Addr::new(a, b, c, network.hosts).into()
    }

    /// Makes `ip` known in its network, and outside of every box that does not hide it.
    fn route(&mut self, mut network: NetworkId, ip: IpAddr, mut owner: Owner) {
        loop {
            self.networks[network.0].owners.insert(ip, owner);
            let Some(id) = self.networks[network.0].gateway else {
                return;
            };
            if self.boxes[id.0].nat.translates() && ip.is_ipv4() {
                return;
            }
            owner = Owner::Box(id);
            network = self.boxes[id.0].outside;
        }
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
