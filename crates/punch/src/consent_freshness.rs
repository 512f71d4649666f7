//! Consent: asking again and again whether the peer still wants packets on the nominated path (RFC 7675), and noticing
//! soon when the path dies under a stream.
//!
//! While nothing moves the checks only keep the mappings of the NATs open and show that the path stands. Then they come
//! as rarely as keep-alives may (RFC 8445 section 11), and one end asks for both: whoever is asked has heard the peer,
//! and its answer keeps its own NAT open, so it puts its own check off. It no longer does so once a check of its own
//! has gone unanswered, so a path that is dead in one direction is found out by the end that cannot be heard. A NAT
//! that turns out to forget within such a rest has the checks come more often for good.
//!
//! Time in which this process did not run is no silence of the path: nobody asked then, and answers were not read.

use std::time::{Duration, Instant};

use crate::Timing;

/// Between two checks when there is reason to doubt the path.
const DOUBT_INTERVAL: Duration = Duration::from_millis(200);

/// Without an answer for so long, a path in doubt is lost.
const DOUBT_EXPIRY: Duration = Duration::from_secs(3);

/// When so many checks after a rest went unanswered it was not loss: a NAT has forgotten meanwhile, or there was an
/// outage.
const FORGOTTEN: u32 = 3;

/// How late a check is that was held up: this process was stopped, or had no processor.
const LATE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No stream moves: the path is asked rarely.
    Idle,
    /// Streams move, or the tunnel is being set up.
    Active,
    /// Something may have changed: the path is asked at once, and again soon.
    Doubt,
}

#[derive(Debug)]
pub(crate) struct Consent {
    timing: Timing,
    mode: Mode,
    active: bool,
    answered_at: Instant,
    doubted_at: Option<Instant>,
    expires_at: Instant,
    next_at: Instant,
    unanswered: u32,
    /// Whether a NAT on the path forgets sooner than [`Timing::consent_rest`].
    forgetful: bool,
    /// Varies the pauses, so that the checks of many paths do not fall together.
    jitter: u8,
}

impl Consent {
    /// Of a path that has just been confirmed. `forgetful` is what was learnt on one before.
    pub(crate) fn new(timing: Timing, now: Instant, active: bool, forgetful: bool) -> Self {
        let mode = if active { Mode::Active } else { Mode::Idle };
        let mut consent = Self {
            timing,
            mode,
            active,
            answered_at: now,
            doubted_at: None,
            expires_at: now,
            next_at: now,
            unanswered: 0,
            forgetful,
            jitter: 128,
        };
        consent.expires_at = now + consent.patience();
        consent.next_at = now + consent.interval();
        consent
    }

    /// Something happens now. If that is long after the next check was due, the path is asked first, and not lost
    /// before that could be answered.
    pub(crate) fn allow_for_lateness(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next_at());
        if late < LATE {
            return;
        }
        self.answered_at += late;
        self.next_at = now;
        self.expires_at = (self.expires_at + late).max(now + self.interval());
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
        self.doubted_at = Some(now);
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

    /// A check was answered; for how long the path was in doubt until now, if it was.
    pub(crate) fn on_answer(&mut self, now: Instant) -> Option<Duration> {
        self.unanswered = 0;
        let doubted = self.doubted_at.take();
        if self.mode == Mode::Doubt {
            self.mode = if self.active {
                Mode::Active
            } else {
                Mode::Idle
            };
            self.next_at = now + self.interval();
        } else if self.mode == Mode::Idle {
            self.next_at = now + self.varied_interval();
        }
        self.answered_at = now;
        self.expires_at = now + self.patience();
        doubted.map(|at| now.saturating_duration_since(at))
    }

    /// The peer has asked on this path, and is answered.
    pub(crate) fn on_request(&mut self, now: Instant) {
        if self.mode == Mode::Idle && self.unanswered == 0 {
            self.answered_at = now;
            self.expires_at = now + self.patience();
            // Later than the peer asks again, however much it varies that.
            self.next_at = now + self.interval() * 3 / 2;
        }
    }

    /// Whether a NAT on the path has turned out to forget soon.
    pub(crate) fn is_forgetful(&self) -> bool {
        self.forgetful
    }

    /// Whether a check is due; the next one is then scheduled. `jitter` is 0..=255, for the fifth by which RFC 7675
    /// varies the interval.
    pub(crate) fn poll(&mut self, now: Instant, jitter: u8) -> bool {
        if now < self.next_at {
            return false;
        }
        self.jitter = jitter;
        self.unanswered += 1;
        if self.mode == Mode::Idle && self.unanswered == FORGOTTEN {
            self.forgetful = true;
        }
        self.next_at = now + self.varied_interval();
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

    fn varied_interval(&self) -> Duration {
        let interval = self.interval();
        interval * 4 / 5 + interval * 2 / 5 * u32::from(self.jitter) / 255
    }

    fn interval(&self) -> Duration {
        match self.mode {
            Mode::Idle if self.unanswered > 0 => self.timing.consent_interval / 2,
            Mode::Idle if self.forgetful => self.timing.consent_interval,
            Mode::Idle => self.timing.consent_rest,
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

    fn idle(now: Instant) -> Consent {
        Consent::new(Timing::default(), now, false, false)
    }

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
                    let _ = consent.on_answer(now);
                }
            }
        }
    }

    #[test]
    fn an_idle_path_expires_after_thirty_seconds_of_silence() {
        let start = Instant::now();
        let mut consent = idle(start);
        let (sent, lost) = run(&mut consent, start, start);
        assert_eq!(lost, start + Duration::from_secs(30));
        // One after the rest, and then one every two and a half seconds.
        assert!((5..=7).contains(&sent), "{sent}");
    }

    #[test]
    fn a_path_under_a_stream_is_lost_within_five_seconds_of_its_last_answer() {
        let start = Instant::now();
        let mut consent = Consent::new(Timing::default(), start, true, false);
        let silence = start + Duration::from_secs(20);
        let (_, lost) = run(&mut consent, start, silence);
        assert!(lost <= silence + Duration::from_secs(5));
    }

    #[test]
    fn becoming_active_does_not_end_a_path_that_was_asked_five_seconds_ago() {
        let start = Instant::now();
        let mut consent = idle(start);
        let later = start + Duration::from_millis(4900);
        consent.set_active(later, true);
        assert!(!consent.expired(later));
        assert!(consent.next_at() <= later + Timing::default().liveness_interval);
    }

    #[test]
    fn doubt_ends_with_an_answer() {
        let start = Instant::now();
        let mut consent = idle(start);
        consent.doubt(start);
        assert!(consent.poll(start, 0));
        assert_eq!(consent.on_answer(start), Some(Duration::ZERO));
        assert_eq!(consent.next_at(), start + Timing::default().consent_rest);
        consent.doubt(start);
        let (_, lost) = run(&mut consent, start, start);
        assert_eq!(lost, start + DOUBT_EXPIRY);
    }

    const STOP: Duration = Duration::from_secs(60);

    #[test]
    fn path_is_asked_and_given_time_for_an_answer_after_this_process_was_stopped() {
        let start = Instant::now();
        for active in [true, false] {
            let mut consent = Consent::new(Timing::default(), start, active, false);
            let left = consent.expires_at - consent.next_at;
            let now = consent.next_at + STOP;
            consent.allow_for_lateness(now);
            // The same again is no other delay.
            consent.allow_for_lateness(now);
            let (sent, lost) = run(&mut consent, now, now);
            assert!(sent >= 3 && lost == now + left, "{sent}, {:?}", lost - now);
        }
    }

    #[test]
    fn path_that_was_about_to_be_lost_when_this_process_was_stopped_is_asked_once_more() {
        let start = Instant::now();
        let mut consent = Consent::new(Timing::default(), start, true, false);
        while consent.next_at < consent.expires_at {
            assert!(consent.poll(consent.next_at, 255));
        }
        let now = consent.expires_at + STOP;
        consent.allow_for_lateness(now);
        assert!(!consent.expired(now) && consent.poll(now, 255));
        assert!(consent.expired(now + Timing::default().liveness_interval));
    }

    #[test]
    fn stop_of_this_process_is_no_silence_whatever_is_heard_first_after_it() {
        type Then = fn(&mut Consent, Instant);
        let nexts: [Then; 3] = [
            Consent::doubt,
            |consent, now| consent.set_active(now, false),
            |consent, now| consent.set_active(now, true),
        ];
        for next in nexts {
            let start = Instant::now();
            let mut consent = Consent::new(Timing::default(), start, true, false);
            let now = start + STOP;
            consent.allow_for_lateness(now);
            next(&mut consent, now);
            assert!(!consent.expired(now) && consent.poll(now, 0));
        }
    }

    #[test]
    fn an_idle_path_is_checked_every_fifteen_seconds_or_so() {
        let start = Instant::now();
        let mut consent = idle(start);
        let mut now = start;
        for _ in 0..100 {
            now = consent.next_at();
            assert!(consent.poll(now, 128));
            assert_eq!(consent.on_answer(now), None);
        }
        let passed = (now - start).as_secs();
        assert!((1_490..=1_510).contains(&passed), "{passed}");
        assert!(!consent.is_forgetful());
    }

    #[test]
    fn whoever_is_asked_does_not_ask() {
        let start = Instant::now();
        let mut consent = idle(start);
        consent.on_request(start);
        let mut now = start;
        for _ in 0..100 {
            // The peer's longest pause.
            now += Timing::default().consent_rest * 6 / 5;
            assert!(!consent.poll(now, 0) && !consent.expired(now));
            consent.on_request(now);
        }
        let (sent, lost) = run(&mut consent, now, now);
        assert!(sent > 0);
        assert_eq!(lost, now + Timing::default().consent_expiry);
    }

    #[test]
    fn being_asked_does_not_hide_that_ones_own_checks_go_unanswered() {
        let start = Instant::now();
        let mut consent = idle(start);
        assert!(consent.poll(start + Timing::default().consent_rest, 128));
        for second in 15..30 {
            consent.on_request(start + Duration::from_secs(second));
        }
        assert!(consent.expired(start + Timing::default().consent_expiry));
    }

    #[test]
    fn where_a_nat_forgets_within_the_rest_the_rests_are_shorter_from_then_on() {
        let start = Instant::now();
        let mut consent = idle(start);
        let mut now = start;
        for _ in 0..FORGOTTEN {
            now = consent.next_at();
            assert!(consent.poll(now, 128));
        }
        assert_eq!(consent.on_answer(now), None);
        assert!(consent.is_forgetful());
        let shorter = consent.next_at() - now;
        assert!(shorter <= Timing::default().consent_interval * 6 / 5);
        let next = Consent::new(Timing::default(), now, false, consent.is_forgetful());
        assert_eq!(next.next_at() - now, Timing::default().consent_interval);
    }
}
