//! Connections whose peers have given up too many of their connection ids.
//!
//! For each id that a peer retires quinn makes another, and keeps it until the peer has acknowledged it, however many
//! there are. A peer that acknowledges nothing, and retires one after the other, would fill the memory with them; who
//! behaves gives up an id or two when its network changes. There is nothing in quinn to bound that, so connections are
//! looked at.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use p2pdbg_proto::rendezvous::close;
use quinn::{Connection, ConnectionStats, VarInt};

/// Between two looks at all connections. One takes some milliseconds of ten thousand.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How many ids a peer may give up at once.
const AT_ONCE: u64 = 256;

/// It may give up one more in so long.
const ONE_MORE: Duration = Duration::from_secs(60);

/// The connections that there are, since when, by numbers of their own.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<HashMap<usize, (Connection, Instant)>>);

/// Ends the watch over a connection when dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    watched: &'a Watched,
    id: usize,
}

impl Watched {
    /// Watches over a connection from now on.
    pub(crate) fn begin(&self, connection: &Connection) -> Watch<'_> {
        let id = connection.stable_id();
        self.lock().insert(id, (connection.clone(), Instant::now()));
        Watch { watched: self, id }
    }

    /// Ends the connections of those that have given up too many ids.
    pub(crate) fn look(&self, now: Instant) {
        for (connection, since) in self.lock().values() {
            let lasts = now.saturating_duration_since(*since);
            if has_given_up_too_many(&connection.stats(), lasts) {
                tracing::debug!("a peer has given up connection ids without end");
                connection.close(VarInt::from_u32(close::PROTOCOL), b"");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, (Connection, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.watched.lock().remove(&self.id);
    }
}

fn has_given_up_too_many(stats: &ConnectionStats, lasts: Duration) -> bool {
    let more = lasts.as_secs() / ONE_MORE.as_secs();
    stats.frame_rx.retire_connection_id > AT_ONCE.saturating_add(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_that_gives_up_connection_ids_without_end_is_told_from_one_that_roams() {
        let mut stats = ConnectionStats::default();
        stats.frame_rx.retire_connection_id = AT_ONCE;
        assert!(!has_given_up_too_many(&stats, Duration::ZERO));
        stats.frame_rx.retire_connection_id = AT_ONCE + 60;
        assert!(has_given_up_too_many(&stats, Duration::from_secs(3_599)));
        assert!(!has_given_up_too_many(&stats, Duration::from_secs(3_600)));
    }
}
