//! A detour for datagrams: what goes to one address leaves by TCP instead of the UDP socket, and what comes by it is
//! received as if the socket had.
//!
//! That is how a leg of the relay over TCP serves QUIC: the endpoint, its connections and the relay's address stay what
//! they are, and only the carrier changes underneath, there and back, in the middle of a connection.
//!
//! The queue towards TCP is short, since what waits in it is delay. While TCP takes from it, a full queue has QUIC
//! wait, as a full socket would: nothing need be lost that TCP will carry. When TCP takes nothing, waiting would hold
//! up the other paths of the same socket too, so then it drops.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use tokio::sync::{Notify, mpsc};

/// Datagrams that wait for QUIC to take them; TCP waits with them.
const INBOX: usize = 256;

/// Batches that wait for TCP.
const BATCHES: usize = 256;

/// Bytes that wait for TCP.
const WAITING: usize = 64 * 1024;

/// TCP that has taken nothing for so long is not waited for.
const STALLED: Duration = Duration::from_millis(300);

/// A datagram that came by the detour.
#[derive(Debug)]
pub struct Arrival {
    /// Where it would have come from over UDP.
    pub from: SocketAddr,
    /// The datagram's payload.
    pub bytes: Bytes,
}

/// The detour of one socket.
#[derive(Debug)]
pub struct Detour {
    /// Spares the lock whoever has no detour to make.
    open: AtomicBool,
    way: Mutex<Option<Way>>,
    arrivals: mpsc::Sender<Arrival>,
    inbox: Mutex<mpsc::Receiver<Arrival>>,
}

#[derive(Debug)]
struct Way {
    to: SocketAddr,
    outbox: Outbox,
}

impl Default for Detour {
    fn default() -> Self {
        let (arrivals, inbox) = mpsc::channel(INBOX);
        Self {
            open: AtomicBool::new(false),
            way: Mutex::new(None),
            arrivals,
            inbox: Mutex::new(inbox),
        }
    }
}

impl Detour {
    /// Where what comes by the detour is put; also while nothing leaves by it.
    pub fn arrivals(&self) -> mpsc::Sender<Arrival> {
        self.arrivals.clone()
    }

    /// From now on what goes to `to` leaves by `outbox`.
    pub fn open(&self, to: SocketAddr, outbox: Outbox) {
        *lock(&self.way) = Some(Way { to, outbox });
        self.open.store(true, Ordering::Release);
    }

    /// From now on everything leaves by the socket.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
        lock(&self.way).take();
    }

    /// Takes what is to leave by the detour; `None` for what is not.
    ///
    /// # Errors
    /// `WouldBlock` when it is to be tried again once there is [room](Self::poll_room).
    pub(super) fn take(&self, transmit: &Transmit<'_>) -> Option<io::Result<()>> {
        if !self.open.load(Ordering::Acquire) {
            return None;
        }
        let way = lock(&self.way);
        let way = way.as_ref().filter(|way| way.to == transmit.destination)?;
        if way.outbox.is_busy() {
            return Some(Err(io::ErrorKind::WouldBlock.into()));
        }
        let stride = transmit.segment_size.unwrap_or(transmit.contents.len());
        let bytes = Bytes::copy_from_slice(transmit.contents);
        // What is dropped QUIC repeats, and slows down.
        way.outbox.push(Batch { bytes, stride });
        Some(Ok(()))
    }

    /// Waits until the queue has room, or is not worth waiting for.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, waiting: &mut Option<Room>) -> Poll<()> {
        loop {
            if let Some(room) = waiting {
                ready!(room.as_mut().poll(cx));
                *waiting = None;
            }
            if !self.open.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            match &*lock(&self.way) {
                Some(way) if way.outbox.is_busy() => {
                    *waiting = Some(Box::pin(way.outbox.clone().room()));
                }
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Receives what has come, one datagram a buffer; never ready with none.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut inbox = lock(&self.inbox);
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Poll::Ready(Some(arrival)) = inbox.poll_recv(cx) else {
                break;
            };
            let length = arrival.bytes.len().min(buf.len());
            buf[..length].copy_from_slice(&arrival.bytes[..length]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (arrival.from, length, length);
            count += 1;
        }
        match count {
            0 => Poll::Pending,
            count => Poll::Ready(count),
        }
    }
}

/// Datagrams that leave together, each `stride` bytes long but for the last.
#[derive(Debug)]
pub struct Batch {
    bytes: Bytes,
    stride: usize,
}

impl Batch {
    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.stride.max(1))
    }
}

/// Resolves when a queue has room.
pub(super) type Room = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Where batches wait for TCP.
#[derive(Clone, Debug)]
pub struct Outbox {
    queue: mpsc::Sender<Batch>,
    state: Arc<State>,
}

/// Where they are taken out.
#[derive(Debug)]
pub struct Backlog {
    queue: mpsc::Receiver<Batch>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// How many bytes wait in the queue.
    waiting: AtomicUsize,
    began: Instant,
    /// Milliseconds from then to when TCP last took something, or the queue was empty.
    taken_at: AtomicU64,
    taken: Notify,
}

impl State {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A queue for one connection over TCP.
pub fn outbox() -> (Outbox, Backlog) {
    let (sender, receiver) = mpsc::channel(BATCHES);
    let state = Arc::new(State {
        waiting: AtomicUsize::new(0),
        began: Instant::now(),
        taken_at: AtomicU64::new(0),
        taken: Notify::new(),
    });
    let outbox = Outbox {
        queue: sender,
        state: Arc::clone(&state),
    };
    let backlog = Backlog {
        queue: receiver,
        state,
    };
    (outbox, backlog)
}

impl Outbox {
    /// Whether the queue is full, and TCP takes from it.
    fn is_busy(&self) -> bool {
        let full = self.state.waiting.load(Ordering::Acquire) >= WAITING;
        full && !self.queue.is_closed() && {
            let taken_at = self.state.taken_at.load(Ordering::Acquire);
            let idle = self.state.now().saturating_sub(taken_at);
            u128::from(idle) < STALLED.as_millis()
        }
    }

    async fn room(self) {
        let taken = self.state.taken.notified();
        let mut taken = std::pin::pin!(taken);
        taken.as_mut().enable();
        // What was taken before this is not told any more.
        if self.is_busy() {
            let _ = tokio::time::timeout(STALLED, taken).await;
        }
    }

    /// Puts a batch in, or drops it.
    fn push(&self, batch: Batch) {
        let length = batch.bytes.len();
        let waiting = self.state.waiting.fetch_add(length, Ordering::AcqRel);
        if waiting == 0 {
            let now = self.state.now();
            self.state.taken_at.store(now, Ordering::Release);
        }
        // One batch more than fits, since a batch is not cut up.
        if waiting >= WAITING || self.queue.try_send(batch).is_err() {
            self.state.waiting.fetch_sub(length, Ordering::AcqRel);
        }
    }
}

impl Backlog {
    /// The next batch; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Batch> {
        let batch = self.queue.recv().await?;
        Some(self.took(batch))
    }

    /// The next batch if one waits already.
    pub fn try_next(&mut self) -> Option<Batch> {
        let batch = self.queue.try_recv().ok()?;
        Some(self.took(batch))
    }

    fn took(&self, batch: Batch) -> Batch {
        let now = self.state.now();
        self.state.taken_at.store(now, Ordering::Release);
        let length = batch.bytes.len();
        self.state.waiting.fetch_sub(length, Ordering::AcqRel);
        self.state.taken.notify_waiters();
        batch
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.queue.close();
        self.state.taken.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transmit(to: &str, contents: &'static [u8], segment: Option<usize>) -> Transmit<'static> {
        Transmit {
            destination: to.parse().unwrap(),
            ecn: None,
            contents,
            segment_size: segment,
            src_ip: None,
        }
    }

    const RELAY: &str = "192.0.2.1:3478";

    #[tokio::test]
    async fn only_what_goes_to_the_relay_takes_the_detour_and_only_while_it_is_open() {
        let detour = Detour::default();
        let (outbox, mut backlog) = outbox();
        assert!(detour.take(&transmit(RELAY, b"aabbc", Some(2))).is_none());
        detour.open(RELAY.parse().unwrap(), outbox);
        assert!(
            detour
                .take(&transmit("192.0.2.1:3479", b"x", None))
                .is_none()
        );
        assert!(matches!(
            detour.take(&transmit(RELAY, b"aabbc", Some(2))),
            Some(Ok(()))
        ));
        let batch = backlog.next().await.unwrap();
        assert_eq!(
            batch.datagrams().collect::<Vec<_>>(),
            [&b"aa"[..], b"bb", b"c"]
        );
        detour.close();
        assert!(detour.take(&transmit(RELAY, b"x", None)).is_none());
        assert!(backlog.next().await.is_none());
    }

    #[tokio::test]
    async fn a_full_queue_has_quic_wait_for_tcp_and_not_for_ever() {
        let detour = Detour::default();
        let (outbox, mut backlog) = outbox();
        detour.open(RELAY.parse().unwrap(), outbox);
        let datagram = transmit(RELAY, &[64; 1_200], None);
        let mut taken = 0;
        while let Some(Ok(())) = detour.take(&datagram) {
            taken += 1;
        }
        assert_eq!(taken, WAITING / 1_200 + 1);
        let mut waiting = None;
        let room = std::future::poll_fn(|cx| detour.poll_room(cx, &mut waiting));
        let (batch, ()) = tokio::join!(backlog.next(), room);
        assert!(batch.is_some());
        assert!(matches!(detour.take(&datagram), Some(Ok(()))));
        // Nothing is taken any more: after a while QUIC need not wait, and what it sends is dropped.
        let mut waiting = None;
        std::future::poll_fn(|cx| detour.poll_room(cx, &mut waiting)).await;
        for _ in 0..1_000 {
            assert!(matches!(detour.take(&datagram), Some(Ok(()))));
        }
        let mut left = 0;
        while backlog.try_next().is_some() {
            left += 1;
        }
        assert_eq!(left, taken);
    }

    #[tokio::test]
    async fn what_comes_by_the_detour_comes_from_the_relay() {
        let detour = Detour::default();
        let from: SocketAddr = RELAY.parse().unwrap();
        let arrivals = detour.arrivals();
        for bytes in [&b"one"[..], b"three"] {
            let bytes = Bytes::from_static(bytes);
            arrivals.send(Arrival { from, bytes }).await.unwrap();
        }
        let (mut a, mut b, mut c) = ([0; 8], [0; 8], [0; 8]);
        let mut bufs = [&mut a, &mut b, &mut c].map(|buf| IoSliceMut::new(buf));
        let mut meta = [RecvMeta::default(); 3];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let received = detour.poll_recv(&mut cx, &mut bufs, &mut meta);
        assert_eq!(received, Poll::Ready(2));
        assert_eq!((meta[0].addr, meta[0].len, meta[1].len), (from, 3, 5));
        let received = detour.poll_recv(&mut cx, &mut bufs, &mut meta);
        assert_eq!(received, Poll::Pending);
    }
}
