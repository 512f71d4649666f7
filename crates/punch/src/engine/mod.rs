//! The engine's outside: inputs in, outputs and the next deadline out.
//!
//! What it does inside stands by subject in the modules below: [`datagram`] reads what comes from the network, [`peer`]
//! what comes from the peer's engine, [`local`] what the driver tells of this host; [`progress`] does what is due, and
//! [`search`] runs what [`build`] builds.

mod build;
mod datagram;
mod local;
mod peer;
mod progress;
mod search;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_nat::NatReport;

use self::{peer::Remote, progress::Phase};
use crate::{
    Config, Event, Family, Input, LocalAddress, Obstacle, Output, Path, PunchKey, Role, SocketId,
    candidate,
    check::Keys,
    checklist::Checklist,
    consent::Consent,
    footprint::{Count, Footprint},
    gather::{Gathering, Sample},
    nomination::Nomination,
    pace::{self, Pacer},
    pair::PairKey,
    random::Random,
    sampling::Sampling,
    search::{Hints, Search},
    signal::{Plan, Signal},
    transactions::{Purpose, Sent, Transactions},
};

/// Addresses that [`Input::PeerSeen`] may name in all.
const MAX_SEEN: usize = 8;

/// The traversal engine of one session at one peer. See the crate's documentation for the calling order.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    keys: Keys,
    random: Random,
    now: Instant,
    outputs: VecDeque<Output>,

    sockets: BTreeMap<SocketId, Socket>,
    local: Vec<LocalAddress>,
    local_known: bool,
    mapped: BTreeMap<SocketId, SocketAddr>,
    gathering: Gathering,
    report: NatReport,
    /// Names this end's network situation; the peer begins anew when it changes.
    generation: u32,
    signal_due: bool,
    moved_at: Option<Instant>,
    generation_began: Option<Instant>,

    remote: Option<Remote>,
    seen: BTreeSet<IpAddr>,
    plan: Option<Plan>,
    /// The peer's latest signal, while it waits for its turn.
    deferred: Option<Signal>,
    restarts: Pacer,

    transactions: Transactions,
    pacer: Pacer,
    checks: Checklist,
    phase: Phase,
    obstacle: Option<Obstacle>,

    nomination: Nomination,
    /// The controlling side owes the peer a nomination, even of a path that stands.
    nominate_anew: bool,
    /// Whether the controlling side has decided what this attempt adds to the plain checks.
    search_planned: bool,
    search: Option<Search>,
    search_ends: Instant,
    search_allowed: bool,
    hints: Option<Hints>,
    next_socket: u32,
    sampling: Option<Sampling>,
    sampled: Option<Vec<Sample>>,
    server_rtt: Option<Duration>,
    footprint: Footprint,
    /// Sockets of former paths, and when they close.
    retired: Vec<(SocketId, Instant)>,
    /// The earliest and the latest place to which a NAT that counts had counted.
    counted: Option<(Count, Count)>,

    /// The number of the nomination that the controlled side followed last.
    followed: Option<u32>,
    direct: Option<Direct>,
    tunnel_up: bool,
    /// Paths in a row that were nominated and on which no tunnel came up.
    tunnel_failures: u32,
    /// Until when no path is looked for, because tunnels keep failing on them.
    held_until: Option<Instant>,
    streams_active: bool,
    /// Whether a NAT between the peers has turned out to forget within a rest of the consent checks.
    forgetful: bool,
}

#[derive(Clone, Copy, Debug)]
struct Socket {
    port: u16,
    family: Family,
}

/// The path that both sides agreed on.
#[derive(Debug)]
struct Direct {
    path: Path,
    consent: Consent,
}

impl Direct {
    fn key(&self) -> PairKey {
        (self.path.socket, self.path.remote)
    }
}

impl Engine {
    /// An engine that has not done anything yet. `seed` must come from the operating system's randomness outside
    /// of tests: transaction ids, which must not be guessable, are drawn from it.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let mut random = Random::new(seed);
        let timing = config.timing;
        Self {
            keys: Keys::new(&config.key, config.role),
            now,
            outputs: VecDeque::new(),
            sockets: BTreeMap::new(),
            local: Vec::new(),
            local_known: false,
            mapped: BTreeMap::new(),
            gathering: Gathering::new(&config.stun_servers, &timing, now),
            report: NatReport::default(),
            generation: random.u32() >> 1,
            signal_due: true,
            moved_at: None,
            generation_began: None,
            remote: None,
            seen: BTreeSet::new(),
            plan: None,
            deferred: None,
            restarts: pace::restarts(now),
            transactions: Transactions::default(),
            pacer: Pacer::new(&config.budget, now),
            checks: Checklist::new(timing, &config.budget, config.role),
            phase: Phase::Waiting,
            obstacle: None,
            nomination: Nomination::new(timing),
            nominate_anew: false,
            search_planned: false,
            search: None,
            search_ends: now,
            search_allowed: true,
            hints: None,
            next_socket: SocketId::V6.0 + 1,
            sampling: None,
            sampled: None,
            server_rtt: None,
            footprint: Footprint::default(),
            counted: None,
            retired: Vec::new(),
            followed: None,
            direct: None,
            tunnel_up: false,
            tunnel_failures: 0,
            held_until: None,
            streams_active: false,
            forgetful: false,
            random,
            config,
        }
    }

    /// Takes the key on which both peers have agreed in place of the one that the engine was born with. An engine that is
    /// to gather candidates while the peers still authenticate each other is born with a random key, under which the
    /// peer's checks and its own come to nothing.
    pub fn authenticated(&mut self, key: &PunchKey) {
        self.keys = Keys::new(key, self.config.role);
    }

    /// Takes one input and does whatever is due at `now`.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Datagram {
                socket,
                from,
                payload,
            } => self.on_datagram(socket, from, payload),
            Input::SocketOpened { socket, local } => self.on_socket_opened(socket, local),
            Input::SocketFailed { socket } => self.on_socket_failed(socket),
            Input::LocalAddresses(addresses) => self.on_local_addresses(addresses),
            Input::PeerSignal(bytes) => self.on_peer_signal(bytes),
            Input::PeerSeen(addresses) => self.on_peer_seen(addresses),
            Input::SendFailed { socket, to } => {
                self.on_send_failed((socket, candidate::canonical(to)))
            }
            Input::MappedPort { socket, external } => self.on_mapped_port(socket, external),
            Input::NetworkChanged => self.on_network_changed(),
            Input::TunnelUp => self.set_activity(true, self.streams_active),
            Input::TunnelLost => self.on_tunnel_lost(),
            Input::PathSilent => self.on_path_silent(),
            Input::StreamsActive(active) => self.set_activity(self.tunnel_up, active),
            Input::SearchAllowed(allowed) => {
                let before = std::mem::replace(&mut self.search_allowed, allowed);
                match (before, allowed) {
                    (_, false) => self.stop_search(),
                    // The attempt may have planned one in vain.
                    (false, true) => self.reconsider_search(),
                    (true, true) => {}
                }
            }
            Input::Timeout => {}
        }
        self.advance();
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline()
    }

    /// The path that both peers agree on, if there is one.
    #[must_use]
    pub fn nominated(&self) -> Option<&Path> {
        self.direct.as_ref().map(|direct| &direct.path)
    }

    /// Why the session is not direct now; `None` when it is.
    #[must_use]
    pub fn why_relayed(&self) -> Option<Obstacle> {
        if self.direct.is_some() {
            return None;
        }
        Some(match self.phase {
            _ if self.remote.is_none() => Obstacle::WaitingForPeer,
            Phase::Waiting => self.obstacle.unwrap_or(Obstacle::Gathering),
            Phase::Running { attempt, .. } => self.obstacle.unwrap_or(Obstacle::Trying { attempt }),
            Phase::Resting { .. } => self.obstacle.unwrap_or(Obstacle::Filtered),
        })
    }

    /// What the NAT in front of this host looks like so far.
    #[must_use]
    pub fn nat_report(&self) -> &NatReport {
        &self.report
    }

    fn set_activity(&mut self, tunnel_up: bool, streams_active: bool) {
        self.tunnel_up = tunnel_up;
        if tunnel_up {
            self.tunnel_failures = 0;
        }
        self.streams_active = streams_active;
        if let Some(direct) = &mut self.direct {
            direct
                .consent
                .set_active(self.now, streams_active || !tunnel_up);
        }
    }

    fn on_peer_seen(&mut self, addresses: &[IpAddr]) {
        let before = self.seen.len();
        for ip in addresses {
            let ip = ip.to_canonical();
            // Any port will do to tell whether this can be a host's address.
            if self.seen.len() < MAX_SEEN && candidate::is_usable(SocketAddr::new(ip, 1)) {
                self.seen.insert(ip);
            }
        }
        if self.seen.len() > before {
            self.reconsider_search();
        }
    }

    fn on_send_failed(&mut self, key: PairKey) {
        self.checks.on_send_failed(key);
        self.gathering.on_send_failed(key.0, key.1);
        if let Some(direct) = self.direct.as_mut().filter(|d| d.key() == key) {
            direct.consent.doubt(self.now);
        }
    }

    fn is_controlling(&self) -> bool {
        self.config.role == Role::Controlling
    }

    fn event(&mut self, event: Event) {
        tracing::debug!(?event);
        self.outputs.push_back(Output::Event(event));
    }

    /// Sends a request and remembers it.
    fn send_request(&mut self, key: PairKey, ttl: Option<u8>, purpose: Purpose) {
        let transaction = self.random.transaction();
        let payload = match purpose {
            Purpose::Server => crate::gather::question(transaction, Family::of(key.1.ip())),
            Purpose::Check { nomination, length } => {
                crate::check::request(&self.keys, transaction, nomination, length)
            }
        };
        let sent = Sent {
            socket: key.0,
            to: key.1,
            at: self.now,
            purpose,
        };
        self.transactions.insert(transaction, sent);
        self.send(key, ttl, payload);
    }

    fn send(&mut self, (socket, to): PairKey, ttl: Option<u8>, payload: Vec<u8>) {
        self.footprint.on_sent(socket, to);
        self.outputs.push_back(Output::Send {
            socket,
            to,
            ttl,
            payload,
        });
    }
}
