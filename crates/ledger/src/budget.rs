//! How much a sender may hold: a limit of its own, inside a budget that the session's streams share.
//!
//! A stream's first [`Limits::guaranteed`] bytes are outside the budget, so no stream can be starved by the others, and
//! an interactive stream never touches the shared counter. Beyond that a stream leases from the budget in steps, as its
//! unacknowledged bytes grow, and gives back as they shrink: an idle stream holds nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::MAX_RETENTION;

/// What a stream leases at a time, in bytes.
pub(crate) const STEP: usize = 64 << 10;

/// What a sender that holds bytes keeps leased beyond them, in bytes, so that steady traffic does not
/// lease and give back all the time. An empty one needs no lease, being guaranteed as much.
pub(crate) const KEPT: usize = 2 * STEP;

/// How much one sender may hold unacknowledged, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Always allowed, whatever the other streams hold. At least 128 KiB.
    pub guaranteed: usize,
    /// What the limit is before the path is known. At least `guaranteed`.
    pub initial: usize,
    /// What the limit may grow to when the path's bandwidth-delay product asks for it. At most [`MAX_RETENTION`].
    pub max: usize,
}

impl Default for Limits {
    /// 256 KiB, 4 MiB, 32 MiB.
    fn default() -> Self {
        Self {
            guaranteed: 256 << 10,
            initial: 4 << 20,
            max: MAX_RETENTION as usize,
        }
    }
}

impl Limits {
    /// The nearest limits that make sense: `128 KiB ≤ guaranteed ≤ initial ≤ max ≤ MAX_RETENTION`.
    pub fn normalized(self) -> Self {
        let most = MAX_RETENTION as usize;
        let guaranteed = self.guaranteed.clamp(KEPT, most);
        let initial = self.initial.clamp(guaranteed, most);
        let max = self.max.clamp(initial, most);
        Self {
            guaranteed,
            initial,
            max,
        }
    }
}

/// The bytes that the streams of a session may hold unacknowledged together, beyond what each is guaranteed.
///
/// Clones share one counter; streams may live in different threads.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total: usize,
    leased: AtomicUsize,
}

impl Default for Budget {
    /// 64 MiB for all streams of a session, besides what each is guaranteed.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                total,
                leased: AtomicUsize::new(0),
            }),
        }
    }

    /// The bytes leased by all streams now.
    pub fn leased(&self) -> usize {
        self.shared.leased.load(Ordering::Relaxed)
    }

    /// The bytes that it allows in all.
    pub fn total(&self) -> usize {
        self.shared.total
    }
}

/// One stream's share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Budget,
    held: usize,
}

impl Lease {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, held: 0 }
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Leases one step more, if the budget has it. The counter guards no other memory, so relaxed ordering will do.
    pub(crate) fn grow(&mut self) -> bool {
        let shared = &self.budget.shared;
        let taken = shared
            .leased
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |leased| {
                leased
                    .checked_add(STEP)
                    .filter(|leased| *leased <= shared.total)
            });
        if taken.is_ok() {
            self.held += STEP;
        }
        taken.is_ok()
    }

    /// Gives back what is held beyond `needed`, rounded up to whole steps.
    pub(crate) fn shrink_to(&mut self, needed: usize) {
        let keep = needed.div_ceil(STEP) * STEP;
        if keep < self.held {
            self.budget
                .shared
                .leased
                .fetch_sub(self.held - keep, Ordering::Relaxed);
            self.held = keep;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(3 * STEP + 1);
        let mut first = Lease::new(budget.clone());
        let mut second = Lease::new(budget.clone());
        assert!(first.grow() && first.grow() && second.grow());
        assert!(!second.grow(), "a fraction of a step is no step");
        first.shrink_to(STEP + 1);
        assert_eq!(first.held(), 2 * STEP, "part of a step keeps the step");
        first.shrink_to(1);
        assert!(second.grow());
        drop(first);
        assert_eq!(budget.leased(), 2 * STEP);
        drop(second);
        assert_eq!(budget.leased(), 0);
    }

    #[test]
    fn leases_from_many_threads_stay_within_the_budget() {
        let budget = Budget::new(100 * STEP);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut lease = Lease::new(budget.clone());
                    for round in 0..2_000 {
                        lease.grow();
                        assert!(budget.leased() <= budget.total());
                        if round % 50 == 49 {
                            lease.shrink_to(0);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.leased(), 0);
    }

    #[test]
    fn senseless_limits_are_put_right() {
        let limits = Limits {
            guaranteed: 0,
            initial: 1,
            max: usize::MAX,
        }
        .normalized();
        assert_eq!(
            limits,
            Limits {
                guaranteed: KEPT,
                initial: KEPT,
                max: MAX_RETENTION as usize
            }
        );
        assert_eq!(Limits::default().normalized(), Limits::default());
    }
}
