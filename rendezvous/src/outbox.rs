//! Datagrams that wait for a member of the relay who is reached over TCP.
//!
//! TCP does not lose what it is given, so a queue before it could grow into seconds of delay without the congestion
//! control of the QUIC inside ever noticing. This one behaves like the buffer of a good router instead: it is short, what
//! does not fit is dropped, and what has waited for too long behind others is dropped from the front, so that the sender
//! hears of it soon. Nobody ever waits for room: the datapath serves everybody else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

/// What waits may be split into so many batches at most.
const BATCHES: usize = 512;

/// A batch that has waited for so long is dropped if another waits behind it.
const STALE: Duration = Duration::from_millis(400);

/// Datagrams that came together, each `stride` bytes long but for the last. An empty batch is one empty packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Their bytes, back to back.
    pub(crate) bytes: Bytes,
    /// The length of each.
    pub(crate) stride: usize,
}

impl Batch {
    /// How many datagrams there are.
    pub(crate) fn count(&self) -> u64 {
        self.bytes.len().div_ceil(self.stride.max(1)) as u64
    }

    /// Each of them.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.stride.max(1))
    }
}

/// Where batches are put in.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<(Instant, Batch)>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// Where they are taken out.
#[derive(Debug)]
pub(crate) struct Backlog {
    queue: mpsc::Receiver<(Instant, Batch)>,
    waiting: Arc<AtomicUsize>,
}

/// A queue of at most `most` bytes.
pub(crate) fn outbox(most: usize) -> (Outbox, Backlog) {
    let (sender, receiver) = mpsc::channel(BATCHES);
    let waiting = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        queue: sender,
        waiting: waiting.clone(),
        most,
    };
    let backlog = Backlog {
        queue: receiver,
        waiting,
    };
    (outbox, backlog)
}

impl Outbox {
    /// Whether there was room.
    pub(crate) fn push(&self, now: Instant, batch: Batch) -> bool {
        let length = batch.bytes.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        // An empty queue takes anything, or a batch longer than all of it would never get through.
        let fits = waiting == 0 || waiting.saturating_add(length) <= self.most;
        let pushed = fits && self.queue.try_send((now, batch)).is_ok();
        if !pushed {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
        }
        pushed
    }
}

impl Backlog {
    /// The next batch that is worth sending; counts the datagrams that were not into `dropped`. `None` when there will
    /// be no more.
    pub(crate) async fn next(&mut self, dropped: &mut u64) -> Option<Batch> {
        let first = self.queue.recv().await?;
        Some(self.fresh(first, dropped))
    }

    /// The same without waiting.
    pub(crate) fn try_next(&mut self, dropped: &mut u64) -> Option<Batch> {
        let first = self.queue.try_recv().ok()?;
        Some(self.fresh(first, dropped))
    }

    fn fresh(&mut self, first: (Instant, Batch), dropped: &mut u64) -> Batch {
        let (mut at, mut batch) = first;
        self.take(&batch);
        while at.elapsed() >= STALE
            && let Ok(next) = self.queue.try_recv()
        {
            *dropped += batch.count();
            (at, batch) = next;
            self.take(&batch);
        }
        batch
    }

    fn take(&self, batch: &Batch) {
        self.waiting.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u8, length: usize) -> Batch {
        Batch {
            bytes: vec![number; length].into(),
            stride: 100,
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_room_comes_back() {
        let (outbox, mut backlog) = outbox(250);
        let now = Instant::now();
        assert!(outbox.push(now, batch(1, 200)));
        assert!(!outbox.push(now, batch(2, 100)));
        assert!(outbox.push(now, batch(3, 50)));
        let mut dropped = 0;
        assert_eq!(backlog.next(&mut dropped).await, Some(batch(1, 200)));
        assert!(outbox.push(now, batch(4, 200)));
        assert_eq!(backlog.next(&mut dropped).await, Some(batch(3, 50)));
        assert_eq!(backlog.next(&mut dropped).await, Some(batch(4, 200)));
        assert_eq!(dropped, 0);
    }

    #[tokio::test]
    async fn what_waited_too_long_is_dropped_if_something_newer_waits() {
        let (outbox, mut backlog) = outbox(10_000);
        let old = Instant::now() - STALE;
        assert!(outbox.push(old, batch(1, 300)));
        assert!(outbox.push(old, batch(2, 100)));
        let mut dropped = 0;
        assert_eq!(backlog.next(&mut dropped).await, Some(batch(2, 100)));
        assert_eq!(dropped, 3);
        assert!(outbox.push(Instant::now(), batch(3, 10_000)));
    }

    #[tokio::test]
    async fn an_empty_queue_takes_a_batch_of_any_length() {
        let (outbox, mut backlog) = outbox(10);
        assert!(outbox.push(Instant::now(), batch(1, 100)));
        assert!(!outbox.push(Instant::now(), batch(2, 1)));
        drop(outbox);
        let mut dropped = 0;
        assert!(backlog.next(&mut dropped).await.is_some());
        assert!(backlog.next(&mut dropped).await.is_none());
    }
}
