//! How often the files are looked at and compared: seldom while nothing changes and nobody debugs.

use std::time::{Duration, Instant};

use super::Differences;

/// The shortest pause between two looks at the files.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

/// The pause while they stay as they are and nobody debugs.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// So many looks in a row find nothing new before the pauses grow.
const STEADY: u32 = 3;

/// The pause is so many times as long as the look took, so that looking costs half a percent of a processor at most.
const PATIENCE: u32 = 200;

/// The longest rest after a comparison while nobody debugs.
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(600);

/// When answers have taken no more than a tenth of the time again, however often somebody asks.
#[derive(Debug, Default)]
pub(crate) struct AnswerTimes {
    made_good: Option<Instant>,
}

impl AnswerTimes {
    /// How long nobody is answered after this answer. Behind the first one after a rest that is no longer than between
    /// two looks, for a person who asks twice; what that leaves owing is added to the next one's.
    pub(crate) fn rest_after(&mut self, began: Instant, ended: Instant) -> Duration {
        let whole = (ended - began).saturating_mul(10).min(LONGEST_REST);
        let owed_until = self.made_good.filter(|until| *until > began);
        let made_good = owed_until.unwrap_or(began) + whole;
        self.made_good = Some(made_good);
        let rest = made_good.saturating_duration_since(ended);
        match owed_until {
            Some(_) => rest,
            None => rest.min(PAUSE),
        }
    }
}

/// How long to leave the files alone: longer and longer while nothing changes, since each look wakes the disk too.
#[derive(Debug)]
pub(crate) struct Pauses {
    unchanged: u32,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self { unchanged: 0 }
    }

    /// After a look that took so long.
    pub(crate) fn after(&mut self, took: Duration, unchanged: bool) -> Duration {
        self.unchanged = if unchanged { self.unchanged + 1 } else { 0 };
        let doublings = self.unchanged.saturating_sub(STEADY).min(8);
        (PAUSE * (1 << doublings))
            .min(LONGEST_PAUSE)
            .max(took * PATIENCE)
    }
}

/// How long to compare nothing while nobody debugs, after comparisons that have told nothing new. Each sends the whole
/// list of files, 1.6 MB of 20,000, and a log in the work tree changes at each look.
#[derive(Debug, Default)]
pub(crate) struct Rests {
    known: Option<Differences>,
    fruitless: u32,
}

impl Rests {
    /// After a comparison that has found this.
    pub(crate) fn after(&mut self, found: Differences) -> Duration {
        if self.known.as_ref() == Some(&found) {
            self.fruitless += 1;
        } else {
            *self = Self {
                known: Some(found),
                fruitless: 0,
            };
        }
        match self.fruitless {
            0 => Duration::ZERO,
            fruitless => (PAUSE * (1 << fruitless.min(8))).min(LONGEST_REST),
        }
    }
}
