//! The checklist: every pair of a socket of ours and an address of the peer's, and when it is checked next.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    Budget, Role, SocketId, Technique, Timing,
    candidate::rank,
    check::{Length, Nominated},
    pair::{Pair, PairKey, State, leaves_the_site},
};

/// How many times as many candidates as a signal may hold a peer may name within one generation.
const RENAMED: usize = 3;

/// Round trips that differ by less are the same.
const SAME_RTT: Duration = Duration::from_millis(2);

/// Failed sends after which a pair is given up for this attempt.
const MAX_SEND_FAILURES: u8 = 3;

/// Wide checks of a valid pair before it counts as too narrow.
const WIDE_CHECKS: u32 = 10;

/// A check to send.
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
        } else if self.pairs.values().filter(|p| p.announced).count() < self.most_announced {
            self.pairs.insert(key, Pair::new(technique, true));
        }
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
        }
    }

    /// Ends an attempt, and forgets what was found.
    pub(crate) fn stop_all(&mut self) {
        for pair in self.pairs.values_mut() {
            pair.state = State::Failed;
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

    /// No wide check of this pair is answered. Others that lead to the same address are no wider.
    pub(crate) fn on_narrow(&mut self, key: PairKey) {
        for (other, pair) in &mut self.pairs {
            if *other == key || other.1.ip() == key.1.ip() && pair.is_valid() && !pair.wide {
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
        let (&key, pair) = self
            .pairs
            .iter_mut()
            .filter(|(_, pair)| due(pair).is_some())
            .min_by_key(|(_, pair)| (std::cmp::Reverse(rank(pair.technique)), due(pair)))?;
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
                let (sent, _) = pair.widening?;
                let gap = self.timing.check_interval.max(rtt / 2);
                pair.widening = Some((sent + 1, now + gap));
                length = Length::Wide;
                (None, pair.state)
            }
            State::Idle | State::Narrow | State::Failed => return None,
        };
        pair.state = next;
        Some(Due { key, ttl, length })
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.pairs.values().filter_map(Pair::due_at).min()
    }

    /// The best valid pair: of the best technique, then of the shortest round trip. A technique is no better where it
    /// takes twice as long, as a VPN's address does that looks like a LAN's.
    pub(crate) fn best_valid(&self) -> Option<(PairKey, Duration)> {
        let valid = self
            .pairs
            .iter()
            .filter_map(|(key, pair)| match pair.state {
                State::Valid { rtt } => Some((*key, pair.technique, rtt)),
                _ => None,
            });
        let valid: Vec<(PairKey, Technique, Duration)> = valid.collect();
        let fastest = valid.iter().map(|&(_, _, rtt)| rtt).min()?;
        valid
            .into_iter()
            .filter(|&(_, _, rtt)| rtt <= fastest * 2 + SAME_RTT)
            .min_by_key(|&(_, technique, rtt)| (std::cmp::Reverse(rank(technique)), rtt))
            .map(|(key, _, rtt)| (key, rtt))
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
            rank(p.technique) > rank(than)
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
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const PUBLIC: PairKey = (
        SocketId::V4,
        SocketAddr::V4(std::net::SocketAddrV4::new(
            std::net::Ipv4Addr::new(192, 0, 2, 1),
            9,
        )),
    );
    const LAN: PairKey = (
        SocketId::V4,
        SocketAddr::V4(std::net::SocketAddrV4::new(
            std::net::Ipv4Addr::new(10, 0, 0, 1),
            9,
        )),
    );

    fn checklist() -> Checklist {
        let budget = Budget {
            peer_reflexive: 2,
            ..Budget::default()
        };
        let mut list = Checklist::new(Timing::default(), &budget, Role::Controlled);
        list.add(PUBLIC, Technique::HolePunch);
        list.add(LAN, Technique::Lan);
        list
    }

    #[test]
    fn the_better_pair_goes_first_and_public_addresses_get_a_short_lived_packet_before() {
        let now = Instant::now();
        let mut list = checklist();
        assert_eq!(
            list.poll(now),
            None,
            "nothing goes out before an attempt begins"
        );
        list.restart(now);
        assert_eq!(
            list.poll(now),
            Some(Due {
                key: LAN,
                ttl: None,
                length: Length::Short,
            })
        );
        assert_eq!(
            list.poll(now),
            Some(Due {
                key: PUBLIC,
                ttl: Some(4),
                length: Length::Short,
            })
        );
        assert_eq!(list.poll(now), None);
        let then = now + Timing::default().first_ttl_lead;
        assert_eq!(list.next_at(), Some(then));
        assert_eq!(
            list.poll(then),
            Some(Due {
                key: PUBLIC,
                ttl: None,
                length: Length::Short,
            })
        );
    }

    #[test]
    fn a_pair_without_an_answer_is_checked_fifteen_times_and_fails() {
        let mut now = Instant::now();
        let mut list = checklist();
        list.restart(now);
        let mut sent = 0;
        while let Some(at) = list.next_at() {
            now = at;
            while let Some(due) = list.poll(now) {
                sent += u32::from(due.key == LAN);
            }
        }
        assert_eq!(sent, 15);
        assert_eq!(list.get(LAN).unwrap().state, State::Failed);
    }

    #[test]
    fn a_better_technique_that_takes_twice_as_long_is_not_better() {
        let mut list = checklist();
        let now = Instant::now();
        list.on_valid(now, PUBLIC, Duration::from_millis(10), Length::Short);
        for (lan, best) in [(11, LAN), (21, LAN), (40, PUBLIC)] {
            list.on_valid(now, LAN, Duration::from_millis(lan), Length::Short);
            assert_eq!(
                list.best_valid().map(|(key, _)| key),
                Some(best),
                "{lan} ms"
            );
        }
    }

    #[test]
    fn unannounced_pairs_are_few_and_announced_ones_are_not_counted_with_them() {
        let mut list = checklist();
        let mut add = |port| {
            list.add_unannounced(
                (SocketId::V4, ([192, 0, 2, 7], port).into()),
                Technique::PeerReflexive,
            )
        };
        assert!(add(1) && add(2) && add(1));
        assert!(!add(3));
    }

    #[test]
    fn a_packet_from_the_peer_brings_its_pairs_check_forward() {
        let now = Instant::now();
        let mut list = checklist();
        list.restart(now);
        while list.poll(now).is_some() {}
        list.trigger(now, PUBLIC);
        assert_eq!(
            list.poll(now),
            Some(Due {
                key: PUBLIC,
                ttl: None,
                length: Length::Short,
            })
        );
        assert_eq!(list.poll(now), None);
    }
}
