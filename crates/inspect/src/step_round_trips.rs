//! How many round trips a step takes: a request that the IDE makes after it has heard something is one, whatever else
//! it asks together with it.
//!
//! A step begins with the request to step and ends with the next one, or when the IDE is silent for a second after the
//! last answer: what comes then is the person's doing.

use std::time::{Duration, Instant};

/// An IDE that asks nothing for so long has all that it wants to show.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts the round trips of one connection.
#[derive(Debug, Default)]
pub(crate) struct StepRoundTrips {
    /// When something was last said.
    last: Option<Instant>,
    /// Whether the debuggee has spoken since the IDE asked.
    answered: bool,
    /// The round trips of the step that is going on.
    step: Option<u32>,
    of_last_step: Option<u32>,
}

impl StepRoundTrips {
    pub(crate) fn on_request(&mut self, now: Instant, is_step: bool) {
        let silent_for = self
            .last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if is_step {
            self.step = Some(1);
        } else if silent_for >= PAUSE && self.answered {
            self.step = None;
        } else if self.answered
            && let Some(step) = &mut self.step
        {
            *step = step.saturating_add(1);
        }
        self.of_last_step = self.step.or(self.of_last_step);
        self.answered = false;
        self.last = Some(now);
    }

    pub(crate) fn on_answer(&mut self, now: Instant) {
        self.answered = true;
        self.last = Some(now);
    }

    /// Whether a step is going on to which a request at this moment would belong.
    pub(crate) fn is_stepping(&self, now: Instant) -> bool {
        let silent = |last| now.saturating_duration_since(last) >= PAUSE;
        self.step.is_some() && !(self.answered && self.last.is_some_and(silent))
    }

    /// How many round trips the last step has taken so far.
    pub(crate) fn of_last_step(&self) -> Option<u32> {
        self.of_last_step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_wait_for_an_answer_are_round_trips_and_those_together_are_one() {
        let mut trips = StepRoundTrips::default();
        let mut now = Instant::now();
        let mut ask = |trips: &mut StepRoundTrips, requests: u32, is_step| {
            for _ in 0..requests {
                trips.on_request(now, is_step);
            }
            now += Duration::from_millis(40);
            trips.on_answer(now);
        };
        ask(&mut trips, 1, false);
        assert_eq!(trips.of_last_step(), None);
        for _ in 0..2 {
            ask(&mut trips, 1, true);
            ask(&mut trips, 2, false);
            ask(&mut trips, 1, false);
            assert_eq!(trips.of_last_step(), Some(3));
        }
    }

    #[test]
    fn what_a_person_asks_later_is_no_part_of_the_step() {
        let mut trips = StepRoundTrips::default();
        let now = Instant::now();
        trips.on_request(now, true);
        // The program takes its time, which is no pause of the IDE's.
        trips.on_answer(now + PAUSE * 20);
        trips.on_request(now + PAUSE * 20, false);
        trips.on_answer(now + PAUSE * 20);
        trips.on_request(now + PAUSE * 21, false);
        trips.on_answer(now + PAUSE * 21);
        trips.on_request(now + PAUSE * 21, false);
        assert_eq!(trips.of_last_step(), Some(2));
    }
}
