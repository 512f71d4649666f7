//! A UDP socket on tokio for QUIC and what goes beside it, which wakes its program for what it receives alone.
//!
//! A socket of tokio's is registered with the operating system for reading and for writing. Linux tells of room to
//! write each time that a datagram has left, so every datagram that is sent wakes the program once more, for nothing.
//! [`UdpIo`] is registered for reading; only while a datagram could not be sent does something wait for room. It also
//! asks no second time after a call that has emptied the socket. Datagrams come and go in batches where the system can
//! (GRO and GSO, by quinn-udp), and one by one where a sandbox refuses that, or where the system has not what quinn-udp
//! asks of a socket: Windows tells of ECN since Windows 10 only.

// It panics where nobody reads standard error any more.
#![cfg_attr(not(test), warn(clippy::print_stderr))]

mod joined_batches;
pub mod quinn_tasks;
#[cfg_attr(not(unix), path = "registered_to_read_and_write.rs")]
#[cfg_attr(unix, path = "registered_to_read.rs")]
mod registered;
mod time_to_live;
mod unbatched;
#[cfg(target_os = "linux")]
mod without_recvmmsg;

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState},
};
use tokio::{sync::Notify, task::AbortHandle};

use self::{joined_batches::Joined, registered::Registered};

/// When sending is tried again where the system cannot say when there is room: no descriptor is left to wait with.
const TRIED_AGAIN: Duration = Duration::from_millis(20);

/// A bound UDP socket, whose datagrams come and go in batches.
#[derive(Debug)]
pub struct UdpIo {
    bound: Arc<Bound>,
    /// Sends what waits for more, when the program has come to everything else.
    flusher: AbortHandle,
    /// Whether the operating system refuses to give out several datagrams at once.
    #[cfg(target_os = "linux")]
    singly: AtomicBool,
}

impl Drop for UdpIo {
    fn drop(&mut self) {
        self.flusher.abort();
    }
}

impl UdpIo {
    /// Registers a bound socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into());
        let state = state.inspect_err(|error| {
            tracing::info!(%error, "UDP without ECN and batches: the system refuses an option of the socket");
        });
        Self::with_state(socket, state.ok())
    }

    fn with_state(socket: UdpSocket, state: Option<UdpSocketState>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let held = Arc::new(Notify::new());
        let bound = Arc::new(Bound {
            io: Registered::new(socket)?,
            state,
            full: AtomicBool::new(false),
            joined: Mutex::default(),
            holds: AtomicBool::new(false),
            held: Arc::clone(&held),
        });
        let flusher = tokio::spawn(flush(Arc::downgrade(&bound), held)).abort_handle();
        Ok(Self {
            bound,
            flusher,
            #[cfg(target_os = "linux")]
            singly: AtomicBool::new(false),
        })
    }

    /// Receives one datagram a call, or those of one sender that are joined, if that is all that is allowed here.
    #[cfg(target_os = "linux")]
    fn poll_recv_singly(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let io = &self.bound.io;
        io.poll_receive(cx, 1, |socket| {
            without_recvmmsg::receive(socket, bufs, meta)
        })
    }

    /// Whether `received` says that receiving several at once is refused here; from then on it is not tried.
    #[cfg(target_os = "linux")]
    fn is_refused(&self, received: &Poll<io::Result<usize>>) -> bool {
        let Poll::Ready(Err(error)) = received else {
            return false;
        };
        let refused = without_recvmmsg::is_refused(error);
        if refused {
            tracing::info!(%error, "recvmmsg is refused here, by a seccomp filter perhaps: one call for each datagram");
            self.singly.store(true, Ordering::Relaxed);
        }
        refused
    }

    /// Sends one datagram with another time to live, or hop limit, than the rest. What waits for more leaves before it.
    ///
    /// The option belongs to the socket, not to the datagram: what another thread sends in the same moment may get it
    /// too.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn send_with_hops(&self, transmit: &Transmit<'_>, hops: u8) -> io::Result<()> {
        let (bound, to) = (&self.bound, transmit.destination);
        bound.with_joined(|joined| {
            joined.flush(|waiting| bound.send_now(waiting))?;
            time_to_live::with_hops(self.socket(), to, hops, || bound.send_now(transmit))
        })
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &UdpSocket {
        self.bound.io.socket()
    }
}

/// One task only may receive.
impl AsyncUdpSocket for UdpIo {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room {
            bound: Arc::clone(&self.bound),
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.bound.send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        #[cfg(target_os = "linux")]
        if self.singly.load(Ordering::Relaxed) {
            return self.poll_recv_singly(cx, bufs, meta);
        }
        let Bound { io, state, .. } = &*self.bound;
        let batch = if state.is_some() { BATCH_SIZE } else { 1 };
        let most = bufs.len().min(meta.len()).min(batch);
        let received = io.poll_receive(cx, most, |socket| {
            unbatched::past_errors_of_one(|| match state {
                Some(state) => state.recv(socket.into(), bufs, meta),
                None => unbatched::receive(socket, bufs, meta),
            })
        });
        #[cfg(target_os = "linux")]
        if self.is_refused(&received) {
            return self.poll_recv_singly(cx, bufs, meta);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.bound.most_at_once()
    }

    fn max_receive_segments(&self) -> usize {
        let state = self.bound.state.as_ref();
        state.map_or(1, UdpSocketState::gro_segments)
    }

    fn may_fragment(&self) -> bool {
        // Whether it was refused before or after the one that forbids to cut datagrams up is not known.
        let state = self.bound.state.as_ref();
        state.is_none_or(UdpSocketState::may_fragment)
    }
}

/// The socket, and what is on its way out.
#[derive(Debug)]
struct Bound {
    io: Registered,
    /// What quinn-udp knows of the socket; `None` where the system refuses an option that it needs.
    state: Option<UdpSocketState>,
    /// Whether the operating system had no room for the last datagram.
    full: AtomicBool,
    joined: Mutex<Joined>,
    /// Whether something waits in `joined`: whoever sends what does not wait need not lock it.
    holds: AtomicBool,
    /// Told when something has begun to wait.
    held: Arc<Notify>,
}

impl Bound {
    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.holds.load(Ordering::Acquire) && !Joined::may_go_on(transmit) {
            return self.send_now(transmit);
        }
        let most = self.most_at_once();
        let (sent, holds) = self.with_joined(|joined| {
            let sent = joined.push(transmit, most, |transmit| self.send_now(transmit));
            (sent, joined.holds())
        });
        if holds {
            self.held.notify_one();
        }
        sent
    }

    fn with_joined<T>(&self, act: impl FnOnce(&mut Joined) -> T) -> T {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut joined);
        self.holds.store(joined.holds(), Ordering::Release);
        done
    }

    fn send_now(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = match &self.state {
            Some(state) => state.send(self.io.socket().into(), transmit),
            None => unbatched::send(self.io.socket(), transmit),
        };
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.full.store(true, Ordering::Release);
        }
        sent
    }

    /// How many datagrams the system takes by one call.
    fn most_at_once(&self) -> usize {
        let state = self.state.as_ref();
        state.map_or(1, UdpSocketState::max_gso_segments)
    }

    /// Waits until there may be room to send.
    async fn room(&self) {
        if let Err(error) = self.io.room().await {
            // An error would end the connection of whoever waits, and nobody would be told.
            tracing::debug!(%error, "cannot wait for room to send, so it is tried again soon");
            tokio::time::sleep(TRIED_AGAIN).await;
        }
        self.full.store(false, Ordering::Release);
    }

    /// Sends what has waited for more that did not come.
    async fn flush(&self) {
        while let Err(error) = self.with_joined(|joined| joined.flush(|all| self.send_now(all))) {
            match error.kind() {
                io::ErrorKind::WouldBlock => self.room().await,
                _ => self.with_joined(|joined| *joined = Joined::default()),
            }
        }
    }
}

/// Flushes whenever something has begun to wait, as long as the socket is open: it is closed when nobody else has it.
async fn flush(bound: Weak<Bound>, held: Arc<Notify>) {
    loop {
        held.notified().await;
        // What comes right behind it goes with it.
        tokio::task::yield_now().await;
        let Some(bound) = bound.upgrade() else {
            return;
        };
        bound.flush().await;
    }
}

/// One of those that wait for room to send, again and again.
struct Room {
    bound: Arc<Bound>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({:?})", self.bound)
    }
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.waiting.is_none() && !this.bound.full.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let waiting = this.waiting.get_or_insert_with(|| {
            let bound = Arc::clone(&this.bound);
            Box::pin(async move { bound.room().await })
        });
        ready!(waiting.as_mut().poll(cx));
        // A future is not to be polled again once it is ready.
        this.waiting = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
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

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_received_singly_is_told_as_in_batches() {
        use quinn::udp::EcnCodepoint;

        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let socket = || UdpIo::new(UdpSocket::bind(bind).unwrap()).unwrap();
            let (one, other) = (socket(), socket());
            let batch = Transmit {
                ecn: Some(EcnCodepoint::Ect0),
                segment_size: (one.max_transmit_segments() > 1).then_some(3),
                ..to(other.local_addr().unwrap(), b"abcdefgh")
            };
            let mut told = Vec::new();
            for singly in [false, true] {
                other.singly.store(singly, Ordering::Relaxed);
                one.try_send(&batch).unwrap();
                let (mut buffer, mut metas) = ([0; 100], [RecvMeta::default()]);
                let received = std::future::poll_fn(|cx| {
                    other.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut metas)
                });
                assert_eq!(received.await.unwrap(), 1);
                let meta = metas[0];
                told.push((meta.addr, meta.len, meta.stride, meta.ecn, meta.dst_ip));
                assert_eq!(&buffer[..8], b"abcdefgh");
            }
            assert_eq!(told[0], told[1]);
            assert_eq!(told[0].3, Some(EcnCodepoint::Ect0));
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn several_that_wait_are_received_singly_without_another_wake() {
        let ((one, _), (other, address)) = (bound(), bound());
        other.singly.store(true, Ordering::Relaxed);
        for byte in 0..5 {
            one.try_send(&to(address, &[byte])).unwrap();
        }
        for byte in 0..5 {
            assert_eq!(receive(&other, 4).await, [[byte]]);
        }
    }

    #[tokio::test]
    async fn socket_without_options_of_quinn_udp_sends_and_receives_like_any() {
        let plain = || UdpSocket::bind("127.0.0.1:0").and_then(|s| UdpIo::with_state(s, None));
        let ((one, _), other) = (bound(), plain().unwrap());
        let address = other.local_addr().unwrap();
        assert_eq!(other.max_transmit_segments(), 1);
        for round in 0..100_u8 {
            one.try_send(&to(address, &[round])).unwrap();
            one.try_send(&to(address, &[round, 1])).unwrap();
            assert_eq!(receive(&other, 4).await, [[round]]);
            assert_eq!(receive(&other, 4).await, [[round, 1]]);
        }
        let batch = Transmit {
            segment_size: Some(3),
            ..to(one.local_addr().unwrap(), b"abcdefgh")
        };
        other.try_send(&batch).unwrap();
        let mut received = Vec::new();
        while received.len() < 3 {
            received.extend(receive(&one, 4).await);
        }
        assert_eq!(received, [&b"abc"[..], b"def", b"gh"]);
    }

    #[tokio::test]
    async fn full_batches_arrive_in_order_whether_more_follow_or_not() {
        let ((one, _), (other, address)) = (bound(), bound());
        let numbers: Vec<u8> = (0..200).collect();
        let mut sent = numbers.iter();
        // Five full batches, of which the last has nothing behind it, and so on.
        for batches in [1, 3, 5, 8] {
            let before = sent.len();
            for _ in 0..batches {
                let batch: Vec<u8> = sent.by_ref().take(10).copied().collect();
                let batch = Transmit {
                    segment_size: Some(1),
                    ..to(address, &batch)
                };
                one.try_send(&batch).unwrap();
            }
            let mut received = Vec::new();
            while received.len() < before - sent.len() {
                received.extend(receive(&other, 4).await.concat());
            }
            let first = numbers.len() - before;
            assert_eq!(received, numbers[first..first + 10 * batches]);
        }
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

    #[cfg(unix)]
    #[tokio::test]
    async fn room_is_waited_for_also_while_there_is_no_descriptor_left() {
        const WITHIN: &str = "P2PDBG_TEST_HAS_FEW_DESCRIPTORS";
        let name = "tests::room_is_waited_for_also_while_there_is_no_descriptor_left";
        if std::env::var_os(WITHIN).is_none() {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "ulimit -n 100; exec \"$0\" --exact \"$1\""]);
            shell.arg(std::env::current_exe().unwrap()).arg(name);
            let output = shell.env(WITHIN, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{said}");
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let (io, _) = bound();
        let io = Arc::new(io);
        let mut poller = Arc::clone(&io).create_io_poller();
        let opened = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok());
        let opened: Vec<_> = opened.collect();
        io.bound.full.store(true, Ordering::Release);
        // An error would end the connection of whoever waits.
        let writable = std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx));
        writable.await.unwrap();
        assert!(!io.bound.full.load(Ordering::Acquire), "it is tried again");
        drop(opened);
    }

    #[tokio::test]
    async fn room_is_waited_for_only_when_there_was_none() {
        let (io, _) = bound();
        let io = Arc::new(io);
        let mut poller = Arc::clone(&io).create_io_poller();
        let mut writable = std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx));
        (&mut writable).await.unwrap();
        // As after a datagram that the system had no room for; it has by now.
        io.bound.full.store(true, Ordering::Release);
        writable.await.unwrap();
        assert!(!io.bound.full.load(Ordering::Acquire));
    }
}
