//! What a host's NAT looks like from the answers of STUN servers, in the words of RFC 4787.
//!
//! The picture orders the techniques and never rules one out: with one server address, a mapping that depends on the
//! address alone cannot be told from one that depends on nothing.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_nat::{MAX_EXTERNAL, Mapping, NatReport, Ports};

use crate::{LocalAddress, SocketId, candidate, own_mappings::Count};

/// A mapping as a server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) socket: SocketId,
    pub(crate) server: SocketAddr,
    pub(crate) mapped: SocketAddr,
    /// When the NAT made it, by our clock.
    pub(crate) asked: Instant,
}

/// Makes a report of what servers saw. `port` is the inside port of the IPv4 socket, `sampled` what was seen from
/// fresh sockets, `None` while that is still under way, and `counts` the same samples in the order of the mappings.
pub(crate) fn report(
    main: &[Sample],
    sampled: Option<&[Sample]>,
    counts: &[Count],
    local: &[LocalAddress],
    port: Option<u16>,
) -> NatReport {
    let v4: Vec<&Sample> = main.iter().filter(|s| s.mapped.is_ipv4()).collect();
    let mapped: Vec<SocketAddr> = v4.iter().map(|s| s.mapped).collect();
    let own = |mapped: &SocketAddr| {
        local.iter().any(|l| l.ip == mapped.ip()) && Some(mapped.port()) == port
    };
    let mapping = match mapped.as_slice() {
        [] => None,
        all if all.iter().all(own) => Some(Mapping::Untranslated),
        [_] => None,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => {
            Some(Mapping::EndpointIndependent)
        }
        _ if depends_on_port(&v4) => Some(Mapping::AddressAndPortDependent),
        _ => Some(Mapping::AddressDependent),
    };
    let dependent = mapping.is_some_and(Mapping::depends);
    let preserved = !mapped.is_empty() && mapped.iter().all(|mapped| Some(mapped.port()) == port);
    let all = v4.into_iter().chain(sampled.into_iter().flatten());
    let mut external: Vec<IpAddr> = Vec::new();
    for ip in all.map(|s| s.mapped.ip()) {
        if !external.contains(&ip) && external.len() < MAX_EXTERNAL {
            external.push(ip);
        }
    }
    let ports = match sampled {
        _ if preserved => Ports::Preserved,
        Some(_) if dependent || mapping.is_none() => classify(counts),
        _ => Ports::Unknown,
    };
    NatReport {
        answered: !mapped.is_empty(),
        answered_v6: main.iter().any(|s| s.mapped.is_ipv6()),
        poor_view: false,
        mapping,
        ports,
        external,
    }
}

/// Whether an answer says nothing of the NAT: a server on the internet that sees a private address does not see the
/// packets as they came to it. Behind a container's proxy or a load balancer all peers have one address.
pub(crate) fn is_poor_view(sample: &Sample) -> bool {
    candidate::is_private(sample.mapped.ip()) && !candidate::is_private(sample.server.ip())
}

/// Whether two ports of one address saw a socket differently. A server with one address shows no more than that.
fn depends_on_port(seen: &[&Sample]) -> bool {
    let differs = |a: &Sample, b: &Sample| a.server.ip() == b.server.ip() && a.mapped != b.mapped;
    seen.iter().any(|a| seen.iter().any(|b| differs(a, b)))
}

/// Ports from which a NAT may choose, and the circle on which a sequential one counts.
const CIRCLE: u32 = 65_536 - 1024;

/// A range up to this is a block, however many ports were seen in it. The field knows blocks of 300 to 2,000.
const LARGEST_BLOCK: u32 = 4096;

/// Says how a NAT chose these ports, given in the order in which the mappings were made.
pub(crate) fn classify(seen: &[Count]) -> Ports {
    let ([first, .., last], count) = (seen, seen.len() as u32) else {
        return Ports::Unknown;
    };
    let mut sorted: Vec<u16> = seen.iter().map(|c| c.port).collect();
    sorted.sort_unstable();
    sorted.dedup();
    // A sequential NAT may have wrapped around: cut the circle at its widest gap.
    let cut = widest_gap(&sorted);
    sorted.rotate_left(cut);
    let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
        return Ports::Unknown;
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
        return Ports::Sequential {
            stride,
            foreign_per_kilosecond: foreign(first, last, stride),
        };
    }
    if range <= LARGEST_BLOCK && cut == 0 {
        // So many random ports lie within a fraction of their range; what they leave over is split between its ends.
        let margin = (range / (count - 1)) as u16;
        return Ports::Block {
            first: low.saturating_sub(margin).max(1024),
            last: high.saturating_add(margin),
        };
    }
    Ports::Random
}

/// The mappings that others made between two of ours, a thousandfold: per 1,000 seconds.
pub(crate) fn foreign(first: &Count, last: &Count, stride: i16) -> u32 {
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
    use std::time::Instant;

    use super::*;

    fn made(ports: &[u16]) -> Ports {
        let start = Instant::now();
        let count = |(n, &port): (u32, &u16)| Count {
            at: start + n * Duration::from_millis(10),
            place: n,
            port,
        };
        classify(&(0..).zip(ports).map(count).collect::<Vec<_>>())
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
