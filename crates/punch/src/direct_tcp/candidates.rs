//! Where an end may be dialled by TCP, and what a connection is called that stands.

use std::net::SocketAddr;

use p2pdbg_proto::address;

use crate::{
    TcpPorts, Technique,
    candidate::{self, Candidate, Kind},
};

/// Candidates of one end, and addresses that are dialled in a round.
pub(crate) const MOST_CANDIDATES: usize = 8;

/// What a path is called that TCP makes where UDP would have been called so.
pub(crate) fn by_tcp(technique: Technique) -> Technique {
    match technique {
        Technique::SameHost | Technique::Lan | Technique::Vpn => Technique::TcpLan,
        Technique::Ipv6 => Technique::TcpIpv6,
        Technique::PublicAddress => Technique::TcpPublicAddress,
        Technique::PortMapping => Technique::TcpPortMapping,
        _ => Technique::TcpPunch,
    }
}

/// What a connection is called that came to `local` from `remote`.
pub(crate) fn accepted(local: SocketAddr, remote: SocketAddr, mapped: bool) -> Technique {
    let (local, remote) = (address::canonical(local), address::canonical(remote));
    if address::is_private(remote.ip()) {
        Technique::TcpLan
    } else if local.is_ipv6() {
        Technique::TcpIpv6
    } else if !address::is_private(local.ip()) {
        Technique::TcpPublicAddress
    } else if mapped {
        Technique::TcpPortMapping
    } else {
        Technique::TcpPunch
    }
}

/// Where this end may be dialled.
pub(crate) fn candidates(ports: &TcpPorts, local: &[candidate::LocalAddress]) -> Vec<Candidate> {
    // What is seen and mapped must not be pushed out by a crowd of interfaces.
    let mut all = candidate::host(local, ports.v4, ports.v6, MOST_CANDIDATES - 3);
    let mapped = ports.mapped.map(|address| (Kind::Mapped, address));
    let seen = ports
        .seen
        .iter()
        .map(|&address| (Kind::ServerReflexive, address));
    for (kind, address) in mapped.into_iter().chain(seen) {
        let address = address::canonical(address);
        let known = all.iter().any(|c| c.address == address);
        if candidate::is_usable(address) && all.len() < MOST_CANDIDATES && !known {
            all.push(Candidate { kind, address });
        }
    }
    all
}
