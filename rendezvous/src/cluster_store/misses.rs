//! Joins that found nobody and that the store has not counted yet: too much waits for it, or it is away. Were they
//! lost, whoever guesses codes would have what one node allows once at each node.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::limits::Prefix;

/// Of so many addresses, with a key and without, at the most. What further ones have missed is lost.
const MOST: usize = 16_384;

/// So long after the last one from an address they are of no use: the store has forgotten the others by then.
pub(crate) const MISSED_FOR: Duration = Duration::from_secs(60);

/// How many, by where from and whether who joined has a key.
#[derive(Debug, Default)]
pub(super) struct Misses(HashMap<(Prefix, bool), (u32, Instant)>);

impl Misses {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, at: Instant, of: (Prefix, bool), count: u32) {
        if self.0.len() >= MOST && !self.0.contains_key(&of) {
            return;
        }
        let (sum, last) = self.0.entry(of).or_insert((0, at));
        *sum = sum.saturating_add(count);
        *last = (*last).max(at);
    }

    /// So many of those that are of use still, with when each was told last.
    pub(super) fn take(
        &mut self,
        now: Instant,
        most: usize,
    ) -> Vec<((Prefix, bool), u32, Instant)> {
        let is_new = |at: Instant| now.saturating_duration_since(at) < MISSED_FOR;
        self.0.retain(|_, (_, at)| is_new(*at));
        let taken = self.0.extract_if(|_, _| true).take(most);
        taken.map(|(of, (count, at))| (of, count, at)).collect()
    }

    /// Those of one address.
    pub(super) fn pop(&mut self) -> Option<((Prefix, bool), u32)> {
        let of = *self.0.keys().next()?;
        let (count, _) = self.0.remove(&of)?;
        Some((of, count))
    }
}
