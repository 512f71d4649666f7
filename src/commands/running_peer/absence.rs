//! A peer that is away, and its place, which is offered to others after a while: whoever has lost what it is known by,
//! as a container without a volume that was started again, finds a way in by a new code.

use std::time::{Duration, Instant};

/// For how long a peer has to be away while the rendezvous is in reach. What is shorter is mostly a network that
/// changes, or a host that wakes up; a code each time would only be in the way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the peer of a session is away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    /// It is here, or has not been missed yet.
    #[default]
    No,
    /// It is away; its place is offered from then on, unless this end itself is cut off.
    Since {
        /// When its place is offered; never while this end itself is cut off.
        offer_at: Option<Instant>,
    },
    /// Its place is offered to whoever has the new code.
    Offered,
}

impl Absence {
    /// Takes in whether the peer is away.
    pub(super) fn note(&mut self, away: bool, reachable: bool, now: Instant) {
        *self = match (away, *self) {
            (false, _) => Self::No,
            (true, Self::No) => Self::Since {
                offer_at: reachable.then(|| now + PATIENCE),
            },
            (true, known) => known,
        };
    }

    /// The rendezvous is in reach from now on, or is not.
    pub(super) fn on_link(&mut self, up: bool, now: Instant) {
        if let Self::Since { offer_at } = self {
            *offer_at = up.then(|| now + PATIENCE);
        }
    }

    /// When its place is to be offered.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Since { offer_at } => offer_at,
            Self::No | Self::Offered => None,
        }
    }

    /// Whether somebody else may have its place.
    pub(super) fn is_offered(self) -> bool {
        self == Self::Offered
    }

    /// Whether it is away, for a short while or long.
    pub(super) fn is_away(self) -> bool {
        self != Self::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_a_peer_is_due_only_while_this_end_is_in_reach_of_the_rendezvous() {
        let now = Instant::now();
        let mut absence = Absence::default();
        absence.on_link(true, now);
        assert_eq!(absence.due(), None);
        absence.note(true, true, now);
        assert_eq!(absence.due(), Some(now + PATIENCE));
        absence.on_link(false, now);
        assert_eq!(absence.due(), None);
        let later = now + PATIENCE;
        absence.on_link(true, later);
        absence.note(true, true, later + PATIENCE / 2);
        assert_eq!(absence.due(), Some(later + PATIENCE));
        absence.note(false, true, later);
        assert_eq!(absence, Absence::No);
    }
}
