//! What can be seen without asking anybody: this host's addresses and its proxy.

use std::net::IpAddr;

use p2pdbg_net::interfaces::local_addresses;
use p2pdbg_proto::address;
use p2pdbg_rendezvous_client::TcpRoute;

use super::findings::Proxy;

/// A global IPv6 address of an interface, if there is one.
pub(super) fn global_v6() -> Option<IpAddr> {
    let mut addresses = local_addresses(false, &[])
        .into_iter()
        .map(|local| local.ip);
    addresses.find(|ip| ip.is_ipv6() && !address::is_private(*ip))
}

/// The proxy that the environment names for the rendezvous.
pub(super) fn proxy(route: &TcpRoute) -> Option<Proxy> {
    match route.proxy() {
        Ok(address) => address.map(|address| Proxy {
            address: Some(address),
            why: None,
        }),
        Err(why) => Some(Proxy {
            address: None,
            why: Some(why),
        }),
    }
}
