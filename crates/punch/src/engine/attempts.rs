//! Attempts: when one begins and ends, the checks of the one under way, and what it failed at.

use std::time::{Duration, Instant};

use super::Engine;
use crate::{
    Config, Obstacle, PunchEvent,
    checklist::Checklist,
    ladder,
    obstacle::{self, Evidence},
    pace::Pacer,
    search::SearchPlan,
    signal::Plan,
    transactions::Purpose,
};

/// The pause after a failed attempt while another technique is left.
const SHORT_PAUSE: Duration = Duration::from_millis(200);

/// The controlled side begins the next attempt by itself once it was not told to for so long after the other one has
/// begun it at the latest: the rendezvous may be away. NATs remember its packets for longer than that, so the two need
/// not begin together.
const UNTOLD: Duration = Duration::from_secs(3);

/// How long the controlling side waits for either NAT to be sampled before it plans without.
pub(super) const SAMPLING_WAIT: Duration = Duration::from_millis(900);

/// Where the search for a path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The candidates of either side are not known.
    Waiting,
    /// Checks go out, and the search that the plan has for this attempt.
    Running {
        attempt: u32,
        began: Instant,
        until: Instant,
    },
    /// An attempt is over. The controlling side begins the next one by itself, the controlled side when it is told to,
    /// or when nobody has told it in time.
    Resting {
        attempt: u32,
        until: Option<Instant>,
    },
}

/// The attempts, one after the other, and the checks of the one under way.
#[derive(Debug)]
pub(super) struct Attempts {
    pub(super) checks: Checklist,
    pub(super) pacer: Pacer,
    pub(super) phase: Phase,
    /// Whether the controlled side has begun the last attempt by itself, since no plan came for it.
    pub(super) is_untold: bool,
    /// What the last attempt failed at.
    pub(super) obstacle: Option<Obstacle>,
    /// Until when no path is looked for, because tunnels keep failing on them.
    pub(super) held_until: Option<Instant>,
}

impl Attempts {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            checks: Checklist::new(config.timing, &config.budget, config.role),
            pacer: Pacer::new(&config.budget, now),
            phase: Phase::Waiting,
            is_untold: false,
            obstacle: None,
            held_until: None,
        }
    }

    /// Whether nothing is looked for because tunnels keep failing on the paths that are found.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        let checks = self.checks.next_at().filter(|_| !self.pacer.exhausted());
        let phase = match self.phase {
            Phase::Waiting => None,
            Phase::Running { until, .. } => Some(until),
            Phase::Resting { until, .. } => until,
        };
        let checks = checks.map(|at| at.max(self.pacer.next_at()));
        [checks, phase, self.held_until].into_iter().flatten().min()
    }

    /// Why there is no path, as far as the attempts know.
    pub(super) fn why(&self) -> Obstacle {
        self.obstacle.unwrap_or(match self.phase {
            Phase::Waiting => Obstacle::Gathering,
            Phase::Running { attempt, .. } => Obstacle::Trying { attempt },
            Phase::Resting { .. } => Obstacle::Filtered,
        })
    }
}

impl Engine {
    pub(super) fn begin_when_ready(&mut self) {
        if self.attempts.is_held(self.now) {
            return;
        }
        self.attempts.held_until = None;
        if self.attempts.phase == Phase::Waiting
            && self.peer.remote.is_some()
            && self.host.gathering.is_settled()
        {
            if self.is_controlling() {
                self.announce_attempt(0);
            }
            self.begin_attempt(0);
        }
    }

    /// Tells the controlled side to make this attempt with us.
    fn announce_attempt(&mut self, attempt: u32) {
        let for_generation = self.peer.remote.as_ref().map_or(0, |r| r.generation);
        self.peer.plan = Some(Plan {
            attempt,
            for_generation,
            search: None,
        });
        self.host.signal_due = true;
    }

    pub(super) fn begin_attempt(&mut self, attempt: u32) {
        self.attempts.pacer.begin_attempt();
        self.host.gathering.retry_silent(self.now);
        self.attempts.checks.restart(self.now);
        self.stop_search();
        self.search.planned = false;
        self.search.hints = None;
        self.attempts.is_untold = false;
        self.attempts.phase = Phase::Running {
            attempt,
            began: self.now,
            until: self.now + self.config.timing.attempt,
        };
        self.out.event(PunchEvent::AttemptBegan { attempt });
        if self.is_controlling() {
            self.out.event(PunchEvent::SearchPossible);
        }
    }

    pub(super) fn end_attempt_when_over(&mut self) {
        match self.attempts.phase {
            Phase::Running {
                attempt,
                began,
                until,
            } if self.now >= until => {
                let (pause, obstacle) = (self.pause_after(attempt), self.diagnosis());
                self.attempts.checks.stop();
                self.stop_search();
                let resumes = self.path.direct.is_none();
                let rest = pause + self.waits_to_be_told(attempt, began, pause);
                self.attempts.phase = Phase::Resting {
                    attempt,
                    until: resumes.then(|| self.now + rest),
                };
                if self.path.direct.is_none() {
                    self.attempts.obstacle = Some(obstacle);
                    self.out.event(PunchEvent::AttemptFailed {
                        attempt,
                        packets: self.attempts.pacer.spent(),
                        pause,
                        obstacle,
                    });
                }
            }
            Phase::Resting {
                attempt,
                until: Some(until),
            } if self.now >= until => {
                if self.is_controlling() {
                    self.announce_attempt(attempt + 1);
                }
                self.begin_attempt(attempt + 1);
                self.attempts.is_untold = !self.is_controlling();
            }
            _ => {}
        }
    }

    /// How long the controlled side waits for the other's word beyond the pause: until the other one has begun anew at
    /// the latest, and a while. Once that was in vain it waits no more, or the two would come apart further with each
    /// attempt.
    fn waits_to_be_told(&self, attempt: u32, began: Instant, pause: Duration) -> Duration {
        if self.is_controlling() || self.attempts.is_untold {
            return Duration::ZERO;
        }
        let longer = self
            .longest_attempt(attempt)
            .saturating_sub(self.now - began);
        // Only the other one may know that a path is too narrow, and makes no short pause then.
        let pauses_longer = self.config.timing.first_pause.saturating_sub(pause);
        longer + pauses_longer + UNTOLD
    }

    /// How long the other side's attempt may take, if it searches without this one: what makes it careful need not
    /// show here.
    fn longest_attempt(&self, attempt: u32) -> Duration {
        let foreseen = ladder::step(&self.ladder(), attempt).0;
        let told = self.peer.plan.and_then(|plan| plan.search);
        let takes = |search: SearchPlan| {
            let rounds = std::iter::successors(Some(search), |search| search.next_round());
            SAMPLING_WAIT
                + rounds
                    .map(|search| search.row().at_most())
                    .sum::<Duration>()
        };
        let searches = foreseen.into_iter().chain(told).map(takes);
        searches.fold(self.config.timing.attempt, Duration::max)
    }

    /// The plan of the attempt came while it was under way already: the other one begins it only now.
    pub(super) fn go_on_with_attempt(&mut self) {
        if let Phase::Running { until, .. } = &mut self.attempts.phase
            && self.attempts.is_untold
        {
            *until = (*until).max(self.now + self.config.timing.attempt);
            if !self.attempts.checks.any_answered() {
                self.attempts.checks.restart(self.now);
            }
        }
        self.attempts.is_untold = false;
    }

    pub(super) fn send_checks(&mut self) {
        while self
            .attempts
            .checks
            .next_at()
            .is_some_and(|at| at <= self.now)
        {
            if !self.attempts.pacer.take(self.now) {
                break;
            }
            let Some(due) = self.attempts.checks.poll(self.now) else {
                break;
            };
            let purpose = Purpose::Check {
                nomination: None,
                length: due.length,
            };
            self.out.request(self.now, due.key, due.ttl, purpose);
            if self.attempts.pacer.exhausted() {
                self.out.event(PunchEvent::BudgetSpent);
            }
        }
    }

    /// Our network situation is a new one: ask the servers again, tell the peer, and try at once with what is known.
    pub(super) fn begin_generation(&mut self) {
        self.host.begin_generation(self.now);
        self.attempts.obstacle = None;
        self.path.nominate_anew = true;
        self.path.nomination.reset();
        let sampling = self.nat.forget_sample();
        self.close_sockets(&sampling, None);
        self.tcp.restart();
        if !matches!(self.attempts.phase, Phase::Waiting) {
            if self.is_controlling() {
                self.announce_attempt(0);
            }
            self.begin_attempt(0);
        }
    }

    /// Short while there are other techniques to try, then ever longer.
    fn pause_after(&self, attempt: u32) -> Duration {
        let timing = &self.config.timing;
        let ladder = self.ladder();
        let (search, more) = ladder::step(&ladder, attempt);
        if more && !self.attempts.checks.any_narrow() {
            return SHORT_PAUSE;
        }
        let round = (attempt + 1).saturating_sub(ladder.len() as u32).min(16);
        let pause = timing.first_pause.saturating_mul(1 << round);
        pause
            .max(search.map_or(Duration::ZERO, |search| search.row().least_pause))
            .min(timing.longest_pause)
    }

    /// What the attempts add to the plain checks, as both ends compute it; nothing before the peer is known.
    pub(super) fn ladder(&self) -> Vec<Option<SearchPlan>> {
        match &self.peer.remote {
            Some(remote) if self.is_controlling() => {
                ladder::ladder(&self.nat.report, &remote.report)
            }
            Some(remote) => ladder::ladder(&remote.report, &self.nat.report),
            None => Vec::new(),
        }
    }

    /// What kept the attempt that just failed from a path.
    fn diagnosis(&self) -> Obstacle {
        let Some(remote) = &self.peer.remote else {
            return Obstacle::WaitingForPeer;
        };
        obstacle::diagnose(&Evidence {
            here: &self.nat.report,
            there: &remote.report,
            asked: !self.config.stun_servers.is_empty(),
            had_path: self.path.worked_with == Some(remote.generation),
            out: self.host.gathering.is_out(),
            narrow: self.attempts.checks.any_narrow(),
        })
    }
}
