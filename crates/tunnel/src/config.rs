//! How QUIC is set for tunnels.

use std::{sync::Arc, time::Duration};

use p2pdbg_identity::{Identity, tls};
use p2pdbg_proto::fingerprint::Fingerprint;
use quinn::{
    AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

use super::{
    acks::{ACK_EVERY, ACK_WITHIN},
    congestion::PathControlConfig,
    proof_gate::Gate,
};

/// A tunnel that is silent for this long is dead. Streams leave it much earlier if there is another; until then it is
/// worth having, since an outage shorter than this costs no new handshake. QUIC keeps none alive by itself: the session
/// does, as often as its use takes.
const SILENCE: Duration = Duration::from_secs(30);

/// Before the first measurement: a guess between a LAN and a continent, so that a lost first packet is repeated
/// after 0.3 s rather than after the second that RFC 9002 section 6.2.2 gives when nothing is known.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// What one stream may have in flight: the bandwidth-delay product of 1 Gbit/s at 64 ms, in bytes.
const STREAM_WINDOW: u32 = 8 << 20;

/// What all streams of a tunnel may have in flight, in bytes.
const TUNNEL_WINDOW: u32 = 32 << 20;

/// Each forwarded connection takes one carrier a direction, and briefly two when tunnels change.
const CARRIERS: u32 = 4096;

/// How much of what was copied for a lossy path may wait, at either end, in bytes. More is dropped: each is a copy.
const COPIES: usize = 64 << 10;

/// The settings of every tunnel of a session.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    pub(super) client: ClientConfig,
    /// The settings of an endpoint that accepts tunnels: TLS that takes the certificate of the peer alone.
    pub server: Arc<ServerConfig>,
}

impl TunnelConfig {
    /// Mutual TLS between this identity and exactly that peer.
    ///
    /// # Errors
    /// If the identity's key is of no use for TLS.
    pub fn new(identity: &Identity, peer: Fingerprint) -> anyhow::Result<Self> {
        Self::with(identity, peer, tls::tunnel_client(identity, peer)?)
    }

    /// The same where the peer has only claimed that certificate: when this end dials, it keeps its own back until the
    /// gate is open.
    ///
    /// # Errors
    /// If the identity's key is of no use for TLS.
    pub fn behind(gate: &Gate, identity: &Identity, peer: Fingerprint) -> anyhow::Result<Self> {
        let gate = gate.clone();
        let client = tls::tunnel_client_when(identity, peer, move || gate.is_open())?;
        Self::with(identity, peer, client)
    }

    fn with(
        identity: &Identity,
        peer: Fingerprint,
        client_tls: rustls::ClientConfig,
    ) -> anyhow::Result<Self> {
        let transport = Arc::new(transport());
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client_tls)?));
        client.transport_config(Arc::clone(&transport));
        let server_tls = tls::tunnel_server(identity, peer)?;
        let mut server =
            ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server_tls)?));
        server.transport_config(transport);
        let server = Arc::new(server);
        Ok(Self { client, server })
    }

    /// How endpoints for tunnels are set: without the greasing of the QUIC bit (RFC 9287), since the first byte
    /// tells QUIC from the rest.
    pub fn endpoint() -> EndpointConfig {
        let mut config = EndpointConfig::default();
        config.grease_quic_bit(false);
        config
    }
}

pub(super) fn transport() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY))
        .max_ack_delay(Some(ACK_WITHIN));
    let mut transport = TransportConfig::default();
    transport
        .congestion_controller_factory(Arc::new(PathControlConfig::default()))
        .ack_frequency_config(Some(acks))
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(TUNNEL_WINDOW))
        .send_window(TUNNEL_WINDOW.into())
        .max_concurrent_uni_streams(VarInt::from_u32(CARRIERS))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .datagram_receive_buffer_size(Some(COPIES))
        .datagram_send_buffer_size(COPIES);
    transport
}
