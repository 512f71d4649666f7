//! The QUIC side of reaching the rendezvous: one attempt at one address.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use p2pdbg_base::Untrusted;
use p2pdbg_identity::tls;
use p2pdbg_proto::{secret::random_bytes, url::RendezvousUrl};
use p2pdbg_udp::quinn_tasks::WatchedRuntime;
use quinn::{
    AckFrequencyConfig, ClientConfig, Connection as QuicConnection, ConnectionError, Endpoint,
    EndpointConfig, IdleTimeout, TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};

use super::{LinkError, TcpRoute, socket::Movable};

/// Before the first measurement: repeats a lost first packet after 0.3 s rather than after 1 s.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Few NATs forget within this, and what listeners that wait cost the rendezvous is this and little else.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A rendezvous that is silent for this long is lost.
const SILENCE: Duration = Duration::from_secs(25);

/// What is said ahead from a new address, in bytes.
const ADVANCE: usize = 1_200;

/// TLS alert `no_application_protocol` (RFC 7301 section 3.2) as a QUIC crypto error.
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// QUIC's own code for a connection that is not taken on (RFC 9000 section 20.1).
const CONNECTION_REFUSED: u64 = 2;

/// How every attempt is made.
///
/// # Errors
/// If the system's roots cannot be read and the URL pins no certificate.
pub(super) fn client_config(url: &RendezvousUrl) -> anyhow::Result<ClientConfig> {
    let tls = tls::control_client(url.fingerprint)?;
    // What is asked is answered at once: an acknowledgement that waits for others costs the rendezvous a timer.
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(0));
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(acks))
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(SILENCE)?))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// What a connection over QUIC stands on, and has to live as long as it does.
#[derive(Debug)]
pub(super) struct Footing {
    pub(super) endpoint: Endpoint,
    socket: Arc<Movable>,
}

/// Shakes hands with what answers at an address, through a NAT64 if there is no other way to it.
pub(super) async fn dial(
    url: &RendezvousUrl,
    address: SocketAddr,
    route: &TcpRoute,
    config: ClientConfig,
    within: Duration,
) -> Result<(QuicConnection, Footing), LinkError> {
    let authority = url.authority();
    let local = |e: &dyn std::fmt::Display| LinkError::Local(e.to_string());
    let target = route.nat64().target(address).await;
    let socket = bind(target, route.local()).and_then(Movable::new);
    let socket = socket.map_err(|e| local(&e))?;
    let mut endpoint_config = EndpointConfig::default();
    endpoint_config.grease_quic_bit(false);
    let endpoint = Endpoint::new_with_abstract_socket(
        endpoint_config,
        None,
        Arc::clone(&socket) as Arc<dyn quinn::AsyncUdpSocket>,
        Arc::new(WatchedRuntime),
    )
    .map_err(|e| local(&e))?;
    let connecting = endpoint
        .connect_with(config, target, &url.host)
        .map_err(|e| local(&e))?;
    match tokio::time::timeout(within, connecting).await {
        Ok(Ok(connection)) => Ok((connection, Footing { endpoint, socket })),
        Ok(Err(error)) => Err(judge(error, authority, url.fingerprint.is_some())),
        Err(_) => Err(LinkError::Unreachable { authority }),
    }
}

/// Carries a connection over to another socket (RFC 9000 section 9): the address and the NAT's mapping of the old one
/// may be gone. The rendezvous learns the new address by what is said next.
pub(super) fn move_to_new_socket(connection: &QuicConnection, footing: &Footing) {
    let socket = bind_anew(connection.remote_address());
    let moved = socket.and_then(|socket| footing.socket.move_to(socket));
    if let Err(error) = moved {
        tracing::debug!(%error, "the connection to the rendezvous stays on its socket");
    }
}

/// Another socket for a connection to `remote`, with what goes ahead said there.
fn bind_anew(remote: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = bind(remote, None)?;
    // Lost, it only makes the rendezvous more sparing.
    let _ = socket.send_to(&advance(), remote);
    Ok(socket)
}

/// What goes ahead from a new address: the rendezvous says there three times what came, in bytes, and its challenge to
/// the address is 1,200 of them. To QUIC it is a packet of a connection that nobody knows, and passed over.
fn advance() -> [u8; ADVANCE] {
    let mut datagram = random_bytes();
    // A short header.
    datagram[0] = 0x40 | datagram[0] & 0x3f;
    datagram
}

/// A socket from which `remote` can be reached, at `local` if that is given.
fn bind(remote: SocketAddr, local: Option<IpAddr>) -> std::io::Result<UdpSocket> {
    let any = match remote {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind((local.unwrap_or(any), 0))
}

/// What a failed handshake means.
fn judge(error: ConnectionError, authority: String, pinned: bool) -> LinkError {
    match error {
        ConnectionError::VersionMismatch => LinkError::Version { authority },
        ConnectionError::TransportError(error) => match u64::from(error.code) {
            NO_APPLICATION_PROTOCOL => LinkError::Version { authority },
            // The other crypto errors on this side are about the certificate.
            0x100..=0x1ff => LinkError::Identity {
                authority,
                why: Untrusted::of_error(&error.reason).to_string(),
                pinned,
            },
            _ => LinkError::Version { authority },
        },
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            NO_APPLICATION_PROTOCOL => LinkError::Version { authority },
            CONNECTION_REFUSED => LinkError::Busy { authority },
            _ => LinkError::lost(&close),
        },
        ConnectionError::TimedOut | ConnectionError::Reset => LinkError::Unreachable { authority },
        other => LinkError::lost(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_socket_says_as_much_ahead_as_the_challenge_to_it_needs() {
        let rendezvous = UdpSocket::bind("127.0.0.1:0").unwrap();
        rendezvous
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let socket = bind_anew(rendezvous.local_addr().unwrap()).unwrap();
        let mut datagram = [0; 2_000];
        let (length, from) = rendezvous.recv_from(&mut datagram).unwrap();
        assert_eq!(from.port(), socket.local_addr().unwrap().port());
        assert_eq!((length, datagram[0] & 0xc0), (ADVANCE, 0x40));
    }
}
