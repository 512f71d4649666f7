//! What may wait on the account of one key for peers that do not read, wherever it waits.
//!
//! Each queue has a bound of its own, and a key may have thousands: here is what all of one key come to. The first
//! bytes of each queue do not count, so that a member that fills its key's room takes nothing from another of the same
//! key that keeps its queue short.

use std::{collections::HashMap, sync::Arc};

use p2pdbg_base::Room;

use crate::keys::KeyId;

/// The rooms of the keys of which something waits, or has lately.
#[derive(Debug)]
pub(crate) struct KeyRooms {
    most: usize,
    rooms: HashMap<KeyId, Arc<Room>>,
}

impl KeyRooms {
    /// With so many bytes for each key.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            rooms: HashMap::new(),
        }
    }

    /// The room of a key.
    pub(crate) fn of(&mut self, key: KeyId) -> Arc<Room> {
        let most = self.most;
        let room = self.rooms.entry(key);
        room.or_insert_with(|| Arc::new(Room::new(most))).clone()
    }

    /// Forgets those that nobody has. To be called now and then.
    pub(crate) fn forget_unused(&mut self) {
        self.rooms.retain(|_, room| Arc::strong_count(room) > 1);
    }
}

/// The room of one queue on the account of a key.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    own: Arc<Room>,
    of_key: Arc<Room>,
    /// So many bytes may wait in the queue whatever else waits of the key.
    free: usize,
}

impl Account {
    /// Of a queue of this room, of which so many bytes are `free`.
    pub(crate) fn new(own: Arc<Room>, of_key: Arc<Room>, free: usize) -> Self {
        Self { own, of_key, free }
    }

    /// Takes room for something of this length; `None` if there is none, in the queue or of the key.
    pub(crate) fn take(&self, length: usize) -> Option<Taken> {
        // Others only give back meanwhile: what is put into a queue comes from one task at a time.
        let counts = self.own.waiting().saturating_add(length) > self.free;
        let mut taken = Taken::of(&self.own, length)?;
        if counts {
            taken.rooms[1] = Taken::of(&self.of_key, length)?.rooms[0].take();
        }
        Some(taken)
    }
}

/// Room that was taken for something that waits; dropped with it, it is given back.
#[derive(Debug)]
pub(crate) struct Taken {
    rooms: [Option<Arc<Room>>; 2],
    length: usize,
}

impl Taken {
    /// Takes room in one place alone.
    pub(crate) fn of(room: &Arc<Room>, length: usize) -> Option<Self> {
        room.take(length).then(|| Self {
            rooms: [Some(room.clone()), None],
            length,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for room in self.rooms.iter().flatten() {
            room.give_back(self.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId::NOBODY;

    #[test]
    fn queues_of_one_key_share_its_room_beyond_what_is_free_to_each() {
        let mut rooms = KeyRooms::new(100);
        let mut queue = || Account::new(Arc::new(Room::new(80)), rooms.of(KEY), 10);
        let [one, other, third] = [queue(), queue(), queue()];
        let held = one.take(80);
        assert!(held.is_some() && one.take(1).is_none());
        // What is refused has taken nothing.
        assert!(other.take(30).is_none());
        let more = (other.take(10), other.take(20));
        assert!(more.0.is_some() && more.1.is_some());
        assert!(third.take(20).is_none() && third.take(10).is_some());
        drop((held, more));
        assert!([&one, &other, &third].iter().all(|a| a.own.waiting() == 0));
        assert_eq!(one.of_key.waiting(), 0);
    }

    #[test]
    fn rooms_that_nobody_has_are_forgotten() {
        let mut rooms = KeyRooms::new(100);
        let room = rooms.of(KEY);
        rooms.forget_unused();
        assert!(Arc::ptr_eq(&room, &rooms.of(KEY)));
        drop(room);
        rooms.forget_unused();
        assert!(rooms.rooms.is_empty());
    }
}
