//! Running searches: when one begins, what it may cost, and cleaning up after it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Engine,
    attempts::{Phase, SAMPLING_WAIT},
    search_harm::{CANARY_AFTER, CANARY_INTERVAL},
};
use crate::{
    Obstacle, Output, PunchEvent, SocketId, Technique, budget,
    candidate::{self, Candidate, Kind},
    caution::Caution,
    ladder,
    pair::PairKey,
    search::{Hints, Search, SearchPlan, Shot},
    transactions::{Purpose, Sent},
};

/// The search of this attempt, if there is one.
#[derive(Debug)]
pub(super) struct PortSearch {
    pub(super) running: Option<Search>,
    /// When its round ends, found or not.
    ends: Instant,
    /// Whether the controlling side has decided what this attempt adds to the plain checks.
    pub(super) planned: bool,
    /// Whether this host may search now: one session at a time does.
    pub(super) allowed: bool,
    /// What it found out about our NAT, for the peer.
    pub(super) hints: Option<Hints>,
    next_socket: u32,
    /// A shot that waits until it may make a flow.
    held: Option<Shot>,
    /// Flows that the search under way has made.
    flows: u32,
    pub(super) caution: Caution,
    /// Since when no new flow is made because a tunnel has gone silent.
    pub(super) suspended: Option<Instant>,
    /// When servers are asked next whether all is still well, and until when.
    pub(super) canary: Option<(Instant, Instant)>,
}

impl PortSearch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running: None,
            ends: now,
            planned: false,
            allowed: true,
            hints: None,
            next_socket: SocketId::V6.0 + 1,
            held: None,
            flows: 0,
            caution: Caution::default(),
            suspended: None,
            canary: None,
        }
    }

    /// Numbers for sockets that are about to be opened, from the one given back on.
    pub(super) fn reserve_sockets(&mut self, count: u32) -> SocketId {
        let first = SocketId(self.next_socket);
        self.next_socket += count;
        first
    }

    /// Whether a socket belongs to the search under way.
    fn owns(&self, socket: SocketId) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|s| s.sockets().contains(&socket))
    }
}

impl Engine {
    /// The controlling side adds a search to the attempt, as soon as enough is known of both NATs.
    pub(super) fn plan_search(&mut self) {
        let Phase::Running { attempt, began, .. } = self.attempts.phase else {
            return;
        };
        if !self.is_controlling()
            || self.search.planned
            || self.path.direct.is_some()
            || self.attempts.checks.any_answered()
        {
            return;
        }
        let Some(remote) = &self.peer.remote else {
            return;
        };
        let waited = self.now >= began + SAMPLING_WAIT;
        let open = !self.host.gathering.is_settled()
            || self.nat.report.is_unclear()
            || remote.report.is_unclear();
        if open && !waited {
            return;
        }
        let (search, _) = ladder::step(&self.ladder(), attempt);
        // Where the last attempt found a path that is too narrow, this one probably will, too.
        let narrow = self.attempts.obstacle == Some(Obstacle::TunnelFails);
        if let Some(search) = search
            && (search.row().is_costly || narrow)
            && self.now < began + self.head_start()
        {
            return;
        }
        self.search.planned = true;
        if let Some(search) = search {
            self.announce_search(search);
        }
    }

    /// When [`Engine::plan_search`] has something to decide.
    pub(super) fn plan_search_at(&self) -> Option<Instant> {
        let Phase::Running { began, .. } = self.attempts.phase else {
            return None;
        };
        let open = self.is_controlling()
            && !self.search.planned
            && self.path.direct.is_none()
            && !self.attempts.checks.any_answered();
        let later = [began + self.head_start(), began + SAMPLING_WAIT];
        later.into_iter().filter(|&at| open && at > self.now).min()
    }

    fn head_start(&self) -> Duration {
        let theirs = self.peer.remote.as_ref().map_or(0, |r| r.server_rtt_ms);
        let ours = self.host.server_rtt.unwrap_or_default();
        let round_trip = ours + Duration::from_millis(u64::from(theirs));
        budget::head_start(round_trip)
    }

    /// Something came to be known that may make a search, or another one, possible in this attempt after all.
    pub(super) fn reconsider_search(&mut self) {
        if self.search.running.is_some() {
            return;
        }
        if self.is_controlling() {
            self.search.planned = false;
        } else if let (Phase::Running { attempt, .. }, Some(plan)) =
            (self.attempts.phase, self.peer.plan)
            // It is for an attempt before this one, else, which this one began without being told.
            && (plan.attempt, plan.for_generation) == (attempt, self.host.generation)
            && let Some(search) = plan.search
        {
            self.start_search(search);
        }
    }

    fn announce_search(&mut self, search: SearchPlan) {
        if let Some(plan) = &mut self.peer.plan {
            plan.search = Some(search);
            self.host.signal_due = true;
        }
        self.start_search(search);
    }

    /// Begins this side's part of a search, in place of any other.
    pub(super) fn start_search(&mut self, plan: SearchPlan) {
        self.stop_search();
        let Phase::Running {
            attempt,
            until,
            began,
        } = self.attempts.phase
        else {
            return;
        };
        if !self.search.allowed
            || self.path.direct.is_some()
            || !self.search.caution.allows(self.now)
            // What is silent already could not show harm, nor be searched.
            || self.host.gathering.has_fallen_silent()
            || !self.host.sockets.contains_key(&SocketId::V4)
        {
            return;
        }
        let budget = self.search.caution.budget(&self.config.budget);
        let ends = self.now + plan.row().duration(&budget, self.careful_interval());
        let Some(search) = self.build_search(plan, attempt) else {
            return;
        };
        self.attempts.phase = Phase::Running {
            attempt,
            began,
            until: until.max(ends),
        };
        self.search.ends = ends;
        let sockets = search.sockets();
        self.search.running = Some(search);
        self.search.canary = Some((self.now + CANARY_INTERVAL, ends + CANARY_AFTER));
        self.out.event(PunchEvent::SearchBegan {
            technique: plan.row().technique,
            sockets: sockets.len(),
        });
        self.out.open_sockets(&sockets);
        let hints = self.peer.remote.as_ref().and_then(|r| r.hints.clone());
        if let (Some(search), Some(hints)) = (&mut self.search.running, hints) {
            search.on_hints(self.now, &hints);
        }
    }

    /// Sends what the search wants sent, at the pace, as long as no pair is valid.
    pub(super) fn continue_search(&mut self) {
        let quiet = self.attempts.checks.any_answered();
        loop {
            if quiet || self.attempts.pacer.next_at() > self.now || self.attempts.pacer.exhausted()
            {
                break;
            }
            let Some(shot) = self.next_shot() else {
                break;
            };
            self.attempts.pacer.take(self.now);
            self.search.flows += u32::from(self.is_new_flow(shot));
            match shot {
                Shot::Ask { socket, server } => {
                    self.out
                        .request(self.now, (socket, server), None, Purpose::Server)
                }
                Shot::Check { socket, to, ttl } => {
                    self.out
                        .request(self.now, (socket, to), ttl, Purpose::CHECK);
                }
            }
            if self.attempts.pacer.exhausted() {
                self.out.event(PunchEvent::BudgetSpent);
            }
        }
        if let Some(hints) = self
            .search
            .running
            .as_mut()
            .and_then(|s| s.poll_hints(self.now))
        {
            self.search.hints = Some(hints);
            self.host.signal_due = true;
        }
        if self.search.running.is_some() && self.now >= self.search.ends && !quiet {
            self.end_round();
        }
    }

    /// What the search sends next, if that may leave now: a new flow may have to wait for room, or for its turn.
    fn next_shot(&mut self) -> Option<Shot> {
        let search = self.search.running.as_mut()?;
        let held = self.search.held.take();
        let shot = held.or_else(|| search.poll(self.now, &mut self.out.random))?;
        if self.is_new_flow(shot) && self.next_flow_at().is_none_or(|at| at > self.now) {
            self.search.held = Some(shot);
            return None;
        }
        Some(shot)
    }

    fn is_new_flow(&self, shot: Shot) -> bool {
        let (socket, to) = match shot {
            Shot::Ask { socket, server } => (socket, server),
            Shot::Check { socket, to, .. } => (socket, to),
        };
        self.out.flows.is_new(self.now, socket, to)
    }

    /// When a search may begin another flow; `None` while it is not known whether the last ones have done harm.
    fn next_flow_at(&self) -> Option<Instant> {
        let most = self.search.caution.budget(&self.config.budget).search_flows;
        let careful = self.careful_interval().is_some();
        let at = self.out.flows.next_at(self.now, most, careful);
        self.search.suspended.is_none().then_some(at)
    }

    /// The time between two new flows where something depends on the network, or it has been harmed before.
    pub(super) fn careful_interval(&self) -> Option<Duration> {
        let caution = &self.search.caution;
        (self.path.streams_active || caution.is_wary()).then(|| caution.interval())
    }

    pub(super) fn search_next_at(&self) -> Option<Instant> {
        let search = self.search.running.as_ref()?;
        let quiet = self.attempts.checks.any_answered() || self.attempts.pacer.exhausted();
        let due = match self.search.held {
            Some(_) => self.next_flow_at(),
            None => search.next_at(),
        };
        let shot = due
            .filter(|_| !quiet)
            .map(|at| at.max(self.attempts.pacer.next_at()));
        let end = Some(self.search.ends).filter(|_| !self.attempts.checks.any_answered());
        [shot, end].into_iter().flatten().min()
    }

    fn end_round(&mut self) {
        let running = self.search.running.as_ref();
        let next = running.and_then(|search| search.plan.next_round());
        self.stop_search();
        if let Some(next) = next.filter(|_| self.is_controlling()) {
            self.announce_search(next);
        }
    }

    pub(super) fn on_search_socket(&mut self, socket: SocketId) {
        if let Some(sampling) = &mut self.nat.sampling {
            sampling.on_opened(socket);
        }
        if let Some(search) = &mut self.search.running {
            search.on_opened(self.now, socket);
        }
    }

    pub(super) fn on_search_socket_failed(&mut self, socket: SocketId) {
        if let Some(sampling) = &mut self.nat.sampling {
            sampling.on_failed(socket);
        }
        if let Some(search) = &mut self.search.running {
            search.on_failed(socket);
        }
    }

    pub(super) fn on_search_mapped(&mut self, sent: Sent, mapped: SocketAddr) {
        if let Some(sampling) = &mut self.nat.sampling {
            sampling.on_answer(sent.socket, sent.to, mapped);
        }
        let foreign = self.nat.foreign(&self.out.own_mappings, sent, mapped);
        if let Some(search) = &mut self.search.running {
            search.on_mapped(self.now, sent.socket, mapped, foreign);
        }
    }

    pub(super) fn on_peer_hints(&mut self, hints: &Hints) {
        if let Some(search) = &mut self.search.running {
            search.on_hints(self.now, hints);
        }
    }

    /// What made a pair show itself.
    pub(super) fn revealed_by(&self, key: PairKey) -> Technique {
        if let Some(stream) = self.tcp.stream(key.0) {
            return stream.technique;
        }
        match &self.search.running {
            Some(search) if search.explains(key.0, key.1) => search.plan.row().technique,
            _ => {
                let kind = Kind::PeerReflexive;
                candidate::technique(
                    Candidate {
                        kind,
                        address: key.1,
                    },
                    &self.host.addresses,
                )
            }
        }
    }

    /// Whether this host may search now. One that is under way when it may no longer ends.
    pub(super) fn allow_search(&mut self, allowed: bool) {
        let before = std::mem::replace(&mut self.search.allowed, allowed);
        match (before, allowed) {
            (_, false) => self.stop_search(),
            // The attempt may have planned one in vain.
            (false, true) => self.reconsider_search(),
            (true, true) => {}
        }
    }

    /// Ends the search and closes its sockets, except that of the path.
    pub(super) fn stop_search(&mut self) {
        if let Some(search) = self.search.running.take() {
            self.search.held = None;
            self.out.event(PunchEvent::SearchEnded {
                technique: search.plan.row().technique,
                flows: std::mem::take(&mut self.search.flows),
            });
            self.search.canary = Some((self.now, self.now + CANARY_AFTER));
            let (sockets, keep) = (search.sockets(), self.path.socket());
            self.close_sockets(&sockets, keep);
            let closed = sockets.into_iter().filter(|&s| Some(s) != keep);
            self.out.forget_sockets(self.now, &closed.collect());
        }
    }

    pub(super) fn close_sockets(&mut self, sockets: &[SocketId], keep: Option<SocketId>) {
        for &socket in sockets
            .iter()
            .filter(|&&s| s > SocketId::V6 && Some(s) != keep)
        {
            self.host.sockets.remove(&socket);
            self.tcp.remove_stream(socket);
            self.attempts.checks.remove_socket(socket);
            self.out.push(Output::CloseSocket { socket });
        }
    }

    /// Whether a socket that was opened is still wanted.
    pub(super) fn is_expected(&self, socket: SocketId) -> bool {
        socket <= SocketId::V6
            || self
                .nat
                .sampling
                .as_ref()
                .is_some_and(|s| s.sockets().contains(&socket))
            || self.search.owns(socket)
            || self.path.socket() == Some(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config, PunchKey, Role,
        check::Nominated,
        search::{plan::Shape, socket_opener::SocketOpener},
    };

    const SOCKETS: u32 = 512;

    #[test]
    fn books_name_no_socket_of_a_search_that_is_over_and_count_what_it_made() {
        let now = Instant::now();
        let config = Config::new(Role::Controlling, PunchKey::new([1; 32]), Vec::new());
        let mut engine = Engine::new(config, [7; 32], now);
        let to = SocketAddr::from(([192, 0, 2, 1], 9));
        let shape = Shape {
            sockets: SOCKETS,
            asking: 0,
            in_order: false,
            first_ttl: None,
            repeat: Duration::from_millis(200),
        };
        let first = engine.search.reserve_sockets(SOCKETS);
        let opener = SocketOpener::new(now, 0, shape, first, vec![to], None, 1);
        let hard = Role::Controlling;
        engine.search.running = Some(Search::open(SearchPlan::Birthday { hard }, opener));
        let mut send = |socket| {
            engine.out.request(now, (socket, to), None, Purpose::CHECK);
        };
        send(SocketId::V4);
        (first.0..first.0 + SOCKETS).map(SocketId).for_each(send);
        // One of them has found the path, and stays.
        let nominated = Nominated {
            number: 1,
            technique: Technique::PortPrediction,
        };
        engine.establish((first, to), nominated, Duration::ZERO);
        let out = &engine.out;
        assert!(engine.search.running.is_none());
        assert_eq!(
            (out.flows.remembered(), out.own_mappings.remembered()),
            (2, 2)
        );
        assert_eq!(out.own_mappings.place(first, to), Some(2));
        assert_eq!(out.flows.since(now), SOCKETS + 1);
    }
}
