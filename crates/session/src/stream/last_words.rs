//! What still comes for a local program of which the other end takes nothing more.
//!
//! A connection that breaks off over there sends two things: a Stop, and an End behind the last byte that its program
//! wrote. The Stop is a message of its own and comes first, often ahead of many bytes. The program here is given those
//! too, as it would be by one TCP connection, and only then sees the connection break off. A peer that says Stop and no
//! more is waited for within a bound.

use std::time::Duration;

use tokio::time::Instant;

/// How long the next byte, or the end, may take while the peer is in reach. A local program that neither reads nor ends
/// is waited for as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the last words of the other end are awaited, and until when.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    until: Option<Instant>,
}

impl LastWords {
    /// The other end takes no more. Saying so again gives it no more time.
    pub(super) fn begin(&mut self, now: Instant) {
        self.until.get_or_insert(now + PATIENCE);
    }

    /// Some of them have come, or the peer has come into reach.
    pub(super) fn on_progress(&mut self, now: Instant) {
        if let Some(until) = &mut self.until {
            *until = now + PATIENCE;
        }
    }

    /// Whether nothing but they are awaited.
    pub(super) fn are_awaited(&self) -> bool {
        self.until.is_some()
    }

    /// When to wait no longer; without a tunnel nothing can come, and nothing is late.
    pub(super) fn until(&self, in_reach: bool) -> Option<Instant> {
        self.until.filter(|_| in_reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_that_do_not_come_are_not_waited_for_without_end() {
        let mut words = LastWords::default();
        let now = Instant::now();
        words.on_progress(now);
        assert!(!words.are_awaited(), "nobody has stopped");
        words.begin(now);
        let later = now + PATIENCE / 2;
        words.begin(later);
        assert_eq!(words.until(true), Some(now + PATIENCE));
        assert_eq!(words.until(false), None);
        words.on_progress(later);
        assert_eq!(words.until(true), Some(later + PATIENCE));
    }
}
