//! The TCP ports: TLS 1.3 for peers whose network lets no UDP through, with the certificate, the limits and the
//! patience that QUIC has. What the client names in its ALPN decides what follows: the rendezvous protocol, or a leg of
//! the relay. Who names neither, or begins with plain HTTP, is taken for the web (`web`), inside which the same TLS
//! may begin once more. Who begins with STUN is told its address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use p2pdbg_identity::tls::is_stream_protocol;
use p2pdbg_proto::{address::canonical, relay_stream, rendezvous};
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    connections::{
        Ending, converse,
        handshake_limits::{Established, Handshake, Transport, Verdict},
        intake::Intake,
        stream_io::{Patient, close_gently},
        tcp_leg::carry,
    },
    hub_event::HubEvent,
    offer::Offer,
    relay::tcp_leg_input::Legs,
    stun::{over_tcp, topology::StunPlaces},
    web::{self, Asker, Inside, Site},
};

/// How long accepting pauses when it fails, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(100);

/// The first keepalive after so much silence, and the next ones in the same rhythm. The protocols ask too; this finds
/// out about peers that are gone without waiting for them.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(30);

/// STUN's first byte is below this one (RFC 9443 section 3).
const FIRST_OF_NO_STUN: u8 = 4;

/// What the kernel may hold that is not sent yet, in bytes. More would be delay that nobody upstream sees.
pub(crate) const NOT_SENT: u32 = 32 * 1024;

/// One TCP port, and what its peers get.
pub(crate) struct TcpEntrance {
    pub(crate) listener: TcpListener,
    /// What follows on a connection.
    pub(crate) services: Services,
}

/// What is served over TCP, whichever way a connection came.
#[derive(Clone)]
pub(crate) struct Services {
    /// Shakes hands, for the rendezvous protocol and legs.
    pub(crate) tls: TlsAcceptor,
    /// The TLS of the web, which proves nothing.
    pub(crate) outer: Arc<ServerConfig>,
    /// Where STUN is answered, for peers to be told.
    pub(crate) stun: StunPlaces,
    /// The way to the relay.
    pub(crate) legs: Legs,
    /// What is handed out over HTTP.
    pub(crate) offer: Option<Arc<Offer>>,
}

/// A connection on which TLS of ours has been spoken.
enum Greeted {
    /// TLS of ours from the first byte on.
    Straight(Box<TlsStream<TcpStream>>),
    /// TLS of ours inside a WebSocket inside the web's TLS.
    ByWeb(Box<TlsStream<Inside>>),
    /// No TLS at all: requests of STUN follow.
    Stun(TcpStream),
}

/// Accepts connections until `stop`, then waits for those that there are to end.
pub(crate) async fn accept(entrance: TcpEntrance, intake: Arc<Intake>, stop: CancellationToken) {
    let TcpEntrance { listener, services } = entrance;
    let services = Arc::new(services);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    // Whoever has got so far receives at its address.
                    let now = std::time::Instant::now();
                    match intake.admission.judge(now, Transport::Tcp, remote.ip(), true) {
                        Verdict::Accept(handshake) => {
                            let (services, intake) = (services.clone(), intake.clone());
                            let remote = canonical(remote);
                            connections.spawn(serve(stream, remote, handshake, services, intake, stop.clone()));
                        }
                        Verdict::Retry | Verdict::Refuse => {
                            intake.tallies.connections_refused.add(1);
                        }
                    }
                }
                Err(error) => hold_out(&intake, &error).await,
            }
        }
    }
    // From now on connections are refused, rather than accepted by the system and left alone.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The system hands no connection over, for want of file descriptors say: makes room, and waits a moment.
pub(crate) async fn hold_out(intake: &Intake, error: &io::Error) {
    intake.admission.shed_tcp(std::time::Instant::now());
    let failures = intake.tallies.tcp_not_accepted.add_and_read(1);
    // Said at the first and at each tenfold: whoever causes it could fill the log.
    if 10_u64.pow(failures.ilog10()) == failures {
        tracing::warn!(%error, failures, "cannot accept connections over TCP");
    }
    tokio::time::sleep(PAUSE).await;
}

/// Shakes hands, and holds the conversation or carries the leg.
async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    handshake: Handshake,
    services: Arc<Services>,
    intake: Arc<Intake>,
    stop: CancellationToken,
) {
    p2pdbg_frames::set_up_tcp(&stream, KEEPALIVE, NOT_SENT);
    let local = stream.local_addr().ok().map(|local| local.ip());
    let greeting = greet(stream, remote.ip(), &handshake, &services, &intake);
    let greeted = tokio::select! {
        greeted = greeting => match greeted {
            Ok(Some(greeted)) => greeted,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%remote, %error, "a handshake over TCP failed");
                return intake.tallies.tcp_failed.add(1);
            }
        },
        () = handshake.crowded_out() => return intake.tallies.connections_refused.add(1),
        () = stop.cancelled() => return,
    };
    let Some(place) = handshake.complete() else {
        return intake.tallies.connections_refused.add(1);
    };
    match greeted {
        Greeted::Straight(tls) => {
            services
                .serve(*tls, remote, local, &place, &intake, &stop)
                .await;
        }
        Greeted::ByWeb(tls) => {
            services
                .serve(*tls, remote, local, &place, &intake, &stop)
                .await;
        }
        Greeted::Stun(stream) => {
            let served = tokio::select! {
                served = over_tcp::serve(stream, remote, over_tcp::SILENCE) => served,
                () = place.crowded_out() => return intake.tallies.connections_refused.add(1),
                () = stop.cancelled() => return,
            };
            if let Err(error) = served {
                tracing::debug!(%remote, %error, "STUN over TCP ended");
            }
        }
    }
}

/// Waits for a first byte, and then for the rest of the handshake, or of two where one is inside the web. Nothing is
/// left where something was asked for over HTTP and no more.
async fn greet(
    stream: TcpStream,
    from: IpAddr,
    handshake: &Handshake,
    services: &Services,
    intake: &Intake,
) -> io::Result<Option<Greeted>> {
    let mut first = [0];
    let peeked = timeout(intake.limits.first_byte_within, stream.peek(&mut first));
    if peeked.await.map_err(silent)?? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    handshake.spoke();
    if first[0] < FIRST_OF_NO_STUN {
        return Ok(Some(Greeted::Stun(stream)));
    }
    let site = Site {
        offer: services.offer.as_deref(),
        tallies: &intake.tallies,
    };
    // A method of HTTP; TLS begins with the number of its record, 22.
    let asked = if first[0].is_ascii_uppercase() {
        web::serve(stream, Asker::At(from), site).await
    } else {
        let until = Instant::now() + intake.limits.greeting_within;
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let hello = timeout_at(until, hello).await.map_err(silent)??;
        let named = hello.client_hello().alpn();
        let is_ours = named.is_some_and(|mut named| named.any(is_stream_protocol));
        if is_ours {
            let tls = hello.into_stream(services.tls.config().clone());
            let tls = timeout_at(until, tls).await.map_err(silent)??;
            return Ok(Some(Greeted::Straight(Box::new(tls))));
        }
        let outer = hello.into_stream(services.outer.clone());
        let outer = timeout_at(until, outer).await.map_err(silent)??;
        web::serve(outer, Asker::At(from), site).await
    };
    let Some((_, inside)) = asked else {
        return Ok(None);
    };
    let tls = inner_handshake(inside, services, intake).await?;
    Ok(Some(Greeted::ByWeb(Box::new(tls))))
}

/// The handshake of our own TLS inside a WebSocket.
///
/// # Errors
/// If it fails, or takes too long.
pub(crate) async fn inner_handshake(
    inside: Inside,
    services: &Services,
    intake: &Intake,
) -> io::Result<TlsStream<Inside>> {
    let accepted = timeout(intake.limits.greeting_within, services.tls.accept(inside));
    accepted.await.map_err(silent)?
}

fn silent(_: tokio::time::error::Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl Services {
    /// Does what the ALPN says. `local` is this host's address, as far as it is known.
    pub(crate) async fn serve<S>(
        &self,
        tls: TlsStream<S>,
        remote: SocketAddr,
        local: Option<IpAddr>,
        place: &Established,
        intake: &Intake,
        stop: &CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let alpn = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        match alpn.as_deref() {
            Some(rendezvous::ALPN) => {
                let stun = self.stun.as_seen(remote, local);
                hold_conversation(tls, remote, stun, place, intake).await;
            }
            Some(relay_stream::ALPN) => {
                let carrying = carry(tls, remote.ip(), place, &self.legs, intake);
                tokio::select! {
                    () = carrying => {}
                    () = place.crowded_out() => intake.tallies.connections_refused.add(1),
                    () = stop.cancelled() => {}
                }
            }
            _ => {
                tracing::debug!(%remote, "a connection over TCP names no protocol");
                intake.tallies.tcp_failed.add(1);
            }
        }
    }
}

async fn hold_conversation<S>(
    tls: TlsStream<S>,
    observed: SocketAddr,
    stun: Vec<SocketAddr>,
    place: &Established,
    intake: &Intake,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some((id, inlet, span)) = intake.enter(observed, stun, Transport::Tcp).await else {
        return;
    };
    intake.tallies.tcp_connections.add(1);
    let (reader, mut writer) = tokio::io::split(tls);
    let mut reader = Patient::new(reader, intake.limits.idle);
    let conversation = converse(id, &mut reader, &mut writer, &intake.hub, inlet, place);
    let ending = conversation.instrument(span.clone()).await;
    let on_purpose = ending == Ending::Finished;
    if ending != Ending::Lost {
        close_gently(reader, writer).await;
    }
    span.in_scope(|| tracing::debug!(?ending, "disconnected"));
    let _ = intake.hub.send(HubEvent::Lost { id, on_purpose }).await;
}
