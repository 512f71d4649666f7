//! How a NAT gives out ports, as seen from outside.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How the ports of new mappings were seen to be chosen: what an [`Allocation`](crate::Allocation) looks like from
/// outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ports {
    /// Too few mappings were seen to tell.
    #[default]
    Unknown,
    /// The inside port is kept.
    Preserved,
    /// Each new mapping gets a port at a fixed distance from the last one.
    Sequential {
        /// The distance in ports; below zero where they go down.
        stride: i16,
        /// Mappings that others behind the same NAT make, a thousandfold: per 1,000 seconds.
        foreign_per_kilosecond: u32,
    },
    /// Ports are drawn at random from a range that is far smaller than all ports.
    Block {
        /// The lowest port that belongs to the range, as inferred.
        first: u16,
        /// The highest that belongs to it, as inferred.
        last: u16,
    },
    /// Ports are drawn from all ports.
    Random,
}

/// Where a NAT had counted to when one of our mappings was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// When the NAT made the mapping, by our clock.
    pub at: Instant,
    /// The mapping's place among ours.
    pub place: u32,
    /// The external port.
    pub port: u16,
}

/// Ports from which a NAT may choose, and the circle on which a sequential one counts.
const CIRCLE: u32 = 65_536 - 1024;

/// A range up to this is a block, however many ports were seen in it. The field knows blocks of 300 to 2,000.
const LARGEST_BLOCK: u32 = 4096;

impl Ports {
    /// Says how a NAT chose these ports, given in the order in which the mappings were made.
    pub fn classify(seen: &[Count]) -> Self {
        let ([first, .., last], count) = (seen, seen.len() as u32) else {
            return Self::Unknown;
        };
        let mut sorted: Vec<u16> = seen.iter().map(|c| c.port).collect();
        sorted.sort_unstable();
        sorted.dedup();
        // A sequential NAT may have wrapped around: cut the circle at its widest gap.
        let cut = widest_gap(&sorted);
        sorted.rotate_left(cut);
        let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
            return Self::Unknown;
        };
        let range = ahead(low, high);
        let dense = if count < 4 { 64 } else { 24 * count };
        if range <= dense {
            let stride = sorted
                .windows(2)
                .map(|two| ahead(two[0], two[1]))
                .fold(0, gcd)
                .clamp(1, 64);
            let falling = ahead(first.port, last.port) > CIRCLE / 2;
            let stride = if falling {
                -(stride as i16)
            } else {
                stride as i16
            };
            return Self::Sequential {
                stride,
                foreign_per_kilosecond: foreign(first, last, stride),
            };
        }
        if range <= LARGEST_BLOCK && cut == 0 {
            // So many random ports lie within a fraction of their range; what they leave over is split between its
            // ends.
            let margin = (range / (count - 1)) as u16;
            return Self::Block {
                first: low.saturating_sub(margin).max(1024),
                last: high.saturating_add(margin),
            };
        }
        Self::Random
    }
}

/// The mappings that others behind the same NAT made between two of ours, a thousandfold: per 1,000 seconds. `stride`
/// is the distance between two mappings, in ports.
pub fn foreign(first: &Count, last: &Count, stride: i16) -> u32 {
    let (from, to) = if stride < 0 {
        (last.port, first.port)
    } else {
        (first.port, last.port)
    };
    let steps = ahead(from, to) / u32::from(stride.unsigned_abs().max(1));
    let others = steps.saturating_sub(last.place.wrapping_sub(first.place));
    let span = last
        .at
        .saturating_duration_since(first.at)
        .max(Duration::from_millis(50));
    (f64::from(others) * 1000.0 / span.as_secs_f64()) as u32
}

/// How far `to` lies ahead of `from` on the circle of ports.
fn ahead(from: u16, to: u16) -> u32 {
    (u32::from(to) + CIRCLE - u32::from(from)) % CIRCLE
}

/// The index after which the widest gap lies, so that rotating there makes the shortest range.
fn widest_gap(sorted: &[u16]) -> usize {
    let gap = |i: &usize| ahead(sorted[(i + sorted.len() - 1) % sorted.len()], sorted[*i]);
    (0..sorted.len()).max_by_key(gap).unwrap_or(0)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(ports: &[u16]) -> Ports {
        let start = Instant::now();
        let count = |(n, &port): (u32, &u16)| Count {
            at: start + n * Duration::from_millis(10),
            place: n,
            port,
        };
        Ports::classify(&(0..).zip(ports).map(count).collect::<Vec<_>>())
    }

    #[test]
    fn sequences_are_told_with_their_stride_and_direction() {
        for (ports, expected) in [
            (&[4000, 4001, 4002, 4003, 4004, 4005][..], 1),
            (&[4000, 4002, 4004, 4006, 4008], 2),
            (&[4000, 3999, 3998, 3997, 3996], -1),
            (&[65_533, 65_535, 1025, 1027, 1029], 2),
            (&[4000, 4001], 1),
            (&[4000, 4002, 4001, 4003, 4004, 4005], 1),
        ] {
            let Ports::Sequential {
                stride,
                foreign_per_kilosecond,
            } = made(ports)
            else {
                panic!("{ports:?}: {:?}", made(ports));
            };
            assert_eq!((stride, foreign_per_kilosecond), (expected, 0), "{ports:?}");
        }
    }

    #[test]
    fn foreign_traffic_is_measured() {
        let ports = [4000, 4003, 4004, 4009, 4010, 4020];
        let Ports::Sequential {
            stride: 1,
            foreign_per_kilosecond,
        } = made(&ports)
        else {
            panic!("{:?}", made(&ports));
        };
        assert_eq!(foreign_per_kilosecond, 300_000, "15 ports in 50 ms");
    }

    #[test]
    fn a_block_is_inferred_with_a_margin_and_random_ports_are_not_one() {
        let ports = [20_500, 20_100, 20_900, 20_333, 20_777, 20_050, 20_950];
        assert_eq!(
            made(&ports),
            Ports::Block {
                first: 19_900,
                last: 21_100
            }
        );
        assert_eq!(made(&[20_500, 60_100, 1900, 33_333, 7777]), Ports::Random);
        assert_eq!(made(&[20_500]), Ports::Unknown);
        assert_eq!(made(&[]), Ports::Unknown);
    }
}
