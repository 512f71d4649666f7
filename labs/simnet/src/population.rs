//! A population of hosts: what kind of network each end of a pair sits in, drawn from shares.
//!
//! The shares are those that somebody measured, where somebody has; `docs/TRAVERSAL.md` names who, and which ones are
//! assumptions. [`Mix::PESSIMISTIC`] and [`Mix::OPTIMISTIC`] move everything that is uncertain to one side, so that one
//! sees how much hangs on it.
//!
//! Left out: two ends in one network, which meet over it; NAT64; subscribers with several port blocks; and boxes that
//! change their mind while a session lives.

use std::time::Duration;

use p2pdbg_nat::{Allocation, Filtering, Mapping, NatKind};

use crate::{
    config::{NatConfig, TcpRules, Unsolicited},
    random::Random,
    scenario::{Scenario, Site},
};

/// The kind of network that a host is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Behind a home router on a fixed line.
    Home,
    /// On a cellular network, directly or behind a telephone.
    Mobile,
    /// In the network of a company or a school.
    Office,
    /// In a data centre, with a public address.
    Cloud,
}

impl Place {
    /// All of them, in the order of the shares of a [`Mix`].
    pub const ALL: [Self; 4] = [Self::Home, Self::Mobile, Self::Office, Self::Cloud];

    /// Its name in a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Mobile => "mobile",
            Self::Office => "office",
            Self::Cloud => "data centre",
        }
    }
}

/// Shares of everything that is drawn, between 0 and 1. Where four stand in a row they are for [`Place::ALL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Where hosts are; sums up to 1.
    pub places: [f64; 4],
    /// Networks that let no UDP out.
    pub udp_blocked: [f64; 4],
    /// Of the networks that let no UDP out: those that let out TCP to the ports of the web alone.
    pub web_only: [f64; 4],
    /// Of those: networks whose box looks inside, and lets through what is the web's alone.
    pub web_inspected: f64,
    /// Hosts on which a user's program may listen on the port of the web, and nobody else does.
    pub own_web_port: f64,
    /// Home routers and office firewalls that keep that port where they keep others.
    pub keeps_web_port: f64,
    /// Of the routers that map ports: those that map it, too.
    pub maps_web_port: f64,
    /// Boxes that answer a SYN which they do not let in by a reset.
    pub resets: f64,
    /// Boxes that let no SYN in, from wherever one was sent to: no simultaneous open.
    pub no_simultaneous_open: f64,
    /// The share of hosts with IPv6, for each kind of place.
    pub ipv6: [f64; 4],
    /// Home and mobile lines behind a carrier's NAT.
    pub carrier: [f64; 2],
    /// Home routers that give each destination another port.
    pub hard_home: f64,
    /// Carriers' NATs on fixed lines that do.
    pub hard_fixed_carrier: f64,
    /// Carriers' NATs of cellular networks that do.
    pub hard_mobile_carrier: f64,
    /// The share of office firewalls that do.
    pub hard_office: f64,
    /// Data centres' gateways: hosts with an address that anybody may send UDP to, hosts behind a stateful firewall;
    /// the rest is behind a gateway that gives each destination another port.
    pub cloud: [f64; 2],
    /// How hard NATs choose ports: counting, from a block; the rest draws from all.
    pub counting_and_block: [f64; 2],
    /// What easy NATs let in: anything, what comes from an address that was sent to; the rest wants the port to match.
    pub filters: [f64; 2],
    /// Home routers, with nothing else before them, that map ports when asked.
    pub maps_ports: f64,
    /// Homes with two routers in a row, and telephones that share their line by NAT.
    pub second_router: [f64; 2],
    /// Carriers' NATs that give a subscriber several external addresses at a time.
    pub unpaired: f64,
    /// Boxes that block an endpoint that sent before it was asked.
    pub punishes: f64,
    /// Pairs between which datagrams of 1,200 bytes do not pass.
    pub narrow: f64,
    /// Pairs that lose packets at all; those lose an exponentially distributed share with this mean.
    pub lossy: (f64, f64),
}

impl Mix {
    /// What was published, and assumptions in the middle of what is likely for the rest.
    pub const PUBLISHED: Self = Self {
        places: [0.50, 0.15, 0.20, 0.15],
        udp_blocked: [0.01, 0.02, 0.13, 0.04],
        web_only: [0.10, 0.20, 0.50, 0.25],
        web_inspected: 0.50,
        own_web_port: 0.50,
        keeps_web_port: 0.75,
        maps_web_port: 0.25,
        resets: 0.10,
        no_simultaneous_open: 0.05,
        ipv6: [0.50, 0.55, 0.20, 0.25],
        carrier: [0.18, 0.92],
        hard_home: 0.02,
        hard_fixed_carrier: 0.11,
        hard_mobile_carrier: 0.40,
        hard_office: 0.30,
        cloud: [0.25, 0.55],
        counting_and_block: [0.33, 0.33],
        filters: [0.15, 0.10],
        maps_ports: 0.35,
        second_router: [0.05, 0.50],
        unpaired: 0.05,
        punishes: 0.02,
        narrow: 0.003,
        lossy: (0.30, 0.01),
    };

    /// Everything uncertain for the worse: many mobile and office hosts, NATs that are hard twice as often, all of
    /// which draw from all ports or a block, little IPv6, hardly a port mapping.
    pub const PESSIMISTIC: Self = Self {
        places: [0.35, 0.25, 0.30, 0.10],
        udp_blocked: [0.01, 0.02, 0.13, 0.04],
        web_only: [0.20, 0.40, 0.75, 0.50],
        web_inspected: 0.75,
        own_web_port: 0.25,
        keeps_web_port: 0.50,
        maps_web_port: 0.10,
        resets: 0.20,
        no_simultaneous_open: 0.22,
        ipv6: [0.35, 0.40, 0.10, 0.10],
        carrier: [0.30, 0.95],
        hard_home: 0.04,
        hard_fixed_carrier: 0.20,
        hard_mobile_carrier: 0.50,
        hard_office: 0.50,
        cloud: [0.15, 0.50],
        counting_and_block: [0.15, 0.35],
        filters: [0.05, 0.05],
        maps_ports: 0.15,
        second_router: [0.10, 0.60],
        unpaired: 0.15,
        punishes: 0.05,
        narrow: 0.01,
        lossy: (0.50, 0.02),
    };

    /// Everything uncertain for the better.
    pub const OPTIMISTIC: Self = Self {
        places: [0.60, 0.10, 0.10, 0.20],
        udp_blocked: [0.01, 0.02, 0.13, 0.04],
        web_only: [0.05, 0.10, 0.25, 0.10],
        web_inspected: 0.25,
        own_web_port: 0.75,
        keeps_web_port: 0.90,
        maps_web_port: 0.50,
        resets: 0.05,
        no_simultaneous_open: 0.0,
        ipv6: [0.60, 0.65, 0.30, 0.40],
        carrier: [0.10, 0.90],
        hard_home: 0.01,
        hard_fixed_carrier: 0.08,
        hard_mobile_carrier: 0.30,
        hard_office: 0.15,
        cloud: [0.40, 0.50],
        counting_and_block: [0.50, 0.25],
        filters: [0.25, 0.15],
        maps_ports: 0.45,
        second_router: [0.02, 0.40],
        unpaired: 0.02,
        punishes: 0.01,
        narrow: 0.001,
        lossy: (0.20, 0.005),
    };

    /// Draws a pair of hosts; the same seed gives the same pair.
    #[must_use]
    pub fn pair(&self, seed: u64) -> Pair {
        // Far from the seeds of the runs themselves.
        let mut random = Random::new(seed ^ 0x9e3a_1b5c_77d0_42f1);
        let mut ends = [self.end(&mut random), self.end(&mut random)];
        // Apart from the rest, so that what is drawn for TCP changes nothing for UDP.
        let mut random_tcp = Random::new(seed ^ 0x51c3_88f2_0b6d_e9a7);
        for end in &mut ends {
            self.rule_tcp(end, &mut random_tcp);
        }
        // And apart from that again.
        let mut random_web = Random::new(seed ^ 0x2e84_d90c_b1f6_4d53);
        for end in &mut ends {
            self.rule_web(end, &mut random_web);
        }
        let rtt = random.log_normal(Duration::from_millis(60), 0.8);
        let rtt = rtt.clamp(Duration::from_millis(4), Duration::from_millis(800));
        let loss = if random.chance(self.lossy.0) {
            (-random.unit().max(1e-9).ln() * self.lossy.1).min(0.15)
        } else {
            0.0
        };
        let [a, b] = &ends;
        let mut scenario = Scenario::new(a.site.clone(), b.site.clone())
            .rtt(rtt)
            .loss(loss)
            .with_tcp()
            .seed(seed);
        if random.chance(self.narrow) {
            scenario = scenario.mtu(1200);
        }
        Pair { ends, scenario }
    }

    /// Draws the network of one end.
    fn end(&self, random: &mut Random) -> End {
        let place = Place::ALL[random.one_of(&self.places[..3])];
        let n = Place::ALL.iter().position(|&p| p == place).unwrap_or(0);
        let mut site = match place {
            Place::Home => self.home(random),
            Place::Mobile => self.mobile(random),
            Place::Office => self.office(random),
            Place::Cloud => self.data_centre(random),
        };
        site.ipv6 = random.chance(self.ipv6[n]);
        let udp = !random.chance(self.udp_blocked[n]);
        if !udp {
            if site.boxes.is_empty() {
                site = site.behind(NatKind::FIREWALL);
            }
            let innermost = site.boxes.last_mut();
            innermost.into_iter().for_each(|b| b.kind.blocks_udp = true);
        }
        let hard = site.boxes.iter().any(|b| is_hard(b.kind));
        End {
            place,
            site,
            udp,
            web_only: false,
            hard,
        }
    }

    /// What an end's boxes do to TCP.
    fn rule_tcp(&self, end: &mut End, random: &mut Random) {
        let place = Place::ALL.iter().position(|&p| p == end.place).unwrap_or(0);
        for one in &mut end.site.boxes {
            one.tcp = TcpRules {
                web_only: one.kind.blocks_udp && random.chance(self.web_only[place]),
                resets: random.chance(self.resets),
                simultaneous_open: !random.chance(self.no_simultaneous_open),
                ..TcpRules::default()
            };
            end.web_only |= one.tcp.web_only;
        }
    }

    /// What an end may have of the port of the web.
    fn rule_web(&self, end: &mut End, random: &mut Random) {
        let carriers = match end.place {
            // Of two the outer one is taken for a carrier's: it shares its ports out among subscribers.
            Place::Home => usize::from(end.site.boxes.len() > 1),
            Place::Mobile => end.site.boxes.len(),
            Place::Office | Place::Cloud => 0,
        };
        for (n, one) in end.site.boxes.iter_mut().enumerate() {
            one.tcp.inspects = one.tcp.web_only && random.chance(self.web_inspected);
            one.tcp.keeps_web_port = n >= carriers && random.chance(self.keeps_web_port);
        }
        end.site.own_web_port = random.chance(self.own_web_port);
        end.site.maps_web_port = end.site.maps_ports && random.chance(self.maps_web_port);
    }

    fn home(&self, random: &mut Random) -> Site {
        let mut site = Site::default();
        let carrier = random.chance(self.carrier[0]);
        if carrier {
            site = site.behind(self.carrier_nat(random, self.hard_fixed_carrier, 35));
        }
        let router = self.router(random, self.hard_home);
        site = site.behind(router);
        if random.chance(self.second_router[0]) {
            return site.behind(self.router(random, self.hard_home));
        }
        site.maps_ports = !carrier && random.chance(self.maps_ports);
        site
    }

    fn mobile(&self, random: &mut Random) -> Site {
        let mut site = Site::default();
        if random.chance(self.carrier[1]) {
            site = site.behind(self.carrier_nat(random, self.hard_mobile_carrier, 65));
        }
        if random.chance(self.second_router[1]) {
            site = site.behind(NatKind::PORT_RESTRICTED);
        }
        site
    }

    fn office(&self, random: &mut Random) -> Site {
        let foreign = random.log_uniform(0.5, 50.0);
        let timeout = timeout(random, 60);
        let firewall = self.nat(random, self.hard_office, timeout);
        Site::from(firewall.with_foreign(foreign))
    }

    fn data_centre(&self, random: &mut Random) -> Site {
        match random.one_of(&self.cloud) {
            0 => Site::public(),
            1 => Site::from(NatKind::FIREWALL.with_timeout(timeout(random, 120))),
            _ => {
                let foreign = random.log_uniform(0.5, 50.0);
                let kind = NatKind::SYMMETRIC_RANDOM.with_timeout(timeout(random, 120));
                Site::from(NatConfig::from(kind).with_foreign(foreign))
            }
        }
    }

    fn router(&self, random: &mut Random, hard: f64) -> NatConfig {
        let timeout = timeout(random, 90).max(Duration::from_secs(30));
        let router = self.nat(random, hard, timeout);
        if random.chance(self.punishes) {
            return router.with_unsolicited(Unsolicited::Punished(Duration::from_secs(30)));
        }
        router
    }

    fn carrier_nat(&self, random: &mut Random, hard: f64, median_timeout: u64) -> NatConfig {
        let timeout = timeout(random, median_timeout);
        let nat = self.nat(random, hard, timeout);
        let nat = nat.with_foreign(random.log_uniform(1.0, 100.0));
        if random.chance(self.unpaired) {
            nat.with_external_addresses(2)
        } else {
            nat
        }
    }

    fn nat(&self, random: &mut Random, hard: f64, timeout: Duration) -> NatConfig {
        let kind = if random.chance(hard) {
            match random.one_of(&self.counting_and_block) {
                0 => {
                    let stride = if random.chance(0.75) { 1 } else { 2 };
                    NatKind::symmetric_sequential(stride)
                }
                1 => {
                    let sizes = [256, 512, 1024, 2000, 4000];
                    NatKind::symmetric_block(sizes[random.below(sizes.len() as u64) as usize])
                }
                _ => NatKind::SYMMETRIC_RANDOM,
            }
        } else {
            let allocation = if random.chance(0.75) {
                Allocation::Preserving
            } else {
                Allocation::Random
            };
            let filtering = match random.one_of(&self.filters) {
                0 => Filtering::EndpointIndependent,
                1 => Filtering::AddressDependent,
                _ => Filtering::AddressAndPortDependent,
            };
            NatKind {
                filtering,
                allocation,
                ..NatKind::PORT_RESTRICTED
            }
        };
        kind.with_timeout(timeout).into()
    }
}

/// One end of a pair.
#[derive(Clone, Debug)]
pub struct End {
    /// The kind of network that it is in.
    pub place: Place,
    /// The boxes between it and the internet.
    pub site: Site,
    /// Whether its network lets UDP out.
    pub udp: bool,
    /// Whether no TCP gets out either, but to the ports of the web.
    pub web_only: bool,
    /// Whether any of its boxes gives each destination another port.
    pub hard: bool,
}

/// Two ends, and the way between them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The connector's and the listener's.
    pub ends: [End; 2],
    /// The scenario that the pair makes, to be run.
    pub scenario: Scenario,
}

fn is_hard(kind: NatKind) -> bool {
    matches!(
        kind.mapping,
        Mapping::AddressDependent | Mapping::AddressAndPortDependent
    )
}

/// How long an idle mapping lives: between 10 s and 300 s around a median.
fn timeout(random: &mut Random, median: u64) -> Duration {
    let drawn = random.log_normal(Duration::from_secs(median), 0.7);
    drawn.clamp(Duration::from_secs(10), Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_population_has_the_shares_of_its_mix() {
        let mix = Mix::PUBLISHED;
        let pairs: Vec<Pair> = (0..20_000).map(|seed| mix.pair(seed)).collect();
        let share = |of: &dyn Fn(&End) -> bool| {
            let ends = pairs.iter().flat_map(|pair| &pair.ends);
            ends.filter(|end| of(end)).count() as f64 / (2 * pairs.len()) as f64
        };
        for (place, expected) in Place::ALL.into_iter().zip(mix.places) {
            assert!((share(&|end| end.place == place) - expected).abs() < 0.01);
        }
        let blocked: f64 = mix
            .places
            .iter()
            .zip(mix.udp_blocked)
            .map(|(a, b)| a * b)
            .sum();
        assert!((share(&|end| !end.udp) - blocked).abs() < 0.005);
        assert!((0.03..=0.05).contains(&blocked), "{blocked}: RFC 9308");
        assert_eq!(
            mix.pair(7).scenario.build().hosts,
            mix.pair(7).scenario.build().hosts
        );
    }

    #[test]
    fn the_shares_of_a_mix_are_shares() {
        for mix in [Mix::PUBLISHED, Mix::PESSIMISTIC, Mix::OPTIMISTIC] {
            assert!((mix.places.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            for pair in [mix.cloud, mix.counting_and_block, mix.filters] {
                assert!(pair.iter().sum::<f64>() <= 1.0);
            }
        }
    }
}
