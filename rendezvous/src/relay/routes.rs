//! Where the datagrams of bound legs go, for all workers at once: what the datapath reads for each datagram.
//!
//! [`super::Relay`] decides and is the only writer ([`super::Relay::publish`]). Here is only what needs no decision:
//! a proved source over UDP whose session's other leg is proved and over UDP too. Whatever is not found here is for the
//! relay to judge. Reading takes one shard's lock for reading, which a writer holds for one insertion or removal.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    relay::io::{Source, UdpRoute},
    relay_allowance::LegMeter,
};

/// Over so many locks the sources are spread: many more than there are workers.
const SHARDS: usize = 256;

/// When a leg was heard of last, in microseconds since the relay began. Written by whichever worker has its flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<AtomicU64>);

impl Heard {
    pub(crate) fn at(micros: u64) -> Self {
        Self(Arc::new(AtomicU64::new(micros)))
    }

    pub(crate) fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a source's datagrams go. What else is counted or limited for each leg belongs here, as atomics.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// The member that is bound to the other leg.
    pub(crate) to: UdpRoute,
    pub(crate) heard: Heard,
    /// Says whether this leg may send.
    pub(crate) meter: Arc<LegMeter>,
}

/// What is to be done with datagrams of a source that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Send them there as they are.
    To(UdpRoute),
    /// Drop them: the leg has sent as much as it may.
    TooMuch,
}

/// One lock, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(RwLock<HashMap<Source, Path>>);

#[derive(Debug)]
pub(crate) struct Routes {
    began: Instant,
    shards: Box<[Shard]>,
}

impl Routes {
    /// An empty one, whose clock began then.
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }

    /// Where so many bytes of this source go, if that needs nothing of the relay.
    pub(crate) fn find(&self, now: Instant, source: &Source, bytes: usize) -> Option<Found> {
        let shard = self.shard(source).0.read();
        let shard = shard.unwrap_or_else(PoisonError::into_inner);
        let path = shard.get(source)?;
        path.heard.set(micros_since(self.began, now));
        let now_ns = now.saturating_duration_since(self.began).as_nanos();
        let now_ns = u64::try_from(now_ns).unwrap_or(u64::MAX);
        Some(if path.meter.admits(now_ns, bytes) {
            Found::To(path.to)
        } else {
            Found::TooMuch
        })
    }

    /// Sets or removes a source's path.
    pub(crate) fn set(&self, source: Source, path: Option<Path>) {
        let shard = self.shard(&source).0.write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        match path {
            Some(path) => shard.insert(source, path),
            None => shard.remove(&source),
        };
    }

    fn shard(&self, source: &Source) -> &Shard {
        // A source that chooses its shard gains nothing but the company of others.
        let address = match source.remote {
            SocketAddr::V4(remote) => u32::from(*remote.ip()),
            SocketAddr::V6(remote) => {
                let [.., a, b, c, d] = remote.ip().octets();
                u32::from_be_bytes([a, b, c, d])
            }
        };
        let mixed = (address ^ u32::from(source.remote.port())).wrapping_mul(0x9e37_79b1);
        &self.shards[(mixed >> 24) as usize % SHARDS]
    }
}

/// Microseconds from then to now.
pub(crate) fn micros_since(began: Instant, now: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(began).as_micros();
    u64::try_from(elapsed).unwrap_or(u64::MAX)
}
