//! How a NAT gives out ports, as seen from outside.

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
