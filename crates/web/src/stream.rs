//! The stream itself, over what framed the messages.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{Role, WebSocketConfig},
    },
};

/// The longest message that is sent, in bytes: a record of TLS.
const CHUNK: usize = 16 * 1024;

/// The longest message that is taken, in bytes, whole or in frames: what is on the way may put several together.
const LONGEST: usize = 64 * 1024;

/// What is read at once, in bytes; allocated for as long as the stream lasts.
const READ: usize = 8 * 1024;

/// What may wait to be written, in bytes: one message of ours, and answers to pings. Beyond it the stream ends, since
/// only somebody who pings without reading comes so far.
const WAITING: usize = 2 * CHUNK;

/// A stream of bytes in binary messages. Its end is a close frame, or that of what it runs over: which one it was says
/// nothing, as anybody on the way can make either.
#[derive(Debug)]
pub struct WebStream<S> {
    inner: WebSocketStream<S>,
    /// What has come and is not read yet.
    pending: Bytes,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebStream<S> {
    /// The server's end, once it has answered the upgrade.
    pub async fn of_server(stream: S) -> Self {
        Self::new(stream, Role::Server).await
    }

    /// The client's end, once the upgrade was answered.
    pub async fn of_client(stream: S) -> Self {
        Self::new(stream, Role::Client).await
    }

    /// What it runs over.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    async fn new(stream: S, role: Role) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(0)
            .max_write_buffer_size(WAITING)
            .max_message_size(Some(LONGEST))
            .max_frame_size(Some(LONGEST));
        Self {
            inner: WebSocketStream::from_raw_socket(stream, role, Some(config)).await,
            pending: Bytes::new(),
            ended: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.pending.is_empty() && !self.ended {
            match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.pending = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Poll::Ready(Err(breach("a message that is not binary")));
                }
                Some(
                    Ok(Message::Close(_))
                    | Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)),
                )
                | None => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Err(as_io(error))),
            }
        }
        let length = self.pending.len().min(buffer.remaining());
        buffer.put_slice(&self.pending[..length]);
        self.pending.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = Pin::new(&mut self.inner);
        ready!(inner.as_mut().poll_ready(cx)).map_err(as_io)?;
        let length = bytes.len().min(CHUNK);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..length]));
        inner.start_send(message).map_err(as_io)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(as_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx).map_err(as_io)
    }
}

fn as_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => breach(error),
    }
}

fn breach(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;

    async fn pair(room: usize) -> (WebStream<DuplexStream>, WebStream<DuplexStream>) {
        let (here, there) = duplex(room);
        (
            WebStream::of_client(here).await,
            WebStream::of_server(there).await,
        )
    }

    /// What the server's end says to these bytes of a client.
    async fn answer_to(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (mut client, server) = duplex(64);
        let mut server = WebStream::of_server(server).await;
        let bytes = bytes.to_vec();
        // It stays, so that who waits for more than came waits for ever.
        tokio::spawn(async move {
            let _ = client.write_all(&bytes).await;
            std::future::pending::<()>().await;
        });
        let mut chunk = [0; 256];
        let read = timeout(Duration::from_secs(60), server.read(&mut chunk)).await;
        let length = read.expect("it is judged")?;
        Ok(chunk[..length].to_vec())
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_whatever_the_room_between() {
        for room in [1, 100, 1 << 20] {
            let (client, server) = pair(room).await;
            let said: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
            let (mut from_client, mut to_server) = tokio::io::split(client);
            let (mut from_server, mut to_client) = tokio::io::split(server);
            let mut heard = [vec![0; said.len()], vec![0; said.len()]];
            let [at_client, at_server] = &mut heard;
            let (a, b, c, d) = tokio::join!(
                async {
                    to_server.write_all(&said).await?;
                    to_server.flush().await
                },
                async {
                    to_client.write_all(&said).await?;
                    to_client.flush().await
                },
                from_client.read_exact(at_client),
                from_server.read_exact(at_server),
            );
            assert!(a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
            assert!(heard.iter().all(|heard| *heard == said), "{room}");
        }
    }

    #[tokio::test]
    async fn what_was_written_last_comes_before_the_end() {
        let (mut client, mut server) = pair(1 << 16).await;
        client.write_all(b"last words").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
    }

    #[tokio::test]
    async fn stream_that_breaks_off_ends() {
        let (client, mut server) = pair(1 << 16).await;
        drop(client);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn frame_that_announces_more_than_may_be_ends_the_stream_before_it_came() {
        let lengths = [
            (1_u64 << 63).to_be_bytes(),
            (LONGEST as u64 + 1).to_be_bytes(),
        ];
        for length in lengths {
            let head = [&[0x82, 0xff][..], &length, &[1, 2, 3, 4]].concat();
            let error = answer_to(&head).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[tokio::test]
    async fn message_in_frames_without_end_ends_the_stream() {
        let mut bytes = Vec::new();
        for (number, opcode) in [2].into_iter().chain([0; 8]).enumerate() {
            let length = 10_000_u16 + number as u16;
            bytes.extend([opcode, 0xfe]);
            bytes.extend(length.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(vec![0; length.into()]);
        }
        let error = answer_to(&bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }

    #[tokio::test]
    async fn what_is_no_binary_message_of_a_client_ends_the_stream() {
        let cases: [(&str, &[u8]); 4] = [
            ("text", &[0x81, 0x81, 0, 0, 0, 0, b'x']),
            ("unmasked", &[0x82, 0x01, b'x']),
            ("compressed", &[0xc2, 0x81, 0, 0, 0, 0, b'x']),
            ("no frame", b"\x16\x03\x01garbage"),
        ];
        for (what, bytes) in cases {
            let error = answer_to(bytes).await.expect_err(what);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}: {error}");
        }
        let good = answer_to(&[0x82, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
        assert_eq!(good, b"x");
    }

    #[tokio::test]
    async fn pings_of_one_who_does_not_read_take_no_memory() {
        let (mut client, server) = duplex(4_096);
        let mut server = WebStream::of_server(server).await;
        let reading = tokio::spawn(async move {
            let ended = server.read(&mut [0; 8]).await;
            (server, ended)
        });
        let ping = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[0; 125]].concat();
        // Far more answers than may wait: they go out, are left out, or the stream ends.
        for _ in 0..20_000 {
            if client.write_all(&ping).await.is_err() {
                break;
            }
        }
        drop(client);
        let (server, _) = reading.await.unwrap();
        assert!(format!("{:?}", server.inner).len() < 8 * WAITING);
    }
}
