//! What a host's NAT looks like from the answers of STUN servers, in the words of RFC 4787.
//!
//! The picture orders the techniques and never rules one out: with one server address, a mapping that depends on the
//! address alone cannot be told from one that depends on nothing.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use p2pdbg_nat::{Count, MAX_EXTERNAL, Mapping, NatReport, Ports};

use crate::{LocalAddress, SocketId};

/// A mapping as a server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) socket: SocketId,
    pub(crate) server: SocketAddr,
    pub(crate) mapped: SocketAddr,
    /// When the NAT made it, by our clock.
    pub(crate) asked: Instant,
}

/// Makes a report of what servers saw. `port` is the inside port of the IPv4 socket, `sampled` what was seen from
/// fresh sockets, `None` while that is still under way, and `counts` the same samples in the order of the mappings.
pub(crate) fn report(
    main: &[Sample],
    sampled: Option<&[Sample]>,
    counts: &[Count],
    local: &[LocalAddress],
    port: Option<u16>,
) -> NatReport {
    let v4: Vec<&Sample> = main.iter().filter(|s| s.mapped.is_ipv4()).collect();
    let mapped: Vec<SocketAddr> = v4.iter().map(|s| s.mapped).collect();
    let own = |mapped: &SocketAddr| {
        local.iter().any(|l| l.ip == mapped.ip()) && Some(mapped.port()) == port
    };
    let mapping = match mapped.as_slice() {
        [] => None,
        all if all.iter().all(own) => Some(Mapping::Untranslated),
        [_] => None,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => {
            Some(Mapping::EndpointIndependent)
        }
        _ if depends_on_port(&v4) => Some(Mapping::AddressAndPortDependent),
        _ => Some(Mapping::AddressDependent),
    };
    let dependent = mapping.is_some_and(Mapping::depends);
    let preserved = !mapped.is_empty() && mapped.iter().all(|mapped| Some(mapped.port()) == port);
    let all = v4.into_iter().chain(sampled.into_iter().flatten());
    let mut external: Vec<IpAddr> = Vec::new();
    for ip in all.map(|s| s.mapped.ip()) {
        if !external.contains(&ip) && external.len() < MAX_EXTERNAL {
            external.push(ip);
        }
    }
    let ports = match sampled {
        _ if preserved => Ports::Preserved,
        Some(_) if dependent || mapping.is_none() => Ports::classify(counts),
        _ => Ports::Unknown,
    };
    NatReport {
        answered: !mapped.is_empty(),
        answered_v6: main.iter().any(|s| s.mapped.is_ipv6()),
        poor_view: false,
        mapping,
        ports,
        external,
    }
}

/// Whether two ports of one address saw a socket differently. A server with one address shows no more than that.
fn depends_on_port(seen: &[&Sample]) -> bool {
    let differs = |a: &Sample, b: &Sample| a.server.ip() == b.server.ip() && a.mapped != b.mapped;
    seen.iter().any(|a| seen.iter().any(|b| differs(a, b)))
}
