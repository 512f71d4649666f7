//! Why nobody answers where the rendezvous should be, as far as this host knows by itself: its name may lead to an
//! address that cannot be the one, or this host may have no route there. Whoever runs the rendezvous is blamed for
//! neither.

use std::net::{IpAddr, SocketAddr};

use p2pdbg_net::route;
use p2pdbg_proto::{address::Reach, url::RendezvousUrl};

use super::{
    LinkError,
    allowed_addresses::{is_localhost, plain},
    tls::TcpRoute,
};

impl TcpRoute {
    /// Nobody has answered at these addresses of the rendezvous', or in time.
    pub async fn no_answer(&self, addresses: &[SocketAddr]) -> LinkError {
        let unknown = self.unreachable();
        // A proxy has a resolver and routes of its own.
        if !matches!(unknown, LinkError::Unreachable { .. }) || self.has_proxy() {
            return unknown;
        }
        let mut has_route = addresses.is_empty();
        for address in addresses {
            has_route |= route::leads_to(self.nat64().target(*address).await);
        }
        match has_route {
            true => misled(self.url(), addresses).unwrap_or(unknown),
            false => LinkError::NoRoute {
                authority: self.url().authority(),
            },
        }
    }
}

/// Leaves out what is no host's address, as resolvers say that block a name.
///
/// # Errors
/// If nothing is left.
pub(super) fn without_nobody(
    url: &RendezvousUrl,
    found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, LinkError> {
    let is_somebody = |at: &SocketAddr| Reach::of(at.ip()) != Reach::Nobody;
    if !is_name(url) || found.iter().all(is_somebody) {
        return Ok(found);
    }
    match misled(url, &found) {
        Some(error) if !found.iter().any(is_somebody) => Err(error),
        _ => Ok(found.into_iter().filter(is_somebody).collect()),
    }
}

/// The URL has a name, and it leads to addresses none of which means the same host everywhere.
fn misled(url: &RendezvousUrl, addresses: &[SocketAddr]) -> Option<LinkError> {
    let led = addresses.iter().map(|at| at.ip().to_canonical());
    let mut led = led.map(|ip| (ip, what(ip))).filter(|_| is_name(url));
    let (ip, what) = led.next()?;
    let all = what.is_some() && led.all(|(_, what)| what.is_some());
    Some(LinkError::Misled {
        authority: url.authority(),
        ip,
        what: what.filter(|_| all)?,
    })
}

fn what(ip: IpAddr) -> Option<&'static str> {
    match Reach::of(ip) {
        Reach::Internet => None,
        Reach::Nobody => Some("which is no host's address"),
        Reach::ThisHost => Some("which is this host itself, and nothing answers there"),
        Reach::Link | Reach::Site | Reach::Carrier | Reach::Benchmark => {
            Some("a private address, and nothing answers there")
        }
    }
}

/// Whether somebody else says where the host of the URL is.
fn is_name(url: &RendezvousUrl) -> bool {
    let host = plain(&url.host);
    !is_localhost(&host) && host.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> RendezvousUrl {
        format!("p2pdbg://{host}").parse().unwrap()
    }

    fn at(ips: &[&str]) -> Vec<SocketAddr> {
        let with_port = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 3478);
        ips.iter().map(with_port).collect()
    }

    #[test]
    fn name_is_told_to_mislead_if_no_address_of_it_can_be_meant_everywhere() {
        let says = |host: &str, ips: &[&str]| misled(&url(host), &at(ips)).map(|e| e.to_string());
        let name = "rdv.example.org";
        let nobody = says(name, &["0.0.0.0", "::"]).unwrap();
        assert_eq!(
            nobody,
            "the name of the rendezvous rdv.example.org:3478 leads to 0.0.0.0 here, which is no host's address"
        );
        let itself = says(name, &["::ffff:127.0.0.1"]).unwrap();
        assert!(
            itself.contains("127.0.0.1 here, which is this host itself"),
            "{itself}"
        );
        for private in ["192.168.1.1", "169.254.1.1", "fe80::1", "100.64.0.1"] {
            let said = says(name, &[private]).unwrap();
            assert!(said.contains("a private address"), "{said}");
        }
        assert_eq!(says(name, &["127.0.0.1", "192.0.2.7"]), None);
        assert_eq!(says(name, &[]), None);
        for given in ["localhost", "a.localhost.", "127.0.0.1", "[::1]"] {
            assert_eq!(says(given, &["127.0.0.1"]), None, "{given}");
        }
    }

    #[test]
    fn what_is_no_hosts_address_is_left_out_if_there_is_another() {
        let left = |host: &str, ips: &[&str]| without_nobody(&url(host), at(ips));
        let name = "rdv.example.org";
        let some = left(name, &["0.0.0.0", "192.0.2.7", "::"]).unwrap();
        assert_eq!(some, at(&["192.0.2.7"]));
        assert!(matches!(
            left(name, &["0.0.0.0"]),
            Err(LinkError::Misled { .. })
        ));
        // As it was given.
        assert_eq!(left("0.0.0.0", &["0.0.0.0"]).unwrap(), at(&["0.0.0.0"]));
    }
}
