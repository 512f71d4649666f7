//! What a simulated box is like besides its kind.

use std::time::Duration;

use p2pdbg_nat::NatKind;

/// A NAT's kind and its surroundings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NatConfig {
    /// The kind.
    pub kind: NatKind,
    /// Mappings a second that other hosts behind the same box make.
    pub foreign_per_second: f64,
    /// What a packet does that nobody asked for.
    pub unsolicited: Unsolicited,
    /// External addresses of the box; a new mapping gets any of them.
    pub external_addresses: usize,
}

/// What a box does about a packet that its filter stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsolicited {
    /// Drops it, as RFC 4787 has it.
    Dropped,
    /// Drops it and everything from the same endpoint to the same port for so long, even once it is asked for.
    Punished(Duration),
}

impl From<NatKind> for NatConfig {
    fn from(kind: NatKind) -> Self {
        Self {
            kind,
            foreign_per_second: 0.0,
            unsolicited: Unsolicited::Dropped,
            external_addresses: 1,
        }
    }
}

impl NatConfig {
    /// The same box with other hosts behind it that make so many mappings a second.
    #[must_use]
    pub fn with_foreign(self, foreign_per_second: f64) -> Self {
        Self {
            foreign_per_second,
            ..self
        }
    }

    /// The same box with another view of unsolicited packets.
    #[must_use]
    pub fn with_unsolicited(self, unsolicited: Unsolicited) -> Self {
        Self {
            unsolicited,
            ..self
        }
    }

    /// The same box with a pool of external addresses.
    #[must_use]
    pub fn with_external_addresses(self, external_addresses: usize) -> Self {
        Self {
            external_addresses,
            ..self
        }
    }
}
