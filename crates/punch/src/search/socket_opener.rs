//! The side with the hard NAT: fresh sockets that all send to the peer's one address.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_nat::{Count, Ports};

use super::{
    plan::Shape,
    shot::{Hints, Shot},
};
use crate::{
    SocketId,
    budget::{BEYOND_BRACKET, BRACKET_GAP, MAX_HINTS},
};

/// How long sockets that should send in order are waited for.
const OPENING: Duration = Duration::from_millis(300);

/// Until an unanswered question to the server is repeated, or its answer done without.
const ASK_RETRY: Duration = Duration::from_millis(150);

#[derive(Debug)]
struct Opened {
    id: SocketId,
    ready: bool,
    asked: Option<Instant>,
    mapped: Option<SocketAddr>,
    repeat_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct SocketOpener {
    shape: Shape,
    attempt: u32,
    began: Instant,
    sockets: Vec<Opened>,
    script: VecDeque<Shot>,
    started: bool,
    targets: Vec<SocketAddr>,
    server: Option<SocketAddr>,
    stride: i16,
    retried: bool,
    hinted: BTreeSet<SocketId>,
}

impl SocketOpener {
    /// Begins with sockets numbered from `first` on, which the caller opens. `stride` is the NAT's, 1 if unknown.
    pub(crate) fn new(
        now: Instant,
        attempt: u32,
        shape: Shape,
        first: SocketId,
        targets: Vec<SocketAddr>,
        server: Option<SocketAddr>,
        stride: i16,
    ) -> Self {
        let opened = |id| Opened {
            id: SocketId(id),
            ready: false,
            asked: None,
            mapped: None,
            repeat_at: None,
        };
        Self {
            shape,
            attempt,
            began: now,
            sockets: (first.0..first.0 + shape.sockets).map(opened).collect(),
            script: VecDeque::new(),
            started: false,
            targets,
            server,
            stride,
            retried: false,
            hinted: BTreeSet::new(),
        }
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketId> {
        self.sockets.iter().map(|s| s.id)
    }

    pub(crate) fn on_opened(&mut self, now: Instant, socket: SocketId) {
        let Some(position) = self.sockets.iter().position(|s| s.id == socket) else {
            return;
        };
        self.sockets[position].ready = true;
        if self.shape.in_order {
            self.start_when_ready(now);
        } else {
            self.write_script(position);
        }
    }

    pub(crate) fn on_failed(&mut self, socket: SocketId) {
        self.sockets.retain(|s| s.id != socket);
    }

    pub(crate) fn on_mapped(&mut self, socket: SocketId, mapped: SocketAddr) {
        if let Some(opened) = self.sockets.iter_mut().find(|s| s.id == socket) {
            opened.mapped = Some(mapped);
        }
    }

    fn start_when_ready(&mut self, now: Instant) {
        let all = self.sockets.iter().all(|s| s.ready);
        if !self.started && (all || now >= self.began + OPENING) {
            self.started = true;
            for position in 0..self.sockets.len() {
                if self.sockets[position].ready {
                    self.write_script(position);
                }
            }
        }
    }

    fn write_script(&mut self, position: usize) {
        let socket = self.sockets[position].id;
        if let Some(server) = self
            .server
            .filter(|_| (position as u32) < self.shape.asking)
        {
            self.script.push_back(Shot::Ask { socket, server });
        }
        for &to in &self.targets {
            self.script.push_back(Shot::Check {
                socket,
                to,
                ttl: self.shape.first_ttl,
            });
        }
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Option<Shot> {
        if self.shape.in_order && !self.started {
            self.start_when_ready(now);
        }
        if let Some(shot) = self.script.pop_front() {
            let socket = match shot {
                Shot::Ask { socket, .. } | Shot::Check { socket, .. } => socket,
            };
            let repeat = self.shape.repeat;
            if let Some(opened) = self.sockets.iter_mut().find(|s| s.id == socket) {
                match shot {
                    Shot::Ask { .. } => {
                        opened.asked.get_or_insert(now);
                    }
                    Shot::Check { .. } => opened.repeat_at = Some(now + repeat),
                }
            }
            return Some(shot);
        }
        if !self.retried && self.asked_at().is_some_and(|at| now >= at + ASK_RETRY) {
            self.retried = true;
            if let Some(server) = self.server {
                let silent = self
                    .sockets
                    .iter()
                    .filter(|s| s.asked.is_some() && s.mapped.is_none());
                self.script.extend(silent.map(|s| Shot::Ask {
                    socket: s.id,
                    server,
                }));
            }
            if let Some(shot) = self.script.pop_front() {
                return Some(shot);
            }
        }
        let repeat = self.shape.repeat;
        let due = |s: &&mut Opened| s.repeat_at.is_some_and(|at| at <= now);
        let opened = self
            .sockets
            .iter_mut()
            .filter(due)
            .min_by_key(|s| s.repeat_at)?;
        opened.repeat_at = Some(now + repeat);
        let socket = opened.id;
        let mut targets = self.targets.iter().map(|&to| Shot::Check {
            socket,
            to,
            ttl: None,
        });
        let first = targets.next();
        self.script.extend(targets);
        first
    }

    /// When the last question was asked for the first time, once all were.
    fn asked_at(&self) -> Option<Instant> {
        let asking = self
            .sockets
            .iter()
            .take(self.shape.asking as usize)
            .filter(|s| s.ready);
        asking
            .map(|s| s.asked)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .max()
    }

    /// Hints from the mappings that the server saw: at once when all are known, without the missing ones after a
    /// while, and again when one of these comes after all.
    pub(crate) fn poll_hints(&mut self, now: Instant) -> Option<Hints> {
        let asked_at = self.asked_at()?;
        let known: BTreeSet<SocketId> = self
            .sockets
            .iter()
            .filter(|s| s.mapped.is_some())
            .map(|s| s.id)
            .collect();
        let asked = self.sockets.iter().filter(|s| s.asked.is_some()).count();
        let waited = now >= asked_at + 2 * ASK_RETRY;
        if known.is_empty() || known == self.hinted || !(waited || known.len() == asked) {
            return None;
        }
        self.hinted = known;
        let range = self.range();
        Some(Hints {
            attempt: self.attempt,
            ports: if self.shape.in_order {
                self.bracketed()
            } else {
                Vec::new()
            },
            range,
            ..Hints::default()
        })
    }

    /// The range that the mappings seen so far suggest, if it is one.
    fn range(&self) -> Option<(u16, u16)> {
        let count = |(place, socket): (u32, &Opened)| {
            let (at, port) = (socket.asked?, socket.mapped?.port());
            Some(Count { at, place, port })
        };
        let seen: Vec<Count> = (0..).zip(&self.sockets).filter_map(count).collect();
        match Ports::classify(&seen) {
            Ports::Block { first, last } => Some((first, last)),
            _ => None,
        }
    }

    /// The ports that lie between those which the server saw, the first after each one first.
    fn bracketed(&self) -> Vec<u16> {
        let known: Vec<Option<u16>> = self
            .sockets
            .iter()
            .filter(|s| s.ready)
            .map(|s| s.mapped.map(|m| m.port()))
            .collect();
        let mut runs: Vec<Vec<u16>> = Vec::new();
        for (n, port) in known.iter().enumerate() {
            let Some(port) = *port else { continue };
            let next = known[n + 1..].iter().flatten().next().copied();
            let steps = match next {
                Some(next) => steps_between(port, next, self.stride)
                    .unwrap_or(BRACKET_GAP)
                    .min(BRACKET_GAP),
                None => BEYOND_BRACKET + 1,
            };
            runs.push((1..steps).map(|k| step(port, self.stride, k)).collect());
        }
        let longest = runs.iter().map(Vec::len).max().unwrap_or(0);
        let mut ports: Vec<u16> = (0..longest)
            .flat_map(|k| runs.iter().filter_map(move |run| run.get(k).copied()))
            .collect();
        ports.truncate(MAX_HINTS);
        ports
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        if self.shape.in_order && !self.started {
            return Some(self.began + OPENING);
        }
        if !self.script.is_empty() {
            return Some(self.began);
        }
        let repeats = self.sockets.iter().filter_map(|s| s.repeat_at).min();
        let asked_at = self.asked_at();
        let retry = asked_at.filter(|_| !self.retried).map(|at| at + ASK_RETRY);
        let some = self.sockets.iter().any(|s| s.mapped.is_some());
        let hints = asked_at
            .filter(|_| some && self.hinted.is_empty())
            .map(|at| at + 2 * ASK_RETRY);
        [repeats, retry, hints].into_iter().flatten().min()
    }
}

/// The port `k` strides after `port`.
pub(crate) fn step(port: u16, stride: i16, k: u32) -> u16 {
    let circle = 65_536 - 1024;
    let ahead = i64::from(port) - 1024 + i64::from(stride) * i64::from(k);
    (1024 + ahead.rem_euclid(circle)) as u16
}

/// How many strides lead from one port to another, if they do.
fn steps_between(from: u16, to: u16, stride: i16) -> Option<u32> {
    (1..=BRACKET_GAP).find(|&k| step(from, stride, k) == to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bracket(mapped: &[Option<u16>], stride: i16) -> Vec<u16> {
        let now = Instant::now();
        let shape = Shape {
            sockets: mapped.len() as u32,
            asking: mapped.len() as u32,
            in_order: true,
            first_ttl: None,
            repeat: Duration::from_millis(200),
        };
        let target = ([192, 0, 2, 1], 9).into();
        let server = Some(([192, 0, 2, 2], 3478).into());
        let mut opener =
            SocketOpener::new(now, 0, shape, SocketId(2), vec![target], server, stride);
        for n in 0..mapped.len() as u32 {
            opener.on_opened(now, SocketId(2 + n));
        }
        let mut order = Vec::new();
        while let Some(shot) = opener.poll(now) {
            order.push(shot);
        }
        assert_eq!(order.len(), 2 * mapped.len());
        assert!(matches!(
            order[0],
            Shot::Ask {
                socket: SocketId(2),
                ..
            }
        ));
        assert!(matches!(
            order[1],
            Shot::Check {
                socket: SocketId(2),
                ..
            }
        ));
        for (n, port) in mapped.iter().enumerate() {
            if let Some(port) = port {
                opener.on_mapped(SocketId(2 + n as u32), ([198, 51, 100, 1], *port).into());
            }
        }
        opener
            .poll_hints(now + Duration::from_secs(1))
            .unwrap()
            .ports
    }

    #[test]
    fn a_quiet_sequential_nat_is_bracketed_to_the_port() {
        let ports = bracket(&[Some(5000), Some(5002), Some(5004)], 1);
        assert_eq!(ports[..3], [5001, 5003, 5005]);
    }

    #[test]
    fn foreign_mappings_widen_the_bracket_and_an_unanswered_question_joins_two() {
        let ports = bracket(&[Some(5000), None, Some(5007)], 1);
        assert!((5001..5007).all(|p| ports.contains(&p)), "{ports:?}");
        assert!(!ports.contains(&5007));
        let ports = bracket(&[Some(5000), Some(5004)], 2);
        assert_eq!(ports[..2], [5002, 5006]);
        assert!(ports.iter().all(|p| p % 2 == 0));
    }

    #[test]
    fn counting_goes_around_the_circle_of_ports_either_way() {
        assert_eq!(step(65_535, 1, 1), 1024);
        assert_eq!(step(1025, -2, 1), 65_535);
        assert_eq!(steps_between(65_534, 1025, 1), Some(3));
    }
}
