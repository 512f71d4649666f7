//! Nomination by the controlling side (RFC 8445 section 8.1.1): when to stop waiting for a better pair, and asking the
//! other side to use the chosen one.

use std::time::{Duration, Instant};

use crate::{
    Path, Timing,
    check::Nominated,
    checklist::{Checklist, Measured},
    pair::PairKey,
};

/// Transmissions of a nomination before the pair is given up.
const MAX_TRIES: u32 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No path is nominated or asked for.
    Open,
    /// A pair is valid; a better one may follow shortly.
    Grace { until: Instant },
    /// The other side was asked and has not confirmed.
    Asking {
        key: PairKey,
        nominated: Nominated,
        tries: u32,
        at: Instant,
    },
}

/// What the controlling side should do about nomination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send a nominating check on this pair, repeated by whoever sends checks.
    Ask { key: PairKey, nominated: Nominated },
    /// The other side does not confirm on this pair, or cannot: a nomination is as long as a tunnel's datagram.
    GiveUp { key: PairKey },
}

#[derive(Debug)]
pub(crate) struct Nomination {
    state: State,
    timing: Timing,
    number: u32,
}

impl Nomination {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            state: State::Open,
            timing,
            number: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.state = State::Open;
    }

    /// Looks at the valid pairs. `current` is the path that stands, to be replaced only by one that is better by what
    /// was measured; `None` when any pair will do. `by_tcp`: one by TCP goes before all of UDP, which carries too
    /// little.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        checks: &Checklist,
        current: Option<&Path>,
        by_tcp: bool,
    ) -> Option<Step> {
        if let State::Asking {
            key,
            nominated,
            tries,
            at,
        } = self.state
        {
            if now < at {
                return None;
            }
            if tries >= MAX_TRIES {
                self.state = State::Open;
                return Some(Step::GiveUp { key });
            }
            self.state = State::Asking {
                key,
                nominated,
                tries: tries + 1,
                at: now + self.gap(checks, key),
            };
            return Some(Step::Ask { key, nominated });
        }
        let Some(Measured {
            key,
            technique,
            rtt,
        }) = best(now, checks, current, by_tcp)
        else {
            self.state = State::Open;
            return None;
        };
        let better_until = checks.better_until(now, technique, rtt).filter(|_| !by_tcp);
        if let Some(until) = self.grace(better_until, now) {
            self.state = State::Grace { until };
            return None;
        }
        self.number += 1;
        let nominated = Nominated {
            number: self.number,
            technique,
        };
        self.state = State::Asking {
            key,
            nominated,
            tries: 1,
            at: now + self.timing.check_interval.max(rtt / 2),
        };
        Some(Step::Ask { key, nominated })
    }

    /// Until when the best pair waits for a better one, which may turn up until `better_until`.
    fn grace(&self, better_until: Option<Instant>, now: Instant) -> Option<Instant> {
        let better_until = better_until?;
        let until = match self.state {
            State::Grace { until } => until,
            _ => better_until.min(now + self.timing.nomination_grace),
        };
        (now < until).then_some(until)
    }

    /// To the next transmission of a nomination: on a slow path, many at once say no more.
    fn gap(&self, checks: &Checklist, key: PairKey) -> Duration {
        let rtt = checks.rtt(key).unwrap_or_default();
        self.timing.check_interval.max(rtt / 2)
    }

    /// The other side answered a nominating check. True when it was the one that counts.
    pub(crate) fn on_confirmed(&mut self, number: u32) -> bool {
        let counts =
            matches!(self.state, State::Asking { nominated, .. } if nominated.number == number);
        if counts {
            self.state = State::Open;
        }
        counts
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        match self.state {
            State::Open => None,
            State::Grace { until } => Some(until),
            State::Asking { at, .. } => Some(at),
        }
    }
}

/// The pair to nominate: the best, or the best that displaces the path and was measured just now.
fn best(
    now: Instant,
    checks: &Checklist,
    current: Option<&Path>,
    by_tcp: bool,
) -> Option<Measured> {
    let stream = checks.best_valid_stream().filter(|_| by_tcp);
    let best = stream.or_else(|| checks.best_valid())?;
    let Some(path) = current else {
        return Some(best);
    };
    if by_tcp && best.key.0.is_stream() != path.socket.is_stream() {
        // Measured or not: round trips do not tell what a path carries.
        return Some(best).filter(|best| best.key.0.is_stream());
    }
    let key = (path.socket, path.remote);
    let path = Measured {
        key,
        technique: path.technique,
        rtt: checks.rtt(key).unwrap_or(path.rtt),
    };
    (best.displaces(&path) && checks.is_fresh(now, best.key)).then_some(best)
}
