//! How often the direct path has come and gone.
//!
//! A path that is lost and found again is used at once: that is what roaming looks like, and a NAT that was restarted.
//! One that is lost again soon after would take the streams back and forth, and each loss costs them a second of
//! silence. So its next tunnel has to go on answering for a while before streams leave another one for it, for twice as
//! long after each further loss. `health` judges one tunnel in the same way; this outlives the tunnel, which ends
//! when the path's consent does.

use std::time::{Duration, Instant};

use p2pdbg_base::Probation;

/// A path that was there for so long before it was lost is as good as any.
const LASTED: Duration = Duration::from_secs(60);

/// What is remembered of the direct path.
#[derive(Debug, Default)]
pub(super) struct DirectPathFlapping {
    lost_at: Option<Instant>,
    trial: Option<Probation>,
}

impl DirectPathFlapping {
    /// The last direct tunnel has ended.
    pub(super) fn on_lost(&mut self, now: Instant) {
        let lasted = LASTED + self.trial().unwrap_or_default();
        let again = self
            .lost_at
            .is_some_and(|at| now.saturating_duration_since(at) < lasted);
        self.lost_at = Some(now);
        self.trial = again.then(|| self.trial.map(Probation::longer).unwrap_or_default());
    }

    /// For how long a new direct tunnel must answer before it is used, if it must.
    pub(super) fn trial(&self) -> Option<Duration> {
        self.trial.map(Probation::lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comeback_after_one_loss_needs_no_trial_and_after_more_one_twice_as_long_each() {
        let mut comebacks = DirectPathFlapping::default();
        let began = Instant::now();
        let mut trials = Vec::new();
        for seconds in [0, 10, 20, 30] {
            comebacks.on_lost(began + Duration::from_secs(seconds));
            trials.push(comebacks.trial().map(|trial| trial.as_secs()));
        }
        assert_eq!(trials, [None, Some(3), Some(6), Some(12)]);
    }

    #[test]
    fn comeback_of_a_path_that_had_lasted_needs_no_trial() {
        let mut comebacks = DirectPathFlapping::default();
        let began = Instant::now();
        comebacks.on_lost(began);
        comebacks.on_lost(began + Duration::from_secs(5));
        comebacks.on_lost(began + Duration::from_secs(5) + LASTED + Probation::default().lasts());
        assert_eq!(comebacks.trial(), None);
    }
}
