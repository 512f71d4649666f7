//! Changes as the kernel tells them, by routing netlink (man 7 rtnetlink).
//!
//! What counts: an address that comes or goes, a default route that does, and the carrier of an interface that has an
//! address. What a bridge is made of does not: containers come and go all day. Nor does an interface without a device
//! that has link-local addresses alone: on a node of Kubernetes that is this end of a pod. News of one change come in a
//! shower, so it is given a moment to pass.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    io,
    net::IpAddr,
    time::Duration,
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

use crate::{
    changes::{Changes, Reason},
    interfaces,
    links::Links,
    netlink::{question_for_all, split, word},
};

/// News that come within this time are of one change.
const SHOWER: Duration = Duration::from_millis(50);

/// The shortest time between two announcements.
const GAP: Duration = Duration::from_millis(500);

/// Links, IPv4 and IPv6 addresses, IPv4 and IPv6 routes (`RTMGRP_*` in `linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x100 | 0x40 | 0x400;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

/// The link is up and has its carrier (`linux/if.h`).
const IFF_RUNNING: u32 = 0x40;

/// The table of addresses of this host's own.
const RT_TABLE_LOCAL: u8 = 255;

/// Announces changes until the kernel does not tell any more.
pub(super) async fn watch(changes: &Changes) -> io::Result<Infallible> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, GROUPS))?;
    socket.send_to(
        &question_for_all(RTM_GETLINK, &[0; 16]),
        &SocketAddr::new(0, 0),
        0,
    )?;
    #[expect(
        deprecated,
        reason = "it cannot know that a descriptor stays open; a Socket owns its own"
    )]
    let socket = AsyncFd::new(socket)?;
    let mut view = View {
        addresses: addresses(),
        ..View::default()
    };
    let mut announced: Option<Instant> = None;
    loop {
        let mut changed = view.read(&receive(&socket).await?);
        let until = Instant::now() + SHOWER;
        let shower = sleep_until(until);
        tokio::pin!(shower);
        loop {
            tokio::select! {
                () = &mut shower => break,
                news = receive(&socket) => changed |= view.read(&news?),
            }
        }
        changed |= view.look_at_addresses();
        if changed {
            if let Some(last) = announced {
                sleep_until(last + GAP).await;
            }
            announced = Some(Instant::now());
            changes.announce(Reason::Network);
        }
    }
}

/// The next datagram; an empty one if some were lost.
async fn receive(socket: &AsyncFd<Socket>) -> io::Result<Vec<u8>> {
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| socket.get_ref().recv_from_full()) {
            Ok(Ok((datagram, _))) => return Ok(datagram),
            // The kernel had more to tell than there was room for.
            Ok(Err(error))
                if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
            {
                return Ok(Vec::new());
            }
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}

/// What was seen of this host's network last.
#[derive(Debug, Default)]
struct View {
    addresses: HashSet<(u32, IpAddr)>,
    /// Whether each link has its carrier, by its index.
    running: HashMap<u32, bool>,
}

impl View {
    /// Takes in a datagram; whether something has changed, addresses aside.
    fn read(&mut self, mut datagram: &[u8]) -> bool {
        let mut changed = datagram.is_empty();
        while let Some((kind, body, rest)) = split(datagram) {
            changed |= match kind {
                RTM_NEWLINK | RTM_DELLINK => self.read_link(kind, body),
                RTM_NEWROUTE | RTM_DELROUTE => is_default_route(body),
                // Of addresses the interfaces tell themselves.
                _ => false,
            };
            datagram = rest;
        }
        changed
    }

    /// Takes in a `struct ifinfomsg`.
    fn read_link(&mut self, kind: u16, body: &[u8]) -> bool {
        let (Some(index), Some(flags)) = (word(body, 4), word(body, 8)) else {
            return false;
        };
        if kind == RTM_DELLINK {
            // Its addresses go too, and are missed if they matter.
            self.running.remove(&index);
            return false;
        }
        let running = flags & IFF_RUNNING != 0;
        let before = self.running.insert(index, running);
        before.is_some_and(|before| before != running)
            && self.addresses.iter().any(|(of, _)| *of == index)
    }

    fn look_at_addresses(&mut self) -> bool {
        let before = std::mem::replace(&mut self.addresses, addresses());
        before != self.addresses
    }
}

/// Whether a `struct rtmsg` is of a route to everywhere.
fn is_default_route(body: &[u8]) -> bool {
    // Family, length of the destination's prefix, of the source's, type of service, table.
    matches!(body, [_, 0, _, _, table, ..] if *table != RT_TABLE_LOCAL)
}

/// The addresses that count, with the index of the interface that has each.
fn addresses() -> HashSet<(u32, IpAddr)> {
    let links = Links::of_this_host();
    let interfaces = interfaces::list(&links);
    let index = |interface: &if_addrs::Interface| interface.index.unwrap_or(0);
    let is_link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let reach_further: HashSet<u32> = interfaces
        .iter()
        .filter(|interface| !is_link_local(interface.ip()))
        .map(index)
        .collect();
    let counts =
        |of: u32| !links.is_port(of) && (reach_further.contains(&of) || links.leads_outside(of));
    interfaces
        .iter()
        .filter(|interface| counts(index(interface)))
        .map(|interface| (index(interface), interface.ip()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::netlink::HEADER;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER as u32 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(index: u32, running: bool) -> Vec<u8> {
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        let flags = if running { IFF_RUNNING | 1 } else { 1 };
        body[8..12].copy_from_slice(&flags.to_ne_bytes());
        message(RTM_NEWLINK, &body)
    }

    #[test]
    fn a_carrier_counts_where_there_is_an_address() {
        let mut view = View::default();
        view.addresses.insert((2, Ipv4Addr::LOCALHOST.into()));
        let both = [link(2, true), link(3, true)].concat();
        assert!(!view.read(&both), "this is how it is");
        assert!(!view.read(&both));
        assert!(!view.read(&link(3, false)), "nobody lives there");
        assert!(view.read(&link(2, false)));
        assert!(view.read(&link(2, true)));
    }

    #[test]
    fn a_default_route_counts_and_others_do_not() {
        let mut view = View::default();
        let route = |length, table| message(RTM_NEWROUTE, &[2, length, 0, 0, table, 0, 0, 0]);
        assert!(view.read(&route(0, 254)));
        assert!(!view.read(&route(24, 254)));
        assert!(!view.read(&route(0, RT_TABLE_LOCAL)));
        assert!(view.read(&[]), "what was lost may have counted");
    }

    #[test]
    fn what_is_cut_short_is_passed_over() {
        let mut view = View::default();
        let whole = [link(1, true), message(RTM_DELROUTE, &[2])].concat();
        for length in 1..whole.len() {
            assert!(!view.read(&whole[..length]), "{length}");
        }
        let lie = [0xff; 40];
        assert!(!view.read(&lie));
    }

    #[test]
    fn interface_of_a_pod_counts_only_once_it_has_an_address_that_reaches_further() {
        let Some(lab) = p2pdbg_natlab::Lab::new_or_skip("pods") else {
            return;
        };
        let net = lab.internet().unwrap();
        let host = net.host("node").unwrap();
        let node = (*host).clone();
        let run = || {
            let mut view = View {
                addresses: addresses(),
                ..View::default()
            };
            assert!(!view.addresses.is_empty());
            node.ip("link add pod0 type veth peer name end0").unwrap();
            for (what, value) in [("addr_gen_mode", "1"), ("disable_ipv6", "0")] {
                node.sysctl(&format!("ipv6/conf/pod0/{what}"), value)
                    .unwrap();
            }
            let up = "link set end0 up\n\
                      link set pod0 up\n\
                      address add fe80::7/64 dev pod0 nodad";
            node.ip(up).unwrap();
            let seen = if_addrs::get_if_addrs().unwrap();
            assert!(seen.iter().any(|interface| interface.name == "pod0"));
            assert!(!view.look_at_addresses());
            node.ip("address add 192.0.2.77/32 dev pod0").unwrap();
            assert!(view.look_at_addresses());
            // Its other addresses count now, too.
            node.ip("address del fe80::7/64 dev pod0").unwrap();
            assert!(view.look_at_addresses());
        };
        host.enter(run).unwrap();
    }

    /// Does something to the link of a host of a lab, and waits until the host has noticed.
    async fn noticed(listener: &mut crate::changes::Listener, change: impl FnOnce()) {
        change();
        assert_eq!(listener.changed().await, Reason::Network);
    }

    #[test]
    fn the_kernel_tells_of_carriers_addresses_and_routes() {
        let Some(lab) = p2pdbg_natlab::Lab::new_or_skip("watcher") else {
            return;
        };
        let net = lab.internet().unwrap();
        let host = net.host("host").unwrap();
        let (link, node) = (host.link(), (*host).clone());
        let watching = async {
            let changes = Changes::of_this_host();
            let mut listener = changes.subscribe();
            // The watcher begins.
            tokio::task::yield_now().await;
            noticed(&mut listener, || link.down().unwrap()).await;
            noticed(&mut listener, || link.up().unwrap()).await;
            noticed(&mut listener, || {
                link.add_address().unwrap();
            })
            .await;
            noticed(&mut listener, || node.ip("route del default").unwrap()).await;
            let again = format!("route add default dev {}", link.interface());
            noticed(&mut listener, || node.ip(&again).unwrap()).await;
        };
        let run = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(watching);
        };
        host.enter(run).unwrap();
    }
}
