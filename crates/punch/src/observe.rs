//! What a host's NAT looks like from the answers of STUN servers, in the words of RFC 4787.
//!
//! The picture orders the techniques and never rules one out: with one server address, a mapping that depends on the
//! address alone cannot be told from one that depends on nothing.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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
