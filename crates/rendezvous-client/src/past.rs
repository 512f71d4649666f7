//! What is known of the connections that there were, and what that makes of an error now.
//!
//! Something else may answer at the rendezvous' address for a while: a web server before it while it is started anew, a
//! box of a network with its own certificate; and a certificate is judged by a clock that may be wrong for a moment
//! after a host has slept. At a first start such an answer is the last word, since somebody has to mend the URL. To a
//! process that had been connected it is not: its sessions would be without the rendezvous for the rest of their lives.

use std::time::Duration;

use p2pdbg_proto::control::Refusal;
use tokio::time::Instant;

use super::LinkError;

/// So long after the rendezvous was there, what answers in its place may be replaced by it again.
const IN_ITS_PLACE: Duration = Duration::from_secs(15 * 60);

/// The shortest pause meanwhile.
const PAUSE: Duration = Duration::from_secs(5);

/// What is known of the connections that there were.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Whether the last connection came up over TCP.
    pub(super) needed_tcp: bool,
    /// Whether there has been a connection: the rendezvous is there, and answers when it and the network do.
    pub(super) was_up: bool,
    /// When the rendezvous, having said welcome, was last known to be there.
    was_there: Option<Instant>,
}

impl Past {
    /// A connection has come up.
    pub(super) fn on_connected(&mut self, over_tcp: bool) {
        self.needed_tcp = over_tcp;
        self.was_up = true;
    }

    /// The rendezvous has said welcome, or a connection on which it had ends now.
    pub(super) fn on_there(&mut self, now: Instant) {
        self.was_there = Some(now);
    }

    /// The error of an attempt, which is not the last word if the rendezvous was there a while ago.
    pub(super) fn judge(&self, error: LinkError, now: Instant) -> LinkError {
        let Some(was_there) = self.was_there else {
            return error;
        };
        let is_recent = now.saturating_duration_since(was_there) < IN_ITS_PLACE;
        match error {
            LinkError::Version { .. } | LinkError::Identity { .. }
                if is_recent || error.is_of_time() =>
            {
                LinkError::ForNow(Box::new(error))
            }
            _ => error,
        }
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
    fn wrong_answer_is_the_last_word_at_a_first_start_and_some_time_after_the_rendezvous_was_there()
    {
        let (mut past, now) = (Past::default(), Instant::now());
        let version = || LinkError::Version {
            authority: "a:1".into(),
        };
        for error in [version(), identity("unknown issuer")] {
            past.was_there = None;
            past.on_connected(false);
            assert!(!past.judge(error.clone(), now).is_passing());
            past.on_there(now);
            assert!(past.judge(error.clone(), now).is_passing());
            let later = now + IN_ITS_PLACE;
            assert!(!past.judge(error, later).is_passing());
        }
    }

    #[test]
    fn certificate_that_the_clock_alone_is_against_is_never_the_last_word_once_it_was_good() {
        let (mut past, now) = (Past::default(), Instant::now());
        for why in ["certificate expired", "certificate not valid yet"] {
            past.was_there = None;
            assert!(!past.judge(identity(why), now).is_passing());
            past.on_there(now);
            let later = now + 10 * IN_ITS_PLACE;
            assert!(past.judge(identity(why), later).is_passing());
        }
    }

    #[test]
    fn what_answers_in_the_place_of_the_rendezvous_is_not_asked_often() {
        let (mut past, now) = (Past::default(), Instant::now());
        past.on_there(now);
        let error = past.judge(identity("unknown issuer"), now);
        let short = Duration::from_millis(200);
        assert_eq!(pause(&error, short), PAUSE);
        assert_eq!(pause(&identity("x"), short), short);
    }
}
