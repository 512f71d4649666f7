//! A NAT box as a table of mappings in virtual time.
//!
//! It does to UDP what its [`NatKind`] says, and what the kind leaves out and the field shows: mappings of other hosts
//! that take ports away, boxes that punish an unsolicited packet, and pools of external addresses.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_natkind::{Allocation, Filtering, Mapping, NatKind};

use crate::random::Random;

/// The lowest port that a NAT gives out.
const FIRST_PORT: u16 = 1024;

/// Ports from [`FIRST_PORT`] up.
const PORTS: u64 = 65_536 - FIRST_PORT as u64;

/// A NAT's kind and its surroundings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NatConfig {
    /// The kind.
    pub kind: NatKind,
    /// Mappings a second that other hosts behind the same box make.
    pub foreign_per_second: f64,
    /// What a packet does that nobody asked for.
    pub unsolicited: Unsolicited,
    /// External addresses of the box; a new mapping gets any of them.
    pub external_addresses: usize,
}

/// What a box does about a packet that its filter stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsolicited {
    /// Drops it, as RFC 4787 has it.
    Dropped,
    /// Drops it and everything from the same endpoint to the same port for so long, even once it is asked for.
    Punished(Duration),
}

impl From<NatKind> for NatConfig {
    fn from(kind: NatKind) -> Self {
        Self {
            kind,
            foreign_per_second: 0.0,
            unsolicited: Unsolicited::Dropped,
            external_addresses: 1,
        }
    }
}

impl NatConfig {
    /// The same box with other hosts behind it that make so many mappings a second.
    #[must_use]
    pub fn with_foreign(self, foreign_per_second: f64) -> Self {
        Self {
            foreign_per_second,
            ..self
        }
    }

    /// The same box with another view of unsolicited packets.
    #[must_use]
    pub fn with_unsolicited(self, unsolicited: Unsolicited) -> Self {
        Self {
            unsolicited,
            ..self
        }
    }

    /// The same box with a pool of external addresses.
    #[must_use]
    pub fn with_external_addresses(self, external_addresses: usize) -> Self {
        Self {
            external_addresses,
            ..self
        }
    }
}

/// What a mapping belongs to besides the inside endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Toward {
    Anything,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

#[derive(Clone, Debug)]
struct Entry {
    inside: SocketAddr,
    external: SocketAddr,
    toward: Toward,
    last_used: Duration,
    sent_to: HashSet<SocketAddr>,
    sent_to_addresses: HashSet<IpAddr>,
}

/// A NAT box.
#[derive(Clone, Debug)]
pub struct Nat {
    config: NatConfig,
    external: Vec<IpAddr>,
    entries: HashMap<SocketAddr, Entry>,
    by_inside: HashMap<(SocketAddr, Toward), SocketAddr>,
    punished: HashMap<(SocketAddr, SocketAddr), Duration>,
    counter: u16,
    counted_at: Duration,
    blocks: HashMap<IpAddr, u16>,
}

impl Nat {
    /// A box with these external addresses and nothing in its table.
    #[must_use]
    pub fn new(config: NatConfig, external: Vec<IpAddr>, random: &mut Random) -> Self {
        Self {
            config,
            external,
            entries: HashMap::new(),
            by_inside: HashMap::new(),
            punished: HashMap::new(),
            counter: FIRST_PORT + random.below(PORTS) as u16,
            counted_at: Duration::ZERO,
            blocks: HashMap::new(),
        }
    }

    /// Whether the box translates, so that what is behind it needs private addresses.
    #[must_use]
    pub fn translates(&self) -> bool {
        self.config.kind.translates()
    }

    /// Whether the address is one of the box's own.
    #[must_use]
    pub fn owns(&self, ip: IpAddr) -> bool {
        self.translates() && self.external.contains(&ip)
    }

    /// Whether it lets inside hosts reach each other by their external addresses.
    #[must_use]
    pub fn hairpins(&self) -> bool {
        self.config.kind.hairpin
    }

    /// The external addresses.
    #[must_use]
    pub fn external(&self) -> &[IpAddr] {
        &self.external
    }

    /// Mappings that live now.
    #[must_use]
    pub fn mappings(&self, now: Duration) -> usize {
        self.entries.values().filter(|e| self.lives(e, now)).count()
    }

    /// Forgets all mappings, as after a restart.
    pub fn flush(&mut self) {
        self.entries.clear();
        self.by_inside.clear();
        self.punished.clear();
    }

    /// Becomes another kind, as when the host moves to another network; mappings are gone.
    pub fn set_kind(&mut self, kind: NatKind) {
        self.config.kind = kind;
        self.flush();
    }

    /// Gets other external addresses, as when a line is dialled anew.
    pub fn set_external(&mut self, external: Vec<IpAddr>) {
        self.external = external;
        self.flush();
    }

    /// A packet from inside: the source address that it leaves with, or `None` if it does not leave.
    pub fn outbound(
        &mut self,
        now: Duration,
        source: SocketAddr,
        to: SocketAddr,
        random: &mut Random,
    ) -> Option<SocketAddr> {
        if self.config.kind.blocks_udp {
            return None;
        }
        let toward = match self.config.kind.mapping {
            Mapping::Untranslated | Mapping::EndpointIndependent => Toward::Anything,
            Mapping::AddressDependent => Toward::Address(to.ip()),
            Mapping::AddressAndPortDependent => Toward::Endpoint(to),
        };
        // IPv6 is routed, never translated.
        let toward = if source.is_ipv6() {
            Toward::Anything
        } else {
            toward
        };
        let external = self
            .live_mapping(now, source, toward)
            .or_else(|| self.create(now, source, toward, random))?;
        let entry = self.entries.get_mut(&external)?;
        entry.last_used = now;
        entry.sent_to.insert(to);
        entry.sent_to_addresses.insert(to.ip());
        Some(external)
    }

    /// A packet from outside: the inside endpoint that it is for, or `None` if it is dropped.
    pub fn inbound(
        &mut self,
        now: Duration,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        if self.config.kind.blocks_udp {
            return None;
        }
        if let Some(&until) = self.punished.get(&(to, source))
            && now < until
        {
            return None;
        }
        let untranslated = !self.translates() || to.is_ipv6();
        let filtering =
            if to.is_ipv6() && self.config.kind.filtering != Filtering::EndpointIndependent {
                // The stateful IPv6 firewall of a home router.
                Filtering::AddressAndPortDependent
            } else {
                self.config.kind.filtering
            };
        if untranslated && filtering == Filtering::EndpointIndependent {
            return Some(to);
        }
        let timeout = self.config.kind.timeout;
        let passes = self
            .entries
            .get_mut(&to)
            .filter(|e| now <= e.last_used + timeout)
            .and_then(|entry| {
                let asked = match filtering {
                    Filtering::EndpointIndependent => true,
                    Filtering::AddressDependent => entry.sent_to_addresses.contains(&source.ip()),
                    Filtering::AddressAndPortDependent => entry.sent_to.contains(&source),
                };
                asked.then(|| {
                    entry.last_used = now;
                    entry.inside
                })
            });
        if passes.is_none()
            && let Unsolicited::Punished(how_long) = self.config.unsolicited
        {
            self.punished.insert((to, source), now + how_long);
        }
        passes
    }

    fn lives(&self, entry: &Entry, now: Duration) -> bool {
        now <= entry.last_used + self.config.kind.timeout
    }

    fn live_mapping(
        &mut self,
        now: Duration,
        source: SocketAddr,
        toward: Toward,
    ) -> Option<SocketAddr> {
        let external = *self.by_inside.get(&(source, toward))?;
        if self
            .entries
            .get(&external)
            .is_some_and(|e| self.lives(e, now))
        {
            return Some(external);
        }
        self.entries.remove(&external);
        self.by_inside.remove(&(source, toward));
        None
    }

    fn create(
        &mut self,
        now: Duration,
        source: SocketAddr,
        toward: Toward,
        random: &mut Random,
    ) -> Option<SocketAddr> {
        let external = if !self.translates() || source.is_ipv6() {
            source
        } else {
            let ip = self.external[random.below(self.external.len() as u64) as usize];
            SocketAddr::new(ip, self.allocate(now, ip, source, random)?)
        };
        if let Some(old) = self.entries.remove(&external) {
            self.by_inside.remove(&(old.inside, old.toward));
        }
        let entry = Entry {
            inside: source,
            external,
            toward,
            last_used: now,
            sent_to: HashSet::new(),
            sent_to_addresses: HashSet::new(),
        };
        self.by_inside.insert((source, toward), entry.external);
        self.entries.insert(external, entry);
        Some(external)
    }

    fn allocate(
        &mut self,
        now: Duration,
        ip: IpAddr,
        source: SocketAddr,
        random: &mut Random,
    ) -> Option<u16> {
        let free = |nat: &Self, port: u16| {
            port >= FIRST_PORT
                && !nat
                    .entries
                    .get(&SocketAddr::new(ip, port))
                    .is_some_and(|e| nat.lives(e, now))
        };
        match self.config.kind.allocation {
            Allocation::Preserving => {
                if free(self, source.port()) {
                    return Some(source.port());
                }
                self.draw(FIRST_PORT, PORTS, random, free)
            }
            Allocation::Random => self.draw(FIRST_PORT, PORTS, random, free),
            Allocation::Block { size } => {
                let blocks = PORTS / u64::from(size);
                let first = *self.blocks.entry(source.ip()).or_insert_with(|| {
                    FIRST_PORT + (random.below(blocks) * u64::from(size)) as u16
                });
                self.draw(first, u64::from(size), random, free)
            }
            Allocation::Sequential { stride } => {
                let elapsed = now.saturating_sub(self.counted_at).as_secs_f64();
                self.counted_at = now;
                let foreign = random.events(elapsed * self.config.foreign_per_second);
                for _ in 0..foreign % PORTS {
                    self.count(stride);
                }
                for _ in 0..PORTS {
                    self.count(stride);
                    if free(self, self.counter) {
                        return Some(self.counter);
                    }
                }
                None
            }
        }
    }

    fn count(&mut self, stride: u16) {
        let next = u64::from(self.counter - FIRST_PORT) + u64::from(stride);
        self.counter = FIRST_PORT + (next % PORTS) as u16;
    }

    /// A random free port among `count` from `first` on.
    fn draw(
        &self,
        first: u16,
        count: u64,
        random: &mut Random,
        free: impl Fn(&Self, u16) -> bool,
    ) -> Option<u16> {
        for _ in 0..64 {
            let port = first + random.below(count) as u16;
            if free(self, port) {
                return Some(port);
            }
        }
        let left: Vec<u16> = (0..count)
            .map(|n| first + n as u16)
            .filter(|&port| free(self, port))
            .collect();
        (!left.is_empty()).then(|| left[random.below(left.len() as u64) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: &str = "192.168.0.2:5000";
    const SERVER: &str = "198.18.0.1:3478";
    const OTHER_PORT: &str = "198.18.0.1:3479";
    const OTHER_HOST: &str = "198.18.0.9:3478";

    fn a(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    struct Bench {
        nat: Nat,
        random: Random,
        now: Duration,
    }

    impl Bench {
        fn new(config: impl Into<NatConfig>) -> Self {
            let mut random = Random::new(7);
            let nat = Nat::new(
                config.into(),
                vec!["198.18.1.1".parse().unwrap()],
                &mut random,
            );
            Self {
                nat,
                random,
                now: Duration::ZERO,
            }
        }

        fn out(&mut self, from: &str, to: &str) -> SocketAddr {
            self.nat
                .outbound(self.now, a(from), a(to), &mut self.random)
                .unwrap()
        }

        fn passes(&mut self, from: &str, to: SocketAddr) -> bool {
            self.nat.inbound(self.now, a(from), to).is_some()
        }
    }

    #[test]
    fn the_kinds_map_and_filter_as_they_are_called() {
        for (kind, one_port, others_pass, other_ports_pass) in [
            (NatKind::FULL_CONE, true, true, true),
            (NatKind::ADDRESS_RESTRICTED, true, false, true),
            (NatKind::PORT_RESTRICTED, true, false, false),
            (NatKind::SYMMETRIC_RANDOM, false, false, false),
            (NatKind::SYMMETRIC_SEQUENTIAL, false, false, false),
            (NatKind::SYMMETRIC_BLOCK, false, false, false),
        ] {
            let mut bench = Bench::new(kind);
            let mapped = bench.out(INSIDE, SERVER);
            assert!(bench.passes(SERVER, mapped), "{kind}");
            assert_eq!(bench.passes(OTHER_HOST, mapped), others_pass, "{kind}");
            assert_eq!(bench.passes(OTHER_PORT, mapped), other_ports_pass, "{kind}");
            assert_eq!(bench.out(INSIDE, OTHER_PORT) == mapped, one_port, "{kind}");
            assert_eq!(bench.out(INSIDE, SERVER), mapped, "{kind}");
        }
    }

    #[test]
    fn sequential_ports_step_by_the_stride_and_foreign_traffic_takes_some() {
        let mut quiet = Bench::new(NatKind::symmetric_sequential(2));
        let ports: Vec<u16> = (1..5)
            .map(|p| quiet.out(INSIDE, &format!("198.18.0.1:{p}")).port())
            .collect();
        assert!(ports.windows(2).all(|w| w[1] == w[0] + 2), "{ports:?}");
        let mut busy =
            Bench::new(NatConfig::from(NatKind::SYMMETRIC_SEQUENTIAL).with_foreign(100.0));
        let before = busy.out(INSIDE, SERVER).port();
        busy.now += Duration::from_secs(1);
        let gap = busy.out(INSIDE, OTHER_PORT).port() - before;
        assert!((70..130).contains(&gap), "{gap}");
    }

    #[test]
    fn a_block_holds_all_ports_of_one_host_and_no_more() {
        let mut bench = Bench::new(NatKind::symmetric_block(100));
        let ports: HashSet<u16> = (1..=100)
            .map(|p| bench.out(INSIDE, &format!("198.18.0.1:{p}")).port())
            .collect();
        assert_eq!(ports.len(), 100);
        assert_eq!(
            ports.iter().max().unwrap() - ports.iter().min().unwrap(),
            99
        );
        let full = bench
            .nat
            .outbound(bench.now, a(INSIDE), a(OTHER_HOST), &mut bench.random);
        assert_eq!(full, None);
    }

    #[test]
    fn an_idle_mapping_is_forgotten() {
        let kind = NatKind::SYMMETRIC_RANDOM.with_timeout(Duration::from_secs(20));
        let mut bench = Bench::new(kind);
        let mapped = bench.out(INSIDE, SERVER);
        bench.now += Duration::from_secs(20);
        assert!(bench.passes(SERVER, mapped));
        bench.now += Duration::from_secs(21);
        assert!(!bench.passes(SERVER, mapped));
        assert_ne!(bench.out(INSIDE, SERVER), mapped);
    }

    #[test]
    fn a_box_that_punishes_stops_what_came_too_early() {
        let config = NatConfig::from(NatKind::PORT_RESTRICTED)
            .with_unsolicited(Unsolicited::Punished(Duration::from_secs(5)));
        let mut bench = Bench::new(config);
        let mapped = bench.out(INSIDE, SERVER);
        assert!(!bench.passes(OTHER_HOST, mapped));
        bench.out(INSIDE, OTHER_HOST);
        assert!(!bench.passes(OTHER_HOST, mapped));
        bench.now += Duration::from_secs(5);
        assert!(bench.passes(OTHER_HOST, mapped));
    }

    #[test]
    fn a_blocked_box_lets_nothing_through() {
        let mut bench = Bench::new(NatKind::UDP_BLOCKED);
        let none = bench
            .nat
            .outbound(bench.now, a(INSIDE), a(SERVER), &mut bench.random);
        assert_eq!(none, None);
    }
}
