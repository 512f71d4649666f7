//! What to simulate: where the two peers are, how far apart, and with which seed.

use std::time::Duration;

use p2pdbg_punch::Config;

use crate::{
    config::NatConfig,
    peer::WebPort,
    random::Random,
    server::StunServer,
    simulation::{Outcome, Simulation, Sites},
    world::{Link, NetworkId, World},
};

/// The boxes between a peer and the internet.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// From the internet inwards; none: the peer is on the internet itself.
    pub boxes: Vec<NatConfig>,
    /// Whether the peer has IPv6, too.
    pub ipv6: bool,
    /// Whether the innermost box maps a port for the peer when asked (PCP, NAT-PMP, UPnP).
    pub maps_ports: bool,
    /// Whether it does so for the port of the web, too.
    pub maps_web_port: bool,
    /// Whether the peer's host lets it listen on the port of the web.
    pub own_web_port: bool,
    /// Whether the peer's host lets it have no UDP socket at all.
    pub no_udp: bool,
}

impl<T: Into<NatConfig>> From<T> for Site {
    fn from(config: T) -> Self {
        Self {
            boxes: vec![config.into()],
            ..Self::default()
        }
    }
}

impl Site {
    /// A peer with a public address of its own.
    #[must_use]
    pub fn public() -> Self {
        Self::default()
    }

    /// One more box, inside of the others.
    #[must_use]
    pub fn behind(mut self, config: impl Into<NatConfig>) -> Self {
        self.boxes.push(config.into());
        self
    }

    /// The same site with IPv6.
    #[must_use]
    pub fn with_ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    /// The same site with a host that lets the peer have no UDP socket.
    #[must_use]
    pub fn without_udp_sockets(self) -> Self {
        Self {
            no_udp: true,
            ..self
        }
    }

    /// The same site with a host that lets the peer listen on the port of the web.
    #[must_use]
    pub fn with_web_port(self) -> Self {
        Self {
            own_web_port: true,
            ..self
        }
    }

    /// The same site with an innermost box that maps any port when asked, that of the web too.
    #[must_use]
    pub fn with_mapped_web_port(self) -> Self {
        Self {
            maps_web_port: true,
            ..self.with_mapped_port()
        }
    }

    /// The same site with an innermost box that maps a port when asked.
    #[must_use]
    pub fn with_mapped_port(self) -> Self {
        Self {
            maps_ports: true,
            ..self
        }
    }
}

/// All that a simulation depends on: with the same scenario and seed it is the same run.
#[derive(Clone, Debug)]
pub struct Scenario {
    sites: [Site; 2],
    shared: bool,
    carrier: Option<NatConfig>,
    rtt: Duration,
    loss: f64,
    mtu: Option<u16>,
    seed: u64,
    servers: usize,
    tcp: bool,
    adjust: fn(&mut Config),
}

impl Scenario {
    /// The controlling peer at the first site, the controlled one at the second; 40 ms between them, no loss.
    #[must_use]
    pub fn new(controlling: impl Into<Site>, controlled: impl Into<Site>) -> Self {
        Self {
            sites: [controlling.into(), controlled.into()],
            shared: false,
            carrier: None,
            rtt: Duration::from_millis(40),
            loss: 0.0,
            mtu: None,
            seed: 0,
            servers: 1,
            tcp: false,
            adjust: |_| {},
        }
    }

    /// Both peers in one network behind these boxes.
    #[must_use]
    pub fn same_network(site: impl Into<Site>) -> Self {
        let site = site.into();
        Self {
            shared: true,
            ..Self::new(site.clone(), site)
        }
    }

    /// Each peer behind a box of its own, and both boxes behind one carrier's.
    #[must_use]
    pub fn shared_carrier(carrier: impl Into<NatConfig>, home: impl Into<NatConfig>) -> Self {
        let home = home.into();
        Self {
            carrier: Some(carrier.into()),
            ..Self::new(home, home)
        }
    }

    /// The round-trip time between the peers. A quarter of it is each site's access link, one way.
    #[must_use]
    pub fn rtt(self, rtt: Duration) -> Self {
        Self { rtt, ..self }
    }

    /// The probability that a packet is lost on its way from one peer to the other.
    #[must_use]
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// Drops, between the peers, what is longer than so many bytes with its IP header, and tells nobody.
    #[must_use]
    pub fn mtu(self, mtu: u16) -> Self {
        let mtu = Some(mtu);
        Self { mtu, ..self }
    }

    /// The seed of everything that is drawn.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How many addresses the STUN server has.
    #[must_use]
    pub fn stun_addresses(self, servers: usize) -> Self {
        Self { servers, ..self }
    }

    /// Has both engines look for a direct path by TCP, too.
    #[must_use]
    pub fn with_tcp(self) -> Self {
        Self { tcp: true, ..self }
    }

    /// A change to both engines' configurations.
    #[must_use]
    pub fn adjust(self, adjust: fn(&mut Config)) -> Self {
        Self { adjust, ..self }
    }

    /// Builds it. Nothing has happened yet.
    #[must_use]
    pub fn build(&self) -> Simulation {
        let mut world = World::new(Random::new(self.seed).u64());
        let server = StunServer::new(&mut world, self.servers, Link::default());
        // Loss on two links in a row comes to the loss that was asked for.
        let link = Link {
            loss: 1.0 - (1.0 - self.loss).sqrt(),
            mtu: self.mtu,
            ..Link::with_delay(self.rtt / 4)
        };
        let mut boxes = [Vec::new(), Vec::new()];
        let mut hosts = Vec::new();
        let outside = match self.carrier {
            Some(config) => world.add_nat(NetworkId::INTERNET, config, link).1,
            None => NetworkId::INTERNET,
        };
        let mut last = (outside, link);
        for (n, site) in self.sites.iter().enumerate() {
            if n == 0 || !self.shared {
                last = (outside, link);
                for &config in &site.boxes {
                    let (id, inside) = world.add_nat(last.0, config, last.1);
                    boxes[n].push(id);
                    // Within a site, everything is near.
                    last = (inside, Link::with_delay(Duration::from_micros(200)));
                }
            }
            let host = world.add_host(last.0, last.1);
            if site.ipv6 {
                world.add_ipv6(host);
            }
            hosts.push(host);
        }
        let sites = Sites {
            boxes,
            hosts: [hosts[0], hosts[1]],
            maps_ports: [self.sites[0].maps_ports, self.sites[1].maps_ports],
            web_ports: [0, 1].map(|n| WebPort {
                mapped: self.sites[n].maps_web_port,
                own: self.sites[n].own_web_port,
            }),
            no_udp: [self.sites[0].no_udp, self.sites[1].no_udp],
        };
        Simulation::new(world, server, sites, self.rtt / 2, (self.tcp, self.adjust))
    }

    /// Builds it, starts both peers and runs it until both have a path or `deadline` has passed.
    #[must_use]
    pub fn run(&self, deadline: Duration) -> Outcome {
        let mut simulation = self.build();
        simulation.start();
        simulation.run_until(deadline, Simulation::is_direct);
        simulation.outcome()
    }
}
