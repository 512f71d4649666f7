//! A UDP port as quinn sees it: quinn receives what the datapath hands it through a bounded queue, and sends
//! on the port itself.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::sync::mpsc;

use crate::datapath::{amplification::Unproved, socket::UdpPort};

/// Datagrams that wait for quinn; what comes on top is dropped, as on a busy network.
const QUEUE: usize = 1_024;

/// The longest datagram that quinn takes with the configuration that we give it, in bytes.
pub(crate) const LONGEST_DATAGRAM: usize = 1_472;

/// One datagram for quinn, as a worker has received it.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) bytes: Bytes,
    /// Where it came from and to.
    pub(crate) meta: RecvMeta,
}

/// quinn's end of a port.
pub(crate) struct QuicSocket {
    port: Arc<UdpPort>,
    unproved: Unproved,
    /// Only quinn's one driver ever locks it.
    queue: Mutex<mpsc::Receiver<Datagram>>,
}

impl QuicSocket {
    /// The socket for quinn, and where the datapath puts what is quinn's.
    pub(crate) fn new(
        port: Arc<UdpPort>,
        unproved: Unproved,
    ) -> (Arc<Self>, mpsc::Sender<Datagram>) {
        let (feed, queue) = mpsc::channel(QUEUE);
        let socket = Self {
            port,
            unproved,
            queue: Mutex::new(queue),
        };
        (Arc::new(socket), feed)
    }
}

impl fmt::Debug for QuicSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuicSocket({})", self.port.local())
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.port.poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // One datagram at a time: batches are not asked for.
        let (to, length) = (transmit.destination, transmit.contents.len());
        if !self.unproved.may_send(Instant::now(), to, length) {
            return Ok(());
        }
        self.port.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let datagram = match queue.poll_recv(cx) {
                Poll::Ready(Some(datagram)) => datagram,
                // Once the datapath has stopped nothing comes any more, which is no error to quinn.
                Poll::Ready(None) | Poll::Pending if count == 0 => return Poll::Pending,
                _ => break,
            };
            let length = datagram.bytes.len().min(buf.len());
            self.unproved.received(now, datagram.meta.addr, length);
            buf[..length].copy_from_slice(&datagram.bytes[..length]);
            *meta = RecvMeta {
                len: length,
                stride: length,
                ..datagram.meta
            };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.port.local())
    }

    fn max_transmit_segments(&self) -> usize {
        self.port.max_segments()
    }

    fn may_fragment(&self) -> bool {
        self.port.may_fragment()
    }
}
