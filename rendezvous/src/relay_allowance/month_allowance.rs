//! What of a key's month is used up, here and at the other nodes, and which legs are slow for it.

use std::collections::BTreeMap;

use super::{Book, KeyAccount, Notice, SLOW, atomic_bucket::UNBOUNDED};
use crate::{
    keys::{KeyId, OfMonth},
    leases::{GOOD_FOR, Parts},
};

/// What the operator is told of a key that has used so many of the bytes that it has.
pub(super) fn notice(key: KeyId, used: u64, most: u64) -> Option<Notice> {
    match used {
        used if used >= most => Some(Notice::UsedUp(key)),
        used if used >= most / 5 * 4 => Some(Notice::Nearly(key)),
        _ => None,
    }
}

impl Book {
    /// Whether a key has used up its month. While the other nodes are not heard of, each takes an equal part of what
    /// was left then.
    pub(super) fn is_used_up(&self, account: &KeyAccount) -> bool {
        let Some(most) = account.month_most else {
            return false;
        };
        let here = account.usage.month_bytes;
        let heard = |parts: &Parts| self.settled.saturating_duration_since(parts.asked) < GOOD_FOR;
        match self.nodes {
            Some(nodes) if !account.is_guest && !self.parts.as_ref().is_some_and(heard) => {
                let then = account.here_then.saturating_add(account.elsewhere);
                let left = most.saturating_sub(then) / nodes.max(1) as u64;
                here >= account.here_then.saturating_add(left)
            }
            _ => here.saturating_add(account.elsewhere) >= most,
        }
    }

    /// Legs that were opened when their key had used up its month are slow no longer if it has some of one now.
    pub(super) fn free_legs(&self) {
        for leg in &self.legs {
            if let Some(account) = self.accounts.get(&leg.key)
                && let Some(meter) = leg.meter.upgrade()
                && meter.own() == SLOW
                && !self.is_used_up(account)
            {
                meter.set_own(UNBOUNDED);
            }
        }
    }

    /// What the keys whose months are limited have relayed here, for the other nodes.
    pub(crate) fn relayed(&self) -> (u64, BTreeMap<KeyId, u64>) {
        let limited = self.accounts.iter();
        let limited = limited.filter(|(_, a)| a.month_most.is_some() && !a.is_guest);
        let relayed = limited.map(|(key, account)| (*key, account.usage.month_bytes));
        (self.months.current().number(), relayed.collect())
    }

    /// What each key has used of this month, and of the one that was left for it.
    pub(crate) fn used(&self) -> Vec<OfMonth> {
        let current = (self.months.current(), self.counts());
        let left = self.months.left().cloned();
        [Some(current), left].into_iter().flatten().collect()
    }

    pub(super) fn counts(&self) -> Vec<(KeyId, u64)> {
        let used = self.accounts.iter();
        let used = used.map(|(key, account)| (*key, account.usage.month_bytes));
        used.filter(|(_, bytes)| *bytes > 0).collect()
    }
}
