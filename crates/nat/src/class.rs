//! How hard a network is to get into.

use serde::Serialize;

use crate::{Filtering, Mapping, Ports};

/// A network, by what stands in the way of a direct path: what techniques are chosen by and forecasts are made for.
/// From the easiest to the hardest, and ordered so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// No NAT, and nothing that filters.
    Open,
    /// Independent mapping and filtering: whoever knows the port gets in.
    FullCone,
    /// Independent mapping, filtering by address.
    AddressRestricted,
    /// Independent mapping, filtering by address and port: most home routers.
    PortRestricted,
    /// Another port for every destination, counted up.
    Sequential,
    /// Another port for every destination, out of a small block.
    Block,
    /// Another port for every destination, from anywhere.
    Random,
    /// No answer came over UDP at all, from anywhere.
    UdpBlocked,
}

impl Class {
    /// All, from the easiest to the hardest.
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Sequential,
        Self::Block,
        Self::Random,
        Self::UdpBlocked,
    ];

    /// The class of a NAT that lets UDP out. What is not known is taken for the harder case: where too few servers
    /// answered to tell the mapping, ports that are counted or drawn speak for one that depends on the destination.
    /// Where nothing was seen of the ports either it is taken for an independent one.
    #[must_use]
    pub fn of(mapping: Option<Mapping>, filtering: Option<Filtering>, ports: Ports) -> Self {
        if mapping.is_none_or(Mapping::depends) {
            match ports {
                Ports::Sequential { .. } => return Self::Sequential,
                Ports::Block { .. } => return Self::Block,
                Ports::Unknown if mapping.is_none() => {}
                Ports::Random | Ports::Unknown => return Self::Random,
                // The address varies and the port does not, so the peer can be told it.
                Ports::Preserved => {}
            }
        }
        match filtering {
            Some(Filtering::EndpointIndependent) if mapping == Some(Mapping::Untranslated) => {
                Self::Open
            }
            Some(Filtering::EndpointIndependent) => Self::FullCone,
            Some(Filtering::AddressDependent) => Self::AddressRestricted,
            Some(Filtering::AddressAndPortDependent) | None => Self::PortRestricted,
        }
    }

    /// Whether one port leads in, which a server sees and a peer can be told.
    #[must_use]
    pub const fn is_easy(self) -> bool {
        matches!(
            self,
            Self::Open | Self::FullCone | Self::AddressRestricted | Self::PortRestricted
        )
    }

    /// What a peer in such a network is behind, in few words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Open => "a public address",
            Self::FullCone => "an open NAT (full cone)",
            Self::AddressRestricted => "an easy NAT (address-restricted)",
            Self::PortRestricted => "most home routers (port-restricted)",
            Self::Sequential => "a symmetric NAT that counts its ports",
            Self::Block => "a symmetric NAT with a small port block",
            Self::Random => "a symmetric NAT with random ports",
            Self::UdpBlocked => "a firewall that blocks UDP",
        }
    }

    /// What a host in such a network is told of itself.
    #[must_use]
    pub const fn of_this_host(self) -> &'static str {
        match self {
            Self::Open => "nothing stands in the way of this host",
            Self::FullCone => "the NAT here is an open one (full cone)",
            Self::AddressRestricted => "the NAT here is an easy one (address-restricted)",
            Self::PortRestricted => "here it is as with most home routers (port-restricted)",
            Self::Sequential => "the NAT here is symmetric and counts its ports",
            Self::Block => "the NAT here is symmetric, with a small port block",
            Self::Random => "the NAT here is symmetric, with random ports",
            Self::UdpBlocked => "UDP is blocked here",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NatReport;

    #[test]
    fn class_of_each_behaviour_and_of_what_was_not_seen() {
        use {Filtering as F, Mapping as M};
        let easy = |mapping, filtering| Class::of(mapping, filtering, Ports::Preserved);
        let open = Some(F::EndpointIndependent);
        let closed = Some(F::AddressAndPortDependent);
        assert_eq!(easy(Some(M::Untranslated), open), Class::Open);
        assert_eq!(easy(Some(M::Untranslated), closed), Class::PortRestricted);
        assert_eq!(easy(Some(M::EndpointIndependent), open), Class::FullCone);
        assert_eq!(easy(None, None), Class::PortRestricted);
        let hard = |ports| Class::of(Some(M::AddressAndPortDependent), closed, ports);
        assert_eq!(hard(Ports::Random), Class::Random);
        assert_eq!(hard(Ports::Unknown), Class::Random);
        assert_eq!(hard(Ports::Preserved), Class::PortRestricted);
        assert_eq!(hard(Ports::Block { first: 1, last: 2 }), Class::Block);
        assert_eq!(NatReport::default().class(), Class::UdpBlocked);
    }

    #[test]
    fn class_is_easy_up_to_the_port_restricted() {
        let easy: Vec<Class> = Class::ALL.into_iter().filter(|c| c.is_easy()).collect();
        assert_eq!(easy, Class::ALL[..4]);
    }
}
