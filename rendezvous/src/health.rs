//! Whether the parts of a rendezvous still go their rounds.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// How long a part may take for a round. The slowest goes one every two seconds.
const STUCK: Duration = Duration::from_secs(5);

/// A part of the rendezvous that goes rounds, and is stuck if it does not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// The task that owns the registry: who is here and who waits where.
    Hub,
    /// The workers of the relay.
    Datapath,
}

/// When each part was last on its round, in milliseconds since the rendezvous began.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    began: Instant,
    last: [AtomicU64; 2],
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Heartbeats {
    /// Of a rendezvous that begins now: each part is given until [`STUCK`] for its first round.
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            last: Default::default(),
        }
    }

    /// A part is on its round.
    pub(crate) fn beat(&self, part: Part, now: Instant) {
        self.last[part as usize].store(self.clock(now), Ordering::Relaxed);
    }

    /// How long ago a part was on its round.
    pub(crate) fn age(&self, part: Part, now: Instant) -> Duration {
        let last = self.last[part as usize].load(Ordering::Relaxed);
        Duration::from_millis(self.clock(now).saturating_sub(last))
    }

    /// Whether each was on its round within the last [`STUCK`].
    pub(crate) fn are_fresh(&self, now: Instant) -> bool {
        [Part::Hub, Part::Datapath]
            .into_iter()
            .all(|part| self.age(part, now) < STUCK)
    }

    fn clock(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_is_stuck_is_enough() {
        let began = Instant::now();
        let heartbeats = Heartbeats::new(began);
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(heartbeats.are_fresh(at(4)));
        assert!(!heartbeats.are_fresh(at(5)));
        heartbeats.beat(Part::Hub, at(6));
        assert!(!heartbeats.are_fresh(at(6)));
        heartbeats.beat(Part::Datapath, at(7));
        assert!(heartbeats.are_fresh(at(10)));
        assert!(!heartbeats.are_fresh(at(11)));
    }
}
