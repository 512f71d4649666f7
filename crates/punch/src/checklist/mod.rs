//! The checklist: every pair of a socket of ours and an address of the peer's, and when it is checked next.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    Budget, Path, Role, SocketId, Technique, Timing,
    check::{Length, Nominated},
    pair::{Pair, PairKey, State, leaves_the_site},
};

/// How many times as many candidates as a signal may hold a peer may name within one generation.
const RENAMED: usize = 3;

/// A round trip that was measured longer ago displaces no path: both may have waited behind the same data since.
const FRESH: Duration = Duration::from_secs(6);

/// Failed sends after which a pair is given up for this attempt.
const MAX_SEND_FAILURES: u8 = 3;

/// Wide checks of a valid pair before it counts as too narrow.
const WIDE_CHECKS: u32 = 10;

/// What is known of a pair that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) key: PairKey,
    pub(crate) technique: Technique,
    /// The shortest of the last round trips.
    pub(crate) rtt: Duration,
}

impl Measured {
    /// Whether a change to this pair pays: it is faster by more than chance, or about as fast and by a better
    /// technique. Of two pairs at most one displaces the other, so nothing goes to and fro.
    pub(crate) fn displaces(&self, path: &Self) -> bool {
        let much = about(path.rtt).max(WORTH_A_CHANGE);
        self.key != path.key
            && (self.rtt + much < path.rtt
                || self.technique.rank() > path.technique.rank() && self.rtt <= path.rtt + much)
    }
}

/// By how much round trips like this differ without meaning anything.
fn about(rtt: Duration) -> Duration {
    (rtt / 4).max(Duration::from_millis(2))
}

/// No change of paths is made for less.
const WORTH_A_CHANGE: Duration = Duration::from_millis(5);

/// Whether a pair has failed, with an address that the peer names no more.
fn is_over(key: PairKey, pair: &Pair, named: &[PairKey]) -> bool {
    let is_others = pair.announced && !key.0.is_stream() && !named.contains(&key);
    is_others && pair.state == State::Failed
}

/// A check to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) key: PairKey,
    pub(crate) ttl: Option<u8>,
    pub(crate) length: Length,
}

#[derive(Debug)]
pub(crate) struct Checklist {
    pairs: BTreeMap<PairKey, Pair>,
    timing: Timing,
    most_announced: usize,
    most_unannounced: usize,
    /// Whether valid pairs get a wide check. The controlling side's nominations are wide themselves.
    widens: bool,
}

impl Checklist {
    pub(crate) fn new(timing: Timing, budget: &Budget, role: Role) -> Self {
        Self {
            pairs: BTreeMap::new(),
            timing,
            most_announced: budget.peer_candidates * RENAMED,
            most_unannounced: budget.peer_reflexive,
            widens: role == Role::Controlled,
        }
    }

    /// Adds a pair with a candidate that the peer named; known ones stay as they are. A peer that names ever other
    /// candidates is not followed beyond a few times the cap.
    pub(crate) fn add(&mut self, key: PairKey, technique: Technique) {
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.announced = true;
        } else if self.has_room(1) {
            self.pairs.insert(key, Pair::new(technique, true));
        }
    }

    /// Whether so many more candidates of the peer fit in.
    fn has_room(&self, more: usize) -> bool {
        self.usable() + more <= self.most_announced
    }

    /// Whether what the peer names does not fit in, and more of it would if others were forgotten.
    pub(crate) fn has_to_forget(&self, named: &[PairKey]) -> bool {
        let new = named.iter().filter(|key| !self.pairs.contains_key(*key));
        let mut pairs = self.pairs.iter();
        !self.has_room(new.count()) && pairs.any(|(key, pair)| is_over(*key, pair, named))
    }

    /// Forgets those that failed with addresses which the peer names no more: a host of containers has ever others, and
    /// they would leave no room.
    pub(crate) fn forget_others(&mut self, named: &[PairKey]) {
        self.pairs.retain(|key, pair| !is_over(*key, pair, named));
    }

    /// Adds a pair that an authenticated message revealed. False when there are too many of them already.
    pub(crate) fn add_unannounced(&mut self, key: PairKey, technique: Technique) -> bool {
        if self.pairs.contains_key(&key) {
            return true;
        }
        if self.pairs.values().filter(|p| !p.announced).count() >= self.most_unannounced {
            return false;
        }
        self.pairs.insert(key, Pair::new(technique, false));
        true
    }

    pub(crate) fn get(&self, key: PairKey) -> Option<&Pair> {
        self.pairs.get(&key)
    }

    /// The round trip of a valid pair.
    pub(crate) fn rtt(&self, key: PairKey) -> Option<Duration> {
        match self.pairs.get(&key)?.state {
            State::Valid { rtt } => Some(rtt),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: PairKey) -> Option<&mut Pair> {
        self.pairs.get_mut(&key)
    }

    pub(crate) fn clear(&mut self) {
        self.pairs.clear();
    }

    pub(crate) fn remove_socket(&mut self, socket: SocketId) {
        self.pairs.retain(|key, _| key.0 != socket);
    }

    /// Begins an attempt: every pair is checked anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        let opens = self.timing.first_ttl.is_some();
        for (key, pair) in &mut self.pairs {
            pair.begin(now, opens && leaves_the_site(key.1));
        }
    }

    /// Begins to check those pairs that are not being checked yet.
    pub(crate) fn start_idle(&mut self, now: Instant) {
        let opens = self.timing.first_ttl.is_some();
        for (key, pair) in &mut self.pairs {
            if pair.state == State::Idle {
                pair.begin(now, opens && leaves_the_site(key.1));
            }
        }
    }

    /// Ends an attempt: what is still open has failed.
    pub(crate) fn stop(&mut self) {
        for pair in self.pairs.values_mut() {
            if !matches!(pair.state, State::Valid { .. } | State::Narrow) {
                pair.state = State::Failed;
            }
            pair.widening = None;
            pair.look_at = None;
        }
    }

    /// Ends an attempt, and forgets what was found.
    pub(crate) fn stop_all(&mut self) {
        for pair in self.pairs.values_mut() {
            pair.state = State::Failed;
            pair.look_at = None;
        }
    }

    /// A packet of the peer came this way: check back at once, and no longer with care.
    pub(crate) fn trigger(&mut self, now: Instant, key: PairKey) {
        if let Some(pair) = self.pairs.get_mut(&key) {
            match pair.state {
                State::Valid { .. } | State::Narrow => {}
                State::Checking { at, step } => {
                    pair.state = State::Checking {
                        at: at.min(now),
                        step,
                    }
                }
                State::Idle | State::Opening { .. } | State::Failed => {
                    pair.state = State::Checking { at: now, step: 0 };
                }
            }
        }
    }

    /// A check of this pair was answered, at this length.
    pub(crate) fn on_valid(&mut self, now: Instant, key: PairKey, rtt: Duration, length: Length) {
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.on_answer(now, rtt, length, self.widens);
        }
    }

    /// No wide check of this pair is answered. Others that lead to the same address are no wider, but for TCP beside
    /// UDP: it cuts what it carries to segments that pass.
    pub(crate) fn on_narrow(&mut self, key: PairKey) {
        for (other, pair) in &mut self.pairs {
            let alike = other.1.ip() == key.1.ip() && other.0.is_stream() == key.0.is_stream();
            if *other == key || alike && pair.is_valid() && !pair.wide {
                pair.state = State::Narrow;
                pair.widening = None;
            }
        }
    }

    pub(crate) fn fail(&mut self, key: PairKey) {
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.state = State::Failed;
        }
    }

    /// Has only what the controlling side nominates from now on count.
    pub(crate) fn forget_nominations(&mut self) {
        for pair in self.pairs.values_mut() {
            pair.wanted = None;
        }
    }

    pub(crate) fn on_send_failed(&mut self, key: PairKey) {
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.send_failures = pair.send_failures.saturating_add(1);
            let answered = matches!(pair.state, State::Valid { .. } | State::Narrow);
            if pair.send_failures >= MAX_SEND_FAILURES && !answered {
                pair.state = State::Failed;
            }
        }
    }

    /// The pair whose check is due and most promising; it is then scheduled for its next one.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Due> {
        let due = |pair: &Pair| pair.due_at().filter(|&at| at <= now);
        let unanswered = |pair: &Pair| pair.widening.is_some_and(|(sent, _)| sent >= WIDE_CHECKS);
        while let Some((&key, _)) = self
            .pairs
            .iter()
            .find(|(_, pair)| due(pair).is_some() && unanswered(pair))
        {
            self.on_narrow(key);
        }
        // More are due than the pacer lets out, so the likeliest goes first, and of those alike the one that waits
        // longest: else a peer with many candidates would have its best one wait for all the others.
        let (&key, pair) = self
            .pairs
            .iter_mut()
            .filter(|(_, pair)| due(pair).is_some())
            .min_by_key(|(_, pair)| (Reverse(pair.technique.rank()), due(pair)))?;
        let mut length = Length::Short;
        let (ttl, next) = match pair.state {
            State::Opening { .. } => {
                let next = State::Checking {
                    at: now + self.timing.first_ttl_lead,
                    step: 0,
                };
                (self.timing.first_ttl, next)
            }
            State::Checking { step, .. } => {
                pair.checked_at.get_or_insert(now);
                (None, self.timing.after_check(now, step))
            }
            State::Valid { rtt } => {
                let Some((sent, _)) = pair.widening else {
                    pair.look_at = None;
                    return Some(Due {
                        key,
                        ttl: None,
                        length,
                    });
                };
                let gap = self.timing.check_interval.max(rtt / 2);
                pair.widening = Some((sent + 1, now + gap));
                length = Length::Wide;
                (None, pair.state)
            }
            State::Failed => {
                pair.look_at = None;
                (None, State::Failed)
            }
            State::Idle | State::Narrow => return None,
        };
        pair.state = next;
        Some(Due { key, ttl, length })
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.pairs.values().filter_map(Pair::due_at).min()
    }

    /// The best valid pair: of those that take about as long as the fastest, the one of the best technique.
    pub(crate) fn best_valid(&self) -> Option<Measured> {
        self.best_of(|_| true)
    }

    /// The same among TCP connections.
    pub(crate) fn best_valid_stream(&self) -> Option<Measured> {
        self.best_of(|m| m.key.0.is_stream())
    }

    fn best_of(&self, among: impl Fn(&Measured) -> bool) -> Option<Measured> {
        let valid = || self.valid().filter(&among);
        let fastest = valid().map(|m| m.rtt).min()?;
        valid()
            .filter(|m| m.rtt <= fastest + about(fastest))
            .min_by_key(|m| (Reverse(m.technique.rank()), m.rtt))
    }

    fn valid(&self) -> impl Iterator<Item = Measured> {
        self.pairs
            .iter()
            .filter_map(|(&key, pair)| match pair.state {
                State::Valid { rtt } => Some(Measured {
                    key,
                    technique: pair.technique,
                    rtt,
                }),
                _ => None,
            })
    }

    /// The best valid pair that works by another technique than the path, and is so much slower that somebody who
    /// counts on it should know why it is not used.
    pub(crate) fn best_slower(&self, path: &Path) -> Option<Measured> {
        let key = (path.socket, path.remote);
        let rtt = self.rtt(key).unwrap_or(path.rtt);
        self.valid()
            .filter(|m| m.key != key && m.technique != path.technique)
            .filter(|m| m.rtt > rtt + about(rtt).max(WORTH_A_CHANGE))
            .min_by_key(|m| m.rtt)
    }

    /// Whether a pair's round trip was measured just now.
    pub(crate) fn is_fresh(&self, now: Instant, key: PairKey) -> bool {
        let measured = self.pairs.get(&key).and_then(|p| p.measured_at);
        measured.is_some_and(|at| now < at + FRESH)
    }

    /// Has every pair looked at once, beside the path: one that works by now, or is faster than it was, may be better.
    pub(crate) fn look_again(&mut self, now: Instant, path: PairKey) {
        for (key, pair) in &mut self.pairs {
            if *key != path && pair.announced {
                pair.look_at = Some(now);
            }
        }
    }

    /// Until when a pair of a better technique may still answer its first check, if it is no slower than a path with
    /// this round trip; `None` when no such pair is left.
    pub(crate) fn better_until(
        &self,
        now: Instant,
        than: Technique,
        rtt: Duration,
    ) -> Option<Instant> {
        let open = |p: &&Pair| {
            p.technique.rank() > than.rank()
                && matches!(p.state, State::Opening { .. } | State::Checking { .. })
        };
        let until = |p: &Pair| p.checked_at.unwrap_or(now) + rtt * 5 / 4;
        self.pairs
            .values()
            .filter(open)
            .map(until)
            .max()
            .filter(|&until| until > now)
    }

    /// The valid pair that the controlling side nominated last, if its number is above `than` and the pair carries the
    /// tunnel's datagrams.
    pub(crate) fn wanted_and_valid(
        &self,
        than: Option<u32>,
    ) -> Option<(PairKey, Nominated, Duration)> {
        self.pairs
            .iter()
            .filter_map(|(key, pair)| match (pair.wanted, pair.state) {
                (Some(wanted), State::Valid { rtt }) if pair.wide && Some(wanted.number) > than => {
                    Some((*key, wanted, rtt))
                }
                _ => None,
            })
            .max_by_key(|&(_, wanted, _)| wanted.number)
    }

    /// Whether any pair answers, be it wide enough or not: looking for ports is then of no more use.
    pub(crate) fn any_answered(&self) -> bool {
        self.pairs
            .values()
            .any(|p| p.is_valid() || p.state == State::Narrow)
    }

    /// Whether a pair answers short checks alone.
    pub(crate) fn any_narrow(&self) -> bool {
        self.pairs.values().any(|p| p.state == State::Narrow)
    }

    pub(crate) fn usable(&self) -> usize {
        self.pairs.values().filter(|p| p.announced).count()
    }
}

#[cfg(test)]
mod tests;
