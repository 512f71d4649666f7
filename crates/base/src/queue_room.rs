//! How many bytes may wait in a queue.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The room of a queue whose bytes are bounded rather than its items; shared by those who put in and who take out.
///
/// It counts alone: what waits stands in a channel beside it.
#[derive(Debug)]
pub struct Room {
    waiting: AtomicUsize,
    most: usize,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(most: usize) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            most,
        }
    }

    /// Takes room for something of this length, before it is put in; `false` if there is not enough. An empty queue
    /// takes anything: what is longer than all of it would never get through otherwise.
    #[must_use]
    pub fn take(&self, length: usize) -> bool {
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        let fits = waiting == 0 || waiting.saturating_add(length) <= self.most;
        if !fits {
            self.give_back(length);
        }
        fits
    }

    /// Gives room back, once something of this length was taken out, or could not be put in.
    pub fn give_back(&self, length: usize) {
        self.waiting.fetch_sub(length, Ordering::Relaxed);
    }

    /// How many bytes wait at the moment. Others put in and take out meanwhile, so it decides nothing.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_is_taken_comes_back_when_it_is_given_back() {
        let room = Room::new(10);
        assert!(room.take(7));
        assert!(!room.take(4));
        assert!(room.take(3));
        room.give_back(7);
        assert_eq!(room.waiting(), 3);
        assert!(room.take(7));
    }

    #[test]
    fn room_of_an_empty_queue_takes_what_is_longer_than_all_of_it() {
        let room = Room::new(10);
        assert!(room.take(100));
        assert!(!room.take(1));
        room.give_back(100);
        assert!(room.take(1));
    }
}
