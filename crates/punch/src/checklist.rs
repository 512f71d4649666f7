//! The checklist: every pair of a socket of ours and an address of the peer's, and when it is checked next.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    Budget, Path, Role, SocketId, Technique, Timing,
    candidate::rank,
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
                || rank(self.technique) > rank(path.technique) && self.rtt <= path.rtt + much)
    }
}

/// By how much round trips like this differ without meaning anything.
fn about(rtt: Duration) -> Duration {
    (rtt / 4).max(Duration::from_millis(2))
}

/// No change of paths is made for less.
const WORTH_A_CHANGE: Duration = Duration::from_millis(5);

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
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.usable() + more <= self.most_announced
    }

    /// Forgets those that failed with addresses which the peer names no more: a host of containers has ever others, and
    /// they would leave no room.
    pub(crate) fn forget_others(&mut self, named: &[SocketAddr]) {
        self.pairs.retain(|key, pair| {
            let is_others = pair.announced && !key.0.is_stream() && !named.contains(&key.1);
            !(is_others && pair.state == State::Failed)
        });
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
            .min_by_key(|(_, pair)| (Reverse(rank(pair.technique)), due(pair)))?;
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
            .min_by_key(|m| (Reverse(rank(m.technique)), m.rtt))
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

    fn measured(technique: Technique, ms: u64) -> Measured {
        Measured {
            key: (SocketId::V4, ([192, 0, 2, 1], 1000 + ms as u16).into()),
            technique,
            rtt: Duration::from_millis(ms),
        }
    }

    #[test]
    fn best_valid_pair_is_the_fastest_and_among_equals_the_one_of_the_best_technique() {
        let mut list = checklist();
        let now = Instant::now();
        list.on_valid(now, PUBLIC, Duration::from_millis(10), Length::Short);
        for (lan, best) in [(11, LAN), (12, LAN), (13, PUBLIC), (19, PUBLIC)] {
            list.fail(LAN);
            list.get_mut(LAN).unwrap().begin(now, false);
            list.on_valid(now, LAN, Duration::from_millis(lan), Length::Short);
            let found = list.best_valid().map(|m| m.key);
            assert_eq!(found, Some(best), "{lan} ms");
        }
    }

    #[test]
    fn path_is_displaced_by_what_is_faster_and_not_by_a_slow_vpn_nor_to_and_fro() {
        let punched = measured(Technique::HolePunch, 40);
        let vpn = measured(Technique::Vpn, 80);
        assert!(!vpn.displaces(&punched) && punched.displaces(&vpn));
        assert!(measured(Technique::Lan, 1).displaces(&measured(Technique::HolePunch, 2)));
        assert!(measured(Technique::Ipv6, 45).displaces(&punched));
        for a in Technique::ALL {
            for b in Technique::ALL {
                for (ours, theirs) in [(1, 2), (7, 9), (40, 49), (40, 51), (80, 40), (200, 210)] {
                    let (a, b) = (measured(a, ours), measured(b, theirs));
                    assert!(!(a.displaces(&b) && b.displaces(&a)), "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn private_address_that_is_far_away_is_a_vpns() {
        let mut list = checklist();
        let now = Instant::now();
        list.on_valid(now, LAN, Duration::from_millis(80), Length::Short);
        assert_eq!(list.get(LAN).unwrap().technique, Technique::Vpn);
        // The first answer had waited for something else.
        list.on_valid(now, LAN, Duration::from_millis(1), Length::Short);
        assert_eq!(list.get(LAN).unwrap().technique, Technique::Lan);
    }

    #[test]
    fn round_trip_of_a_pair_is_the_shortest_of_the_last_few() {
        let mut list = checklist();
        let now = Instant::now();
        let rtt_after = |list: &mut Checklist, ms| {
            list.on_valid(now, PUBLIC, Duration::from_millis(ms), Length::Short);
            list.rtt(PUBLIC).unwrap().as_millis()
        };
        assert_eq!(rtt_after(&mut list, 40), 40);
        for _ in 0..3 {
            assert_eq!(rtt_after(&mut list, 90), 40);
        }
        assert_eq!(rtt_after(&mut list, 90), 90);
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

    #[test]
    fn addresses_that_failed_and_are_named_no_more_make_room_for_new_ones() {
        let mut list = checklist();
        let bridge = |n: u8| (SocketId::V4, SocketAddr::from(([172, 17, n, 1], 9)));
        for n in 0..=255 {
            list.add(bridge(n), Technique::Lan);
        }
        assert!(!list.has_room(1));
        list.restart(Instant::now());
        list.forget_others(&[LAN.1]);
        assert!(!list.has_room(1), "they are being checked");
        list.on_valid(Instant::now(), PUBLIC, Duration::ZERO, Length::Short);
        list.stop();
        list.forget_others(&[LAN.1]);
        assert_eq!(list.usable(), 2, "what is named, and what works");
        list.add(bridge(0), Technique::Lan);
        assert!(list.get(bridge(0)).is_some());
    }
}
