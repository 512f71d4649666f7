//! Whether the peer is reached at all: silence, loss, and its return.
//!
//! ```text
//! reached ──▶ out of reach ──HICCUP──▶ lost (a person is told) ──`--resume-for`──▶ the session is over
//!    ▲             │                     │
//!    └─────────────┴──── a tunnel answers ┘ (told as resumed, if it was told as lost)
//! ```

use std::time::{Duration, Instant};

/// For how long nothing may get through before a person hears of it: what is over by then was hardly noticed.
pub(super) const HICCUP: Duration = Duration::from_secs(2);

/// How often at most the paths and the rendezvous are told that a tunnel is silent. A QUIC connection sends again and
/// again while it is, so every look would find it so.
const SILENCE: Duration = Duration::from_secs(2);

/// The same for one that has been heard in between: each silence is asked about, but not each lost datagram.
const SILENT_AGAIN: Duration = Duration::from_millis(500);

/// Since when the peer is out of reach, and who knows.
#[derive(Debug, Default)]
pub(super) struct PeerReach {
    /// Since when no tunnel is heard.
    out_since: Option<Instant>,
    /// The same, once it has been told.
    lost_since: Option<Instant>,
    /// When the others were told last that a tunnel is silent.
    silence_told: Option<Instant>,
    /// Whether no tunnel has been silent since.
    quiet_since: bool,
}

/// What has become of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has been out of reach since then for long enough that a person is told.
    Lost(Instant),
    /// It is back after so long.
    Resumed(Duration),
}

impl PeerReach {
    /// Takes in since when the tunnels are not heard; none if one is.
    pub(super) fn update(&mut self, out_since: Option<Instant>, now: Instant) -> Option<Turn> {
        // The first tunnel that fell silent counts, whichever follow.
        self.out_since = match (out_since, self.out_since) {
            (Some(_), Some(since)) => Some(since),
            (since, _) => since,
        };
        match (self.out_since, self.lost_since) {
            (Some(since), None) if now.saturating_duration_since(since) >= HICCUP => {
                self.lost_since = Some(since);
                Some(Turn::Lost(since))
            }
            (None, Some(since)) => {
                self.lost_since = None;
                Some(Turn::Resumed(now.saturating_duration_since(since)))
            }
            _ => None,
        }
    }

    /// Takes back so much of a silence that nobody was told of: this process was late by that.
    pub(super) fn excuse(&mut self, late: Duration, now: Instant) {
        if let (Some(since), None) = (&mut self.out_since, self.lost_since) {
            *since = (*since + late).min(now);
        }
    }

    /// Whether no tunnel is heard.
    pub(super) fn is_out(&self) -> bool {
        self.out_since.is_some()
    }

    /// Since when, once a person was told.
    pub(super) fn lost_since(&self) -> Option<Instant> {
        self.lost_since
    }

    /// A look has found a tunnel silent, or none: whether the paths and the rendezvous are told now that one is.
    pub(super) fn tells_silence(&mut self, silent: bool, now: Instant) -> bool {
        self.quiet_since |= !silent;
        let pause = if self.quiet_since {
            SILENT_AGAIN
        } else {
            SILENCE
        };
        let told = self.silence_told;
        let due = silent && told.is_none_or(|at| now.saturating_duration_since(at) >= pause);
        if due {
            self.silence_told = Some(now);
            self.quiet_since = false;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_out_of_reach_is_told_after_a_while_and_once() {
        let start = Instant::now();
        let mut reach = PeerReach::default();
        assert_eq!(reach.update(Some(start), start), None);
        assert!(reach.is_out());
        let later = start + HICCUP;
        assert_eq!(reach.update(Some(later), later), Some(Turn::Lost(start)));
        assert_eq!(reach.update(Some(later), later + HICCUP), None);
        assert_eq!(reach.lost_since(), Some(start));
        let gap = Duration::from_secs(9);
        assert_eq!(reach.update(None, start + gap), Some(Turn::Resumed(gap)));
        assert_eq!(reach.update(None, start + gap), None);
    }

    #[test]
    fn short_gap_is_not_told() {
        let start = Instant::now();
        let mut reach = PeerReach::default();
        reach.update(Some(start), start);
        assert_eq!(reach.update(None, start + HICCUP), None);
        assert!(!reach.is_out());
    }

    #[test]
    fn silence_is_passed_on_every_two_seconds_at_most() {
        let start = Instant::now();
        let mut reach = PeerReach::default();
        assert!(reach.tells_silence(true, start));
        assert!(!reach.tells_silence(true, start + SILENCE / 2));
        assert!(reach.tells_silence(true, start + SILENCE));
    }

    #[test]
    fn new_silence_is_passed_on_sooner_than_one_that_lasts() {
        let start = Instant::now();
        let mut reach = PeerReach::default();
        assert!(reach.tells_silence(true, start));
        assert!(!reach.tells_silence(false, start + SILENT_AGAIN / 2));
        assert!(!reach.tells_silence(true, start + SILENT_AGAIN / 2));
        assert!(reach.tells_silence(true, start + SILENT_AGAIN));
        assert!(!reach.tells_silence(true, start + 2 * SILENT_AGAIN));
    }
}
