//! Binding a session's socket to its leg of the relay; sans-IO.
//!
//! BIND is repeated until the relay challenges it, and ANSWER until the relay says BOUND (crate `wire`, module
//! `relay`). A leg that the relay does not know is of no more use: the next introduction brings another.

use std::time::{Duration, Instant};

use p2pdbg_proto::relay::{LegGrant, RelayFrame, RelayRefusal, answer_mac, bind_with_ticket};

/// The first wait for an answer.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The same while the leg is carried otherwise, once it has been asked in vain for long. UDP that is blocked is so for
/// hours, and a BIND is 1.2 KB long.
const LONGEST_WAIT_WHILE_CARRIED: Duration = Duration::from_secs(60);

/// Meanwhile a wait is no longer than this part of the time since it was asked first: an outage of seconds ends UDP and
/// TCP together, and whoever comes back by TCP alone would seem to have no UDP.
const WAITED: u32 = 60;

/// What to do for a leg.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LegAction {
    /// Send this frame to the relay.
    Send(Vec<u8>),
    /// The leg is bound: datagrams of this socket reach the other member's.
    Bound,
    /// The relay knows the leg no longer.
    Gone,
}

/// The state of one leg.
#[derive(Debug)]
pub(super) struct Leg {
    grant: LegGrant,
    /// Goes with each BIND to a relay that is not the session's home; empty to that one.
    ticket: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Binding {
        wait: Duration,
        next: Instant,
        /// Since when it has been asked in vain.
        since: Instant,
    },
    Bound,
    Gone,
}

impl Leg {
    /// A leg that is to be bound at once: the first [`Leg::handle_timeout`] sends BIND.
    pub(super) fn new(grant: LegGrant, ticket: Vec<u8>, now: Instant) -> Self {
        let state = State::Binding {
            wait: FIRST_WAIT,
            next: now,
            since: now,
        };
        Self {
            grant,
            ticket,
            state,
        }
    }

    /// Binds anew, because the source address may have changed or the relay is silent.
    pub(super) fn rebind(&mut self, now: Instant) {
        if !matches!(self.state, State::Gone) {
            self.state = State::Binding {
                wait: FIRST_WAIT,
                next: now,
                since: now,
            };
        }
    }

    /// When [`Leg::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Binding { next, .. } => Some(next),
            State::Bound | State::Gone => None,
        }
    }

    /// The relay answers, and is to be asked again and again before the leg is bound: no later than usual.
    pub(super) fn keep_asking(&mut self, now: Instant) {
        if let State::Binding { wait, next, since } = &mut self.state {
            *wait = (*wait).min(LONGEST_WAIT);
            *next = (*next).min(now + LONGEST_WAIT);
            *since = now;
        }
    }

    /// Sends BIND when it is due; more and more rarely while the leg is `carried` by TCP and the relay does not
    /// answer.
    pub(super) fn handle_timeout(&mut self, now: Instant, carried: bool) -> Option<LegAction> {
        match &mut self.state {
            State::Binding { wait, next, since } if *next <= now => {
                let waited = now.saturating_duration_since(*since) / WAITED;
                let longest = match carried {
                    true => waited.clamp(LONGEST_WAIT, LONGEST_WAIT_WHILE_CARRIED),
                    false => LONGEST_WAIT,
                };
                *next = now + *wait;
                *wait = (*wait * 2).min(longest);
                let bind = bind_with_ticket(&self.grant, &self.ticket);
                Some(LegAction::Send(bind))
            }
            _ => None,
        }
    }

    /// Takes a frame that came from the relay's address. Frames for another leg are ignored.
    pub(super) fn handle_frame(&mut self, frame: &RelayFrame) -> Option<LegAction> {
        match frame {
            RelayFrame::Challenge { leg, cookie } if *leg == self.grant.leg => {
                if !matches!(self.state, State::Binding { .. }) {
                    return None;
                }
                let answer = RelayFrame::Answer {
                    leg: *leg,
                    cookie: *cookie,
                    mac: answer_mac(&self.grant, cookie),
                };
                Some(LegAction::Send(answer.encode()))
            }
            RelayFrame::Bound { leg, .. } if *leg == self.grant.leg => match self.state {
                State::Binding { .. } => {
                    self.state = State::Bound;
                    Some(LegAction::Bound)
                }
                State::Bound | State::Gone => None,
            },
            RelayFrame::Refused { leg, reason } if *leg == self.grant.leg => match reason {
                RelayRefusal::UnknownLeg => {
                    self.state = State::Gone;
                    Some(LegAction::Gone)
                }
                // A cookie that is too old: the next BIND brings a fresh one.
                RelayRefusal::Proof | RelayRefusal::Superseded | RelayRefusal::Other(_) => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::{
        relay::{LegId, answer_is_genuine, bind_mac},
        secret::Secret,
    };

    use super::*;

    fn leg() -> (Leg, LegGrant, Instant) {
        let grant = LegGrant {
            leg: LegId([3; 16]),
            key: Secret::random(),
        };
        let now = Instant::now();
        (Leg::new(grant.clone(), Vec::new(), now), grant, now)
    }

    fn sent(action: Option<LegAction>) -> RelayFrame {
        match action {
            Some(LegAction::Send(bytes)) => RelayFrame::decode(&bytes).unwrap(),
            other => panic!("nothing was sent: {other:?}"),
        }
    }

    #[test]
    fn a_leg_binds_in_three_steps() {
        let (mut leg, grant, now) = leg();
        assert_eq!(
            sent(leg.handle_timeout(now, false)),
            RelayFrame::Bind {
                leg: grant.leg,
                mac: bind_mac(&grant),
            }
        );
        let challenge = RelayFrame::Challenge {
            leg: grant.leg,
            cookie: [1; 32],
        };
        let RelayFrame::Answer { cookie, mac, .. } = sent(leg.handle_frame(&challenge)) else {
            panic!("no answer");
        };
        assert!(answer_is_genuine(&grant.key, &grant.leg, &cookie, &mac));
        let bound = RelayFrame::Bound {
            leg: grant.leg,
            lifetime_s: 300,
        };
        assert_eq!(leg.handle_frame(&bound), Some(LegAction::Bound));
        assert_eq!(leg.handle_frame(&bound), None);
        assert_eq!(leg.poll_timeout(), None);
    }

    #[test]
    fn bind_is_repeated_later_and_later() {
        let (mut leg, _, now) = leg();
        assert!(leg.handle_timeout(now, false).is_some());
        let first = leg.poll_timeout().unwrap();
        assert!(leg.handle_timeout(now, false).is_none());
        assert!(leg.handle_timeout(first, false).is_some());
        assert!(leg.poll_timeout().unwrap() - first > first - now);
    }

    #[test]
    fn frames_for_another_leg_are_ignored() {
        let (mut leg, _, _) = leg();
        let stranger = RelayFrame::Refused {
            leg: LegId([9; 16]),
            reason: RelayRefusal::UnknownLeg,
        };
        assert_eq!(leg.handle_frame(&stranger), None);
        assert!(leg.poll_timeout().is_some());
    }
}
