//! The window on a short path, on which bulk must not make a queue.
//!
//! Between two hosts of one network, or two containers of one host, nothing is lost: what bounds bulk there is how fast
//! the receiver takes it, and CUBIC fills whatever buffer lies before it, until each small message waits behind
//! milliseconds of bulk. Where the round trip is short the window is therefore bounded to what makes it longer by
//! [`QUEUE`], in the manner of FAST TCP (Wei et al., "FAST TCP: motivation, architecture, algorithms, performance",
//! 2006): the window times the round trip that is aimed at, over the one that was measured.

use std::time::Duration;

/// A path with a round trip below this is short: two hosts of one network.
pub(super) const SHORT: Duration = Duration::from_millis(5);

/// How much longer than without load a round trip on a short path may take.
const QUEUE: Duration = Duration::from_micros(250);

/// The window is never bounded to less, in bytes: at 1 Gbit/s this is 1 ms.
const LEAST: u64 = 128 << 10;

/// What the window may be for the queue to stay short, judged once in each round trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// The bound on the window, in bytes.
    pub(super) window: u64,
    /// The number of the last packet sent.
    pub(super) sent: u64,
    /// The round ends when a packet is acknowledged that was sent after this one.
    round: u64,
    /// How long the quickest packet of this round took.
    took: Option<Duration>,
    /// How long the quickest one ever took.
    unloaded: Duration,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            window: u64::MAX,
            sent: 0,
            round: 0,
            took: None,
            unloaded: Duration::MAX,
        }
    }
}

impl Bound {
    /// A packet was acknowledged after so long; `unloaded` is the least that was ever measured on the path.
    pub(super) fn on_acknowledged(&mut self, took: Duration, unloaded: Duration) {
        self.took = Some(self.took.map_or(took, |least| least.min(took)));
        self.unloaded = unloaded;
    }

    /// The largest packet number acknowledged is this one, and so large is the window. What is limited by the program
    /// that sends makes no queue.
    pub(super) fn on_largest(&mut self, largest: u64, window: u64, app_limited: bool) {
        if largest <= self.round {
            return;
        }
        self.round = self.sent;
        let Some(took) = self.took.take() else {
            return;
        };
        if self.unloaded >= SHORT {
            self.window = u64::MAX;
        } else if !app_limited {
            let aim = (self.unloaded + QUEUE).as_secs_f64() / took.as_secs_f64().max(1e-6);
            // One round on a busy host says little.
            let followed = window as f64 * aim.clamp(0.5, 2.0);
            self.window = (followed as u64).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 300e6;

    /// Rounds of a sender that always has something to send, to a receiver that takes [`RATE`] bytes a second; returns
    /// the window and the round trip at the end.
    fn settle(bound: &mut Bound, unloaded: Duration, cubic: u64) -> (u64, Duration) {
        let mut took = unloaded;
        for _ in 0..100 {
            let window = bound.window.min(cubic);
            took = unloaded.max(Duration::from_secs_f64(window as f64 / RATE));
            bound.sent += 100;
            bound.on_acknowledged(took, unloaded);
            bound.on_largest(bound.sent, window, false);
        }
        (bound.window, took)
    }

    #[test]
    fn a_short_path_keeps_a_short_queue() {
        let unloaded = Duration::from_millis(1);
        let (window, took) = settle(&mut Bound::default(), unloaded, 8 << 20);
        let queue = took - unloaded;
        assert!(queue > QUEUE / 2 && queue < QUEUE * 2, "{queue:?}");
        assert!(window as f64 >= RATE * 1e-3, "the path stays full");
    }

    #[test]
    fn the_window_grows_again_when_the_path_takes_more() {
        let mut bound = Bound {
            window: LEAST,
            ..Bound::default()
        };
        let unloaded = Duration::from_millis(1);
        let (window, _) = settle(&mut bound, unloaded, 8 << 20);
        assert!(window as f64 >= RATE * 1e-3);
    }

    #[test]
    fn the_window_of_a_long_path_is_not_bounded() {
        let (window, _) = settle(&mut Bound::default(), Duration::from_millis(20), 64 << 20);
        assert_eq!(window, u64::MAX);
    }

    #[test]
    fn a_program_that_sends_little_bounds_nothing() {
        let mut bound = Bound {
            sent: 10,
            ..Bound::default()
        };
        bound.on_acknowledged(Duration::from_millis(3), Duration::from_millis(1));
        bound.on_largest(10, 1 << 20, true);
        assert_eq!(bound.window, u64::MAX);
    }

    #[test]
    fn the_window_is_never_bounded_to_less_than_a_burst() {
        let mut bound = Bound::default();
        for sent in 1..100 {
            bound.sent = sent;
            bound.on_acknowledged(Duration::from_millis(500), Duration::from_millis(1));
            bound.on_largest(sent, bound.window.min(1 << 20), false);
        }
        assert_eq!(bound.window, LEAST);
    }
}
