//! A detour for datagrams: what goes to one address leaves by TCP instead of the UDP socket, and what comes by it is
//! received as if the socket had.
//!
//! That is how a leg of the relay over TCP serves QUIC: the endpoint, its connections and the relay's address stay what
//! they are, and only the carrier changes underneath, there and back, in the middle of a connection. Its congestion
//! control sees another round-trip time, and losses: the queue towards TCP is short, and drops what does not fit or has
//! waited for too long, as a good router would. Growing into seconds of delay is what it must not do.

use std::{
    io::IoSliceMut,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use tokio::sync::mpsc;

/// Datagrams that wait for QUIC to take them; TCP waits with them.
const INBOX: usize = 256;

/// Batches that wait for TCP.
const BATCHES: usize = 256;

/// Bytes that wait for TCP.
const WAITING: usize = 64 * 1024;

/// A batch that has waited for so long is dropped if another waits behind it.
const STALE: Duration = Duration::from_millis(400);

/// A datagram that came by the detour.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Where it would have come from over UDP.
    pub(crate) from: SocketAddr,
    /// Its bytes.
    pub(crate) bytes: Bytes,
}

/// The detour of one socket.
#[derive(Debug)]
pub(crate) struct Detour {
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

impl Detour {
    /// None yet.
    pub(crate) fn new() -> Self {
        let (arrivals, inbox) = mpsc::channel(INBOX);
        Self {
            open: AtomicBool::new(false),
            way: Mutex::new(None),
            arrivals,
            inbox: Mutex::new(inbox),
        }
    }

    /// Where what comes by the detour is put; also while nothing leaves by it.
    pub(crate) fn arrivals(&self) -> mpsc::Sender<Arrival> {
        self.arrivals.clone()
    }

    /// From now on what goes to `to` leaves by `outbox`.
    pub(crate) fn open(&self, to: SocketAddr, outbox: Outbox) {
        *lock(&self.way) = Some(Way { to, outbox });
        self.open.store(true, Ordering::Release);
    }

    /// From now on everything leaves by the socket.
    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::Release);
        lock(&self.way).take();
    }

    /// Takes what is to leave by the detour; whether this is.
    pub(super) fn take(&self, transmit: &Transmit<'_>) -> bool {
        if !self.open.load(Ordering::Acquire) {
            return false;
        }
        match &*lock(&self.way) {
            Some(way) if way.to == transmit.destination => {
                let stride = transmit.segment_size.unwrap_or(transmit.contents.len());
                let bytes = Bytes::copy_from_slice(transmit.contents);
                // What is dropped QUIC repeats, and slows down.
                way.outbox.push(Batch { bytes, stride });
                true
            }
            _ => false,
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
pub(crate) struct Batch {
    bytes: Bytes,
    stride: usize,
}

impl Batch {
    /// Each of them.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.stride.max(1))
    }
}

/// Where batches wait for TCP.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<(Instant, Batch)>,
    waiting: Arc<AtomicUsize>,
}

/// Where they are taken out.
#[derive(Debug)]
pub(crate) struct Backlog {
    queue: mpsc::Receiver<(Instant, Batch)>,
    waiting: Arc<AtomicUsize>,
}

/// A queue for one connection over TCP.
pub(crate) fn outbox() -> (Outbox, Backlog) {
    let (sender, receiver) = mpsc::channel(BATCHES);
    let waiting = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        queue: sender,
        waiting: Arc::clone(&waiting),
    };
    let backlog = Backlog {
        queue: receiver,
        waiting,
    };
    (outbox, backlog)
}

impl Outbox {
    /// Whether there was room.
    fn push(&self, batch: Batch) -> bool {
        let length = batch.bytes.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        let fits = waiting.saturating_add(length) <= WAITING;
        let pushed = fits && self.queue.try_send((Instant::now(), batch)).is_ok();
        if !pushed {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
        }
        pushed
    }
}

impl Backlog {
    /// The next batch that is worth sending; `None` when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        let first = self.queue.recv().await?;
        Some(self.fresh(first))
    }

    /// The same without waiting.
    pub(crate) fn try_next(&mut self) -> Option<Batch> {
        let first = self.queue.try_recv().ok()?;
        Some(self.fresh(first))
    }

    fn fresh(&mut self, first: (Instant, Batch)) -> Batch {
        let (mut at, mut batch) = first;
        self.took(&batch);
        while at.elapsed() >= STALE
            && let Ok(next) = self.queue.try_recv()
        {
            (at, batch) = next;
            self.took(&batch);
        }
        batch
    }

    fn took(&self, batch: &Batch) {
        self.waiting.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
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
        let detour = Detour::new();
        let (outbox, mut backlog) = outbox();
        assert!(!detour.take(&transmit(RELAY, b"aabbc", Some(2))));
        detour.open(RELAY.parse().unwrap(), outbox);
        assert!(!detour.take(&transmit("192.0.2.1:3479", b"x", None)));
        assert!(detour.take(&transmit(RELAY, b"aabbc", Some(2))));
        let batch = backlog.next().await.unwrap();
        assert_eq!(
            batch.datagrams().collect::<Vec<_>>(),
            [&b"aa"[..], b"bb", b"c"]
        );
        detour.close();
        assert!(!detour.take(&transmit(RELAY, b"x", None)));
        assert!(backlog.next().await.is_none());
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_does_not_grow() {
        let detour = Detour::new();
        let (outbox, mut backlog) = outbox();
        detour.open(RELAY.parse().unwrap(), outbox);
        for _ in 0..1_000 {
            assert!(detour.take(&transmit(RELAY, &[64; 1_200], None)));
        }
        let mut count = 0;
        while backlog.try_next().is_some() {
            count += 1;
        }
        assert_eq!(count, WAITING / 1_200);
        assert!(detour.take(&transmit(RELAY, &[64; 1_200], None)));
        assert!(backlog.try_next().is_some());
    }

    #[tokio::test]
    async fn what_comes_by_the_detour_comes_from_the_relay() {
        let detour = Detour::new();
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
