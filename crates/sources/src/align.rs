//! Which directory below one root holds the files of which directory below the other: `backend/app.py` here is `app.py`
//! there.
//!
//! Each file votes for what is left of two names when their common end is taken off. What most files agree on is tried,
//! and of what fits equally well that is taken under which more files are the same. Names that every project has say
//! little, and names that differ in case are alike.

use std::collections::{HashMap, HashSet};

use super::SourceName;

/// How many files of one name are looked at; more say nothing.
const MOST_ALIKE: usize = 24;

/// How many pairs are tried.
const MOST_TRIED: usize = 12;

/// How many files are read to tell two pairs apart.
const MOST_READ: usize = 64;

/// What a file says whose name every project has, and what every other says.
const WEAK: u64 = 1;
const STRONG: u64 = 16;

/// Names that every project has.
const COMMON: [&str; 14] = [
    "__init__.py",
    "__main__.py",
    "setup.py",
    "conftest.py",
    "manage.py",
    "readme.md",
    "license",
    "makefile",
    "dockerfile",
    "package.json",
    "requirements.txt",
    "index.html",
    "index.js",
    "pyproject.toml",
];

/// A pair of directories below the two roots, each empty or with a `/` at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefixes {
    /// The directory at this end.
    pub here: String,
    /// The directory at the other end.
    pub there: String,
}

impl Prefixes {
    /// The name there of a file here, if it is below the directory.
    pub fn there(&self, here: &SourceName) -> Option<SourceName> {
        let below = here.as_str().strip_prefix(&self.here)?;
        format!("{}{below}", self.there).parse().ok()
    }

    /// The same from the other end.
    #[must_use]
    pub(crate) fn reversed(&self) -> Self {
        Self {
            here: self.there.clone(),
            there: self.here.clone(),
        }
    }
}

/// The names of one end, in which a name that differs in case is found too.
#[derive(Debug)]
pub struct Names<'a> {
    exact: HashSet<&'a str>,
    /// By their small letters; none for those that several have.
    small: HashMap<String, Option<&'a SourceName>>,
}

impl<'a> Names<'a> {
    /// Of these files.
    pub fn of(names: impl Iterator<Item = &'a SourceName>) -> Self {
        let mut all = Self {
            exact: HashSet::new(),
            small: HashMap::new(),
        };
        for name in names {
            all.exact.insert(name.as_str());
            let small = all.small.entry(name.as_str().to_ascii_lowercase());
            small
                .and_modify(|other| *other = None)
                .or_insert(Some(name));
        }
        all
    }

    /// Whether there are names that differ from this one in case alone.
    pub fn has_another(&self, name: &SourceName) -> bool {
        let small = name.as_str().to_ascii_lowercase();
        self.small.get(&small).is_some_and(Option::is_none)
    }

    /// The file that a name means.
    pub(super) fn find(&self, name: &SourceName) -> Option<SourceName> {
        if self.exact.contains(name.as_str()) {
            return Some(name.clone());
        }
        let small = name.as_str().to_ascii_lowercase();
        self.small.get(&small).copied().flatten().cloned()
    }
}

/// What aligning two lists of files has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Alignment {
    /// The pair of directories under which the most files are at both ends.
    pub(super) prefixes: Prefixes,
    /// Whether there is one.
    pub(super) is_known: bool,
    /// Whether there is none because several fit equally well.
    pub(super) is_doubtful: bool,
}

/// The pair of directories under which the most files are at both ends. `is_same` says whether two files hold the same.
pub(super) fn align(
    here: &[&SourceName],
    there: &[&SourceName],
    mut is_same: impl FnMut(&SourceName, &SourceName) -> bool,
) -> Alignment {
    let names = Names::of(there.iter().copied());
    let mut tried: Vec<(u64, Prefixes)> = candidates(here, there)
        .into_iter()
        .map(|prefixes| {
            (
                common(here, &names, &prefixes)
                    .map(|(a, _)| weight(a, &prefixes))
                    .sum(),
                prefixes,
            )
        })
        .collect();
    let most = tried.iter().map(|(score, _)| *score).max().unwrap_or(0);
    if most == 0 {
        return Alignment::default();
    }
    tried.retain(|(score, _)| *score * 2 >= most);
    if tried.len() > 1 {
        for (score, prefixes) in &mut tried {
            let same = common(here, &names, prefixes)
                .take(MOST_READ)
                .filter(|(a, b)| is_same(a, b))
                .map(|(a, _)| weight(a, prefixes));
            *score += same.sum::<u64>();
        }
    }
    let most = tried.iter().map(|(score, _)| *score).max().unwrap_or(0);
    let mut best = tried.into_iter().filter(|(score, _)| *score == most);
    let (_, first) = best.next().unwrap_or_default();
    let is_whole = |prefixes: &Prefixes| *prefixes == Prefixes::default();
    let rest: Vec<_> = best.map(|(_, prefixes)| prefixes).collect();
    let is_any_whole = is_whole(&first) || rest.iter().any(is_whole);
    // What cannot be told is not guessed.
    let is_known = is_any_whole || rest.is_empty();
    Alignment {
        prefixes: match is_any_whole || !is_known {
            true => Prefixes::default(),
            false => first,
        },
        is_known,
        is_doubtful: !is_known,
    }
}

/// The files that are at both ends under a pair.
fn common<'a>(
    here: &'a [&SourceName],
    names: &'a Names<'_>,
    prefixes: &'a Prefixes,
) -> impl Iterator<Item = (&'a SourceName, SourceName)> {
    here.iter()
        .filter_map(|name| Some((*name, names.find(&prefixes.there(name)?)?)))
}

/// The pairs that the most files speak for, and the roots themselves.
fn candidates(here: &[&SourceName], there: &[&SourceName]) -> Vec<Prefixes> {
    let mut by_leaf: HashMap<String, Vec<&SourceName>> = HashMap::new();
    for name in there {
        by_leaf.entry(small_leaf(name)).or_default().push(name);
    }
    let mut votes: HashMap<(&str, &str), u64> = HashMap::new();
    for a in here {
        let alike = by_leaf
            .get(&small_leaf(a))
            .filter(|alike| alike.len() <= MOST_ALIKE);
        for b in alike.into_iter().flatten() {
            let length = common_end(a.as_str(), b.as_str());
            let before = |text: &str| text.len() - length;
            let pair = (
                &a.as_str()[..before(a.as_str())],
                &b.as_str()[..before(b.as_str())],
            );
            *votes.entry(pair).or_default() += weight_of_end(&a.as_str()[pair.0.len()..]);
        }
    }
    let mut votes: Vec<_> = votes.into_iter().collect();
    votes.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
    let pairs = votes
        .into_iter()
        .take(MOST_TRIED)
        .map(|((here, there), _)| Prefixes {
            here: here.to_owned(),
            there: there.to_owned(),
        });
    let mut pairs: Vec<_> = pairs.filter(|pair| *pair != Prefixes::default()).collect();
    pairs.push(Prefixes::default());
    pairs
}

fn small_leaf(name: &SourceName) -> String {
    let leaf = name.as_str().rsplit('/').next().unwrap_or_default();
    leaf.to_ascii_lowercase()
}

/// How many bytes the ends of two names have in common, in whole parts.
fn common_end(one: &str, other: &str) -> usize {
    let parts = one.rsplit('/').zip(other.rsplit('/'));
    let alike = parts.take_while(|(a, b)| a.eq_ignore_ascii_case(b));
    let length: usize = alike.map(|(a, _)| a.len() + 1).sum();
    // No slash before the first part.
    length.saturating_sub(1).min(one.len()).min(other.len())
}

fn weight(name: &SourceName, prefixes: &Prefixes) -> u64 {
    weight_of_end(
        name.as_str()
            .strip_prefix(&prefixes.here)
            .unwrap_or_default(),
    )
}

fn weight_of_end(end: &str) -> u64 {
    let leaf = end.rsplit('/').next().unwrap_or_default();
    match COMMON.contains(&leaf.to_ascii_lowercase().as_str()) && leaf.len() == end.len() {
        true => WEAK,
        false => STRONG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<SourceName> {
        list.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[track_caller]
    fn aligned(here: &[&str], there: &[&str], same: &[(&str, &str)]) -> (String, String) {
        let (here, there) = (names(here), names(there));
        let (here, there): (Vec<_>, Vec<_>) = (here.iter().collect(), there.iter().collect());
        let is_same = |a: &SourceName, b: &SourceName| same.contains(&(a.as_str(), b.as_str()));
        let Alignment {
            prefixes, is_known, ..
        } = align(&here, &there, is_same);
        assert!(is_known);
        (prefixes.here, prefixes.there)
    }

    fn pair(here: &str, there: &str) -> (String, String) {
        (here.to_owned(), there.to_owned())
    }

    #[test]
    fn a_copy_of_a_part_is_found_where_it_is() {
        let monorepo = [
            "README.md",
            "backend/app.py",
            "backend/db/models.py",
            "web/index.html",
        ];
        assert_eq!(
            aligned(&monorepo, &["app.py", "db/models.py"], &[]),
            pair("backend/", "")
        );
        assert_eq!(
            aligned(&monorepo, &["README.md", "app.py"], &[]),
            pair("backend/", "")
        );
        assert_eq!(
            aligned(
                &["src/pkg/a.py", "src/pkg/b.py", "tests/t.py"],
                &["lib/pkg/a.py", "lib/pkg/b.py"],
                &[]
            ),
            pair("src/", "lib/")
        );
        assert_eq!(
            aligned(&["app.py"], &["backend/app.py"], &[]),
            pair("", "backend/")
        );
        assert_eq!(
            aligned(
                &["Web/App.py", "x.py"],
                &["srv/web/app.py", "srv/x.py"],
                &[]
            ),
            pair("", "srv/")
        );
    }

    #[test]
    fn the_same_place_is_taken_where_it_fits_as_well() {
        assert_eq!(
            aligned(&["app.py", "old/app.py"], &["app.py", "old/app.py"], &[]),
            pair("", "")
        );
        assert_eq!(
            aligned(&["app.py", "b/app.py"], &["app.py"], &[]),
            pair("", "")
        );
        assert_eq!(
            aligned(&["__init__.py"], &["__init__.py"], &[]),
            pair("", "")
        );
    }

    #[test]
    fn of_two_parts_that_are_called_alike_the_one_with_the_same_content_is_taken() {
        let here = ["one/app/main.py", "two/app/main.py"];
        let same = [("two/app/main.py", "app/main.py")];
        assert_eq!(aligned(&here, &["app/main.py"], &same), pair("two/", ""));
        let (here, there) = (names(&here), names(&["app/main.py"]));
        let (here, there): (Vec<_>, Vec<_>) = (here.iter().collect(), there.iter().collect());
        let doubtful = align(&here, &there, |_, _| false);
        assert!(
            !doubtful.is_known && doubtful.is_doubtful,
            "it is not guessed"
        );
        assert_eq!(doubtful.prefixes, Prefixes::default());
        assert_eq!(align(&here, &[], |_, _| true), Alignment::default());
    }
}
