//! The networks that an address is counted with: whoever commands one address of IPv4, or a /64, /56 or /48 of IPv6,
//! may send from all of it. Providers give a household a /56 or so, and an enterprise a /48.

use std::net::IpAddr;

use p2pdbg_proto::address::network;

/// An address, or the part of an IPv6 address before the given number of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

/// A network, and how many times as much as one address it may have.
type Share = (Network, usize);

/// The networks that `ip` is in, with their shares, the smallest first.
pub(crate) fn networks(ip: IpAddr) -> impl Iterator<Item = Share> {
    const LEVELS: [(u8, usize); 3] = [(64, 1), (56, 2), (48, 4)];
    let ip = ip.to_canonical();
    let levels = match ip {
        IpAddr::V4(_) => &[(32, 1)][..],
        IpAddr::V6(_) => &LEVELS[..],
    };
    levels.iter().map(move |(bits, times)| {
        let address = network(ip, *bits);
        let bits = *bits;
        (Network { address, bits }, *times)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: &str) -> Vec<Share> {
        networks(ip.parse().unwrap()).collect()
    }

    #[test]
    fn an_ipv4_address_is_itself_also_when_mapped() {
        assert_eq!(of("192.0.2.1").len(), 1);
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }

    #[test]
    fn ipv6_addresses_share_what_their_prefixes_share() {
        let one = of("2001:db8:0:100::1");
        let shared = |other: &str| of(other).iter().filter(|n| one.contains(n)).count();
        assert_eq!(shared("2001:db8:0:100:ffff::2"), 3);
        assert_eq!(shared("2001:db8:0:1ff::1"), 2);
        assert_eq!(shared("2001:db8:0:200::1"), 1);
        assert_eq!(shared("2001:db8:1:100::1"), 0);
    }
}
