//! Port mapping: asking the gateway to lead a port of its external address to a socket of this host.
//!
//! Three protocols do this: PCP (RFC 6887), its predecessor NAT-PMP (RFC 6886), and UPnP's Internet Gateway Device.
//! The gateway is asked in all three at once; the first that it understands makes the mapping. One mapping is held for
//! each session's IPv4 socket, and one for its TCP port once that is needed: renewed at half of its lifetime, asked for
//! anew when the network changes, removed at the end. What it gives is a candidate like any other, with which even a
//! NAT that chooses every port at random lets the peer in.
//!
//! A gateway is a stranger's program, and on a café's network a stranger. Answers count only from where the question
//! went; they are bounded in length and time; and an external address that is not public (another NAT is above the
//! gateway) or a mapping that leads to another host is of no use and not announced.
//!
//! The protocols are implemented here. The crates that do the same (`crab_nat`, `igd-next`, iroh's `portmapper`) are
//! sound, but bring an HTTP client, an XML tree and Unicode tables for three requests, of which all must be bounded.
//!
//! Left out: IPv6, where a home router's firewall opens to simultaneous checks as well.

mod client;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod mapper;
mod natpmp;
mod pcp;
mod probe;
mod udp_request;
mod upnp;

use std::net::Ipv4Addr;

use p2pdbg_proto::address::Reach;

pub use self::{
    mapper::PortMapper,
    probe::{Answer, GatewayReport, ProtocolReport, probe},
};

/// A protocol to ask a gateway for a mapping, the one to prefer first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
    /// UPnP Internet Gateway Device: found by SSDP, asked over HTTP.
    Upnp,
}

impl Protocol {
    /// All of them, the one to prefer first.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    /// Whether `port` may be asked for by it. A port of a well-known service may be mapped for another program of this
    /// host, whose user has seen to that. UPnP shows whose a mapping is. The others know the address that asks and no
    /// more, so that asking may renew such a mapping, and giving back removes it.
    fn tells_whose(self, port: InsidePort) -> bool {
        self == Self::Upnp || !is_well_known(port.number())
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// Whether packets from anywhere in the internet can come to `ip`: if the external address of a gateway is not public,
/// there is another NAT above it.
///
/// Not public are the networks of RFC 1918, RFC 6598 (a carrier's NAT) and RFC 7335 (DS-Lite), loopback, link-local,
/// benchmarking, multicast and reserved addresses.
#[must_use]
pub fn is_public(ip: Ipv4Addr) -> bool {
    Reach::of(ip.into()) == Reach::Internet
}

/// A port of this host that is to be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsidePort {
    /// A port of UDP.
    Udp(u16),
    /// A port of TCP.
    Tcp(u16),
}

impl InsidePort {
    fn number(self) -> u16 {
        match self {
            Self::Udp(port) | Self::Tcp(port) => port,
        }
    }

    /// What UPnP calls the protocol.
    fn protocol(self) -> &'static str {
        match self {
            Self::Udp(_) => "UDP",
            Self::Tcp(_) => "TCP",
        }
    }
}

/// Whether this is the port of a well-known service (RFC 6335 section 6), which a user may have mapped himself.
fn is_well_known(port: u16) -> bool {
    port < 1024
}

/// A mapping that a gateway made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    external: std::net::SocketAddrV4,
    lifetime: std::time::Duration,
}

/// Why a gateway gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    /// Nothing came that could be understood.
    #[error("the gateway does not answer")]
    Silent,
    /// It speaks the protocol and does not map: why, in its words.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    /// It said yes to something that is of no use.
    #[error("the gateway's answer is of no use: {0}")]
    Useless(String),
}

#[cfg(all(test, target_os = "linux"))]
mod tests;

#[cfg(test)]
mod addresses {
    use super::*;

    #[test]
    fn what_is_behind_another_nat_is_not_public() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.0.1",
            "192.0.0.2",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "203.0.113.9",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
