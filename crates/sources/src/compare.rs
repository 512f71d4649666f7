//! What differs between two lists of files.

use std::collections::BTreeMap;

use p2pdbg_proto::sources::Sha256 as Digest;

use super::{Scan, SourceName};

/// What differs between the two ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Files that are at both ends, and not the same.
    pub differ: Vec<SourceName>,
    /// How many are at both ends and the same.
    pub same: usize,
    /// How many are here alone.
    pub only_here: usize,
    /// How many are there alone.
    pub only_there: usize,
    /// Whether an end has more files than are compared.
    pub partial: bool,
}

impl Differences {
    /// Between a scan of this end and the list of the other.
    pub(super) fn between(
        here: &Scan,
        there: &BTreeMap<SourceName, Digest>,
        partial_there: bool,
    ) -> Self {
        let mut differences = Self {
            partial: here.partial || partial_there,
            ..Self::default()
        };
        for (name, digest) in &here.files {
            match there.get(name) {
                Some(other) if other == digest => differences.same += 1,
                Some(_) => differences.differ.push(name.clone()),
                None => differences.only_here += 1,
            }
        }
        differences.only_there = there.len() - differences.same - differences.differ.len();
        differences
    }

    /// Between two ends whose summaries are the same.
    pub(super) fn none(here: &Scan) -> Self {
        Self {
            same: here.files.len(),
            partial: here.partial,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_both_ends_and_not_the_same_differs() {
        let files = |list: &[(&str, u8)]| -> BTreeMap<SourceName, Digest> {
            list.iter()
                .map(|(name, n)| (name.parse().unwrap(), [*n; 32]))
                .collect()
        };
        let here = Scan {
            files: files(&[("a", 1), ("b", 2), ("c", 3)]),
            partial: false,
        };
        let there = files(&[("a", 1), ("b", 9), ("d", 4), ("e", 4)]);
        let differences = Differences::between(&here, &there, true);
        assert_eq!(differences.differ, ["b".parse().unwrap()]);
        assert_eq!(
            (
                differences.same,
                differences.only_here,
                differences.only_there
            ),
            (1, 1, 2)
        );
        assert!(differences.partial);
    }
}
