//! A token bucket that many threads draw from for each datagram: one atomic, no lock, and a clock that is a number. The
//! [`Bucket`](crate::limits::Bucket) of the limits has one owner, who is told when to come again.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a bucket holds when full, as the time in which it fills: enough for QUIC's bursts, short enough that a queue
/// behind it stays short.
const FILLS_IN_NS: u64 = 100_000_000;

/// The least that a full bucket holds, in bytes: the largest batch that the kernel hands over at once.
const LEAST: u64 = 64 * 1024;

/// The rate of a bucket without bounds.
pub(crate) const UNBOUNDED: u64 = u64::MAX;

/// The instant, in nanoseconds of the caller's clock, at which the bucket is full again (the "generic cell rate
/// algorithm").
#[derive(Debug, Default)]
pub(crate) struct AtomicBucket(AtomicU64);

impl AtomicBucket {
    /// Takes `bytes` at `now_ns` from a bucket that fills with `rate` bytes a second, and says whether there were
    /// enough. Nothing is taken if not.
    pub(crate) fn take(&self, rate: u64, now_ns: u64, bytes: u64) -> bool {
        if rate == UNBOUNDED {
            return true;
        }
        let cost = nanoseconds(bytes, rate);
        let most = FILLS_IN_NS.max(nanoseconds(LEAST, rate));
        let mut enough = false;
        let update = |full_at: u64| {
            // A rate that has risen leaves a debt of the old one behind: an empty bucket is what it comes to.
            let missing = full_at.saturating_sub(now_ns).min(most);
            let after = missing.saturating_add(cost);
            enough = after <= most;
            Some(now_ns.saturating_add(if enough { after } else { missing }))
        };
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        enough
    }
}

/// How long `bytes` take at `rate` bytes a second.
fn nanoseconds(bytes: u64, rate: u64) -> u64 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = AtomicBucket::default();
        let rate = 10_000_000;
        let mut passed = 0;
        for ms in 0..10_000 {
            for _ in 0..20 {
                if bucket.take(rate, ms * SECOND / 1_000, 1_000) {
                    passed += 1_000;
                }
            }
        }
        // Ten seconds, and a full bucket of a tenth of one.
        assert_eq!(passed, 101_000_000 - 10_000);
    }

    #[test]
    fn a_slow_bucket_lets_a_whole_batch_through_all_the_same() {
        let bucket = AtomicBucket::default();
        assert!(bucket.take(1_000, 0, LEAST));
        assert!(!bucket.take(1_000, 0, 1));
        assert!(bucket.take(1_000, SECOND, 1_000));
    }

    #[test]
    fn a_rate_that_rises_is_not_held_back_by_the_debt_of_the_lower_one() {
        let bucket = AtomicBucket::default();
        assert!(bucket.take(1, 0, LEAST));
        // Empty at first, and filling at the new rate.
        assert!(!bucket.take(100_000_000, SECOND, 1_000));
        assert!(bucket.take(100_000_000, SECOND + 10_000, 1_000));
    }

    #[test]
    fn threads_that_draw_at_once_get_no_more_than_there_is() {
        let bucket = AtomicBucket::default();
        let passed: u64 = std::thread::scope(|scope| {
            let draw = || (0..10_000).filter(|_| bucket.take(1_000, 0, 64)).count() as u64;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(passed, LEAST / 64);
    }
}
