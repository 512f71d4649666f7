//! Datagrams for a leg that is not bound yet.
//!
//! Both members of a session bind their legs at the same time, and one is a little earlier than the other. What it
//! sends right behind its proof is kept here for a moment, rather than lost and repeated by QUIC a third of a second
//! later: the first packets of a handshake, and no more. Only a member who has begun to bind its own leg gets something
//! kept.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use p2pdbg_proto::rendezvous::{Role, SessionId};

use crate::{keys::KeyId, relay::outbox::Batch};

/// How long datagrams are kept: a round trip of the slower member.
const KEPT: Duration = Duration::from_millis(500);

/// Bytes that are kept for one leg: what QUIC sends before it hears anything.
const LEG: usize = 4 * 1_500;

/// Bytes that are kept for all. What is sent on the account of one key has half of what the others leave of them.
const ALL: usize = 1 << 20;

/// A member of a session.
type Member = (SessionId, Role);

/// What is kept for whom.
#[derive(Debug, Default)]
pub(crate) struct Held {
    parcels: HashMap<Member, Parcel>,
    bytes: usize,
    by_key: HashMap<KeyId, usize>,
}

#[derive(Debug)]
struct Parcel {
    /// On whose account it was sent.
    key: KeyId,
    since: Instant,
    bytes: usize,
    batches: Vec<Batch>,
}

impl Held {
    /// Keeps datagrams for a member that were sent on the account of this key, each `stride` long but for the last;
    /// whether there was room.
    pub(crate) fn keep(
        &mut self,
        now: Instant,
        (to, key): (Member, KeyId),
        bytes: &[u8],
        stride: usize,
    ) -> bool {
        if !self.has_room(key, bytes.len()) {
            self.expire(now);
        }
        let parcel = self.parcels.get(&to);
        let kept = parcel.map_or(0, |parcel| parcel.bytes);
        if kept + bytes.len() > LEG || !self.has_room(key, bytes.len()) {
            return false;
        }
        self.bytes += bytes.len();
        // Those of one member are all sent by the same other.
        let key = parcel.map_or(key, |parcel| parcel.key);
        *self.by_key.entry(key).or_default() += bytes.len();
        let parcel = self.parcels.entry(to).or_insert(Parcel {
            key,
            since: now,
            bytes: 0,
            batches: Vec::new(),
        });
        parcel.bytes += bytes.len();
        let bytes = Bytes::copy_from_slice(bytes);
        parcel.batches.push(Batch { bytes, stride });
        true
    }

    /// What was kept for a member that has just bound its leg.
    pub(crate) fn take(&mut self, now: Instant, to: Member) -> Vec<Batch> {
        let Some(parcel) = self.parcels.remove(&to) else {
            return Vec::new();
        };
        self.forget(&parcel);
        if is_old(now, &parcel) {
            return Vec::new();
        }
        parcel.batches
    }

    /// Drops what has been kept for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let old = self.parcels.extract_if(|_, parcel| is_old(now, parcel));
        for (_, parcel) in Vec::from_iter(old) {
            self.forget(&parcel);
        }
    }

    fn has_room(&self, key: KeyId, length: usize) -> bool {
        let own = self.by_key.get(&key).copied().unwrap_or_default();
        let left = ALL.saturating_sub(self.bytes - own);
        own + length <= left / 2
    }

    fn forget(&mut self, parcel: &Parcel) {
        self.bytes -= parcel.bytes;
        if let Some(own) = self.by_key.get_mut(&parcel.key) {
            *own -= parcel.bytes;
            if *own == 0 {
                self.by_key.remove(&parcel.key);
            }
        }
    }
}

fn is_old(now: Instant, parcel: &Parcel) -> bool {
    now.saturating_duration_since(parcel.since) > KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId::NOBODY;
    const TO: Member = (SessionId([1; 16]), Role::Connector);

    #[test]
    fn what_is_kept_comes_out_once_and_in_order() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert!(held.keep(now, (TO, KEY), &[1; 2_400], 1_200));
        assert!(held.keep(now, (TO, KEY), &[2; 100], 100));
        let out = held.take(now + KEPT, TO);
        assert_eq!(out.iter().map(Batch::count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(held.take(now, TO), []);
        assert_eq!(held.bytes, 0);
    }

    #[test]
    fn nothing_is_kept_for_long() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert!(held.keep(now, (TO, KEY), &[1; 100], 100));
        let late = now + KEPT + Duration::from_millis(1);
        assert_eq!(held.take(late, TO), []);
        assert!(held.keep(now, (TO, KEY), &[1; 100], 100));
        held.expire(late);
        assert_eq!((held.parcels.len(), held.bytes), (0, 0));
    }

    #[test]
    fn a_leg_gets_little_and_all_together_not_much() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert!(held.keep(now, (TO, KEY), &[1; LEG], 1_200));
        assert!(!held.keep(now, (TO, KEY), &[1], 1));
        for n in 0..ALL / LEG + 2 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(n as u64 + 1_000).to_be_bytes());
            let key = KeyId([n as u8; 8]);
            held.keep(
                now,
                ((SessionId(id), Role::Listener), key),
                &[0; LEG],
                1_200,
            );
        }
        assert!(held.bytes > ALL * 3 / 4 && held.bytes <= ALL);
        // Room comes back by itself.
        let late = now + KEPT + Duration::from_millis(1);
        assert!(held.keep(late, (TO, KEY), &[1; LEG], 1_200));
    }

    #[test]
    fn one_key_leaves_room_to_the_others() {
        let (mut held, now) = (Held::default(), Instant::now());
        let member = |n: usize| (SessionId([n as u8; 16]), Role::Listener);
        let greedy = |n: usize| (member(n), KeyId([1; 8]));
        let kept = (0..200).filter(|n| held.keep(now, greedy(*n), &[0; LEG], 1_200));
        assert_eq!(kept.count(), ALL / 2 / LEG);
        assert!(held.keep(now, (member(201), KeyId([2; 8])), &[0; LEG], 1_200));
    }
}
