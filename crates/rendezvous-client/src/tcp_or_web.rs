//! What TLS to the rendezvous runs over: TCP, or a WebSocket.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use p2pdbg_net::tcp_reset::reset_when_dropped;
use p2pdbg_web::WebStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// What TLS to the rendezvous runs over.
///
/// Dropped, it is reset and what has not arrived yet never will, unless it is said otherwise ([`Delivery::begin`]): the
/// system would go on to send it for minutes, and a request that comes then takes from the connection that was made
/// since what was meant for it.
#[derive(Debug)]
pub struct TcpOrWeb {
    wire: Wire,
    delivery: Delivery,
}

/// Whether what was written to a connection is delivered after it was dropped; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Delivery(Arc<AtomicBool>);

impl Delivery {
    /// It is from now on.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Wire {
    /// A TCP connection as it is.
    Tcp(TcpStream),
    /// A WebSocket inside the TLS of the web.
    Web(Box<WebStream<TlsStream<TcpStream>>>),
}

impl TcpOrWeb {
    /// A TCP connection as it is.
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self::new(Wire::Tcp(stream))
    }

    /// A WebSocket inside the TLS of the web.
    pub(super) fn web(stream: WebStream<TlsStream<TcpStream>>) -> Self {
        Self::new(Wire::Web(Box::new(stream)))
    }

    fn new(wire: Wire) -> Self {
        let delivery = Delivery::default();
        Self { wire, delivery }
    }

    /// Whether it is a WebSocket.
    pub fn is_web(&self) -> bool {
        matches!(self.wire, Wire::Web(_))
    }

    /// Whether what is written is delivered after this was dropped.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }
}

impl Drop for TcpOrWeb {
    fn drop(&mut self) {
        if !self.delivery.0.load(Ordering::Relaxed) {
            reset_when_dropped(match &self.wire {
                Wire::Tcp(stream) => stream,
                Wire::Web(stream) => stream.get_ref().get_ref().0,
            });
        }
    }
}

impl AsyncRead for TcpOrWeb {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Wire::Web(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TcpOrWeb {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Web(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Web(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Web(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn connection_that_is_dropped_is_reset_unless_what_was_written_is_to_be_delivered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for delivers in [false, true] {
            let stream = TcpStream::connect(listener.local_addr().unwrap());
            let stream = TcpOrWeb::tcp(stream.await.unwrap());
            let (mut peer, _) = listener.accept().await.unwrap();
            if delivers {
                stream.delivery().clone().begin();
            }
            drop(stream);
            let read = peer.read(&mut [0]).await;
            match delivers {
                true => assert_eq!(read.unwrap(), 0),
                false => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset),
            }
        }
    }
}
