//! How fast the path delivers, measured at the sender (draft-cheng-iccrg-delivery-rate-estimation).
//!
//! A sample is what was acknowledged between the sending of a packet and its acknowledgement, over the longer of the
//! times that it took to send and to acknowledge that much. Losses lower it by no more than what was lost.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How many bursts in flight are remembered; older ones give no samples.
const BURSTS: usize = 1 << 14;

/// How many round trips the highest rate stands. A link that has become slower is believed after as many.
const MEMORY: u64 = 10;

/// Rate samples of one path.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivery {
    /// How many bytes have been acknowledged so far.
    delivered: u64,
    /// When the last of them were.
    delivered_at: Option<Instant>,
    /// When the packet was sent that was acknowledged last.
    acknowledged: Option<Instant>,
    /// What is in flight, in the order of sending.
    bursts: VecDeque<Burst>,
}

/// Packets that were sent at one instant, and how things stood then.
#[derive(Debug, Clone, Copy)]
struct Burst {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    acknowledged: Instant,
}

impl Delivery {
    /// Notes that packets are sent at this instant.
    pub(super) fn on_sent(&mut self, now: Instant) {
        if self.bursts.is_empty() {
            // From idle: what was measured before says nothing of the time between.
            self.delivered_at = Some(now);
            self.acknowledged = Some(now);
        }
        if self.bursts.back().is_some_and(|burst| burst.at >= now) || self.bursts.len() == BURSTS {
            return;
        }
        self.bursts.push_back(Burst {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at.unwrap_or(now),
            acknowledged: self.acknowledged.unwrap_or(now),
        });
    }

    /// So many bytes were acknowledged.
    pub(super) fn on_acknowledged(&mut self, bytes: u64) {
        self.delivered += bytes;
    }

    /// A batch of acknowledgements is over, and its newest packet was sent then. The rate in bytes a second, unless it
    /// was measured over less than `least`, the shortest round trip: such a sample tells of a batch and not of a path.
    pub(super) fn sample(
        &mut self,
        now: Instant,
        newest: Instant,
        least: Duration,
        in_flight: u64,
    ) -> Option<f64> {
        while self.bursts.front().is_some_and(|burst| burst.at < newest) {
            self.bursts.pop_front();
        }
        let burst = *self.bursts.front().filter(|burst| burst.at == newest)?;
        if in_flight == 0 {
            self.bursts.clear();
        }
        self.delivered_at = Some(now);
        self.acknowledged = Some(newest);
        let sending = newest.saturating_duration_since(burst.acknowledged);
        let acknowledging = now.saturating_duration_since(burst.delivered_at);
        let took = sending.max(acknowledging);
        if took.is_zero() || took < least {
            return None;
        }
        Some((self.delivered - burst.delivered) as f64 / took.as_secs_f64())
    }
}

/// The highest rate of the last [`MEMORY`] round trips.
#[derive(Debug, Clone, Default)]
pub(super) struct HighestRate {
    /// The highest of each round trip, falling from the front.
    rates: VecDeque<(u64, f64)>,
}

impl HighestRate {
    /// In bytes a second; none before the first sample.
    pub(super) fn get(&self) -> Option<f64> {
        self.rates.front().map(|(_, rate)| *rate)
    }

    /// Takes in what was measured in this round trip.
    pub(super) fn add(&mut self, round: u64, rate: f64) {
        while self.rates.back().is_some_and(|(_, lower)| *lower <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((round, rate));
        while self
            .rates
            .front()
            .is_some_and(|(at, _)| at + MEMORY < round)
        {
            self.rates.pop_front();
        }
    }

    /// Counts on this rate and no other from now on.
    pub(super) fn reset(&mut self, round: u64, rate: f64) {
        self.rates = VecDeque::from([(round, rate)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_rate_is_what_came_through_in_a_round_trip_whatever_was_lost() {
        let began = Instant::now();
        let mut delivery = Delivery::default();
        let mut rate = None;
        for step in 0..200u32 {
            let now = began + step * MS;
            delivery.on_sent(now);
            // Each tenth is lost.
            if step >= 40 && step % 10 != 0 {
                delivery.on_acknowledged(1000);
                rate = delivery.sample(now, now - 40 * MS, 40 * MS, 40_000);
            }
        }
        let rate = rate.unwrap();
        assert!((880e3..920e3).contains(&rate), "{rate}");
    }

    #[test]
    fn a_batch_of_acknowledgements_is_not_taken_for_a_fast_path() {
        let began = Instant::now();
        let mut delivery = Delivery::default();
        for step in 0..40u32 {
            delivery.on_sent(began + step * MS);
        }
        // All come at once.
        let now = began + 80 * MS;
        (0..40).for_each(|_| delivery.on_acknowledged(1000));
        let rate = delivery.sample(now, began + 39 * MS, 40 * MS, 0).unwrap();
        assert!(rate <= 500e3, "{rate}");
    }

    #[test]
    fn the_highest_rate_is_forgotten_after_its_time() {
        let mut highest = HighestRate::default();
        highest.add(0, 9.0);
        highest.add(5, 3.0);
        highest.add(MEMORY, 2.0);
        assert_eq!(highest.get(), Some(9.0));
        highest.add(MEMORY + 1, 2.0);
        assert_eq!(highest.get(), Some(3.0));
    }
}
