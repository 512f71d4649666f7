//! The first tunnel of a session, which the listener dials while the two peers still authenticate each other.
//!
//! The listener is the first of the two who knows the other, so it is the one who can use a connection as soon as its
//! own part of the handshake is done. It *calls* the connector through the relay; the connector expects the call:
//!
//! ```text
//! listener                                      connector
//!     call: TLS, pinned to the claim  ───────▶  expect_call: TLS, pinned to the claim
//!     has verified Confirm by now     ◀───────  hello with its proof, before the listener's certificate has come
//!     complete: verifies, streams run ───────▶  verifies certificate and proof, streams run
//! ```
//!
//! The connector's hello goes to whoever can dial through the relay, as its `Confirm` does through the rendezvous, and
//! tells no more: it is a MAC under a key of the same exchange, over keying material of this connection alone. Nothing
//! else is said to a listener whose certificate and proof have not been verified.
//!
//! All tunnels after the first are dialled by the connector (`handshake`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use p2pdbg_identity::{Identity, tls};
use p2pdbg_wire::{fingerprint::Fingerprint, tunnel::PathKind};
use quinn::{Connection, Endpoint, Incoming, ServerConfig, crypto::rustls::QuicServerConfig};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ControlReader, Tunnel, TunnelConfig, TunnelError,
    config::transport,
    handshake::{connect, follow, judge, lead, within_patience},
};
use crate::pairing::TunnelKey;

/// The epoch of the tunnel that is called.
pub const FIRST_EPOCH: u64 = 1;

/// Calls that are answered at the same time; more are refused.
const CALLS: usize = 4;

/// From so many on, a caller must show that it receives at its address before it begins another.
const UNVALIDATED: usize = 2;

/// For how long a call is expected. Whoever expects it dials by itself long before.
const EXPECTED: Duration = Duration::from_secs(10);

/// A handshake that the listener has begun before it knows whether the connection may be used.
pub type Call = AbortOnDropHandle<Result<Connection, TunnelError>>;

/// A tunnel that the connector expects to be called for.
pub type ExpectedCall = AbortOnDropHandle<Result<(Tunnel, ControlReader), TunnelError>>;

/// Begins to dial, as the listener. Nothing is said but what TLS says.
pub fn call(endpoint: Endpoint, config: TunnelConfig, remote: SocketAddr) -> Call {
    AbortOnDropHandle::new(tokio::spawn(async move {
        connect(&endpoint, &config, remote).await
    }))
}

/// Makes a tunnel of a call, once the connector has confirmed. `admit` judges the epoch.
///
/// # Errors
/// Any of [`TunnelError`]; the connection is closed then.
pub async fn complete(
    endpoint: &Endpoint,
    call: Call,
    key: &TunnelKey,
    admit: impl FnOnce(u64) -> bool + Send,
) -> Result<(Tunnel, ControlReader), TunnelError> {
    within_patience(async {
        let connection = call.await.map_err(|e| TunnelError::lost(&e))??;
        follow(connection, endpoint, key, admit).await
    })
    .await
}

/// Who is expected to call, and what it is told.
pub struct Caller {
    /// This end's certificate.
    pub identity: Arc<Identity>,
    /// The certificate that the caller must show.
    pub peer: Fingerprint,
    /// Where the call comes from: the relay.
    pub from: SocketAddr,
    /// How it comes.
    pub path: PathKind,
    /// The key that both ends prove.
    pub key: TunnelKey,
}

/// Answers calls on a socket until one of them is a tunnel, as the connector.
pub fn expect_call(endpoint: Endpoint, config: &TunnelConfig, caller: Caller) -> ExpectedCall {
    let door = Door::open(endpoint, config);
    AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::time::timeout(EXPECTED, door.wait(Arc::new(caller)))
            .await
            .unwrap_or_else(|_| Err(TunnelError::Lost("nobody called".into())))
    }))
}

/// Lets connections in as long as it lives.
struct Door(Endpoint);

impl Door {
    fn open(endpoint: Endpoint, config: &TunnelConfig) -> Self {
        endpoint.set_server_config(Some((*config.server).clone()));
        Self(endpoint)
    }

    async fn wait(self, caller: Arc<Caller>) -> Result<(Tunnel, ControlReader), TunnelError> {
        let mut calls = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.0.accept() => {
                    let Some(incoming) = incoming else {
                        return Err(TunnelError::Lost("the socket is closed".into()));
                    };
                    let from = incoming.remote_address();
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    if from != caller.from || calls.len() >= CALLS {
                        incoming.refuse();
                    } else if calls.len() >= UNVALIDATED && incoming.may_retry() {
                        let _ = incoming.retry();
                    } else {
                        calls.spawn(answer(self.0.clone(), incoming, Arc::clone(&caller)));
                    }
                }
                Some(call) = calls.join_next() => match call {
                    Ok(Ok(tunnel)) => return Ok(tunnel),
                    Ok(Err(error)) => tracing::debug!(%error, "refused a call"),
                    Err(_) => {}
                },
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.set_server_config(None);
    }
}

async fn answer(
    endpoint: Endpoint,
    incoming: Incoming,
    caller: Arc<Caller>,
) -> Result<(Tunnel, ControlReader), TunnelError> {
    let (tell, mut exported) = watch::channel(None);
    let config = early_server(&caller, move |bytes| {
        tell.send_replace(Some(bytes));
    })
    .map_err(|e| TunnelError::lost(&e))?;
    let connecting = incoming.accept_with(config).map_err(judge)?;
    within_patience(async {
        // A server always may, once it has sent its part; see the module's documentation for what it says by then.
        let (connection, handshake) = match connecting.into_0rtt() {
            Ok((connection, handshake)) => (connection, Some(handshake)),
            Err(connecting) => (connecting.await.map_err(judge)?, None),
        };
        let early = tokio::select! {
            told = exported.wait_for(Option::is_some) => told.ok().and_then(|told| *told),
            why = connection.closed() => return Err(judge(why)),
        };
        let Some(early) = early else {
            return Err(judge(connection.closed().await));
        };
        lead(
            connection,
            &endpoint,
            caller.path,
            FIRST_EPOCH,
            &caller.key,
            &early,
            handshake,
        )
        .await
    })
    .await
}

/// For one connection, since what it exports is told to one answer.
fn early_server(
    caller: &Caller,
    tell: impl Fn([u8; 32]) + Send + Sync + 'static,
) -> anyhow::Result<Arc<ServerConfig>> {
    let tls = tls::tunnel_server_early(&caller.identity, caller.peer, tell)?;
    let crypto = Arc::new(QuicServerConfig::try_from(tls)?);
    let mut config = ServerConfig::with_crypto(crypto);
    config.transport_config(Arc::new(transport()));
    Ok(Arc::new(config))
}
