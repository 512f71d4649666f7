//! What a stream shows of what it forwards: a bounded queue that never makes it wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use p2pdbg_base::Room;
use p2pdbg_inspect::End;
use p2pdbg_ledger::StreamId;
use tokio::sync::mpsc;

use super::watched::Watched;

/// How many pieces may wait to be looked at.
pub(super) const PIECES: usize = 512;

/// How many bytes of them.
pub(super) const BYTES: usize = 4 << 20;

/// What is shown of a stream.
#[derive(Debug)]
pub(super) enum Shown {
    Begin(StreamId, Box<Watched>),
    Bytes(StreamId, End, Bytes, Instant),
    Gap(StreamId, End, u64),
    End(StreamId),
}

/// Where a stream shows what one of its ends wrote.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(super) stream: StreamId,
    pub(super) from: End,
    pub(super) queue: mpsc::Sender<Shown>,
    pub(super) queued: Arc<Room>,
    /// Cleared when nothing more can be learnt.
    pub(super) wanted: Arc<AtomicBool>,
    /// What was not shown, in bytes.
    pub(super) missed: u64,
}

impl Feed {
    /// Whether anybody looks still; what is not wanted need not be shown.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Shows what was forwarded; never waits.
    pub(crate) fn show(&mut self, bytes: Bytes) {
        if !self.is_wanted() || bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        if self.missed > 0 {
            let gap = Shown::Gap(self.stream, self.from, self.missed);
            if self.queue.try_send(gap).is_err() {
                self.missed += length as u64;
                return;
            }
            self.missed = 0;
        }
        if !self.queued.take(length) {
            self.missed += length as u64;
            return;
        }
        let shown = Shown::Bytes(self.stream, self.from, bytes, Instant::now());
        if self.queue.try_send(shown).is_err() {
            self.queued.give_back(length);
            self.missed += length as u64;
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // If that cannot be told, the watcher sees it when the next stream begins.
        let _ = self.queue.try_send(Shown::End(self.stream));
    }
}
