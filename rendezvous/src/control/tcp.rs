//! The TCP ports: TLS 1.3 for peers whose network lets no UDP through, with the certificate, the limits and the
//! patience that QUIC has. What the client names in its ALPN decides what follows: the control protocol, or a leg of
//! the relay. Who begins with plain HTTP instead is served from the offer, if there is one. Anything else is hung up
//! on.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use p2pdbg_proto::{control, relay_stream};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    control::{
        Ending,
        acceptor::Lobby,
        attempt_limits::{Established, Handshake, Transport, Verdict},
        converse,
        event::Event,
        stream_io::{Patient, close_gently},
    },
    datapath::socket::canonical,
    offer::{self, Offer},
    relay::tcp_leg::{Legs, carry},
    stun::topology::StunPlaces,
};

/// How long accepting pauses when it fails, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(100);

/// The first keepalive after so much silence, and the next ones in the same rhythm. The protocols ask too; this finds
/// out about peers that are gone without waiting for them.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What the kernel may hold that is not sent yet, in bytes. More would be delay that nobody upstream sees.
#[cfg(target_os = "linux")]
const NOT_SENT: u32 = 32 * 1024;

/// One TCP port, and what its peers are told about it.
pub(crate) struct TcpEntrance {
    /// The port.
    pub(crate) listener: TcpListener,
    /// Shakes hands.
    pub(crate) tls: TlsAcceptor,
    /// Where STUN is answered.
    pub(crate) stun: StunPlaces,
    /// The way to the relay.
    pub(crate) legs: Legs,
    /// What is handed out over plain HTTP.
    pub(crate) offer: Option<Arc<Offer>>,
}

/// Accepts connections until `stop`, then waits for those that there are to end.
pub(crate) async fn accept(entrance: TcpEntrance, lobby: Arc<Lobby>, stop: CancellationToken) {
    let entrance = Arc::new(entrance);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = entrance.listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    // Whoever has got so far receives at its address.
                    let now = std::time::Instant::now();
                    match lobby.admission.judge(now, Transport::Tcp, remote.ip(), true) {
                        Verdict::Accept(handshake) => {
                            let (entrance, lobby) = (entrance.clone(), lobby.clone());
                            let remote = canonical(remote);
                            connections.spawn(serve(stream, remote, handshake, entrance, lobby, stop.clone()));
                        }
                        Verdict::Retry | Verdict::Refuse => {
                            lobby.tallies.connections_refused.add(1);
                        }
                    }
                }
                Err(error) => {
                    lobby.admission.shed_tcp(std::time::Instant::now());
                    let failures = lobby.tallies.tcp_not_accepted.add_and_read(1);
                    // Said at the first and at each tenfold: whoever causes it could fill the log.
                    if 10_u64.pow(failures.ilog10()) == failures {
                        tracing::warn!(%error, failures, "cannot accept connections over TCP");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    // From now on connections are refused, rather than accepted by the system and left alone.
    drop(entrance);
    while connections.join_next().await.is_some() {}
}

/// Shakes hands, and holds the conversation or carries the leg.
async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    handshake: Handshake,
    entrance: Arc<TcpEntrance>,
    lobby: Arc<Lobby>,
    stop: CancellationToken,
) {
    set_up(&stream);
    let greeting = shake_hands(stream, remote.ip(), &handshake, &entrance, &lobby);
    let tls = tokio::select! {
        tls = greeting => match tls {
            Ok(Some(tls)) => tls,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%remote, %error, "a handshake over TCP failed");
                return lobby.tallies.tcp_failed.add(1);
            }
        },
        () = handshake.crowded_out() => return lobby.tallies.connections_refused.add(1),
        () = stop.cancelled() => return,
    };
    let Some(place) = handshake.complete() else {
        return lobby.tallies.connections_refused.add(1);
    };
    let alpn = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    match alpn.as_deref() {
        Some(control::ALPN) => hold_conversation(tls, remote, &place, &entrance, &lobby).await,
        Some(relay_stream::ALPN) => {
            let carrying = carry(tls, remote.ip(), &place, &entrance.legs, &lobby);
            tokio::select! {
                () = carrying => {}
                () = place.crowded_out() => lobby.tallies.connections_refused.add(1),
                () = stop.cancelled() => {}
            }
        }
        _ => {
            tracing::debug!(%remote, "a connection over TCP names no protocol");
            lobby.tallies.tcp_failed.add(1);
        }
    }
}

/// Waits for a first byte, and then for the rest of the handshake. Nothing is left where the offer was asked for.
async fn shake_hands(
    stream: TcpStream,
    from: IpAddr,
    handshake: &Handshake,
    entrance: &TcpEntrance,
    lobby: &Lobby,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let silent = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut first = [0];
    let peeked = timeout(lobby.limits.first_byte_within, stream.peek(&mut first));
    if peeked.await.map_err(silent)?? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    handshake.spoke();
    // A method of HTTP; TLS begins with the number of its record, 22.
    if let Some(offer) = &entrance.offer
        && first[0].is_ascii_uppercase()
    {
        lobby.tallies.downloads.add(1);
        offer::serve(stream, from, offer).await;
        return Ok(None);
    }
    let accepted = timeout(lobby.limits.greeting_within, entrance.tls.accept(stream));
    accepted.await.map_err(silent)?.map(Some)
}

async fn hold_conversation(
    tls: TlsStream<TcpStream>,
    observed: SocketAddr,
    place: &Established,
    entrance: &TcpEntrance,
    lobby: &Lobby,
) {
    let local = tls.get_ref().0.local_addr().ok().map(|local| local.ip());
    let stun = entrance.stun.as_seen(observed, local);
    let Some((id, inlet, span)) = lobby.enter(observed, stun, Transport::Tcp).await else {
        return;
    };
    lobby.tallies.tcp_connections.add(1);
    let (reader, mut writer) = tokio::io::split(tls);
    let mut reader = Patient::new(reader, lobby.limits.idle);
    let conversation = converse(id, &mut reader, &mut writer, &lobby.hub, inlet, place);
    let ending = conversation.instrument(span.clone()).await;
    let on_purpose = ending == Ending::Finished;
    if ending != Ending::Lost {
        close_gently(reader, writer).await;
    }
    span.in_scope(|| tracing::debug!(?ending, "disconnected"));
    let _ = lobby.hub.send(Event::Lost { id, on_purpose }).await;
}

/// What the system may do for a connection; where it cannot, things are slower and not wrong.
fn set_up(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
}
