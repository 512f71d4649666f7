//! What the rendezvous has done since it began, in numbers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::health::Heartbeats;

/// How often they are written into the log.
const LOG_EVERY: Duration = Duration::from_secs(60);

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The numbers as they are counted: one relaxed addition a batch, no lock.
        #[derive(Debug, Default)]
        pub(crate) struct Tallies {
            $(pub(crate) $name: Tally,)*
            /// When its parts were last seen alive.
            pub(crate) heartbeats: Heartbeats,
        }

        /// The numbers at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Tallies {
            /// All numbers at this moment; those that grow meanwhile may differ by what came between.
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.read(),)* }
            }
        }
    };
}

counters! {
    /// Control connections that were made.
    connections,
    /// Control connections that were refused for a limit.
    connections_refused,
    /// Those of the control connections that came over TCP.
    tcp_connections,
    /// Connections over TCP that came to nothing: no TLS, another protocol, too slow, or a leg that was refused.
    tcp_failed,
    /// Requests that a reverse proxy passed on without saying for whom.
    web_unnamed,
    /// Connections over TCP that the system could not hand over, for want of file descriptors say.
    tcp_not_accepted,
    /// Connections over TCP that asked for something of the offer.
    downloads,
    /// Peers that are connected and have said hello; goes up and down.
    peers,
    /// Sessions; goes up and down.
    sessions,
    /// Bound legs of the relay; goes up and down.
    legs,
    /// Those of them that are over TCP; goes up and down.
    tcp_legs,
    /// Sessions of other nodes that are relayed here; goes up and down.
    guests,
    /// STUN requests that were answered.
    stun_answered,
    /// Those of them at ports that answer STUN alone.
    stun_alternative,
    /// Datagrams that the relay passed on.
    relayed,
    /// The payload of those datagrams, in bytes.
    relayed_bytes,
    /// Datagrams that were dropped because their leg, its key or the host had sent as much as they may.
    policed,
    /// Datagrams that were dropped: not understood, not allowed, or for want of room.
    dropped,
}

/// Writes the numbers into the log now and then, while they change.
pub(crate) async fn log(tallies: Arc<Tallies>) {
    let mut last = tallies.snapshot();
    loop {
        tokio::time::sleep(LOG_EVERY).await;
        let now = tallies.snapshot();
        if now != last {
            tracing::info!(counters = ?now, "so far");
            last = now;
        }
    }
}

/// One number, which only grows.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number with this added.
    pub(crate) fn add_and_read(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed) + count
    }

    pub(crate) fn set(&self, count: usize) {
        self.0.store(count as u64, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
