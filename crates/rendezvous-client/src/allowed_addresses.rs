//! Which addresses a host may be at, which somebody else has named.
//!
//! A host on the internet that could name addresses of this host or of the networks around it would have peers knock
//! there from inside. What a name leads to shows only when it is resolved, so it is judged where it is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use p2pdbg_proto::{
    address::{Reach, is_private},
    url::HostAt,
};

/// What a name of a host that a node has named may lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AllowedAddresses {
    /// These may be anywhere: the user has named them, or a host has that is inside itself.
    anywhere: Vec<HostAt>,
}

impl AllowedAddresses {
    /// These hosts may be anywhere, and others on the internet alone.
    pub(super) fn anywhere(hosts: impl IntoIterator<Item = HostAt>) -> Self {
        Self {
            anywhere: hosts.into_iter().collect(),
        }
    }

    /// The same with this one.
    pub(super) fn and(mut self, host: HostAt) -> Self {
        self.anywhere.push(host);
        self
    }

    /// Whether that host may be at this address.
    pub(super) fn admits(&self, host: &HostAt, ip: IpAddr) -> bool {
        self.anywhere.contains(host) || !(is_inside(ip) || is_nowhere(ip))
    }

    /// Whether that host's name may be left to a proxy to resolve, of which only the outcome is seen.
    pub(super) fn admits_by_proxy(&self, host: &HostAt) -> bool {
        self.anywhere.contains(host) || may_be_named(host, false)
    }
}

/// Whether a host may name that one as a node: what only this network knows by that address, a host elsewhere does not.
pub(super) fn may_be_named(at: &HostAt, by_one_inside: bool) -> bool {
    match at.host.parse::<IpAddr>() {
        Ok(ip) if is_nowhere(ip) => false,
        Ok(ip) => by_one_inside || !is_inside(ip),
        Err(_) => {
            let name = plain(&at.host);
            !is_numeric(&name) && (by_one_inside || !is_localhost(&name))
        }
    }
}

/// A name in small letters and without the dot that ends it.
pub(super) fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a plain name leads to the host that looks it up, wherever that is (RFC 6761 section 6.3).
pub(super) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether resolvers take a name for an address of IPv4 in one of its old notations: `127.1`, `2130706433`, `0x7f.1`.
/// No top-level domain looks like that.
fn is_numeric(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x");
    let digits = hexadecimal.unwrap_or(last);
    match hexadecimal {
        Some(_) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Whether no host can be there.
fn is_nowhere(ip: IpAddr) -> bool {
    Reach::of(ip) == Reach::Nobody
}

/// Whether an address is of this host or of a network around it, and means something else elsewhere.
pub(super) fn is_inside(ip: IpAddr) -> bool {
    let embedded = match ip.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => embedded(ip).map(IpAddr::from),
    };
    is_private(ip) || embedded.is_some_and(|ip| is_private(ip) || is_nowhere(ip))
}

/// The address of IPv4 that a gateway makes of one (NAT64, RFC 6052 and RFC 8215; 6to4, RFC 3056), or that it stands
/// for (RFC 4291 section 2.5.5.1).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = ip.segments();
    let (high, low) = match (a, b, c, d, e, f) {
        (0x64, 0xff9b, 0, 0, 0, 0) | (0x64, 0xff9b, 1, _, _, _) | (0, 0, 0, 0, 0, 0) => (high, low),
        (0x2002, high, low, ..) => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> HostAt {
        host.parse().unwrap()
    }

    #[test]
    fn address_of_this_network_is_known_in_whatever_it_is_wrapped() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::192.168.0.1",
            "64:ff9b:1:2:3:4:10.0.0.1",
            "2002:a00:1::1",
        ] {
            assert!(is_inside(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "198.51.100.7",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:198.51.100.7",
            "64:ff9b::198.51.100.7",
            "2002:c633:6407::1",
        ] {
            assert!(!is_inside(outside.parse().unwrap()), "{outside}");
        }
        for nowhere in [
            "0.0.0.1",
            "240.0.0.1",
            "224.0.0.1",
            "::",
            "64:ff9b::0.0.0.1",
        ] {
            let admits = AllowedAddresses::default().admits(&at("h"), nowhere.parse().unwrap());
            assert!(!admits, "{nowhere}");
        }
    }

    #[test]
    fn names_that_are_addresses_in_old_notations_are_named_by_nobody() {
        for name in [
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "a.1",
            "010.0.0.1",
        ] {
            assert!(!may_be_named(&at(name), true), "{name}");
        }
        for name in ["rdv1.example", "1.example", "0x.example", "rdv-0x1"] {
            assert!(may_be_named(&at(name), false), "{name}");
        }
    }

    #[test]
    fn host_that_was_named_leads_to_the_internet_alone_and_one_of_the_users_anywhere() {
        let allowed = AllowedAddresses::anywhere([at("mine")]);
        let own = IpAddr::from([192, 168, 0, 1]);
        let public = IpAddr::from([198, 51, 100, 7]);
        assert!(allowed.admits(&at("mine"), own) && allowed.admits(&at("theirs"), public));
        assert!(!allowed.admits(&at("theirs"), own));
        assert!(!allowed.admits(&at("mine:4000"), own), "another port");
        assert!(!allowed.admits(&at("theirs"), Ipv4Addr::UNSPECIFIED.into()));
        assert!(allowed.and(at("theirs")).admits(&at("theirs"), own));
    }
}
