//! Whether a tunnel is alive, judged by what it sends and hears.
//!
//! QUIC repeats what is not acknowledged, later and later, and gives a connection up only after a long silence. A
//! debugger should not wait for that while another tunnel stands by. A tunnel that has been sending for longer than an
//! answer takes and has heard nothing is *silent*: it is asked, and so is everything that could take its place. If it
//! stays so it is *suspect*, and its streams go elsewhere. It is trusted again once it has been heard for as long as it
//! must, twice as long after each relapse, so that a path that comes and goes does not make the streams do the same.
//!
//! Time in which this process did not run does not count as the peer's silence: see [`TunnelHealth::forgive`].

use std::time::{Duration, Instant};

use super::io::Counters;

/// Sending without hearing anything for so long makes a tunnel silent, besides two round trips: QUIC acknowledges
/// within 25 ms.
const ANSWER: Duration = Duration::from_millis(120);

/// Sending without hearing anything for so long makes a tunnel suspect, besides three round trips. In that time QUIC
/// repeats itself three times and is asked eight times more; a fifth of all datagrams lost does not silence that.
const PATIENCE: Duration = Duration::from_millis(800);

/// The longest round trip that is taken into account.
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(1200);

/// A suspect tunnel must be heard for so long before it is trusted, the first time.
const PROBATION: Duration = Duration::from_secs(3);

/// The longest probation.
const LONGEST_PROBATION: Duration = Duration::from_secs(60);

/// What was seen of a tunnel.
#[derive(Debug)]
pub(super) struct TunnelHealth {
    heard: u64,
    sent: u64,
    /// The look that heard something last.
    heard_at: Instant,
    /// Since when it has been sending without hearing anything.
    unanswered_since: Option<Instant>,
    suspect: Option<Suspicion>,
    probation: Duration,
}

#[derive(Debug)]
struct Suspicion {
    /// Since when it has been heard again.
    heard_since: Option<Instant>,
}

/// How a tunnel is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It answers, or has not been asked anything.
    Good,
    /// It has been asked, and its answer may still come: look again soon.
    Asked,
    /// It has not answered lately: ask again.
    Silent,
    /// It does not answer.
    Suspect,
}

impl TunnelHealth {
    /// A tunnel that has just come up.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: 0,
            sent: 0,
            heard_at: now,
            unanswered_since: None,
            suspect: None,
            probation: PROBATION,
        }
    }

    /// Looks at a tunnel's counters; to be called a few times a second while anything depends on it.
    pub(super) fn look(&mut self, counters: &Counters, now: Instant) -> Health {
        self.judge(counters.heard, counters.sent, counters.rtt, now)
    }

    /// Whether the last look found it suspect.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// How many datagrams it had heard and sent at the last look, together.
    pub(super) fn total(&self) -> u64 {
        self.heard + self.sent
    }

    /// For how long nothing has been heard, as far as looks can tell.
    pub(super) fn unheard(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard_at)
    }

    /// Whether it sends and has heard nothing since.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered_since.is_some()
    }

    /// Takes back what was held against it: this process did not run in the meantime, so it could not hear anything.
    pub(super) fn forgive(&mut self, now: Instant) {
        if let Some(since) = &mut self.unanswered_since {
            *since = now;
        }
    }

    /// Since when it has not answered, if it is suspect and still does not.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.unanswered_since.filter(|_| self.is_suspect())
    }

    fn judge(&mut self, heard: u64, sent: u64, rtt: Duration, now: Instant) -> Health {
        if heard != self.heard {
            self.heard = heard;
            self.heard_at = now;
            self.unanswered_since = None;
        } else if sent != self.sent {
            self.unanswered_since.get_or_insert(now);
        }
        self.sent = sent;
        let rtt = rtt.min(LONGEST_ROUND_TRIP);
        let limit = PATIENCE + 3 * rtt;
        let silence = self
            .unanswered_since
            .map(|since| now.saturating_duration_since(since));
        match (&mut self.suspect, silence) {
            (None, Some(silence)) if silence >= limit => {
                self.suspect = Some(Suspicion { heard_since: None });
                Health::Suspect
            }
            (None, Some(silence)) if silence >= ANSWER + 2 * rtt => Health::Silent,
            (None, Some(_)) => Health::Asked,
            (None, None) => Health::Good,
            (Some(suspicion), Some(_)) => {
                suspicion.heard_since = None;
                Health::Suspect
            }
            (Some(suspicion), None) => {
                let since = *suspicion.heard_since.get_or_insert(now);
                if now.saturating_duration_since(since) < self.probation {
                    return Health::Suspect;
                }
                self.suspect = None;
                self.probation = (self.probation * 2).min(LONGEST_PROBATION);
                Health::Good
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    struct Watch {
        health: TunnelHealth,
        now: Instant,
        heard: u64,
        sent: u64,
    }

    impl Watch {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                health: TunnelHealth::new(now),
                now,
                heard: 0,
                sent: 0,
            }
        }

        /// Passes time in looks of a quarter of a second, sending all the time, hearing if `answered`.
        fn pass(&mut self, seconds: u32, answered: bool) -> Health {
            let mut health = Health::Good;
            for _ in 0..seconds * 4 {
                health = self.look(answered);
            }
            health
        }

        fn look(&mut self, answered: bool) -> Health {
            self.now += Duration::from_millis(250);
            self.sent += 1;
            self.heard += u64::from(answered);
            self.health.judge(self.heard, self.sent, RTT, self.now)
        }
    }

    #[test]
    fn a_tunnel_that_answers_is_good_for_ever() {
        assert_eq!(Watch::new().pass(600, true), Health::Good);
    }

    #[test]
    fn an_idle_tunnel_is_not_suspected() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        watch.now += Duration::from_secs(600);
        let health = watch.health.judge(watch.heard, watch.sent, RTT, watch.now);
        assert_eq!(health, Health::Good);
        let unheard = watch.health.unheard(watch.now);
        assert_eq!(unheard, Duration::from_secs(600));
    }

    #[test]
    fn silence_makes_a_tunnel_silent_and_then_suspect() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        assert_eq!(watch.look(false), Health::Asked);
        assert_eq!(watch.look(false), Health::Silent);
        assert_eq!(watch.pass(1, false), Health::Suspect);
    }

    #[test]
    fn time_in_which_this_process_did_not_run_is_not_held_against_the_peer() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        watch.look(false);
        watch.now += Duration::from_secs(60);
        watch.health.forgive(watch.now);
        assert_eq!(watch.look(false), Health::Silent);
        assert_eq!(watch.pass(2, false), Health::Suspect);
    }

    #[test]
    fn each_relapse_doubles_the_probation() {
        let mut watch = Watch::new();
        for probation in [3, 6, 12] {
            assert_eq!(watch.pass(3, false), Health::Suspect);
            assert_eq!(watch.pass(probation - 1, true), Health::Suspect);
            assert_eq!(watch.pass(2, true), Health::Good);
        }
    }
}
