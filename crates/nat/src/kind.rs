//! A NAT as the labs build it: a description of what the box does, without addresses or state.
//!
//! Left out: TCP, which every kind but a plain router translates and filters by address and port, and IPv6, which the
//! boxes of the labs route without translating.

use std::{fmt, time::Duration};

use crate::{Filtering, Mapping};

/// How the external port of a new mapping is chosen (RFC 4787 section 4.2).
///
/// A port that is taken is never shared: preservation falls back to another free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// The inside port, if it is free.
    Preserving,
    /// The port of the box's last mapping plus `stride`, or the next free one after that.
    Sequential {
        /// Distance between two successive ports; 1 or 2 in the field.
        stride: u16,
    },
    /// A random free port within a block which belongs to the inside host (RFC 7422).
    Block {
        /// How many ports a block has.
        size: u16,
    },
    /// Any free port from 1024 up, at random.
    Random,
}

/// A NAT's behaviour towards UDP.
///
/// Start from one of the constants and refine it:
///
/// ```
/// use p2pdbg_nat::NatKind;
/// use std::time::Duration;
///
/// let home = NatKind::PORT_RESTRICTED.with_hairpin().with_timeout(Duration::from_secs(20));
/// assert_eq!(home.short_name(), "port-restricted+hairpin");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NatKind {
    /// What the external port depends on.
    pub mapping: Mapping,
    /// From which outside addresses packets are let in.
    pub filtering: Filtering,
    /// How external ports are chosen.
    pub allocation: Allocation,
    /// Whether inside hosts reach each other by their external addresses, and then see the
    /// external address as the source (RFC 4787 section 6). Filtering does not apply between
    /// inside hosts.
    pub hairpin: bool,
    /// How long a mapping without traffic lives. Packets of either direction refresh it.
    pub timeout: Duration,
    /// Whether UDP is dropped in both directions, whatever the rest says. TCP still passes.
    pub blocks_udp: bool,
}

impl NatKind {
    /// The mapping lifetime of the constants: the least that RFC 4787 REQ-5 allows.
    const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

    /// A router: no translation, no filtering.
    pub const NONE: Self = Self {
        mapping: Mapping::Untranslated,
        filtering: Filtering::EndpointIndependent,
        allocation: Allocation::Preserving,
        hairpin: false,
        timeout: Self::DEFAULT_TIMEOUT,
        blocks_udp: false,
    };

    /// A stateful firewall: no translation, answers only from endpoints that were sent to.
    pub const FIREWALL: Self = Self {
        filtering: Filtering::AddressAndPortDependent,
        ..Self::NONE
    };

    /// Endpoint-independent mapping and filtering.
    pub const FULL_CONE: Self = Self {
        mapping: Mapping::EndpointIndependent,
        ..Self::NONE
    };

    /// Endpoint-independent mapping, address-dependent filtering.
    pub const ADDRESS_RESTRICTED: Self = Self {
        filtering: Filtering::AddressDependent,
        ..Self::FULL_CONE
    };

    /// Endpoint-independent mapping, address and port-dependent filtering: most home routers.
    pub const PORT_RESTRICTED: Self = Self {
        filtering: Filtering::AddressAndPortDependent,
        ..Self::FULL_CONE
    };

    /// Address and port-dependent mapping and filtering, ports drawn at random.
    pub const SYMMETRIC_RANDOM: Self = Self {
        mapping: Mapping::AddressAndPortDependent,
        filtering: Filtering::AddressAndPortDependent,
        allocation: Allocation::Random,
        ..Self::NONE
    };

    /// Symmetric with ports counted up by one.
    pub const SYMMETRIC_SEQUENTIAL: Self = Self::symmetric_sequential(1);

    /// Symmetric with random ports out of a block of 1,000 for each inside host.
    pub const SYMMETRIC_BLOCK: Self = Self::symmetric_block(1000);

    /// A port-restricted NAT that lets no UDP through.
    pub const UDP_BLOCKED: Self = Self {
        blocks_udp: true,
        ..Self::PORT_RESTRICTED
    };

    /// Every kind that has a constant, from the easiest to get through to the hardest.
    pub const ALL: [Self; 9] = [
        Self::NONE,
        Self::FIREWALL,
        Self::FULL_CONE,
        Self::ADDRESS_RESTRICTED,
        Self::PORT_RESTRICTED,
        Self::SYMMETRIC_SEQUENTIAL,
        Self::SYMMETRIC_BLOCK,
        Self::SYMMETRIC_RANDOM,
        Self::UDP_BLOCKED,
    ];

    /// Symmetric with ports counted up by `stride`.
    pub const fn symmetric_sequential(stride: u16) -> Self {
        Self::SYMMETRIC_RANDOM.with_allocation(Allocation::Sequential { stride })
    }

    /// Symmetric with random ports out of a block of `size` for each inside host.
    pub const fn symmetric_block(size: u16) -> Self {
        Self::SYMMETRIC_RANDOM.with_allocation(Allocation::Block { size })
    }

    /// The same NAT with another choice of ports.
    pub const fn with_allocation(self, allocation: Allocation) -> Self {
        Self { allocation, ..self }
    }

    /// The same NAT, but one at which inside hosts reach each other by their external addresses.
    pub const fn with_hairpin(self) -> Self {
        Self {
            hairpin: true,
            ..self
        }
    }

    /// The same NAT, forgetting an idle mapping after `timeout`.
    pub const fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether the box rewrites addresses.
    pub const fn translates(&self) -> bool {
        !matches!(self.mapping, Mapping::Untranslated)
    }

    /// The name that people use, in lower case without spaces: a table heading or a test's name.
    ///
    /// The timeout is not part of it. A combination without a common name is written in the
    /// abbreviations of RFC 4787, for instance `adm/apdf/random`.
    pub fn short_name(&self) -> String {
        use {Allocation as A, Filtering as F, Mapping as M};
        let mut name = match (self.mapping, self.filtering, self.allocation) {
            _ if self.blocks_udp => "udp-blocked".to_owned(),
            (M::Untranslated, F::EndpointIndependent, _) => "none".to_owned(),
            (M::Untranslated, F::AddressAndPortDependent, _) => "firewall".to_owned(),
            (M::EndpointIndependent, F::EndpointIndependent, A::Preserving) => {
                "full-cone".to_owned()
            }
            (M::EndpointIndependent, F::AddressDependent, A::Preserving) => {
                "address-restricted".to_owned()
            }
            (M::EndpointIndependent, F::AddressAndPortDependent, A::Preserving) => {
                "port-restricted".to_owned()
            }
            (M::AddressAndPortDependent, F::AddressAndPortDependent, allocation) => {
                format!("symmetric-{}", allocation.short_name())
            }
            (mapping, filtering, allocation) => format!(
                "{}/{}/{}",
                mapping.abbreviation(),
                filtering.abbreviation(),
                allocation.short_name()
            ),
        };
        if self.hairpin {
            name.push_str("+hairpin");
        }
        name
    }
}

/// The behaviour in the words of RFC 4787.
impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.blocks_udp {
            return f.write_str("UDP blocked");
        }
        write!(f, "{}, {}", self.mapping, self.filtering)?;
        if self.translates() {
            write!(f, ", {}", self.allocation)?;
        }
        if self.hairpin {
            f.write_str(", hairpinning")?;
        }
        if self.translates() || self.filtering != Filtering::EndpointIndependent {
            write!(f, ", {:?} mapping lifetime", self.timeout)?;
        }
        Ok(())
    }
}

impl Allocation {
    /// One word; a number follows where the usual one (stride 1, block 1,000) does not hold.
    fn short_name(self) -> String {
        match self {
            Self::Preserving => "preserving".to_owned(),
            Self::Sequential { stride: 1 } => "sequential".to_owned(),
            Self::Sequential { stride } => format!("sequential-{stride}"),
            Self::Block { size: 1000 } => "block".to_owned(),
            Self::Block { size } => format!("block-{size}"),
            Self::Random => "random".to_owned(),
        }
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preserving => f.write_str("port preservation"),
            Self::Sequential { stride } => write!(f, "sequential ports (stride {stride})"),
            Self::Block { size } => write!(f, "random ports in a block of {size}"),
            Self::Random => f.write_str("random ports"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_names_of_the_constants_are_distinct() {
        let names: Vec<String> = NatKind::ALL.iter().map(NatKind::short_name).collect();
        assert_eq!(
            names,
            [
                "none",
                "firewall",
                "full-cone",
                "address-restricted",
                "port-restricted",
                "symmetric-sequential",
                "symmetric-block",
                "symmetric-random",
                "udp-blocked"
            ]
        );
    }

    #[test]
    fn display_speaks_rfc_4787() {
        assert_eq!(
            NatKind::PORT_RESTRICTED.to_string(),
            "endpoint-independent mapping, address and port-dependent filtering, \
             port preservation, 120s mapping lifetime"
        );
        assert_eq!(
            NatKind::NONE.to_string(),
            "no mapping, endpoint-independent filtering"
        );
        assert_eq!(
            NatKind::symmetric_sequential(2).short_name(),
            "symmetric-sequential-2"
        );
    }
}
