//! Where the rendezvous answers STUN, as seen from here.
//!
//! A rendezvous that serves all addresses of its host names its STUN ports without an address. One is known: that of
//! the control connection. But a host with both families that has come by IPv6 has to learn its IPv4 mapping too, or it
//! shows a peer that has IPv4 alone nothing that this could reach. So the other family's address is looked up.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_net::lookup::look_up_family;

/// How long the lookup may take. The name was resolved a moment ago, so the answer is at hand.
const PATIENCE: Duration = Duration::from_millis(300);

/// The addresses to ask, the ones of the family by which the rendezvous was reached first.
pub(super) async fn as_seen_from_here(
    stun: Vec<SocketAddr>,
    rendezvous: SocketAddr,
    host: &str,
) -> Vec<SocketAddr> {
    let reached = rendezvous.ip().to_canonical();
    let has_any = stun.iter().any(|address| address.ip().is_unspecified());
    let other = match host.parse::<IpAddr>() {
        Err(_) if has_any => other_family(host, reached).await,
        _ => None,
    };
    expand(&stun, reached, other)
}

/// The first address of the host that is not of the family of `reached`.
async fn other_family(host: &str, reached: IpAddr) -> Option<IpAddr> {
    let lookup = look_up_family(host, 0, !reached.is_ipv4());
    let addresses = tokio::time::timeout(PATIENCE, lookup).await.ok()?.ok()?;
    let first = addresses.first()?;
    Some(first.ip().to_canonical()).filter(|ip| ip.is_ipv4() != reached.is_ipv4())
}

/// Puts addresses in the place of unspecified ones.
fn expand(stun: &[SocketAddr], reached: IpAddr, other: Option<IpAddr>) -> Vec<SocketAddr> {
    let named = stun.iter().map(|address| match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(reached, address.port()),
        ip => SocketAddr::new(ip.to_canonical(), address.port()),
    });
    let ports = stun.iter().filter(|address| address.ip().is_unspecified());
    let others = ports.filter_map(|address| Some(SocketAddr::new(other?, address.port())));
    named.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_without_an_address_are_asked_in_both_families() {
        let stun: Vec<SocketAddr> = ["0.0.0.0:3478", "[::]:3479", "192.0.2.9:3478"]
            .map(|address| address.parse().unwrap())
            .to_vec();
        let (v6, v4) = ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let texts = |addresses: Vec<SocketAddr>| -> Vec<String> {
            addresses.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            texts(expand(&stun, v6, Some(v4))),
            [
                "[2001:db8::1]:3478",
                "[2001:db8::1]:3479",
                "192.0.2.9:3478",
                "192.0.2.1:3478",
                "192.0.2.1:3479"
            ]
        );
        assert_eq!(expand(&stun, v4, None).len(), 3);
    }

    #[tokio::test]
    async fn a_rendezvous_that_is_named_by_its_address_is_not_looked_up() {
        let stun = vec!["0.0.0.0:1".parse().unwrap()];
        let reached: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        let seen = as_seen_from_here(stun, reached, "192.0.2.1").await;
        assert_eq!(seen, ["192.0.2.1:1".parse::<SocketAddr>().unwrap()]);
    }
}
