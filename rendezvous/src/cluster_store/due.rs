//! When each thing is due that the store's task does by itself.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{drains, key_sync, lease_sync::RENEW};

/// How often all records are written again, in case the store has lost some.
const WRITE_AGAIN: Duration = Duration::from_secs(45);

/// The pause between batches when all records are written.
pub(super) const PACE: Duration = Duration::from_millis(100);

/// Ticks once in this time, and after a delay no sooner.
pub(super) fn every(time: Duration) -> Interval {
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// When each is due, besides saying that the node lives.
pub(super) struct Due {
    pub(super) write_again: Interval,
    pub(super) pace: Interval,
    pub(super) look: Interval,
    pub(super) renew: Interval,
    pub(super) drains: Interval,
}

impl Due {
    pub(super) fn new() -> Self {
        Self {
            write_again: every(WRITE_AGAIN),
            pace: every(PACE),
            look: every(key_sync::LOOK),
            renew: every(RENEW),
            drains: every(drains::LOOK),
        }
    }
}
