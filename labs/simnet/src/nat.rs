//! A NAT box as a table of mappings in virtual time.
//!
//! It does to UDP what its [`NatKind`] says, and what the kind leaves out and the field shows: mappings of other hosts
//! that take ports away, boxes that punish an unsolicited packet, and pools of external addresses.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_nat::{Allocation, Filtering, Mapping, NatKind};
use p2pdbg_punch::WEB_PORT;

use crate::{
    config::{NatConfig, TcpRules, Unsolicited},
    flows::{Flow, Flows, Verdict},
    random::Random,
};

/// The lowest port that a NAT gives out.
const FIRST_PORT: u16 = 1024;

/// How many ports there are from [`FIRST_PORT`] up.
const PORTS: u64 = 65_536 - FIRST_PORT as u64;

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
    made: Duration,
    sent_to: HashSet<SocketAddr>,
    sent_to_addresses: HashSet<IpAddr>,
}

/// A NAT box: its mappings, and what passes them.
#[derive(Clone, Debug)]
pub struct Nat {
    config: NatConfig,
    external: Vec<IpAddr>,
    entries: HashMap<SocketAddr, Entry>,
    by_inside: HashMap<(SocketAddr, Toward), SocketAddr>,
    /// External ports that a host had mapped, and for which of its endpoints.
    forwarded: HashMap<SocketAddr, SocketAddr>,
    punished: HashMap<(SocketAddr, SocketAddr), Duration>,
    counter: u16,
    counted_at: Duration,
    blocks: HashMap<IpAddr, u16>,
    flows: Flows,
    /// Whether it drops what comes in, and what goes out, whatever the rest says.
    deaf: Option<Direction>,
    /// Whether only servers get in.
    hidden: bool,
}

/// A way through a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From outside to a host behind it.
    In,
    /// From a host behind it to the outside.
    Out,
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
            forwarded: HashMap::new(),
            punished: HashMap::new(),
            counter: FIRST_PORT + random.below(PORTS) as u16,
            counted_at: Duration::ZERO,
            blocks: HashMap::new(),
            flows: Flows::default(),
            deaf: None,
            hidden: false,
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

    /// The external addresses, of one family or both.
    #[must_use]
    pub fn external(&self) -> &[IpAddr] {
        &self.external
    }

    /// How many mappings live at this time.
    #[must_use]
    pub fn mappings(&self, now: Duration) -> usize {
        self.entries.values().filter(|e| self.lives(e, now)).count()
    }

    /// What it does to TCP besides.
    pub(crate) fn tcp_rules(&self) -> TcpRules {
        self.config.tcp
    }

    /// An endpoint outside has ended its connection with a port: it may not send there any more.
    pub(crate) fn reset(&mut self, source: SocketAddr, to: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&to) {
            entry.sent_to.remove(&source);
        }
    }

    /// Whether a port lets in endpoints that it never sent to.
    pub(crate) fn is_open(&self, to: SocketAddr) -> bool {
        let forwarded = |inside| self.forwarded.get(&inside) == Some(&to);
        self.config.kind.filtering == Filtering::EndpointIndependent && to.is_ipv4()
            || self.entries.get(&to).is_some_and(|e| forwarded(e.inside))
    }

    /// Drops everything in one direction from now on, or nothing any more.
    pub fn set_deaf(&mut self, direction: Option<Direction>) {
        self.deaf = direction;
    }

    /// Drops what comes from anywhere but a STUN server: peers look for each other and never meet.
    pub fn hide_from_peers(&mut self) {
        self.hidden = true;
    }

    /// Flows that had to go for others.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.flows.evicted()
    }

    /// How often the guard has stopped everything.
    #[must_use]
    pub fn bans(&self) -> u64 {
        self.flows.bans()
    }

    /// Whether a packet this way is not lost in the box.
    pub(crate) fn lets_through(&self, way: Direction) -> bool {
        self.deaf != Some(way)
    }

    /// Takes a flow into account; whether it passes.
    fn admit(&mut self, now: Duration, flow: Flow) -> bool {
        let NatConfig { guard, table, .. } = self.config;
        if guard.is_none() && table.is_none() {
            return true;
        }
        let timeout = self.config.kind.timeout;
        match self.flows.outbound(now, flow, timeout, guard, table) {
            Verdict::Passes => true,
            Verdict::Dropped => false,
            Verdict::Evicts((inside, to)) => {
                for entry in self.entries.values_mut().filter(|e| e.inside == inside) {
                    entry.sent_to.remove(&to);
                    entry.sent_to_addresses.remove(&to.ip());
                }
                self.entries.retain(|_, e| !e.sent_to.is_empty());
                self.by_inside
                    .retain(|_, external| self.entries.contains_key(external));
                true
            }
        }
    }

    /// Forgets all mappings, as after a restart.
    pub fn flush(&mut self) {
        self.entries.clear();
        self.by_inside.clear();
        self.forwarded.clear();
        self.punished.clear();
    }

    /// Maps a port to an inside endpoint for as long as the box runs, as PCP, NAT-PMP or UPnP have it done: anybody may
    /// send to it, and answers leave from it. Gives its external address, or `None` if no port is free.
    pub fn forward(
        &mut self,
        now: Duration,
        inside: SocketAddr,
        wanted: Option<u16>,
        random: &mut Random,
    ) -> Option<SocketAddr> {
        // It is none of the mappings that the endpoint's own packets make.
        let own = self.by_inside.remove(&(inside, Toward::Anything));
        let free = |at: &SocketAddr| !self.entries.get(at).is_some_and(|e| self.lives(e, now));
        let wanted = wanted.map(|port| SocketAddr::new(self.external[0], port));
        let external = match wanted.filter(free) {
            Some(external) => self.insert(now, inside, Toward::Anything, external),
            None => self.create(now, inside, Toward::Anything, random)?,
        };
        self.by_inside.remove(&(inside, Toward::Anything));
        self.by_inside
            .extend(own.map(|own| ((inside, Toward::Anything), own)));
        self.forwarded.insert(inside, external);
        Some(external)
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
        if !self.admit(now, (source, to)) {
            return None;
        }
        let external = self
            .forwarding(now, source, to, toward)
            .or_else(|| self.live_mapping(now, source, toward))
            .or_else(|| self.create(now, source, toward, random))?;
        let entry = self.entries.get_mut(&external)?;
        entry.last_used = now;
        entry.sent_to.insert(to);
        entry.sent_to_addresses.insert(to.ip());
        Some(external)
    }

    /// The source with which a packet to this destination would leave, if its mapping is there.
    pub(crate) fn existing(
        &self,
        now: Duration,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let entry = self
            .entries
            .values()
            .find(|e| e.inside == source && self.lives(e, now) && e.sent_to.contains(&to));
        entry.map(|e| e.external)
    }

    /// A packet from outside: the inside endpoint that it is for, or `None` if it is dropped.
    pub fn inbound(
        &mut self,
        now: Duration,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let served = [crate::MAIN_PORT, crate::ALTERNATIVE_PORT].contains(&source.port());
        if self.config.kind.blocks_udp || self.hidden && !served {
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
        let lifetime = self.config.lifetime.unwrap_or(Duration::MAX);
        let passes = self
            .entries
            .get_mut(&to)
            .filter(|e| {
                let kept = now <= e.last_used + timeout && now - e.made <= lifetime;
                kept || self.forwarded.get(&e.inside) == Some(&to)
            })
            .and_then(|entry| {
                let asked = match filtering {
                    _ if self.forwarded.get(&entry.inside) == Some(&to) => {
                        entry.sent_to.insert(source);
                        true
                    }
                    Filtering::EndpointIndependent => true,
                    Filtering::AddressDependent => entry.sent_to_addresses.contains(&source.ip()),
                    Filtering::AddressAndPortDependent => entry.sent_to.contains(&source),
                };
                asked.then(|| {
                    entry.last_used = now;
                    entry.inside
                })
            });
        if let Some(inside) = passes {
            self.flows.inbound(now, (inside, source));
        }
        if passes.is_none()
            && let Unsolicited::Punished(how_long) = self.config.unsolicited
        {
            self.punished.insert((to, source), now + how_long);
        }
        passes
    }

    fn lives(&self, entry: &Entry, now: Duration) -> bool {
        let lifetime = self.config.lifetime.unwrap_or(Duration::MAX);
        now <= entry.last_used + self.config.kind.timeout && now - entry.made <= lifetime
            || self.is_forwarded(entry)
    }

    fn is_forwarded(&self, entry: &Entry) -> bool {
        self.forwarded.get(&entry.inside) == Some(&entry.external)
    }

    /// The mapped port from which an endpoint answers what came to that port, unless it had sent there before: a flow
    /// keeps the port that it began with.
    fn forwarding(
        &self,
        now: Duration,
        source: SocketAddr,
        to: SocketAddr,
        toward: Toward,
    ) -> Option<SocketAddr> {
        let own = self.by_inside.get(&(source, toward));
        let flows = |e: &Entry| self.lives(e, now) && e.sent_to.contains(&to);
        if own.and_then(|own| self.entries.get(own)).is_some_and(flows) {
            return None;
        }
        let external = self.forwarded.get(&source)?;
        let entry = self.entries.get(external)?;
        entry.sent_to.contains(&to).then_some(*external)
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
        Some(self.insert(now, source, toward, external))
    }

    /// Has an external address lead to an endpoint.
    fn insert(
        &mut self,
        now: Duration,
        source: SocketAddr,
        toward: Toward,
        external: SocketAddr,
    ) -> SocketAddr {
        if let Some(old) = self.entries.remove(&external) {
            self.by_inside.remove(&(old.inside, old.toward));
        }
        let entry = Entry {
            inside: source,
            external,
            toward,
            last_used: now,
            made: now,
            sent_to: HashSet::new(),
            sent_to_addresses: HashSet::new(),
        };
        self.by_inside.insert((source, toward), entry.external);
        self.entries.insert(external, entry);
        external
    }

    fn allocate(
        &mut self,
        now: Duration,
        ip: IpAddr,
        source: SocketAddr,
        random: &mut Random,
    ) -> Option<u16> {
        let keeps_web = self.config.tcp.keeps_web_port;
        let free = |nat: &Self, port: u16| {
            (port >= FIRST_PORT || port == WEB_PORT && keeps_web)
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
