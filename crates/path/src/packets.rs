//! Datagrams on a stream of bytes: each behind its length, as `proto::relay_stream` has it.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use p2pdbg_proto::relay_stream::{PREFIX, split_packet};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read or written at once, in bytes.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Reads what has come.
///
/// # Errors
/// If the stream fails or ends.
pub(crate) async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    pending: &mut BytesMut,
) -> io::Result<()> {
    pending.reserve(CHUNK);
    match reader.read_buf(pending).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Takes a packet out of what was read, if it is there whole.
///
/// # Errors
/// If it is longer than any.
pub(crate) fn take_packet(pending: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let length = match split_packet(pending).map_err(io::Error::other)? {
        Some((packet, _)) => packet.len(),
        None => return Ok(None),
    };
    pending.advance(PREFIX);
    Ok(Some(pending.split_to(length).freeze()))
}
