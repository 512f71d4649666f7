//! Fair shares: how much each of several senders may send when together they want more than there is.

use super::atomic_bucket::UNBOUNDED;

/// What each of several legs gets of a capacity.
pub(super) struct Shares {
    capacity: u64,
    /// While they want more than there is: what each gets at the most.
    level: Option<u64>,
    /// What is left when every leg has what it wants.
    spare: u64,
    /// An equal part for each.
    equal: u64,
}

impl Shares {
    /// Of `capacity`, among legs of which each wants so much.
    pub(super) fn of(capacity: u64, mut wants: Vec<u64>) -> Self {
        let total = wants
            .iter()
            .fold(0_u64, |sum, want| sum.saturating_add(*want));
        let active = wants.iter().filter(|want| **want > 0).count() as u64;
        Self {
            capacity,
            level: level(capacity, &mut wants),
            spare: capacity.saturating_sub(total),
            // One that begins counts as if it had begun.
            equal: capacity / (active + 1),
        }
    }

    /// What a leg may send that wants so much.
    pub(super) fn share(&self, wants: u64) -> u64 {
        match self.level {
            _ if self.capacity == UNBOUNDED => UNBOUNDED,
            Some(level) => level,
            // It may grow into what is spare, and is not kept out by those who were there before it.
            None => wants.saturating_add(self.spare).max(self.equal),
        }
    }
}

/// The level, in the units of `wants`, to which each sender is held so that together they get `capacity` and nobody
/// who wants less than the level loses any (max-min fairness). `None` if there is enough for all.
fn level(capacity: u64, wants: &mut [u64]) -> Option<u64> {
    wants.sort_unstable();
    let mut left = capacity;
    for (index, want) in wants.iter().enumerate() {
        let equal = left / (wants.len() - index) as u64;
        if *want > equal {
            return Some(equal);
        }
        left -= want;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_senders_keep_all_and_the_rest_is_shared_equally() {
        assert_eq!(level(100, &mut [10, 500, 20, 300]), Some(35));
        assert_eq!(level(100, &mut [50, 50]), None);
        assert_eq!(level(100, &mut [51, 50]), Some(50));
        assert_eq!(level(100, &mut []), None);
        assert_eq!(level(0, &mut [0, 1]), Some(0));
    }

    proptest! {
        #[test]
        fn shares_fill_the_capacity_and_never_exceed_it(
            capacity in 0_u64..1_000_000,
            wants in proptest::collection::vec(0_u64..1_000_000, 0..50),
        ) {
            let total: u64 = wants.iter().sum();
            let level = level(capacity, &mut wants.clone());
            prop_assert_eq!(level.is_none(), total <= capacity);
            if let Some(level) = level {
                let given: u64 = wants.iter().map(|want| level.min(*want)).sum();
                prop_assert!(given <= capacity);
                // What remains is the remainder of a division among at most all of them.
                prop_assert!(capacity - given < wants.len() as u64);
            }
        }
    }
}
