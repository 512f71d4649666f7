//! Changes as the kernel tells them, by routing netlink (man 7 rtnetlink).
//!
//! What counts: an address that comes or goes, the way to the internet when it becomes another, and the carrier of an
//! interface that has an address. What a bridge is made of does not: containers come and go all day. Nor does an
//! interface within this host that has link-local addresses alone: on a node of Kubernetes that is this end of a pod.
//! And what happens to interfaces by which this host reaches no others is told as that: a bridge of containers loses
//! its carrier with the last of them, and their networks come and go. News of one change come in a shower, so it is
//! given a moment to pass.

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
    netlink::{
        LINK, RTM_GETLINK, RTM_NEWLINK, ask, attribute, attributes, question, question_for_all,
        split, word,
    },
};

/// News that come within this time are of one change.
const SHOWER: Duration = Duration::from_millis(50);

/// The shortest time between two announcements.
const GAP: Duration = Duration::from_millis(500);

/// The shortest time from any announcement to one of a network within this host.
const NEARBY_GAP: Duration = Duration::from_secs(2);

/// Links, IPv4 and IPv6 addresses, IPv4 and IPv6 routes (`RTMGRP_*` in `linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x100 | 0x40 | 0x400;

const RTM_DELLINK: u16 = 17;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

// Attributes of routes (`linux/rtnetlink.h`).
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;

// Families of addresses, as routes name them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The size of a `struct rtmsg`.
const ROUTE: usize = 12;

/// The link is up and has its carrier (`linux/if.h`).
const IFF_RUNNING: u32 = 0x40;

/// Announces changes until the kernel does not tell any more.
pub(super) async fn watch(changes: &Changes) -> io::Result<Infallible> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, GROUPS))?;
    socket.send_to(
        &question_for_all(RTM_GETLINK, &[0; LINK]),
        &SocketAddr::new(0, 0),
        0,
    )?;
    #[expect(
        deprecated,
        reason = "it cannot know that a descriptor stays open; a Socket owns its own"
    )]
    let socket = AsyncFd::new(socket)?;
    let mut view = View {
        picture: Picture::of_this_host(),
        ..View::default()
    };
    let mut announced: Option<Instant> = None;
    let mut news = News::Nothing;
    loop {
        // What is nearby waits, and what happens further away meanwhile does not.
        let nearby_at = announced.map_or_else(Instant::now, |last| last + NEARBY_GAP);
        tokio::select! {
            first = receive(&socket) => news = news.max(take_in(&socket, &mut view, &first?).await?),
            () = sleep_until(nearby_at), if news == News::Nearby => {}
        }
        let reason = match news {
            News::Network => Reason::Network,
            News::Nearby if nearby_at <= Instant::now() => Reason::Nearby,
            News::Nothing | News::Nearby => continue,
        };
        if let Some(last) = announced {
            sleep_until(last + GAP).await;
        }
        announced = Some(Instant::now());
        news = News::Nothing;
        changes.announce(reason);
    }
}

/// Takes in a shower that begins with this datagram.
async fn take_in(socket: &AsyncFd<Socket>, view: &mut View, first: &[u8]) -> io::Result<News> {
    let mut news = view.read(first);
    let shower = sleep_until(Instant::now() + SHOWER);
    tokio::pin!(shower);
    loop {
        tokio::select! {
            () = &mut shower => break,
            more = receive(socket) => news = news.max(view.read(&more?)),
        }
    }
    Ok(news.max(view.look()))
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

/// What has changed, the lesser first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    #[default]
    Nothing,
    /// A network within this host.
    Nearby,
    /// What this host reaches others by.
    Network,
}

/// What was seen of this host's network last.
#[derive(Debug, Default)]
struct View {
    picture: Picture,
    /// Whether each link has its carrier, by its index.
    running: HashMap<u32, bool>,
}

impl View {
    /// Takes in a datagram; what has changed, as far as no [look](Self::look) tells.
    fn read(&mut self, mut datagram: &[u8]) -> News {
        if datagram.is_empty() {
            // What was lost may have counted.
            return News::Network;
        }
        let mut news = News::Nothing;
        while let Some((kind, body, rest)) = split(datagram) {
            // Of addresses and routes the system is asked: it tells again of those that stay as they are.
            if matches!(kind, RTM_NEWLINK | RTM_DELLINK) {
                news = news.max(self.read_link(kind, body));
            }
            datagram = rest;
        }
        news
    }

    /// Takes in a `struct ifinfomsg`.
    fn read_link(&mut self, kind: u16, body: &[u8]) -> News {
        let (Some(index), Some(flags)) = (word(body, 4), word(body, 8)) else {
            return News::Nothing;
        };
        if kind == RTM_DELLINK {
            // Its addresses go too, and are missed if they matter.
            self.running.remove(&index);
            return News::Nothing;
        }
        let running = flags & IFF_RUNNING != 0;
        let before = self.running.insert(index, running);
        let addresses = &self.picture.addresses;
        if before.is_none_or(|before| before == running)
            || addresses.iter().all(|(of, _)| *of != index)
        {
            return News::Nothing;
        }
        self.picture.news_of(index)
    }

    /// Asks the system how things are; what is other than before.
    fn look(&mut self) -> News {
        let before = std::mem::replace(&mut self.picture, Picture::of_this_host());
        let now = &self.picture;
        if before.routes != now.routes {
            return News::Network;
        }
        let others = before.addresses.symmetric_difference(&now.addresses);
        let of_either = |&(index, _): &(u32, IpAddr)| before.news_of(index).max(now.news_of(index));
        others.map(of_either).max().unwrap_or_default()
    }
}

/// How this host's network is at a moment.
#[derive(Debug, Default)]
struct Picture {
    /// The addresses that count, with the index of the interface that has each.
    addresses: HashSet<(u32, IpAddr)>,
    /// The interfaces that lead to other hosts.
    outside: HashSet<u32>,
    /// The ways to the internet.
    routes: [Route; 2],
}

impl Picture {
    fn of_this_host() -> Self {
        let routes = interfaces::PUBLIC.map(Route::towards);
        let links = Links::of_this_host();
        let interfaces = interfaces::list(&links);
        let index = |interface: &if_addrs::Interface| interface.index.unwrap_or(0);
        let is_link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let reach_further: HashSet<u32> = interfaces
            .iter()
            .filter(|interface| !is_link_local(interface.ip()))
            .map(index)
            .collect();
        let leads_outside =
            |of: u32| links.leads_outside(of) || routes.iter().any(|route| route.link == Some(of));
        let counts =
            |of: u32| !links.is_port(of) && (reach_further.contains(&of) || leads_outside(of));
        let addresses: HashSet<(u32, IpAddr)> = interfaces
            .iter()
            .filter(|interface| counts(index(interface)))
            .map(|interface| (index(interface), interface.ip()))
            .collect();
        let of_all = addresses.iter().map(|(of, _)| *of);
        let outside = of_all.filter(|of| leads_outside(*of)).collect();
        Self {
            addresses,
            outside,
            routes,
        }
    }

    /// What it is when something happens to this interface. Where none is known to lead outside, each may.
    fn news_of(&self, index: u32) -> News {
        match self.outside.is_empty() || self.outside.contains(&index) {
            true => News::Network,
            false => News::Nearby,
        }
    }
}

/// The way to an address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Route {
    /// The address that this host sends from, as the kernel names it.
    source: Vec<u8>,
    /// The index of the interface.
    link: Option<u32>,
    /// The gateway, as the kernel names it.
    gateway: Vec<u8>,
}

impl Route {
    fn towards(to: IpAddr) -> Self {
        let mut route = Self::default();
        let (family, octets) = match to {
            IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
        };
        let mut body = vec![0; ROUTE];
        (body[0], body[1]) = (family, 8 * octets.len() as u8);
        body.extend(attribute(RTA_DST, &octets));
        let asked = ask(&question(RTM_GETROUTE, &body), |kind, body| {
            if kind == RTM_NEWROUTE {
                route.read(body.get(ROUTE..).unwrap_or_default());
            }
        });
        if let Err(error) = asked {
            tracing::trace!(%error, %to, "no route");
        }
        route
    }

    fn read(&mut self, about: &[u8]) {
        for (kind, value) in attributes(about) {
            match kind {
                RTA_OIF => self.link = word(value, 0),
                RTA_GATEWAY | RTA_VIA => self.gateway = value.to_vec(),
                RTA_PREFSRC => self.source = value.to_vec(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Listener;

    fn link(index: u32, running: bool) -> Vec<u8> {
        let mut body = vec![0; LINK];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        let flags = if running { IFF_RUNNING | 1 } else { 1 };
        body[8..12].copy_from_slice(&flags.to_ne_bytes());
        question(RTM_NEWLINK, &body)
    }

    #[test]
    fn a_carrier_counts_where_there_is_an_address_and_for_more_where_it_leads_outside() {
        let mut view = View::default();
        for (index, ip) in [(2, [192, 0, 2, 1]), (4, [172, 17, 0, 1])] {
            view.picture.addresses.insert((index, ip.into()));
        }
        view.picture.outside.insert(2);
        let all = [2, 3, 4].map(|index| link(index, true)).concat();
        assert_eq!(view.read(&all), News::Nothing, "this is how it is");
        assert_eq!(view.read(&all), News::Nothing);
        assert_eq!(
            view.read(&link(3, false)),
            News::Nothing,
            "nobody lives there"
        );
        assert_eq!(
            view.read(&link(4, false)),
            News::Nearby,
            "a bridge of containers"
        );
        assert_eq!(view.read(&link(2, false)), News::Network);
        let both = [link(2, true), link(4, true)].concat();
        assert_eq!(view.read(&both), News::Network);
        assert_eq!(
            view.read(&[]),
            News::Network,
            "what was lost may have counted"
        );
        view.picture.outside.clear();
        assert_eq!(
            view.read(&link(4, false)),
            News::Network,
            "nothing else is known"
        );
    }

    #[test]
    fn what_is_cut_short_is_passed_over() {
        let mut view = View::default();
        let whole = [link(1, true), question(RTM_NEWROUTE, &[2])].concat();
        for length in 1..whole.len() {
            assert_eq!(view.read(&whole[..length]), News::Nothing, "{length}");
        }
        let lie = [0xff; 40];
        assert_eq!(view.read(&lie), News::Nothing);
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
                picture: Picture::of_this_host(),
                ..View::default()
            };
            assert!(!view.picture.addresses.is_empty());
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
            assert_eq!(view.look(), News::Nothing);
            node.ip("address add 192.0.2.77/32 dev pod0").unwrap();
            assert_eq!(view.look(), News::Nearby);
            // Its other addresses count now, too.
            node.ip("address del fe80::7/64 dev pod0").unwrap();
            assert_eq!(view.look(), News::Nearby);
        };
        host.enter(run).unwrap();
    }

    /// Does something to the network of a host of a lab, and waits until the host has noticed.
    async fn noticed(listener: &mut Listener, change: impl FnOnce()) {
        change();
        assert_eq!(listener.changed().await, Reason::Network);
    }

    /// Waits until all is told of what was done so far: one change may be told of twice.
    async fn silence(listener: &mut Listener) {
        while tokio::time::timeout(NEARBY_GAP + GAP, listener.news())
            .await
            .is_ok()
        {}
    }

    /// Runs this on a host of a lab, of which it is told when something changes.
    fn watching(host: &p2pdbg_natlab::Host, work: impl AsyncFnOnce(Listener) + Send) {
        let run = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let changes = Changes::of_this_host();
                let listener = changes.subscribe();
                // The watcher begins.
                tokio::task::yield_now().await;
                work(listener).await;
            });
        };
        host.enter(run).unwrap();
    }

    #[test]
    fn the_kernel_tells_of_carriers_addresses_and_routes() {
        let Some(lab) = p2pdbg_natlab::Lab::new_or_skip("watcher") else {
            return;
        };
        let net = lab.internet().unwrap();
        let host = net.host("host").unwrap();
        let (link, node) = (host.link(), (*host).clone());
        watching(&host, async |mut listener| {
            noticed(&mut listener, || link.down().unwrap()).await;
            noticed(&mut listener, || link.up().unwrap()).await;
            noticed(&mut listener, || {
                link.add_address().unwrap();
            })
            .await;
            noticed(&mut listener, || node.ip("route del default").unwrap()).await;
            let again = format!("route add default dev {}", link.interface());
            noticed(&mut listener, || node.ip(&again).unwrap()).await;
            let other = format!(
                "route replace default via 203.0.113.250 dev {}",
                link.interface()
            );
            noticed(&mut listener, || node.ip(&other).unwrap()).await;
            let tunnel =
                "tuntap add tun0 mode tun\nlink set tun0 up\naddress add 10.8.0.1/24 dev tun0";
            noticed(&mut listener, || node.ip(tunnel).unwrap()).await;
        });
    }

    #[test]
    fn containers_come_and_go_nearby_and_a_bridge_that_leads_to_the_internet_does_not() {
        let Some(lab) = p2pdbg_natlab::Lab::new_or_skip("bridges") else {
            return;
        };
        let net = lab.internet().unwrap();
        let host = net.host("host").unwrap();
        let node = (*host).clone();
        // No link-local addresses come later by themselves.
        node.sysctl("ipv6/conf/default/disable_ipv6", "1").unwrap();
        // Has something done to a bridge, after which it has a carrier, or has none, or is gone.
        let having = async |commands: &str, bridge: &str, carrier: Option<bool>| {
            node.ip(commands).unwrap();
            let has_carrier = || {
                let interfaces = if_addrs::get_if_addrs().unwrap();
                let bridge = interfaces.iter().find(|interface| interface.name == bridge);
                bridge.map(if_addrs::Interface::is_oper_up)
            };
            while has_carrier() != carrier {
                tokio::time::sleep(SHOWER).await;
            }
        };
        let bridge = |name: &str, address: &str| {
            format!(
                "link add {name} type bridge\nlink set {name} up\naddress add {address}/24 dev {name}\n\
                 link add c0 type veth peer name c1\nlink set c0 master {name}\n\
                 link set c0 up\nlink set c1 up\n"
            )
        };
        watching(&host, async |mut listener| {
            let mut further = listener.clone();
            for (commands, carrier) in [
                (bridge("br9", "172.18.0.1").as_str(), Some(true)),
                ("link set c0 down", Some(false)),
                ("link set c0 up", Some(true)),
                ("link del c0\nlink del br9", None),
            ] {
                silence(&mut listener).await;
                having(commands, "br9", carrier).await;
                assert_eq!(listener.news().await, Reason::Nearby, "{commands}");
            }
            let told = tokio::time::timeout(Duration::ZERO, further.changed()).await;
            assert!(told.is_err(), "{told:?}");
            let uplink =
                bridge("br0", "198.51.100.2") + "route replace default via 198.51.100.1 dev br0";
            for (commands, carrier) in [
                (uplink.as_str(), true),
                ("link set c0 down", false),
                ("link set c0 up", true),
            ] {
                silence(&mut listener).await;
                having(commands, "br0", Some(carrier)).await;
                assert_eq!(listener.changed().await, Reason::Network, "{commands}");
            }
        });
    }
}
