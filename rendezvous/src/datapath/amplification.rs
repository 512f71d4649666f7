//! Keeps QUIC's handshakes to three times what came, in bytes on the wire, while a peer's address is not proved.
//!
//! RFC 9000 section 8.1 counts the bytes of UDP's payload, and quinn finishes a datagram that it has begun: with the
//! headers of IP and UDP, and when nothing is answered, that was more than three times what came. Here each datagram
//! counts with its headers, and one that does not fit is dropped. To quinn it was lost on its way, and goes again when
//! the peer has said more.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{limits::Limits, wire_cost::Load};

/// How many times as much as came may be sent.
const TIMES: usize = 3;

/// The shortest first datagram that quinn takes notice of, in bytes of payload (RFC 9000 section 14.1).
const FIRST: usize = 1_200;

/// How long after its end an attempt may still be heard of, by what closes it.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The addresses with attempts that have not proved them, shared by whoever reads and whoever sends.
#[derive(Clone, Debug)]
pub(crate) struct Unproved {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    accounts: HashMap<SocketAddr, Account>,
    /// Above so many it is looked through for those that have ended.
    usual: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// What came, in bytes on the wire.
    received: usize,
    sent: usize,
    /// Attempts of this source that go on.
    attempts: usize,
    /// Until when it is kept once there are none.
    until: Option<Instant>,
}

/// An attempt, until it is dropped.
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
        };
        Self {
            table: Arc::new(Mutex::new(table)),
        }
    }

    /// An attempt has begun at an address that is not proved, with one datagram at least.
    pub(crate) fn begin(&self, now: Instant, remote: SocketAddr) -> Attempt {
        let mut table = self.lock();
        if table.accounts.len() >= table.usual {
            let kept = |account: &Account| account.until.is_none_or(|until| now < until);
            table.accounts.retain(|_, account| kept(account));
            // So that a crowd is not looked through once for each that comes.
            table.usual = table.usual.max(table.accounts.len().saturating_mul(2));
        }
        let account = table.accounts.entry(remote).or_default();
        account.received += Load::one(FIRST).on_wire(remote);
        account.attempts += 1;
        account.until = None;
        Attempt {
            unproved: self.clone(),
            remote,
        }
    }

    /// A datagram of so many bytes has come.
    pub(crate) fn received(&self, remote: SocketAddr, bytes: usize) {
        if let Some(account) = self.lock().accounts.get_mut(&remote) {
            account.received += Load::one(bytes).on_wire(remote);
        }
    }

    /// Whether a datagram of so many bytes may be sent.
    pub(crate) fn may_send(&self, remote: SocketAddr, bytes: usize) -> bool {
        let mut table = self.lock();
        let Some(account) = table.accounts.get_mut(&remote) else {
            return true;
        };
        let sent = account.sent + Load::one(bytes).on_wire(remote);
        let fits = sent <= account.received * TIMES;
        if fits {
            account.sent = sent;
        }
        fits
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The peer has shown that it receives at this address.
    pub(crate) fn prove(self) {
        self.unproved.lock().accounts.remove(&self.remote);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(account) = self.unproved.lock().accounts.get_mut(&self.remote) {
            account.attempts = account.attempts.saturating_sub(1);
            if account.attempts == 0 {
                account.until = Some(Instant::now() + LAST_WORDS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: &str = "192.0.2.1:1000";

    fn unproved() -> (Unproved, SocketAddr) {
        (Unproved::new(&Limits::default()), FORGED.parse().unwrap())
    }

    /// Bytes on the wire that get through, of datagrams of so many bytes.
    fn sent(unproved: &Unproved, remote: SocketAddr, bytes: usize) -> usize {
        let all = (0..1_000).filter(|_| unproved.may_send(remote, bytes));
        all.count() * Load::one(bytes).on_wire(remote)
    }

    #[test]
    fn an_address_that_is_not_proved_is_sent_three_times_what_came_with_the_headers() {
        for bytes in [1, 30, 700, 1_200, 1_400] {
            let (unproved, remote) = unproved();
            let _attempt = unproved.begin(Instant::now(), remote);
            let most = 3 * (1_200 + 28);
            let first = sent(&unproved, remote, bytes);
            assert!(first <= most && first + bytes + 28 > most);
            unproved.received(remote, 100);
            assert!(first + sent(&unproved, remote, bytes) <= most + 3 * 128);
        }
    }

    #[test]
    fn an_address_that_is_proved_or_made_no_attempt_is_sent_anything() {
        let (unproved, remote) = unproved();
        assert_eq!(sent(&unproved, remote, 1_200), 1_000 * 1_228);
        let now = Instant::now();
        let (one, _other) = (unproved.begin(now, remote), unproved.begin(now, remote));
        assert_eq!(sent(&unproved, remote, 1_200), 6 * 1_228);
        one.prove();
        assert_eq!(sent(&unproved, remote, 1_200), 1_000 * 1_228);
    }

    #[test]
    fn an_attempt_that_has_ended_is_held_to_its_account_for_its_last_words_and_forgotten() {
        let (unproved, remote) = unproved();
        drop(unproved.begin(Instant::now(), remote));
        sent(&unproved, remote, 1_200);
        assert!(!unproved.may_send(remote, 1_200));
        unproved.lock().usual = 1;
        let late = Instant::now() + LAST_WORDS;
        let other = "192.0.2.2:1000".parse().unwrap();
        let _attempt = unproved.begin(late, other);
        assert_eq!(unproved.lock().accounts.len(), 1);
    }
}
