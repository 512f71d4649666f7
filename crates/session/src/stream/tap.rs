//! What passes through a stream, for whoever looks on.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::watch::Feed;

/// One direction of a stream, for whoever looks on.
#[derive(Debug, Default)]
pub(crate) struct Tap(pub(crate) Option<Feed>);

impl Tap {
    /// Shows bytes that were forwarded; never waits.
    pub(super) fn show(&mut self, bytes: &Bytes) {
        if let Some(feed) = &mut self.0
            && feed.is_wanted()
        {
            feed.show(bytes.clone());
        }
    }
}

/// How much has passed through a stream. The stream's task counts, the session's reads.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
    copied: AtomicU64,
    held: AtomicU64,
}

impl Traffic {
    /// Notes bytes that the local program wrote.
    pub(super) fn on_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes bytes that the local program was given.
    pub(super) fn on_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes bytes that were sent once more, since the path loses packets.
    pub(super) fn on_copied(&self, bytes: usize) {
        self.copied.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes how much of what the local program wrote is not acknowledged.
    pub(super) fn set_held(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes of what the local program wrote the peer has not acknowledged.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// How many bytes were sent once more.
    pub(crate) fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// How many bytes the local program wrote.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many bytes the local program was given.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}
