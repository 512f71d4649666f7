//! How a path came to be.

/// How a path came to be, from the cheapest technique up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Technique {
    /// Both peers on one host.
    SameHost,
    /// Straight to an interface's private address on the same LAN.
    Lan,
    /// IPv6 to a global address.
    Ipv6,
    /// Straight to a public IPv4 address of the peer's own, no NAT on that side.
    PublicAddress,
    /// Through a port that a gateway was asked to map.
    PortMapping,
    /// Simultaneous checks to the addresses that the STUN server saw.
    HolePunch,
    /// The peer's NAT used a port nobody had foretold, and its packets got through.
    PeerReflexive,
    /// The ports of a sequential NAT were foretold.
    PortPrediction,
    /// Both NATs were sequential and both were foretold.
    MutualPrediction,
    /// A few sockets behind a NAT that hands out ports from a block, a few probes into that block.
    BlockSearch,
    /// Many sockets behind a NAT with random ports, many probes at it.
    BirthdaySearch,
    /// Straight to an interface's private address, from too far away for it to be of the same LAN.
    Vpn,
    /// By TCP, to an interface's private address.
    TcpLan,
    /// By TCP over IPv6.
    TcpIpv6,
    /// By TCP, to a public IPv4 address of one of the peers, no NAT on that side.
    TcpPublicAddress,
    /// By TCP, through a port that a gateway was asked to map.
    TcpPortMapping,
    /// By TCP, to the addresses that STUN servers saw: both ends dialled at the same moment, or one's NAT lets
    /// connections in.
    TcpPunch,
}

impl Technique {
    pub(crate) const ALL: [Self; 17] = [
        Self::SameHost,
        Self::Lan,
        Self::Ipv6,
        Self::PublicAddress,
        Self::PortMapping,
        Self::HolePunch,
        Self::PeerReflexive,
        Self::PortPrediction,
        Self::MutualPrediction,
        Self::BlockSearch,
        Self::BirthdaySearch,
        Self::Vpn,
        Self::TcpLan,
        Self::TcpIpv6,
        Self::TcpPublicAddress,
        Self::TcpPortMapping,
        Self::TcpPunch,
    ];

    /// Whether a TCP connection carries the datagrams.
    #[must_use]
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::TcpLan
                | Self::TcpIpv6
                | Self::TcpPublicAddress
                | Self::TcpPortMapping
                | Self::TcpPunch
        )
    }

    /// How much is to be said for a technique where round trips are about the same: fewer boxes in between come
    /// first, a VPN, which has another tunnel underneath, behind them, and TCP last, in which a lost packet holds up
    /// all behind it.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::SameHost => 7,
            Self::Lan => 6,
            Self::Ipv6 => 5,
            Self::PublicAddress
            | Self::PortMapping
            | Self::HolePunch
            | Self::PeerReflexive
            | Self::PortPrediction
            | Self::MutualPrediction
            | Self::BlockSearch
            | Self::BirthdaySearch => 4,
            Self::Vpn => 3,
            Self::TcpLan => 2,
            Self::TcpIpv6 => 1,
            Self::TcpPublicAddress | Self::TcpPortMapping | Self::TcpPunch => 0,
        }
    }

    /// Its number on the wire.
    pub(crate) fn code(self) -> u8 {
        Self::ALL.iter().position(|&t| t == self).unwrap_or(0) as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name for machines, in kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SameHost => "same-host",
            Self::Lan => "lan",
            Self::Ipv6 => "ipv6",
            Self::PublicAddress => "public-address",
            Self::PortMapping => "port-mapping",
            Self::HolePunch => "hole-punch",
            Self::PeerReflexive => "peer-reflexive",
            Self::PortPrediction => "port-prediction",
            Self::MutualPrediction => "mutual-prediction",
            Self::BlockSearch => "block-search",
            Self::BirthdaySearch => "birthday-search",
            Self::Vpn => "vpn",
            Self::TcpLan => "tcp-lan",
            Self::TcpIpv6 => "tcp-ipv6",
            Self::TcpPublicAddress => "tcp-public-address",
            Self::TcpPortMapping => "tcp-port-mapping",
            Self::TcpPunch => "tcp-punch",
        }
    }
}

impl std::fmt::Display for Technique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SameHost => "both on this host",
            Self::Lan => "over the local network",
            Self::Ipv6 => "over IPv6",
            Self::PublicAddress => "to a public address",
            Self::PortMapping => "through a mapped port",
            Self::HolePunch => "punched through the NATs",
            Self::PeerReflexive => "punched to a port that showed itself",
            Self::PortPrediction => "punched to a predicted port",
            Self::MutualPrediction => "punched with both ports predicted",
            Self::BlockSearch => "punched by a search in a port block",
            Self::BirthdaySearch => "punched by a search over many ports",
            Self::Vpn => "over a VPN",
            Self::TcpLan => "by TCP over the local network",
            Self::TcpIpv6 => "by TCP over IPv6",
            Self::TcpPublicAddress => "by TCP to a public address",
            Self::TcpPortMapping => "by TCP through a mapped port",
            Self::TcpPunch => "by TCP punched through the NATs",
        })
    }
}
