//! Addresses: in one form, which network of one owner they are in, and how far they mean the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// An address as it is compared and shown: one of IPv4 as IPv4, whatever the socket it came by, and a link-local one of
/// IPv6 with its interface, without which it leads nowhere. What else an IPv6 socket tells, the flow, is left out.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        (IpAddr::V6(ip), SocketAddr::V6(v6)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into()
        }
        (ip, _) => SocketAddr::new(ip, address.port()),
    }
}

/// The first address of the network that `ip` is in: that of so many bits, if it is one of IPv6, and `ip` alone, if it
/// is one of IPv4. 64 bits are what one host has, 56 what a household has, 48 an enterprise.
#[must_use]
pub fn network(ip: IpAddr, bits: u8) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

/// How far an address means the same host ([RFC 6890] and the registries that it began).
///
/// [RFC 6890]: https://www.rfc-editor.org/rfc/rfc6890
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No single host is there: unspecified, "this network", multicast, broadcast, reserved.
    Nobody,
    /// On each host that host itself.
    ThisHost,
    /// On one link.
    Link,
    /// In one network: RFC 1918, and unique local addresses of IPv6 (RFC 4193).
    Site,
    /// Between customers and their carrier: RFC 6598, and what RFC 7335 has for DS-Lite and 464XLAT.
    Carrier,
    /// Benchmarks (RFC 2544); tunnels of some proxies have taken it for names that they resolve themselves.
    Benchmark,
    /// Everywhere: of all others, what routers of the internet pass on.
    Internet,
}

impl Reach {
    /// How far `ip` means the same. One of IPv4 that is written as IPv6 counts as IPv4.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) if ip.is_unspecified() || ip.is_multicast() => Self::Nobody,
            IpAddr::V6(ip) if ip.is_loopback() => Self::ThisHost,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::Link,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Site,
            IpAddr::V6(_) => Self::Internet,
        }
    }
}

fn of_v4(ip: Ipv4Addr) -> Reach {
    match ip.octets() {
        [0 | 224.., ..] => Reach::Nobody,
        [127, ..] => Reach::ThisHost,
        [169, 254, ..] => Reach::Link,
        [100, 64..128, ..] | [192, 0, 0, _] => Reach::Carrier,
        [198, 18..20, ..] => Reach::Benchmark,
        _ if ip.is_private() => Reach::Site,
        _ => Reach::Internet,
    }
}

/// Whether `ip` is a host's, and means another one elsewhere: of this host, its link, its network or its carrier's.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    matches!(
        Reach::of(ip),
        Reach::ThisHost | Reach::Link | Reach::Site | Reach::Carrier
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str) -> Reach {
        Reach::of(text.parse().unwrap())
    }

    #[test]
    fn address_means_the_same_as_far_as_its_registry_says() {
        let all: [(Reach, &[&str]); 7] = [
            (
                Reach::Nobody,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "ff02::1",
                ],
            ),
            (
                Reach::ThisHost,
                &["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"],
            ),
            (Reach::Link, &["169.254.1.1", "fe80::1", "febf::1"]),
            (
                Reach::Site,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "fd00::1",
                    "::ffff:10.0.0.1",
                ],
            ),
            (
                Reach::Carrier,
                &["100.64.0.1", "100.127.255.255", "192.0.0.2"],
            ),
            (Reach::Benchmark, &["198.18.0.1", "198.19.255.255"]),
            (
                Reach::Internet,
                &[
                    "1.1.1.1",
                    "100.63.0.1",
                    "100.128.0.1",
                    "172.32.0.1",
                    "192.0.1.1",
                    "192.0.2.1",
                    "198.17.0.1",
                    "198.20.0.1",
                    "223.255.255.255",
                    "2001:db8::1",
                    "fec0::1",
                    "::ffff:1.1.1.1",
                ],
            ),
        ];
        for (expected, addresses) in all {
            for address in addresses {
                assert_eq!(reach(address), expected, "{address}");
                let private =
                    !matches!(expected, Reach::Nobody | Reach::Benchmark | Reach::Internet);
                assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
            }
        }
    }

    #[test]
    fn canonical_address_keeps_the_interface_of_a_link_local_one_alone() {
        let with = |ip: &str, flow, scope| -> SocketAddr {
            SocketAddrV6::new(ip.parse().unwrap(), 7, flow, scope).into()
        };
        let plain = |text: &str| -> SocketAddr { text.parse().unwrap() };
        assert_eq!(canonical(with("fe80::1", 9, 3)), with("fe80::1", 0, 3));
        assert_eq!(
            canonical(with("2001:db8::1", 9, 3)),
            plain("[2001:db8::1]:7")
        );
        assert_eq!(
            canonical(with("::ffff:192.0.2.1", 0, 3)),
            plain("192.0.2.1:7")
        );
        assert_eq!(canonical(plain("192.0.2.1:7")), plain("192.0.2.1:7"));
    }

    #[test]
    fn network_is_as_long_as_asked_for_ipv6_and_one_address_for_ipv4() {
        let of = |ip: &str, bits| network(ip.parse().unwrap(), bits).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 64), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2ff::", 56), "2001:db8:1:200::");
        assert_eq!(of("2001:db8:1:2::", 48), "2001:db8:1::");
        assert_eq!(of("2001:db8::1", 128), "2001:db8::1");
        assert_eq!(of("2001:db8::1", 0), "::");
        assert_eq!(of("::ffff:192.0.2.1", 64), "192.0.2.1");
    }
}
