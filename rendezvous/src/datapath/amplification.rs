//! Keeps QUIC to three times what came, in bytes on the wire, wherever a peer's address is not proved.
//!
//! RFC 9000 section 8.1 counts the bytes of UDP's payload, and quinn finishes a datagram that it has begun: with the
//! headers of IP and UDP, and when nothing is answered, that was more than three times what came. Here each datagram
//! counts with its headers, and one that does not fit is dropped. To quinn it was lost on its way, and goes again when
//! the peer has said more.
//!
//! A connection may go on from another address (RFC 9000 section 9), which whoever has one can claim with a forged
//! source: quinn answers the first packet from there, of 50 bytes, with a challenge of 1,200, and counts anew at each
//! change. What a handshake has not proved is therefore held to three times what came from there, and to a few
//! datagrams more, without which a peer whose NAT has given it another port would have to dial again.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    limits::{Bucket, HashedBuckets, Limits, Rate},
    wire_cost::Load,
};

/// How many times as much as came may be sent.
const TIMES: usize = 3;

/// The shortest first datagram that quinn takes notice of, in bytes of payload (RFC 9000 section 14.1).
const FIRST: usize = 1_200;

/// So many of them a hello may fill, all of which may have come before the attempt begins.
const HELLO: usize = 4;

/// How long after its end an attempt or a connection may still be heard of, by what closes it.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Credits of addresses without an account, which share them by a keyed hash: a table of them would be the attacker's
/// to fill. Of two that fall together one may spend what the other has paid for, and nobody can choose which.
const CREDITS: usize = 65_536;

/// The most that may be saved up there, in bytes on the wire.
const MOST_CREDIT: usize = 64 * 1_024;

/// Buckets of what goes beyond.
const BUCKETS: usize = 4_096;

/// Which addresses are proved and what may go to the others, shared by whoever reads and whoever sends.
#[derive(Clone, Debug)]
pub(crate) struct Unproved {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    accounts: HashMap<SocketAddr, Account>,
    /// Above so many it is looked through for those that have ended.
    usual: usize,
    others: Others,
}

/// An address with attempts or connections.
#[derive(Debug, Default)]
struct Account {
    /// What came, in bytes on the wire.
    received: usize,
    sent: usize,
    /// Attempts from here, and connections that were made from here, that go on.
    held: usize,
    /// Whether it has been shown to receive, after which it may be sent anything.
    proved: bool,
    /// Until when it is kept once there are none.
    until: Option<Instant>,
}

/// The addresses that have no account.
#[derive(Debug)]
struct Others {
    /// What may yet be sent, in bytes on the wire.
    credits: Box<[usize]>,
    hasher: RandomState,
    beyond: HashedBuckets,
    beyond_in_all: Bucket,
    rate: Rate,
    rate_in_all: Rate,
}

/// An attempt, or the connection that has come of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    unproved: Unproved,
    remote: SocketAddr,
}

impl Unproved {
    pub(crate) fn new(limits: &Limits) -> Self {
        let table = Table {
            accounts: HashMap::new(),
            usual: limits.handshakes.max(1),
            others: Others {
                credits: vec![0; CREDITS].into(),
                hasher: RandomState::new(),
                beyond: HashedBuckets::new(BUCKETS),
                beyond_in_all: Bucket::default(),
                rate: limits.moved,
                rate_in_all: limits.moved_total,
            },
        };
        Self {
            table: Arc::new(Mutex::new(table)),
        }
    }

    /// An attempt has begun at an address, by datagrams that have been [`received`](Self::received) already.
    pub(crate) fn begin(&self, now: Instant, remote: SocketAddr) -> Attempt {
        let mut table = self.lock();
        if table.accounts.len() >= table.usual {
            table.accounts.retain(|_, account| account.is_kept(now));
            // So that a crowd is not looked through once for each that comes.
            table.usual = table.usual.max(table.accounts.len().saturating_mul(2));
        }
        let first = Load::one(FIRST).on_wire(remote);
        // What has come counts here, and no more there. What has counted at an account that there was, or has been
        // spent since, is not given anew: a first datagram that fails its decryption begins an attempt too, and would
        // earn twice. A peer whose credit another has spent says its hello again, which counts here.
        let credit = table.others.credit(remote);
        let came = (*credit / TIMES).min(first * HELLO);
        *credit = credit.saturating_sub(came * TIMES);
        let account = table.account(now, remote);
        account.received += came;
        account.held += 1;
        account.until = None;
        Attempt {
            unproved: self.clone(),
            remote,
        }
    }

    /// A datagram of so many bytes has come.
    pub(crate) fn received(&self, now: Instant, remote: SocketAddr, bytes: usize) {
        let mut table = self.lock();
        let cost = Load::one(bytes).on_wire(remote);
        match table.accounts.get_mut(&remote) {
            Some(account) if account.is_kept(now) => account.received += cost,
            _ => {
                let credit = table.others.credit(remote);
                *credit = (*credit + cost * TIMES).min(MOST_CREDIT);
            }
        }
    }

    /// Whether a datagram of so many bytes may be sent.
    pub(crate) fn may_send(&self, now: Instant, remote: SocketAddr, bytes: usize) -> bool {
        let mut table = self.lock();
        let cost = Load::one(bytes).on_wire(remote);
        match table.accounts.get_mut(&remote) {
            Some(account) if account.is_kept(now) => account.spend(cost),
            _ => table.others.spend(now, remote, cost),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The account of an address, a new one if the one before has ended.
    fn account(&mut self, now: Instant, remote: SocketAddr) -> &mut Account {
        let account = self.accounts.entry(remote).or_default();
        if !account.is_kept(now) {
            *account = Account::default();
        }
        account
    }
}

impl Account {
    fn is_kept(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether so many bytes more may go there; then they have gone.
    fn spend(&mut self, cost: usize) -> bool {
        if self.proved {
            return true;
        }
        let sent = self.sent + cost;
        let fits = sent <= self.received * TIMES;
        if fits {
            self.sent = sent;
        }
        fits
    }
}

impl Others {
    fn credit(&mut self, remote: SocketAddr) -> &mut usize {
        let hash = self.hasher.hash_one(remote);
        // The remainder is below the length, which is a usize.
        let index = (hash % self.credits.len() as u64) as usize;
        &mut self.credits[index]
    }

    /// Whether a datagram that costs so much may go there; then it has gone.
    fn spend(&mut self, now: Instant, remote: SocketAddr, cost: usize) -> bool {
        let credit = self.credit(remote);
        if let Some(rest) = credit.checked_sub(cost) {
            *credit = rest;
            return true;
        }
        self.beyond.take(remote.ip(), self.rate, now).is_ok()
            && self.beyond_in_all.take(self.rate_in_all, now, 1).is_ok()
    }
}

impl Attempt {
    /// The peer has shown that it receives at this address, which may be sent anything until this is dropped.
    pub(crate) fn prove(&self) {
        if let Some(account) = self.unproved.lock().accounts.get_mut(&self.remote) {
            account.proved = true;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(account) = self.unproved.lock().accounts.get_mut(&self.remote) {
            account.held = account.held.saturating_sub(1);
            if account.held == 0 {
                account.until = Some(Instant::now() + LAST_WORDS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: &str = "192.0.2.1:1000";

    /// With so many datagrams beyond what was paid for, for an address and in all.
    fn unproved(beyond: u32, in_all: u32) -> (Unproved, SocketAddr) {
        let limits = Limits {
            moved: rate(beyond),
            moved_total: rate(in_all),
            ..Limits::default()
        };
        (Unproved::new(&limits), FORGED.parse().unwrap())
    }

    fn rate(burst: u32) -> Rate {
        Rate {
            burst,
            per_minute: 1,
        }
    }

    /// Bytes on the wire that get through, of datagrams of so many bytes.
    fn sent(unproved: &Unproved, now: Instant, remote: SocketAddr, bytes: usize) -> usize {
        let all = (0..1_000).filter(|_| unproved.may_send(now, remote, bytes));
        all.count() * Load::one(bytes).on_wire(remote)
    }

    /// An attempt, and the datagram by which it begins.
    fn begin(unproved: &Unproved, remote: SocketAddr) -> Attempt {
        let now = Instant::now();
        unproved.received(now, remote, FIRST);
        unproved.begin(now, remote)
    }

    #[test]
    fn the_datagram_by_which_an_attempt_begins_counts_once_whatever_has_ended_or_been_sent_before()
    {
        let (unproved, remote) = unproved(1, 1);
        let now = Instant::now();
        // Those that fail their decryption end at once.
        for _ in 0..10 {
            drop(begin(&unproved, remote));
        }
        let _attempt = begin(&unproved, remote);
        assert_eq!(sent(&unproved, now, remote, 1_200), 3 * 11 * 1_228);
        // What a connection that claims to be there draws before the attempt is taken up.
        let other = "192.0.2.2:1000".parse().unwrap();
        unproved.received(now, other, FIRST);
        let before = sent(&unproved, now, other, 1_200);
        let _attempt = unproved.begin(now, other);
        let behind = sent(&unproved, now, other, 1_200);
        // One of them beyond what came.
        assert_eq!([before, behind], [(3 + 1) * 1_228, 0]);
    }

    #[test]
    fn an_address_that_is_not_proved_is_sent_three_times_what_came_with_the_headers() {
        let now = Instant::now();
        for bytes in [1, 30, 700, 1_200, 1_400] {
            let (unproved, remote) = unproved(1, 1);
            unproved.received(now, remote, FIRST);
            let _attempt = unproved.begin(now, remote);
            let most = 3 * (1_200 + 28);
            let first = sent(&unproved, now, remote, bytes);
            assert!(first <= most && first + bytes + 28 > most);
            unproved.received(now, remote, 100);
            assert!(first + sent(&unproved, now, remote, bytes) <= most + 3 * 128);
        }
    }

    #[test]
    fn an_address_that_is_proved_is_sent_anything_while_its_connection_lasts() {
        let (unproved, remote) = unproved(1, 1);
        let now = Instant::now();
        let (one, other) = (begin(&unproved, remote), begin(&unproved, remote));
        assert_eq!(sent(&unproved, now, remote, 1_200), 6 * 1_228);
        one.prove();
        assert_eq!(sent(&unproved, now, remote, 1_200), 1_000 * 1_228);
        drop((one, other));
        assert_eq!(sent(&unproved, now, remote, 1_200), 1_000 * 1_228);
        let late = Instant::now() + LAST_WORDS;
        assert_eq!(sent(&unproved, late, remote, 1_200), 1_228);
    }

    #[test]
    fn an_address_that_a_connection_claims_is_sent_three_times_what_came_and_few_datagrams_more() {
        let (unproved, remote) = unproved(2, 3);
        let now = Instant::now();
        // What a peer says when it comes from another port.
        unproved.received(now, remote, 29);
        assert_eq!(sent(&unproved, now, remote, 1_200), 2 * 1_228);
        for _ in 0..100 {
            unproved.received(now, remote, 29);
        }
        assert_eq!(sent(&unproved, now, remote, 1_200), 14 * 1_228);
        let other = "198.51.100.1:1000".parse().unwrap();
        assert_eq!(sent(&unproved, now, other, 1_200), 1_228);
    }

    #[test]
    fn no_more_is_saved_up_than_a_few_datagrams() {
        let (unproved, remote) = unproved(1, 1);
        let now = Instant::now();
        for _ in 0..10_000 {
            unproved.received(now, remote, 1_200);
        }
        assert!(sent(&unproved, now, remote, 1_200) <= MOST_CREDIT + 1_228);
    }

    #[test]
    fn an_attempt_that_has_ended_is_held_to_its_account_for_its_last_words_and_forgotten() {
        let (unproved, remote) = unproved(1, 1);
        drop(begin(&unproved, remote));
        sent(&unproved, Instant::now(), remote, 1_200);
        assert!(!unproved.may_send(Instant::now(), remote, 1_200));
        unproved.lock().usual = 1;
        let late = Instant::now() + LAST_WORDS;
        let other = "192.0.2.2:1000".parse().unwrap();
        let _attempt = unproved.begin(late, other);
        assert_eq!(unproved.lock().accounts.len(), 1);
    }
}
