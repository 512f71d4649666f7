//! One UDP socket for everything that goes between two peers: STUN, the relay's bind frames and QUIC.
//!
//! The mapping that a hole punch opens belongs to the socket that punched, so QUIC must leave by the same one.
//! [`MuxSocket`] is the socket that quinn uses; on the way in it takes out what is not QUIC (RFC 9443 section 3
//! describes the first bytes) and hands it to whoever drives the traversal. QUIC's handshakes travel disguised. The
//! queue between the two is bounded: what does not fit is dropped, as by any network, and repeated by its sender's
//! timers.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use p2pdbg_punch::SocketId;
use p2pdbg_udp::UdpIo;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};
use tokio::sync::mpsc;

use super::{
    clat::Clat,
    disguise,
    ecn::Marks,
    nat64::Nat64,
    tcp_detour::{Detour, Room},
};

/// A datagram that is not QUIC.
#[derive(Debug)]
pub struct Datagram {
    /// The socket that received it.
    pub socket: SocketId,
    /// The source address; anybody can have written it there.
    pub from: SocketAddr,
    /// Its bytes; never empty, and the first is below 64.
    pub payload: Vec<u8>,
}

/// Datagrams that are not QUIC are dropped when longer than this, in bytes: STUN and bind frames are short.
const LONGEST: usize = 1500;

/// Room for the datagrams that the operating system joins into one, in bytes.
const JOINED: usize = 65536;

/// After so many calls a socket without QUIC lets others go first.
const RECEIVED_AT_ONCE: usize = 32;

/// For so long datagrams leave singly once that was asked for.
const SINGLY: Duration = Duration::from_secs(60);

/// A UDP socket that quinn may use together with STUN and the relay's frames.
pub struct MuxSocket {
    id: SocketId,
    /// `None` where there is no UDP: only the detour carries anything then.
    quic: Option<Arc<UdpIo>>,
    /// The address to name where there is no UDP: of the family that the remote ones have.
    local: SocketAddr,
    others: mpsc::Sender<Datagram>,
    /// Of a socket for IPv4: its IPv6 side, where IPv4 is reached through a NAT64.
    clat: Option<Clat>,
    detour: Detour,
    /// Of what leaves by the socket.
    marks: Marks,
    /// Until when no datagrams are handed to the system together.
    singly_until: Mutex<Option<Instant>>,
    /// Whose turn it is to be received from first: the detour's?
    detour_first: AtomicBool,
    /// Whether a QUIC endpoint receives, or is about to.
    quic_receives: Mutex<bool>,
}

impl MuxSocket {
    /// Wraps a bound socket. What is not QUIC goes to `others`, as long as an endpoint polls the socket. Where IPv4 is
    /// reached through a NAT64, a socket for IPv4 makes use of it.
    ///
    /// # Errors
    /// If the operating system refuses to register the socket.
    pub fn new(
        socket: UdpSocket,
        id: SocketId,
        nat64: &Nat64,
        others: mpsc::Sender<Datagram>,
    ) -> io::Result<Arc<Self>> {
        let local = socket.local_addr()?;
        let clat = local.is_ipv4().then(|| Clat::new(nat64.clone()));
        let quic = Arc::new(UdpIo::new(socket)?);
        Ok(Self::with((id, local), Some(quic), clat, others))
    }

    /// Stands in for a socket of `local`'s family that this host does not have, or for a TCP connection from there:
    /// what is sent is lost, as on a network that carries nothing, but for what the [detour](Self::detour) takes.
    pub fn without_udp(
        id: SocketId,
        local: SocketAddr,
        others: mpsc::Sender<Datagram>,
    ) -> Arc<Self> {
        Self::with((id, local), None, None, others)
    }

    fn with(
        (id, local): (SocketId, SocketAddr),
        quic: Option<Arc<UdpIo>>,
        clat: Option<Clat>,
        others: mpsc::Sender<Datagram>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            quic,
            local,
            others,
            clat,
            detour: Detour::default(),
            marks: Marks::default(),
            singly_until: Mutex::new(None),
            detour_first: AtomicBool::new(false),
            quic_receives: Mutex::new(false),
        })
    }

    /// Hands on what is not QUIC, and drops what is, as long as [no endpoint](Self::give_to_quic) receives.
    ///
    /// An endpoint of quinn's has some 3 MB of buffers, which a search by five hundred sockets cannot afford.
    pub async fn receive_without_quic(&self) {
        std::future::poll_fn(|cx| self.poll_without_quic(cx)).await;
    }

    /// From now on whoever makes an endpoint of it receives, and nobody else.
    pub fn give_to_quic(&self) {
        *self
            .quic_receives
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn poll_without_quic(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Held while it receives: the last who waits for the socket is the one who is woken, and must be the endpoint.
        let quic_receives = self
            .quic_receives
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut buffer = vec![0; JOINED];
        for _ in 0..RECEIVED_AT_ONCE {
            if *quic_receives {
                return Poll::Ready(());
            }
            let mut meta = [RecvMeta::default()];
            // An error is of one datagram that was sent, and nothing to end for.
            let _ = ready!(self.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends one datagram that is not QUIC, with a lower time to live if one is given.
    ///
    /// A QUIC packet that leaves at another thread in the same moment may get the low value too and be lost, which its
    /// retransmission mends. This only happens in the first moments of a hole punch.
    ///
    /// # Errors
    /// Whatever the operating system says, `WouldBlock` included; the caller's timers repeat what matters.
    pub fn send(&self, to: SocketAddr, payload: &[u8], ttl: Option<u8>) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: payload,
            segment_size: None,
            src_ip: None,
        };
        if let Some(sent) = self.by_nat64(&transmit, ttl) {
            return sent;
        }
        let Some(quic) = &self.quic else {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        };
        match ttl {
            Some(ttl) => quic.send_with_hops(&transmit, ttl),
            None => quic.try_send(&transmit),
        }
    }

    /// The way by which QUIC's datagrams may leave and come instead.
    pub fn detour(&self) -> &Detour {
        &self.detour
    }

    /// What was sent is not answered, so for a while each datagram is sent by itself. Virtual networks hand on those of
    /// a batch as the one that they were sent as, and a box there that drops what is long, or counts, takes it for one.
    pub fn send_singly(&self) {
        self.set_singly(Some(Instant::now() + SINGLY));
    }

    fn set_singly(&self, until: Option<Instant>) {
        *self.lock_singly() = until;
    }

    fn lock_singly(&self) -> MutexGuard<'_, Option<Instant>> {
        let locked = self.singly_until.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// The network is another: what was learnt of the one before counts no more.
    pub fn on_network_changed(&self) {
        self.marks.forget();
        self.set_singly(None);
    }

    /// The sockets by which QUIC's datagrams may leave and come at this time.
    fn sides(&self) -> impl Iterator<Item = &Arc<UdpIo>> {
        let by_nat64 = self.clat.as_ref().and_then(Clat::used);
        self.quic.iter().chain(by_nat64)
    }

    /// Sends what is to go through a NAT64; `None` for what is not.
    fn by_nat64(&self, transmit: &Transmit<'_>, hops: Option<u8>) -> Option<io::Result<()>> {
        self.clat.as_ref()?.send(transmit, hops)
    }

    /// The mark of a datagram of QUIC's that goes there now.
    fn mark(
        &self,
        to: SocketAddr,
        wanted: Option<EcnCodepoint>,
        now: Instant,
    ) -> Option<EcnCodepoint> {
        self.marks.outgoing(to, wanted, now, || self.has_unread(to))
    }

    /// Whether anything waits at the socket that hears this address. An error is told of to whoever receives.
    fn has_unread(&self, from: SocketAddr) -> bool {
        let by_nat64 = self.clat.as_ref().and_then(|clat| clat.hears(from));
        let Some(socket) = by_nat64.or(self.quic.as_ref()) else {
            return false;
        };
        let peeked = socket.socket().peek_from(&mut [0]);
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_udp(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(quic) = &self.quic else {
            return Poll::Pending;
        };
        let received = match (quic.poll_recv(cx, bufs, meta), &self.clat) {
            (Poll::Ready(received), _) => received?,
            (Poll::Pending, Some(clat)) => ready!(clat.poll_recv(cx, bufs, meta))?,
            (Poll::Pending, None) => return Poll::Pending,
        };
        let now = Instant::now();
        for (batch, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(received) {
            self.keep_quic(batch, meta);
            if meta.len > 0 {
                self.marks.on_heard(meta.addr, meta.ecn, now);
            }
        }
        Poll::Ready(Ok(received))
    }

    /// Takes what is not QUIC out of a received batch, which holds datagrams of `meta.stride` bytes back to back,
    /// and closes the gaps.
    fn keep_quic(&self, batch: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let is_quic = |datagram: &[u8]| datagram.first().is_some_and(|byte| *byte >= 64);
        if batch[..meta.len].chunks(stride).all(is_quic) {
            return;
        }
        let mut kept = 0;
        let mut start = 0;
        while start < meta.len {
            let end = (start + stride).min(meta.len);
            if is_quic(&batch[start..end]) {
                batch.copy_within(start..end, kept);
                kept += end - start;
            } else if end > start && end - start <= LONGEST {
                let datagram = Datagram {
                    socket: self.id,
                    from: meta.addr,
                    payload: batch[start..end].to_vec(),
                };
                if self.others.try_send(datagram).is_err() {
                    tracing::debug!("dropped a datagram: the traversal's queue is full");
                }
            }
            start = end;
        }
        meta.len = kept;
    }
}

impl fmt::Debug for MuxSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MuxSocket({:?})", self.local_addr())
    }
}

impl AsyncUdpSocket for MuxSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            udp: self.quic.clone().map(UdpIo::create_io_poller),
            clat: None,
            mux: self,
            room: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let stride = transmit.segment_size.unwrap_or(transmit.contents.len());
        let disguised = disguise::disguised(transmit.contents, stride);
        // QUIC answers from the address that it was spoken to at, which leaves by a route that may be dead since the
        // default route has moved. What leaves here goes where the checks went, and they are what found the path.
        let transmit = &Transmit {
            src_ip: None,
            ecn: transmit.ecn,
            contents: disguised.as_deref().unwrap_or(transmit.contents),
            ..*transmit
        };
        if let Some(taken) = self.detour.take(transmit) {
            return taken;
        }
        let to = transmit.destination;
        let transmit = &Transmit {
            ecn: self.mark(to, transmit.ecn, Instant::now()),
            ..*transmit
        };
        let sent = match (self.by_nat64(transmit, None), &self.quic) {
            (Some(sent), _) => sent,
            (None, Some(quic)) => quic.try_send(transmit),
            // An error would end the connection, whose relay may yet be reached by the detour.
            (None, None) => Ok(()),
        };
        if transmit.ecn.is_some() {
            self.marks.on_sent(to, Instant::now());
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // In turns, so that neither can keep the other waiting. Both are asked before there is nothing.
        let received = if self.detour_first.fetch_xor(true, Ordering::Relaxed) {
            match self.detour.poll_recv(cx, bufs, meta) {
                Poll::Ready(received) => received,
                Poll::Pending => ready!(self.poll_udp(cx, bufs, meta))?,
            }
        } else {
            match self.poll_udp(cx, bufs, meta) {
                Poll::Ready(received) => received?,
                Poll::Pending => ready!(self.detour.poll_recv(cx, bufs, meta)),
            }
        };
        for (batch, meta) in bufs.iter_mut().zip(meta.iter()).take(received) {
            disguise::turn(&mut batch[..meta.len], meta.stride);
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.quic {
            Some(quic) => quic.local_addr(),
            None => Ok(self.local),
        }
    }

    fn max_transmit_segments(&self) -> usize {
        let singly = self.lock_singly();
        if singly.is_some_and(|until| Instant::now() < until) {
            return 1;
        }
        // A batch may leave by either, and the system may have refused at one alone to cut batches up.
        let sides = self.sides();
        sides
            .map(|side| side.max_transmit_segments())
            .min()
            .unwrap_or(1)
    }

    fn max_receive_segments(&self) -> usize {
        let sides = self.sides();
        sides
            .map(|side| side.max_receive_segments())
            .max()
            .unwrap_or(1)
    }

    fn may_fragment(&self) -> bool {
        let quic = self.quic.as_ref();
        quic.is_some_and(|quic| quic.may_fragment())
    }
}

/// Waits for room to send, by whichever way.
struct Writable {
    mux: Arc<MuxSocket>,
    udp: Option<Pin<Box<dyn UdpPoller>>>,
    /// Once the IPv6 side has been used.
    clat: Option<Pin<Box<dyn UdpPoller>>>,
    room: Option<Room>,
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writable({:?})", self.mux)
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.mux.detour.poll_room(cx, &mut this.room));
        if let Some(clat) = this.mux.clat.as_ref().filter(|clat| clat.is_used()) {
            if this.clat.is_none() {
                this.clat = clat.poller();
            }
            if let Some(poller) = &mut this.clat {
                ready!(poller.as_mut().poll_writable(cx))?;
            }
        }
        // Also where the NAT64 is used: an address of a LAN is not translated.
        match &mut this.udp {
            Some(udp) => udp.as_mut().poll_writable(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests;
