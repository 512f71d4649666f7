//! What differs between two lists of files.
//!
//! The IDE's end says which files it has, and the debuggee's looks for just these: beside its own list where that has
//! them, and on its disk where an ignore file hides them. So no work tree is needed there, and a limit cuts the same
//! files at both ends.

use std::collections::BTreeMap;

use p2pdbg_proto::sources::Verdict;

use super::{
    Content, Installed, Prefixes, Scan, SourceName, Tree,
    directory_pair::{self, Alignment, Names},
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
    /// How many were left out at either end: beyond the limits, too long, closed to this user, or of names that cannot
    /// be said.
    pub left_out: usize,
    /// Whether several directories could be each other's, so that no file is taken for another.
    pub is_doubtful: bool,
}

impl Differences {
    /// Why no file of two directories is taken for one of the other, in words that follow both.
    pub fn why_strangers(&self) -> &'static str {
        match self.is_doubtful {
            true => {
                "have files of the same names in several directories, any of which may be meant"
            }
            false if self.only_here == 0 => {
                "have no file in common: there is none to compare at this end"
            }
            false if self.only_there == 0 => {
                "have no file in common: there is none to compare at the other end"
            }
            false => "have no file in common",
        }
    }

    /// How many files are at both ends.
    pub fn in_common(&self) -> usize {
        self.same + self.differ.len() + self.ends.len()
    }

    /// Whether there are files, and none of them is at both ends.
    pub fn is_of_strangers(&self) -> bool {
        self.in_common() == 0 && self.only_here + self.only_there > 0
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
            left_out: here.left_out + count(verdict.left_out) + count(verdict.not_read),
            is_doubtful: verdict.is_doubtful,
            ..Self::default()
        }
    }

    /// What the peer will be told of it; the lists follow.
    pub(super) fn verdict(&self, left_out: usize, not_read: usize) -> Verdict {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Verdict {
            opener: self.prefixes.there.clone(),
            answerer: self.prefixes.here.clone(),
            same: count(self.same),
            only_there: count(self.only_here),
            left_out: count(left_out),
            not_read: count(not_read),
            is_doubtful: self.is_doubtful,
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
    /// How many were left out here of what the peer has not asked for.
    pub(super) left_out: usize,
    /// How many are here and were asked for, and were not read.
    pub(super) not_read: usize,
    /// Which directories are each other's: what the next comparison of the same peer's goes by. None if that could not
    /// be told.
    pub(super) aligned: Option<Prefixes>,
}

impl Found {
    /// Takes in a file that is at both ends.
    fn take(&mut self, own: SourceName, ours: Content, name: &SourceName, theirs: Content) {
        self.looked_at.push(own.clone());
        let (here, there) = match theirs.differs_in_ends(&ours) {
            _ if theirs == ours => {
                self.differences.same += 1;
                return;
            }
            true => (&mut self.differences.ends, &mut self.ends),
            false => (&mut self.differences.differ, &mut self.differ),
        };
        here.push(own);
        there.push(name.clone());
    }
}

/// Looks in `tree` for the files that the peer has. Blocks.
pub(super) fn find(
    tree: &mut Tree,
    asked: &BTreeMap<SourceName, Content>,
    left_out_there: usize,
) -> Found {
    let mut listing = tree.list();
    let mut read = 0;
    let aligned = align_listing(tree, asked, &mut listing.names, &mut read);
    let Alignment {
        prefixes,
        is_known,
        is_doubtful,
    } = aligned;
    let mut found = Found {
        differences: Differences {
            left_out: left_out_there + listing.left_out,
            is_doubtful,
            ..Differences::default()
        },
        differ: Vec::new(),
        ends: Vec::new(),
        looked_at: Vec::new(),
        left_out: listing.left_out,
        not_read: 0,
        aligned: is_known.then(|| prefixes.clone()),
    };
    let names = Names::of(listing.names.iter());
    found.differences.prefixes = as_spelt(&prefixes, is_known, asked, &names).reversed();
    let twins = Names::of(asked.keys());
    let mut only_there = 0;
    for (name, theirs) in asked {
        // Where nothing says which directory is which, files are not taken for each other by a chance of names.
        let own = prefixes.there(name).filter(|_| is_known);
        // A file there whose name differs in case is another's where the peer has both.
        let in_another_case = |own: &SourceName| match twins.has_another(name) {
            true => None,
            false => names.find(own),
        };
        let Some(own) = own.map(|own| in_another_case(&own).unwrap_or(own)) else {
            only_there += 1;
            continue;
        };
        let Some(ours) = tree.look(&own, &mut read) else {
            match tree.has(&own) {
                true => found.not_read += 1,
                false => only_there += 1,
            }
            continue;
        };
        found.take(own, ours, name, *theirs);
    }
    let below = |name: &&SourceName| name.as_str().starts_with(&prefixes.there);
    let own = listing.names.iter().filter(below).count();
    let known = found.looked_at.len() + found.not_read;
    found.differences.only_here = own.saturating_sub(known);
    found.differences.only_there = only_there;
    found.differences.left_out += found.not_read;
    found
}

/// The pair of directories as a path mapping has to have them, if one is known.
fn as_spelt(
    prefixes: &Prefixes,
    is_known: bool,
    asked: &BTreeMap<SourceName, Content>,
    names: &Names<'_>,
) -> Prefixes {
    let in_common = asked
        .keys()
        .filter(|_| is_known)
        .filter_map(|name| Some((name, names.find(&prefixes.there(name)?)?)));
    directory_pair::as_spelt(prefixes, &in_common.collect::<Vec<_>>())
}

/// Aligns what the peer has with the list of files, or else with all that are there, which are added to it then. What
/// was installed is many a copy of what is elsewhere, and says something only where nothing else does.
fn align_listing(
    tree: &mut Tree,
    asked: &BTreeMap<SourceName, Content>,
    names: &mut Vec<SourceName>,
    read: &mut u64,
) -> Alignment {
    let mut all: Option<Vec<SourceName>> = None;
    for with_installed in [false, true] {
        let of_list = align_with(tree, asked, names, with_installed, read);
        if of_list.is_known {
            return of_list;
        }
        let all = all.get_or_insert_with(|| tree.list_all());
        let of_all = align_with(tree, asked, all, with_installed, read);
        if of_all.is_known {
            names.append(all);
            names.sort();
            names.dedup();
            return of_all;
        }
        if of_list.is_doubtful || of_all.is_doubtful {
            return Alignment::DOUBTFUL;
        }
    }
    Alignment::default()
}

fn align_with(
    tree: &mut Tree,
    asked: &BTreeMap<SourceName, Content>,
    names: &[SourceName],
    with_installed: bool,
    read: &mut u64,
) -> Alignment {
    let before = tree.aligned.clone();
    let theirs = taken(asked.keys(), with_installed);
    let ours = taken(names.iter(), with_installed);
    directory_pair::align(&theirs, &ours, before.as_ref(), |there, here| {
        let content = asked.get(there);
        content.is_some_and(|content| {
            tree.look(here, read)
                .is_some_and(|ours| ours.text == content.text)
        })
    })
}

/// These names, those of what was installed among them if that is to be taken too.
fn taken<'a>(
    names: impl Iterator<Item = &'a SourceName> + Clone,
    with_installed: bool,
) -> Vec<&'a SourceName> {
    if with_installed {
        return names.collect();
    }
    let installed = Installed::among(names.clone());
    names.filter(|name| !installed.has(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::Limits;

    fn tree(root: &Path, files: &[(&str, &str)], limits: Limits) -> Tree {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Tree::new(root.to_owned(), limits)
    }

    fn found(here: &[(&str, &str)], there: &[(&str, &str)], limits: Limits) -> Found {
        let (asks, answers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let asked = tree(asks.path(), here, Limits::DEFAULT).scan();
        find(&mut tree(answers.path(), there, limits), &asked.files, 0)
    }

    #[test]
    fn one_of_two_services_with_the_same_names_is_not_guessed() {
        let here = [("one/app.py", "1"), ("two/app.py", "2")];
        let doubtful = found(&here, &[("app.py", "3")], Limits::DEFAULT).differences;
        assert!(doubtful.is_doubtful);
        assert_eq!((doubtful.in_common(), doubtful.only_there), (0, 2));
        let told = found(&here, &[("app.py", "2")], Limits::DEFAULT).differences;
        assert!(!told.is_doubtful && told.same == 1 && told.prefixes.there == "two/");
        let strangers = found(&here, &[("main.go", "3")], Limits::DEFAULT).differences;
        assert!(!strangers.is_doubtful && strangers.in_common() == 0);
    }

    #[test]
    fn of_two_names_that_differ_in_case_each_is_its_own_file() {
        let here = [("App.py", "1"), ("app.py", "2"), ("DB.py", "3")];
        let found = found(&here, &[("app.py", "4"), ("db.py", "4")], Limits::DEFAULT);
        let names: Vec<_> = found.differ.iter().map(SourceName::as_str).collect();
        assert_eq!(names, ["DB.py", "app.py"]);
        assert_eq!(found.differences.only_there, 1);
    }

    #[test]
    fn files_beside_a_directory_whose_name_differs_in_case_are_compared_and_counted() {
        let here = [("Backend/app.py", "1"), ("README.md", "1")];
        let there = [("backend/app.py", "2"), ("notes.md", "2"), ("x.md", "2")];
        let differences = found(&here, &there, Limits::DEFAULT).differences;
        let Prefixes { here, there } = &differences.prefixes;
        assert_eq!((here.as_str(), there.as_str()), ("backend/", "Backend/"));
        assert_eq!(differences.prefixes.widest(), Prefixes::default());
        assert_eq!((differences.only_here, differences.only_there), (2, 1));
    }

    #[test]
    fn file_that_is_there_and_was_not_read_is_left_out_and_not_missing() {
        let files = [("app.py", "1"), ("long.py", "12345")];
        let limits = Limits {
            file: 4,
            ..Limits::DEFAULT
        };
        let found = found(&files, &files, limits);
        assert_eq!((found.not_read, found.differences.left_out), (1, 1));
        let differences = found.differences;
        assert_eq!(
            (
                differences.same,
                differences.only_here,
                differences.only_there
            ),
            (1, 0, 0)
        );
    }

    #[test]
    fn one_file_that_is_edited_makes_no_copy_of_the_project_the_project() {
        let (asks, answers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut here = tree(
            asks.path(),
            &[("app.py", "1"), ("old/app.py", "1")],
            Limits::DEFAULT,
        );
        let mut there = tree(answers.path(), &[("app.py", "1")], Limits::DEFAULT);
        let mut compare = || {
            let found = find(&mut there, &here.scan().files, 0);
            there.aligned = found.aligned;
            found.differences
        };
        assert_eq!(compare().same, 1);
        fs::write(asks.path().join("app.py"), "2").unwrap();
        let edited = compare();
        assert_eq!(edited.prefixes, Prefixes::default());
        assert_eq!((edited.same, edited.differ.len()), (0, 1), "{edited:?}");
    }

    #[test]
    fn what_was_installed_is_no_place_of_the_project_unless_nothing_else_is() {
        let copy = "venv/lib/python3.11/site-packages/pkg/app.py";
        let here = [("src/pkg/app.py", "2"), ("web/x.js", "1"), (copy, "1")];
        let there = [("src/pkg/app.py", "1"), ("web/x.js", "1")];
        let both = found(&here, &there, Limits::DEFAULT).differences;
        assert_eq!(both.prefixes, Prefixes::default());
        // Nothing here says which of the two is meant, but that one was installed.
        let part = found(&here, &[("pkg/app.py", "1")], Limits::DEFAULT).differences;
        assert_eq!((part.prefixes.here.as_str(), part.differ.len()), ("", 1));
        assert_eq!(part.prefixes.there, "src/");
        let alone = found(&[("pkg/app.py", "1")], &[(copy, "1")], Limits::DEFAULT).differences;
        assert_eq!(alone.same, 1, "{alone:?}");
    }
}
