//! Two hard NATs: both sides fire a volley, each packet from a mapping of its own.
//!
//! A NAT that gives every destination another port gives one to every packet of a volley at different ports. Two of
//! them meet where one side's packet leaves from the port that the other side's goes to, and goes to the port that the
//! other's leaves from.
//!
//! Both count: each side makes one mapping that a STUN server sees and tells the other where its NAT stands. Where side
//! A's i-th packet leaves from port `X + i` and goes to `Y + i`, and side B's i-th leaves from `Y + i` and goes to
//! `X + i`, all of them meet. Mappings that others make in between move both sequences along, by `e` in all, and then
//! none would meet. So one side lets its aim wander: its i-th packet goes to `Y + i + a(i)`, and those packets meet for
//! which `a(i)` is `e`. Every packet thus tries another guess, and one number has to be guessed instead of two.
//!
//! One counts and the other draws from a block of `n` ports: the counting side aims anywhere in the block, the other at
//! the ports that the counting one will use, and each of `k` packets meets its counterpart with a chance of `1/n`. Both
//! draw from blocks of `n`: the chance is `k²/n²` in all. What limits both is `k`, the share of a block that a search
//! may occupy while the subscriber's other programs live on the rest.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{
    shot::{Hints, Shot},
    socket_opener::step,
};
use crate::{SocketId, budget::VOLLEY_PASSES, port_set::PortSet, random::Random};

/// Between the beginnings of two passes, at least.
const PASS_INTERVAL: Duration = Duration::from_millis(240);

/// Until the question is repeated.
const ASK_RETRY: Duration = Duration::from_millis(150);

/// To which ports of the peer a volley goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// To the ports that the peer's counting NAT gives out next, one after the other.
    InStep { stride: i16 },
    /// The same, with a guess at what others make in between that wanders from packet to packet.
    Sweep { stride: i16 },
    /// To any port of a range, both ends included.
    Range { first: u16, last: u16 },
}

/// What a volley needs to know beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) attempt: u32,
    pub(crate) round: u8,
    /// The fresh socket that fires, and the server that shows where our NAT stands.
    pub(crate) socket: SocketId,
    pub(crate) server: SocketAddr,
    /// The only addresses that may be fired at.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) aim: Aim,
    /// How many packets one pass has.
    pub(crate) size: u32,
    pub(crate) first_ttl: Option<u8>,
    /// Time between two packets at the pace.
    pub(crate) interval: Duration,
}

#[derive(Debug)]
pub(crate) struct Volley {
    orders: Orders,
    asked: Option<Instant>,
    ask_at: Option<Instant>,
    ours: Option<SocketAddr>,
    told: bool,
    theirs: Option<SocketAddr>,
    /// Mappings that others make behind the two NATs, a thousandfold: per 1,000 seconds.
    ours_foreign: u32,
    theirs_foreign: u32,
    loaded: Vec<SocketAddr>,
    fired: u32,
    pass_at: Instant,
}

impl Volley {
    pub(crate) fn new(now: Instant, orders: Orders) -> Self {
        Self {
            orders,
            asked: None,
            ask_at: None,
            ours: None,
            told: false,
            theirs: None,
            ours_foreign: 0,
            theirs_foreign: 0,
            loaded: Vec::new(),
            fired: 0,
            pass_at: now,
        }
    }

    pub(crate) fn socket(&self) -> SocketId {
        self.orders.socket
    }

    pub(crate) fn on_opened(&mut self, now: Instant, socket: SocketId) {
        if socket == self.orders.socket && self.asked.is_none() {
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
        if socket == self.orders.socket && self.ours.is_none() {
            self.ours = Some(mapped);
            self.ours_foreign = foreign;
            self.ask_at = None;
            self.pass_at = now;
        }
    }

    pub(crate) fn on_hints(&mut self, now: Instant, hints: &Hints) {
        let expected = (hints.attempt, hints.round) == (self.orders.attempt, self.orders.round);
        // The peer may claim any address here; only those that the rendezvous saw are fired at.
        let counter = hints
            .counter
            .filter(|c| self.orders.addresses.contains(&c.ip()));
        if expected && self.theirs.is_none() && counter.is_some() {
            self.theirs = counter;
            self.theirs_foreign = hints.foreign_per_kilosecond;
            self.pass_at = now;
        }
    }

    pub(crate) fn poll_hints(&mut self) -> Option<Hints> {
        let counter = self.ours.filter(|_| !self.told)?;
        self.told = true;
        Some(Hints {
            attempt: self.orders.attempt,
            round: self.orders.round,
            counter: Some(counter),
            foreign_per_kilosecond: self.ours_foreign,
            ..Hints::default()
        })
    }

    pub(crate) fn poll(&mut self, now: Instant, random: &mut Random) -> Option<Shot> {
        if self.ask_at.is_some_and(|at| at <= now) {
            self.asked.get_or_insert(now);
            self.ask_at = Some(now + ASK_RETRY);
            return Some(Shot::Ask {
                socket: self.orders.socket,
                server: self.orders.server,
            });
        }
        if now < self.pass_at || !self.ready() {
            return None;
        }
        if self.loaded.is_empty() {
            self.loaded = self.load(now, random)?;
        }
        let size = self.loaded.len() as u32;
        let (pass, i) = (self.fired / size, self.fired % size);
        if pass >= VOLLEY_PASSES {
            return None;
        }
        if i == 0 {
            self.pass_at = now;
        }
        self.fired += 1;
        if i + 1 == size {
            self.pass_at = (self.pass_at + PASS_INTERVAL).max(now);
        }
        Some(Shot::Check {
            socket: self.orders.socket,
            to: self.loaded[i as usize],
            ttl: if pass == 0 {
                self.orders.first_ttl
            } else {
                None
            },
        })
    }

    /// Whether all is known that aiming needs.
    fn ready(&self) -> bool {
        let knows_theirs = self.theirs.is_some() || matches!(self.orders.aim, Aim::Range { .. });
        self.ours.is_some() && knows_theirs
    }

    fn load(&self, now: Instant, random: &mut Random) -> Option<Vec<SocketAddr>> {
        let Orders {
            aim,
            size,
            interval,
            ..
        } = self.orders;
        let ahead = |stride, ahead: Vec<u32>| {
            let theirs = self.theirs?;
            let aim = |k| SocketAddr::new(theirs.ip(), step(theirs.port(), stride, k));
            Some(ahead.into_iter().map(aim).collect())
        };
        match aim {
            Aim::InStep { stride } => ahead(stride, (1..=size).collect()),
            Aim::Sweep { stride } => {
                let rate = f64::from(self.ours_foreign.saturating_add(self.theirs_foreign)) / 1e6;
                let age = now.duration_since(self.asked?);
                let expected = |i| rate * (age + interval * i).as_secs_f64() * 1000.0;
                ahead(stride, sweep(size, expected))
            }
            Aim::Range { first, last } => {
                let ip = *self.orders.addresses.first()?;
                let mut drawn = PortSet::new();
                let ports = std::iter::from_fn(|| drawn.draw(first, last, random));
                Some(
                    ports
                        .take(size as usize)
                        .map(|port| SocketAddr::new(ip, port))
                        .collect(),
                )
            }
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let size = self.loaded.len() as u32;
        let more = self.ready() && (size == 0 || self.fired < size * VOLLEY_PASSES);
        [self.ask_at, more.then_some(self.pass_at)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// How many strides ahead each packet of the sweeper's aims: the i-th at `i` and a guess at what others will have made
/// by then. No place is aimed at twice, since a packet to a known destination makes no mapping and would put all later
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
    use crate::search::plan::MUTUAL_VOLLEY;
    use std::collections::BTreeSet;

    /// Whether a volley meets the other side's when others have made `e` mappings in all.
    fn meets(aims: &[u32], e: u32) -> bool {
        (1..).zip(aims).any(|(i, aim)| aim - i == e)
    }

    #[test]
    fn no_place_is_aimed_at_twice_and_every_likely_guess_is_tried() {
        for expected in [0.0, 4.0, 20.0] {
            let aims = sweep(MUTUAL_VOLLEY, |_| expected);
            assert_eq!(aims.len() as u32, MUTUAL_VOLLEY);
            assert_eq!(
                aims.iter().collect::<BTreeSet<_>>().len() as u32,
                MUTUAL_VOLLEY
            );
            let middle = expected as u32;
            let spread = (2.0 * expected.sqrt()) as u32;
            for e in middle - spread.min(middle)..=middle + spread {
                assert!(meets(&aims, e), "{e} of {expected}: {aims:?}");
            }
        }
    }

    #[test]
    fn a_counter_at_an_address_that_was_not_seen_is_not_fired_at() {
        let now = Instant::now();
        let seen: IpAddr = [198, 51, 100, 1].into();
        let orders = Orders {
            attempt: 0,
            round: 0,
            socket: SocketId(2),
            server: ([192, 0, 2, 1], 3478).into(),
            addresses: vec![seen],
            aim: Aim::InStep { stride: 1 },
            size: 3,
            first_ttl: None,
            interval: Duration::from_millis(4),
        };
        let mut random = Random::new([1; 32]);
        for (claimed, fires) in [([203, 0, 113, 9].into(), false), (seen, true)] {
            let mut volley = Volley::new(now, orders.clone());
            volley.on_opened(now, SocketId(2));
            assert!(matches!(
                volley.poll(now, &mut random),
                Some(Shot::Ask { .. })
            ));
            volley.on_mapped(now, SocketId(2), ([192, 0, 2, 7], 5000).into(), 0);
            let hints = Hints {
                counter: Some(SocketAddr::new(claimed, 7000)),
                ..Hints::default()
            };
            volley.on_hints(now, &hints);
            assert_eq!(volley.poll(now, &mut random).is_some(), fires);
        }
    }

    #[test]
    fn the_first_packet_tries_the_likeliest() {
        assert_eq!(sweep(3, |_| 0.0)[0], 1);
        assert_eq!(sweep(3, |_| 5.0)[0], 6);
    }
}
