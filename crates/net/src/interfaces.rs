//! The addresses of this host's interfaces, as candidates for the traversal.

use std::net::IpAddr;

use p2pdbg_punch::LocalAddress;

/// The addresses of all interfaces that are up, sorted; loopback only if asked for.
///
/// An empty list if the operating system tells nothing: server-reflexive candidates still work then.
pub fn local_addresses(with_loopback: bool) -> Vec<LocalAddress> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the network interfaces");
        Vec::new()
    });
    let mut addresses: Vec<_> = interfaces
        .into_iter()
        .filter(|interface| with_loopback || !interface.is_loopback())
        .map(|interface| {
            let ip = interface.ip();
            LocalAddress {
                ip,
                scope_id: match ip {
                    IpAddr::V6(v6) if v6.is_unicast_link_local() => interface.index.unwrap_or(0),
                    _ => 0,
                },
            }
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
