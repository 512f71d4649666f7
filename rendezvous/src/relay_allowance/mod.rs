//! Who may send how much through the relay: a token bucket for each leg and each key, shares of what the host has, and
//! the bytes of a month. No sockets, no clock.
//!
//! Three bounds, of which none refuses a session:
//!
//! - *A key's bandwidth* is a bucket that all its legs draw from, and they get fair shares of it.
//! - *The host's ceiling* is shared among the keys that want something: while they want less together, nobody is held;
//!   else each gets the same, and whoever wants less loses nothing. A key's part is shared among its legs by the same
//!   rule, so that a hundred sessions of one key take nothing from the one session of another.
//! - *A key's bytes of a month*, once used up, slow the legs that are opened from then on, until the key has some
//!   again. Those that run go on.
//!
//! [`Book`] is the owner's side, for one task: [`Book::open`] for each session, [`Book::settle`] about four times a
//! second. [`LegMeter`] is the other side, asked once a batch from whichever thread forwards it. A leg that nobody
//! holds a meter of any more has ended; the book finds out by itself.

mod atomic_bucket;
mod meter;
mod month_allowance;
mod share;
mod turn_of_month;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

pub(crate) use self::meter::LegMeter;
use self::{atomic_bucket::UNBOUNDED, meter::KeyMeter, share::Shares, turn_of_month::Months};
use crate::{
    keys::{KeyId, KeyRing, MBIT, OfMonth},
    leases::{Account, Kind, Parts, part},
    month::Month,
    ticket_codec::Terms,
};

/// Bytes in the unit in which those of a month are given.
const GIB: u64 = 1 << 30;

/// What a leg gets that was opened after its key had used up the month: enough to step and to look at variables.
const SLOW: u64 = MBIT;

/// So many keys have accounts before one is forgotten of which only a ticket has told.
const MOST_GUEST_KEYS: usize = 10_000;

/// What a key has relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes relayed in this calendar month (UTC).
    pub(crate) month_bytes: u64,
    /// Bytes a second, over the last seconds.
    pub(crate) rate: u64,
}

/// Something that the operator should know once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A key has used four fifths of the month's bytes.
    Nearly(KeyId),
    /// A key has used all of them.
    UsedUp(KeyId),
}

#[derive(Debug)]
struct KeyAccount {
    meter: Arc<KeyMeter>,
    rate: u64,
    month_most: Option<u64>,
    usage: Usage,
    noticed: Option<Notice>,
    /// Whether this host does not know the key, and only a ticket has told of it.
    is_guest: bool,
    /// What it may relay a second, at all nodes that share its limits.
    rate_of_all: u64,
    /// What it has relayed this month at other nodes, and what it had here when they said so.
    elsewhere: u64,
    here_then: u64,
}

#[derive(Debug)]
struct Leg {
    key: KeyId,
    meter: Weak<LegMeter>,
    /// Bytes a second that it would send, smoothed.
    wants: u64,
}

/// The books of the relay.
#[derive(Debug)]
pub(crate) struct Book {
    host: u64,
    accounts: HashMap<KeyId, KeyAccount>,
    legs: Vec<Leg>,
    months: Months,
    settled: Instant,
    notices: Vec<Notice>,
    /// How many nodes share the keys' limits, and what this one may give away, if it is one of several.
    nodes: Option<usize>,
    parts: Option<Parts>,
}

impl Book {
    /// Books for a host that relays so many megabits a second, or whatever it can.
    pub(crate) fn new(now: Instant, unix_s: u64, host_mbit: Option<u64>) -> Self {
        Self {
            host: rate(host_mbit),
            accounts: HashMap::new(),
            legs: Vec::new(),
            months: Months::new(Month::of(unix_s)),
            settled: now,
            notices: Vec::new(),
            nodes: None,
            parts: None,
        }
    }

    /// Shares the keys' limits with other nodes, of which there are so many with this one.
    #[cfg_attr(
        not(feature = "cluster"),
        allow(dead_code, reason = "there is no store without the feature")
    )]
    pub(crate) fn share_with(&mut self, nodes: usize) {
        self.nodes = Some(nodes);
        self.take_parts(self.settled);
    }

    /// What this node may give away from now on, and what the others have relayed.
    pub(crate) fn on_parts(&mut self, now: Instant, parts: Parts) {
        // Right after the turn of a month the others' bytes are those of the one before yet.
        let is_of_this_month = parts.month == self.months.current().number();
        let elsewhere = |key| {
            let bytes = parts.relayed_elsewhere.get(key);
            bytes.copied().filter(|_| is_of_this_month)
        };
        for (key, account) in &mut self.accounts {
            account.elsewhere = elsewhere(key).unwrap_or_default();
            account.here_then = account.usage.month_bytes;
        }
        self.parts = Some(parts);
        self.take_parts(now);
    }

    /// What each key would relay here, in bytes a second.
    pub(crate) fn wants(&self) -> HashMap<KeyId, u64> {
        let mut wants: HashMap<KeyId, u64> = HashMap::new();
        for leg in &self.legs {
            let sum = wants.entry(leg.key).or_default();
            *sum = sum.saturating_add(leg.wants);
        }
        wants
    }

    /// Gives each key its part of what all nodes may relay of it.
    fn take_parts(&mut self, now: Instant) {
        for (key, account) in &mut self.accounts {
            if account.is_guest {
                continue;
            }
            let of_all = account.rate_of_all;
            account.rate = match self.nodes {
                Some(nodes) if of_all != UNBOUNDED => {
                    let kind = Kind::Relay;
                    let asked = Account { key: *key, kind };
                    part(self.parts.as_ref(), now, asked, of_all, nodes)
                }
                _ => of_all,
            };
            account.meter.set_rate(account.rate);
        }
    }

    /// Takes over what was used before this process, the month first in which that ended. To be called once the keys
    /// are set: what is none of them was a guest's, whose limits the next ticket brings.
    pub(crate) fn restore(&mut self, months: Vec<OfMonth>) {
        let counts = self.months.restore(months);
        self.go_on_with(counts);
    }

    fn go_on_with(&mut self, counts: Vec<(KeyId, u64)>) {
        for account in self.accounts.values_mut() {
            account.usage.month_bytes = 0;
            account.noticed = None;
            (account.elsewhere, account.here_then) = (0, 0);
        }
        for (key, bytes) in counts {
            let is_guest = !self.accounts.contains_key(&key);
            let account = self.account(key);
            account.is_guest |= is_guest;
            account.usage.month_bytes = bytes;
        }
    }

    /// Other keys, or other limits of them. Legs of keys that are no more send nothing from now on.
    pub(crate) fn set_keys(&mut self, keys: &KeyRing, unix_s: u64) {
        for key in keys.ids() {
            let limits = keys.limits(key);
            let account = self.account(key);
            account.rate_of_all = rate(limits.relay_mbit);
            account.month_most = month(limits.relay_gib_month);
            account.is_guest = false;
        }
        self.take_parts(self.settled);
        self.accounts
            .retain(|key, account| account.is_guest || keys.is_live(*key, unix_s));
        for leg in &self.legs {
            if !self.accounts.contains_key(&leg.key)
                && let Some(meter) = leg.meter.upgrade()
            {
                meter.set_share(0);
            }
        }
        self.free_legs();
    }

    /// Meters for a session's legs, of which each sends on the account of its key.
    pub(crate) fn open(&mut self, keys: [KeyId; 2]) -> [Arc<LegMeter>; 2] {
        keys.map(|key| {
            self.account(key);
            let used_up = self.accounts.get(&key).is_some_and(|a| self.is_used_up(a));
            self.meter(key, if used_up { SLOW } else { UNBOUNDED })
        })
    }

    /// Meters for the legs of a session of another node, by its ticket. A key that this host knows has the limits that
    /// this host knows of it; of others the ticket says them.
    pub(crate) fn open_guest(&mut self, terms: [Terms; 2]) -> [Arc<LegMeter>; 2] {
        for terms in terms {
            if !self.accounts.contains_key(&terms.key) && self.accounts.len() >= MOST_GUEST_KEYS {
                let idle = |account: &KeyAccount| account.is_guest && account.usage.rate == 0;
                let idle = self.accounts.iter().find(|(_, account)| idle(account));
                let idle = idle.map(|(key, _)| *key);
                idle.and_then(|key| self.accounts.remove(&key));
            }
            let is_new = !self.accounts.contains_key(&terms.key);
            let account = self.account(terms.key);
            account.is_guest |= is_new;
            if account.is_guest {
                account.rate = rate(terms.mbit);
                account.rate_of_all = account.rate;
                account.meter.set_rate(account.rate);
                account.month_most = month(terms.gib_month);
            }
        }
        self.open(terms.map(|terms| terms.key))
    }

    /// A meter for a leg that was opened on these terms by the process before this one ([`LegMeter::terms`]). To be
    /// called once the keys are set: a leg whose key is no more sends nothing.
    pub(crate) fn reopen(&mut self, (key, own): (KeyId, u64)) -> Arc<LegMeter> {
        let account = self.accounts.get(&key);
        if account.is_some_and(|account| !account.is_guest) {
            self.meter(key, own)
        } else {
            Arc::new(LegMeter::new(0, 0, Arc::new(KeyMeter::new(key, 0))))
        }
    }

    fn meter(&mut self, key: KeyId, own: u64) -> Arc<LegMeter> {
        let host = self.host;
        let account = self.account(key);
        // Until the books are settled next, which is soon.
        let share = account.rate.min(host);
        let meter = Arc::new(LegMeter::new(own, share, account.meter.clone()));
        self.legs.push(Leg {
            key,
            meter: Arc::downgrade(&meter),
            wants: 0,
        });
        meter
    }

    /// Adds up what was sent, and shares out what may be.
    pub(crate) fn settle(&mut self, now: Instant, unix_s: u64) {
        let elapsed = now.saturating_duration_since(self.settled);
        if elapsed.is_zero() {
            return;
        }
        self.settled = now;
        let month = Month::of(unix_s);
        if month != self.months.current() {
            let counts = self.counts();
            let next = self.months.turn(month, counts);
            self.go_on_with(next);
        }
        self.take_parts(now);
        // In a new month, or when the other nodes are heard of: until then a key's part of its month is a guess.
        self.free_legs();
        self.collect(elapsed);
        self.share_out();
    }

    fn collect(&mut self, elapsed: Duration) {
        let mut passed: HashMap<KeyId, u64> = HashMap::new();
        self.legs.retain_mut(|leg| {
            // What it sent since the last look, its key's meter has.
            let Some(meter) = leg.meter.upgrade() else {
                return false;
            };
            let drawn = meter.draw();
            // What it may not send by its own bound it cannot use: it would be kept for it, and sent by nobody.
            let wanted = per_second(drawn.wanted, elapsed).min(meter.own());
            leg.wants = leg.wants.midpoint(wanted);
            *passed.entry(leg.key).or_default() += drawn.passed;
            true
        });
        for (key, account) in &mut self.accounts {
            let bytes = passed.get(key).copied().unwrap_or_default();
            let bytes = bytes.saturating_add(account.meter.draw_left());
            let usage = &mut account.usage;
            usage.rate = usage.rate.midpoint(per_second(bytes, elapsed));
            usage.month_bytes = usage.month_bytes.saturating_add(bytes);
            let Some(most) = account.month_most else {
                continue;
            };
            let used = usage.month_bytes.saturating_add(account.elsewhere);
            let Some(notice) = month_allowance::notice(*key, used, most) else {
                continue;
            };
            if account.noticed.replace(notice) != Some(notice) {
                self.notices.push(notice);
            }
        }
    }

    fn share_out(&mut self) {
        let mut wanted: HashMap<KeyId, Vec<u64>> = HashMap::new();
        for leg in &self.legs {
            wanted.entry(leg.key).or_default().push(leg.wants);
        }
        // No key takes more of the host's ceiling than its own bound lets it use.
        let want_of = |key: &KeyId, legs: &[u64]| {
            let sum = legs
                .iter()
                .fold(0, |sum: u64, want| sum.saturating_add(*want));
            sum.min(self.accounts.get(key).map_or(0, |account| account.rate))
        };
        let host = wanted.iter().map(|(key, legs)| want_of(key, legs));
        let host = Shares::of(self.host, host.collect());
        let shares: HashMap<KeyId, Shares> = wanted
            .into_iter()
            .filter_map(|(key, legs)| {
                // One whose key is gone stays at nothing.
                let account = self.accounts.get(&key)?;
                let part = host.share(want_of(&key, &legs)).min(account.rate);
                Some((key, Shares::of(part, legs)))
            })
            .collect();
        for leg in &self.legs {
            if let Some(meter) = leg.meter.upgrade()
                && let Some(shares) = shares.get(&leg.key)
            {
                meter.set_share(shares.share(leg.wants));
            }
        }
    }

    /// What a key has used.
    pub(crate) fn usage(&self, key: KeyId) -> Usage {
        let account = self.accounts.get(&key);
        account.map_or_else(Usage::default, |account| account.usage)
    }

    /// The next thing to tell the operator.
    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop()
    }

    fn account(&mut self, key: KeyId) -> &mut KeyAccount {
        self.accounts.entry(key).or_insert_with(|| KeyAccount {
            meter: Arc::new(KeyMeter::new(key, UNBOUNDED)),
            rate: UNBOUNDED,
            month_most: None,
            usage: Usage::default(),
            noticed: None,
            is_guest: false,
            rate_of_all: UNBOUNDED,
            elsewhere: 0,
            here_then: 0,
        })
    }
}

fn month(gib: Option<u64>) -> Option<u64> {
    gib.map(|gib| gib.saturating_mul(GIB))
}

fn rate(mbit: Option<u64>) -> u64 {
    mbit.map_or(UNBOUNDED, |mbit| mbit.saturating_mul(MBIT))
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000 / elapsed.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
