//! Targets that do not answer: what is said of one, until it does, is said once. An IDE that asks each second whether
//! its debuggee is there would fill the screen.

use p2pdbg_base::HostPort;
use p2pdbg_events::{Event, StreamState, Waiting, WaitingFor};

/// What was said of which target since it answered last.
#[derive(Debug, Default)]
pub(super) struct Unanswered(Vec<(HostPort, Said)>);

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
        let (target, what) = match event {
            Event::Stream {
                state: StreamState::GaveUp,
                to: Some(to),
                ..
            } => (to, Said::GivenUp),
            Event::Waiting(Waiting {
                awaited: WaitingFor::Debuggee | WaitingFor::Ide,
                at: Some(at),
                ..
            }) => (at, Said::Awaited),
            Event::Stream {
                state: StreamState::Open,
                to: Some(to),
                ..
            }
            | Event::Forward { to, .. } => {
                self.0.retain(|(target, _)| target != to);
                return false;
            }
            // Another session, of whose forwards nothing was said.
            Event::Paired { .. } => {
                self.0.clear();
                return false;
            }
            _ => return false,
        };
        let said = (target.clone(), what);
        let is_repeated = self.0.contains(&said);
        if !is_repeated {
            // There are as many as the session has forwards, at the most.
            self.0.push(said);
        }
        is_repeated
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_base::Untrusted;

    use super::*;

    #[test]
    fn target_that_does_not_answer_is_told_of_once_until_it_does() {
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
        let poll = [waiting("localhost:9"), stream(StreamState::GaveUp)];
        let paired = Event::Paired {
            peer: Untrusted::new("web"),
            known: true,
        };
        let other = waiting("localhost:10");
        let mut is_repeated = |event: &Event| unanswered.is_repeated(event);
        assert!(!is_repeated(&other));
        for answer in [stream(StreamState::Open), paired] {
            assert_eq!(poll.each_ref().map(&mut is_repeated), [false, false]);
            assert_eq!(poll.each_ref().map(&mut is_repeated), [true, true]);
            assert!(!is_repeated(&answer));
            let is_its_alone = matches!(answer, Event::Stream { .. });
            assert_eq!(is_repeated(&other), is_its_alone);
        }
    }
}
