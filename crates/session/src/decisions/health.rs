//! Whether a tunnel is alive, judged by what it sends and hears.
//!
//! QUIC repeats what is not acknowledged, later and later, and gives a connection up only after a long silence. A
//! debugger should not wait for that while another tunnel stands by. A tunnel that has been sending for longer than an
//! answer takes and has heard nothing is *silent*: it is asked, and so is everything that could take its place. If it
//! stays so it is *suspect*, and its streams go elsewhere. It is trusted again once it has been heard for as long as it
//! must, twice as long after each relapse, so that a path that comes and goes does not make the streams do the same.
//!
//! To hear is not to be heard: where datagrams are lost in one direction alone, the end that sends them hears the other
//! one repeat itself, and finds nothing wrong. So each end says on the tunnel for how long it has not been answered
//! ([`TunnelHealth::on_pulse`]), and whoever hears that takes the other's silence for its own.
//!
//! Time in which this process did not run does not count as the peer's silence: see [`TunnelHealth::forgive`]. Nor is
//! it the network's fault that the peer was not answered then: what it said meanwhile is read afterwards, and counts
//! from a time on at which this process is known to have run: see [`Attention`].

use std::time::{Duration, Instant};

use p2pdbg_base::Probation;

use super::io::Counters;

/// Sending without hearing anything for so long makes a tunnel silent, besides two round trips: QUIC acknowledges
/// within 25 ms.
const ANSWER: Duration = Duration::from_millis(120);

/// Sending without hearing anything for so long makes a tunnel suspect, besides three round trips. In that time QUIC
/// repeats itself three times and is asked eight times more; a fifth of all datagrams lost does not silence that.
const PATIENCE: Duration = Duration::from_millis(800);

/// What the other end said of its silence holds for so long, unless it says something else.
const PULSE_HOLDS: Duration = Duration::from_secs(3);

/// More than this the other end need not say of its silence.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// The longest round trip that is taken into account.
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(1200);

/// Where streams move, something is taken in at least so often, by the looks alone; after a longer pause it is not
/// known whether this process ran.
const ATTENTIVE: Duration = Duration::from_millis(200);

/// Since when this process is known to have run, by what it took in.
#[derive(Debug, Default)]
pub(super) struct Attention {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Attention {
    /// Something is taken in now.
    pub(super) fn note(&mut self, now: Instant) {
        let last = self.last.replace(now);
        if last.is_none_or(|last| now.saturating_duration_since(last) > ATTENTIVE) {
            self.since = Some(now);
        }
    }

    /// This process has slept until now, as was noticed elsewhere.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Since when it has run without a pause.
    pub(super) fn since(&self, now: Instant) -> Instant {
        self.since.unwrap_or(now)
    }
}

/// What was seen of a tunnel.
#[derive(Debug)]
pub(super) struct TunnelHealth {
    heard: u64,
    sent: u64,
    /// The look that heard something last.
    heard_at: Instant,
    /// Since when it has been sending without hearing anything.
    unanswered_since: Option<Instant>,
    /// Since when the other end has been sending without hearing anything, and when it said so.
    unheard_there: Option<(Instant, Instant)>,
    /// Whether the other end was told last that nothing is heard here.
    complained: bool,
    suspect: Option<Suspicion>,
    /// For how long it must be heard before it is trusted again.
    probation: Probation,
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
    /// It has not answered for so long that streams move to another that does.
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
            unheard_there: None,
            complained: false,
            suspect: None,
            probation: Probation::default(),
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

    /// Whether it sends and has heard nothing since, or is not heard.
    pub(super) fn is_unanswered(&self) -> bool {
        self.silent_from().is_some()
    }

    /// Since when it was silent, at this end or the other, if the last look found it so.
    pub(super) fn mute_since(&self, rtt: Duration, now: Instant) -> Option<Instant> {
        let silent = |since: &Instant| now.saturating_duration_since(*since) >= silence(rtt);
        self.silent_from().filter(silent)
    }

    fn silent_from(&self) -> Option<Instant> {
        let there = self.unheard_there.map(|(since, _)| since);
        self.unanswered_since.into_iter().chain(there).min()
    }

    /// For how long this end has been sending without hearing anything: what the other end is told.
    pub(super) fn unanswered(&mut self, now: Instant) -> Duration {
        let since = self.unanswered_since;
        let silence = since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.complained = silence >= ANSWER;
        silence
    }

    /// Whether the other end is to be told that it is heard again.
    pub(super) fn owes_pulse(&self) -> bool {
        self.complained && self.unanswered_since.is_none()
    }

    /// The other end says for how long it has not been answered, while this process has run since `attentive`.
    pub(super) fn on_pulse(&mut self, unanswered: Duration, attentive: Instant, now: Instant) {
        // What is shorter may be answered by now. The peer may say what it likes, and harms its own streams.
        let unanswered = unanswered.min(LONGEST_SILENCE);
        let since = now.checked_sub(unanswered).filter(|_| unanswered >= ANSWER);
        // Where it goes on saying so, what was taken back of that silence stays so.
        let before = self.unheard_there.filter(|there| holds(there, now));
        let least = before.map_or(attentive, |(before, _)| before);
        self.unheard_there = since.map(|since| (since.max(least), now));
    }

    /// Takes back what was held against it: this process did not run in the meantime, so it could not hear anything.
    pub(super) fn forgive(&mut self, now: Instant) {
        if let Some(since) = &mut self.unanswered_since {
            *since = now;
        }
        self.unheard_there = None;
    }

    /// Takes back so much of its silence, at either end: this process was late by that.
    pub(super) fn excuse(&mut self, late: Duration, now: Instant) {
        let there = self.unheard_there.as_mut().map(|(since, _)| since);
        for since in self.unanswered_since.as_mut().into_iter().chain(there) {
            *since = (*since + late).min(now);
        }
    }

    /// Since when it has not answered, if it is suspect and still does not.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silent_from().filter(|_| self.is_suspect())
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
        self.unheard_there = self.unheard_there.filter(|there| holds(there, now));
        let limit = PATIENCE + 3 * rtt.min(LONGEST_ROUND_TRIP);
        let unanswered = self
            .silent_from()
            .map(|since| now.saturating_duration_since(since));
        match (&mut self.suspect, unanswered) {
            (None, Some(unanswered)) if unanswered >= limit => {
                self.suspect = Some(Suspicion { heard_since: None });
                Health::Suspect
            }
            (None, Some(unanswered)) if unanswered >= silence(rtt) => Health::Silent,
            (None, Some(_)) => Health::Asked,
            (None, None) => Health::Good,
            (Some(suspicion), Some(_)) => {
                suspicion.heard_since = None;
                Health::Suspect
            }
            (Some(suspicion), None) => {
                let since = *suspicion.heard_since.get_or_insert(now);
                if now.saturating_duration_since(since) < self.probation.lasts() {
                    return Health::Suspect;
                }
                self.suspect = None;
                self.probation = self.probation.longer();
                Health::Good
            }
        }
    }
}

/// Whether what the other end said of its silence is not too old.
fn holds((_, said): &(Instant, Instant), now: Instant) -> bool {
    now.saturating_duration_since(*said) < PULSE_HOLDS
}

/// For how long a tunnel must have sent without an answer to be silent.
fn silence(rtt: Duration) -> Duration {
    ANSWER + 2 * rtt.min(LONGEST_ROUND_TRIP)
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
            // So that there is a time before.
            let now = Instant::now() + Duration::from_secs(60);
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

        /// The other end says so, and this process has run for a minute.
        fn pulse(&mut self, unanswered: Duration) {
            let attentive = self.now - Duration::from_secs(60);
            self.health.on_pulse(unanswered, attentive, self.now);
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
    fn tunnel_that_is_heard_and_that_the_peer_does_not_hear_is_silent_and_then_suspect() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        watch.pulse(ANSWER + 2 * RTT);
        assert_eq!(watch.look(true), Health::Silent);
        watch.look(true);
        watch.pulse(PATIENCE + 3 * RTT);
        assert_eq!(watch.look(true), Health::Suspect);
        assert!(watch.health.is_unanswered());
        watch.pulse(Duration::ZERO);
        assert!(!watch.health.is_unanswered());
        assert_eq!(watch.pass(4, true), Health::Good);
    }

    #[test]
    fn what_the_peer_said_of_its_silence_does_not_hold_for_ever() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        watch.pulse(ANSWER + 2 * RTT);
        watch.now += PULSE_HOLDS;
        assert_eq!(watch.look(true), Health::Good);
    }

    #[test]
    fn what_the_peer_said_while_this_process_did_not_run_counts_from_when_it_does() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        watch.now += Duration::from_secs(3);
        watch.health.forgive(watch.now);
        for unanswered in [500, 1_500, 2_500] {
            let unanswered = Duration::from_millis(unanswered);
            watch.health.on_pulse(unanswered, watch.now, watch.now);
        }
        assert_eq!(watch.health.silent_from(), Some(watch.now));
        // It goes on.
        let resumed = watch.now;
        watch.look(true);
        watch.pulse(Duration::from_millis(2_750));
        assert_eq!(watch.health.silent_from(), Some(resumed));
        assert_eq!(watch.pass(1, true), Health::Suspect);
    }

    #[test]
    fn delay_of_this_process_is_taken_off_the_silence_that_the_peer_tells_of_too() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        watch.pulse(Duration::from_millis(300));
        let since = watch.now - Duration::from_millis(300);
        let late = Duration::from_millis(400);
        watch.now += late;
        watch.health.excuse(late, watch.now);
        watch.pulse(Duration::from_millis(700));
        assert_eq!(watch.health.silent_from(), Some(since + late));
    }

    #[test]
    fn process_is_known_to_have_run_where_something_was_taken_in_all_the_time() {
        let (began, mut attention) = (Instant::now(), Attention::default());
        assert_eq!(attention.since(began), began);
        let mut now = began;
        for _ in 0..20 {
            attention.note(now);
            now += ATTENTIVE;
        }
        assert_eq!(attention.since(now), began);
        now += ATTENTIVE;
        attention.note(now);
        assert_eq!(attention.since(now), now);
        now += ATTENTIVE / 2;
        attention.begin_anew(now);
        assert_eq!(attention.since(now), now);
    }

    #[test]
    fn peer_that_was_told_of_silence_is_told_when_it_is_over() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        watch.look(false);
        watch.look(false);
        assert_eq!(
            watch.health.unanswered(watch.now),
            Duration::from_millis(250)
        );
        assert!(!watch.health.owes_pulse());
        watch.look(true);
        assert!(watch.health.owes_pulse());
        assert_eq!(watch.health.unanswered(watch.now), Duration::ZERO);
        assert!(!watch.health.owes_pulse());
    }

    #[test]
    fn delay_of_this_process_is_taken_off_the_silence() {
        let mut watch = Watch::new();
        watch.pass(1, true);
        for _ in 0..8 {
            watch.look(false);
            watch.now += Duration::from_millis(500);
            watch.health.excuse(Duration::from_millis(500), watch.now);
        }
        assert_eq!(
            watch.health.unanswered(watch.now),
            Duration::from_millis(1750)
        );
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
