//! Which servers are asked, the rendezvous and the STUN servers side by side, and what they answer.

use std::net::{IpAddr, SocketAddr};

use p2pdbg_base::Failure;
use p2pdbg_net::{
    interfaces::local_addresses,
    nat64::Nat64,
    stun_servers::{self, StunServer},
};
use p2pdbg_proto::url::{DEFAULT_ALT_PORT, RendezvousUrl};
use p2pdbg_punch::survey::Seen;
use p2pdbg_rendezvous_client::TcpRoute;

use super::{
    direct_tcp,
    findings::{ControlConnection, DirectTcp, Nat, OneHost, PathMtu, Probe, Rendezvous},
    mtu, nat,
    progress::Progress,
    rendezvous::{self, OverTcp, Welcome},
    rendezvous_hosts::{self, Chosen},
    stun_client::{self, Reply},
};

/// Who was asked by STUN over one IP protocol, and what it answered; none if there is nobody to ask.
pub(super) type Asked = Option<(SocketAddr, Option<Reply>)>;

/// The rendezvous that is asked, if there is one.
pub(super) struct Target {
    /// At one of its hosts.
    url: Option<RendezvousUrl>,
    /// What was found of each, where there are several.
    hosts: Vec<OneHost>,
    /// How it is reached over TCP.
    pub(super) route: Option<TcpRoute>,
    addresses: Vec<SocketAddr>,
    /// How it and other servers with IPv4 alone are reached, where this host has none.
    pub(super) nat64: Nat64,
    /// Why it has no addresses.
    pub(super) unresolved: Option<Failure>,
}

impl Target {
    pub(super) async fn look_up(url: Option<&RendezvousUrl>) -> Self {
        let nat64 = Nat64::default();
        nat64.look_again().await;
        let Some(url) = url else {
            return Self {
                nat64,
                url: None,
                hosts: Vec::new(),
                route: None,
                addresses: Vec::new(),
                unresolved: None,
            };
        };
        let Chosen {
            url,
            addresses,
            hosts,
        } = rendezvous_hosts::choose(url, &nat64).await;
        let (addresses, unresolved) = match addresses {
            Ok(addresses) => (addresses, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        Self {
            route: Some(TcpRoute::new(&url)),
            url: Some(url),
            hosts,
            addresses,
            nat64,
            unresolved,
        }
    }

    /// The way to it, if there is any: a proxy may know the name although this host does not.
    fn reachable(&self) -> Option<(&RendezvousUrl, &TcpRoute)> {
        let has_way = |route: &&TcpRoute| !self.addresses.is_empty() || route.has_proxy();
        let route = self.route.as_ref().filter(has_way);
        self.url.as_ref().zip(route)
    }

    /// Whether it answers over TCP.
    pub(super) async fn tcp(&self) -> Option<OverTcp> {
        let (_, route) = self.reachable()?;
        Some(rendezvous::tcp(route, &self.addresses).await)
    }

    /// How it sees a TCP port of this host.
    pub(super) async fn direct_tcp(&self) -> Option<DirectTcp> {
        direct_tcp::measure(&self.addresses).await
    }

    async fn welcome(&self) -> Option<Welcome> {
        let (url, route) = self.reachable()?;
        Some(rendezvous::control(url, route, &self.addresses).await)
    }
}

/// What was answered, and what was measured with the help of those who did.
pub(super) struct Answers {
    pub(super) welcome: Option<Welcome>,
    v4: Asked,
    pub(super) v6: Asked,
    /// What each STUN server over IPv4 saw.
    views: Vec<Seen>,
    pub(super) nat: Option<Nat>,
    pub(super) path_mtu: Option<PathMtu>,
}

impl Answers {
    /// Asks the rendezvous, and the STUN servers that the user named besides.
    pub(super) async fn collect(
        target: &Target,
        stun: &[StunServer],
        progress: impl Fn(Progress),
    ) -> Self {
        let (welcome, v4, v6, further) = tokio::join!(
            target.welcome(),
            rendezvous::udp(&target.addresses, true, &target.nat64),
            rendezvous::udp(&target.addresses, false, &target.nat64),
            further(stun)
        );
        progress(Progress::Measuring);
        let servers = servers(v4.as_ref(), welcome.as_ref(), &further);
        let answers = |asked: &&(SocketAddr, Option<Reply>)| asked.1.is_some();
        // A NAT64 makes other lengths of what goes through it.
        let plain_v4 = v4.as_ref().filter(|_| !target.nat64.is_used());
        let measured = plain_v4.or(v6.as_ref()).filter(answers);
        let mtu = async {
            match measured {
                Some((server, _)) => mtu::measure(*server).await,
                None => None,
            }
        };
        let network = async {
            let local = local_addresses(true, &[]);
            let views = nat::views(&servers, &target.nat64).await;
            let nat = nat::examine(&views, &local, &target.nat64).await;
            (views, nat)
        };
        let ((views, nat), path_mtu) = tokio::join!(network, mtu);
        Self {
            welcome,
            v4,
            v6,
            views,
            nat,
            path_mtu,
        }
    }

    /// Whether UDP gets through; none if that cannot be told.
    pub(super) fn udp(&self, tcp: Option<&OverTcp>) -> Option<bool> {
        let answered = |asked: &Asked| matches!(asked, Some((_, Some(_))));
        let asked = self.v4.is_some() || self.v6.is_some() || !self.views.is_empty();
        let heard = answered(&self.v4)
            || answered(&self.v6)
            || self.views.iter().any(|seen| seen.mapped.is_some());
        // Where nobody answers over TCP either, it need not be UDP that is at fault.
        let by_web = |tcp: &OverTcp| tcp.web.as_ref().is_some_and(|web| web.answers);
        let alive = tcp.is_some_and(|tcp| tcp.alone.answers || by_web(tcp));
        (asked && (heard || alive)).then_some(heard)
    }

    /// A server that saw this host's mapping, and no proxy in its place.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        let sees = |seen: &&Seen| seen.mapped.is_some() && !seen.is_poor_view();
        self.views.iter().find(sees).map(|seen| seen.server)
    }

    /// Who answered in the place of the rendezvous says more than that it did not answer itself.
    pub(super) fn heed(&mut self, in_its_place: Option<Failure>) {
        let unreached = |welcome: &&mut Welcome| welcome.control == ControlConnection::Unreachable;
        if let (Some(welcome), Some(failure)) =
            (self.welcome.as_mut().filter(unreached), in_its_place)
        {
            *welcome = Welcome::failed(failure);
        }
    }

    /// What was found of the rendezvous.
    pub(super) fn rendezvous(&self, target: &Target, tcp: Option<OverTcp>) -> Option<Rendezvous> {
        let (url, _) = target.reachable()?;
        let (tcp, web) = match tcp {
            Some(tcp) => (Some(tcp.alone), tcp.web),
            None => (None, None),
        };
        let own = servers(self.v4.as_ref(), self.welcome.as_ref(), &[]);
        let is_poor = |seen: &&Seen| own.contains(&seen.server) && seen.is_poor_view();
        let poor_view = self.views.iter().find(is_poor);
        Some(Rendezvous {
            authority: url.authority(),
            hosts: target.hosts.clone(),
            udp: rendezvous::udp_probe(&[&self.v4, &self.v6]),
            tcp: tcp.unwrap_or(Probe {
                answers: false,
                rtt_ms: None,
                why: None,
            }),
            web,
            control: (self.welcome.as_ref()).map_or(ControlConnection::Unreachable, |w| w.control),
            stun_addresses: addresses_of(&own),
            silent: silent(&self.views, &own),
            poor_view: poor_view.and_then(|seen| seen.mapped).map(|seen| seen.ip()),
            addresses: target.addresses.clone(),
        })
    }
}

/// The addresses of the servers that the user named, IPv4 alone: that is where NATs are.
async fn further(servers: &[StunServer]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for StunServer(server) in servers {
        let lookup = stun_servers::addresses(server);
        let lookup = tokio::time::timeout(stun_client::PATIENCE, lookup).await;
        found.extend(lookup.into_iter().flatten().filter(SocketAddr::is_ipv4));
    }
    found
}

/// The STUN servers over IPv4, the rendezvous' main port first.
fn servers(
    v4: Option<&(SocketAddr, Option<Reply>)>,
    welcome: Option<&Welcome>,
    further: &[SocketAddr],
) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    if let Some((main, reply)) = v4 {
        servers.push(*main);
        let told = welcome.map_or(&[][..], |welcome| &welcome.stun);
        servers.extend(told.iter().filter(|told| told.is_ipv4()).map(|told| {
            match told.ip().is_unspecified() {
                true => SocketAddr::new(main.ip(), told.port()),
                false => *told,
            }
        }));
        if let Some(other) = reply.and_then(|reply| reply.other) {
            servers.push(SocketAddr::new(main.ip(), other.port()));
            servers.push(SocketAddr::new(other.ip(), main.port()));
        }
        if servers.len() == 1 {
            servers.push(SocketAddr::new(main.ip(), DEFAULT_ALT_PORT));
        }
    }
    servers.extend(further);
    let mut seen = Vec::new();
    servers.retain(|server| {
        let new = !seen.contains(server);
        seen.push(*server);
        new
    });
    servers
}

/// How many addresses these servers have.
fn addresses_of(servers: &[SocketAddr]) -> usize {
    let mut ips: Vec<IpAddr> = servers.iter().map(SocketAddr::ip).collect();
    ips.sort_unstable();
    ips.dedup();
    ips.len()
}

/// Where the rendezvous does not answer STUN although it should; none if it answers nowhere.
fn silent(views: &[Seen], of_rendezvous: &[SocketAddr]) -> Vec<SocketAddr> {
    let own = views
        .iter()
        .filter(|seen| of_rendezvous.contains(&seen.server));
    let (heard, silent): (Vec<&Seen>, Vec<&Seen>) = own.partition(|seen| seen.mapped.is_some());
    match heard.is_empty() {
        true => Vec::new(),
        false => silent.iter().map(|seen| seen.server).collect(),
    }
}
