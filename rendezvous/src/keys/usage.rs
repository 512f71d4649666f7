//! `usage.toml`: what the keys have relayed this month, so that a restart does not give it back to them.
//!
//! It is written by a thread of its own, since a disk may take its time, and what cannot be written is kept in memory:
//! a full disk is no reason not to serve.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use p2pdbg_identity::StateDir;
use serde::{Deserialize, Serialize};

use super::KeyId;
use crate::month::Month;

const FILE: &str = "usage.toml";

/// What each key has relayed in a month, in bytes.
pub(crate) type OfMonth = (Month, Vec<(KeyId, u64)>);

/// The file, in its directory.
#[derive(Clone, Debug)]
pub(crate) struct UsageFile {
    state: StateDir,
    /// Whether a write is on its way.
    busy: Arc<AtomicBool>,
    /// The number of the next write.
    next: Arc<AtomicU64>,
    /// That of the last one that was written: a slow disk must not put an older one in its place.
    written: Arc<Mutex<u64>>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    last: WrittenMonth,
    /// The month that was left for it: the clock may come back to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<WrittenMonth>,
}

#[derive(Serialize, Deserialize)]
struct WrittenMonth {
    /// Counted from January of the year 0.
    month: Month,
    #[serde(default)]
    key: Vec<WrittenKey>,
}

#[derive(Serialize, Deserialize)]
struct WrittenKey {
    id: String,
    relay_bytes: u64,
}

impl UsageFile {
    pub(crate) fn new(state: StateDir) -> Self {
        Self {
            state,
            busy: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
            written: Arc::default(),
        }
    }

    /// What was written last, the month first in which that was. One that is not there or cannot be read counts
    /// nothing: that costs the operator some bytes, and not serving would cost more.
    pub(crate) fn read(&self) -> Vec<OfMonth> {
        let bytes = match self.state.read(FILE) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "cannot read what the keys have used; counting from nothing");
                return Vec::new();
            }
        };
        let written: Result<Written, _> = toml::from_str(&String::from_utf8_lossy(&bytes));
        let Ok(written) = written else {
            tracing::warn!("{FILE} is damaged; counting what the keys use from nothing");
            return Vec::new();
        };
        let months = [Some(written.last), written.left].into_iter().flatten();
        months.map(WrittenMonth::read).collect()
    }

    /// Writes it down, beside what else is done. One that is asked for while another is written is left out.
    pub(crate) fn write_down(&self, used: Vec<OfMonth>) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (file, number) = (self.clone(), self.number());
        tokio::task::spawn_blocking(move || {
            file.write(number, used);
            file.busy.store(false, Ordering::Release);
        });
    }

    /// Writes it down before anything else is done, once what is being written is.
    pub(crate) fn write_down_at_once(&self, used: Vec<OfMonth>) {
        self.write(self.number(), used);
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes it down, unless what came later has been written already.
    fn write(&self, number: u64, used: Vec<OfMonth>) {
        let mut newest = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if number < *newest {
            return;
        }
        *newest = number;
        let mut months = used.into_iter().map(WrittenMonth::of);
        let Some(last) = months.next() else {
            return;
        };
        let left = months.next();
        let written = Written { last, left };
        // Numbers and hexadecimal digits always make TOML.
        let text = toml::to_string(&written).unwrap_or_default();
        if let Err(error) = self.state.write_atomically(FILE, text.as_bytes()) {
            tracing::warn!(%error, "cannot write down what the keys have used");
        }
    }
}

impl WrittenMonth {
    fn read(self) -> OfMonth {
        let keys = self.key.into_iter();
        let keys = keys.filter_map(|key| Some((key.id.parse().ok()?, key.relay_bytes)));
        (self.month, keys.collect())
    }

    fn of((month, keys): OfMonth) -> Self {
        let keys = keys.into_iter().map(|(id, relay_bytes)| WrittenKey {
            id: id.to_string(),
            relay_bytes,
        });
        let key = keys.collect();
        Self { month, key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_that_is_late_does_not_take_the_place_of_a_newer_one() {
        let file = UsageFile::new(StateDir::in_memory());
        let used = |bytes| vec![(Month::of(0), vec![(KeyId([4; 8]), bytes)])];
        let late = file.number();
        file.clone().write_down_at_once(used(2));
        file.write(late, used(1));
        assert_eq!(file.read(), used(2));
    }

    #[test]
    fn what_is_written_down_is_read_again_and_what_is_damaged_counts_nothing() {
        let state = StateDir::in_memory();
        let file = UsageFile::new(state.clone());
        assert_eq!(file.read(), []);
        let one = (
            Month::of(1_767_225_600),
            vec![(KeyId([3; 8]), u64::MAX >> 1)],
        );
        let other = (Month::of(0), vec![(KeyId([4; 8]), 5)]);
        for used in [vec![one.clone()], vec![one, other]] {
            file.write_down_at_once(used.clone());
            assert_eq!(file.read(), used);
        }
        // As a version before this one has written it.
        state.write_atomically(FILE, b"month = 5").unwrap();
        assert_eq!(file.read().len(), 1);
        state.write_atomically(FILE, b"month = \"May\"").unwrap();
        assert_eq!(file.read(), []);
    }
}
