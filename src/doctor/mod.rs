//! `p2pdbg doctor`: what this host's network is like, and what to expect of it.
//!
//! Each measurement is a module of its own and gives a value; [`examine`] runs them side by side, and [`findings`]
//! holds what they gave. [`screen`] is the one renderer for people; the one for programs is serde's (docs/JSON.md).
//!
//! Everything is bounded: the whole takes some six seconds, whoever does not answer, unless `--deep` asks for the
//! lifetime of mappings too, which takes as long as the NAT remembers and five minutes at the most. Nothing is sent but
//! STUN questions, one hello to the rendezvous, one TLS handshake, a connection to the proxy and what the gateway is
//! asked. Debug ports are looked at without touching them.

mod advice;
pub mod debuggers;
mod direct_tcp;
pub mod findings;
mod gateway;
mod lifetime;
mod local;
mod mtu;
mod nat;
pub mod outlook;
mod progress;
mod rendezvous;
mod rendezvous_hosts;
pub mod screen;
mod servers;
mod stun_client;

use std::net::{IpAddr, SocketAddr};

use p2pdbg_forward::ForwardSpec;
use p2pdbg_nat::Class;
use p2pdbg_net::{interfaces::local_addresses, nat64::Nat64, stun_servers::StunServer};
use p2pdbg_proto::{address::Reach, url::RendezvousUrl};

pub use self::progress::Progress;
use self::{
    findings::{Findings, Forecast, Ipv6, Lifetime},
    servers::{Answers, Asked, Target},
};

/// The longest that `--deep` waits.
pub(crate) const LONGEST_DEEP: std::time::Duration = lifetime::LONGEST;

/// How often somebody who waits is told for how long.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// What is to be examined.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The rendezvous, if there is one.
    pub rendezvous: Option<RendezvousUrl>,
    /// STUN servers that are asked besides the rendezvous.
    pub stun: Vec<StunServer>,
    /// Debuggers whose ports are to be looked at; none for all.
    pub forwards: Vec<ForwardSpec>,
    /// Whether the lifetime of mappings is measured too.
    pub deep: bool,
}

/// Examines this host's network: some seconds, or minutes with `deep`. `progress` is told what is being done.
pub async fn examine(examination: Examination, progress: impl Fn(Progress)) -> Findings {
    progress(Progress::Reaching);
    let target = Target::look_up(examination.rendezvous.as_ref()).await;
    // What needs nobody's answer is measured while the others are waited for.
    let aside = async { tokio::join!(gateway::ask(), target.tcp(), target.direct_tcp()) };
    let answers = Answers::collect(&target, &examination.stun, &progress);
    let ((gateway, tcp, direct_tcp), mut answers) = tokio::join!(aside, answers);
    answers.heed(tcp.as_ref().and_then(|tcp| tcp.in_its_place.clone()));
    let udp = answers.udp(tcp.as_ref());
    let lifetime = match answers.server() {
        Some(server) if examination.deep && answers.nat.is_some() => {
            lifetime(server, &target.nat64, &progress).await
        }
        _ => None,
    };
    let kind = match (&answers.nat, udp) {
        (Some(nat), _) => nat.kind,
        (None, Some(false)) => Some(Class::UdpBlocked),
        (None, _) => None,
    };
    let rendezvous = answers.rendezvous(&target, tcp);
    let error = match answers.welcome {
        Some(welcome) => welcome.failure,
        None => target.unresolved,
    };
    let mut findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        ok: error.is_none(),
        error,
        rendezvous,
        udp,
        nat: answers.nat,
        direct_tcp,
        lifetime,
        ipv6: ipv6(answers.v6, target.nat64.is_used()),
        path_mtu: answers.path_mtu,
        gateway,
        proxy: target.route.as_ref().and_then(local::proxy),
        kind,
        forecast: forecast(kind),
        help: Vec::new(),
        debug_ports: debuggers::look(&examination.forwards),
        warnings: Vec::new(),
    };
    advice::advise(&mut findings);
    findings
}

/// Measures for how long the NAT keeps a mapping, and tells each second how long it has been.
async fn lifetime(
    server: SocketAddr,
    nat64: &Nat64,
    progress: impl Fn(Progress),
) -> Option<Lifetime> {
    let alive = std::cell::Cell::new(0);
    let measuring = lifetime::measure(server, nat64, |alive_s| alive.set(alive_s));
    let mut measuring = std::pin::pin!(measuring);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            lifetime = &mut measuring => break lifetime,
            _ = tick.tick() => progress(Progress::Waiting { alive_s: alive.get() }),
        }
    }
}

fn ipv6(v6: Asked, nat64: bool) -> Ipv6 {
    let address = local::global_v6();
    let seen = match &v6 {
        Some((_, Some(reply))) => reply.mapped,
        _ => None,
    };
    Ipv6 {
        address,
        answers: v6.map(|(_, reply)| reply.is_some()),
        untranslated: seen.map(|seen| {
            let mut local = local_addresses(true, &[]).into_iter();
            local.any(|local| local.ip == seen.ip())
        }),
        nat64,
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
    Reach::of(ip) == Reach::Internet
}
