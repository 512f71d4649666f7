//! Datagrams that wait for a member of the relay who is reached over TCP.
//!
//! TCP does not lose what it is given, so a queue before it could grow into seconds of delay without the congestion
//! control of the QUIC inside ever noticing. This one behaves like the buffer of a router instead: it is short, and
//! what does not fit is dropped. What is in it is not dropped any more, however late it gets: TCP stands still now and
//! then, and losing all that waits behind it would look like a congestion that lasts. Nobody ever waits for room: the
//! datapath serves everybody else.

use std::sync::Arc;

use bytes::Bytes;
use p2pdbg_base::Room;
use tokio::sync::mpsc;

use crate::{
    key_rooms::{Account, Taken},
    wire_cost::Load,
};

/// What may wait for a member whatever else waits on the account of the same key, in bytes: what QUIC begins with.
const FREE: usize = 16 * 1_024;

/// What waits may be split into so many batches at most.
const BATCHES: usize = 512;

/// Datagrams that came together, each `stride` bytes long but for the last. An empty batch is one empty packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Their bytes, back to back.
    pub(crate) bytes: Bytes,
    /// The length of each datagram but the last, in bytes.
    pub(crate) stride: usize,
}

impl Batch {
    /// How many datagrams there are.
    pub(crate) fn count(&self) -> u64 {
        self.bytes.len().div_ceil(self.stride.max(1)) as u64
    }

    /// What they amount to on the wire.
    pub(crate) fn load(&self) -> Load {
        Load::of(&self.bytes, self.stride)
    }

    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.stride.max(1))
    }
}

/// Where batches are put in.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<(Batch, Taken)>,
    room: Arc<Room>,
}

/// The same on the account of a key.
#[derive(Debug)]
pub(crate) struct KeyOutbox {
    queue: mpsc::Sender<(Batch, Taken)>,
    account: Account,
}

/// Where they are taken out.
#[derive(Debug)]
pub(crate) struct Backlog {
    queue: mpsc::Receiver<(Batch, Taken)>,
}

/// A queue of at most `most` bytes.
pub(crate) fn outbox(most: usize) -> (Outbox, Backlog) {
    let (sender, receiver) = mpsc::channel(BATCHES);
    let outbox = Outbox {
        queue: sender,
        room: Arc::new(Room::new(most)),
    };
    (outbox, Backlog { queue: receiver })
}

impl Outbox {
    /// On the account of the key of whoever sends there, which has this room.
    pub(crate) fn on_account(self, of_key: Arc<Room>) -> KeyOutbox {
        let Self { queue, room } = self;
        let account = Account::new(room, of_key, FREE);
        KeyOutbox { queue, account }
    }
}

impl KeyOutbox {
    /// Puts a batch in; `false` if there was no room, and then it is gone.
    pub(crate) fn push(&self, batch: Batch) -> bool {
        let taken = self.account.take(batch.bytes.len());
        taken.is_some_and(|taken| self.queue.try_send((batch, taken)).is_ok())
    }
}

impl Backlog {
    /// The next batch; `None` when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        let (batch, _) = self.queue.recv().await?;
        Some(batch)
    }

    /// The next batch if one waits already.
    pub(crate) fn try_next(&mut self) -> Option<Batch> {
        let (batch, _) = self.queue.try_recv().ok()?;
        Some(batch)
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
        let outbox = outbox.on_account(Arc::new(Room::new(1_000)));
        assert!(outbox.push(batch(1, 200)));
        assert!(!outbox.push(batch(2, 100)));
        assert!(outbox.push(batch(3, 50)));
        assert_eq!(backlog.next().await, Some(batch(1, 200)));
        assert!(outbox.push(batch(4, 200)));
        assert_eq!(backlog.next().await, Some(batch(3, 50)));
        assert_eq!(backlog.next().await, Some(batch(4, 200)));
    }

    #[tokio::test]
    async fn an_empty_queue_takes_a_batch_of_any_length() {
        let (outbox, mut backlog) = outbox(10);
        let outbox = outbox.on_account(Arc::new(Room::new(1_000)));
        assert!(outbox.push(batch(1, 100)));
        assert!(!outbox.push(batch(2, 1)));
        drop(outbox);
        assert!(backlog.next().await.is_some());
        assert!(backlog.next().await.is_none());
    }
}
