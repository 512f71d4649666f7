//! Frames of messages, read from a stream of bytes and written to one: control connections, the control stream of a
//! tunnel, conversations about sources and processes. A frame costs memory for the bytes that have come, not for those
//! that it announces. How a frame looks is [`p2pdbg_proto::frame`]'s affair.

mod tcp_options;

use std::io;

use p2pdbg_proto::frame::{self, MAX_BODY, Malformed};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use tcp_options::set_up_tcp;

/// Why no frame was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream broke, or ended within a frame ([`io::ErrorKind::UnexpectedEof`]).
    #[error(transparent)]
    Stream(#[from] io::Error),
    /// What came is no frame, or too long a one. Nothing after it can be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Stream(error) => error,
            ReadError::Malformed(error) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// The next message; `None` if the stream ended before it began. Not cancel-safe: half a frame may have been read.
///
/// # Errors
/// See [`ReadError`].
pub async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, ReadError> {
    match read_body(from, MAX_BODY).await? {
        Some(body) => Ok(Some(frame::decode(&body)?)),
        None => Ok(None),
    }
}

/// The body of the next frame, of `longest` bytes at the most; `None` if the stream ended before it began. Not
/// cancel-safe: half a frame may have been read.
///
/// # Errors
/// See [`ReadError`].
pub async fn read_body(
    from: &mut (impl AsyncRead + Unpin),
    longest: usize,
) -> Result<Option<Vec<u8>>, ReadError> {
    let mut prefix = [0; frame::PREFIX];
    let begun = from.read(&mut prefix).await?;
    if begun == 0 {
        return Ok(None);
    }
    from.read_exact(&mut prefix[begun..]).await?;
    let length = frame::body_length(prefix)?;
    if length > longest {
        return Err(Malformed::TooLong(length).into());
    }
    // Grows as bytes arrive: announcing a long frame costs us nothing.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(body))
}

/// Writes a message as one frame, and flushes.
///
/// # Errors
/// If the stream broke, or if the message is longer than a frame may be ([`io::ErrorKind::InvalidInput`]; nothing was
/// written then).
pub async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame::encode(message, &mut bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    to.write_all(&bytes).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of these bytes, by a reader that gets them a few at a time.
    async fn read_of(bytes: &[u8], longest: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let (mut near, mut far) = tokio::io::duplex(3);
        let send = async move {
            // Who reads no more breaks the pipe.
            let _ = near.write_all(bytes).await;
        };
        tokio::join!(send, read_body(&mut far, longest)).1
    }

    #[tokio::test]
    async fn messages_are_read_as_they_were_written_and_then_the_end() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        write(&mut near, &("hello".to_owned(), 7u16)).await.unwrap();
        write(&mut near, &(String::new(), 8u16)).await.unwrap();
        drop(near);
        let first: Option<(String, u16)> = read(&mut far).await.unwrap();
        assert_eq!(first, Some(("hello".to_owned(), 7)));
        let second: Option<(String, u16)> = read(&mut far).await.unwrap();
        assert_eq!(second, Some((String::new(), 8)));
        assert!(read::<(String, u16)>(&mut far).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_told_from_an_end_between_frames() {
        let whole = [0, 0, 0, 2, 5, 6];
        assert_eq!(read_of(&whole, 2).await.unwrap(), Some(vec![5, 6]));
        assert_eq!(read_of(&[], 2).await.unwrap(), None);
        for cut in 1..whole.len() {
            match read_of(&whole[..cut], 2).await {
                Err(ReadError::Stream(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
                }
                other => panic!("{cut}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_frame_that_announces_too_much_is_malformed_before_its_body_is_read() {
        for (prefix, longest, length) in [
            ([0, 0, 0, 3], 2, 3),
            ([0xff; 4], usize::MAX, u32::MAX as usize),
        ] {
            match read_of(&prefix, longest).await {
                Err(ReadError::Malformed(Malformed::TooLong(told))) => assert_eq!(told, length),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_refused_and_nothing_is_written() {
        let mut out = Vec::new();
        let error = write(&mut out, &vec![0u8; MAX_BODY + 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(out.is_empty());
    }
}
