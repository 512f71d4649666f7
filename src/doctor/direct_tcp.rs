//! Whether a direct path by TCP may be had from here: how servers see a TCP port over IPv4, asked from that port.
//!
//! Nothing is listened for and no peer is dialled. With one server to ask it cannot be told whether the NAT keeps the
//! port for other destinations, which is what punching by TCP takes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use p2pdbg_nat::Mapping;
use p2pdbg_net::{interfaces::local_addresses, stun_over_tcp, tcp_port::TcpPort};
use tokio::{task::JoinSet, time::timeout};

use super::findings::DirectTcp;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How many servers are asked at the most.
const SERVERS: usize = 3;

/// Asks these servers, as far as they are reached over IPv4; none if nobody answers.
pub(super) async fn measure(servers: &[SocketAddr]) -> Option<DirectTcp> {
    let (port, _listener) = TcpPort::listen(Ipv4Addr::UNSPECIFIED.into()).ok()?;
    let mut asking = JoinSet::new();
    for &server in servers.iter().filter(|s| s.is_ipv4()).take(SERVERS) {
        asking.spawn(timeout(PATIENCE, stun_over_tcp::ask(port, server)));
    }
    let mut seen = Vec::new();
    while let Some(asked) = asking.join_next().await {
        if let Ok(Ok(Ok(asked))) = asked {
            seen.push(asked.mapped);
        }
    }
    let local: Vec<IpAddr> = local_addresses(true, &[]).iter().map(|l| l.ip).collect();
    judge(&seen, &local)
}

fn judge(seen: &[SocketAddr], local: &[IpAddr]) -> Option<DirectTcp> {
    let mapped = *seen.first()?;
    let mapping = if local.contains(&mapped.ip()) {
        Some(Mapping::Untranslated)
    } else if seen.len() < 2 {
        None
    } else if seen.iter().all(|other| *other == mapped) {
        Some(Mapping::EndpointIndependent)
    } else {
        Some(Mapping::AddressAndPortDependent)
    };
    Some(DirectTcp { mapped, mapping })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapping_of_tcp_is_told_as_far_as_servers_show_it() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a, b) = (at("192.0.2.1:5000"), at("192.0.2.1:5001"));
        let mapping = |seen: &[SocketAddr], local: &[IpAddr]| judge(seen, local).map(|t| t.mapping);
        assert_eq!(mapping(&[], &[]), None);
        assert_eq!(mapping(&[a], &[]), Some(None));
        assert_eq!(mapping(&[a], &[a.ip()]), Some(Some(Mapping::Untranslated)));
        let same = Some(Some(Mapping::EndpointIndependent));
        assert_eq!(mapping(&[a, a], &[]), same);
        let other = Some(Some(Mapping::AddressAndPortDependent));
        assert_eq!(mapping(&[a, b], &[]), other);
    }
}
