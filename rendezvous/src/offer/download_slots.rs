//! Who downloads at the moment: few at once, of one network only a part of these, and who takes nothing makes room for
//! who comes. Otherwise one stranger with a few slow connections would keep everybody from fetching anything.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{address_prefixes::networks, limits::Limits};

/// Who has taken nothing for so long may be crowded out: 64 KiB are read at once, which is 52 kbit/s.
const STALLED: Duration = Duration::from_secs(10);

/// A wider network of IPv6 has so many times the slots of one address at the most: never all of them.
const MOST_TIMES: usize = 2;

/// The slots that there are.
#[derive(Debug)]
pub(super) struct DownloadSlots {
    most: usize,
    most_per_address: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By their numbers, the oldest first.
    holders: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    ip: IpAddr,
    /// When it took something last.
    moved: Instant,
    crowded_out: CancellationToken,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub(super) struct DownloadSlot {
    taken: Arc<Mutex<Taken>>,
    id: u64,
    crowded_out: CancellationToken,
}

impl DownloadSlots {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.downloads_at_once,
            most_per_address: limits.downloads_at_once_per_address,
            taken: Arc::default(),
        }
    }

    /// A slot for this address; none if all that it may have are taken by others who take what they are sent.
    pub(super) fn take(&self, now: Instant, ip: IpAddr) -> Option<DownloadSlot> {
        let mut taken = lock(&self.taken);
        for (network, times) in networks(ip) {
            let most = self.most_per_address * times.min(MOST_TIMES);
            let is_in = |holder: &Holder| networks(holder.ip).any(|(own, _)| own == network);
            taken.make_room(now, most, is_in)?;
        }
        taken.make_room(now, self.most, |_| true)?;
        let id = taken.next;
        taken.next += 1;
        let crowded_out = CancellationToken::new();
        let holder = Holder {
            ip,
            moved: now,
            crowded_out: crowded_out.clone(),
        };
        taken.holders.insert(id, holder);
        Some(DownloadSlot {
            taken: self.taken.clone(),
            id,
            crowded_out,
        })
    }
}

impl Taken {
    /// Sees to it that there are less than `most` of these, by letting the one go that has stalled for longest if need
    /// be; none if nobody has.
    fn make_room(&mut self, now: Instant, most: usize, of: impl Fn(&Holder) -> bool) -> Option<()> {
        let all = self.holders.iter().filter(|(_, holder)| of(holder));
        if all.clone().count() < most {
            return Some(());
        }
        let stalled = |holder: &Holder| now.saturating_duration_since(holder.moved) >= STALLED;
        let stalled = all.filter(|(_, holder)| stalled(holder));
        let id = *stalled.min_by_key(|(_, holder)| holder.moved)?.0;
        self.holders.remove(&id)?.crowded_out.cancel();
        Some(())
    }
}

impl DownloadSlot {
    /// Something has been taken.
    pub(super) fn moved(&self, now: Instant) {
        if let Some(holder) = lock(&self.taken).holders.get_mut(&self.id) {
            holder.moved = now;
        }
    }

    /// Resolves when the slot is somebody else's.
    pub(super) async fn crowded_out(&self) {
        self.crowded_out.cancelled().await;
    }
}

impl Drop for DownloadSlot {
    fn drop(&mut self) {
        lock(&self.taken).holders.remove(&self.id);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(most: usize, most_per_address: usize) -> DownloadSlots {
        DownloadSlots::new(&Limits {
            downloads_at_once: most,
            downloads_at_once_per_address: most_per_address,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_of_one_address_are_a_part_of_all_and_come_back() {
        let (slots, now) = (slots(8, 2), Instant::now());
        let mut held = Vec::from_iter((0..5).filter_map(|_| slots.take(now, ip("192.0.2.1"))));
        assert_eq!(held.len(), 2);
        assert!(slots.take(now, ip("192.0.2.2")).is_some());
        held.pop();
        assert!(slots.take(now, ip("192.0.2.1")).is_some());
        let wide = |n: usize| ip(&format!("2001:db8:1:{n:x}::1"));
        let of_wide = Vec::from_iter((0..9).filter_map(|n| slots.take(now, wide(n))));
        assert_eq!(of_wide.len(), 4);
    }

    #[test]
    fn place_of_the_one_that_takes_nothing_goes_to_who_comes() {
        let (slots, now) = (slots(3, 3), Instant::now());
        let held: Vec<DownloadSlot> = (1..4)
            .filter_map(|n| slots.take(now, ip(&format!("192.0.2.{n}"))))
            .collect();
        let later = now + STALLED;
        assert!(
            slots
                .take(later - Duration::from_millis(1), ip("192.0.2.9"))
                .is_none()
        );
        held[0].moved(later);
        let newcomer = slots.take(later, ip("192.0.2.9"));
        let gone: Vec<bool> = held.iter().map(|p| p.crowded_out.is_cancelled()).collect();
        assert!(newcomer.is_some());
        assert_eq!(gone, [false, true, false]);
        // What is left of it takes no slot from those who came.
        drop(held);
        assert_eq!(lock(&slots.taken).holders.len(), 1);
    }
}
