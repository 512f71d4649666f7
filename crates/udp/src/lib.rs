//! A UDP socket on tokio for QUIC and what goes beside it, which wakes its program for what it receives alone.
//!
//! A socket of tokio's is registered with the operating system for reading and for writing. Linux tells of room to
//! write each time that a datagram has left, so every datagram that is sent wakes the program once more, for nothing.
//! [`UdpIo`] is registered for reading; only while a datagram could not be sent does something wait for room. It also
//! asks no second time after a call that has emptied the socket. Datagrams come and go in batches where the system can
//! (GRO and GSO, by quinn-udp).

pub mod drivers;
#[cfg_attr(not(unix), path = "both.rs")]
#[cfg_attr(unix, path = "read.rs")]
mod registered;

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState},
};

use self::registered::Registered;

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpIo {
    io: Registered,
    state: UdpSocketState,
    /// Whether the operating system had no room for the last datagram.
    full: AtomicBool,
}

impl UdpIo {
    /// Registers a bound socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            io: Registered::new(socket)?,
            state,
            full: AtomicBool::new(false),
        })
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &UdpSocket {
        self.io.socket()
    }
}

/// One task only may receive.
impl AsyncUdpSocket for UdpIo {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room {
            io: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.socket().into(), transmit);
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.full.store(true, Ordering::Release);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let most = bufs.len().min(meta.len()).min(BATCH_SIZE);
        self.io.poll_receive(cx, most, |socket| {
            self.state.recv(socket.into(), bufs, meta)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// One of those that wait for room to send, again and again.
struct Room {
    io: Arc<UdpIo>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({:?})", self.io)
    }
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.waiting.is_none() && !this.io.full.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let waiting = this.waiting.get_or_insert_with(|| {
            let io = Arc::clone(&this.io);
            Box::pin(async move {
                io.io.room().await?;
                io.full.store(false, Ordering::Release);
                Ok(())
            })
        });
        let waited = ready!(waiting.as_mut().poll(cx));
        // A future is not to be polled again once it is ready.
        this.waiting = None;
        Poll::Ready(waited)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bound() -> (UdpIo, SocketAddr) {
        let io = UdpIo::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let address = io.local_addr().unwrap();
        (io, address)
    }

    fn to(destination: SocketAddr, contents: &[u8]) -> Transmit<'_> {
        Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        }
    }

    /// The datagrams of one call, waited for.
    async fn receive(io: &UdpIo, room: usize) -> Vec<Vec<u8>> {
        let mut buffers = vec![[0; 100]; room];
        let mut metas = vec![RecvMeta::default(); room];
        let count = std::future::poll_fn(|cx| {
            let mut slices: Vec<_> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            io.poll_recv(cx, &mut slices, &mut metas)
        });
        let count = count.await.unwrap();
        let received = buffers.iter().zip(&metas).take(count);
        received.map(|(b, meta)| b[..meta.len].to_vec()).collect()
    }

    #[tokio::test]
    async fn what_comes_after_the_socket_was_emptied_is_received() {
        let ((one, _), (other, address)) = (bound(), bound());
        for round in 0..1_000_u16 {
            let sent = round.to_be_bytes();
            one.try_send(&to(address, &sent)).unwrap();
            assert_eq!(receive(&other, 4).await, [sent]);
        }
    }

    #[tokio::test]
    async fn what_did_not_fit_in_one_call_is_received_by_the_next() {
        let ((one, _), (other, address)) = (bound(), bound());
        for byte in 0..5 {
            one.try_send(&to(address, &[byte])).unwrap();
        }
        let mut received = Vec::new();
        while received.len() < 5 {
            received.extend(receive(&other, 2).await);
        }
        assert_eq!(received, [[0], [1], [2], [3], [4]]);
    }

    #[tokio::test]
    async fn nothing_is_received_until_something_comes() {
        let ((one, _), (other, address)) = (bound(), bound());
        let ((), received) = tokio::join!(
            async {
                tokio::task::yield_now().await;
                one.try_send(&to(address, b"late")).unwrap();
            },
            receive(&other, 4),
        );
        assert_eq!(received, [b"late"]);
        let more = tokio::time::timeout(Duration::from_millis(50), receive(&other, 4));
        assert!(more.await.is_err());
    }

    #[tokio::test]
    async fn room_is_waited_for_only_when_there_was_none() {
        let (io, _) = bound();
        let io = Arc::new(io);
        let mut poller = Arc::clone(&io).create_io_poller();
        let mut writable = std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx));
        (&mut writable).await.unwrap();
        // As after a datagram that the system had no room for; it has by now.
        io.full.store(true, Ordering::Release);
        writable.await.unwrap();
        assert!(!io.full.load(Ordering::Acquire));
    }
}
