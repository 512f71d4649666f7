//! Writing to a reader that may dawdle.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::protocol::{self, Reply};

/// How long a reader may take to read a reply before it is dropped.
const DAWDLING: Duration = Duration::from_secs(2);

pub(super) async fn send(write: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> io::Result<()> {
    let line = protocol::line(reply);
    timeout(DAWDLING, write.write_all(&line)).await?
}
