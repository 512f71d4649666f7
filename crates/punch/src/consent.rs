//! Consent: asking again and again whether the peer still wants packets on the nominated path (RFC 7675), and noticing
//! soon when the path dies under a stream.

use std::time::{Duration, Instant};

use crate::Timing;

/// Between two checks when there is reason to doubt the path.
const DOUBT_INTERVAL: Duration = Duration::from_millis(200);

/// Without an answer for so long, a path in doubt is lost.
const DOUBT_EXPIRY: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing moves: RFC 7675's pace.
    Idle,
    /// Streams move, or the tunnel is being set up.
    Active,
    /// The network changed.
    Doubt,
}

#[derive(Debug)]
pub(crate) struct Consent {
    timing: Timing,
    mode: Mode,
    active: bool,
    answered_at: Instant,
    expires_at: Instant,
    next_at: Instant,
    unanswered: u32,
}

impl Consent {
    pub(crate) fn new(timing: Timing, now: Instant, active: bool) -> Self {
        let mode = if active { Mode::Active } else { Mode::Idle };
        let mut consent = Self {
            timing,
            mode,
            active,
            answered_at: now,
            expires_at: now,
            next_at: now,
            unanswered: 0,
        };
        consent.expires_at = now + consent.patience();
        consent.next_at = now + consent.interval();
        consent
    }

    pub(crate) fn set_active(&mut self, now: Instant, active: bool) {
        self.active = active;
        if self.mode != Mode::Doubt {
            self.enter(now, if active { Mode::Active } else { Mode::Idle });
        }
    }

    /// Checks the path at once and often until it answers.
    pub(crate) fn doubt(&mut self, now: Instant) {
        if self.mode == Mode::Doubt {
            return;
        }
        self.enter(now, Mode::Doubt);
        self.next_at = now;
    }

    fn enter(&mut self, now: Instant, mode: Mode) {
        if mode == self.mode {
            return;
        }
        let before = self.patience();
        self.mode = mode;
        self.unanswered = 0;
        self.expires_at = if self.patience() > before {
            self.answered_at + self.patience()
        } else {
            // Silence at a slower pace does not count against the path at a faster one, nor does the change prolong it.
            self.expires_at.min(now + self.patience())
        };
        self.next_at = self.next_at.min(now + self.interval());
    }

    pub(crate) fn on_answer(&mut self, now: Instant) {
        self.unanswered = 0;
        if self.mode == Mode::Doubt {
            self.mode = if self.active {
                Mode::Active
            } else {
                Mode::Idle
            };
            self.next_at = now + self.interval();
        }
        self.answered_at = now;
        self.expires_at = now + self.patience();
    }

    /// Whether a check is due; the next one is then scheduled. `jitter` is 0..=255, for the fifth by which RFC 7675
    /// varies the interval.
    pub(crate) fn poll(&mut self, now: Instant, jitter: u8) -> bool {
        if now < self.next_at {
            return false;
        }
        let interval = self.interval();
        self.next_at = now + interval * 4 / 5 + interval * 2 / 5 * u32::from(jitter) / 255;
        self.unanswered += 1;
        true
    }

    pub(crate) fn expired(&self, now: Instant) -> bool {
        now >= self.expires_at
    }

    pub(crate) fn next_at(&self) -> Instant {
        self.next_at.min(self.expires_at)
    }

    fn patience(&self) -> Duration {
        match self.mode {
            Mode::Idle => self.timing.consent_expiry,
            Mode::Active => self.timing.liveness_expiry,
            Mode::Doubt => DOUBT_EXPIRY,
        }
    }

    fn interval(&self) -> Duration {
        match self.mode {
            Mode::Idle => self.timing.consent_interval,
            // A check that was lost is repeated sooner, so that loss alone does not end a path.
            Mode::Active if self.unanswered > 1 => self.timing.liveness_interval / 2,
            Mode::Active => self.timing.liveness_interval,
            Mode::Doubt => DOUBT_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(consent: &mut Consent, from: Instant, answer_until: Instant) -> (u32, Instant) {
        let mut now = from;
        let mut sent = 0;
        loop {
            now = now.max(consent.next_at());
            if consent.expired(now) {
                return (sent, now);
            }
            if consent.poll(now, 128) {
                sent += 1;
                if now < answer_until {
                    consent.on_answer(now);
                }
            }
        }
    }

    #[test]
    fn an_idle_path_expires_after_thirty_seconds_of_silence() {
        let start = Instant::now();
        let mut consent = Consent::new(Timing::default(), start, false);
        let (sent, lost) = run(&mut consent, start, start);
        assert_eq!(lost, start + Duration::from_secs(30));
        assert!((5..=7).contains(&sent), "{sent}");
    }

    #[test]
    fn a_path_under_a_stream_is_lost_within_five_seconds_of_its_last_answer() {
        let start = Instant::now();
        let mut consent = Consent::new(Timing::default(), start, true);
        let silence = start + Duration::from_secs(20);
        let (_, lost) = run(&mut consent, start, silence);
        assert!(lost <= silence + Duration::from_secs(5));
    }

    #[test]
    fn becoming_active_does_not_end_a_path_that_was_asked_five_seconds_ago() {
        let start = Instant::now();
        let mut consent = Consent::new(Timing::default(), start, false);
        let later = start + Duration::from_millis(4900);
        consent.set_active(later, true);
        assert!(!consent.expired(later));
        assert!(consent.next_at() <= later + Timing::default().liveness_interval);
    }

    #[test]
    fn doubt_ends_with_an_answer() {
        let start = Instant::now();
        let mut consent = Consent::new(Timing::default(), start, false);
        consent.doubt(start);
        assert!(consent.poll(start, 0));
        consent.on_answer(start);
        assert_eq!(
            consent.next_at(),
            start + Timing::default().consent_interval
        );
        consent.doubt(start);
        let (_, lost) = run(&mut consent, start, start);
        assert_eq!(lost, start + DOUBT_EXPIRY);
    }
}
