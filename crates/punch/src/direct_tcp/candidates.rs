//! Where an end may be dialled by TCP, and what a connection is called that stands.

use std::net::{IpAddr, SocketAddr};

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

/// Ports of a NAT that lie further apart are not taken for counted ones.
const COUNTED: u16 = 16;

/// Which of the windows behind the last known port is dialled in each round: the next ones are for NATs behind which
/// others connect, and the first is dialled again, since a box may answer a SYN that comes too early by a reset.
const WINDOWS: [u16; 5] = [0, 1, 2, 0, 1];

/// What is of use to a peer, of what servers say of our ports: of each family the address that all see, or the last two
/// where they differ by their ports alone. Behind a NAT that gives each destination another port nobody can be called
/// who is to be let in, but a peer whose own NAT lets in whoever was called at any port has to call, and counted ports
/// can be foretold.
#[must_use]
pub fn seen(mapped: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = mapped.map(address::canonical).collect();
    all.sort_unstable();
    all.dedup();
    let (v4, v6): (Vec<SocketAddr>, Vec<_>) = all.into_iter().partition(SocketAddr::is_ipv4);
    let of_use = |family: Vec<SocketAddr>| {
        let is_one = family.windows(2).all(|two| two[0].ip() == two[1].ip());
        let skipped = family.len().saturating_sub(2);
        family.into_iter().skip(skipped).filter(move |_| is_one)
    };
    of_use(v4).chain(of_use(v6)).collect()
}

/// The two ports at one address of which [`seen`] tells, the greater last.
fn two_ports(seen: impl Iterator<Item = SocketAddr>) -> Option<[SocketAddr; 2]> {
    let mut seen: Vec<SocketAddr> = seen.filter(SocketAddr::is_ipv4).collect();
    seen.sort_unstable();
    let two: [SocketAddr; 2] = seen.try_into().ok()?;
    (two[0].ip() == two[1].ip()).then_some(two)
}

/// Whether our NAT shows each server another port.
pub(crate) fn is_hard(ports: &TcpPorts) -> bool {
    two_ports(ports.seen.iter().copied()).is_some()
}

/// Where a peer with these candidates is dialled in a round. If its NAT shows each server another port, that is one of
/// them, so that ours lets it in if any port of its will do, or the ports that come next, if they seem to be counted
/// and the rendezvous has `seen` the peer there. Neither is of use if ours is no better.
pub(crate) fn targets(
    candidates: &[Candidate],
    round: u32,
    hard: bool,
    seen: impl Fn(IpAddr) -> bool,
) -> Vec<SocketAddr> {
    let reflexive = |c: &&Candidate| c.kind == Kind::ServerReflexive;
    let reflexive = candidates.iter().filter(reflexive).map(|c| c.address);
    let all = candidates.iter().map(|c| c.address);
    let Some(two) = two_ports(reflexive) else {
        return all.collect();
    };
    let mut all: Vec<SocketAddr> = all.filter(|at| !two.contains(at)).collect();
    let [before, last] = two;
    if hard {
        return all;
    }
    if last.port() - before.port() > COUNTED || !seen(last.ip()) {
        all.push(last);
        return all;
    }
    let room = MOST_CANDIDATES.saturating_sub(all.len()) as u16;
    let window = WINDOWS[round.saturating_sub(1) as usize % WINDOWS.len()];
    let ports = (1..=room).filter_map(|n| last.port().checked_add(window * room + n));
    all.extend(ports.map(|port| SocketAddr::new(last.ip(), port)));
    all
}

/// Where a peer is that no server of another port than the web's has seen, if its NAT keeps the ports of its hosts: at
/// the addresses where the rendezvous saw it.
pub(crate) fn kept_ports<'a>(
    candidates: &[Candidate],
    seen: impl IntoIterator<Item = &'a IpAddr>,
) -> Vec<SocketAddr> {
    let mut of_v4 = candidates.iter().filter(|c| c.address.is_ipv4());
    let Some(own) = of_v4.find(|c| c.kind == Kind::Host) else {
        return Vec::new();
    };
    let seen = seen.into_iter().filter(|ip| ip.is_ipv4());
    let at = |ip: &IpAddr| SocketAddr::new(*ip, own.address.port());
    let known = |at: &SocketAddr| candidates.iter().any(|c| c.address == *at);
    seen.map(at).filter(|at| !known(at)).take(1).collect()
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
