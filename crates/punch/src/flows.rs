//! The flows that this end makes: how many live in the NATs now, and how fast new ones may follow.
//!
//! A flow is a socket and a destination, which is what firewalls and NATs keep a row for. Some count them: a subscriber
//! of a satellite network has 1,200 and loses the oldest, a gateway takes more than sixty new ones in a second for a
//! flood and stops all UDP for a minute. So the rows that a search leaves behind are its price, more than its packets.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{SocketId, pace::Pace};

/// How long a flow is taken to live after its first packet: two minutes after its last one (RFC 4787 REQ-5), and a
/// search repeats itself for half a minute.
const LIFE: Duration = Duration::from_secs(155);

/// No NAT is taken to forget a flow sooner.
const SHORTEST_LIFE: Duration = Duration::from_secs(30);

/// How many ways are remembered; beyond that all are forgotten, and count as new again.
const CAPACITY: usize = 16_384;

/// Flows are counted by this much time, so that the book stays small.
const GRAIN: Duration = Duration::from_secs(1);

/// Flows that may begin at once at the careful pace.
const BURST: u32 = 10;

/// What was made, and when more may be.
#[derive(Debug)]
pub(crate) struct Flows {
    /// When a grain of time began, and the flows that began in it.
    made: VecDeque<(Instant, u32)>,
    careful: Pace,
    /// When a packet was sent which way last.
    sent: HashMap<(SocketId, SocketAddr), Instant>,
}

impl Flows {
    /// `interval` is the time between two new flows at the careful pace.
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        Self {
            made: VecDeque::new(),
            careful: Pace::new(interval, BURST, now),
            sent: HashMap::new(),
        }
    }

    /// Changes how long the careful pace waits between two new flows.
    pub(crate) fn set_interval(&mut self, interval: Duration) {
        self.careful.set_interval(interval);
    }

    /// Whether a packet would begin a flow: none was sent that way lately. A NAT that forgets soon has a flow begin
    /// that another one still has.
    pub(crate) fn is_new(&self, now: Instant, socket: SocketId, to: SocketAddr) -> bool {
        let sent = self.sent.get(&(socket, to));
        to.is_ipv4() && sent.is_none_or(|&at| at + SHORTEST_LIFE < now)
    }

    /// A packet leaves, whatever it is for: what the rest of the engine makes counts against a search.
    pub(crate) fn on_sent(&mut self, now: Instant, socket: SocketId, to: SocketAddr) {
        let new = self.is_new(now, socket, to);
        if self.sent.len() >= CAPACITY {
            // What is still alive counts twice then, and a search makes fewer.
            self.sent.clear();
        }
        if to.is_ipv4() {
            self.sent.insert((socket, to), now);
        }
        if new {
            self.begin(now);
        }
    }

    /// Nothing leaves by these sockets any more. What they have made counts as long as the NAT may hold it.
    pub(crate) fn forget(&mut self, now: Instant, closed: &HashSet<SocketId>) {
        self.sent
            .retain(|(socket, _), at| !closed.contains(socket) && now <= *at + SHORTEST_LIFE);
        self.sent.shrink_to_fit();
    }

    /// How many ways are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.sent.len()
    }

    fn begin(&mut self, now: Instant) {
        self.careful.count(now);
        while self.made.front().is_some_and(|&(at, _)| at + LIFE <= now) {
            self.made.pop_front();
        }
        match self.made.back_mut() {
            Some((at, count)) if now < *at + GRAIN => *count += 1,
            _ => self.made.push_back((now, 1)),
        }
    }

    /// Flows that began since then.
    pub(crate) fn since(&self, then: Instant) -> u32 {
        let later = self.made.iter().filter(|&&(at, _)| at >= then);
        later.map(|&(_, count)| count).sum()
    }

    /// When a search may begin another flow, if no more than `most` are to live at once; `careful` at the careful pace.
    pub(crate) fn next_at(&self, now: Instant, most: u32, careful: bool) -> Instant {
        let mut live: u32 = self
            .made
            .iter()
            .filter(|&&(at, _)| at + LIFE > now)
            .map(|&(_, count)| count)
            .sum();
        let mut room = now;
        for &(at, count) in self.made.iter().filter(|&&(at, _)| at + LIFE > now) {
            if live < most.max(1) {
                break;
            }
            live -= count;
            room = at + LIFE;
        }
        match careful {
            true => room.max(self.careful.next_at()),
            false => room,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn careful_pace_stays_below_sixty_in_any_second() {
        let start = Instant::now();
        let mut flows = Flows::new(start, Duration::from_millis(25));
        let mut begun = Vec::new();
        // Something else makes twenty at once, as gathering does.
        for _ in 0..20 {
            flows.begin(start);
            begun.push(start);
        }
        for ms in 0..5000 {
            let now = start + Duration::from_millis(ms);
            while flows.next_at(now, 1000, true) <= now {
                flows.begin(now);
                begun.push(now);
            }
        }
        for &from in &begun {
            let within = |at: &&Instant| **at >= from && **at < from + Duration::from_secs(1);
            let count = begun.iter().filter(within).count();
            assert!(count <= 60, "{count}");
        }
        assert!(begun.len() > 200);
    }

    #[test]
    fn flows_of_sockets_that_are_closed_count_until_the_nat_forgets_them() {
        let start = Instant::now();
        let mut flows = Flows::new(start, Duration::from_millis(25));
        let to = SocketAddr::from(([192, 0, 2, 1], 9));
        for socket in 0..300 {
            flows.on_sent(start, SocketId(socket), to);
        }
        flows.forget(start, &(2..300).map(SocketId).collect());
        assert_eq!(flows.remembered(), 2);
        assert_eq!(flows.next_at(start, 300, false), start + LIFE);
        assert!(!flows.is_new(start, SocketId(1), to));
        let later = start + SHORTEST_LIFE + GRAIN;
        flows.forget(later, &HashSet::new());
        assert_eq!(flows.remembered(), 0);
        assert_eq!(flows.since(start), 300);
    }

    #[test]
    fn no_more_flows_live_at_once_than_allowed_and_room_comes_back() {
        let start = Instant::now();
        let mut flows = Flows::new(start, Duration::from_millis(25));
        let mut made = 0;
        while flows.next_at(start, 300, false) <= start {
            flows.begin(start);
            made += 1;
        }
        assert_eq!(made, 300);
        let again = flows.next_at(start, 300, false);
        assert_eq!(again, start + LIFE);
        assert!(flows.next_at(again, 300, false) <= again);
        assert_eq!(flows.since(start), 300);
    }
}
