//! When a sender's limit grows.

use crate::Limits;

/// The growth of the limit.
///
/// The limit doubles when it was what held the sender up: over the acknowledgement of a whole limit's worth of bytes,
/// at least half arrived while the sender had no room although everything it held had been put on a carrier.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) limit: usize,
    max: usize,
    pub(crate) ceiling: usize,
    /// The sender had no room since the last acknowledgement.
    limited: bool,
    /// Bytes acknowledged in this period, and those of them that were acknowledged while it was limited.
    released: u64,
    released_limited: u64,
}

impl Growth {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limit: limits.initial,
            max: limits.max,
            ceiling: usize::MAX,
            limited: false,
            released: 0,
            released_limited: 0,
        }
    }

    pub(crate) fn on_limited(&mut self) {
        self.limited = true;
    }

    pub(crate) fn on_released(&mut self, bytes: u64) {
        self.released += bytes;
        if std::mem::take(&mut self.limited) {
            self.released_limited += bytes;
        }
        if self.released < self.limit as u64 {
            return;
        }
        if self.released_limited >= self.released / 2 {
            let most = self.max.min(self.ceiling);
            self.limit = self.limit.saturating_mul(2).min(most).max(self.limit);
        }
        self.released = 0;
        self.released_limited = 0;
    }
}
