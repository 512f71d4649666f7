//! The host name in the URL: what the operator says, or the best guess.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    str::FromStr,
};

use p2pdbg_proto::url::RendezvousUrl;

/// Where peers reach the rendezvous, as far as the operator says: `HOST` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// A name or an address; an IPv6 address stands without brackets.
    pub host: String,
    /// The port, if it is not the one that is bound.
    pub port: Option<u16>,
}

/// A text that is not `HOST` or `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST or HOST:PORT, as in rdv.example.org, 192.0.2.7:3478 or [2001:db8::7]:3478")]
pub struct NotAPublicAddress;

impl FromStr for PublicAddress {
    type Err = NotAPublicAddress;

    fn from_str(text: &str) -> Result<Self, NotAPublicAddress> {
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            let host = ip.to_string();
            return Ok(Self { host, port: None });
        }
        // The same rules as for a URL, by the same code.
        let url: RendezvousUrl = format!("p2pdbg://{text}")
            .parse()
            .map_err(|_| NotAPublicAddress)?;
        if url.access_key.is_some()
            || url.fingerprint.is_some()
            || !url.further.is_empty()
            || text.ends_with('/')
        {
            return Err(NotAPublicAddress);
        }
        let port_given = url.authority() == text || text.ends_with(&format!(":{}", url.port));
        Ok(Self {
            host: url.host,
            port: port_given.then_some(url.port),
        })
    }
}

/// The address by which others most likely reach a socket that is bound to `bound`.
pub(crate) fn guess(bound: SocketAddr, dual_stack: bool) -> IpAddr {
    if !bound.ip().is_unspecified() {
        return bound.ip();
    }
    // Addresses that documentation uses: nothing is sent, the system is only asked how it would go there.
    let v4 = || {
        local_towards(
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        )
    };
    let v6 = || {
        let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        local_towards(Ipv6Addr::UNSPECIFIED.into(), far.into())
    };
    let (guessed, loopback) = match bound {
        SocketAddr::V4(_) => (v4(), Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) if dual_stack => (v4().or_else(v6), Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) => (v6(), Ipv6Addr::LOCALHOST.into()),
    };
    guessed.unwrap_or(loopback)
}

fn local_towards(from: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Option<u16>), NotAPublicAddress> {
        text.parse()
            .map(|address: PublicAddress| (address.host, address.port))
    }

    #[test]
    fn a_public_address_is_a_host_with_or_without_a_port() {
        assert_eq!(
            read("rdv.example.org"),
            Ok(("rdv.example.org".into(), None))
        );
        assert_eq!(read("192.0.2.7:443"), Ok(("192.0.2.7".into(), Some(443))));
        assert_eq!(read("192.0.2.7:3478"), Ok(("192.0.2.7".into(), Some(3478))));
        assert_eq!(read("2001:db8::7"), Ok(("2001:db8::7".into(), None)));
        assert_eq!(read("[2001:db8::7]"), Ok(("2001:db8::7".into(), None)));
        assert_eq!(
            read("[2001:db8::7]:443"),
            Ok(("2001:db8::7".into(), Some(443)))
        );
    }

    #[test]
    fn what_is_no_public_address_is_refused() {
        for text in [
            "", ":443", "a:0", "a:70000", "key@a", "a#b", "a/", "a b", "[::1",
        ] {
            assert_eq!(read(text), Err(NotAPublicAddress), "{text}");
        }
    }

    #[test]
    fn a_bound_address_needs_no_guess_and_a_wildcard_gets_a_usable_one() {
        let bound = "127.0.0.1:1".parse().unwrap();
        assert_eq!(guess(bound, false), bound.ip());
        assert!(!guess("0.0.0.0:1".parse().unwrap(), false).is_unspecified());
        assert!(!guess("[::]:1".parse().unwrap(), true).is_unspecified());
    }
}
