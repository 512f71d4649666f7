//! A control connection, whatever carries it: QUIC over UDP, or TLS over TCP, inside a WebSocket where nothing else
//! passes.

use std::{net::SocketAddr, time::Duration};

use p2pdbg_net::route;
use p2pdbg_proto::rendezvous::close;
use quinn::{Connection as QuicConnection, VarInt};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{
    LinkError,
    quic::{self, Footing},
    tcp_or_web::Delivery,
    tls::Stream,
};

/// How long the rendezvous may take to read the last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The half that the rendezvous' messages are read from, whatever carries it.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;

pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection to the rendezvous on which the conversation can begin.
pub(super) struct Connection {
    /// Where the rendezvous is reached.
    pub(super) remote: SocketAddr,
    transport: LinkTransport,
}

/// What carries a connection, with all that has to live as long.
pub(super) enum LinkTransport {
    /// QUIC, and what must live as long.
    Quic(QuicConnection, Footing),
    /// TLS over TCP, or over a WebSocket.
    Tls(Box<Stream>),
}

/// A connection over QUIC that is lost when it is dropped, unless it was closed before: dropped as it is, it would say
/// that it is done.
pub(super) struct LostWhenDropped(QuicConnection);

impl Drop for LostWhenDropped {
    fn drop(&mut self) {
        self.0.close(VarInt::from_u32(close::IDLE), b"");
    }
}

/// What is left of a connection beside its reader and writer.
pub(super) enum ConnectionGuard {
    /// QUIC, which finds out by itself whether the other end is there.
    Quic(LostWhenDropped, Footing),
    /// TCP has to be asked whether it lives.
    Tls(Delivery),
}

impl Connection {
    pub(super) fn new(remote: SocketAddr, transport: LinkTransport) -> Self {
        Self { remote, transport }
    }

    /// Whether TCP carries it, in a WebSocket or not.
    pub(super) fn is_over_tcp(&self) -> bool {
        matches!(self.transport, LinkTransport::Tls(_))
    }

    /// Its two directions.
    ///
    /// # Errors
    /// If it has ended meanwhile.
    pub(super) async fn open(self) -> Result<(Reader, Writer, ConnectionGuard), LinkError> {
        match self.transport {
            LinkTransport::Quic(connection, footing) => {
                let opened = connection.open_bi().await;
                let (send, receive) = opened.map_err(|e| LinkError::lost(&e))?;
                let rest = ConnectionGuard::Quic(LostWhenDropped(connection), footing);
                Ok((Box::new(receive), Box::new(send), rest))
            }
            LinkTransport::Tls(stream) => {
                let rest = ConnectionGuard::Tls(stream.get_ref().0.delivery().clone());
                let (reader, writer) = tokio::io::split(*stream);
                Ok((Box::new(reader), Box::new(writer), rest))
            }
        }
    }
}

impl ConnectionGuard {
    /// Whether the link itself has to ask whether the connection lives.
    pub(super) fn must_be_asked(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// This host's network has changed. A connection over QUIC moves to a new socket; whether one over TCP still lives
    /// has to be found out.
    pub(super) fn on_network_changed(&self) {
        if let Self::Quic(connection, footing) = self {
            quic::move_to_new_socket(&connection.0, footing);
        }
    }

    /// How many datagrams have come, where it is QUIC that carries it.
    pub(super) fn heard(&self) -> Option<u64> {
        match self {
            Self::Quic(connection, _) => Some(connection.0.stats().udp_rx.datagrams),
            Self::Tls(_) => None,
        }
    }

    /// The round trip, where QUIC has measured it.
    pub(super) fn rtt(&self) -> Duration {
        match self {
            Self::Quic(connection, _) => connection.0.rtt(),
            Self::Tls(_) => Duration::ZERO,
        }
    }

    /// Whether this host has a route to where it leads: one that has moved from IPv4 to IPv6 alone has none any more.
    pub(super) fn has_route(&self) -> bool {
        let Self::Quic(connection, _) = self else {
            return true;
        };
        route::leads_to(connection.0.remote_address())
    }

    /// Ends it so that everything that was written is read.
    pub(super) async fn close(self, mut writer: Writer, read_to_end: impl Future<Output = ()>) {
        if let Self::Tls(delivery) = &self {
            delivery.begin();
        }
        let _ = timeout(LAST_WORDS, writer.shutdown()).await;
        match self {
            Self::Quic(connection, footing) => {
                // It closes once it has read all of it. If this end closed first, what was not read would be lost.
                let _ = timeout(LAST_WORDS, connection.0.closed()).await;
                connection.0.close(VarInt::from_u32(close::DONE), b"");
                let _ = timeout(Duration::from_millis(200), footing.endpoint.wait_idle()).await;
            }
            Self::Tls(_) => {
                let _ = timeout(LAST_WORDS, read_to_end).await;
            }
        }
    }

    /// This peer goes elsewhere, and wants nothing here any more.
    pub(super) fn move_on(&self) {
        if let Self::Quic(connection, _) = self {
            connection.0.close(VarInt::from_u32(close::DONE), b"");
        }
    }
}
