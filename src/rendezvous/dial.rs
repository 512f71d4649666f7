//! One attempt to reach the rendezvous over QUIC: every address of its name, raced.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use p2pdbg_identity::tls;
use p2pdbg_wire::url::RendezvousUrl;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime,
    TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};
use tokio::task::JoinSet;

use super::LinkError;
use crate::report::Untrusted;

/// How long an address may take to complete its handshake.
const HANDSHAKE: Duration = Duration::from_secs(6);

/// The next address is tried this much later (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Before the first measurement: repeats a lost first packet after 0.3 s rather than after 1 s.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Half of the shortest mapping lifetime that is at all common, so the mapping at a NAT stays open.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A rendezvous that is silent for this long is lost.
const SILENCE: Duration = Duration::from_secs(25);

/// TLS alert `no_application_protocol` (RFC 7301 section 3.2) as a QUIC crypto error.
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// A connection, and the endpoint that must live as long.
pub(super) struct Dialed {
    pub(super) connection: Connection,
    pub(super) endpoint: Endpoint,
}

impl Dialed {
    /// Carries the connection over to another socket (RFC 9000 section 9): the address and the NAT's mapping of the old
    /// one may be gone. What this sends shows whether the rendezvous is still there, and it learns the new address.
    pub(super) fn move_to_new_socket(&self) {
        let moved = bind(self.connection.remote_address()).and_then(|s| self.endpoint.rebind(s));
        if let Err(error) = moved {
            tracing::debug!(%error, "the connection to the rendezvous stays on its socket");
        }
    }
}

/// Connects to the first of the rendezvous' addresses that completes a handshake.
pub(super) async fn dial(url: &RendezvousUrl) -> Result<Dialed, LinkError> {
    let authority = url.authority();
    let addresses = resolve(url).await?;
    let config = client_config(url).map_err(|e| LinkError::Local(e.to_string()))?;

    let pinned = url.fingerprint.is_some();
    let mut attempts = JoinSet::new();
    for (index, address) in addresses.into_iter().enumerate() {
        let (config, host, authority) = (config.clone(), url.host.clone(), authority.clone());
        let delay = STAGGER * u32::try_from(index).unwrap_or(u32::MAX);
        attempts.spawn(async move {
            tokio::time::sleep(delay).await;
            dial_address(address, config, &host, authority, pinned).await
        });
    }
    let mut worst = LinkError::Unreachable { authority };
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(dialed)) => return Ok(dialed),
            // What says more than silence is what the person should hear.
            Ok(Err(error)) if !matches!(error, LinkError::Unreachable { .. }) => worst = error,
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err(worst)
}

async fn resolve(url: &RendezvousUrl) -> Result<Vec<SocketAddr>, LinkError> {
    let failed = |why: String| LinkError::Resolve {
        authority: url.authority(),
        why,
    };
    let addresses: Vec<_> = tokio::net::lookup_host((url.host.as_str(), url.port))
        .await
        .map_err(|e| failed(e.to_string()))?
        .take(8)
        .collect();
    if addresses.is_empty() {
        return Err(failed("the name has no address".into()));
    }
    Ok(addresses)
}

fn client_config(url: &RendezvousUrl) -> anyhow::Result<ClientConfig> {
    let tls = tls::control_client(url.fingerprint)?;
    let mut transport = TransportConfig::default();
    transport
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(SILENCE)?))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

async fn dial_address(
    address: SocketAddr,
    config: ClientConfig,
    host: &str,
    authority: String,
    pinned: bool,
) -> Result<Dialed, LinkError> {
    let local = |e: &dyn std::fmt::Display| LinkError::Local(e.to_string());
    let socket = bind(address).map_err(|e| local(&e))?;
    let mut endpoint_config = EndpointConfig::default();
    endpoint_config.grease_quic_bit(false);
    let endpoint = Endpoint::new(endpoint_config, None, socket, Arc::new(TokioRuntime))
        .map_err(|e| local(&e))?;
    let connecting = endpoint
        .connect_with(config, address, host)
        .map_err(|e| local(&e))?;
    match tokio::time::timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => Ok(Dialed {
            connection,
            endpoint,
        }),
        Ok(Err(error)) => Err(judge(error, authority, pinned)),
        Err(_) => Err(LinkError::Unreachable { authority }),
    }
}

/// A socket from which `remote` can be reached.
fn bind(remote: SocketAddr) -> std::io::Result<UdpSocket> {
    UdpSocket::bind(match remote {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })
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
            _ => LinkError::lost(&close),
        },
        ConnectionError::TimedOut | ConnectionError::Reset => LinkError::Unreachable { authority },
        other => LinkError::lost(&other),
    }
}
