//! What comes from the peer's engine, and what this one tells it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use p2pdbg_nat::NatReport;
use p2pdbg_proto::address;

use super::{Engine, attempts::Phase};
use crate::{
    Output, PunchEvent, SocketId,
    candidate::{self, Candidate},
    direct_tcp::TcpOffer,
    pace::{self, Pace},
    pair::PairKey,
    search::Hints,
    signal::{MAX_SERVERS, Plan, Signal},
};

/// Addresses that [`Input::PeerSeen`](crate::Input::PeerSeen) may name in all.
const MAX_SEEN: usize = 8;

/// The peer as it described itself last.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) generation: u32,
    pub(super) candidates: Vec<Candidate>,
    pub(super) report: NatReport,
    pub(super) server_rtt_ms: u16,
    /// STUN servers that see it well.
    servers: Vec<SocketAddr>,
    pub(super) hints: Option<Hints>,
    /// What it says of its TCP ports.
    pub(super) tcp: Option<TcpOffer>,
    /// Since when its candidates of this generation are known here.
    pub(super) since: Instant,
}

/// What the peer and the rendezvous told of the peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) remote: Option<Remote>,
    /// Where the rendezvous itself saw it: the only addresses at which many ports are tried.
    pub(super) seen: BTreeSet<IpAddr>,
    /// The attempt that both make, as the controlling side announced it last.
    pub(super) plan: Option<Plan>,
    /// The peer's latest signal, while it waits for its turn.
    deferred: Option<Signal>,
    /// How often it may have this end begin anew.
    restarts: Pace,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            remote: None,
            seen: BTreeSet::new(),
            plan: None,
            deferred: None,
            restarts: pace::restarts(now),
        }
    }

    /// The rendezvous saw the peer at these addresses. True if one of them is new.
    pub(super) fn on_seen(&mut self, addresses: &[IpAddr]) -> bool {
        let before = self.seen.len();
        for ip in addresses {
            let ip = ip.to_canonical();
            // Any port will do to tell whether this can be a host's address.
            if self.seen.len() < MAX_SEEN && candidate::is_usable(SocketAddr::new(ip, 1)) {
                self.seen.insert(ip);
            }
        }
        self.seen.len() > before
    }

    /// When a signal that was put off may be acted on.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.deferred.as_ref().map(|_| self.restarts.next_at())
    }
}

impl Engine {
    pub(super) fn on_peer_signal(&mut self, bytes: &[u8]) {
        match Signal::decode(bytes) {
            Ok(signal) => {
                // Each signal is a whole picture, so the latest is all that counts.
                self.peer.deferred = Some(signal);
                self.take_deferred_signal();
            }
            Err(error) => {
                tracing::debug!(%error, "dropped");
                self.out.event(PunchEvent::BadSignal);
            }
        }
    }

    /// Acts on the latest signal, unless the peer begins anew too often.
    pub(super) fn take_deferred_signal(&mut self) {
        let Some(signal) = self.peer.deferred.take() else {
            return;
        };
        if self.begins_something(&signal) && !self.peer.restarts.take(self.now) {
            self.peer.deferred = Some(signal);
            return;
        }
        self.act_on(signal);
    }

    fn begins_something(&self, signal: &Signal) -> bool {
        let generation = self.peer.remote.as_ref().map(|r| r.generation);
        let new_plan = signal
            .plan
            .is_some_and(|plan| !self.is_controlling() && self.peer.plan != Some(plan));
        generation != Some(signal.generation) || new_plan
    }

    fn act_on(&mut self, signal: Signal) {
        let known = self
            .peer
            .remote
            .as_ref()
            .filter(|r| r.generation == signal.generation);
        let since = known.map_or(self.now, |r| r.since);
        let anew = known.is_none();
        let other_report = known.is_some_and(|r| r.report != signal.report);
        let began_anew = anew && self.peer.remote.is_some();
        self.peer.remote = Some(Remote {
            generation: signal.generation,
            candidates: signal.candidates,
            report: signal.report,
            server_rtt_ms: signal.server_rtt_ms,
            servers: signal.servers,
            hints: signal.hints,
            tcp: signal.tcp,
            since,
        });
        if began_anew {
            // Checks that came before the first signal are the same generation's, and stay.
            self.attempts.checks.clear();
        }
        if anew {
            self.on_new_peer_generation();
        } else if other_report && self.is_controlling() {
            self.reconsider_search();
        }
        if self.host.gathering.seeing().is_empty() {
            let servers = self.peer.remote.as_ref().map(|r| r.servers.clone());
            let sockets: Vec<_> = self.host.main_sockets().collect();
            let servers = servers.unwrap_or_default();
            self.host.gathering.lend(self.now, &servers, &sockets);
        }
        self.add_pairs();
        self.out.event(PunchEvent::PeerCandidates {
            generation: signal.generation,
            usable: self.attempts.checks.usable(),
        });
        if let Some(plan) = signal.plan
            && !self.is_controlling()
            && plan.for_generation == self.host.generation
        {
            self.follow_plan(plan);
        }
        if let Some(hints) = self.peer.remote.as_ref().and_then(|r| r.hints.clone()) {
            self.on_peer_hints(&hints);
        }
        if let Some(offer) = self.peer.remote.as_ref().and_then(|r| r.tcp.as_ref()) {
            self.tcp.on_peer_offer(offer);
        }
    }

    fn follow_plan(&mut self, plan: Plan) {
        let Some(before) = self
            .peer
            .plan
            .replace(plan)
            .map_or(Some(None), |b| (b != plan).then_some(Some(b)))
        else {
            return;
        };
        // The first attempt began by itself when the candidates were known, and a later one if no plan came in time.
        let began = matches!(self.attempts.phase, Phase::Running { attempt, .. } if attempt == plan.attempt)
            && before.is_none_or(|b| {
                self.attempts.is_untold
                    || (b.attempt, b.for_generation) == (plan.attempt, plan.for_generation)
            });
        self.attempts.held_until = None;
        match began {
            true => self.go_on_with_attempt(),
            false => self.begin_attempt(plan.attempt),
        }
        if let Some(search) = plan.search {
            self.out.event(PunchEvent::SearchPossible);
            self.start_search(search);
        }
    }

    /// The peer began anew: its addresses may all be others, and it may have given up the path that stands.
    fn on_new_peer_generation(&mut self) {
        self.path.nomination.reset();
        self.path.nominate_anew = true;
        self.path.agreed = None;
        self.peer.plan = None;
        self.attempts.obstacle = None;
        self.attempts.phase = Phase::Waiting;
        self.host.signal_due = true;
        self.path.doubt(self.now);
        self.tcp.restart();
    }

    /// Pairs every candidate of the peer with the socket that can reach it.
    pub(super) fn add_pairs(&mut self) {
        let Some(remote) = &self.peer.remote else {
            return;
        };
        let most = self.config.budget.peer_candidates;
        let mut accepted = candidate::accept(&remote.candidates, &self.host.addresses, most);
        let key = |c: &Candidate| (SocketId::for_address(c.address), c.address);
        accepted.retain(|c| self.host.sockets.contains_key(&key(c).0));
        let named: Vec<PairKey> = accepted.iter().map(key).collect();
        let checks = &mut self.attempts.checks;
        // As often as it may begin anew, and have all be forgotten.
        if checks.has_to_forget(&named) && self.peer.restarts.take(self.now) {
            checks.forget_others(&named);
        }
        for (candidate, key) in accepted.into_iter().zip(named) {
            checks.add(key, candidate::technique(candidate, &self.host.addresses));
        }
        for (socket, stream) in self.tcp.streams() {
            checks.add((socket, stream.remote), stream.technique);
        }
        // Beside a path, or between two attempts, an address that is new may lead where the others do not.
        if !matches!(self.attempts.phase, Phase::Waiting) && !self.attempts.is_held(self.now) {
            self.attempts.checks.start_idle(self.now);
        }
    }

    /// The servers that see this end well, for a peer whose own do not.
    fn lent_servers(&self) -> Vec<SocketAddr> {
        let mut servers = self.host.gathering.seeing();
        servers.retain(|s| !address::is_private(s.ip()));
        servers.truncate(MAX_SERVERS);
        servers
    }

    /// Tells the peer how things stand, if that changed and enough is known.
    pub(super) fn signal_if_due(&mut self) {
        if !self.host.signal_due || !self.host.gathering.is_settled() || !self.is_set_up() {
            return;
        }
        self.host.signal_due = false;
        let signal = Signal {
            generation: self.host.generation,
            candidates: self.host.candidates(),
            report: self.nat.report.clone(),
            servers: self.lent_servers(),
            server_rtt_ms: self
                .host
                .server_rtt
                .map_or(0, |rtt| rtt.as_millis().try_into().unwrap_or(u16::MAX)),
            plan: self.peer.plan.filter(|_| self.is_controlling()),
            hints: self.search.hints.clone(),
            tcp: self.tcp_offer(),
        };
        self.out.push(Output::Signal(signal.encode()));
    }
}
