//! Control connections over QUIC: the transport's configuration, who is let in, and how a connection ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hmac::{Hmac, Mac};
use p2pdbg_proto::{address::canonical, rendezvous::close, secret::Secret};
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream,
    TransportConfig, VarInt,
    crypto::{CryptoError, HmacKey, rustls::QuicServerConfig},
};
use sha2::Sha256;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    connections::{
        Ending, converse,
        given_up_ids::{LOOK, Watch, Watched},
        handshake_limits::{Established, Handshake, Transport, Verdict},
        intake::Intake,
    },
    datapath::{
        amplification::{Attempt, Unproved},
        own_ids::OwnIds,
        quic_socket::LONGEST_DATAGRAM,
    },
    hub_event::HubEvent,
    limits::Limits,
    stun::topology::StunPlaces,
};

/// How long the last words of a connection may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long those that were told of the end are waited for. Who has not heard it is reset by the next process, and the
/// waits of quinn's own grow with the round trips, to seconds where many come and go.
const FAREWELL_IDLE: Duration = Duration::from_millis(300);

/// What is kept for a peer that acknowledges nothing, in bytes. It may be in pieces of five, each of which costs some
/// 70 beyond, so that this is what bounds the memory that a connection can be made to take.
const UNACKNOWLEDGED: u64 = 16 * 1024;

/// The time between two stateless resets. They go out only for connection ids of ours, are shorter than what drew them,
/// and bring peers back after a crash: as many a second as there can be handshakes. With quinn's 20 ms, 3,000 peers
/// needed a minute.
const BETWEEN_RESETS: Duration = Duration::from_millis(1);

/// An endpoint, and what its peers are told about it.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) endpoint: Endpoint,
    /// Where STUN is answered, for peers to be told.
    pub(crate) stun: StunPlaces,
    /// Holds addresses that are not proved to what they may be sent.
    pub(crate) unproved: Unproved,
    /// Its connections.
    pub(crate) watched: Watched,
}

/// What an endpoint is made of besides its socket. The keys behind connection ids and resets are derived from
/// `secret`, so that after a restart the old connections of peers are reset at the first datagram, rather than
/// timing out, while datagrams that never were ours (those of a relayed session, say) get no answer.
pub(crate) fn endpoint_config(secret: &Secret<32>) -> EndpointConfig {
    let reset_key = Secret::from_bytes(derive(secret, b"p2pdbg stateless resets 1"));
    let mut config = EndpointConfig::new(Arc::new(ResetKey(reset_key)));
    // The first byte tells QUIC from STUN and the relay's frames, so its second bit has to stay set.
    config.grease_quic_bit(false);
    let ids = own_ids(secret);
    config.cid_generator(move || Box::new(ids.generator()));
    config.min_reset_interval(BETWEEN_RESETS);
    // The default, in words; cannot fail for a value of this size.
    let _ = config.max_udp_payload_size(LONGEST_DATAGRAM as u16);
    config
}

/// The connection ids that endpoints with this secret give out.
pub(crate) fn own_ids(secret: &Secret<32>) -> OwnIds {
    let [a, b, c, d, e, f, g, h, ..] = derive(secret, b"p2pdbg connection ids 1");
    OwnIds::new(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// How connections behave. A peer opens one stream and sends little on it.
pub(crate) fn server_config(
    tls: rustls::ServerConfig,
    limits: &Limits,
) -> Result<quinn::ServerConfig, quinn::crypto::rustls::NoInitialCipherSuite> {
    let window = VarInt::from_u32(64 * 1024);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(UNACKNOWLEDGED)
        // Messages are short: larger packets would gain nothing, and looking for them costs wake-ups.
        .mtu_discovery_config(None)
        // With it each connection would keep a buffer for ten packets, of which it needs one.
        .enable_segmentation_offload(false)
        .max_idle_timeout(limits.idle.try_into().ok());
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(limits.handshakes.max(1))
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(4 * 1024 * 1024);
    Ok(config)
}

/// Accepts connections until `stop`, then waits for those that there are to end.
pub(crate) async fn accept(entrance: Entrance, intake: Arc<Intake>, stop: CancellationToken) {
    let entrance = Arc::new(entrance);
    let mut connections = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            _ = looks.tick() => entrance.watched.look(Instant::now()),
            incoming = entrance.endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                let ip = incoming.remote_address().ip();
                let proven = incoming.remote_address_validated();
                match intake.admission.judge(Instant::now(), Transport::Quic, ip, proven) {
                    Verdict::Accept(handshake) => {
                        let (entrance, intake) = (entrance.clone(), intake.clone());
                        connections.spawn(serve(incoming, handshake, entrance, intake, stop.clone()));
                    }
                    // Only an attempt that has proved its address cannot be told to, and this one has not.
                    Verdict::Retry => drop(incoming.retry()),
                    Verdict::Refuse => {
                        intake.tallies.connections_refused.add(1);
                        incoming.refuse();
                    }
                }
            }
        }
    }
    // Whoever comes while the last ones take leave is told so before the handshake: one that is begun now would only be
    // cut off, and what is left unanswered is dialled again and again.
    loop {
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { break },
            Some(late) = entrance.endpoint.accept() => late.refuse(),
        }
    }
    entrance
        .endpoint
        .close(VarInt::from_u32(close::STOPPING), b"");
    let _ = timeout(FAREWELL_IDLE, entrance.endpoint.wait_idle()).await;
}

/// Shakes hands and holds the conversation.
async fn serve(
    incoming: Incoming,
    handshake: Handshake,
    entrance: Arc<Entrance>,
    intake: Arc<Intake>,
    stop: CancellationToken,
) {
    // A handshake completes only if its peer receives at this address. Where the connection moves later is the
    // peer's claim.
    let observed = canonical(incoming.remote_address());
    let local = incoming.local_ip();
    let greeting = shake_hands(incoming, handshake, &entrance, &intake);
    let Some(Some(mut visitor)) = stop.run_until_cancelled(greeting).await else {
        return;
    };
    let stun = entrance.stun.as_seen(observed, local);
    let Some((id, inlet, span)) = intake.enter(observed, stun, Transport::Quic).await else {
        return close_with(&visitor.connection, close::STOPPING);
    };
    let Visitor {
        receive,
        send,
        place,
        ..
    } = &mut visitor;
    let conversation = converse(id, receive, send, &intake.hub, inlet, place);
    let ending = conversation.instrument(span.clone()).await;
    if let Ending::Close(_) = ending {
        // Closing would overtake what is still on its way.
        let _ = timeout(LAST_WORDS, visitor.send.stopped()).await;
    }
    let on_purpose = ending == Ending::Finished || is_done(visitor.connection.close_reason());
    let code = match ending {
        Ending::Close(code) => code,
        Ending::Finished => close::DONE,
        Ending::Lost => close::IDLE,
    };
    close_with(&visitor.connection, code);
    span.in_scope(|| tracing::debug!(?ending, on_purpose, "disconnected"));
    let _ = intake.hub.send(HubEvent::Lost { id, on_purpose }).await;
}

/// A peer that has connected and opened its stream.
struct Visitor<'a> {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    place: Established,
    /// Keeps the place from which it has shaken hands for proved.
    _address: Attempt,
    _watch: Watch<'a>,
}

async fn shake_hands<'a>(
    incoming: Incoming,
    handshake: Handshake,
    entrance: &'a Entrance,
    intake: &Intake,
) -> Option<Visitor<'a>> {
    let observed = incoming.remote_address();
    let address = entrance.unproved.begin(Instant::now(), observed);
    if incoming.remote_address_validated() {
        address.prove();
    }
    let within = intake.limits.greeting_within;
    let connecting = incoming.accept().ok()?;
    let crowded_out = handshake.crowded_out();
    let shaking = async {
        tokio::select! {
            connected = timeout(within, connecting) => Some(connected),
            () = crowded_out => None,
        }
    };
    let connection = match shaking.await? {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%observed, %error, "a handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%observed, "a handshake took too long");
            return None;
        }
    };
    address.prove();
    let watch = entrance.watched.begin(&connection);
    let Some(place) = handshake.complete() else {
        intake.tallies.connections_refused.add(1);
        let reason = b"too many connections from this address";
        connection.close(VarInt::from_u32(close::REFUSED), reason);
        return None;
    };
    let opened = tokio::select! {
        opened = timeout(within, connection.accept_bi()) => opened,
        () = place.crowded_out() => return None,
    };
    let Ok(Ok((send, receive))) = opened else {
        close_with(&connection, close::IDLE);
        return None;
    };
    Some(Visitor {
        connection,
        send,
        receive,
        place,
        _address: address,
        _watch: watch,
    })
}

fn close_with(connection: &Connection, code: u32) {
    connection.close(VarInt::from_u32(code), b"");
}

/// Whether the peer closed the connection because it was done.
fn is_done(reason: Option<ConnectionError>) -> bool {
    matches!(reason, Some(ConnectionError::ApplicationClosed(closed))
        if closed.error_code == VarInt::from_u32(close::DONE))
}

fn derive(secret: &Secret<32>, purpose: &[u8]) -> [u8; 32] {
    mac(secret)
        .chain_update(purpose)
        .finalize()
        .into_bytes()
        .into()
}

fn mac(key: &Secret<32>) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key.expose()).expect("HMAC takes keys of any length")
}

/// The key under which stateless resets are signed, the same after a restart.
struct ResetKey(Secret<32>);

impl ResetKey {
    fn mac(&self, data: &[u8]) -> Hmac<Sha256> {
        mac(&self.0).chain_update(data)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let signature = self.mac(data).finalize().into_bytes();
        for (out, byte) in signature_out.iter_mut().zip(signature) {
            *out = byte;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.mac(data)
            .verify_slice(signature)
            .map_err(|_| CryptoError)
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_identity::{Identity, tls};

    use super::*;

    #[test]
    fn no_more_is_kept_for_a_peer_that_acknowledges_nothing_than_is_said() {
        let tls = tls::control_server(&Identity::ephemeral().unwrap()).unwrap();
        let config = server_config(tls, &Limits::default()).unwrap();
        let transport = format!("{:?}", config.transport);
        assert!(transport.contains("send_window: 16384,"), "{transport}");
    }
}
