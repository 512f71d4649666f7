//! What keys have relayed at this node in a month before its process came: a host that is replaced has no count of it,
//! and one that was killed has lost the last minute.

use std::collections::{BTreeMap, HashMap};

use super::table::Entry;
use crate::keys::KeyId;

/// What was found in the table, and what this process counts on top of it.
#[derive(Debug, Default)]
pub(super) struct RelayedBefore {
    /// The month that it is about, and what each key had relayed in it.
    found: Option<(u64, BTreeMap<KeyId, u64>)>,
    /// What this process had of each key when it first said something of it in that month.
    began: HashMap<KeyId, u64>,
    /// How much less than what was entered last this process has counted itself.
    beyond: HashMap<KeyId, u64>,
}

impl RelayedBefore {
    /// Another process of this node has entered this.
    pub(super) fn find(&mut self, entry: &Entry) {
        if self
            .found
            .as_ref()
            .is_none_or(|(month, _)| *month < entry.month)
        {
            self.found = Some((entry.month, entry.relayed.clone()));
            self.began.clear();
        }
    }

    /// What to enter of what this process has counted in a month.
    pub(super) fn raise(
        &mut self,
        month: u64,
        counted: BTreeMap<KeyId, u64>,
    ) -> BTreeMap<KeyId, u64> {
        self.beyond.clear();
        let Some((of, found)) = &self.found else {
            return counted;
        };
        if *of != month {
            return counted;
        }
        let mut raised = counted;
        for (key, floor) in found {
            // A key that this process does not know yet has relayed nothing since.
            let own = raised.get(key).copied();
            let began = own.map(|own| *self.began.entry(*key).or_insert(own));
            let own = own.unwrap_or_default();
            let since = own.saturating_sub(began.unwrap_or_default());
            let all = own.max(floor.saturating_add(since));
            self.beyond.insert(*key, all - own);
            raised.insert(*key, all);
        }
        raised
    }

    /// What keys have relayed here that this process has not counted, as it was entered last.
    pub(super) fn beyond(&self) -> &HashMap<KeyId, u64> {
        &self.beyond
    }
}
