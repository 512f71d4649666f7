//! What was seen of a NAT from behind it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Class, Mapping, Ports};

/// A host's NAT towards IPv4, as far as it showed itself to the host.
///
/// An observation may be wrong, and servers may lie: it orders what is tried and rules nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatReport {
    /// Whether anything answered over IPv4.
    pub answered: bool,
    /// Whether anything answered over IPv6.
    pub answered_v6: bool,
    /// What the mapping depends on; none as long as fewer than two servers answered one socket. Servers at one address
    /// cannot tell a mapping that depends on the address alone from one that depends on nothing.
    pub mapping: Option<Mapping>,
    /// How ports are given to new mappings.
    pub ports: Ports,
    /// Whether servers on the internet see this host at a private address alone: something in front of them rewrites
    /// sources, and what they say tells nothing of the NAT. They count as having answered.
    pub poor_view: bool,
    /// The external addresses seen, at most [`MAX_EXTERNAL`]. More than one: they change between mappings.
    pub external: Vec<IpAddr>,
}

/// External addresses that a report holds.
pub const MAX_EXTERNAL: usize = 4;

impl NatReport {
    /// Whether the NAT was seen to give an inside socket another port for another destination.
    #[must_use]
    pub fn is_dependent(&self) -> bool {
        self.mapping.is_some_and(Mapping::depends)
    }

    /// Whether it is still open how ports are given out, though that would matter.
    #[must_use]
    pub fn is_unclear(&self) -> bool {
        let may_depend = self.mapping.is_none_or(Mapping::depends);
        self.answered && !self.poor_view && may_depend && self.ports == Ports::Unknown
    }

    /// How hard it is to get in, as far as was seen. Filtering does not show in a report and is taken for the usual
    /// one.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.answered {
            true => Class::of(self.mapping, None, self.ports),
            false => Class::UdpBlocked,
        }
    }
}
