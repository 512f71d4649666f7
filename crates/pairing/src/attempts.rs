//! How many exchanges a code is good for.

use super::Failure;

/// Counts the exchanges that were begun with one code and failed. Both ends keep one, for as long as they
/// keep the code.
///
/// One wrong confirmation burns the code: it was a guess, or somebody in the middle. Exchanges that end
/// before that tell neither side anything about the words, since the listener confirms only what it has
/// verified. But they do not come from somebody who has the code, they keep the listener from its peer, and
/// at the connector each may have been a guess by a listener that is none, which sees the first confirmation.
/// So there are few of them, too.
#[derive(Debug, Default)]
pub struct Attempts {
    unfinished: u32,
}

/// Whether a code may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum CodeFate {
    /// Another exchange may be begun with it.
    Good,
    /// It is burned: take it back from the rendezvous and print another.
    Burned,
}

impl Attempts {
    /// How many exchanges may be begun and not finished before the code burns.
    pub const MAX_UNFINISHED: u32 = 5;

    /// Takes note of an exchange that failed, and tells what becomes of the code.
    pub fn failed(&mut self, failure: &Failure) -> CodeFate {
        self.unfinished = self.unfinished.saturating_add(1);
        if *failure == Failure::WrongWord || self.unfinished >= Self::MAX_UNFINISHED {
            CodeFate::Burned
        } else {
            CodeFate::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::signal::AbortReason;

    use super::*;

    #[test]
    fn one_wrong_word_burns_a_code() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.failed(&Failure::WrongWord), CodeFate::Burned);
    }

    #[test]
    fn a_code_survives_four_exchanges_that_were_not_finished() {
        let mut attempts = Attempts::default();
        let failures = [
            Failure::PeerLeft,
            Failure::Protocol,
            Failure::Version { theirs: 2 },
            Failure::Aborted(AbortReason::Protocol),
        ];
        for failure in &failures {
            assert_eq!(attempts.failed(failure), CodeFate::Good);
        }
        assert_eq!(attempts.failed(&Failure::PeerLeft), CodeFate::Burned);
    }
}
