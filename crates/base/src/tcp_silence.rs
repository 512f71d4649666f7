//! When a connection over TCP on which nothing is heard is given up.
//!
//! TCP itself notices a peer that has vanished after many minutes. So the other end is asked in a rhythm, and what is
//! silent for longer than two answers can take has ended. Where there is reason to doubt, one answer is waited for and
//! no longer.
//!
//! Whoever notices long after its time that a connection is to be given up was stopped meanwhile: it has neither asked
//! nor read what came. Then it asks, and waits for an answer as in doubt.

use std::time::{Duration, Instant};

/// How often the other end is to be asked whether it is there.
pub const ASK: Duration = Duration::from_secs(10);

/// A connection that is silent for this long is lost.
const LONGEST: Duration = Duration::from_secs(25);

/// Who notices so late that an answer has not come may not have read it: this process was stopped, or had no processor.
pub const LATE: Duration = Duration::from_millis(500);

/// What is known of a connection by what is heard on it. Whoever holds it asks every [`ASK`], and at each doubt.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    heard: Instant,
    doubted: Option<Instant>,
    patience: Duration,
    /// It is not given up before that: this process was stopped, and has asked since.
    not_before: Instant,
}

impl Silence {
    /// Of a connection on which something was heard just now; an answer to a doubt may take `patience`.
    pub fn new(now: Instant, patience: Duration) -> Self {
        Self {
            heard: now,
            doubted: None,
            patience,
            not_before: now,
        }
    }

    /// Something was heard at that time. A doubt that is not older stands: what came before says nothing about it.
    pub fn on_heard(&mut self, at: Instant) {
        self.heard = self.heard.max(at);
    }

    /// There is reason to doubt, unless there was already, and nothing was heard since.
    pub fn on_doubt(&mut self, now: Instant) {
        if self.doubt().is_none() {
            self.doubted = Some(now);
        }
    }

    /// There is another reason to doubt: an answer may take the whole patience from now on.
    pub fn on_new_doubt(&mut self, now: Instant) {
        self.doubted = Some(now);
    }

    /// When the connection is given up if nothing more is heard.
    pub fn given_up(&self) -> Instant {
        let longest = self.heard + LONGEST;
        let doubt = self.doubt().map(|doubted| doubted + self.patience);
        let due = doubt.map_or(longest, |doubt| doubt.min(longest));
        due.max(self.not_before)
    }

    /// That time has come, as is noticed now. Whether the connection is lost; if not, it is to be asked.
    pub fn is_lost(&mut self, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(self.given_up()) >= LATE;
        if is_late {
            self.not_before = now + self.patience;
        }
        !is_late
    }

    fn doubt(&self) -> Option<Instant> {
        self.doubted.filter(|doubted| *doubted >= self.heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn connection_is_given_up_after_25_s_of_silence_and_sooner_in_doubt() {
        let began = Instant::now();
        let mut silence = Silence::new(began, PATIENCE);
        assert_eq!(silence.given_up(), began + seconds(25));
        silence.on_heard(began + seconds(5));
        assert_eq!(silence.given_up(), began + seconds(30));
        silence.on_doubt(began + seconds(6));
        assert_eq!(silence.given_up(), began + seconds(8));
        silence.on_heard(began + seconds(7));
        assert_eq!(silence.given_up(), began + seconds(32));
    }

    #[test]
    fn connection_that_was_to_be_given_up_while_this_process_was_stopped_is_asked_first() {
        let began = Instant::now();
        for doubted in [false, true] {
            let mut silence = Silence::new(began, PATIENCE);
            if doubted {
                silence.on_doubt(began);
            }
            let resumed = silence.given_up() + seconds(60);
            assert!(!silence.is_lost(resumed));
            assert_eq!(silence.given_up(), resumed + PATIENCE);
            assert!(silence.is_lost(resumed + PATIENCE), "nor has it answered");
            silence.on_heard(resumed + seconds(1));
            assert_eq!(silence.given_up(), resumed + seconds(26));
        }
    }

    #[test]
    fn doubt_that_is_repeated_gives_no_more_time_but_a_new_one_does() {
        let began = Instant::now();
        let mut silence = Silence::new(began, PATIENCE);
        silence.on_doubt(began + seconds(1));
        silence.on_doubt(began + seconds(2));
        assert_eq!(silence.given_up(), began + seconds(3));
        silence.on_new_doubt(began + seconds(2));
        assert_eq!(silence.given_up(), began + seconds(4));
    }

    #[test]
    fn doubt_late_in_a_silence_gives_no_more_time_than_the_silence_had() {
        let began = Instant::now();
        let mut silence = Silence::new(began, PATIENCE);
        silence.on_doubt(began + seconds(24));
        assert_eq!(silence.given_up(), began + seconds(25));
    }
}
