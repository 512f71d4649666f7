//! Running searches: when one begins, what it may cost, and cleaning up after it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_nat::{NatReport, Ports};

use super::{Engine, progress::Phase};
use crate::{
    Event, Family, Obstacle, Output, SocketId, Technique, budget,
    candidate::{self, Candidate, Kind},
    footprint::Count,
    ladder, observe,
    pair::PairKey,
    sampling::Sampling,
    search::{Hints, SearchPlan, Shot},
    transactions::{Purpose, Sent},
};

/// How long the socket of a path outlives the path.
const RETIREMENT: Duration = Duration::from_secs(10);

/// How long the controlling side waits for either NAT to be sampled before it plans without.
const SAMPLING_WAIT: Duration = Duration::from_millis(900);

impl Engine {
    /// Takes a sample of a NAT whose ports depend on the destination, once for each generation.
    pub(super) fn sample_if_needed(&mut self) {
        if !self.report.is_dependent()
            || self.sampling.is_some()
            || self.sampled.is_some()
            || !self.gathering.is_settled()
        {
            return;
        }
        let servers = self.gathering.servers(Family::V4);
        let first = self.reserve_sockets(budget::SAMPLING_SOCKETS);
        let sampling = Sampling::new(self.now, first, &servers);
        let sockets = sampling.sockets().to_vec();
        self.sampling = Some(sampling);
        self.open_sockets(&sockets);
    }

    pub(super) fn continue_sampling(&mut self) {
        let Some(sampling) = &mut self.sampling else {
            return;
        };
        let mut questions = Vec::new();
        while self.pacer.next_at() <= self.now
            && let Some(question) = sampling.poll(self.now)
        {
            self.pacer.take(self.now);
            questions.push(question);
        }
        let finished = sampling.finished(self.now);
        for (socket, server) in questions {
            self.send_request((socket, server), None, Purpose::Server);
        }
        if let Some(samples) = finished {
            let sockets = self
                .sampling
                .take()
                .map(|s| s.sockets().to_vec())
                .unwrap_or_default();
            self.close_sockets(&sockets, None);
            self.sampled = Some(samples);
            self.update_report();
        }
    }

    /// The controlling side adds a search to the attempt, as soon as enough is known of both NATs.
    pub(super) fn plan_search(&mut self) {
        let Phase::Running { attempt, began, .. } = self.phase else {
            return;
        };
        if !self.is_controlling()
            || self.search_planned
            || self.direct.is_some()
            || self.checks.any_answered()
        {
            return;
        }
        let Some(remote) = &self.remote else { return };
        let waited = self.now >= began + SAMPLING_WAIT;
        let unclear = |r: &NatReport| r.is_dependent() && r.ports == Ports::Unknown;
        let open = !self.gathering.is_settled() || unclear(&self.report) || unclear(&remote.report);
        if open && !waited {
            return;
        }
        let ladder = ladder::ladder(&self.report, &remote.report);
        let (search, _) = ladder::step(&ladder, attempt);
        // Where the last attempt found a path that is too narrow, this one probably will, too.
        let narrow = self.obstacle == Some(Obstacle::TunnelFails);
        if let Some(search) = search
            && (budget::is_costly(search) || narrow)
            && self.now < began + self.head_start()
        {
            return;
        }
        self.search_planned = true;
        if let Some(search) = search {
            self.announce_search(search);
        }
    }

    /// When [`Engine::plan_search`] has something to decide.
    pub(super) fn plan_search_at(&self) -> Option<Instant> {
        let Phase::Running { began, .. } = self.phase else {
            return None;
        };
        let open = self.is_controlling()
            && !self.search_planned
            && self.direct.is_none()
            && !self.checks.any_answered();
        let later = [began + self.head_start(), began + SAMPLING_WAIT];
        later.into_iter().filter(|&at| open && at > self.now).min()
    }

    fn head_start(&self) -> Duration {
        let theirs = self.remote.as_ref().map_or(0, |r| r.server_rtt_ms);
        let ours = self.server_rtt.unwrap_or_default();
        let round_trip = ours + Duration::from_millis(u64::from(theirs));
        budget::head_start(round_trip)
    }

    /// Something came to be known that may make a search, or another one, possible in this attempt after all.
    pub(super) fn reconsider_search(&mut self) {
        if self.search.is_some() {
            return;
        }
        if self.is_controlling() {
            self.search_planned = false;
        } else if let (Phase::Running { .. }, Some(search)) =
            (self.phase, self.plan.and_then(|p| p.search))
        {
            self.start_search(search);
        }
    }

    fn announce_search(&mut self, search: SearchPlan) {
        if let Some(plan) = &mut self.plan {
            plan.search = Some(search);
            self.signal_due = true;
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
        } = self.phase
        else {
            return;
        };
        if !self.search_allowed
            || self.direct.is_some()
            || !self.sockets.contains_key(&SocketId::V4)
        {
            return;
        }
        let ends = self.now + self.config.budget.duration(plan);
        let Some(search) = self.build_search(plan, attempt) else {
            return;
        };
        self.phase = Phase::Running {
            attempt,
            began,
            until: until.max(ends),
        };
        self.search_ends = ends;
        let sockets = search.sockets();
        self.search = Some(search);
        self.event(Event::SearchBegan {
            technique: plan.technique(),
            sockets: sockets.len(),
        });
        self.open_sockets(&sockets);
        let hints = self.remote.as_ref().and_then(|r| r.hints.clone());
        if let (Some(search), Some(hints)) = (&mut self.search, hints) {
            search.on_hints(self.now, &hints);
        }
    }

    /// Sends what the search wants sent, at the pace, as long as no pair is valid.
    pub(super) fn continue_search(&mut self) {
        let quiet = self.checks.any_answered();
        loop {
            if quiet || self.pacer.next_at() > self.now || self.pacer.exhausted() {
                break;
            }
            let Some(search) = &mut self.search else {
                return;
            };
            let Some(shot) = search.poll(self.now, &mut self.random) else {
                break;
            };
            self.pacer.take(self.now);
            match shot {
                Shot::Ask { socket, server } => {
                    self.send_request((socket, server), None, Purpose::Server)
                }
                Shot::Check { socket, to, ttl } => {
                    self.send_request((socket, to), ttl, Purpose::CHECK);
                }
            }
            if self.pacer.exhausted() {
                self.event(Event::BudgetSpent);
            }
        }
        if let Some(hints) = self.search.as_mut().and_then(|s| s.poll_hints(self.now)) {
            self.hints = Some(hints);
            self.signal_due = true;
        }
        if self.search.is_some() && self.now >= self.search_ends && !quiet {
            self.end_round();
        }
    }

    pub(super) fn search_next_at(&self) -> Option<Instant> {
        let search = self.search.as_ref()?;
        let quiet = self.checks.any_answered() || self.pacer.exhausted();
        let shot = search
            .next_at()
            .filter(|_| !quiet)
            .map(|at| at.max(self.pacer.next_at()));
        let end = Some(self.search_ends).filter(|_| !self.checks.any_answered());
        [shot, end].into_iter().flatten().min()
    }

    fn end_round(&mut self) {
        let next = match self.search.as_ref().map(|s| s.plan) {
            Some(SearchPlan::Mutual { round }) if round + 1 < budget::MUTUAL_ROUNDS => {
                Some(SearchPlan::Mutual { round: round + 1 })
            }
            _ => None,
        };
        self.stop_search();
        if let Some(next) = next.filter(|_| self.is_controlling()) {
            self.announce_search(next);
        }
    }

    pub(super) fn on_search_socket(&mut self, socket: SocketId) {
        if let Some(sampling) = &mut self.sampling {
            sampling.on_opened(socket);
        }
        if let Some(search) = &mut self.search {
            search.on_opened(self.now, socket);
        }
    }

    pub(super) fn on_search_socket_failed(&mut self, socket: SocketId) {
        if let Some(sampling) = &mut self.sampling {
            sampling.on_failed(socket);
        }
        if let Some(search) = &mut self.search {
            search.on_failed(socket);
        }
    }

    pub(super) fn on_search_mapped(&mut self, sent: Sent, mapped: SocketAddr) {
        if let Some(sampling) = &mut self.sampling {
            sampling.on_answer(sent.socket, sent.to, mapped);
        }
        let foreign = self.count_foreign(sent, mapped);
        if let Some(search) = &mut self.search {
            search.on_mapped(self.now, sent.socket, mapped, foreign);
        }
    }

    /// What others make behind the same NAT, from the first mapping that a server saw to this one.
    fn count_foreign(&mut self, sent: Sent, mapped: SocketAddr) -> u32 {
        let Ports::Sequential {
            stride,
            foreign_per_kilosecond,
        } = self.report.ports
        else {
            return 0;
        };
        let place = self.footprint.place(sent.socket, sent.to);
        let (Some((first, last)), Some(place)) = (&mut self.counted, place) else {
            return foreign_per_kilosecond;
        };
        let count = Count {
            at: sent.at,
            place,
            port: mapped.port(),
        };
        if count.place > last.place {
            *last = count;
        }
        observe::foreign(first, last, stride)
    }

    pub(super) fn on_peer_hints(&mut self, hints: &Hints) {
        if let Some(search) = &mut self.search {
            search.on_hints(self.now, hints);
        }
    }

    /// What made a pair show itself.
    pub(super) fn revealed_by(&self, key: PairKey) -> Technique {
        match &self.search {
            Some(search) if search.explains(key.0, key.1) => search.plan.technique(),
            _ => {
                let kind = Kind::PeerReflexive;
                candidate::technique(
                    Candidate {
                        kind,
                        address: key.1,
                    },
                    &self.local,
                )
            }
        }
    }

    /// Ends the search and closes its sockets, except that of the path.
    pub(super) fn stop_search(&mut self) {
        if let Some(search) = self.search.take() {
            let keep = self.direct.as_ref().map(|d| d.path.socket);
            self.close_sockets(&search.sockets(), keep);
        }
    }

    fn open_sockets(&mut self, sockets: &[SocketId]) {
        let open = |&socket: &SocketId| Output::OpenSocket {
            socket,
            family: Family::V4,
        };
        self.outputs.extend(sockets.iter().map(open));
    }

    pub(super) fn close_sockets(&mut self, sockets: &[SocketId], keep: Option<SocketId>) {
        for &socket in sockets
            .iter()
            .filter(|&&s| s > SocketId::V6 && Some(s) != keep)
        {
            self.sockets.remove(&socket);
            self.checks.remove_socket(socket);
            self.outputs.push_back(Output::CloseSocket { socket });
        }
    }

    /// Keeps the socket of a path that was replaced open for a while: what is on its way still arrives, and the driver
    /// has time to move its streams.
    pub(super) fn retire(&mut self, socket: Option<SocketId>) {
        if let Some(socket) = socket.filter(|&s| s > SocketId::V6) {
            self.retired.push((socket, self.now + RETIREMENT));
        }
    }

    pub(super) fn close_retired(&mut self) {
        while let Some(&(socket, at)) = self.retired.first()
            && at <= self.now
        {
            self.retired.remove(0);
            let keep = self.direct.as_ref().map(|d| d.path.socket);
            self.close_sockets(&[socket], keep);
        }
    }

    /// Whether a socket that was opened is still wanted.
    pub(super) fn is_expected(&self, socket: SocketId) -> bool {
        socket <= SocketId::V6
            || self
                .sampling
                .as_ref()
                .is_some_and(|s| s.sockets().contains(&socket))
            || self
                .search
                .as_ref()
                .is_some_and(|s| s.sockets().contains(&socket))
            || self
                .direct
                .as_ref()
                .is_some_and(|d| d.path.socket == socket)
    }
}
