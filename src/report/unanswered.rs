//! Targets that do not answer: what is said of one, until it does, is said once. An IDE that asks each second whether
//! its debuggee is there would fill the screen.

use std::collections::BTreeMap;

use p2pdbg_base::HostPort;
use p2pdbg_events::{Event, StreamState, Waiting, WaitingFor};

/// What was said of which target since it answered last.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    said: Vec<(HostPort, Said)>,
    /// The streams that have not ended, and whether each waits. At the end that accepts one it is open before it is
    /// known whether anybody answers.
    streams: BTreeMap<u64, bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// A connection waits for it.
    Awaited,
    /// One was given up.
    GivenUp,
}

impl Unanswered {
    /// Whether this was said already; notes it, and what has answered since.
    pub(super) fn is_repeated(&mut self, event: &Event) -> bool {
        match event {
            Event::Stream {
                id,
                state,
                to: Some(to),
                ..
            } => {
                if self.has_answered(*id, *state) {
                    self.said.retain(|(target, _)| target != to);
                }
                *state == StreamState::GaveUp && self.was_said(to, Said::GivenUp)
            }
            Event::Waiting(Waiting {
                awaited: WaitingFor::Debuggee | WaitingFor::Ide,
                at: Some(at),
                ..
            }) => self.was_said(at, Said::Awaited),
            Event::Forward { to, .. } => {
                self.said.retain(|(target, _)| target != to);
                false
            }
            // Another session, of whose forwards nothing was said.
            Event::Paired { .. } => {
                *self = Self::default();
                false
            }
            _ => false,
        }
    }

    /// Whether this state of a stream shows that its target has answered: it was open and did not wait, or waits no
    /// more.
    fn has_answered(&mut self, id: u64, state: StreamState) -> bool {
        match state {
            StreamState::Waiting => {
                self.streams.insert(id, true);
                false
            }
            StreamState::Open => self.streams.insert(id, false) == Some(true),
            StreamState::HalfClosed => false,
            StreamState::Closed | StreamState::Reset => self.streams.remove(&id) == Some(false),
            StreamState::GaveUp => {
                self.streams.remove(&id);
                false
            }
        }
    }

    /// Notes what is said of a target. There are as many as the session has forwards, at the most.
    fn was_said(&mut self, target: &HostPort, what: Said) -> bool {
        let said = (target.clone(), what);
        let was_said = self.said.contains(&said);
        if !was_said {
            self.said.push(said);
        }
        was_said
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_base::Untrusted;

    use super::*;

    #[test]
    fn target_that_does_not_answer_is_told_of_once_until_it_does() {
        use StreamState::{Closed, Open, Reset, Waiting as Waits};

        let mut unanswered = Unanswered::default();
        let stream = |state| Event::Stream {
            id: 7,
            state,
            to: Some("localhost:9".parse().unwrap()),
            debugger: None,
        };
        let waiting = |at: &str| {
            Event::Waiting(Waiting {
                awaited: WaitingFor::Debuggee,
                at: Some(at.parse().unwrap()),
                run: None,
            })
        };
        let poll = [
            stream(StreamState::Open),
            waiting("localhost:9"),
            stream(StreamState::Waiting),
            stream(StreamState::GaveUp),
        ];
        let paired = Event::Paired {
            peer: Untrusted::new("web"),
            known: true,
        };
        let other = waiting("localhost:10");
        let mut is_repeated = |event: &Event| unanswered.is_repeated(event);
        assert!(!is_repeated(&other));
        let answers = [
            (vec![stream(Waits), stream(Open), stream(Closed)], true),
            (vec![stream(Open), stream(Reset)], true),
            (vec![paired], false),
        ];
        for (answer, is_its_alone) in answers {
            let first = poll.each_ref().map(&mut is_repeated);
            assert_eq!(first, [false; 4]);
            for _ in 0..2 {
                let again = poll.each_ref().map(&mut is_repeated);
                assert_eq!(again, [false, true, false, true]);
                // At the end that dials it ends so when its client has gone.
                assert!(!is_repeated(&stream(Waits)) && !is_repeated(&stream(Reset)));
            }
            assert!(!answer.iter().any(&mut is_repeated));
            assert_eq!(is_repeated(&other), is_its_alone);
        }
    }
}
