//! Connections within this process: between a session and what in the same program talks over one of its streams.
//!
//! It is memory rather than a pair of sockets, so that it is the same on every system and takes no descriptor. What a
//! socket would tell of the other end beside its bytes is kept apart: whether it is still held.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Bytes that may be on their way in each direction.
const ROOM: usize = 64 << 10;

/// One of two ends that are joined. Each direction ends on its own; dropped, an end takes both with it.
#[derive(Debug)]
pub struct Within {
    bytes: DuplexStream,
    _held: Arc<()>,
    other: Weak<()>,
}

impl Within {
    /// Two ends: what is written to one is read from the other.
    pub fn pair() -> (Self, Self) {
        let (one, other) = tokio::io::duplex(ROOM);
        let (held, by_other) = (Arc::new(()), Arc::new(()));
        let (of_one, of_other) = (Arc::downgrade(&held), Arc::downgrade(&by_other));
        let end = |bytes, held, other| Self {
            bytes,
            _held: held,
            other,
        };
        (end(one, held, of_other), end(other, by_other, of_one))
    }

    /// Tells later whether the other end is there: also while this one is split, and without reading from it.
    pub fn other(&self) -> OtherEnd {
        OtherEnd(Weak::clone(&self.other))
    }
}

/// The other end of a [`Within`].
#[derive(Debug, Clone)]
pub struct OtherEnd(Weak<()>);

impl OtherEnd {
    /// Whether it was dropped, and has not only ended what it writes.
    pub fn has_left(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl AsyncRead for Within {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().bytes).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Within {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().bytes).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().bytes).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().bytes).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().bytes).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn end_that_writes_no_more_is_told_from_one_that_has_left() {
        let (mut here, mut there) = Within::pair();
        let other = there.other();
        here.write_all(b"last").await.unwrap();
        here.shutdown().await.unwrap();
        let mut read = Vec::new();
        there.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
        assert!(!other.has_left());
        there.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        here.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        drop(here);
        assert!(other.has_left());
        assert!(there.write_all(b"more").await.is_err());
    }
}
