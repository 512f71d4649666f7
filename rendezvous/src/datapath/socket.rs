//! A UDP port of the rendezvous: the only file that owns sockets.
//!
//! Ports are read by [`crate::datapath`] alone and written to by everybody, straight to the operating system.
//! Datagrams come and go in batches where the system can (GRO and GSO, by quinn-udp), and a reply leaves from
//! the very address that its request came to, which matters on hosts with several.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use p2pdbg_udp::UdpIo;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{BATCH_SIZE, RecvMeta, Transmit},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What the operating system is asked to buffer in either direction: 20 ms at 1.6 Gbit/s. It may give less.
pub(crate) const BUFFER: usize = 4 << 20;

/// A batch of datagrams of one sender fits, in bytes.
pub(crate) const BATCH_BYTES: usize = 65_536;

/// Room for what one system call receives.
pub(crate) struct ReceiveBuffers {
    pub(crate) bytes: [Box<[u8]>; BATCH_SIZE],
    pub(crate) metas: [RecvMeta; BATCH_SIZE],
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self {
            bytes: std::array::from_fn(|_| vec![0; BATCH_BYTES].into()),
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

/// One bound UDP socket, which sends and receives in batches.
#[derive(Debug)]
pub(crate) struct UdpPort {
    io: Arc<UdpIo>,
    local: SocketAddr,
    /// Whether the socket writes IPv4 addresses as IPv6 ones.
    dual_stack: bool,
}

impl UdpPort {
    /// Binds `address`; an IPv6 wildcard takes IPv4 too unless `only_v6` is set, as far as the system can. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        let socket = open(address)?;
        let mut dual_stack = false;
        if address.is_ipv6() {
            let both = address.ip().is_unspecified() && !only_v6;
            dual_stack = both && socket.set_only_v6(false).is_ok();
            if !dual_stack {
                socket.set_only_v6(true)?;
            }
        }
        socket.bind(&address.into())?;
        Self::set_up(socket.into(), dual_stack)
    }

    /// Takes a socket over that is bound already. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn from_socket(socket: std::net::UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let wildcard_v6 = local.is_ipv6() && local.ip().is_unspecified();
        let dual_stack = wildcard_v6 && !SockRef::from(&socket).only_v6()?;
        Self::set_up(socket, dual_stack)
    }

    fn set_up(socket: std::net::UdpSocket, dual_stack: bool) -> io::Result<Self> {
        let options = SockRef::from(&socket);
        // The system's limits are the operator's to raise; a small buffer only costs speed.
        let _ = options.set_recv_buffer_size(BUFFER);
        let _ = options.set_send_buffer_size(BUFFER);
        let io = Arc::new(UdpIo::new(socket)?);
        let local = io.local_addr()?;
        Ok(Self {
            io,
            local,
            dual_stack,
        })
    }

    /// Another socket on the same port, between which and this one the system spreads flows, each always to the same:
    /// on Linux (3.9 and later), and only by the user who opened the first.
    ///
    /// The first socket was bound without `SO_REUSEPORT`, so that a port that another program uses is still an error.
    ///
    /// # Errors
    /// The operating system's.
    #[cfg(target_os = "linux")]
    pub(crate) fn sibling(&self) -> io::Result<Self> {
        SockRef::from(self.io.socket()).set_reuse_port(true)?;
        let socket = open(self.local)?;
        if self.local.is_ipv6() {
            socket.set_only_v6(!self.dual_stack)?;
        }
        socket.set_reuse_port(true)?;
        socket.bind(&self.local.into())?;
        Self::set_up(socket.into(), self.dual_stack)
    }

    /// Elsewhere such sockets share nothing evenly, or a flow does not keep to one.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn sibling(&self) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How many bytes the system buffers of what has been received and not read yet, by its own account.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn receive_buffer(&self) -> io::Result<usize> {
        let said = SockRef::from(self.io.socket()).recv_buffer_size()?;
        // Linux says twice what it was asked for, to account for its own structures (socket(7)).
        Ok(if cfg!(target_os = "linux") {
            said / 2
        } else {
            said
        })
    }

    /// A second handle of the socket.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    #[cfg(unix)]
    pub(crate) fn duplicate(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.io.socket().try_clone().map(Into::into)
    }

    /// What it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether it takes IPv4 and IPv6.
    pub(crate) fn is_dual_stack(&self) -> bool {
        self.dual_stack
    }

    /// Whether datagrams may be cut up on their way.
    pub(crate) fn may_fragment(&self) -> bool {
        self.io.may_fragment()
    }

    /// How many datagrams one call may send.
    pub(crate) fn max_segments(&self) -> usize {
        self.io.max_transmit_segments()
    }

    /// Receives as soon as there is something: how many entries of `buffers` hold something. One task only may do so.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut ReceiveBuffers,
    ) -> Poll<io::Result<usize>> {
        let mut slices = buffers.bytes.each_mut().map(|bytes| IoSliceMut::new(bytes));
        self.io.poll_recv(cx, &mut slices, &mut buffers.metas)
    }

    /// Sends without waiting, for those who can wait: see [`Self::poller`].
    ///
    /// # Errors
    /// `WouldBlock` when the system's buffer is full.
    pub(crate) fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_send(transmit)
    }

    /// What waits until the system's buffer has room.
    pub(crate) fn poller(&self) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.io).create_io_poller()
    }

    /// Sends datagrams, cut into calls that the system takes, or drops what it does not take now, as a router
    /// does with a full queue: whether all went out.
    pub(crate) fn send_or_drop(&self, transmit: &Transmit<'_>) -> bool {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        let most = segment.saturating_mul(self.max_segments()).max(1);
        transmit.contents.chunks(most).all(|contents| {
            let part = Transmit {
                contents,
                ..transmit.clone()
            };
            self.io.try_send(&part).is_ok()
        })
    }
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
}

/// Whether a datagram to this address of ours can be answered from it: one to a broadcast or multicast address
/// cannot, and is nobody's business to send here.
pub(crate) fn answerable(destination: Option<IpAddr>) -> bool {
    let Some(destination) = destination.map(|ip| ip.to_canonical()) else {
        return true;
    };
    !destination.is_multicast() && destination != IpAddr::V4(Ipv4Addr::BROADCAST)
}
