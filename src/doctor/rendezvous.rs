//! The rendezvous as it is reached from here: over UDP, over TCP, and whether it lets this host in.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_base::{ErrorCode, Failure, Untrusted};
use p2pdbg_net::changes::Changes;
use p2pdbg_proto::{control::Credential, url::RendezvousUrl};
use p2pdbg_rendezvous_client::{Link, LinkConfig, LinkError, LinkEvent, TcpRoute, Transports, Way};
use tokio::net::TcpStream;

use super::{
    findings::{Control, Probe},
    stun_client::{Question, Reply, StunClient},
};

/// How long the control connection may take.
const CONTROL: Duration = Duration::from_millis(3_500);

/// How long TCP and TLS may take together.
const TCP: Duration = Duration::from_millis(3_000);

/// Round trips of which the shortest counts.
const LOOKS: usize = 3;

/// Addresses that a name may have.
const MOST: usize = 8;

/// The addresses of the rendezvous.
///
/// # Errors
/// If its name has none.
pub(super) async fn look_up(url: &RendezvousUrl) -> Result<Vec<SocketAddr>, Failure> {
    let failed = |why: String| {
        Failure::from(LinkError::Resolve {
            authority: url.authority(),
            why,
        })
    };
    let lookup = tokio::net::lookup_host((url.host.as_str(), url.port));
    let addresses = match tokio::time::timeout(TCP, lookup).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(failed(Untrusted::of_error(&error).to_string())),
        Err(_) => return Err(failed("the resolver does not answer".into())),
    };
    let addresses: Vec<SocketAddr> = addresses.take(MOST).collect();
    match addresses.is_empty() {
        true => Err(failed("the name has no address".into())),
        false => Ok(addresses),
    }
}

/// The first of the addresses of a family, and what it says to STUN at its quickest.
pub(super) async fn udp(addresses: &[SocketAddr], v4: bool) -> Option<(SocketAddr, Option<Reply>)> {
    let mut of_family = addresses.iter().filter(|address| address.is_ipv4() == v4);
    let server = *of_family.next()?;
    let client = StunClient::open(server).ok()?;
    let mut best: Option<Reply> = None;
    for _ in 0..LOOKS {
        let reply = client.ask(server, Question::default()).await;
        let Some(reply) = reply.filter(|reply| reply.mapped.is_some()) else {
            break;
        };
        best = match best {
            Some(best) if best.rtt <= reply.rtt => Some(best),
            _ => Some(reply),
        };
    }
    Some((server, best))
}

pub(super) fn udp_probe(answers: &[&Option<(SocketAddr, Option<Reply>)>]) -> Probe {
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

/// How the rendezvous answers over TCP.
#[derive(Debug)]
pub(super) struct OverTcp {
    /// Whether it answers TLS without anything around it.
    pub(super) alone: Probe,
    /// Inside a WebSocket, where that does not answer.
    pub(super) web: Option<Probe>,
}

/// Whether one of the addresses, or the proxy, completes a TLS handshake over TCP, and if not, whether it does inside
/// a WebSocket.
pub(super) async fn tcp(route: &TcpRoute, addresses: &[SocketAddr]) -> OverTcp {
    let alone = by(Way::Alone, route, addresses).await;
    let web = match alone.answers {
        true => None,
        false => Some(by(Way::Web, route, addresses).await),
    };
    OverTcp { alone, web }
}

async fn by(way: Way, route: &TcpRoute, addresses: &[SocketAddr]) -> Probe {
    let through_proxy = route.has_proxy().then_some(None);
    let places = addresses.iter().copied().map(Some);
    let places: Vec<_> = match through_proxy {
        Some(proxy) => vec![proxy],
        None => places.collect(),
    };
    let attempt = async {
        let mut why = "no answer".to_owned();
        for place in places {
            match handshake(way, route, place).await {
                Ok(rtt) => return Ok(rtt),
                Err(error) => why = error,
            }
        }
        Err(why)
    };
    let result = tokio::time::timeout(TCP, attempt).await;
    let (rtt, why) = match result.unwrap_or_else(|_| Err("no answer".to_owned())) {
        Ok(rtt) => (Some(rtt), None),
        Err(why) => (None, Some(why)),
    };
    Probe {
        answers: why.is_none(),
        rtt_ms: rtt.flatten().map(milliseconds),
        why,
    }
}

/// The time that the TCP handshake took, if that of TLS succeeds too; through a proxy or a WebSocket there is none to
/// tell.
async fn handshake(
    way: Way,
    route: &TcpRoute,
    address: Option<SocketAddr>,
) -> Result<Option<Duration>, String> {
    let mut rtt = None;
    if let Some(address) = address.filter(|_| way == Way::Alone) {
        let began = Instant::now();
        // A connection of its own: nothing is said on it.
        TcpStream::connect(address)
            .await
            .map_err(|error| Untrusted::of_error(&error).to_string())?;
        rtt = Some(began.elapsed());
    }
    let stream = route.control_by(way, address).await;
    stream.map_err(|e| e.to_string())?;
    Ok(rtt)
}

/// What the control connection gave.
#[derive(Debug)]
pub(super) struct Welcome {
    /// What came of the attempt to be let in.
    pub(super) control: Control,
    /// Where STUN is answered; an unspecified address stands for the one that was reached.
    pub(super) stun: Vec<SocketAddr>,
    /// What to tell if it failed.
    pub(super) failure: Option<Failure>,
}

/// Says hello and takes leave.
pub(super) async fn control(url: &RendezvousUrl, route: &TcpRoute) -> Welcome {
    let credential = match &url.access_key {
        Some(key) => Credential::AccessKey(key.clone()),
        None => Credential::None,
    };
    let with_key = url.access_key.is_some();
    let changes = Changes::of_this_host();
    let config = LinkConfig {
        url: url.clone(),
        route: route.clone(),
        transports: Transports::Any,
    };
    let mut link = Link::open(config, credential, &changes);
    let failed = |error: LinkError| {
        let failure = Failure::from(error);
        let control = match failure.code {
            ErrorCode::RendezvousRefused => Control::Refused,
            ErrorCode::RendezvousVersion => Control::Version,
            ErrorCode::RendezvousIdentity => Control::Identity,
            _ => Control::Unreachable,
        };
        Welcome {
            control,
            stun: Vec::new(),
            failure: Some(failure),
        }
    };
    let unreachable = LinkError::Unreachable {
        authority: url.authority(),
    };
    let welcome = match tokio::time::timeout(CONTROL, link.event()).await {
        Ok(Some(LinkEvent::Up { stun, .. })) => Welcome {
            control: match with_key {
                true => Control::Welcome,
                false => Control::WelcomeWithoutKey,
            },
            stun,
            failure: None,
        },
        Ok(Some(LinkEvent::Down(error))) => failed(error),
        Ok(Some(LinkEvent::Message(_)) | None) | Err(_) => failed(unreachable),
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), link.close()).await;
    welcome
}

/// With a precision that means something.
pub(super) fn milliseconds(rtt: Duration) -> f64 {
    (rtt.as_secs_f64() * 1e5).round() / 1e2
}
