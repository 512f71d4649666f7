//! How many exchanges a code is good for, and how many codes in a row.

use std::time::Duration;

use super::Failure;

/// Counts the exchanges that were begun with one code. Both ends keep one, for as long as they keep the code.
///
/// One wrong confirmation burns the code: it was a guess, or somebody in the middle. Exchanges that end
/// before that tell neither side anything about the words, since the listener confirms only what it has
/// verified. But they do not come from somebody who has the code, they keep the listener from its peer, and
/// at the connector each may have been a guess by a listener that is none, which sees the first confirmation.
/// So there are few of them, too, and the connector's confirmations are counted before they leave: what becomes of the
/// connection afterwards is in the hands of whoever may be guessing.
#[derive(Debug, Default)]
pub struct Guesses {
    confirmations: u32,
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

impl Guesses {
    /// How many confirmations a connector sends, and how many exchanges may be begun and not finished before the code
    /// burns.
    pub const MOST: u32 = 5;

    /// Takes note that a connector's confirmation is about to leave; whether it may.
    pub fn confirm(&mut self) -> bool {
        let may = self.confirmations < Self::MOST;
        self.confirmations += u32::from(may);
        may
    }

    /// Takes note of an exchange that failed, and tells what becomes of the code.
    pub fn failed(&mut self, failure: &Failure) -> CodeFate {
        self.unfinished = self.unfinished.saturating_add(1);
        let spent = self.confirmations.max(self.unfinished) >= Self::MOST;
        if *failure == Failure::WrongWord || spent {
            CodeFate::Burned
        } else {
            CodeFate::Good
        }
    }
}

/// Counts the codes of a listener that were burned with no pairing between them.
#[derive(Debug, Default)]
pub struct Burns(u32);

impl Burns {
    /// How many in a row there are at the most: each is a guess at the words of one code, for whoever is at the
    /// rendezvous.
    pub const MOST: u32 = 5;

    /// The pause after the first.
    const FIRST_PAUSE: Duration = Duration::from_millis(500);

    /// Another code is burned: how long to wait before the next is made, or `None` if none is to be.
    pub fn burned(&mut self) -> Option<Duration> {
        self.0 = self.0.saturating_add(1);
        (self.0 < Self::MOST).then(|| Self::FIRST_PAUSE * 2_u32.pow(self.0 - 1))
    }

    /// Somebody has paired, who knew the words.
    pub fn paired(&mut self) {
        self.0 = 0;
    }

    /// Whether no further code is to be made.
    pub fn is_over(&self) -> bool {
        self.0 >= Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::signal::AbortReason;

    use super::*;

    #[test]
    fn one_wrong_word_burns_a_code() {
        let mut attempts = Guesses::default();
        assert_eq!(attempts.failed(&Failure::WrongWord), CodeFate::Burned);
    }

    #[test]
    fn a_code_survives_four_exchanges_that_were_not_finished() {
        let mut attempts = Guesses::default();
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

    #[test]
    fn five_confirmations_leave_and_no_sixth_whatever_becomes_of_them() {
        let mut attempts = Guesses::default();
        assert!((0..5).all(|_| attempts.confirm()));
        assert!(!attempts.confirm());
        assert_eq!(attempts.failed(&Failure::PeerLeft), CodeFate::Burned);
    }

    #[test]
    fn codes_that_burn_in_a_row_come_later_each_time_and_then_no_more() {
        let mut burns = Burns::default();
        let pauses: Vec<_> = (0..6).map(|_| burns.burned()).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(
            pauses,
            [ms(500), ms(1_000), ms(2_000), ms(4_000), None, None]
        );
        burns.paired();
        assert_eq!(burns.burned(), ms(500));
    }
}
