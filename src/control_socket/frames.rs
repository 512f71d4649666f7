//! The frames in which the bytes of a stream go over the control socket, in both directions: each side must know how
//! the other's direction ended, which neither a Unix socket (there is no RST on it) nor a named pipe (none of its
//! directions ends alone) tells.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of one frame, at the most.
pub(crate) const CHUNK: usize = 64 << 10;

/// A piece of a stream: a byte that says what it is; data has its length (32 bits, big-endian) and the bytes after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// 0: bytes of the stream, 64 KiB of them at the most.
    Data(Vec<u8>),
    /// 1: this end writes no more.
    Fin,
    /// 2: both directions have ended, every byte delivered. Only from the process that has the session.
    Closed,
    /// 3: the stream broke. Only from the process that has the session.
    Reset,
}

/// Reads a frame.
///
/// # Errors
/// If the connection ends, or brings what is no frame.
pub(crate) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    Ok(match from.read_u8().await? {
        0 => {
            let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
            if length > CHUNK {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).await?;
            Frame::Data(bytes)
        }
        1 => Frame::Fin,
        2 => Frame::Closed,
        3 => Frame::Reset,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// Writes a frame.
///
/// # Errors
/// If the connection is gone.
pub(crate) async fn write_frame(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &Frame,
) -> io::Result<()> {
    let kind = match frame {
        Frame::Data(bytes) => return write_data(to, bytes).await,
        Frame::Fin => 1,
        Frame::Closed => 2,
        Frame::Reset => 3,
    };
    to.write_all(&[kind]).await?;
    to.flush().await
}

/// Writes bytes, in as many frames as it takes.
///
/// # Errors
/// If the connection is gone.
pub(crate) async fn write_data(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.chunks(CHUNK) {
        let length = u32::try_from(chunk.len()).unwrap_or(0).to_be_bytes();
        let mut frame = Vec::with_capacity(5 + chunk.len());
        frame.push(0);
        frame.extend_from_slice(&length);
        frame.extend_from_slice(chunk);
        to.write_all(&frame).await?;
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_were_written_and_one_that_is_too_long_is_none() {
        let mut bytes = Vec::new();
        let long = vec![7; CHUNK + 1];
        write_data(&mut bytes, &long).await.unwrap();
        for frame in [Frame::Fin, Frame::Closed, Frame::Reset] {
            write_frame(&mut bytes, &frame).await.unwrap();
        }
        let mut from = &bytes[..];
        for expected in [
            Frame::Data(vec![7; CHUNK]),
            Frame::Data(vec![7]),
            Frame::Fin,
            Frame::Closed,
            Frame::Reset,
        ] {
            assert_eq!(read_frame(&mut from).await.unwrap(), expected);
        }
        let mut bytes: &[u8] = &[0, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(read_frame(&mut bytes).await.is_err());
        assert!(read_frame(&mut &[9][..]).await.is_err());
    }
}
