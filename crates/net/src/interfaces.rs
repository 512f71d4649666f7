//! The addresses of this host's interfaces, as candidates for the traversal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use if_addrs::Interface;
use p2pdbg_punch::LocalAddress;

use crate::{links::Links, route};

/// Any two public addresses: what matters is the route towards them. Nothing is sent there.
pub(crate) const PUBLIC: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
];

/// Servers whose routes are asked for.
const SERVERS: usize = 8;

/// The addresses of all interfaces that are up; loopback only if asked for.
///
/// Those by which others are likely to reach this host come first: what it sends from towards the internet, what it
/// sends from towards `servers`, and what its devices and tunnels have. What is left are mostly bridges of containers
/// and virtual machines, of which there may be dozens. An empty list if the operating system tells nothing:
/// server-reflexive candidates still work then.
pub fn local_addresses(with_loopback: bool, servers: &[SocketAddr]) -> Vec<LocalAddress> {
    let public = PUBLIC.iter().map(|&ip| (ip, 9).into());
    let servers = servers.iter().take(SERVERS).copied();
    let sources: Vec<IpAddr> = public
        .chain(servers)
        .filter_map(route::source_towards)
        .collect();
    let links = Links::of_this_host();
    let mut addresses: Vec<(usize, LocalAddress)> = list(&links)
        .into_iter()
        .filter(|interface| with_loopback || !interface.is_loopback())
        .map(|interface| (place(&interface, &sources, &links), address(&interface)))
        .collect();
    addresses.sort_unstable();
    let mut ordered: Vec<LocalAddress> = Vec::with_capacity(addresses.len());
    for (_, address) in addresses {
        if !ordered.contains(&address) {
            ordered.push(address);
        }
    }
    ordered
}

/// The addresses of this host's interfaces that are up; none if the operating system tells nothing.
pub(crate) fn list(links: &Links) -> Vec<Interface> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the network interfaces");
        Vec::new()
    });
    interfaces.retain(|interface| interface.index.is_none_or(|index| links.is_up(index)));
    interfaces
}

/// Where an address of this interface stands among all: the lower, the likelier others reach this host there.
fn place(interface: &Interface, sources: &[IpAddr], links: &Links) -> usize {
    let source = sources.iter().position(|&source| source == interface.ip());
    source.unwrap_or_else(|| {
        let leads_outside = interface
            .index
            .is_none_or(|index| links.leads_outside(index));
        sources.len() + usize::from(!leads_outside)
    })
}

fn address(interface: &Interface) -> LocalAddress {
    let ip = interface.ip();
    LocalAddress {
        ip,
        scope_id: match ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => interface.index.unwrap_or(0),
            _ => 0,
        },
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_others_reach_comes_first_and_what_is_down_is_left_out() {
        let Some(lab) = p2pdbg_natlab::Lab::new_or_skip("crowd") else {
            return;
        };
        let net = lab.internet().unwrap();
        let host = net.host("crowd").unwrap();
        let node = (*host).clone();
        let public = IpAddr::from(host.ip());
        let run = || {
            let crowd: String = (1..20)
                .map(|n| format!("link add br{n} type bridge\nlink set br{n} up\naddress add 10.0.{n}.1/24 dev br{n}\n"))
                .collect();
            node.ip(&crowd).unwrap();
            node.ip("link add down0 type bridge\naddress add 10.0.99.1/24 dev down0")
                .unwrap();
            node.ip(
                "tuntap add tun0 mode tun\nlink set tun0 up\naddress add 172.31.0.1/24 dev tun0",
            )
            .unwrap();
            node.ip("route add 203.0.113.0/24 dev br9 src 10.0.9.1")
                .unwrap();
            let listed = local_addresses(false, &["203.0.113.7:1".parse().unwrap()]);
            let ips: Vec<IpAddr> = listed
                .iter()
                .map(|l| l.ip)
                .filter(IpAddr::is_ipv4)
                .collect();
            let first: [IpAddr; 3] = [public, [10, 0, 9, 1].into(), [172, 31, 0, 1].into()];
            assert_eq!(ips[..3], first);
            assert_eq!(ips.len(), 3 + 18, "{ips:?}");
        };
        host.enter(run).unwrap();
    }
}
