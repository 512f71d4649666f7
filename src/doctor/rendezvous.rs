//! The rendezvous as it is reached from here: over UDP, over TCP, and whether it lets this host in.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_base::{ErrorCode, Failure, Untrusted};
use p2pdbg_net::{changes::Changes, lookup, nat64::Nat64};
use p2pdbg_proto::{rendezvous::Credential, url::RendezvousUrl};
use p2pdbg_rendezvous_client::{
    Link, LinkConfig, LinkError, LinkEvent, STAGGER, TcpRoute, Transports, Way,
};
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    findings::{ControlConnection, Probe},
    stun_client::{PATIENCE, Question, Reply, StunClient},
};

/// How long the control connection may take.
const CONTROL: Duration = Duration::from_millis(3_500);

/// How long TCP and TLS may take together.
const TCP: Duration = Duration::from_millis(3_000);

/// Round trips of which the shortest counts.
const LOOKS: usize = 3;

/// How long the addresses of one family are waited for once the other's are there: what is reached by each is told.
const SLOWER: Duration = Duration::from_secs(1);

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
    let lookup = lookup::look_up_all(&url.host, url.port, SLOWER);
    let addresses = match tokio::time::timeout(TCP, lookup).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(failed(Untrusted::of_error(&error).to_string())),
        Err(_) => return Err(failed("the resolver does not answer".into())),
    };
    let addresses: Vec<SocketAddr> = addresses.into_iter().take(MOST).collect();
    match addresses.is_empty() {
        true => Err(failed("the name has no address".into())),
        false => Ok(addresses),
    }
}

/// The first of the addresses of a family that answers STUN, or the first of all if none does, and what it says at its
/// quickest.
pub(super) async fn udp(
    addresses: &[SocketAddr],
    v4: bool,
    nat64: &Nat64,
) -> Option<(SocketAddr, Option<Reply>)> {
    let of_family = addresses.iter().filter(|address| address.is_ipv4() == v4);
    let questions: Vec<_> = of_family.map(|at| (*at, Question::default())).collect();
    let (first, _) = *questions.first()?;
    let client = StunClient::open_through(nat64, first).ok()?;
    let usable = |reply: Option<Reply>| reply.filter(|reply| reply.mapped.is_some());
    let replies = client.ask_all(&questions, PATIENCE).await;
    let mut answers = questions.iter().zip(replies);
    let answer = answers.find_map(|((server, _), reply)| Some((*server, usable(reply)?)));
    let Some((server, mut best)) = answer else {
        return Some((first, None));
    };
    for _ in 1..LOOKS {
        let reply = client.ask(server, Question::default()).await;
        let Some(reply) = usable(reply) else {
            break;
        };
        if reply.rtt < best.rtt {
            best = reply;
        }
    }
    Some((server, Some(best)))
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
    /// What is wrong with what answers in the place of the rendezvous.
    pub(super) in_its_place: Option<Failure>,
}

/// Whether one of the addresses, or the proxy, completes a TLS handshake over TCP, and if not, whether it does inside
/// a WebSocket.
pub(super) async fn tcp(route: &TcpRoute, addresses: &[SocketAddr]) -> OverTcp {
    let (alone, in_its_place) = by(Way::Alone, route, addresses).await;
    let web = match alone.answers {
        true => None,
        false => Some(by(Way::Web, route, addresses).await.0),
    };
    OverTcp {
        alone,
        web,
        in_its_place,
    }
}

/// Tries all places side by side, each a little later than the one before, as sessions do: what is wrong with one of
/// them says nothing of the network. Also what is wrong with what answers in the place of the rendezvous.
async fn by(way: Way, route: &TcpRoute, addresses: &[SocketAddr]) -> (Probe, Option<Failure>) {
    let places: Vec<Option<SocketAddr>> = match route.has_proxy() {
        true => vec![None],
        false => addresses.iter().copied().map(Some).collect(),
    };
    let mut attempts = JoinSet::new();
    let mut later = Duration::ZERO;
    for place in places {
        let route = route.clone();
        attempts.spawn(async move {
            tokio::time::sleep(later).await;
            handshake(way, &route, place).await
        });
        later += STAGGER;
    }
    let (mut why, mut in_its_place) = (None, None);
    let attempt = async {
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(rtt)) => return Some(rtt),
                Ok(Err(fault)) => {
                    why = Some(fault.why);
                    in_its_place = fault.in_its_place.or(in_its_place.take());
                }
                Err(_) => {}
            }
        }
        None
    };
    let reached = tokio::time::timeout(TCP, attempt).await.ok().flatten();
    let probe = Probe {
        answers: reached.is_some(),
        rtt_ms: reached.flatten().map(milliseconds),
        why: match reached {
            Some(_) => None,
            None => Some(why.unwrap_or_else(|| "no answer".to_owned())),
        },
    };
    (probe, in_its_place.filter(|_| reached.is_none()))
}

/// Why a handshake over TCP failed.
struct Fault {
    why: String,
    in_its_place: Option<Failure>,
}

impl From<LinkError> for Fault {
    fn from(error: LinkError) -> Self {
        Self {
            why: error.to_string(),
            in_its_place: matches!(error, LinkError::InItsPlace(_)).then(|| error.into()),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self {
            why: Untrusted::of_error(&error).to_string(),
            in_its_place: None,
        }
    }
}

/// The time that the TCP handshake took, if that of TLS succeeds too; through a proxy or a WebSocket there is none to
/// tell.
async fn handshake(
    way: Way,
    route: &TcpRoute,
    address: Option<SocketAddr>,
) -> Result<Option<Duration>, Fault> {
    let mut rtt = None;
    if let Some(address) = address.filter(|_| way == Way::Alone) {
        let target = route.nat64().target(address).await;
        let began = Instant::now();
        // A connection of its own: nothing is said on it.
        TcpStream::connect(target).await?;
        rtt = Some(began.elapsed());
    }
    route.control_by(way, address).await?;
    Ok(rtt)
}

/// What the control connection gave.
#[derive(Debug)]
pub(super) struct Welcome {
    /// What came of the attempt to be let in.
    pub(super) control: ControlConnection,
    /// Where STUN is answered; an unspecified address stands for the one that was reached.
    pub(super) stun: Vec<SocketAddr>,
    /// What to tell if it failed.
    pub(super) failure: Option<Failure>,
}

impl Welcome {
    pub(super) fn failed(failure: Failure) -> Self {
        Self {
            control: match failure.code {
                ErrorCode::RendezvousRefused => ControlConnection::Refused,
                ErrorCode::RendezvousVersion => ControlConnection::Version,
                ErrorCode::RendezvousIdentity => ControlConnection::Identity,
                _ => ControlConnection::Unreachable,
            },
            stun: Vec::new(),
            failure: Some(failure),
        }
    }
}

/// Says hello to the one at these addresses, and takes leave.
pub(super) async fn control(
    url: &RendezvousUrl,
    route: &TcpRoute,
    addresses: &[SocketAddr],
) -> Welcome {
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
    let welcome = match tokio::time::timeout(CONTROL, link.event()).await {
        Ok(Some(LinkEvent::Up { stun, .. })) => Welcome {
            control: match with_key {
                true => ControlConnection::Welcome,
                false => ControlConnection::WelcomeWithoutKey,
            },
            stun,
            failure: None,
        },
        Ok(Some(LinkEvent::Down(error))) => Welcome::failed(error.into()),
        Ok(Some(LinkEvent::Message(_)) | None) | Err(_) => {
            Welcome::failed(route.no_answer(addresses).await.into())
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), link.close()).await;
    welcome
}

/// With a precision that means something.
pub(super) fn milliseconds(rtt: Duration) -> f64 {
    (rtt.as_secs_f64() * 1e5).round() / 1e2
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;

    use p2pdbg_rendezvous::{Server, ServerConfig};
    use tokio::net::{TcpListener, TcpSocket, UdpSocket};

    use super::*;

    /// A port that takes no connection and refuses none, with what fills its queue, and no STUN.
    struct BlackHole {
        address: SocketAddr,
        _listener: TcpListener,
        _queued: [TcpStream; 2],
        _udp: UdpSocket,
    }

    impl BlackHole {
        async fn open() -> Self {
            // Of a port that is free over TCP another test may have the one over UDP.
            let (socket, udp) = loop {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
                if let Ok(udp) = UdpSocket::bind(socket.local_addr().unwrap()).await {
                    break (socket, udp);
                }
            };
            // One more than it is told.
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            Self {
                address,
                _listener: listener,
                _queued: [
                    TcpStream::connect(address).await.unwrap(),
                    TcpStream::connect(address).await.unwrap(),
                ],
                _udp: udp,
            }
        }
    }

    #[tokio::test]
    async fn rendezvous_whose_first_address_is_dead_answers_at_the_second() {
        let state = tempfile::tempdir().unwrap();
        let server = Server::start(ServerConfig {
            bind: vec!["127.0.0.1:0".parse().unwrap()],
            alt_port: 0,
            state: Some(state.path().join("state")),
            open: true,
            ..ServerConfig::default()
        });
        let server = server.await.unwrap();
        let (dead, live) = (BlackHole::open().await, server.addresses()[0]);
        let addresses = [dead.address, live];
        let (at, reply) = udp(&addresses, true, &Nat64::default()).await.unwrap();
        assert_eq!((at, reply.is_some()), (live, true));
        let route = TcpRoute::new(server.url());
        let over_tcp = tcp(&route, &addresses).await;
        assert!(over_tcp.alone.answers, "{over_tcp:?}");
        // Where none answers that is told of the first.
        let nobody = udp(&addresses[..1], true, &Nat64::default()).await;
        assert_eq!(nobody, Some((dead.address, None)));
    }
}
