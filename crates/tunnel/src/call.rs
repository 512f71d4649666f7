//! Tunnels that the listener dials: *calls*.
//!
//! The listener is the first of the two who knows the other, and the first who hears a check of theirs on a direct
//! path; so it is the one who can use a connection as soon as its own part of the handshake is done. It calls the
//! connector through the relay while the two still authenticate each other, and again on the direct path as soon as
//! that is seen to pass, while it is being nominated:
//!
//! ```text
//! listener                                      connector
//!     call: TLS, pinned to the claim  ───────▶  answer: TLS, pinned to the claim
//!     has verified Confirm by now     ◀───────  hello with its proof, before the listener's certificate has come
//!     complete: verifies, streams run ───────▶  verifies certificate and proof, streams run
//! ```
//!
//! If the listener has not verified `Confirm` by then, it ends the handshake before it shows its certificate, and calls
//! again once it has (`gate`): who only knows the nameplate is not shown it.
//!
//! The connector's hello goes to whoever can dial, as its `Confirm` goes to whoever the rendezvous passes it to, and
//! tells no more: it is a MAC under a key of the same exchange, over keying material of this connection alone. Nothing
//! else is said to a listener whose certificate and proof have not been verified.
//!
//! Where no call comes the connector dials (`handshake`).

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use p2pdbg_identity::{Identity, tls};
use p2pdbg_ledger::Epochs;
use p2pdbg_pairing::TunnelKey;
use p2pdbg_proto::{address::canonical, fingerprint::Fingerprint, tunnel::PathKind};
use p2pdbg_punch::SocketId;
use quinn::{Connection, Endpoint, Incoming, ServerConfig, crypto::rustls::QuicServerConfig};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ControlStreamReader, Tunnel, TunnelConfig, TunnelError,
    config::transport,
    handshake::{connect, follow, judge, lead, within_patience},
    proof_gate::Gate,
};

/// Calls that are answered at the same time on one socket; more are refused.
const CALLS: usize = 4;

/// From so many on, a caller must show that it receives at its address before it begins another.
const UNVALIDATED: usize = 2;

/// Tunnels that may wait for the session.
const WAITING: usize = 8;

/// A handshake that the listener has begun before it knows whether the connection may be used.
pub type Call = AbortOnDropHandle<Result<Connection, TunnelError>>;

/// Begins to dial, as the listener. Nothing is said but what TLS says.
pub fn call(endpoint: Endpoint, config: TunnelConfig, remote: SocketAddr) -> Call {
    AbortOnDropHandle::new(tokio::spawn(async move {
        connect(&endpoint, &config, remote).await
    }))
}

/// Begins to dial before the connector has confirmed, with a configuration that is [behind](TunnelConfig::behind) this
/// gate: whoever has not confirmed by the time that it answers learns nothing of this end, and is called again once it
/// has.
pub fn call_early(
    endpoint: Endpoint,
    config: TunnelConfig,
    remote: SocketAddr,
    gate: Gate,
) -> Call {
    AbortOnDropHandle::new(tokio::spawn(async move {
        match connect(&endpoint, &config, remote).await {
            Ok(connection) => Ok(connection),
            Err(_) => {
                gate.opened().await;
                connect(&endpoint, &config, remote).await
            }
        }
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
) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
    within_patience(async {
        let connection = call.await.map_err(|e| TunnelError::lost(&e))??;
        follow(connection, endpoint, key, admit).await
    })
    .await
}

/// Who is expected to call, and what it is told.
pub struct Caller {
    /// The certificate and key that this end shows.
    pub identity: Arc<Identity>,
    /// The certificate that the caller must show.
    pub peer: Fingerprint,
    /// The relay, if it may be used, and how what comes from there is named.
    pub relay: Option<(SocketAddr, PathKind)>,
    /// The key that both ends prove.
    pub key: TunnelKey,
}

/// A call that has become a tunnel.
#[derive(Debug)]
pub struct Answered {
    /// The socket on which it came.
    pub socket: SocketId,
    /// The address it came from: the peer's, or the relay's.
    pub remote: SocketAddr,
    /// The tunnel that came of it, its proofs verified.
    pub tunnel: Tunnel,
    /// What the listener says on it.
    pub control: ControlStreamReader,
}

/// Answers calls, as the connector, as long as it lives.
pub struct Calls {
    answered: mpsc::Receiver<Answered>,
    tell: mpsc::Sender<Answered>,
    desk: Arc<Desk>,
    doors: Vec<AbortOnDropHandle<()>>,
}

/// What all answers of one [`Calls`] share.
struct Desk {
    caller: Caller,
    epochs: Arc<Mutex<Epochs>>,
    /// Whether calls may come from anywhere but the relay.
    direct: AtomicBool,
}

impl Calls {
    /// Ready for calls of this peer; none is answered before [`Calls::answer_on`].
    pub fn expect(caller: Caller) -> Self {
        let (tell, answered) = mpsc::channel(WAITING);
        let desk = Arc::new(Desk {
            caller,
            epochs: Arc::default(),
            direct: AtomicBool::new(false),
        });
        Self {
            answered,
            tell,
            desk,
            doors: Vec::new(),
        }
    }

    /// Answers what comes on this socket.
    pub fn answer_on(&mut self, socket: SocketId, endpoint: Endpoint, config: &TunnelConfig) {
        let door = Door::open(endpoint, config);
        let serving = door.serve(socket, Arc::clone(&self.desk), self.tell.clone());
        let serving = tokio::spawn(serving);
        self.doors.push(AbortOnDropHandle::new(serving));
    }

    /// Answers on direct paths too: the peers have authenticated each other.
    pub fn answer_direct(&self) {
        self.desk.direct.store(true, Ordering::Relaxed);
    }

    /// The epochs of the session's tunnels, of which each answer draws one.
    pub fn epochs(&self) -> Arc<Mutex<Epochs>> {
        Arc::clone(&self.desk.epochs)
    }

    /// The next tunnel that a call brought up; a call whose proof fails brings none.
    pub async fn next(&mut self) -> Option<Answered> {
        self.answered.recv().await
    }
}

/// Lets connections in as long as it lives.
struct Door(Endpoint);

impl Door {
    fn open(endpoint: Endpoint, config: &TunnelConfig) -> Self {
        endpoint.set_server_config(Some((*config.server).clone()));
        Self(endpoint)
    }

    async fn serve(self, socket: SocketId, desk: Arc<Desk>, tell: mpsc::Sender<Answered>) {
        let mut calls = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.0.accept() => {
                    let Some(incoming) = incoming else {
                        return;
                    };
                    let from = canonical(incoming.remote_address());
                    let Some(path) = desk.path_of(from).filter(|_| calls.len() < CALLS) else {
                        incoming.refuse();
                        continue;
                    };
                    if calls.len() >= UNVALIDATED && incoming.may_retry() {
                        let _ = incoming.retry();
                        continue;
                    }
                    let (endpoint, desk, tell) = (self.0.clone(), Arc::clone(&desk), tell.clone());
                    calls.spawn(async move {
                        match answer(endpoint, incoming, path, &desk).await {
                            Ok((tunnel, control)) => {
                                let answered = Answered { socket, remote: from, tunnel, control };
                                let _ = tell.send(answered).await;
                            }
                            Err(error) => tracing::debug!(%error, "refused a call"),
                        }
                    });
                }
                Some(_) = calls.join_next() => {}
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.set_server_config(None);
    }
}

impl Desk {
    /// How what comes from there is named, if it may come.
    fn path_of(&self, from: SocketAddr) -> Option<PathKind> {
        match self.caller.relay {
            Some((relay, path)) if relay == from => Some(path),
            _ => self
                .direct
                .load(Ordering::Relaxed)
                .then_some(PathKind::Direct),
        }
    }
}

async fn answer(
    endpoint: Endpoint,
    incoming: Incoming,
    path: PathKind,
    desk: &Desk,
) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
    let (tell, mut exported) = watch::channel(None);
    let config = early_server(&desk.caller, move |bytes| {
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
        let epoch = draw(&desk.epochs);
        let key = &desk.caller.key;
        lead(connection, &endpoint, path, epoch, key, &early, handshake).await
    })
    .await
}

fn draw(epochs: &Mutex<Epochs>) -> u64 {
    epochs.lock().unwrap_or_else(PoisonError::into_inner).draw()
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
