//! What was in files here that is not lost when they are overwritten.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use p2pdbg_proto::sources::Sha256 as Digest;

use crate::SourceName;

/// How many files are remembered for what was in them.
const MOST_SEEN: usize = 20_000;

/// What was in files here that is at the other end too, or was: nothing is lost when it is overwritten.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<SourceName, Digest>>);

impl Seen {
    /// Notes what the text of a file is at both ends.
    pub(crate) fn note(&self, name: &SourceName, text: Digest) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST_SEEN || seen.contains_key(name) {
            seen.insert(name.clone(), text);
        }
    }

    pub(super) fn has(&self, name: &SourceName, text: Digest) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(name) == Some(&text)
    }
}
