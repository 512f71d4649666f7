//! What a node makes of its own copy of the shared keys and of the store's, and how far it relies on its own while the
//! store is away. No I/O: the [store's task](crate::cluster_store) asks the store and writes the file.

use std::time::Duration;

use super::{Basis, KeyFile, KeyName};

/// For how long keys let peers in that the store has not confirmed since: whoever was revoked meanwhile at another node
/// has that long.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How often it is written down that the store has confirmed the keys.
const NOTE_EVERY: u64 = 600;

/// A node's copy.
#[derive(Debug)]
pub(crate) struct SharedKeys {
    file: KeyFile,
    /// Whether the store has answered the last question for them.
    is_certain: bool,
    /// When it has confirmed them last, in Unix seconds, and the highest version that it has had.
    confirmed: Option<(u64, u64)>,
    /// When that was written down last.
    noted: Option<u64>,
    /// Whether it has said that the store has an older copy than it had.
    is_behind: bool,
}

/// What is to be done after the store has said what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The store is to be given this node's keys in place of what it has.
    pub(crate) write: bool,
    /// The store has an older version than it once had, which is worth telling once.
    pub(crate) fell_back: bool,
    /// Keys of this node, by their old and new names, whose names others in the store have: told at the first contact.
    pub(crate) renamed: Vec<(KeyName, KeyName)>,
}

impl SharedKeys {
    /// A node's copy as it lies on its disk, and when the store confirmed it last.
    pub(crate) fn new(file: KeyFile, confirmed: Option<(u64, u64)>) -> Self {
        Self {
            file,
            is_certain: false,
            confirmed,
            noted: None,
            is_behind: false,
        }
    }

    /// The keys that hold.
    pub(crate) fn file(&self) -> &KeyFile {
        &self.file
    }

    /// Counts up with each change that nodes have shared; 0 before the first.
    pub(crate) fn version(&self) -> u64 {
        self.file.shared().unwrap_or_default()
    }

    /// The file on the disk is another one now.
    pub(crate) fn on_file(&mut self, file: KeyFile) {
        self.file = file;
    }

    /// The store has these keys, or none that a node of this cluster has sealed.
    pub(crate) fn on_stored(&mut self, unix_s: u64, stored: Option<&KeyFile>) -> Verdict {
        let version = stored.and_then(KeyFile::shared).unwrap_or_default();
        let highest = self.confirmed.map_or(0, |(_, highest)| highest);
        let fell_back = version < highest && !self.is_behind;
        self.is_behind = version < highest;
        // A host that becomes a node brings keys of its own: those of the nodes keep their names.
        let renamed = match stored {
            Some(stored) if self.confirmed.is_none() => self.file.make_way(stored),
            _ => Vec::new(),
        };
        let joined = self.file.beside(stored);
        self.file = joined.file;
        if !joined.to_be_written {
            self.confirm(unix_s);
        }
        Verdict {
            write: joined.to_be_written,
            fell_back,
            renamed,
        }
    }

    /// The store has the keys that this node has.
    pub(crate) fn confirm(&mut self, unix_s: u64) {
        let highest = self.confirmed.map_or(0, |(_, highest)| highest);
        self.is_certain = true;
        self.confirmed = Some((unix_s, highest.max(self.version())));
    }

    /// The store has not said what it has.
    pub(crate) fn on_away(&mut self) {
        self.is_certain = false;
    }

    /// What the keys are known by at this time. A clock that was set back makes nothing stale.
    pub(crate) fn basis(&self, unix_s: u64) -> Basis {
        let age = self.confirmed.map(|(at, _)| unix_s.saturating_sub(at));
        match age {
            _ if self.is_certain => Basis::Whole,
            Some(age) if age < KEPT_FOR.as_secs() => Basis::Kept,
            _ => Basis::Stale,
        }
    }

    /// What is to be written down of it now, if something is.
    pub(crate) fn poll_note(&mut self, unix_s: u64) -> Option<(u64, u64)> {
        let note = self.confirmed.filter(|_| self.is_certain)?;
        let is_due = |noted: u64| unix_s.abs_diff(noted) >= NOTE_EVERY;
        if self.noted.is_none_or(is_due) {
            self.noted = Some(unix_s);
            return Some(note);
        }
        None
    }
}

#[cfg(test)]
mod tests;
