//! Lets an acknowledgement out that a full window would hold back.
//!
//! quinn-proto 0.11 puts an acknowledgement into a packet of data wherever data waits to be sent, and holds the
//! packet back while the window is full (`poll_transmit`). RFC 9002, section 7, does not want that: an
//! acknowledgement alone is not congestion controlled. Two ends that both have much to send fill both windows at
//! once, and then each waits for an acknowledgement that the other holds back, until a probe timeout. Each round trip
//! that is measured so contains a timeout, which makes the next timeout longer.
//!
//! A controller is asked for nothing but its window. So this one allows a packet more when nothing was sent for
//! [`QUIET`]: quinn looks at the window when its timer for acknowledgements fires, which is after
//! [`ACK_WITHIN`] since a packet came that is not acknowledged.

use std::time::{Duration, Instant};

use crate::acks::ACK_WITHIN;

/// So long nothing is sent before a packet goes beyond the window. Less than the timer for
/// acknowledgements, which counts from a packet that came after the last one was sent.
const QUIET: Duration = ACK_WITHIN.saturating_sub(Duration::from_millis(1));

/// So many may go before the window has room again: with two, bulk in both directions over 1 Mbit/s used a third of it,
/// with eight it made a queue of 100 ms on a path of that length, and with more than this it is no better.
const MOST: u32 = 16;

/// What quinn has in flight without telling the controller: a probe for a larger MTU.
const PROBE: u64 = 1452;

/// What is in flight, as far as a controller is told, and when something was last sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeldAcks {
    /// Bytes at the last acknowledgement, and sent since; acknowledgements alone are counted, though quinn does not.
    acknowledged_at: u64,
    sent_since: u64,
    /// When something was last sent.
    sent_at: Option<Instant>,
    /// Packets that went beyond the window since it last had room.
    beyond: u32,
}

impl HeldAcks {
    /// So many bytes were sent while the window, without what this allows, was so large.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, window: u64) {
        if self.is_quiet(now) && self.in_flight() + bytes > window {
            self.beyond += 1;
        }
        self.sent_since += bytes;
        self.sent_at = Some(now);
    }

    /// A batch of acknowledgements is over, after which so much is in flight.
    pub(super) fn on_acknowledged(&mut self, in_flight: u64, window: u64) {
        self.acknowledged_at = in_flight;
        self.sent_since = 0;
        if in_flight < window {
            self.beyond = 0;
        }
    }

    /// The window that lets a packet out, if one is due at the time that `clock` tells. It is not asked while there is
    /// room anyway, as there is whenever little is sent.
    pub(super) fn window(&self, clock: impl FnOnce() -> Instant, window: u64, mtu: u64) -> u64 {
        // What was counted too much must not open the window: data alone fills it to a packet beyond at most.
        let in_flight = self.in_flight().min(self.acknowledged_at.max(window + mtu));
        let beyond = in_flight + 2 * mtu + PROBE;
        if beyond <= window || self.beyond >= MOST || !self.is_quiet(clock()) {
            return window;
        }
        beyond
    }

    fn in_flight(&self) -> u64 {
        self.acknowledged_at + self.sent_since
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.sent_at
            .is_some_and(|sent_at| now.saturating_duration_since(sent_at) >= QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1200;
    const FULL: u64 = 10 * MTU;

    #[test]
    fn packet_goes_beyond_a_full_window_when_nothing_moves_and_only_a_few_do() {
        let mut now = Instant::now();
        let mut acks = HeldAcks::default();
        assert_eq!(
            acks.window(|| now, FULL, MTU),
            FULL,
            "nothing was ever sent"
        );
        acks.on_sent(now, FULL, FULL);
        assert_eq!(acks.window(|| now, FULL, MTU), FULL);
        for _ in 0..MOST {
            now += QUIET;
            let sent = acks.in_flight().min(FULL + MTU);
            let window = acks.window(|| now, FULL, MTU);
            assert!(window > sent + MTU && window <= FULL + 4 * MTU + PROBE);
            acks.on_sent(now, MTU, FULL);
            assert_eq!(
                acks.window(|| now, FULL, MTU),
                FULL,
                "it has just been sent"
            );
        }
        now += QUIET;
        assert_eq!(acks.window(|| now, FULL, MTU), FULL);
        acks.on_acknowledged(FULL - MTU, FULL);
        now += QUIET;
        assert!(acks.window(|| now, FULL, MTU) > FULL, "the window had room");
    }

    #[test]
    fn window_that_has_shrunk_below_what_is_in_flight_lets_a_packet_out() {
        let now = Instant::now();
        let mut acks = HeldAcks::default();
        acks.on_sent(now, 5 * FULL, 5 * FULL);
        acks.on_acknowledged(5 * FULL, FULL);
        assert!(acks.window(|| now + QUIET, FULL, MTU) > 5 * FULL + MTU);
    }
}
