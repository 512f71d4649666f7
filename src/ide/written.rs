//! What `p2pdbg ide` has put into the lists and maps of a project's files, so that the next time it takes out only
//! that.
//!
//! It is kept in the state directory, and not in the project's files, which have no place for it. Where nothing is
//! known of a file, what earlier versions wrote into its lists is told by its looks.

use std::collections::BTreeMap;

use p2pdbg_identity::{StateDir, StateError};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The file in the state directory.
const FILE: &str = "ide_written.json";

/// Of how many files it is known; any of the others makes room.
const KEPT: usize = 256;

/// What was written to the lists and maps of one file, by what each is called within it; of a map its fields.
pub(super) type Lists = BTreeMap<String, Vec<Json>>;

/// What was written, by the whole paths of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(BTreeMap<String, Lists>);

impl Written {
    /// What is known.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn read(state: &StateDir) -> Result<Self, StateError> {
        let bytes = state.read(FILE)?.unwrap_or_default();
        // What does not parse is another version's: nothing is known, then.
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub fn keep(&self, state: &StateDir) -> Result<(), StateError> {
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        state.write_atomically(FILE, &json)
    }

    /// What was written into one file; the first of the others is forgotten if there are too many.
    pub(super) fn of(&mut self, path: &str) -> &mut Lists {
        if self.0.len() >= KEPT && !self.0.contains_key(path) {
            self.0.pop_first();
        }
        self.0.entry(path.to_owned()).or_default()
    }
}
