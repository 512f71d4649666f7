//! Sessions of the same two connections, of which the newest takes the place of those before it.

use std::time::{Duration, Instant};

/// How long one whose place another has taken goes on.
const CARRIES_ON: Duration = Duration::from_secs(10);

/// How a session stands to another one of the same two connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum Succession {
    None,
    /// It is to take the other one's place, which it does when both have confirmed, by then at the latest.
    Begins {
        by: Instant,
    },
    /// The other one has taken its place. It counts on no key's account any more, and carries until then what is on its
    /// way.
    Over {
        ends: Instant,
    },
}

impl Succession {
    /// Of one that begins, in another one's place if it `replaces` one, which it has to take by then.
    pub(super) fn at_begin(replaces: bool, by: Instant) -> Self {
        match replaces {
            true => Self::Begins { by },
            false => Self::None,
        }
    }

    /// Of one whose place another has taken now.
    pub(super) fn over_at(now: Instant) -> Self {
        let ends = now + CARRIES_ON;
        Self::Over { ends }
    }

    /// Whether the session counts on the account of its keys.
    pub(super) fn counts(self) -> bool {
        !matches!(self, Self::Over { .. })
    }

    /// When the session ends by that, if it does.
    pub(super) fn ends(self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Begins { by: ends } | Self::Over { ends } => Some(ends),
        }
    }
}
