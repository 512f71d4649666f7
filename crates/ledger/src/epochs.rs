//! Which tunnel is newer.
//!
//! The connector numbers every tunnel that it makes in a session, upwards. The number is part of the proof that opens the
//! tunnel, so a replayed or delayed opening is told by it and refused, and both ends agree which of two tunnels is newer.

use crate::Violation;

/// The epochs of a session's tunnels, at either end.
#[derive(Debug, Default, Clone)]
pub struct Epochs {
    highest: u64,
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

    /// Accepts the epoch of a tunnel whose proof has been checked, if it is above all before.
    pub fn accept(&mut self, offered: u64) -> Result<(), Violation> {
        if offered <= self.highest {
            return Err(Violation::OldEpoch {
                offered,
                highest: self.highest,
            });
        }
        self.highest = offered;
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

    #[test]
    fn an_epoch_that_is_not_above_all_before_is_refused() {
        let mut epochs = Epochs::new();
        assert_eq!(
            epochs.accept(0),
            Err(Violation::OldEpoch {
                offered: 0,
                highest: 0
            })
        );
        assert_eq!(epochs.accept(3), Ok(()));
        assert_eq!(
            epochs.accept(3),
            Err(Violation::OldEpoch {
                offered: 3,
                highest: 3
            })
        );
        assert_eq!(
            epochs.accept(2),
            Err(Violation::OldEpoch {
                offered: 2,
                highest: 3
            })
        );
        assert_eq!(epochs.accept(u64::MAX), Ok(()));
        assert_eq!(epochs.highest(), u64::MAX);
    }

    #[test]
    fn what_one_end_draws_the_other_accepts() {
        let (mut connector, mut listener) = (Epochs::new(), Epochs::new());
        for _ in 0..5 {
            assert_eq!(listener.accept(connector.draw()), Ok(()));
        }
    }
}
