//! How often something may be done that the peer or a server has this end do, and the pace at which datagrams leave.

use std::time::{Duration, Instant};

use crate::Budget;

/// One in each interval, and some at once: the generic cell rate algorithm, of which one instant holds the whole state,
/// so nothing drifts and nothing overflows.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    interval: Duration,
    burst: u32,
    /// When the next would be due if there were no tolerance for bursts.
    theoretical: Instant,
}

impl Pace {
    /// One in each `interval`, and `burst` at once, the first of them from `now` on.
    pub fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self {
            interval,
            burst,
            theoretical: now,
        }
    }

    /// Takes the right to do it once now; whether there was one.
    pub fn take(&mut self, now: Instant) -> bool {
        let may = self.next_at() <= now;
        if may {
            self.count(now);
        }
        may
    }

    /// Counts one that was done, whether or not it was due: those that follow wait the longer for it.
    pub(crate) fn count(&mut self, now: Instant) {
        self.theoretical = self.theoretical.max(now) + self.interval;
    }

    /// From now on one in each `interval`, and as many at once as before.
    pub(crate) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// When the pace allows the next.
    pub fn next_at(&self) -> Instant {
        let tolerance = self.interval * self.burst.saturating_sub(1);
        self.theoretical
            .checked_sub(tolerance)
            .unwrap_or(self.theoretical)
    }
}

/// The pace of datagrams, and how many of them an attempt may send.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    allowance: u32,
    spent: u32,
}

impl Pacer {
    pub(crate) fn new(budget: &Budget, now: Instant) -> Self {
        Self {
            pace: Pace::new(budget.interval(), budget.burst, now),
            allowance: budget.packets_per_attempt,
            spent: 0,
        }
    }

    /// Takes the right to send one datagram now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let taken = self.spent < self.allowance && self.pace.take(now);
        self.spent += u32::from(taken);
        taken
    }

    /// When the pace allows the next datagram.
    pub(crate) fn next_at(&self) -> Instant {
        self.pace.next_at()
    }

    /// Whether this attempt has spent all it may.
    pub(crate) fn exhausted(&self) -> bool {
        self.spent >= self.allowance
    }

    pub(crate) fn begin_attempt(&mut self) {
        self.spent = 0;
    }

    pub(crate) fn spent(&self) -> u32 {
        self.spent
    }
}

/// The pace at which the peer may make this end begin anew: the packets of one attempt are few, those of attempt after
/// attempt would not be.
pub(crate) fn restarts(now: Instant) -> Pace {
    Pace::new(Duration::from_secs(2), 10, now)
}

/// The pace at which moves of this host are followed that a server tells of: a few at once, since a NAT that is
/// restarted may do so twice, and of a server that says so all the time one in ten seconds.
pub(crate) fn moves(now: Instant) -> Pace {
    Pace::new(Duration::from_secs(10), 5, now)
}

/// The pace at which the peer may have this end take part in series by TCP. A peer that keeps to its own pauses needs a
/// few close together, when paths are lost that lasted or networks change, and one in 20 s for the rest.
pub(crate) fn series(now: Instant) -> Pace {
    Pace::new(Duration::from_secs(20), 5, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let budget = Budget {
            packets_per_second: 100,
            burst: 5,
            ..Budget::default()
        };
        let mut pacer = Pacer::new(&budget, start);
        assert_eq!((0..20).filter(|_| pacer.take(start)).count(), 5);
        assert_eq!(pacer.next_at(), start + Duration::from_millis(10));
        let second = start + Duration::from_secs(1);
        let sent = (0..=1000)
            .filter(|&ms| pacer.take(start + Duration::from_millis(ms)))
            .count();
        assert_eq!(sent, 100);
        assert!(!pacer.take(second));
    }

    #[test]
    fn an_attempt_stops_at_its_allowance() {
        let start = Instant::now();
        let budget = Budget {
            packets_per_attempt: 3,
            ..Budget::default()
        };
        let mut pacer = Pacer::new(&budget, start);
        assert_eq!((0..9).filter(|_| pacer.take(start)).count(), 3);
        assert!(pacer.exhausted());
        pacer.begin_attempt();
        assert!(pacer.take(start));
    }
}
