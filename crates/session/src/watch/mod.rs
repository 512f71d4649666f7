//! Looking on at the debuggers' connections: what [`p2pdbg_inspect`] makes of them, at the side of the session.
//!
//! A stream's task [shows](Feed::show) what it has forwarded: a clone of the `Bytes`, which copies nothing, given to a
//! queue that is bounded in length and in bytes. If there is no room, it is not shown, and only its length is told. One
//! task a session reads the queue and [reports](Report) what it learns, at most ten times a second for each stream. So
//! nothing that a debugger says, and nothing that is made of it, can hold up a stream; `--no-inspect` leaves it out.

#[cfg(target_os = "linux")]
mod ide_build;
mod watcher;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use p2pdbg_base::Room;
use p2pdbg_inspect::{Advice, Debugger, End};
use p2pdbg_ledger::StreamId;
use tokio::sync::mpsc;

use self::watcher::Watched;
pub(crate) use self::watcher::Watcher;

/// How many pieces may wait to be looked at.
const PIECES: usize = 512;

/// How many bytes of them.
const BYTES: usize = 4 << 20;

/// What has been learnt of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The debugger, as far as it is known.
    pub(crate) debugger: Debugger,
    /// What a person should know besides.
    pub(crate) advice: Vec<Advice>,
}

/// What is shown of a stream.
#[derive(Debug)]
enum Shown {
    Begin(StreamId, Box<Watched>),
    Bytes(StreamId, End, Bytes, Instant),
    Gap(StreamId, End, u64),
    End(StreamId),
}

/// Where a stream shows what one of its ends wrote.
#[derive(Debug)]
pub(crate) struct Feed {
    stream: StreamId,
    from: End,
    queue: mpsc::Sender<Shown>,
    queued: Arc<Room>,
    /// Cleared when nothing more can be learnt.
    wanted: Arc<AtomicBool>,
    /// What was not shown, in bytes.
    missed: u64,
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

/// The build of the PyCharm that listens at a port of this host; may take a while.
#[cfg(target_os = "linux")]
fn ide_build_at(port: u16) -> Option<String> {
    ide_build::at(port)
}

/// Which program listens at a port cannot be seen here.
#[cfg(not(target_os = "linux"))]
fn ide_build_at(_port: u16) -> Option<String> {
    None
}

impl Drop for Feed {
    fn drop(&mut self) {
        // If that cannot be told, the watcher sees it when the next stream begins.
        let _ = self.queue.try_send(Shown::End(self.stream));
    }
}
