//! For how long what has failed must go well before it is relied on again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(3);

const LONGEST: Duration = Duration::from_secs(60);

/// A time of probation that is twice as long after each relapse, from 3 s to a minute: so that what comes and goes does
/// not take everything along each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probation(Duration);

impl Default for Probation {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Probation {
    /// How long it lasts this time.
    pub fn lasts(self) -> Duration {
        self.0
    }

    /// The one after another relapse.
    #[must_use]
    pub fn longer(self) -> Self {
        Self((self.0 * 2).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probation_doubles_with_each_relapse_up_to_a_minute() {
        let mut probation = Probation::default();
        let seconds = [3, 6, 12, 24, 48, 60, 60];
        for expected in seconds {
            assert_eq!(probation.lasts().as_secs(), expected);
            probation = probation.longer();
        }
    }
}
