//! A conversation with the debuggee's end, for a command that runs beside a `p2pdbg listen`: bytes both ways, over a
//! stream of its session.

use p2pdbg_base::Failure;
use p2pdbg_forward::Within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::running_session;
use crate::control_socket::{Frame, protocol::Request, read_frame, write_data, write_frame};

/// Bytes that are read at once.
const CHUNK: usize = 32 << 10;

/// Has one opened, over the session with that peer if there are several.
pub(super) async fn conversation(peer: Option<&str>, request: &Request) -> Result<Within, Failure> {
    let client = running_session::open(peer, request).await?;
    let (mut from, mut to) = client.into_stream();
    let (here, there) = Within::pair();
    let (mut read, mut write) = tokio::io::split(there);
    tokio::spawn(async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            if write_data(&mut to, &buffer[..length]).await.is_err() {
                return;
            }
        }
        let _ = write_frame(&mut to, &Frame::Fin).await;
    });
    tokio::spawn(async move {
        while let Ok(Frame::Data(bytes)) = read_frame(&mut from).await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    Ok(here)
}
