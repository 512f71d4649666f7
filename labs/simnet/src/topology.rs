//! Building the modelled internet, and changing it while it runs.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{
    config::NatConfig,
    nat::Nat,
    world::{Gateway, Host, HostId, Link, NatId, Network, NetworkId, Owner, World},
};

impl World {
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
        let nat = Nat::new(config, external.clone(), &mut self.random);
        let tcp = Nat::new(config.of_tcp(), external, &mut self.tcp_random);
        self.boxes.push(Gateway {
            nat,
            tcp,
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

    /// The addresses that a host has at the moment.
    #[must_use]
    pub fn addresses(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.0].addresses
    }

    /// The IPv4 address of a host that has one.
    #[must_use]
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.hosts[host.0].addresses[0]
    }

    /// Joins hosts by a VPN, whose hub makes `link` of the way between any two of them. Each gets an address of it.
    pub fn join_overlay(&mut self, hosts: &[HostId], link: Link) {
        self.overlay.0 = link;
        for &host in hosts {
            let ip: IpAddr = Ipv4Addr::new(100, 64, 0, 1 + host.0 as u8).into();
            self.overlay.1.push((host, ip));
            self.hosts[host.0].addresses.push(ip);
        }
    }

    /// What the box is to UDP, to look into or to change.
    pub fn nat(&mut self, id: NatId) -> &mut Nat {
        &mut self.boxes[id.0].nat
    }

    /// Has a box map a port to an inside endpoint.
    pub fn forward(&mut self, id: NatId, inside: SocketAddr) -> Option<SocketAddr> {
        let nat = &mut self.boxes[id.0].nat;
        nat.forward(self.now, inside, None, &mut self.random)
    }

    /// The same for a TCP port, with the external port that is wanted if it is free.
    pub fn forward_tcp(
        &mut self,
        id: NatId,
        inside: SocketAddr,
        wanted: Option<u16>,
    ) -> Option<SocketAddr> {
        let nat = &mut self.boxes[id.0].tcp;
        nat.forward(self.now, inside, wanted, &mut self.tcp_random)
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
        self.boxes[id.0].tcp.set_external(vec![ip]);
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
