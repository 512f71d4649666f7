//! What a host's NAT looks like from the answers of STUN servers, in the words of RFC 4787.
//!
//! The picture orders the techniques and never rules one out: with one server address, a mapping that depends on the
//! address alone cannot be told from one that depends on nothing.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{LocalAddress, SocketId, gather::Sample};

/// A host's NAT towards IPv4, as far as it showed itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatReport {
    /// Whether anything answered over IPv4.
    pub answered: bool,
    /// Whether anything answered over IPv6.
    pub answered_v6: bool,
    /// What the mapping depends on.
    pub mapping: Mapping,
    /// How ports are given to new mappings.
    pub ports: Ports,
    /// The external addresses seen, at most [`MAX_EXTERNAL`]. More than one: they change between mappings.
    pub external: Vec<IpAddr>,
}

/// External addresses that a report holds.
pub const MAX_EXTERNAL: usize = 4;

/// What an external address and port depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mapping {
    /// Fewer than two answers from one socket.
    #[default]
    Unknown,
    /// The external address is the host's own: no translation.
    Untranslated,
    /// All servers saw the same address and port.
    Independent,
    /// Servers saw different addresses or ports.
    Dependent,
}

/// How ports are given to new mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ports {
    /// Too little was seen.
    #[default]
    Unknown,
    /// The inside port is kept.
    Preserved,
    /// Each new mapping gets a port at a fixed distance from the last one.
    Sequential {
        /// The distance, possibly negative.
        stride: i16,
        /// Mappings that others behind the same NAT make, in thousandths a second.
        foreign_per_kilosecond: u32,
    },
    /// Ports are drawn at random from a range that is far smaller than all ports.
    Block {
        /// The lowest port that belongs to the range, as inferred.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// Ports are drawn from all ports.
    Random,
}

/// Makes a report of what servers saw. `port` is the inside port of the IPv4 socket.
pub(crate) fn report(samples: &[Sample], local: &[LocalAddress], port: Option<u16>) -> NatReport {
    let v4: Vec<&Sample> = samples.iter().filter(|s| s.mapped.is_ipv4()).collect();
    let mut external: Vec<IpAddr> = Vec::new();
    for sample in &v4 {
        if !external.contains(&sample.mapped.ip()) && external.len() < MAX_EXTERNAL {
            external.push(sample.mapped.ip());
        }
    }
    let main: Vec<SocketAddr> = v4
        .iter()
        .filter(|s| s.socket == SocketId::V4)
        .map(|s| s.mapped)
        .collect();
    let own = |mapped: &SocketAddr| {
        local.iter().any(|l| l.ip == mapped.ip()) && Some(mapped.port()) == port
    };
    let mapping = match main.as_slice() {
        [] => Mapping::Unknown,
        all if all.iter().all(own) => Mapping::Untranslated,
        [_] => Mapping::Unknown,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Mapping::Independent,
        _ => Mapping::Dependent,
    };
    let preserved = !main.is_empty() && main.iter().all(|mapped| Some(mapped.port()) == port);
    NatReport {
        answered: !v4.is_empty(),
        answered_v6: samples.iter().any(|s| s.mapped.is_ipv6()),
        mapping,
        ports: if preserved {
            Ports::Preserved
        } else {
            Ports::Unknown
        },
        external,
    }
}
