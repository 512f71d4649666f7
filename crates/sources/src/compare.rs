//! What differs between two lists of files.
//!
//! The IDE's end says which files it has, and the debuggee's looks for just these: beside its own list where that has
//! them, and on its disk where an ignore file hides them. So no work tree is needed there, and a limit cuts the same
//! files at both ends.

use std::collections::BTreeMap;

use p2pdbg_proto::sources::Verdict;

use super::{
    Content, Prefixes, Scan, SourceName, Tree,
    align::{self, Names},
};

/// What differs between the two ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Which directories below the two roots hold the same files.
    pub prefixes: Prefixes,
    /// Files that are at both ends, and not the same.
    pub differ: Vec<SourceName>,
    /// Files that are at both ends, and differ in their line ends alone.
    pub ends: Vec<SourceName>,
    /// How many are at both ends and the same.
    pub same: usize,
    /// How many are here alone.
    pub only_here: usize,
    /// How many are there alone.
    pub only_there: usize,
    /// How many were left out at either end: beyond the limits, too long, or of names that cannot be said.
    pub left_out: usize,
}

impl Differences {
    /// How many files are at both ends.
    pub fn in_common(&self) -> usize {
        self.same + self.differ.len() + self.ends.len()
    }

    /// Whether both ends have files, and none of them is at both.
    pub fn is_of_strangers(&self) -> bool {
        self.in_common() == 0 && self.only_here > 0
    }

    /// What the peer has found, as this end has it: `here` is what was asked for.
    pub(super) fn of_verdict(verdict: &Verdict, here: &Scan) -> Self {
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            prefixes: Prefixes {
                here: verdict.opener.clone(),
                there: verdict.answerer.clone(),
            },
            same: count(verdict.same),
            only_there: count(verdict.only_there),
            left_out: here.left_out + count(verdict.left_out),
            ..Self::default()
        }
    }

    /// What the peer will be told of it; the lists follow.
    pub(super) fn verdict(&self, left_out: usize) -> Verdict {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Verdict {
            opener: self.prefixes.there.clone(),
            answerer: self.prefixes.here.clone(),
            same: count(self.same),
            only_there: count(self.only_here),
            left_out: count(left_out),
        }
    }
}

/// What an end that was asked for files has found.
#[derive(Debug)]
pub(super) struct Found {
    /// As it is to be told here.
    pub(super) differences: Differences,
    /// The same files by their names at the peer: those that differ, and those that do in their line ends alone.
    pub(super) differ: Vec<SourceName>,
    pub(super) ends: Vec<SourceName>,
    /// Where to look whether anything has changed.
    pub(super) looked_at: Vec<SourceName>,
    /// How many were left out here.
    pub(super) left_out: usize,
}

/// Looks in `tree` for the files that the peer has. Blocks.
pub(super) fn find(
    tree: &mut Tree,
    asked: &BTreeMap<SourceName, Content>,
    left_out_there: usize,
) -> Found {
    let mut listing = tree.list();
    let mut read = 0;
    let (mut prefixes, mut score) = align_with(tree, asked, &listing.names, &mut read);
    if score == 0 {
        let all = tree.list_all();
        (prefixes, score) = align_with(tree, asked, &all, &mut read);
        if score > 0 {
            listing.names.extend(all);
            listing.names.sort();
            listing.names.dedup();
        }
    }
    let mut found = Found {
        differences: Differences {
            prefixes: prefixes.reversed(),
            left_out: left_out_there + listing.left_out,
            ..Differences::default()
        },
        differ: Vec::new(),
        ends: Vec::new(),
        looked_at: Vec::new(),
        left_out: listing.left_out,
    };
    let names = Names::of(listing.names.iter());
    let mut only_there = 0;
    for (name, theirs) in asked {
        // Where nothing says which directory is which, files are not taken for each other by a chance of names.
        let own = prefixes.there(name).filter(|_| score > 0);
        let own = own.map(|own| names.find(&own).unwrap_or(own));
        let look = own.and_then(|own| Some((tree.look(&own, &mut read)?, own)));
        let Some((ours, own)) = look else {
            only_there += 1;
            continue;
        };
        found.looked_at.push(own.clone());
        let (here, there) = match theirs.differs_in_ends(&ours) {
            _ if *theirs == ours => {
                found.differences.same += 1;
                continue;
            }
            true => (&mut found.differences.ends, &mut found.ends),
            false => (&mut found.differences.differ, &mut found.differ),
        };
        here.push(own);
        there.push(name.clone());
    }
    let below = |name: &&SourceName| name.as_str().starts_with(&prefixes.there);
    let own = listing.names.iter().filter(below).count();
    found.differences.only_here = own.saturating_sub(found.looked_at.len());
    found.differences.only_there = only_there;
    found
}

fn align_with(
    tree: &mut Tree,
    asked: &BTreeMap<SourceName, Content>,
    names: &[SourceName],
    read: &mut u64,
) -> (Prefixes, u64) {
    let theirs: Vec<&SourceName> = asked.keys().collect();
    let ours: Vec<&SourceName> = names.iter().collect();
    align::align(&theirs, &ours, |there, here| {
        let content = asked.get(there);
        content.is_some_and(|content| {
            tree.look(here, read)
                .is_some_and(|ours| ours.text == content.text)
        })
    })
}
