//! How long to wait before something is tried again.
//!
//! Many who lose the same thing at the same moment must not all come back at the same moment, and again after each
//! failure. So each wait is drawn: between the first one and three times the last one ("decorrelated jitter", in
//! Amazon's "Exponential Backoff and Jitter").

use std::time::Duration;

/// Draws waits that grow from failure to failure. It keeps no time: the owner sleeps.
///
/// ```
/// # use std::time::Duration;
/// # use p2pdbg_base::Backoff;
/// let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
/// let first = backoff.next_wait();
/// assert!(Duration::from_millis(200) <= first && first <= Duration::from_millis(600));
/// backoff.reset();
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    last: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// Waits of `first` at least and `longest` at most.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self::seeded(first, longest, fastrand::u64(..))
    }

    /// The same, drawn from `seed`: for simulations that must run the same way each time.
    pub fn seeded(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            first,
            longest: longest.max(first),
            last: first,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// How long to wait now, after another failure.
    pub fn next_wait(&mut self) -> Duration {
        let above = self.last * 3 - self.first;
        let drawn = self.first + above.mul_f64(self.random.f64());
        self.last = drawn.min(self.longest);
        self.last
    }

    /// It went well: the next wait is a first one.
    pub fn reset(&mut self) {
        self.last = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(15);

    #[test]
    fn backoff_waits_stay_between_the_first_and_the_longest() {
        for seed in 0..200 {
            let mut backoff = Backoff::seeded(FIRST, LONGEST, seed);
            let waits: Vec<_> = (0..50).map(|_| backoff.next_wait()).collect();
            assert!(waits.iter().all(|wait| (FIRST..=LONGEST).contains(wait)));
            // It does grow: nobody knocks fifty times in a few seconds.
            assert!(waits.iter().sum::<Duration>() > LONGEST * 5, "{waits:?}");
        }
    }

    #[test]
    fn backoff_of_many_with_the_same_fate_spreads_them() {
        let mut buckets = [0; 10];
        for seed in 0..1_000 {
            let wait = Backoff::seeded(FIRST, LONGEST, seed).next_wait() - FIRST;
            let bucket = wait.as_millis() * 10 / 401;
            buckets[usize::try_from(bucket).unwrap()] += 1;
        }
        assert!(
            buckets.iter().all(|count| (50..=150).contains(count)),
            "{buckets:?}"
        );
    }

    #[test]
    fn backoff_that_is_reset_begins_anew() {
        let mut backoff = Backoff::seeded(FIRST, LONGEST, 7);
        for _ in 0..20 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST * 3);
    }
}
