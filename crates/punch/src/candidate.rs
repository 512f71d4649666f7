//! Candidates: addresses at which a peer may be reached (RFC 8445 section 5.1), and which of the peer's are worth a
//! packet.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use p2pdbg_proto::address::{self, Reach};
use serde::{Deserialize, Serialize};

use crate::Technique;

/// An address of one of this host's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalAddress {
    /// The interface's address.
    pub ip: IpAddr,
    /// The interface's index where `ip` is an IPv6 link-local address, else 0.
    pub scope_id: u32,
}

impl From<IpAddr> for LocalAddress {
    fn from(ip: IpAddr) -> Self {
        Self { ip, scope_id: 0 }
    }
}

/// How an address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// An address of an interface of the host itself (RFC 8445's host candidate).
    Host,
    /// A gateway was asked to map it.
    Mapped,
    /// A STUN server saw it.
    ServerReflexive,
    /// An authenticated check came from it.
    PeerReflexive,
    /// It was computed from what a sequential NAT did before.
    Predicted,
}

/// An address with how it became known. In a signal, the sender's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
}

/// Whether packets to `address` could be meant for one host at all.
#[must_use]
pub fn is_usable(address: SocketAddr) -> bool {
    Reach::of(address.ip()) != Reach::Nobody && address.port() != 0
}

fn is_link_local(ip: IpAddr) -> bool {
    Reach::of(ip) == Reach::Link
}

/// What a pair with this remote candidate would be called if it worked.
pub(crate) fn technique(remote: Candidate, local: &[LocalAddress]) -> Technique {
    let ip = remote.address.ip();
    match remote.kind {
        // Whoever comes from an address of ours is here, whether or not it has told its addresses yet.
        Kind::Host | Kind::PeerReflexive if local.iter().any(|l| l.ip == ip) => Technique::SameHost,
        Kind::Host | Kind::PeerReflexive if address::is_private(ip) => Technique::Lan,
        Kind::Mapped => Technique::PortMapping,
        _ if ip.is_ipv6() => Technique::Ipv6,
        Kind::Host => Technique::PublicAddress,
        Kind::ServerReflexive => Technique::HolePunch,
        Kind::PeerReflexive => Technique::PeerReflexive,
        Kind::Predicted => Technique::PortPrediction,
    }
}

/// The peer's candidates that this end will check, in their order: usable, each once, at most `most`.
///
/// An IPv6 link-local address is tried on every interface of ours that has one, since the peer's scope says nothing
/// here; these come last, so that a crowd of interfaces at either end pushes out nothing else. A loopback address is
/// tried only if the driver named one of ours.
pub(crate) fn accept(claimed: &[Candidate], local: &[LocalAddress], most: usize) -> Vec<Candidate> {
    let loopback_allowed = local.iter().any(|l| l.ip.is_loopback());
    let mut accepted: Vec<Candidate> = Vec::new();
    let multiplies = |c: &Candidate| c.address.is_ipv6() && is_link_local(c.address.ip());
    let (scoped, plain): (Vec<Candidate>, Vec<Candidate>) =
        claimed.iter().copied().partition(multiplies);
    for candidate in plain.into_iter().chain(scoped) {
        let address = address::canonical(candidate.address);
        if !is_usable(address) || (address.ip().is_loopback() && !loopback_allowed) {
            continue;
        }
        let scoped: Vec<SocketAddr> = match address.ip() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => scopes(local)
                .map(|scope| SocketAddrV6::new(ip, address.port(), 0, scope).into())
                .collect(),
            _ => vec![address],
        };
        for address in scoped {
            if accepted.len() < most && !accepted.iter().any(|a| a.address == address) {
                accepted.push(Candidate {
                    kind: candidate.kind,
                    address,
                });
            }
        }
    }
    accepted
}

fn scopes(local: &[LocalAddress]) -> impl Iterator<Item = u32> {
    local
        .iter()
        .filter(|l| l.ip.is_ipv6() && is_link_local(l.ip) && l.scope_id != 0)
        .map(|l| l.scope_id)
}

/// The host candidates of sockets bound to these ports, at most `most`: interface addresses of the socket's family.
///
/// Addresses that mean something further away come first, and among those of one kind the order of `local` is kept.
/// The first address of each family in `local`, link-local ones aside, is never cut, and no family takes the places of
/// the other's first few: a host of containers has dozens of addresses, and one by which its neighbours reach it.
pub(crate) fn host(
    local: &[LocalAddress],
    v4_port: Option<u16>,
    v6_port: Option<u16>,
    most: usize,
) -> Vec<Candidate> {
    let with_port = |l: &LocalAddress| {
        let address: SocketAddr = match l.ip {
            IpAddr::V4(ip) => (ip, v4_port?).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, v6_port?, 0, l.scope_id).into(),
        };
        is_usable(address).then_some(Candidate {
            kind: Kind::Host,
            address,
        })
    };
    let by_reach = |c: &Candidate| {
        let ip = c.address.ip();
        (is_link_local(ip), address::is_private(ip))
    };
    // The first few of a family are its own, and what is left of the places is for all.
    let (mut kept, mut rest) = (Vec::new(), Vec::new());
    for is_v6 in [false, true] {
        let mut family: Vec<Candidate> = Vec::new();
        for candidate in local.iter().filter_map(with_port) {
            if candidate.address.is_ipv6() == is_v6 && !family.contains(&candidate) {
                family.push(candidate);
            }
        }
        let first = family.iter().position(|c| !is_link_local(c.address.ip()));
        let first = first.map(|at| family.remove(at));
        family.sort_by_key(by_reach);
        family.splice(..0, first);
        rest.extend(family.split_off(family.len().min(most / 3)));
        kept.extend(family);
    }
    rest.sort_by_key(by_reach);
    rest.truncate(most - kept.len());
    kept.extend(rest);
    kept.sort_by_key(by_reach);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(text: &str) -> Candidate {
        Candidate {
            kind: Kind::Host,
            address: text.parse().unwrap(),
        }
    }

    fn local(ips: &[&str]) -> Vec<LocalAddress> {
        let parse = |ip: &&str| LocalAddress {
            ip: ip.parse().unwrap(),
            scope_id: if ip.starts_with("fe80") { 3 } else { 0 },
        };
        ips.iter().map(parse).collect()
    }

    #[test]
    fn addresses_that_are_no_hosts_are_not_checked() {
        let claims: Vec<Candidate> = [
            "0.0.0.0:1",
            "0.1.2.3:1",
            "224.0.0.251:5353",
            "255.255.255.255:9",
            "240.0.0.1:9",
            "192.0.2.1:0",
            "127.0.0.1:53",
            "[::]:1",
            "[ff02::fb]:5353",
            "[::1]:53",
            "[::ffff:127.0.0.1]:53",
            "[fe80::1]:7",
        ]
        .map(claim)
        .to_vec();
        assert_eq!(accept(&claims, &local(&["192.168.1.2"]), 99), []);
    }

    #[test]
    fn a_thousand_candidates_are_cut_to_the_cap_and_copies_count_once() {
        let claims: Vec<Candidate> = (1..=1000_u16)
            .flat_map(|p| [p; 2])
            .map(|p| claim(&format!("192.0.2.1:{p}")))
            .collect();
        let accepted = accept(&claims, &[], 24);
        assert_eq!(accepted.len(), 24);
        assert_eq!(accepted[23].address.port(), 24);
    }

    #[test]
    fn loopback_and_link_local_follow_our_own_interfaces() {
        let claims = ["127.0.0.1:7", "[fe80::2]:7", "[::ffff:192.0.2.1]:7"].map(claim);
        let ours = local(&["127.0.0.1", "fe80::1"]);
        let accepted = accept(&claims, &ours, 24);
        let scoped: SocketAddr = SocketAddrV6::new("fe80::2".parse().unwrap(), 7, 0, 3).into();
        let addresses: Vec<SocketAddr> = accepted.iter().map(|c| c.address).collect();
        assert_eq!(
            addresses,
            [
                "127.0.0.1:7".parse().unwrap(),
                "192.0.2.1:7".parse().unwrap(),
                scoped
            ]
        );
    }

    #[test]
    fn a_crowd_of_link_local_addresses_pushes_nothing_else_out() {
        let scopes = (1..=10).map(|scope_id| LocalAddress {
            ip: "fe80::1".parse().unwrap(),
            scope_id,
        });
        let scopes: Vec<LocalAddress> = scopes.collect();
        let crowd = (2..12).map(|n| claim(&format!("[fe80::{n}]:7")));
        let claims: Vec<Candidate> = crowd.chain([claim("192.0.2.1:7")]).collect();
        let accepted = accept(&claims, &scopes, 24);
        assert_eq!(accepted.len(), 24);
        assert_eq!(accepted[0], claim("192.0.2.1:7"));
    }

    #[test]
    fn a_technique_follows_from_the_remote_candidate() {
        let ours = local(&["192.168.1.2"]);
        let name = |kind, address: &str| {
            let address = address.parse().unwrap();
            technique(Candidate { kind, address }, &ours)
        };
        assert_eq!(name(Kind::Host, "192.168.1.2:1"), Technique::SameHost);
        assert_eq!(
            name(Kind::PeerReflexive, "192.168.1.2:1"),
            Technique::SameHost
        );
        assert_eq!(name(Kind::Host, "192.168.1.3:1"), Technique::Lan);
        assert_eq!(name(Kind::PeerReflexive, "192.168.1.3:1"), Technique::Lan);
        assert_eq!(name(Kind::Host, "192.0.2.3:1"), Technique::PublicAddress);
        assert_eq!(name(Kind::Host, "[2001:db8::1]:1"), Technique::Ipv6);
        assert_eq!(
            name(Kind::ServerReflexive, "100.64.0.1:1"),
            Technique::HolePunch
        );
        assert_eq!(
            name(Kind::PeerReflexive, "192.0.2.3:1"),
            Technique::PeerReflexive
        );
    }

    /// The host candidates of these addresses with one port for both families.
    fn announced(local: &[&str], most: usize) -> Vec<IpAddr> {
        let local: Vec<LocalAddress> = local
            .iter()
            .map(|ip| ip.parse::<IpAddr>().unwrap().into())
            .collect();
        let candidates = host(&local, Some(7), Some(7), most);
        candidates.iter().map(|c| c.address.ip()).collect()
    }

    #[test]
    fn a_crowd_of_bridges_pushes_out_neither_the_first_address_nor_the_other_family() {
        let crowd: Vec<String> = (0..100).map(|n| format!("172.17.{n}.1")).collect();
        let public: Vec<String> = (1..20).map(|n| format!("192.0.2.{n}")).collect();
        for (crowd, most) in [(&crowd, 12), (&crowd, 5), (&public, 12), (&public, 5)] {
            let mut local = vec!["192.168.1.5"];
            local.extend(crowd.iter().map(String::as_str));
            local.push("fd00::5");
            let announced = announced(&local, most);
            assert_eq!(announced.len(), most);
            for ip in ["192.168.1.5", "fd00::5"] {
                assert!(announced.contains(&ip.parse().unwrap()), "{announced:?}");
            }
        }
        let v6: Vec<String> = (1..20).map(|n| format!("2001:db8::{n}")).collect();
        let mut local: Vec<&str> = v6.iter().map(String::as_str).collect();
        local.extend(["10.0.0.1", "10.0.0.2"]);
        let announced = announced(&local, 12);
        assert!(announced.ends_with(&["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap())));
    }

    #[test]
    fn of_one_kind_the_order_is_kept_and_what_reaches_further_comes_first() {
        let local = [
            "192.168.1.5",
            "fe80::1",
            "10.0.0.1",
            "192.0.2.1",
            "10.0.0.1",
            "2001:db8::1",
        ];
        let expected = [
            "192.0.2.1",
            "2001:db8::1",
            "192.168.1.5",
            "10.0.0.1",
            "fe80::1",
        ];
        assert_eq!(
            announced(&local, 12),
            expected.map(|ip| ip.parse::<IpAddr>().unwrap())
        );
    }
}
