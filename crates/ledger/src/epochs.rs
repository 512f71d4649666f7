//! Which tunnel is newer, and which was there before.
//!
//! The connector numbers every tunnel that it makes in a session, upwards. The number is part of the proof that opens
//! the tunnel, so a replayed or long delayed opening is told by it and refused, and both ends agree which of two
//! tunnels is newer. Tunnels that are dialled at the same time over paths of different length may come up in another
//! order than they were numbered in, so a number that is a little lower is accepted too, once (a sliding window as in
//! RFC 4303 section
//! 3.4.3).

use crate::Violation;

/// How far below the highest an epoch may be: so many tunnels are never dialled at the same time.
const WINDOW: u64 = 16;

/// The epochs of a session's tunnels, at either end.
#[derive(Debug, Default, Clone)]
pub struct Epochs {
    highest: u64,
    /// Bit `n` is set if `highest - n` was accepted.
    accepted: u64,
}

impl Epochs {
    /// No tunnel yet; the first epoch is 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws the epoch of a new tunnel (the connector's part).
    pub fn draw(&mut self) -> u64 {
        self.highest += 1;
        self.highest
    }

    /// Accepts the epoch of a tunnel whose proof has been checked, if it is new and not long past.
    pub fn accept(&mut self, offered: u64) -> Result<(), Violation> {
        let old = Violation::OldEpoch {
            offered,
            highest: self.highest,
        };
        if offered == 0 {
            return Err(old);
        }
        if offered > self.highest {
            let up = offered - self.highest;
            self.accepted = self.accepted.checked_shl(up.min(64) as u32).unwrap_or(0) | 1;
            self.highest = offered;
            return Ok(());
        }
        let below = self.highest - offered;
        if below >= WINDOW || self.accepted & (1 << below) != 0 {
            return Err(old);
        }
        self.accepted |= 1 << below;
        Ok(())
    }

    /// The highest epoch drawn or accepted, 0 for none.
    pub fn highest(&self) -> u64 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(epochs: &mut Epochs, offered: u64) -> bool {
        let highest = epochs.highest();
        epochs.accept(offered) == Err(Violation::OldEpoch { offered, highest })
    }

    #[test]
    fn an_epoch_is_accepted_once() {
        let mut epochs = Epochs::new();
        assert!(refused(&mut epochs, 0));
        assert_eq!(epochs.accept(3), Ok(()));
        assert!(refused(&mut epochs, 3));
        assert_eq!(epochs.accept(2), Ok(()));
        assert!(refused(&mut epochs, 2));
        assert_eq!(epochs.accept(u64::MAX), Ok(()));
        assert!(refused(&mut epochs, u64::MAX));
        assert_eq!(epochs.highest(), u64::MAX);
    }

    #[test]
    fn an_epoch_that_is_long_past_is_refused() {
        let mut epochs = Epochs::new();
        assert_eq!(epochs.accept(WINDOW + 1), Ok(()));
        assert!(refused(&mut epochs, 1));
        assert_eq!(epochs.accept(2), Ok(()));
    }

    #[test]
    fn what_one_end_draws_the_other_accepts_in_any_order() {
        let (mut connector, mut listener) = (Epochs::new(), Epochs::new());
        let mut drawn: Vec<u64> = (0..5).map(|_| connector.draw()).collect();
        drawn.swap(0, 1);
        drawn.swap(3, 4);
        for epoch in drawn {
            assert_eq!(listener.accept(epoch), Ok(()));
        }
    }
}
