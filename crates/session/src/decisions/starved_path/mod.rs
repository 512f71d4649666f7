//! A way that carries far less than another would: a direct path, a nearer relay than the home's, a relay over UDP.
//!
//! Some networks let UDP between peers pass and police it to a fraction of what they give TCP. Small messages do well
//! there and bulk starves. So when the streams want to send more than the direct path takes, and that loses much of
//! what is sent, the relay is tried, over TCP if that can be: if it carries at least [`GAIN`] times as much it is kept
//! for a while, and then the direct path is tried again. Meanwhile both ends look for a direct path by TCP, which takes
//! the relay's place as soon as it stands. Each end judges what it sends. Where there is no relay, the streams stay,
//! and a direct path by TCP is all that is looked for.
//!
//! A way may be policed so hard that it goes silent before anything can be measured, or be cut off by a box each time
//! that it is used for a while, and answers again as soon as the streams have left it. Once proves nothing, since a NAT
//! that forgets looks the same. Twice within [`AGAIN`] is as good as a measurement, and of a relay three times, which
//! binds its leg over TCP by itself meanwhile.
//!
//! A relay besides the home's is judged in the same way, against the home's: it may have a full line, or answer what
//! is small and drop the rest. So is the relay over UDP, against itself over TCP. Here the way that the streams have is
//! the *first*, and the other one the *second*.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_punch::Pace;

use super::io::{Counters, Flow};

/// The streams want to send more when so much of theirs is not acknowledged, in bytes.
const HUNGRY: u64 = 32 << 10;

/// For so long they must have wanted it, twice in a row. What the first of these times saw may have begun in its midst,
/// and so the second alone tells what the path carries.
const WINDOW: Duration = Duration::from_millis(1_500);

/// A path that carries as much as this is not left, in bytes a second: 8 Mbit/s.
const ENOUGH: f64 = 1e6;

/// Nor is one that loses less than this share of its packets. A slow line of one's own queues, and no relay helps.
const LOSSY: f64 = 0.1;

/// Before the second way's rate counts: it begins slowly, and what was sent on the first is sent again.
const SETTLE: Duration = Duration::from_millis(1_500);

/// For so long it is measured at a time.
const MEASURE: Duration = Duration::from_secs(3);

/// The second way was no better if none of its measurements was within this time: the peer may hear late that its leg
/// should be carried over TCP, since that is said on paths that lose most of what is sent.
const PATIENT: Duration = Duration::from_secs(15);

/// For how long the relay's leg is carried over TCP for a trial.
pub(super) const TRIAL: Duration = Duration::from_secs(30);

/// The second way is kept if it carries so many times as much.
const GAIN: f64 = 2.0;

/// Fewer packets than this are no share of anything.
const FEW: u64 = 30;

/// Silences within this time of one another are no accident. It is less than some NATs' mappings live: these are found
/// again, and TCP's would be lost with them.
const AGAIN: Duration = Duration::from_secs(45);

/// Beginnings that the peer may ask for at once, and after these one in each such time. Each makes a connection to the
/// relay and a series of dials. A peer in outages soon after one another may want more; this end judges for itself too.
const PEERS: u32 = 4;
const PEERS_EVERY: Duration = Duration::from_secs(20);

/// How long the second way is kept, and how long it is left alone when it was no better: at first, and at the most.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The second way is to be tried, for this reason.
    Try(String),
    /// There is no second way: for so long a direct path by TCP is to be looked for, for this reason.
    Seek(Duration, String),
    /// It is kept for so long, for this reason.
    Keep(Duration, String),
    /// The first way is to be used again.
    Back,
}

/// Which of both carries more, as far as it was tried.
#[derive(Debug)]
pub(super) struct Starvation {
    words: Words,
    state: State,
    /// For how long the outcome of the next trial counts.
    pause: Duration,
    /// Until when nothing is tried.
    rest_until: Option<Instant>,
    /// Since when the streams have wanted more than the first way takes.
    hungry: Option<Mark>,
    /// How often it went silent while they did, each time soon after the one before, and when it did last.
    silences: Option<(u32, Instant)>,
    /// So many of these are as good as a measurement.
    proof: u32,
}

/// The ways that may starve.
#[derive(Debug)]
pub(super) struct Starving {
    /// The direct path, against the relay.
    pub(super) direct: Starvation,
    /// The nearer relay, against the home's.
    pub(super) near: Starvation,
    /// The relay over UDP, against itself over TCP.
    pub(super) relay: Starvation,
    /// Until when this end has UDP avoided, or had; none if it never has.
    pub(super) avoids_until: Option<Instant>,
    pub(super) of_peer: PeersWish,
    /// When the nearer relay's tunnel was suspect last.
    pub(super) near_suspect_at: Option<Instant>,
    /// The other end of the nominated path, if that is by TCP.
    pub(super) by_tcp: Option<SocketAddr>,
}

impl Default for Starving {
    fn default() -> Self {
        Self {
            direct: Starvation::of_direct_path(),
            near: Starvation::of_near_relay(),
            relay: Starvation::of_relay(),
            avoids_until: None,
            of_peer: PeersWish::default(),
            near_suspect_at: None,
            by_tcp: None,
        }
    }
}

/// What the peer wants to be avoided, which is bounded: whatever it says again and again costs this end little.
#[derive(Debug, Default)]
pub(super) struct PeersWish {
    until: Option<Instant>,
    /// How often it may begin, since it has first.
    beginnings: Option<Pace>,
}

impl PeersWish {
    /// The peer wants UDP to be avoided for so long from now on, or no more; whether that is done.
    pub(super) fn take(&mut self, time: Duration, now: Instant) -> bool {
        let begins = !time.is_zero() && self.until.is_none_or(|until| until <= now);
        let pace = || Pace::new(PEERS_EVERY, PEERS, now);
        if begins && !self.beginnings.get_or_insert_with(pace).take(now) {
            return false;
        }
        self.until = Some(now + time);
        true
    }
}

/// What a person knows the two ways by.
#[derive(Debug, Clone, Copy)]
struct Words {
    first: &'static str,
    second: &'static str,
    /// The second, where it carries the streams.
    it: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The first way is used; what was seen of it, if the streams want more.
    First(Option<Window>),
    /// The first is used though it starves, since there is no second; a direct path by TCP is looked for until then.
    /// `measured` says that it is known to starve. Else it has gone silent, which may be an outage.
    Seeking { until: Instant, measured: bool },
    /// The second carries the streams, to be compared with the first.
    Trial(Trial),
    /// The second carries them, since it was far better; the first is tried again then.
    Yielded { until: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    began: Instant,
    /// What the first way carried, in bytes a second.
    first: f64,
    /// Where the measurement began; none before the streams have moved.
    from: Option<Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    from: Mark,
    /// Whether the one before was poor.
    again: bool,
}

/// A first way that is to be left.
#[derive(Debug)]
struct Poor {
    /// What it carried, in bytes a second.
    carried: f64,
    why: String,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    delivered: u64,
    sent: u64,
    lost: u64,
}

impl Mark {
    fn new(flow: Flow, counters: Option<&Counters>, now: Instant) -> Self {
        Self {
            at: now,
            delivered: flow.delivered,
            sent: counters.map_or(0, |counters| counters.packets_sent),
            lost: counters.map_or(0, |counters| counters.packets_lost),
        }
    }
}

impl Starvation {
    fn of_direct_path() -> Self {
        Self::new(
            Words {
                first: "the direct path",
                second: "the relay",
                it: "it",
            },
            2,
        )
    }

    fn of_near_relay() -> Self {
        Self::new(
            Words {
                first: "the nearer relay",
                second: "the home's",
                it: "it",
            },
            2,
        )
    }

    fn of_relay() -> Self {
        Self::new(
            Words {
                first: "the relay over UDP",
                second: "TCP",
                it: "TCP",
            },
            3,
        )
    }

    fn new(words: Words, proof: u32) -> Self {
        Self {
            words,
            state: State::First(None),
            pause: FIRST,
            rest_until: None,
            hungry: None,
            silences: None,
            proof,
        }
    }

    /// Whether the streams are to use the second way though the first is up.
    pub(super) fn prefers_second(&self) -> bool {
        !matches!(self.state, State::First(_) | State::Seeking { .. })
    }

    /// Looks at what was delivered. `first` has the counters of the tunnel on the first way, if the streams use it,
    /// `second` says whether one on the second is up and answers.
    pub(super) fn look(
        &mut self,
        flow: Flow,
        first: Option<&Counters>,
        second: bool,
        now: Instant,
    ) -> Option<Verdict> {
        let hungry = flow.held >= HUNGRY;
        let first = first.filter(|_| hungry);
        let mark = Mark::new(flow, first, now);
        self.hungry = first.map(|_| self.hungry.unwrap_or(mark));
        match self.state {
            State::First(window) => {
                let Some(counters) = first.filter(|_| !self.rests(now)) else {
                    self.state = State::First(None);
                    return None;
                };
                let poor = self.look_at_first(window, Mark::new(flow, Some(counters), now))?;
                Some(self.leave_first(poor, second, true, now))
            }
            // There is one by now.
            State::Seeking { .. } if second => {
                self.state = State::First(None);
                None
            }
            State::Seeking { until, .. } => {
                if now >= until {
                    self.lengthen_pause();
                    self.state = State::First(None);
                }
                None
            }
            // As good as one that carries nothing, so it is left alone for a while.
            State::Trial(trial) if !second => Some(self.judge_second(trial.first, 0.0, now)),
            State::Trial(trial) => self.look_at_second(trial, flow, now),
            State::Yielded { until } if !second || now >= until => self.go_back(),
            State::Yielded { .. } => None,
        }
    }

    /// The first way has gone silent while the streams were using it. `alone` says that it did so by itself, as far as
    /// can be known, rather than with all of this host's network; under load it counts in any case.
    pub(super) fn on_silent(
        &mut self,
        flow: Flow,
        second: bool,
        alone: bool,
        now: Instant,
    ) -> Option<Verdict> {
        let hungry = self.hungry.take().filter(|_| flow.held >= HUNGRY);
        let counts = hungry.is_some() || alone && flow.held > 0;
        if !counts || !matches!(self.state, State::First(_)) || self.rests(now) {
            return None;
        }
        // Whatever carried as much as this was not policed: it has gone away.
        let much = |from| rate(from, Mark::new(flow, None, now)) >= ENOUGH;
        let poor = !hungry.is_some_and(much);
        let before = self.silences.filter(|(_, at)| now < *at + AGAIN);
        let count = before.map_or(0, |(count, _)| count) + 1;
        self.silences = poor.then_some((count, now));
        if !poor || count < self.proof {
            return None;
        }
        let why = format!(
            "{} goes silent again and again while it is used",
            self.words.first
        );
        Some(self.leave_first(Poor { carried: 0.0, why }, second, false, now))
    }

    fn rests(&self, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| now < until)
    }

    /// For how long what is found now counts; longer the next time.
    fn lengthen_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        pause
    }

    /// The streams want more than the first way carries, since the window began.
    fn look_at_first(&mut self, window: Option<Window>, mark: Mark) -> Option<Poor> {
        // A stream that has ended takes its count along, and another tunnel has counters of its own.
        let window = window.filter(|Window { from, .. }| {
            from.delivered <= mark.delivered && from.sent <= mark.sent
        });
        let window = window.unwrap_or(Window {
            from: mark,
            again: false,
        });
        self.state = State::First(Some(window));
        self.judge_first(window, mark)
    }

    /// The first way is poor: the streams leave it if there is a second.
    fn leave_first(
        &mut self,
        Poor { carried, why }: Poor,
        second: bool,
        measured: bool,
        now: Instant,
    ) -> Verdict {
        if !second {
            // The search makes pauses of its own. It costs the streams nothing, and the peer may hear late of it.
            let time = (self.pause * 2).min(LONGEST);
            let until = now + time;
            self.state = State::Seeking { until, measured };
            let why = format!("{why}; a direct path by TCP is looked for");
            return Verdict::Seek(time, why);
        }
        self.state = State::Trial(Trial {
            began: now,
            first: carried,
            from: None,
        });
        Verdict::Try(format!("{why}; {} is tried", self.words.second))
    }

    /// The second way carries the streams, to be measured once they have settled there.
    fn look_at_second(&mut self, mut trial: Trial, flow: Flow, now: Instant) -> Option<Verdict> {
        let hungry = flow.held >= HUNGRY;
        if trial.from.is_none() && hungry && now - trial.began < SETTLE {
            return None;
        }
        let mark = Mark::new(flow, None, now);
        let from = *trial.from.get_or_insert(mark);
        self.state = State::Trial(trial);
        if hungry && now - from.at < MEASURE {
            return None;
        }
        // Whoever wants no more before it could be measured has got all there was.
        let second = if hungry { rate(from, mark) } else { f64::MAX };
        if !is_worth_it(second, trial.first) && now - trial.began < PATIENT {
            trial.from = Some(mark);
            self.state = State::Trial(trial);
            return None;
        }
        Some(self.judge_second(trial.first, second, now))
    }

    /// The first way answers again, or is lost, before TCP has got through while it was silent: that may have been an
    /// outage, after which UDP is as good as before.
    pub(super) fn on_silence_over(&mut self) -> Option<Verdict> {
        match self.state {
            State::Seeking {
                measured: false, ..
            } => self.go_back(),
            _ => None,
        }
    }

    /// A direct path by TCP stands, and its tunnel is up. Streams that were to use the relay use that one, and UDP is
    /// avoided as long as the relay would have been kept.
    pub(super) fn on_direct_by_tcp(&mut self) -> Option<Verdict> {
        if matches!(self.state, State::First(_)) {
            return None;
        }
        let pause = self.lengthen_pause();
        self.state = State::First(None);
        let seconds = pause.as_secs();
        let why = format!("TCP goes directly; UDP is tried again in {seconds} s");
        Some(Verdict::Keep(pause, why))
    }

    /// Another network, or another first way: what was found counts no more.
    pub(super) fn start_anew(&mut self) -> Option<Verdict> {
        let yielded = self.prefers_second();
        *self = Self::new(self.words, self.proof);
        yielded.then_some(Verdict::Back)
    }

    fn judge_first(&mut self, window: Window, mark: Mark) -> Option<Poor> {
        let since = window.from;
        if mark.at - since.at < WINDOW || mark.sent - since.sent < FEW {
            return None;
        }
        let carried = rate(since, mark);
        let sent = mark.sent - since.sent;
        let lost = mark.lost.saturating_sub(since.lost) as f64 / sent.max(1) as f64;
        let poor = carried < ENOUGH && lost >= LOSSY;
        if !poor || !window.again {
            self.state = State::First(Some(Window {
                from: mark,
                again: poor,
            }));
            return None;
        }
        // Some of what is known as lost now was sent before.
        let (first, percent) = (self.words.first, lost.min(1.0) * 100.0);
        let much = mbits(carried);
        let why = format!("{first} carries {much} and loses {percent:.0} % of its packets");
        Some(Poor { carried, why })
    }

    fn judge_second(&mut self, first: f64, second: f64, now: Instant) -> Verdict {
        let pause = self.lengthen_pause();
        if !is_worth_it(second, first) {
            self.rest_until = Some(now + pause);
            self.state = State::First(None);
            return Verdict::Back;
        }
        let until = now + pause;
        self.state = State::Yielded { until };
        let more = match second {
            f64::MAX => "all there was".to_owned(),
            second => mbits(second),
        };
        let Words {
            first: name, it, ..
        } = self.words;
        let (first, seconds) = (mbits(first), pause.as_secs());
        let why =
            format!("{it} carries {more}, {name} {first}, which is tried again in {seconds} s");
        Verdict::Keep(pause, why)
    }

    fn go_back(&mut self) -> Option<Verdict> {
        self.state = State::First(None);
        Some(Verdict::Back)
    }
}

/// Whether the second carries so much more that it is kept. A peer whose program reads nothing gets nothing by either.
fn is_worth_it(second: f64, first: f64) -> bool {
    second >= (first * GAIN).max(1.0)
}

/// How fast bytes were acknowledged between the two, in bytes a second.
fn rate(from: Mark, to: Mark) -> f64 {
    let took = (to.at - from.at).as_secs_f64().max(1e-3);
    to.delivered.saturating_sub(from.delivered) as f64 / took
}

fn mbits(rate: f64) -> String {
    format!("{:.1} Mbit/s", rate * 8e-6)
}

#[cfg(test)]
mod tests;
