//! What is held against nobody, because this process was late itself: it was stopped, or had no processor.

use std::time::{Duration, Instant};

use super::{Decisions, io::Timer};

/// How late a look is that was held up: this process was stopped, or had no processor.
const LATE: Duration = Duration::from_secs(1);

/// How late a look is on a host that has too much to do: what the peer said meanwhile may not have been read.
const BUSY: Duration = Duration::from_millis(50);

/// After so much time something is given up, or a network is blamed. Time in which this process did not run is no part
/// of it.
const DEADLINES: [Timer; 4] = [
    Timer::ResumeExpired,
    Timer::NoPath,
    Timer::DrainExpired,
    Timer::Uncarried,
];

/// For so long after a stop none of these passes: what has come meanwhile is read first.
const CATCH_UP: Duration = Duration::from_secs(1);

impl Decisions {
    /// Holds against nobody that this process was late: it was stopped, or had no processor. That is judged before
    /// anything is taken in, since what is read first after a stop need not be the timeout, and may have the next look
    /// come at once.
    pub(super) fn allow_for_lateness(&mut self, now: Instant) {
        self.tunnels.attend(now);
        let due = self.timers.at(Timer::Look).unwrap_or(now);
        let late = now.saturating_duration_since(due);
        if late < BUSY {
            return;
        }
        let mut least = now;
        if late >= LATE {
            self.tunnels.forgive(now);
            least += CATCH_UP;
        } else {
            self.tunnels.excuse(late, now);
        }
        self.reachability.excuse(late, now);
        for timer in DEADLINES {
            self.timers.put_off(timer, late, least);
        }
        // Each delay counts once.
        self.timers.set(Timer::Look, now);
    }
}
