//! What is due: questions to servers, attempts, checks, nomination and consent.

use std::time::{Duration, Instant};

use p2pdbg_nat::Mapping;

use super::{Direct, Engine};
use crate::{
    Event, Family, LossReason, Obstacle, Output, Path, SocketId, Technique, budget, check::Length,
    consent::Consent, ladder, nomination::Step, pair::PairKey, signal::Plan, transactions::Purpose,
};

/// The pause after a failed attempt while another technique is left.
const SHORT_PAUSE: Duration = Duration::from_millis(200);

/// Where the search for a path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The candidates of either side are not known.
    Waiting,
    /// Checks go out.
    Running {
        attempt: u32,
        began: Instant,
        until: Instant,
    },
    /// An attempt is over. The controlling side begins the next one by itself, the controlled side when told.
    Resting {
        attempt: u32,
        until: Option<Instant>,
    },
}

impl Engine {
    /// Does all that is due at `self.now`.
    pub(super) fn advance(&mut self) {
        self.take_deferred_signal();
        self.ask_servers();
        self.begin_when_ready();
        self.decide();
        self.sample_if_needed();
        self.continue_sampling();
        self.plan_search();
        self.send_checks();
        self.continue_search();
        self.keep_consent();
        self.close_retired();
        self.end_attempt_when_over();
        self.signal_if_due();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let checks = self.checks.next_at().filter(|_| !self.pacer.exhausted());
        let phase = match self.phase {
            Phase::Waiting => None,
            Phase::Running { until, .. } => Some(until),
            Phase::Resting { until, .. } => until,
        };
        [
            self.gathering.next_at(),
            checks.map(|at| at.max(self.pacer.next_at())),
            phase,
            self.nomination
                .next_at()
                .filter(|_| self.is_controlling() && !self.is_held()),
            self.held_until,
            self.deferred_at(),
            self.direct.as_ref().map(|d| d.consent.next_at()),
            self.sampling
                .as_ref()
                .map(|s| s.next_at().max(self.pacer.next_at())),
            self.plan_search_at(),
            self.retired.first().map(|r| r.1),
            self.search_next_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn ask_servers(&mut self) {
        while let Some((socket, server)) = self.gathering.poll(self.now) {
            self.send_request((socket, server), None, Purpose::Server);
        }
        if self.sockets.is_empty() {
            return;
        }
        let before = self.gathering.is_settled();
        if self.gathering.check_settled(self.now) && !before {
            self.update_report();
            for family in [Family::V4, Family::V6] {
                if self.gathering.answered(family) == Some(false) {
                    self.event(Event::StunSilent(family));
                }
            }
        }
    }

    fn begin_when_ready(&mut self) {
        if self.is_held() {
            return;
        }
        self.held_until = None;
        if self.phase == Phase::Waiting && self.remote.is_some() && self.gathering.is_settled() {
            if self.is_controlling() {
                self.announce_attempt(0);
            }
            self.begin_attempt(0);
        }
    }

    /// Whether the search rests because tunnels keep failing on the paths that it finds.
    fn is_held(&self) -> bool {
        self.held_until.is_some_and(|until| self.now < until)
    }

    /// Tells the controlled side to make this attempt with us.
    fn announce_attempt(&mut self, attempt: u32) {
        let for_generation = self.remote.as_ref().map_or(0, |r| r.generation);
        self.plan = Some(Plan {
            attempt,
            for_generation,
            search: None,
        });
        self.signal_due = true;
    }

    pub(super) fn begin_attempt(&mut self, attempt: u32) {
        self.pacer.begin_attempt();
        self.gathering.retry_silent(self.now);
        self.checks.restart(self.now);
        self.stop_search();
        self.search_planned = false;
        self.hints = None;
        self.phase = Phase::Running {
            attempt,
            began: self.now,
            until: self.now + self.config.timing.attempt,
        };
        self.event(Event::AttemptBegan { attempt });
    }

    fn end_attempt_when_over(&mut self) {
        match self.phase {
            Phase::Running { attempt, until, .. } if self.now >= until => {
                let (pause, obstacle) = (self.pause_after(attempt), self.diagnose());
                self.checks.stop();
                self.stop_search();
                let resumes = self.is_controlling() && self.direct.is_none();
                self.phase = Phase::Resting {
                    attempt,
                    until: resumes.then(|| self.now + pause),
                };
                if self.direct.is_none() {
                    self.obstacle = Some(obstacle);
                    self.event(Event::AttemptFailed {
                        attempt,
                        packets: self.pacer.spent(),
                        pause,
                        obstacle,
                    });
                }
            }
            Phase::Resting {
                attempt,
                until: Some(until),
            } if self.now >= until => {
                self.announce_attempt(attempt + 1);
                self.begin_attempt(attempt + 1);
            }
            _ => {}
        }
    }

    /// Short while there are other techniques to try, then ever longer.
    fn pause_after(&self, attempt: u32) -> Duration {
        let timing = &self.config.timing;
        let ladder = match &self.remote {
            Some(remote) if self.is_controlling() => ladder::ladder(&self.report, &remote.report),
            Some(remote) => ladder::ladder(&remote.report, &self.report),
            None => Vec::new(),
        };
        let (search, more) = ladder::step(&ladder, attempt);
        if more && !self.checks.any_narrow() {
            return SHORT_PAUSE;
        }
        let round = (attempt + 1).saturating_sub(ladder.len() as u32).min(16);
        let pause = timing.first_pause.saturating_mul(1 << round);
        pause
            .max(budget::least_pause(search))
            .min(timing.longest_pause)
    }

    fn send_checks(&mut self) {
        while self.checks.next_at().is_some_and(|at| at <= self.now) {
            if !self.pacer.take(self.now) {
                break;
            }
            let Some(due) = self.checks.poll(self.now) else {
                break;
            };
            let purpose = Purpose::Check {
                nomination: None,
                length: due.length,
            };
            self.send_request(due.key, due.ttl, purpose);
            if self.pacer.exhausted() {
                self.event(Event::BudgetSpent);
            }
        }
    }

    fn decide(&mut self) {
        if self.is_held() {
            return;
        }
        if self.is_controlling() {
            let current = self
                .direct
                .as_ref()
                .map(|d| d.path.technique)
                .filter(|_| !self.nominate_anew);
            match self.nomination.poll(self.now, &self.checks, current) {
                Some(Step::Ask { key, nominated }) => {
                    let nomination = Some(nominated);
                    let length = Length::Wide;
                    self.send_request(key, None, Purpose::Check { nomination, length });
                }
                Some(Step::GiveUp { key }) => self.checks.on_narrow(key),
                None => {}
            }
        } else if let Some((key, wanted, rtt)) = self.checks.wanted_and_valid(self.followed) {
            self.followed = Some(wanted.number);
            self.establish(key, wanted.technique, rtt);
        }
    }

    /// Both sides agree on a pair.
    pub(super) fn establish(&mut self, key: PairKey, technique: Technique, rtt: Duration) {
        let since = self.remote.as_ref().map_or(self.now, |r| r.since);
        let path = Path {
            socket: key.0,
            remote: key.1,
            technique,
            rtt,
            after: self.now.duration_since(since),
        };
        let same = self.direct.as_ref().is_some_and(|d| d.key() == key);
        if !same {
            self.tunnel_up = false;
        }
        let before = self
            .direct
            .take()
            .map(|d| d.path.socket)
            .filter(|&s| s != key.0);
        let watched = self.streams_active || !self.tunnel_up;
        self.direct = Some(Direct {
            path,
            consent: Consent::new(self.config.timing, self.now, watched, self.forgetful),
        });
        self.stop_search();
        self.retire(before);
        self.obstacle = None;
        self.gathering.set_refreshing(self.now, false);
        self.outputs.push_back(Output::Nominated(path));
    }

    fn keep_consent(&mut self) {
        let jitter = self.random.u32() as u8;
        let Some(direct) = &mut self.direct else {
            return;
        };
        if direct.consent.expired(self.now) {
            self.lose_path(LossReason::ConsentExpired);
        } else if direct.consent.poll(self.now, jitter) {
            self.forgetful |= direct.consent.is_forgetful();
            let key = direct.key();
            self.send_request(key, None, Purpose::CHECK);
        }
    }

    /// The driver lost its tunnel. If it never had one here, the checks get through and the tunnel does not; trying the
    /// same again and again at once would go on for ever.
    pub(super) fn on_tunnel_lost(&mut self) {
        if self.direct.is_none() {
            return;
        }
        self.tunnel_failures += u32::from(!self.tunnel_up);
        if self.tunnel_up || self.tunnel_failures < 2 {
            self.lose_path(LossReason::TunnelLost);
            return;
        }
        let timing = &self.config.timing;
        let pause = timing
            .first_pause
            .saturating_mul(1 << self.tunnel_failures.min(16));
        self.held_until = Some(self.now + pause.min(timing.longest_pause));
        self.drop_path(LossReason::TunnelLost);
        self.checks.stop_all();
        self.nomination.reset();
        self.nominate_anew = true;
        self.obstacle = Some(Obstacle::TunnelFails);
        self.phase = Phase::Waiting;
    }

    fn drop_path(&mut self, reason: LossReason) {
        if let Some(direct) = self.direct.take() {
            self.tunnel_up = false;
            self.checks.fail(direct.key());
            self.retire(Some(direct.path.socket));
            self.gathering.set_refreshing(self.now, true);
            self.outputs.push_back(Output::PathLost { reason });
        }
    }

    pub(super) fn lose_path(&mut self, reason: LossReason) {
        if self.direct.is_some() {
            self.drop_path(reason);
            self.begin_generation();
            self.obstacle = Some(Obstacle::Lost);
        }
    }

    /// Our network situation is a new one: ask the servers again, tell the peer, and try at once with what is known.
    pub(super) fn begin_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.generation_began = Some(self.now);
        self.signal_due = true;
        self.obstacle = None;
        self.nominate_anew = true;
        self.nomination.reset();
        self.gathering.set_refreshing(self.now, true);
        let main = [SocketId::V4, SocketId::V6];
        let sockets = main
            .into_iter()
            .filter_map(|id| Some((id, self.sockets.get(&id)?.family)));
        self.gathering.restart(self.now, sockets);
        let sampling = self
            .sampling
            .take()
            .map(|s| s.sockets().to_vec())
            .unwrap_or_default();
        self.close_sockets(&sampling, None);
        self.sampled = None;
        if !matches!(self.phase, Phase::Waiting) {
            if self.is_controlling() {
                self.announce_attempt(0);
            }
            self.begin_attempt(0);
        }
    }

    /// What kept the attempt that just failed from a path.
    fn diagnose(&self) -> Obstacle {
        let Some(remote) = &self.remote else {
            return Obstacle::WaitingForPeer;
        };
        if self.checks.any_narrow() {
            return Obstacle::TunnelFails;
        }
        let (here, there) = (&self.report, &remote.report);
        let asked = !self.config.stun_servers.is_empty();
        let blocked_here = asked && !here.answered && !here.answered_v6;
        let blocked_there = !there.answered && !there.answered_v6;
        match (blocked_here, blocked_there) {
            (true, true) => return Obstacle::UdpBlockedBoth,
            (true, false) => return Obstacle::UdpBlockedHere,
            (false, true) => return Obstacle::UdpBlockedThere,
            (false, false) => {}
        }
        if !(here.answered && there.answered || here.answered_v6 && there.answered_v6) {
            return Obstacle::NoCommonFamily;
        }
        let translated = ![here.mapping, there.mapping].contains(&Some(Mapping::Untranslated));
        let one_nat = translated && here.external.iter().any(|ip| there.external.contains(ip));
        match (here.is_dependent(), there.is_dependent()) {
            (true, true) => Obstacle::BothSymmetric,
            (true, false) => Obstacle::SymmetricHere,
            (false, true) => Obstacle::SymmetricThere,
            (false, false) if one_nat => Obstacle::NoHairpin,
            (false, false) => Obstacle::Filtered,
        }
    }
}
