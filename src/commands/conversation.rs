//! A conversation with the debuggee's end, for a command that runs beside a `p2pdbg listen`: bytes both ways, over a
//! stream of its session.

use p2pdbg_base::Failure;
use tokio::{io::AsyncWriteExt, net::UnixStream};

use super::pipe::session;
use crate::control::{Frame, protocol::Request, read_frame};

/// Has one opened, over the session with that peer if there are several.
pub(super) async fn conversation(
    peer: Option<&str>,
    request: &Request,
) -> Result<UnixStream, Failure> {
    let client = session::open(peer, request).await?;
    let (mut from, mut to) = client.into_stream();
    let (here, there) = UnixStream::pair().map_err(|error| session::lost(&error))?;
    let (mut read, mut write) = there.into_split();
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut read, &mut to).await;
        let _ = to.shutdown().await;
    });
    tokio::spawn(async move {
        while let Ok(Frame::Data(bytes)) = read_frame(&mut from).await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    Ok(here)
}
