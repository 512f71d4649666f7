//! The IPv6 side of an IPv4 socket, for a host whose network has IPv6 alone and a NAT64 (as a CLAT is, RFC 6877, but
//! for one socket and without packets of its own).
//!
//! What the socket is to send to an IPv4 address leaves from here, to the IPv6 address that stands for it; what comes
//! from such an address is received as from the IPv4 one. Whoever uses the socket sees IPv4 alone. The second socket is
//! opened when it is first needed, and the first stays, so that both serve as the network comes and goes.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use p2pdbg_udp::UdpIo;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::nat64::Nat64;

/// The operating system gives less by default than a fast path has in flight, in bytes.
const BUFFER: usize = 4 << 20;

/// A UDP socket on a free port of every local address of a family.
///
/// # Errors
/// If this host does not have the address family, or the operating system refuses.
pub fn bind(any: IpAddr) -> io::Result<UdpSocket> {
    let domain = match any {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if any.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel caps these; less only costs throughput.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(socket.into())
}

/// The IPv6 side of one IPv4 socket.
pub(super) struct Clat {
    nat64: Nat64,
    /// None inside if it could not be opened.
    opened: OnceLock<Option<Arc<UdpIo>>>,
    /// Who waits for what comes, before it is opened.
    waiting: Mutex<Option<Waker>>,
}

impl Clat {
    pub(super) fn new(nat64: Nat64) -> Self {
        Self {
            nat64,
            opened: OnceLock::new(),
            waiting: Mutex::new(None),
        }
    }

    /// Sends what has to be translated, with a lower hop limit if one is given; `None` for what has not.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub(super) fn send(&self, transmit: &Transmit<'_>, hops: Option<u8>) -> Option<io::Result<()>> {
        let SocketAddr::V4(to) = transmit.destination else {
            return None;
        };
        let destination = self.nat64.translate(to)?;
        let opened = self.open()?;
        let translated = Transmit {
            destination,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            // An IPv4 address that this host had before, if it is one at all.
            src_ip: None,
        };
        Some(match hops {
            Some(hops) => opened.send_with_hops(&translated, hops),
            None => opened.try_send(&translated),
        })
    }

    /// What hears this address, if that is this side.
    pub(super) fn hears(&self, from: SocketAddr) -> Option<&Arc<UdpIo>> {
        let SocketAddr::V4(from) = from else {
            return None;
        };
        self.nat64.translate(from)?;
        self.opened.get()?.as_ref()
    }

    /// Receives what has been translated; what comes from elsewhere is left empty.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.opened.get().is_none() {
            *lock(&self.waiting) = Some(cx.waker().clone());
        }
        // Again, since it may have been opened meanwhile.
        let Some(Some(opened)) = self.opened.get() else {
            return Poll::Pending;
        };
        let received = ready!(opened.poll_recv(cx, bufs, meta))?;
        for meta in meta.iter_mut().take(received) {
            meta.dst_ip = None;
            match self.nat64.translate_back(meta.addr) {
                Some(from) => meta.addr = from,
                None => meta.len = 0,
            }
        }
        Poll::Ready(Ok(received))
    }

    /// The socket of this side, while it is used.
    pub(super) fn used(&self) -> Option<&Arc<UdpIo>> {
        let opened = self.opened.get()?.as_ref()?;
        self.is_used().then_some(opened)
    }

    /// What waits for room to send, while this side is used.
    pub(super) fn poller(&self) -> Option<Pin<Box<dyn UdpPoller>>> {
        let used = self.used()?;
        Some(Arc::clone(used).create_io_poller())
    }

    /// Whether this side is used at this time.
    pub(super) fn is_used(&self) -> bool {
        self.nat64.is_used()
    }

    fn open(&self) -> Option<&Arc<UdpIo>> {
        if let Some(opened) = self.opened.get() {
            return opened.as_ref();
        }
        let opened = self.opened.get_or_init(|| {
            let opened = bind(Ipv6Addr::UNSPECIFIED.into())
                .and_then(UdpIo::new)
                .map(Arc::new);
            let failed = |error| tracing::warn!(%error, "cannot open a socket towards the NAT64");
            opened.map_err(failed).ok()
        });
        if let Some(waker) = lock(&self.waiting).take() {
            waker.wake();
        }
        opened.as_ref()
    }
}

impl fmt::Debug for Clat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clat({:?})", self.nat64)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
