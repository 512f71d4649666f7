//! The side with the easy NAT: one socket that tries many ports of the hard NAT's address.
//!
//! Each probe also opens the easy NAT's own filter towards that port, so a probe that came too early still lets the
//! hard side's later packet in.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::shot::{Hints, Shot};
use crate::{SocketId, budget::MAX_HINTS, port_set::PortSet, random::Random};

/// Until all hinted ports are probed again.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Prober {
    attempt: u32,
    addresses: Vec<IpAddr>,
    hinted: Vec<u16>,
    /// How many of the hinted ports this round has done, and when the next round begins.
    done: usize,
    again_at: Instant,
    /// Where ports are drawn from when no hint is due.
    range: Option<(u16, u16)>,
    drawn: PortSet,
    drawable: u32,
    /// The other addresses at which the port drawn last is still to be probed.
    rest: Vec<SocketAddr>,
}

impl Prober {
    /// Begins to probe these addresses, at no more than `most` ports drawn from `range`.
    pub(crate) fn new(
        now: Instant,
        attempt: u32,
        addresses: Vec<IpAddr>,
        range: Option<(u16, u16)>,
        most: u32,
    ) -> Self {
        Self {
            attempt,
            addresses,
            hinted: Vec::new(),
            done: 0,
            again_at: now,
            range,
            drawn: PortSet::new(),
            drawable: most,
            rest: Vec::new(),
        }
    }

    pub(crate) fn aims_at(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }

    pub(crate) fn on_hints(&mut self, now: Instant, hints: &Hints) {
        if hints.attempt != self.attempt {
            return;
        }
        let ports: Vec<u16> = hints
            .ports
            .iter()
            .copied()
            .filter(|&p| p >= 1024)
            .take(MAX_HINTS)
            .collect();
        if ports != self.hinted && !ports.is_empty() {
            self.hinted = ports;
            self.done = 0;
            self.again_at = now;
        }
        if let (Some((first, last)), Some(_)) = (hints.range, self.range)
            && first < last
        {
            self.range = Some((first.max(1024), last));
        }
    }

    pub(crate) fn poll(&mut self, now: Instant, random: &mut Random) -> Option<Shot> {
        if let Some(to) = self.rest.pop() {
            return Some(probe(to));
        }
        let port = self.next_port(now, random)?;
        let mut all = self.addresses.iter().map(|&ip| SocketAddr::new(ip, port));
        let first = all.next()?;
        self.rest.extend(all);
        Some(probe(first))
    }

    fn next_port(&mut self, now: Instant, random: &mut Random) -> Option<u16> {
        if now >= self.again_at
            && let Some(&port) = self.hinted.get(self.done)
        {
            self.done += 1;
            if self.done == self.hinted.len() {
                self.done = 0;
                self.again_at = now + AGAIN;
            }
            return Some(port);
        }
        let (first, last) = self.range?;
        if self.drawable == 0 {
            return None;
        }
        self.drawable -= 1;
        match self.drawn.draw(first, last, random) {
            Some(port) => Some(port),
            None => {
                // The whole range was probed; what was lost deserves a second chance.
                self.drawn = PortSet::new();
                self.drawn.draw(first, last, random)
            }
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let draws = self.range.is_some() && self.drawable > 0;
        if !self.rest.is_empty() {
            return Some(self.again_at);
        }
        // Drawing waits for nothing but the pace: any time that has passed will do.
        let always = draws.then(|| self.again_at.checked_sub(AGAIN).unwrap_or(self.again_at));
        let again = (!self.hinted.is_empty()).then_some(self.again_at);
        always.or(again)
    }
}

fn probe(to: SocketAddr) -> Shot {
    Shot::Check {
        socket: SocketId::V4,
        to,
        ttl: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn ports(prober: &mut Prober, now: Instant, count: usize) -> Vec<u16> {
        let mut random = Random::new([3; 32]);
        let shots = std::iter::from_fn(|| prober.poll(now, &mut random)).take(count);
        let port = |shot| match shot {
            Shot::Check { to, .. } => to.port(),
            Shot::Ask { .. } => unreachable!("a prober asks nobody"),
        };
        shots.map(port).collect()
    }

    fn ip() -> Vec<IpAddr> {
        vec!["198.51.100.1".parse().unwrap()]
    }

    #[test]
    fn no_port_is_probed_twice_and_the_cap_holds() {
        let now = Instant::now();
        let mut prober = Prober::new(now, 0, ip(), Some((1024, u16::MAX)), 2048);
        let all = ports(&mut prober, now, usize::MAX);
        assert_eq!(all.len(), 2048);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 2048);
        assert!(all.iter().all(|&p| p >= 1024));
    }

    #[test]
    fn hinted_ports_come_first_and_again_after_a_while() {
        let now = Instant::now();
        let mut prober = Prober::new(now, 4, ip(), None, 2048);
        assert_eq!(ports(&mut prober, now, 9), []);
        let hints = Hints {
            attempt: 4,
            ports: vec![5001, 80, 5003],
            ..Hints::default()
        };
        prober.on_hints(
            now,
            &Hints {
                attempt: 3,
                ..hints.clone()
            },
        );
        assert_eq!(prober.next_at(), None);
        prober.on_hints(now, &hints);
        assert_eq!(ports(&mut prober, now, 9), [5001, 5003]);
        assert_eq!(prober.next_at(), Some(now + AGAIN));
        assert_eq!(ports(&mut prober, now + AGAIN, 9), [5001, 5003]);
    }
}
