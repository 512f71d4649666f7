//! The UDP sockets of a session: one for IPv4 and one for IPv6, each with a QUIC endpoint on it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use p2pdbg_net::{
    clat::bind,
    mux::{Datagram, MuxSocket},
    nat64::Nat64,
};
use p2pdbg_punch::SocketId;
use p2pdbg_tunnel::TunnelConfig;
use p2pdbg_udp::drivers::WatchedRuntime;
use quinn::{Endpoint, ServerConfig};
use tokio::sync::mpsc;

/// The number of the socket for IPv4, in the engine and in paths.
pub(super) const V4: SocketId = SocketId(0);

/// The number of the socket for IPv6, in the engine and in paths.
pub(super) const V6: SocketId = SocketId(1);

/// One socket of a session.
#[derive(Debug, Clone)]
pub struct PathSocket {
    /// Names it in the traversal engine.
    pub id: SocketId,
    /// Sends what is not QUIC.
    pub mux: Arc<MuxSocket>,
    /// Dials and accepts QUIC on it.
    pub endpoint: Endpoint,
    /// The port it is bound to, at every local address of its family; `None` if this host has no UDP of that family,
    /// when only a leg of the relay over TCP carries what leaves by it, and of a TCP connection to the peer.
    pub port: Option<u16>,
}

impl PathSocket {
    /// Opens a socket on a free port. What is not QUIC goes to `others`.
    ///
    /// # Errors
    /// If this host does not have the address family, or the operating system refuses.
    pub fn open(
        id: SocketId,
        family: IpAddr,
        nat64: &Nat64,
        others: mpsc::Sender<Datagram>,
    ) -> io::Result<Self> {
        let socket = bind(family)?;
        let port = socket.local_addr()?.port();
        let mux = MuxSocket::new(socket, id, nat64, others)?;
        Self::on(id, mux, Some(port))
    }

    /// A TCP connection that takes a socket's place, once its [detour](MuxSocket::detour) is open.
    ///
    /// # Errors
    /// If QUIC cannot be started.
    pub(crate) fn on_stream(
        id: SocketId,
        local: SocketAddr,
        others: mpsc::Sender<Datagram>,
    ) -> io::Result<Self> {
        Self::on(id, MuxSocket::without_udp(id, local, others), None)
    }

    fn on(id: SocketId, mux: Arc<MuxSocket>, port: Option<u16>) -> io::Result<Self> {
        let endpoint = Endpoint::new_with_abstract_socket(
            TunnelConfig::endpoint(),
            None,
            Arc::clone(&mux) as Arc<dyn quinn::AsyncUdpSocket>,
            Arc::new(WatchedRuntime),
        )?;
        Ok(Self {
            id,
            mux,
            endpoint,
            port,
        })
    }

    /// Opens the sockets that every session starts with. A family that this host does not let the program have is told
    /// of in the log, and the relay is reached over TCP there.
    ///
    /// # Errors
    /// If QUIC cannot be started.
    pub(crate) fn open_both(
        nat64: &Nat64,
        others: &mpsc::Sender<Datagram>,
    ) -> io::Result<Vec<Self>> {
        let families: [(_, IpAddr); 2] = [
            (V4, Ipv4Addr::UNSPECIFIED.into()),
            (V6, Ipv6Addr::UNSPECIFIED.into()),
        ];
        let opened =
            families.map(|(id, any)| (id, any, Self::open(id, any, nat64, others.clone())));
        let none = opened.iter().all(|(_, _, opened)| opened.is_err());
        let sockets = opened.into_iter().map(|(id, any, opened)| {
            opened.or_else(|error| {
                tell_missing(id, none, &error);
                let local = SocketAddr::new(any, 0);
                Self::on(id, MuxSocket::without_udp(id, local, others.clone()), None)
            })
        });
        sockets.collect()
    }

    /// Accepts tunnels from now on, as the listener of a session does.
    pub fn accept_with(&self, config: &ServerConfig) {
        self.endpoint.set_server_config(Some(config.clone()));
    }
}

/// Many a host has one family alone, which is nothing to worry about.
fn tell_missing(id: SocketId, none: bool, error: &io::Error) {
    let family = if id == V4 { "IPv4" } else { "IPv6" };
    if none {
        tracing::warn!(family, %error, "no UDP here, so the relay is reached over TCP alone");
    } else {
        tracing::info!(family, %error, "no UDP of one family here");
    }
}
