//! Two sequential NATs: both sides foretell both.
//!
//! Each side makes one mapping that a STUN server sees, tells the other where its NAT stands, and then sends a volley
//! from the same socket, each packet to another port of the other side and therefore from another port of its own.
//! Where side A's i-th packet leaves from port `X + i` and goes to `Y + i`, and side B's i-th leaves from `Y + i` and
//! goes to `X + i`, all of them meet. Mappings that others make in between move both sequences along, by `e` in all,
//! and then none would meet. So one side, the *sweeper*, lets its aim wander: its i-th packet goes to `Y + i + a(i)`,
//! and those packets meet for which `a(i)` is `e`. Every packet thus tries another guess, and one number has to be
//! guessed instead of two.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Hints, Shot, opener::step};
use crate::SocketId;

/// Packets in a volley.
const VOLLEY: u32 = 56;

/// How often the volley is fired: first with a short life, to open our NAT and not to annoy the other, then for good.
const PASSES: u32 = 3;

/// Between the beginnings of two passes.
const PASS_INTERVAL: Duration = Duration::from_millis(240);

/// Until the question is repeated.
const ASK_RETRY: Duration = Duration::from_millis(150);

#[derive(Debug)]
pub(crate) struct Mutual {
    attempt: u32,
    round: u8,
    sweeper: bool,
    socket: SocketId,
    server: SocketAddr,
    /// Between the ports that the peer's NAT gives out one after the other.
    stride: i16,
    first_ttl: Option<u8>,
    /// Time between two packets at the pace.
    interval: Duration,
    open: bool,
    asked: Option<Instant>,
    ask_at: Option<Instant>,
    ours: Option<SocketAddr>,
    told: bool,
    theirs: Option<SocketAddr>,
    /// Mappings that others make behind the two NATs, a thousandfold: per 1,000 seconds.
    ours_foreign: u32,
    theirs_foreign: u32,
    volley: Vec<SocketAddr>,
    fired: u32,
    pass_at: Instant,
}

impl Mutual {
    #[allow(
        clippy::too_many_arguments,
        reason = "all of it is what a round is, and one place makes them"
    )]
    pub(crate) fn new(
        now: Instant,
        attempt: u32,
        round: u8,
        sweeper: bool,
        socket: SocketId,
        server: SocketAddr,
        stride: i16,
        first_ttl: Option<u8>,
        interval: Duration,
    ) -> Self {
        Self {
            attempt,
            round,
            sweeper,
            socket,
            server,
            stride,
            ours_foreign: 0,
            theirs_foreign: 0,
            first_ttl,
            interval,
            open: false,
            asked: None,
            ask_at: None,
            ours: None,
            told: false,
            theirs: None,
            volley: Vec::new(),
            fired: 0,
            pass_at: now,
        }
    }

    pub(crate) fn socket(&self) -> SocketId {
        self.socket
    }

    pub(crate) fn on_opened(&mut self, now: Instant, socket: SocketId) {
        if socket == self.socket && !self.open {
            self.open = true;
            self.ask_at = Some(now);
        }
    }

    pub(crate) fn on_mapped(
        &mut self,
        now: Instant,
        socket: SocketId,
        mapped: SocketAddr,
        foreign: u32,
    ) {
        if socket == self.socket && self.ours.is_none() {
            self.ours = Some(mapped);
            self.ours_foreign = foreign;
            self.ask_at = None;
            self.load(now);
        }
    }

    pub(crate) fn on_hints(&mut self, now: Instant, hints: &Hints) {
        if (hints.attempt, hints.round) == (self.attempt, self.round) && self.theirs.is_none() {
            self.theirs = hints.counter;
            self.theirs_foreign = hints.foreign_per_kilosecond;
            self.load(now);
        }
    }

    pub(crate) fn poll_hints(&mut self) -> Option<Hints> {
        let counter = self.ours.filter(|_| !self.told)?;
        self.told = true;
        Some(Hints {
            attempt: self.attempt,
            round: self.round,
            counter: Some(counter),
            foreign_per_kilosecond: self.ours_foreign,
            ..Hints::default()
        })
    }

    /// Aims the volley, once both sides' counters are known.
    fn load(&mut self, now: Instant) {
        let (Some(_), Some(theirs), Some(asked)) = (self.ours, self.theirs, self.asked) else {
            return;
        };
        let rate = f64::from(self.ours_foreign.saturating_add(self.theirs_foreign)) / 1e6;
        let ahead: Vec<u32> = if self.sweeper {
            let age = now.duration_since(asked);
            let expected = |i| rate * (age + self.interval * i).as_secs_f64() * 1000.0;
            sweep(VOLLEY, expected)
        } else {
            (1..=VOLLEY).collect()
        };
        let aim = |k| SocketAddr::new(theirs.ip(), step(theirs.port(), self.stride, k));
        self.volley = ahead.into_iter().map(aim).collect();
        self.pass_at = now;
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Option<Shot> {
        if self.ask_at.is_some_and(|at| at <= now) {
            self.asked.get_or_insert(now);
            self.ask_at = Some(now + ASK_RETRY);
            return Some(Shot::Ask {
                socket: self.socket,
                server: self.server,
            });
        }
        if self.volley.is_empty() || self.fired >= VOLLEY * PASSES || now < self.pass_at {
            return None;
        }
        let (pass, i) = (self.fired / VOLLEY, self.fired % VOLLEY);
        if i == 0 {
            self.pass_at = now;
        }
        self.fired += 1;
        if i + 1 == VOLLEY {
            self.pass_at = (self.pass_at + PASS_INTERVAL).max(now);
        }
        Some(Shot::Check {
            socket: self.socket,
            to: self.volley[i as usize],
            ttl: if pass == 0 { self.first_ttl } else { None },
        })
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let volley =
            (!self.volley.is_empty() && self.fired < VOLLEY * PASSES).then_some(self.pass_at);
        [self.ask_at, volley].into_iter().flatten().min()
    }
}

/// How many strides ahead each packet of the sweeper's aims: the i-th at `i` and a guess at what others will have made by
/// then. No place is aimed at twice, since a packet to a known destination makes no mapping and would put all later
/// ones out of step; among the guesses that are left, those tried least come first, and of these the likeliest.
fn sweep(count: u32, expected: impl Fn(u32) -> f64) -> Vec<u32> {
    let mut aims: Vec<u32> = Vec::new();
    let mut tried: BTreeMap<i64, u32> = BTreeMap::new();
    for i in 1..=count {
        let middle = expected(i);
        // What chance adds to the expected number, and what a rate may be off that was measured over a short time.
        let spread = (2.0 * middle.sqrt() + 0.4 * middle + 2.0) as i64;
        let middle = middle.round() as i64;
        let guesses = (middle - spread).max(0)..=middle + spread;
        let fresh = guesses.filter(|guess| !aims.contains(&(i + *guess as u32)));
        let Some(guess) =
            fresh.min_by_key(|g| (tried.get(&(g - middle)).copied(), (g - middle).abs()))
        else {
            // All are taken: go on behind everything that was aimed at.
            aims.push(aims.iter().max().map_or(i, |most| most + 1));
            continue;
        };
        *tried.entry(guess - middle).or_default() += 1;
        aims.push(i + guess as u32);
    }
    aims
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Whether a volley meets the other side's when others have made `e` mappings in all.
    fn meets(aims: &[u32], e: u32) -> bool {
        (1..).zip(aims).any(|(i, aim)| aim - i == e)
    }

    #[test]
    fn no_place_is_aimed_at_twice_and_every_likely_guess_is_tried() {
        for expected in [0.0, 4.0, 20.0] {
            let aims = sweep(VOLLEY, |_| expected);
            assert_eq!(aims.len() as u32, VOLLEY);
            assert_eq!(aims.iter().collect::<BTreeSet<_>>().len() as u32, VOLLEY);
            let middle = expected as u32;
            let spread = (2.0 * expected.sqrt()) as u32;
            for e in middle - spread.min(middle)..=middle + spread {
                assert!(meets(&aims, e), "{e} of {expected}: {aims:?}");
            }
        }
    }

    #[test]
    fn the_first_packet_tries_the_likeliest() {
        assert_eq!(sweep(3, |_| 0.0)[0], 1);
        assert_eq!(sweep(3, |_| 5.0)[0], 6);
    }
}
