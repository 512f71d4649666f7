//! The gateway of this host, and the address under which it knows this host.

use std::net::{IpAddr, Ipv4Addr};

use p2pdbg_net::route;

/// Whom to ask, and from which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gateway {
    /// The router of the default route.
    pub(super) router: Ipv4Addr,
    /// This host's address towards it.
    pub(super) local: Ipv4Addr,
}

impl Gateway {
    /// The gateway of the default route; none without one.
    pub(super) fn find() -> Option<Self> {
        let router = default_router()?;
        match route::source_towards((router, 9).into())? {
            IpAddr::V4(local) => Some(Self { router, local }),
            IpAddr::V6(_) => None,
        }
    }
}

/// The router of the best default route, from `/proc/net/route`.
#[cfg(target_os = "linux")]
fn default_router() -> Option<Ipv4Addr> {
    best_route(&std::fs::read_to_string("/proc/thread-self/net/route").ok()?)
}

#[cfg(not(target_os = "linux"))]
fn default_router() -> Option<Ipv4Addr> {
    let gateway = netdev::get_default_gateway().ok()?;
    gateway.ipv4.first().copied()
}

#[cfg(target_os = "linux")]
fn best_route(table: &str) -> Option<Ipv4Addr> {
    /// The route has a gateway and is up (`linux/route.h`).
    const UP_GATEWAY: u32 = 0x3;
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[_, destination, gateway, flags, _, _, metric, mask, ..] = fields.as_slice() else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        if destination != "00000000" || mask != "00000000" || flags & UP_GATEWAY != UP_GATEWAY {
            return None;
        }
        // The address as this machine reads it from memory.
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        let metric: u32 = metric.parse().ok()?;
        Some((metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, ip)| ip)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_route_of_the_least_metric_counts() {
        let table = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
tun0\t00000000\t0102000A\t0003\t0\t0\t50\t00000080\t0\t0\t0
";
        assert_eq!(best_route(table), Some(Ipv4Addr::new(192, 168, 2, 1)));
        assert_eq!(best_route("Iface\n"), None);
        assert_eq!(best_route("Iface\nnonsense 1 2\n\n"), None);
    }
}
