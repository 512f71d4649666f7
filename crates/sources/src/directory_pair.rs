//! Which directory below one root holds the files of which directory below the other: `backend/app.py` here is `app.py`
//! there.
//!
//! Each file votes for what is left of two names when their common end is taken off. What most files agree on is tried,
//! and of what fits equally well that is taken under which more files are the same. Names that every project has say
//! little, and names that differ in case are alike.
//!
//! A copy of the project within it (`old/`, a work tree, what was built of it) fits as well as the project itself, and
//! better once a file was edited. So where no pair has more names in common than the roots, or than the pair of the
//! last time, it stays that one.

use std::collections::{HashMap, HashSet};

use super::{SourceName, name::folded};

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

    /// The directories that correspond to each other with all that is in them, where these lead on into some whose
    /// names differ in case alone, for a path mapping.
    #[must_use]
    pub fn widest(&self) -> Self {
        let (here, there) = (
            self.here.trim_end_matches('/'),
            self.there.trim_end_matches('/'),
        );
        let (here, there) = match here.is_empty() || there.is_empty() {
            true => (self.here.as_str(), self.there.as_str()),
            false => before_common_end(here, there),
        };
        Self {
            here: here.to_owned(),
            there: there.to_owned(),
        }
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
            let small = all.small.entry(folded(name.as_str()));
            small
                .and_modify(|other| *other = None)
                .or_insert(Some(name));
        }
        all
    }

    /// Whether there are names that differ from this one in case alone.
    pub fn has_another(&self, name: &SourceName) -> bool {
        let small = folded(name.as_str());
        self.small.get(&small).is_some_and(Option::is_none)
    }

    /// The file that a name means.
    pub(super) fn find(&self, name: &SourceName) -> Option<SourceName> {
        if self.exact.contains(name.as_str()) {
            return Some(name.clone());
        }
        let small = folded(name.as_str());
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

impl Alignment {
    /// Several fit equally well.
    pub(super) const DOUBTFUL: Self = Self {
        prefixes: Prefixes {
            here: String::new(),
            there: String::new(),
        },
        is_known: false,
        is_doubtful: true,
    };

    fn known(prefixes: Prefixes) -> Self {
        Self {
            prefixes,
            is_known: true,
            is_doubtful: false,
        }
    }
}

/// A pair that is tried.
struct Tried {
    prefixes: Prefixes,
    /// What the names that both ends have under it weigh.
    names: u64,
    /// The same, with what the files that hold the same weigh beside it.
    score: u64,
    /// How many files of those that were read hold the same, and how many were read.
    same: (usize, usize),
}

/// The pair of directories under which the most files are at both ends. `is_same` says whether two files hold the same,
/// and `before` is the pair that was found the last time.
pub(super) fn align(
    here: &[&SourceName],
    there: &[&SourceName],
    before: Option<&Prefixes>,
    mut is_same: impl FnMut(&SourceName, &SourceName) -> bool,
) -> Alignment {
    let names = Names::of(there.iter().copied());
    let weighed = candidates(here, there).into_iter().map(|prefixes| {
        let common = common(here, &names, &prefixes);
        let names = common.map(|(a, _)| weight(a, &prefixes)).sum();
        Tried {
            prefixes,
            names,
            score: names,
            same: (0, 0),
        }
    });
    let mut tried: Vec<Tried> = weighed.collect();
    let most = tried.iter().map(|one| one.names).max().unwrap_or(0);
    if most == 0 {
        return Alignment::default();
    }
    tried.retain(|one| one.names * 2 >= most);
    if tried.len() > 1 {
        for one in &mut tried {
            for (a, b) in common(here, &names, &one.prefixes).take(MOST_READ) {
                one.same.1 += 1;
                if is_same(a, &b) {
                    one.same.0 += 1;
                    one.score += weight(a, &one.prefixes);
                }
            }
        }
    }
    if let Some(alignment) = stays(&tried, most, before) {
        return alignment;
    }
    let most = tried.iter().map(|one| one.score).max().unwrap_or(0);
    let best = tried.into_iter().filter(|one| one.score == most);
    let best: Vec<_> = best.map(|one| one.prefixes).collect();
    match &best[..] {
        [one] => Alignment::known(one.clone()),
        several if several.contains(&Prefixes::default()) => Alignment::known(Prefixes::default()),
        // What cannot be told is not guessed.
        _ => Alignment::DOUBTFUL,
    }
}

/// The pair of the last time or else the roots, if no other has more names in common. Where none of its files is the
/// same, and all of another's are, that one may be meant by now: then it is doubtful, but for roots that were each
/// other's already.
fn stays(tried: &[Tried], most: u64, before: Option<&Prefixes>) -> Option<Alignment> {
    let root = Prefixes::default();
    let with_most = || tried.iter().filter(|one| one.names == most);
    let of_before = before.and_then(|pair| with_most().find(|one| one.prefixes == *pair));
    let own = of_before.or_else(|| with_most().find(|one| one.prefixes == root))?;
    let is_all_the_same = |one: &Tried| one.same.1 > 0 && one.same.0 == one.same.1;
    let is_doubtful = own.same.0 == 0 && with_most().any(is_all_the_same);
    let is_settled = own.prefixes == root && before == Some(&root);
    Some(match is_doubtful && !is_settled {
        true => Alignment::DOUBTFUL,
        false => Alignment::known(own.prefixes.clone()),
    })
}

/// A pair of directories, gone on below as far as all files in common lie in directories whose names differ in case: an
/// IDE's path mapping leads from the one to the other, and not to a name that it was not told.
pub(super) fn as_spelt(prefixes: &Prefixes, common: &[(&SourceName, SourceName)]) -> Prefixes {
    let directories = |(here, there): &(&SourceName, SourceName)| {
        let (here, _) = here
            .as_str()
            .strip_prefix(&prefixes.here)?
            .rsplit_once('/')?;
        let (there, _) = there
            .as_str()
            .strip_prefix(&prefixes.there)?
            .rsplit_once('/')?;
        let pairs = here.split('/').zip(there.split('/'));
        let pairs = pairs.map(|(here, there)| (here.to_owned(), there.to_owned()));
        Some(pairs.collect::<Vec<(String, String)>>())
    };
    let mut files = common
        .iter()
        .map(|pair| directories(pair).unwrap_or_default());
    let mut shared = files.next().unwrap_or_default();
    for other in files {
        let alike = shared.iter().zip(&other).take_while(|(a, b)| a == b);
        shared.truncate(alike.count());
    }
    let last = shared.iter().rposition(|(here, there)| here != there);
    shared.truncate(last.map_or(0, |last| last + 1));
    let mut spelt = prefixes.clone();
    for (here, there) in shared {
        spelt.here.push_str(&format!("{here}/"));
        spelt.there.push_str(&format!("{there}/"));
    }
    spelt
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
            let pair = before_common_end(a.as_str(), b.as_str());
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
    folded(leaf)
}

/// What is left of two names without the whole parts that their ends have in common.
fn before_common_end<'a>(one: &'a str, other: &'a str) -> (&'a str, &'a str) {
    let parts = one.rsplit('/').zip(other.rsplit('/'));
    let alike = parts.take_while(|(a, b)| folded(a) == folded(b));
    let lengths = alike.map(|(a, b)| (a.len() + 1, b.len() + 1));
    let (of_one, of_other) = lengths.fold((0, 0), |(x, y), (a, b)| (x + a, y + b));
    // No slash before the first part.
    let before =
        |text: &'a str, end: usize| &text[..text.len().saturating_sub(end.saturating_sub(1))];
    (before(one, of_one), before(other, of_other))
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
    match COMMON.contains(&folded(leaf).as_str()) && leaf.len() == end.len() {
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
        } = align(&here, &there, None, is_same);
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
        // As macOS writes it, and Linux.
        assert_eq!(
            aligned(&["U\u{308}ben/App.py"], &["srv/üben/app.py"], &[]),
            pair("", "srv/")
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
    fn directories_that_all_files_are_in_are_told_as_they_are_spelt() {
        let spelt = |here: &str, there: &str, files: &[(&str, &str)]| {
            let prefixes = Prefixes {
                here: here.to_owned(),
                there: there.to_owned(),
            };
            let here = names(&files.iter().map(|(here, _)| *here).collect::<Vec<_>>());
            let there = names(&files.iter().map(|(_, there)| *there).collect::<Vec<_>>());
            let files: Vec<_> = here.iter().zip(there).collect();
            let Prefixes { here, there } = as_spelt(&prefixes, &files);
            (here, there)
        };
        let app = ("Backend/api/App.py", "backend/api/app.py");
        assert_eq!(spelt("", "", &[app]), pair("Backend/", "backend/"));
        let beyond_ascii = [("Größe/a.py", "größe/a.py")];
        assert_eq!(spelt("", "", &beyond_ascii), pair("Größe/", "größe/"));
        let inner = [
            ("x/Web/a.py", "x/web/a.py"),
            ("x/Web/b/c.py", "x/web/b/c.py"),
        ];
        assert_eq!(spelt("", "", &inner), pair("x/Web/", "x/web/"));
        assert_eq!(spelt("x/", "x/", &inner), pair("x/Web/", "x/web/"));
        assert_eq!(spelt("", "", &[app, ("a.py", "a.py")]), pair("", ""));
        assert_eq!(spelt("", "", &[("a/b.py", "a/B.py")]), pair("", ""));
        assert_eq!(spelt("s/", "", &[]), pair("s/", ""));
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
        let doubtful = align(&here, &there, None, |_, _| false);
        assert!(
            !doubtful.is_known && doubtful.is_doubtful,
            "it is not guessed"
        );
        assert_eq!(doubtful.prefixes, Prefixes::default());
        assert_eq!(align(&here, &[], None, |_, _| true), Alignment::default());
    }

    #[test]
    fn copy_of_the_project_within_it_is_not_taken_for_it_once_a_file_was_edited() {
        let root = Prefixes::default();
        let old = Prefixes {
            here: "old/".to_owned(),
            there: String::new(),
        };
        let here = names(&["app.py", "db.py", "old/app.py", "old/db.py"]);
        let there = names(&["app.py", "db.py"]);
        let (here, there): (Vec<_>, Vec<_>) = (here.iter().collect(), there.iter().collect());
        let aligned = |before: Option<&Prefixes>, differ: &[&str]| {
            let is_same = |a: &SourceName, _: &SourceName| !differ.contains(&a.as_str());
            align(&here, &there, before, is_same)
        };
        let is_at = |prefixes: &Prefixes| Alignment::known(prefixes.clone());
        for before in [None, Some(&root)] {
            assert_eq!(aligned(before, &[]), is_at(&root));
            assert_eq!(aligned(before, &["app.py"]), is_at(&root));
            let all = ["app.py", "db.py", "old/app.py"];
            assert_eq!(aligned(before, &all), is_at(&root));
        }
        // Nothing but the last time says that both were edited, rather than that the part is meant.
        let both = ["app.py", "db.py"];
        assert_eq!(aligned(Some(&root), &both), is_at(&root));
        assert_eq!(aligned(None, &both), Alignment::DOUBTFUL);
        // One that was found stays as well, until all speaks for another.
        assert_eq!(aligned(Some(&old), &["old/app.py"]), is_at(&old));
        let of_old = ["old/app.py", "old/db.py"];
        assert_eq!(aligned(Some(&old), &of_old), Alignment::DOUBTFUL);
    }
}
