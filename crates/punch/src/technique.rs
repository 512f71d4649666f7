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

/// What is known of a technique besides how it works.
struct Row {
    is_tcp: bool,
    rank: u8,
    name: &'static str,
    words: &'static str,
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

    /// The table of techniques: by UDP or TCP, rank, name for machines in kebab-case, words for people.
    #[rustfmt::skip]
    fn row(self) -> Row {
        let udp = |rank, name, words| Row { is_tcp: false, rank, name, words };
        let tcp = |rank, name, words| Row { is_tcp: true, rank, name, words };
        match self {
            Self::SameHost => udp(7, "same-host", "both on this host"),
            Self::Lan => udp(6, "lan", "over the local network"),
            Self::Ipv6 => udp(5, "ipv6", "over IPv6"),
            Self::PublicAddress => udp(4, "public-address", "to a public address"),
            Self::PortMapping => udp(4, "port-mapping", "through a mapped port"),
            Self::HolePunch => udp(4, "hole-punch", "punched through the NATs"),
            Self::PeerReflexive => udp(4, "peer-reflexive", "punched to a port that showed itself"),
            Self::PortPrediction => udp(4, "port-prediction", "punched to a predicted port"),
            Self::MutualPrediction => udp(4, "mutual-prediction", "punched with both ports predicted"),
            Self::BlockSearch => udp(4, "block-search", "punched by a search in a port block"),
            Self::BirthdaySearch => udp(4, "birthday-search", "punched by a search over many ports"),
            Self::Vpn => udp(3, "vpn", "over a VPN"),
            Self::TcpLan => tcp(2, "tcp-lan", "by TCP over the local network"),
            Self::TcpIpv6 => tcp(1, "tcp-ipv6", "by TCP over IPv6"),
            Self::TcpPublicAddress => tcp(0, "tcp-public-address", "by TCP to a public address"),
            Self::TcpPortMapping => tcp(0, "tcp-port-mapping", "by TCP through a mapped port"),
            Self::TcpPunch => tcp(0, "tcp-punch", "by TCP punched through the NATs"),
        }
    }

    /// Whether a TCP connection carries the datagrams.
    #[must_use]
    pub fn is_tcp(self) -> bool {
        self.row().is_tcp
    }

    /// How much is to be said for a technique where round trips are about the same: fewer boxes in between come
    /// first, a VPN, which has another tunnel underneath, behind them, and TCP last, in which a lost packet holds up
    /// all behind it.
    pub(crate) fn rank(self) -> u8 {
        self.row().rank
    }

    /// Its number on the wire, which is its place in [`Technique::ALL`].
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name for machines, in kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl std::fmt::Display for Technique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/PROTOCOL.md");

    #[test]
    fn every_technique_has_the_number_that_the_protocol_says() {
        let (_, numbers) = PAGE.split_once("0 same-host").unwrap();
        let (numbers, _) = numbers.split_once('.').unwrap();
        let described: Vec<&str> = std::iter::once("0 same-host")
            .chain(numbers.split(',').map(str::trim).filter(|n| !n.is_empty()))
            .collect();
        let known = Technique::ALL.map(|one| format!("{} {}", one.code(), one.name()));
        assert_eq!(known.as_slice(), described);
        for one in Technique::ALL {
            assert_eq!(Technique::from_code(one.code()), Some(one));
        }
    }
}
