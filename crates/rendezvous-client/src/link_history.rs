//! What is known of the connections that there were, and what that makes of an error now.
//!
//! Something else may answer at the rendezvous' address for a while: a web server before it while it is started anew, a
//! box of a network with its own certificate; and a certificate is judged by a clock that may be wrong for a moment
//! after a host has slept. At a first start such an answer is the last word, since somebody has to mend the URL. To a
//! process that had been connected it is not: its sessions would be without the rendezvous for the rest of their lives.

use std::time::Duration;

use p2pdbg_proto::rendezvous::Refusal;
use tokio::time::Instant;

use super::LinkError;

/// So long after another has first answered in its place, a rendezvous that was there may come back.
const IN_ITS_PLACE: Duration = Duration::from_secs(15 * 60);

/// The shortest pause meanwhile.
const PAUSE: Duration = Duration::from_secs(5);

/// What is known of the connections that there were.
#[derive(Debug, Default)]
pub(super) struct LinkHistory {
    /// Whether the last connection came up over TCP.
    pub(super) needed_tcp: bool,
    /// Whether there has been a connection: the rendezvous is there, and answers when it and the network do.
    pub(super) was_up: bool,
    /// Whether the rendezvous has said welcome.
    was_there: bool,
    /// Since when another answers in its place. That nobody answers says nothing of who will.
    wrong_since: Option<Instant>,
}

impl LinkHistory {
    /// A connection has come up.
    pub(super) fn on_connected(&mut self, over_tcp: bool) {
        self.needed_tcp = over_tcp;
        self.was_up = true;
    }

    /// The rendezvous has said welcome, or a connection on which it had ends now.
    pub(super) fn on_there(&mut self) {
        self.was_there = true;
        self.wrong_since = None;
    }

    /// The error of an attempt, which is not the last word for a while if the rendezvous was there.
    pub(super) fn judge(&mut self, error: LinkError, now: Instant) -> LinkError {
        match error {
            LinkError::Version { .. } | LinkError::Identity { .. }
                if self.was_there && (error.is_of_time() || self.may_come_back(now)) =>
            {
                LinkError::ForNow(Box::new(error))
            }
            _ => error,
        }
    }

    /// Whether the rendezvous may yet take the place of the one that has answered.
    fn may_come_back(&mut self, now: Instant) -> bool {
        let since = *self.wrong_since.get_or_insert(now);
        now.saturating_duration_since(since) < IN_ITS_PLACE
    }
}

/// How long to wait after this error, where otherwise it would be so long.
pub(super) fn pause(error: &LinkError, otherwise: Duration) -> Duration {
    match error {
        LinkError::Refused {
            refusal: Refusal::Limit { retry_after_s } | Refusal::KeysAway { retry_after_s },
            ..
        } => Duration::from_secs((*retry_after_s).into()).max(otherwise),
        LinkError::ForNow(_) => otherwise.max(PAUSE),
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(why: &str) -> LinkError {
        LinkError::Identity {
            authority: "a:1".into(),
            why: why.into(),
            pinned: false,
        }
    }

    #[test]
    fn wrong_answer_is_the_last_word_at_a_first_start_and_some_time_after_the_first_one() {
        let now = Instant::now();
        let version = LinkError::Version {
            authority: "a:1".into(),
        };
        for error in [version, identity("unknown issuer")] {
            let mut past = LinkHistory::default();
            past.on_connected(false);
            assert!(!past.judge(error.clone(), now).is_passing());
            past.on_there();
            // An outage before it does not count.
            let first = now + 2 * IN_ITS_PLACE;
            assert!(past.judge(error.clone(), first).is_passing());
            let last = first + IN_ITS_PLACE;
            let before = last - Duration::from_secs(1);
            assert!(past.judge(error.clone(), before).is_passing());
            assert!(!past.judge(error.clone(), last).is_passing());
            past.on_there();
            assert!(past.judge(error, last).is_passing());
        }
    }

    #[test]
    fn certificate_that_the_clock_alone_is_against_is_never_the_last_word_once_it_was_good() {
        let now = Instant::now();
        let mut past = LinkHistory::default();
        let wrong_clock = ["certificate expired", "certificate not valid yet"];
        for why in wrong_clock {
            assert!(!past.judge(identity(why), now).is_passing());
        }
        past.on_there();
        let later = now + 10 * IN_ITS_PLACE;
        for now in [now, later] {
            for why in wrong_clock {
                assert!(past.judge(identity(why), now).is_passing());
            }
        }
        // It is no answer of another.
        assert!(past.judge(identity("unknown issuer"), later).is_passing());
    }

    #[test]
    fn what_answers_in_the_place_of_the_rendezvous_is_not_asked_often() {
        let (mut past, now) = (LinkHistory::default(), Instant::now());
        past.on_there();
        let error = past.judge(identity("unknown issuer"), now);
        let short = Duration::from_millis(200);
        assert_eq!(pause(&error, short), PAUSE);
        assert_eq!(pause(&identity("x"), short), short);
    }
}
