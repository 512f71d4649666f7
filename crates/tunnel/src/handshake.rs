//! How a tunnel comes up: the TLS handshake, then the proofs of both sides on the control stream.

use std::{net::SocketAddr, time::Duration};

use p2pdbg_identity::tls::SERVER_NAME;
use p2pdbg_pairing::TunnelKey;
use p2pdbg_proto::{
    rendezvous::Role,
    tunnel::{EXPORTER_LABEL, PathKind, TunnelMessage, close},
};
use quinn::{Connection, Endpoint, Incoming, VarInt, ZeroRttAccepted};
use tokio::sync::mpsc;

use super::{
    CONTROL_QUEUE, ControlStreamReader, Tunnel, TunnelConfig, TunnelError,
    control_stream::{write, write_queued},
};

/// How long a tunnel may take to come up: a few repetitions over the worst of paths. After an outage QUIC would repeat
/// its first packet only when it has waited as long again, and a new attempt is sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// Dials a tunnel, as the connector.
///
/// # Errors
/// Any of [`TunnelError`]; the connection is closed then.
pub async fn dial(
    endpoint: &Endpoint,
    config: &TunnelConfig,
    remote: SocketAddr,
    path: PathKind,
    epoch: u64,
    key: &TunnelKey,
) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
    within_patience(async {
        let connection = connect(endpoint, config, remote).await?;
        let exported = export(&connection)?;
        lead(connection, endpoint, path, epoch, key, &exported, None).await
    })
    .await
}

/// Accepts a tunnel, as the listener. `admit` judges the epoch of a tunnel whose proof has verified.
///
/// # Errors
/// Any of [`TunnelError`]; the connection is closed then.
pub async fn accept(
    endpoint: &Endpoint,
    incoming: Incoming,
    config: &TunnelConfig,
    key: &TunnelKey,
    admit: impl FnOnce(u64) -> bool + Send,
) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
    let connecting = incoming.accept_with(config.server.clone()).map_err(judge)?;
    within_patience(async {
        let connection = connecting.await.map_err(judge)?;
        follow(connection, endpoint, key, admit).await
    })
    .await
}

/// Completes the TLS handshake with the pinned peer, and says nothing.
pub(super) async fn connect(
    endpoint: &Endpoint,
    config: &TunnelConfig,
    remote: SocketAddr,
) -> Result<Connection, TunnelError> {
    let connecting = endpoint
        .connect_with(config.client.clone(), remote, SERVER_NAME)
        .map_err(|e| TunnelError::lost(&e))?;
    connecting.await.map_err(judge)
}

/// The connector's part on a connection, whoever has dialled it: it says hello first, and hears nothing before the TLS
/// handshake is complete.
pub(super) async fn lead(
    connection: Connection,
    endpoint: &Endpoint,
    path: PathKind,
    epoch: u64,
    key: &TunnelKey,
    exported: &[u8; 32],
    handshake: Option<ZeroRttAccepted>,
) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
    let closing = CloseOnError::new(&connection);
    let (mut send, recv) = connection.open_bi().await.map_err(judge)?;
    let hello = TunnelMessage::Hello {
        epoch,
        path,
        proof: key.prove(Role::Connector, epoch, path, exported),
    };
    write(&mut send, &hello).await?;
    if let Some(handshake) = handshake {
        handshake.await;
        if let Some(why) = connection.close_reason() {
            return Err(judge(why));
        }
        // TLS gives it out once it knows who the client is.
        if export(&connection)? != *exported {
            return Err(TunnelError::Misbehaved);
        }
    }
    let mut reader = ControlStreamReader(recv);
    match reader.read().await? {
        TunnelMessage::Hello {
            epoch: repeated,
            path: named,
            proof,
        } if (repeated, named) == (epoch, path) => {
            if !key.verify(Role::Listener, epoch, path, exported, &proof) {
                return Err(TunnelError::Impostor("its proof is wrong".into()));
            }
        }
        _ => return Err(TunnelError::Misbehaved),
    }
    closing.disarm();
    Ok((start(connection, endpoint, send, epoch, path), reader))
}

/// The listener's part on a connection, whoever has dialled it: it answers the connector's hello.
pub(super) async fn follow(
    connection: Connection,
    endpoint: &Endpoint,
    key: &TunnelKey,
    admit: impl FnOnce(u64) -> bool + Send,
) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
    let closing = CloseOnError::new(&connection);
    let (mut send, recv) = connection.accept_bi().await.map_err(judge)?;
    let exported = export(&connection)?;
    let mut reader = ControlStreamReader(recv);
    let TunnelMessage::Hello { epoch, path, proof } = reader.read().await? else {
        return Err(TunnelError::Misbehaved);
    };
    if !key.verify(Role::Connector, epoch, path, &exported, &proof) {
        return Err(TunnelError::Impostor("its proof is wrong".into()));
    }
    if !admit(epoch) {
        connection.close(VarInt::from_u32(close::OLD_EPOCH), b"");
        return Err(TunnelError::OldEpoch);
    }
    let hello = TunnelMessage::Hello {
        epoch,
        path,
        proof: key.prove(Role::Listener, epoch, path, &exported),
    };
    write(&mut send, &hello).await?;
    closing.disarm();
    Ok((start(connection, endpoint, send, epoch, path), reader))
}

pub(super) async fn within_patience<T>(
    work: impl Future<Output = Result<T, TunnelError>>,
) -> Result<T, TunnelError> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(TunnelError::Lost("it took too long to come up".into())))
}

fn start(
    connection: Connection,
    endpoint: &Endpoint,
    send: quinn::SendStream,
    epoch: u64,
    path: PathKind,
) -> Tunnel {
    let (control, queue) = mpsc::channel(CONTROL_QUEUE);
    // Ends by itself when the tunnel's last handle is dropped or the connection ends.
    tokio::spawn(write_queued(send, queue));
    let local = match (connection.local_ip(), endpoint.local_addr()) {
        (Some(ip), Ok(bound)) => Some(SocketAddr::new(ip.to_canonical(), bound.port())),
        // A TCP connection, whose ends are known.
        (None, Ok(bound)) if !bound.ip().is_unspecified() => Some(bound),
        _ => None,
    };
    Tunnel {
        epoch,
        path,
        local,
        connection,
        control,
    }
}

pub(super) fn export(connection: &Connection) -> Result<[u8; 32], TunnelError> {
    let mut exported = [0; 32];
    connection
        .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
        .map_err(|_| TunnelError::Lost("no keying material to prove anything with".into()))?;
    Ok(exported)
}

/// What a failed TLS handshake means: a certificate that does not fit, or a path that does not carry.
pub(super) fn judge(error: quinn::ConnectionError) -> TunnelError {
    use quinn::ConnectionError::{ConnectionClosed, TransportError};
    match error {
        TransportError(ref e) if (0x100..=0x1ff).contains(&u64::from(e.code)) => {
            TunnelError::impostor(&error)
        }
        ConnectionClosed(ref e) if (0x100..=0x1ff).contains(&u64::from(e.error_code)) => {
            TunnelError::impostor(&error)
        }
        other => TunnelError::lost(&other),
    }
}

/// Closes a connection that did not become a tunnel.
struct CloseOnError(Option<Connection>);

impl CloseOnError {
    fn new(connection: &Connection) -> Self {
        Self(Some(connection.clone()))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnError {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.close(VarInt::from_u32(close::PROTOCOL), b"");
        }
    }
}
