//! What comes from the peer's engine, and what this one tells it.

use std::{net::SocketAddr, time::Instant};

use p2pdbg_nat::NatReport;

use super::{Engine, progress::Phase};
use crate::{
    Event, Family, Output, SocketId,
    candidate::{self, Candidate},
    search::Hints,
    signal::{Plan, Signal},
};

/// The peer as it described itself last.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) generation: u32,
    pub(super) candidates: Vec<Candidate>,
    pub(super) report: NatReport,
    pub(super) server_rtt_ms: u16,
    pub(super) hints: Option<Hints>,
    /// Since when its candidates of this generation are known here.
    pub(super) since: Instant,
}

impl Engine {
    pub(super) fn on_peer_signal(&mut self, bytes: &[u8]) {
        match Signal::decode(bytes) {
            Ok(signal) => {
                // Each signal is a whole picture, so the latest is all that counts.
                self.deferred = Some(signal);
                self.take_deferred_signal();
            }
            Err(error) => {
                tracing::debug!(%error, "dropped");
                self.event(Event::BadSignal);
            }
        }
    }

    /// Acts on the latest signal, unless the peer begins anew too often.
    pub(super) fn take_deferred_signal(&mut self) {
        let Some(signal) = self.deferred.take() else {
            return;
        };
        if self.begins_something(&signal) && !self.restarts.take(self.now) {
            self.deferred = Some(signal);
            return;
        }
        self.act_on(signal);
    }

    /// When a signal that was put off may be acted on.
    pub(super) fn deferred_at(&self) -> Option<Instant> {
        self.deferred.as_ref().map(|_| self.restarts.next_at())
    }

    fn begins_something(&self, signal: &Signal) -> bool {
        let generation = self.remote.as_ref().map(|r| r.generation);
        let new_plan = signal
            .plan
            .is_some_and(|plan| !self.is_controlling() && self.plan != Some(plan));
        generation != Some(signal.generation) || new_plan
    }

    fn act_on(&mut self, signal: Signal) {
        let known = self
            .remote
            .as_ref()
            .filter(|r| r.generation == signal.generation);
        let since = known.map_or(self.now, |r| r.since);
        let anew = known.is_none();
        let other_report = known.is_some_and(|r| r.report != signal.report);
        self.remote = Some(Remote {
            generation: signal.generation,
            candidates: signal.candidates,
            report: signal.report,
            server_rtt_ms: signal.server_rtt_ms,
            hints: signal.hints,
            since,
        });
        if anew {
            self.on_new_peer_generation();
        } else if other_report && self.is_controlling() {
            self.reconsider_search();
        }
        self.add_pairs();
        self.event(Event::PeerCandidates {
            generation: signal.generation,
            usable: self.checks.usable(),
        });
        if let Some(plan) = signal.plan
            && !self.is_controlling()
            && plan.for_generation == self.generation
        {
            self.follow_plan(plan);
        }
        if let Some(hints) = self.remote.as_ref().and_then(|r| r.hints.clone()) {
            self.on_peer_hints(&hints);
        }
    }

    fn follow_plan(&mut self, plan: Plan) {
        let Some(before) = self
            .plan
            .replace(plan)
            .map_or(Some(None), |b| (b != plan).then_some(Some(b)))
        else {
            return;
        };
        // The first attempt began by itself when the candidates were known.
        let began = matches!(self.phase, Phase::Running { attempt, .. } if attempt == plan.attempt)
            && before.is_none_or(|b| {
                (b.attempt, b.for_generation) == (plan.attempt, plan.for_generation)
            });
        self.held_until = None;
        if !began {
            self.begin_attempt(plan.attempt);
        }
        if let Some(search) = plan.search {
            self.start_search(search);
        }
    }

    /// The peer began anew: its addresses may all be others, and it may have given up the path that stands.
    fn on_new_peer_generation(&mut self) {
        self.checks.clear();
        self.nomination.reset();
        self.nominate_anew = true;
        self.followed = None;
        self.plan = None;
        self.obstacle = None;
        self.phase = Phase::Waiting;
        self.signal_due = true;
        if let Some(direct) = &mut self.direct {
            direct.consent.doubt(self.now);
        }
    }

    /// Pairs every candidate of the peer with the socket that can reach it.
    pub(super) fn add_pairs(&mut self) {
        let Some(remote) = &self.remote else { return };
        let most = self.config.budget.peer_candidates;
        for candidate in candidate::accept(&remote.candidates, &self.local, most) {
            let socket = socket_for(candidate.address);
            if self.sockets.contains_key(&socket) {
                let technique = candidate::technique(candidate, &self.local);
                self.checks.add((socket, candidate.address), technique);
            }
        }
        if matches!(self.phase, Phase::Running { .. }) {
            self.checks.start_idle(self.now);
        }
    }

    /// Tells the peer how things stand, if that changed and enough is known.
    pub(super) fn signal_if_due(&mut self) {
        if !self.signal_due || !self.gathering.is_settled() || self.sockets.is_empty() {
            return;
        }
        self.signal_due = false;
        let signal = Signal {
            generation: self.generation,
            candidates: self.local_candidates(),
            report: self.report.clone(),
            server_rtt_ms: self
                .server_rtt
                .map_or(0, |rtt| rtt.as_millis().try_into().unwrap_or(u16::MAX)),
            plan: self.plan.filter(|_| self.is_controlling()),
            hints: self.hints.clone(),
        };
        self.outputs.push_back(Output::Signal(signal.encode()));
    }
}

/// The session's socket of the address's family.
fn socket_for(address: SocketAddr) -> SocketId {
    match Family::of(address.ip()) {
        Family::V4 => SocketId::V4,
        Family::V6 => SocketId::V6,
    }
}
