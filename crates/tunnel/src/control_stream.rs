//! The control stream of a tunnel: frames of [`TunnelMessage`] in both directions.

use p2pdbg_frames::ReadError;
use p2pdbg_proto::{
    frame,
    tunnel::{TunnelMessage, close},
};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;

use super::TunnelError;

/// The receiving half of a control stream.
#[derive(Debug)]
pub struct ControlStreamReader(pub(super) RecvStream);

impl ControlStreamReader {
    /// The next message.
    ///
    /// # Errors
    /// [`TunnelError::Lost`] when the tunnel is gone, [`TunnelError::Misbehaved`] when the peer sent no message.
    pub async fn read(&mut self) -> Result<TunnelMessage, TunnelError> {
        match p2pdbg_frames::read(&mut self.0).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(TunnelError::lost(&"the peer ended its control stream")),
            Err(ReadError::Stream(error)) => Err(TunnelError::lost(&error)),
            Err(ReadError::Malformed(_)) => Err(TunnelError::Misbehaved),
        }
    }
}

/// Writes one message of the control stream.
pub(super) async fn write(
    send: &mut SendStream,
    message: &TunnelMessage,
) -> Result<(), TunnelError> {
    let written = p2pdbg_frames::write(send, message).await;
    written.map_err(|e| TunnelError::lost(&e))
}

/// Writes queued messages until the queue or the tunnel ends; several that wait share a write.
pub(super) async fn write_queued(mut send: SendStream, mut queue: mpsc::Receiver<TunnelMessage>) {
    // Acknowledgements must not wait behind a bulk transfer.
    let _ = send.set_priority(1);
    let mut bytes = Vec::new();
    while let Some(message) = queue.recv().await {
        bytes.clear();
        let mut next = Some(message);
        while let Some(message) = next {
            if frame::encode(&message, &mut bytes).is_err() {
                tracing::warn!("dropped a control message that is too long");
            }
            next = queue.try_recv().ok();
        }
        if send.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}

/// Passes messages on until the tunnel ends, and closes it when the peer misbehaves. Returns why it ended.
pub async fn read_messages<T>(
    connection: Connection,
    mut reader: ControlStreamReader,
    to: mpsc::Sender<T>,
    wrap: impl Fn(TunnelMessage) -> T,
) -> TunnelError {
    loop {
        match reader.read().await {
            Ok(message) => {
                if to.send(wrap(message)).await.is_err() {
                    return TunnelError::Lost("the session is over".into());
                }
            }
            Err(error) => {
                if matches!(error, TunnelError::Misbehaved) {
                    connection.close(VarInt::from_u32(close::PROTOCOL), b"control");
                }
                return error;
            }
        }
    }
}
