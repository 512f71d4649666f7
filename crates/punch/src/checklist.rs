//! The checklist: every pair of a socket of ours and an address of the peer's, and when it is checked next.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    SocketId, Technique, Timing,
    candidate::{self, rank},
    check::Nominated,
};

/// A pair's name.
pub(crate) type PairKey = (SocketId, SocketAddr);

/// Gaps between the transmissions of a check, in tenths of [`Timing::check_interval`]. The first second is dense,
/// since both ends' packets must cross while both NATs are open.
const GAPS: [u32; 14] = [10, 10, 15, 15, 20, 20, 25, 30, 30, 40, 40, 50, 50, 60];

/// Failed sends after which a pair is given up for this attempt.
const MAX_SEND_FAILURES: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not being checked: the attempt is over, or none has begun.
    Idle,
    /// The first packet, which only opens our own NAT, is due.
    Opening { at: Instant },
    /// A check is due.
    Checking { at: Instant, step: usize },
    /// A check was answered.
    Valid { rtt: Duration },
    /// No answer came in this attempt.
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) technique: Technique,
    pub(crate) state: State,
    /// How the controlling side nominated this pair, if it did.
    pub(crate) wanted: Option<Nominated>,
    announced: bool,
    send_failures: u8,
    /// When the first check of this attempt that could reach the peer was sent.
    checked_at: Option<Instant>,
}

/// A check to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) key: PairKey,
    pub(crate) ttl: Option<u8>,
}

#[derive(Debug)]
pub(crate) struct Checklist {
    pairs: BTreeMap<PairKey, Pair>,
    timing: Timing,
    most_unannounced: usize,
}

impl Checklist {
    pub(crate) fn new(timing: Timing, most_unannounced: usize) -> Self {
        Self {
            pairs: BTreeMap::new(),
            timing,
            most_unannounced,
        }
    }

    /// Adds a pair with a candidate that the peer named; known ones stay as they are.
    pub(crate) fn add(&mut self, key: PairKey, technique: Technique) {
        self.pairs
            .entry(key)
            .and_modify(|pair| pair.announced = true)
            .or_insert_with(|| Pair::new(technique, true));
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
            if !matches!(pair.state, State::Valid { .. }) {
                pair.state = State::Failed;
            }
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
                State::Valid { .. } => {}
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

    pub(crate) fn on_valid(&mut self, key: PairKey, rtt: Duration) {
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.state = State::Valid { rtt };
            pair.send_failures = 0;
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
            if pair.send_failures >= MAX_SEND_FAILURES && !matches!(pair.state, State::Valid { .. })
            {
                pair.state = State::Failed;
            }
        }
    }

    /// The pair whose check is due and most promising; it is then scheduled for its next one.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Due> {
        let due = |pair: &Pair| pair.due_at().filter(|&at| at <= now);
        let (&key, pair) = self
            .pairs
            .iter_mut()
            .filter(|(_, pair)| due(pair).is_some())
            .min_by_key(|(_, pair)| (std::cmp::Reverse(rank(pair.technique)), due(pair)))?;
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
            State::Idle | State::Valid { .. } | State::Failed => return None,
        };
        pair.state = next;
        Some(Due { key, ttl })
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.pairs.values().filter_map(Pair::due_at).min()
    }

    /// The best valid pair: of the best technique, then of the shortest round trip.
    pub(crate) fn best_valid(&self) -> Option<(PairKey, Duration)> {
        self.pairs
            .iter()
            .filter_map(|(key, pair)| match pair.state {
                State::Valid { rtt } => Some((*key, pair.technique, rtt)),
                _ => None,
            })
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

    /// The valid pair that the controlling side nominated last, if its number is above `than`.
    pub(crate) fn wanted_and_valid(
        &self,
        than: Option<u32>,
    ) -> Option<(PairKey, Nominated, Duration)> {
        self.pairs
            .iter()
            .filter_map(|(key, pair)| match (pair.wanted, pair.state) {
                (Some(wanted), State::Valid { rtt }) if Some(wanted.number) > than => {
                    Some((*key, wanted, rtt))
                }
                _ => None,
            })
            .max_by_key(|&(_, wanted, _)| wanted.number)
    }

    /// Whether any pair answers.
    pub(crate) fn any_valid(&self) -> bool {
        self.pairs.values().any(Pair::is_valid)
    }

    pub(crate) fn usable(&self) -> usize {
        self.pairs.values().filter(|p| p.announced).count()
    }
}

impl Pair {
    fn new(technique: Technique, announced: bool) -> Self {
        Self {
            technique,
            state: State::Idle,
            wanted: None,
            announced,
            send_failures: 0,
            checked_at: None,
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        matches!(self.state, State::Valid { .. })
    }

    fn begin(&mut self, now: Instant, open_first: bool) {
        self.send_failures = 0;
        self.checked_at = None;
        self.state = if open_first {
            State::Opening { at: now }
        } else {
            State::Checking { at: now, step: 0 }
        };
    }

    fn due_at(&self) -> Option<Instant> {
        match self.state {
            State::Opening { at } | State::Checking { at, .. } => Some(at),
            State::Idle | State::Valid { .. } | State::Failed => None,
        }
    }
}

impl Timing {
    fn after_check(&self, now: Instant, step: usize) -> State {
        match GAPS.get(step) {
            Some(&tenths) => State::Checking {
                at: now + self.check_interval * tenths / 10,
                step: step + 1,
            },
            None => State::Failed,
        }
    }
}

/// Whether packets to `address` cross the peer's NAT, if it has one, rather than arrive on a network that we share.
fn leaves_the_site(address: SocketAddr) -> bool {
    !candidate::is_private(address.ip())
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
        let mut list = Checklist::new(Timing::default(), 2);
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
                ttl: None
            })
        );
        assert_eq!(
            list.poll(now),
            Some(Due {
                key: PUBLIC,
                ttl: Some(4)
            })
        );
        assert_eq!(list.poll(now), None);
        let then = now + Timing::default().first_ttl_lead;
        assert_eq!(list.next_at(), Some(then));
        assert_eq!(
            list.poll(then),
            Some(Due {
                key: PUBLIC,
                ttl: None
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
                ttl: None
            })
        );
        assert_eq!(list.poll(now), None);
    }
}
