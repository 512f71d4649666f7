//! `p2pdbg doctor`: what this host's network is like, and what to expect of it.
//!
//! Each measurement is a module of its own and gives a value; [`examine`] runs them side by side, and [`findings`]
//! holds what they gave. [`screen`] is the one renderer for people; the one for programs is serde's (docs/JSON.md).
//!
//! Everything is bounded: the whole takes some six seconds, whoever does not answer, unless `--deep` asks for the
//! lifetime of mappings too, which takes as long as the NAT remembers and five minutes at the most. Nothing is sent but
//! STUN questions, one hello to the rendezvous, one TLS handshake, a connection to the proxy and what the gateway is
//! asked. Debug ports are looked at without touching them.

mod asker;
pub mod debuggers;
pub mod findings;
mod help;
mod lifetime;
mod local;
mod mtu;
mod nat;
pub mod outlook;
mod reach;
pub mod screen;

use std::net::{IpAddr, SocketAddr};

use p2pdbg_forward::ForwardSpec;
use p2pdbg_nat::Class;
use p2pdbg_net::{
    interfaces::local_addresses,
    stun_servers::{self, StunServer},
};
use p2pdbg_portmap as portmap;
use p2pdbg_portmap::Answer;
use p2pdbg_proto::url::RendezvousUrl;
use p2pdbg_punch::{candidate, survey::Seen};
use p2pdbg_rendezvous_client::TcpRoute;

use self::{
    asker::Reply,
    findings::{Control, Findings, Forecast, Gateway, GatewayProtocol, Ipv6, Probe, Rendezvous},
    reach::{Welcome, milliseconds},
};

/// The longest that `--deep` waits.
pub const LONGEST_DEEP: std::time::Duration = lifetime::LONGEST;

/// How often somebody who waits is told for how long.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// The alternative port of a rendezvous that says nothing else.
const ALTERNATIVE: u16 = 3479;

/// What is to be examined.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The rendezvous, if there is one.
    pub rendezvous: Option<RendezvousUrl>,
    /// STUN servers besides it.
    pub stun: Vec<StunServer>,
    /// Debuggers whose ports are to be looked at; none for all.
    pub forwards: Vec<ForwardSpec>,
    /// Whether the lifetime of mappings is measured too.
    pub deep: bool,
}

/// What is being done, for somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Asking who answers.
    Reaching,
    /// Measuring what is on the way.
    Measuring,
    /// Waiting for the NAT to forget; mappings were alive after so many seconds.
    Waiting {
        /// The longest that has been seen.
        alive_s: u64,
    },
}

/// Who answers STUN, by IP protocol.
type Asked = Option<(SocketAddr, Option<Reply>)>;

/// Examines.
pub async fn examine(examination: Examination, progress: impl Fn(Progress)) -> Findings {
    progress(Progress::Reaching);
    let url = examination.rendezvous.as_ref();
    let route = url.map(TcpRoute::new);
    let (addresses, unresolved) = match url {
        Some(url) => match reach::look_up(url).await {
            Ok(addresses) => (addresses, None),
            Err(failure) => (Vec::new(), Some(failure)),
        },
        None => (Vec::new(), None),
    };
    // A proxy may know the name although this host does not.
    let reachable = |route: &&TcpRoute| !addresses.is_empty() || route.has_proxy();
    let reachable = url.zip(route.as_ref().filter(reachable));
    let welcome = async {
        match reachable {
            Some((url, route)) => Some(reach::control(url, route).await),
            None => None,
        }
    };
    let tcp = async {
        match reachable {
            Some((_, route)) => Some(reach::tcp(route, &addresses).await),
            None => None,
        }
    };
    let further = further(&examination.stun);
    // What needs nobody's answer is measured while the others are waited for.
    let aside = async { tokio::join!(gateway(), tcp) };
    let inquiry = async {
        let (welcome, v4, v6, further) = tokio::join!(
            welcome,
            reach::udp(&addresses, true),
            reach::udp(&addresses, false),
            further
        );
        progress(Progress::Measuring);
        let servers = servers(v4.as_ref(), welcome.as_ref(), &further);
        let local = local_addresses(true);
        let measured = v4.as_ref().or(v6.as_ref());
        let measured = measured.filter(|(_, reply)| reply.is_some());
        let mtu = async {
            match measured {
                Some((server, _)) => mtu::measure(*server).await,
                None => None,
            }
        };
        let network = async {
            let views = nat::views(&servers).await;
            let nat = nat::examine(&views, &local).await;
            (views, nat)
        };
        let ((views, nat), mtu) = tokio::join!(network, mtu);
        (welcome, v4, v6, views, nat, mtu)
    };
    let ((gateway, tcp), (welcome, v4, v6, views, nat, path_mtu)) = tokio::join!(aside, inquiry);
    let answered = |asked: &Asked| matches!(asked, Some((_, Some(_))));
    let asked = v4.is_some() || v6.is_some() || !views.is_empty();
    let heard = answered(&v4) || answered(&v6) || views.iter().any(|seen| seen.mapped.is_some());
    // Where nobody answers over TCP either, it need not be UDP that is at fault.
    let by_web = |tcp: &reach::OverTcp| tcp.web.as_ref().is_some_and(|web| web.answers);
    let alive = tcp
        .as_ref()
        .is_some_and(|tcp| tcp.alone.answers || by_web(tcp));
    let udp = (asked && (heard || alive)).then_some(heard);
    let server = views
        .iter()
        .find(|s| s.mapped.is_some() && !s.is_poor_view());
    let lifetime = match server {
        Some(seen) if examination.deep && nat.is_some() => {
            let alive = std::cell::Cell::new(0);
            let measuring = lifetime::measure(seen.server, |alive_s| alive.set(alive_s));
            let mut measuring = std::pin::pin!(measuring);
            let mut tick = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    lifetime = &mut measuring => break lifetime,
                    _ = tick.tick() => progress(Progress::Waiting { alive_s: alive.get() }),
                }
            }
        }
        _ => None,
    };
    let kind = match (&nat, udp) {
        (Some(nat), _) => nat.kind,
        (None, Some(false)) => Some(Class::UdpBlocked),
        (None, _) => None,
    };
    let of_rendezvous = servers(v4.as_ref(), welcome.as_ref(), &[]);
    let (tcp, web) = match tcp {
        Some(tcp) => (Some(tcp.alone), tcp.web),
        None => (None, None),
    };
    let rendezvous = reachable.map(|(url, _)| Rendezvous {
        authority: url.authority(),
        udp: udp_probe(&[&v4, &v6]),
        tcp: tcp.unwrap_or(Probe {
            answers: false,
            rtt_ms: None,
            why: None,
        }),
        web,
        control: welcome.as_ref().map_or(Control::Unreachable, |w| w.control),
        stun_addresses: addresses_of(&of_rendezvous),
        silent: silent(&views, &of_rendezvous),
        poor_view: views
            .iter()
            .find(|seen| of_rendezvous.contains(&seen.server) && seen.is_poor_view())
            .and_then(|seen| seen.mapped)
            .map(|seen| seen.ip()),
        addresses: addresses.clone(),
    });
    let error = match welcome {
        Some(welcome) => welcome.failure,
        None => unresolved,
    };
    let mut findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        ok: error.is_none(),
        error,
        rendezvous,
        udp,
        nat,
        lifetime,
        ipv6: ipv6(v6),
        path_mtu,
        gateway,
        proxy: route.as_ref().and_then(local::proxy),
        kind,
        forecast: forecast(kind),
        help: Vec::new(),
        debug_ports: debuggers::look(&examination.forwards),
        warnings: Vec::new(),
    };
    help::advise(&mut findings);
    findings
}

/// The addresses of the servers that the user named, IPv4 alone: that is where NATs are.
async fn further(servers: &[StunServer]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for StunServer(server) in servers {
        let lookup = stun_servers::addresses(server);
        let lookup = tokio::time::timeout(asker::PATIENCE, lookup).await;
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
            servers.push(SocketAddr::new(main.ip(), ALTERNATIVE));
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

fn udp_probe(answers: &[&Asked]) -> Probe {
    let rtts = answers.iter().filter_map(|answer| {
        let (_, reply) = answer.as_ref()?;
        Some(milliseconds(reply.as_ref()?.rtt))
    });
    let rtt_ms = rtts.min_by(f64::total_cmp);
    Probe {
        answers: rtt_ms.is_some(),
        rtt_ms,
        why: rtt_ms.is_none().then(|| "no answer".to_owned()),
    }
}

fn ipv6(v6: Asked) -> Ipv6 {
    let address = local::global_v6();
    let seen = match &v6 {
        Some((_, Some(reply))) => reply.mapped,
        _ => None,
    };
    Ipv6 {
        address,
        answers: v6.map(|(_, reply)| reply.is_some()),
        untranslated: seen.map(|seen| {
            let mut local = local_addresses(true).into_iter();
            local.any(|local| local.ip == seen.ip())
        }),
    }
}

async fn gateway() -> Gateway {
    let report = portmap::probe().await;
    let protocol = |report: portmap::ProtocolReport| {
        let (speaks, external, refused) = match report.answer {
            Answer::Silent => (false, None, None),
            Answer::Refused(why) => (false, None, Some(why)),
            Answer::Speaks { external } => (true, external.map(IpAddr::from), None),
        };
        GatewayProtocol {
            name: report.protocol.to_string(),
            speaks,
            external,
            refused,
        }
    };
    Gateway {
        address: report.gateway.map(IpAddr::from),
        protocols: match report.gateway {
            Some(_) => report.protocols.into_iter().map(protocol).collect(),
            None => Vec::new(),
        },
    }
}

fn forecast(kind: Option<Class>) -> Vec<Forecast> {
    let Some(here) = kind else {
        return Vec::new();
    };
    let forecast = |peer| Forecast {
        peer,
        outlook: outlook::outlook(here, peer),
    };
    Class::ALL.into_iter().map(forecast).collect()
}

/// Whether an address means the same host everywhere.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => portmap::is_public(ip),
        IpAddr::V6(_) => !candidate::is_private(ip),
    }
}
