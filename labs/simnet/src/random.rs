//! The simulator's randomness: splitmix64, so that a seed repeats a run on every machine.

use std::time::Duration;

/// A generator that gives the same numbers for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`. Neighbouring seeds give unrelated numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number, each as likely.
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `true` with this probability, from 0 to 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Any time below `longest`, each as likely.
    pub fn time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.unit())
    }

    /// How many of the events that come at `mean` a span come in one span (Poisson).
    pub fn events(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            // The normal approximation is good enough for so many.
            let normal: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
            return (mean + normal * mean.sqrt()).round().max(0.0) as u64;
        }
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// A position, each with its weight out of 1; the one behind the last with what is left of 1.
    pub fn one_of(&mut self, weights: &[f64]) -> usize {
        let drawn = self.unit();
        let mut sum = 0.0;
        let below = |weight: &f64| {
            sum += weight;
            drawn < sum
        };
        weights.iter().position(below).unwrap_or(weights.len())
    }

    /// A time whose logarithm is normally distributed, with this deviation, around that of `median`.
    pub fn log_normal(&mut self, median: Duration, deviation: f64) -> Duration {
        let normal: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        median.mul_f64((normal * deviation).exp())
    }

    /// A number whose logarithm is evenly distributed between those of `least` and `most`.
    pub fn log_uniform(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.unit())
    }

    /// 32 bytes for an engine's seed.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for chunk in seed.chunks_mut(8) {
            chunk.copy_from_slice(&self.u64().to_be_bytes());
        }
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_at_their_mean() {
        let mut random = Random::new(1);
        for mean in [0.0, 0.3, 4.0, 200.0] {
            let sum: u64 = (0..20_000).map(|_| random.events(mean)).sum();
            let measured = sum as f64 / 20_000.0;
            assert!(
                (measured - mean).abs() <= 0.05 * mean,
                "{measured} for {mean}"
            );
        }
    }
}
