//! What a leg of the relay is measured by: the one thing of this module that the path of a datagram touches.
//!
//! Its owner asks [`LegMeter::admits`] once for each batch, from whichever thread, and drops the batch if the answer is
//! no: what runs inside is QUIC, which takes a loss for what it is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::atomic_bucket::{AtomicBucket, UNBOUNDED};
use crate::keys::KeyId;

/// The meter of one leg.
#[derive(Debug)]
pub(crate) struct LegMeter {
    /// What the leg may send, in bytes a second, whatever else there is; until its key has something of a month again.
    own: AtomicU64,
    /// What it may send while others want the same capacity; changed by [`super::Book::settle`].
    share: AtomicU64,
    bucket: AtomicBucket,
    key: Arc<KeyMeter>,
    /// Bytes that were to be sent, and those of them that were.
    wanted: AtomicU64,
    passed: AtomicU64,
}

/// What the legs of one key draw from together.
#[derive(Debug)]
pub(super) struct KeyMeter {
    id: KeyId,
    /// What all its legs may send together, in bytes a second.
    rate: AtomicU64,
    bucket: AtomicBucket,
    /// Bytes that legs have sent which have ended since, and that nobody had asked them about.
    left: AtomicU64,
}

/// What a leg has sent since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) wanted: u64,
    pub(super) passed: u64,
}

impl KeyMeter {
    pub(super) fn new(id: KeyId, rate: u64) -> Self {
        Self {
            id,
            rate: AtomicU64::new(rate),
            bucket: AtomicBucket::default(),
            left: AtomicU64::new(0),
        }
    }

    /// What legs have sent that have ended since it was asked last.
    pub(super) fn draw_left(&self) -> u64 {
        self.left.swap(0, Ordering::Relaxed)
    }

    pub(super) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }
}

impl LegMeter {
    pub(super) fn new(own: u64, share: u64, key: Arc<KeyMeter>) -> Self {
        Self {
            own: AtomicU64::new(own),
            share: AtomicU64::new(share),
            bucket: AtomicBucket::default(),
            key,
            wanted: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        }
    }

    /// A meter that admits everything, for what belongs to nobody's account.
    pub(crate) fn unbounded() -> Arc<Self> {
        Arc::new(Self::new(
            UNBOUNDED,
            UNBOUNDED,
            Arc::new(KeyMeter::new(KeyId::NOBODY, UNBOUNDED)),
        ))
    }

    /// On whose account it is, and within which bound of its own, in bytes a second: what a successor goes on with.
    pub(crate) fn terms(&self) -> (KeyId, u64) {
        (self.key.id, self.own())
    }

    /// Whether the leg may send so many bytes at `now_ns`, in nanoseconds of a clock that only runs forward.
    pub(crate) fn admits(&self, now_ns: u64, bytes: usize) -> bool {
        let bytes = bytes as u64;
        self.wanted.fetch_add(bytes, Ordering::Relaxed);
        let rate = self.own().min(self.share.load(Ordering::Relaxed));
        // The leg's own bucket first: what it is refused there costs the others of its key nothing.
        let admitted = rate > 0
            && self.bucket.take(rate, now_ns, bytes)
            && self
                .key
                .bucket
                .take(self.key.rate.load(Ordering::Relaxed), now_ns, bytes);
        if admitted {
            self.passed.fetch_add(bytes, Ordering::Relaxed);
        }
        admitted
    }

    pub(super) fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    pub(super) fn set_own(&self, own: u64) {
        self.own.store(own, Ordering::Relaxed);
    }

    pub(super) fn set_share(&self, share: u64) {
        self.share.store(share, Ordering::Relaxed);
    }

    pub(super) fn draw(&self) -> Drawn {
        Drawn {
            wanted: self.wanted.swap(0, Ordering::Relaxed),
            passed: self.passed.swap(0, Ordering::Relaxed),
        }
    }
}

/// A leg that ends before it is asked again has sent all the same: many short sessions count as one long one does.
impl Drop for LegMeter {
    fn drop(&mut self) {
        let passed = self.passed.swap(0, Ordering::Relaxed);
        self.key.left.fetch_add(passed, Ordering::Relaxed);
    }
}
