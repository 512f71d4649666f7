//! From a file that the debuggee does not have to the path mapping with which it would.
//!
//! The IDE names a file by its own path, and the debuggee its own files by theirs. If two of them end alike, they are
//! held to be the same file, and what comes before is what must be mapped.

/// Files of the debuggee that are remembered.
const MOST_FILES: usize = 128;

/// Missing files that wait for more to be known.
const MOST_MISSING: usize = 8;

/// Mappings of the IDE's that are remembered.
const MOST_MAPPINGS: usize = 32;

/// The longest path that is looked at, in bytes.
const LONGEST: usize = 1024;

/// Where the same files are at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The directory at the IDE.
    pub ide: String,
    /// The directory at the debuggee.
    pub debuggee: String,
}

/// A file of the IDE's that the debuggee does not have, with what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) file: String,
    /// Where the path mapping that is in force leads to.
    pub(crate) tried: Option<String>,
    /// The debuggee's file that seems to be meant.
    pub(crate) there: Option<String>,
    /// The mapping with which it would be found: never the one that has just failed. There is none to a file whose own
    /// name differs in case.
    pub(crate) mapping: Option<Mapping>,
}

/// A file of the debuggee's in which the program has stopped, and that no mapping makes one of the IDE's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uncovered {
    /// The IDE's file that seems to be meant.
    pub(crate) here: Option<String>,
    pub(crate) mapping: Mapping,
}

/// The files that both ends have named, and the mappings between them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    of_debuggee: Vec<String>,
    /// Those in which the IDE sets breakpoints.
    of_ide: Vec<String>,
    /// What the IDE has told the debugger. The debuggee's directory may be relative, to where the program was started,
    /// and so its whole path is not known: `.` is what VS Code's template has.
    in_force: Vec<Mapping>,
    missing: Vec<MissingFile>,
    /// Files of stops that were told of.
    uncovered: Vec<String>,
    /// The program's own file, as it was started.
    program: Option<String>,
    /// Files that the debugger has shown, by the IDE's paths where its mappings make them such.
    shown: Vec<String>,
}

/// A file that the debuggee does not have.
#[derive(Debug)]
struct MissingFile {
    path: String,
    /// Whether the path is the debuggee's already.
    is_translated: bool,
    is_told: bool,
    /// Whether it is told again with the mapping of the roots, should it turn out that that is not the one that failed.
    waits: bool,
}

impl Files {
    /// The IDE has a mapping.
    pub(crate) fn on_mapping(&mut self, ide: &str, debuggee: &str) {
        let fits = ide.len().max(debuggee.len()) <= LONGEST && self.in_force.len() < MOST_MAPPINGS;
        if fits && is_absolute(ide) && !debuggee.is_empty() {
            self.in_force.push(Mapping {
                ide: ide.to_owned(),
                debuggee: debuggee.to_owned(),
            });
        }
    }

    /// The IDE sets breakpoints in a file.
    pub(crate) fn on_ide_file(&mut self, path: &str) {
        let new = !self.of_ide.iter().any(|known| known == path);
        if new && path.len() <= LONGEST && self.of_ide.len() < MOST_FILES {
            self.of_ide.push(path.to_owned());
        }
    }

    /// The program is this file, whatever the mappings make of it.
    pub(crate) fn on_program(&mut self, path: &str) {
        if path.len() <= LONGEST {
            self.program = Some(path.to_owned());
        }
        self.note_of_debuggee(path);
    }

    /// The debugger has shown a file.
    pub(crate) fn on_debuggee_file(&mut self, path: &str) {
        let new = !self.shown.iter().any(|known| known == path);
        if new && path.len() <= LONGEST && self.shown.len() < MOST_FILES {
            self.shown.push(path.to_owned());
        }
        self.note_of_debuggee(path);
    }

    fn note_of_debuggee(&mut self, path: &str) {
        let new = !self.of_debuggee.iter().any(|known| known == path);
        let fits = path.len() <= LONGEST && self.of_debuggee.len() < MOST_FILES;
        // What a mapping covers is shown by the IDE's path.
        if new && fits && !self.is_covered(path) && is_absolute(path) {
            self.of_debuggee.push(path.to_owned());
        }
    }

    /// The debuggee has no such file. With `translated` the path is the one that the IDE's mapping has made.
    pub(crate) fn on_missing(&mut self, path: &str, translated: bool) {
        let new = !self.missing.iter().any(|known| known.path == path);
        if new && path.len() <= LONGEST && self.missing.len() < MOST_MISSING {
            self.missing.push(MissingFile {
                path: path.to_owned(),
                is_translated: translated,
                is_told: false,
                waits: false,
            });
        }
    }

    /// The next missing file that was not told of, and what would help, once something is known that may.
    pub(crate) fn poll(&mut self, roots: Option<&Mapping>) -> Option<Missing> {
        let is_elsewhere = roots.is_some_and(|roots| self.is_started_elsewhere(roots));
        let mut files = self.missing.iter().enumerate();
        let (at, missing) = files.find_map(|(at, file)| {
            let is_due = !file.is_told || (file.waits && is_elsewhere);
            let missing = is_due.then(|| self.look_for(file, roots, is_elsewhere));
            let missing = missing.flatten()?;
            // A second time only a mapping is news.
            let is_news = !file.is_told || missing.mapping.is_some();
            is_news.then_some((at, missing))
        })?;
        let file = &mut self.missing[at];
        let is_relative = missing
            .tried
            .as_ref()
            .is_some_and(|tried| !is_absolute(tried));
        file.waits = !file.is_told && is_relative && missing.there.is_none();
        file.is_told = true;
        Some(missing)
    }

    /// What would help to find a missing file; none as long as nothing is known that may.
    fn look_for(
        &self,
        MissingFile {
            path,
            is_translated,
            ..
        }: &MissingFile,
        roots: Option<&Mapping>,
        is_elsewhere: bool,
    ) -> Option<Missing> {
        let known = &self.of_debuggee;
        let tried =
            match *is_translated && roots.is_some_and(|roots| below(path, &roots.ide).is_none()) {
                true => Some(path.clone()),
                false => self.in_force.iter().find_map(|mapping| mapping.apply(path)),
            };
        let leads_elsewhere = |mapping: &Mapping| {
            mapping
                .apply(path)
                .is_some_and(|there| Some(&there) != tried.as_ref())
        };
        let meant = alike(path, known);
        let by_file = meant.and_then(|there| between(path, there));
        // A name that differs in case is one that no mapping leads to.
        let is_in_another_case = meant.is_some() && by_file.is_none();
        let by_file = by_file.filter(leads_elsewhere);
        let by_file = by_file.and_then(|mapping| self.between_trees(mapping, path, roots, true));
        let is_by_file = by_file.is_some();
        let by_roots = || {
            // Where a relative one leads to is most likely the directory of the roots, and has failed.
            let is_unknown = tried.as_ref().is_some_and(|there| !is_absolute(there));
            let roots = roots.filter(|_| !is_unknown || is_elsewhere)?;
            by_roots(path, roots).filter(leads_elsewhere)
        };
        let mapping = match is_in_another_case {
            true => None,
            false => by_file.or_else(by_roots),
        };
        if mapping.is_none() && known.is_empty() {
            // The debuggee has not said yet which files it has.
            return None;
        }
        let there = match is_by_file || is_in_another_case {
            true => meant.map(str::to_owned),
            false => mapping.as_ref().and_then(|mapping| mapping.apply(path)),
        };
        Some(Missing {
            file: path.clone(),
            there,
            tried,
            mapping,
        })
    }

    /// Whether the program was started elsewhere than where a mapping to `.` is right by the roots.
    fn is_started_elsewhere(&self, roots: &Mapping) -> bool {
        let to_start = |mapping: &&Mapping| without_separator(&mapping.debuggee) == ".";
        let mut mappings = self.in_force.iter().filter(to_start);
        mappings.any(|mapping| {
            let meant = roots.counterpart(&mapping.ide);
            meant.is_some_and(|meant| self.is_not_started_in(&meant, &mapping.ide))
        })
    }

    /// Whether the files that were shown say that the program was not started in `meant`, to which `.` would have to
    /// lead from the IDE's directory.
    fn is_not_started_in(&self, meant: &str, ide: &str) -> bool {
        // How much of the program's path is behind the IDE's directory tells its start.
        let within = self.shown.iter().filter_map(|path| below(path, ide));
        let starts: Vec<_> = within.filter_map(|rest| self.started_in(rest)).collect();
        let is_above = |start: &String| below(meant, start).is_some();
        // One of several files of the program's name is it, and none of the others.
        let is_meant = |start: &String| without_separator(start) == without_separator(meant);
        let is_started_above = starts.iter().any(is_above) && !starts.iter().any(is_meant);
        // Below the directory of its start a file would have been made one of the IDE's.
        let is_left = |path: &String| below(path, ide).is_none() && below(path, meant).is_some();
        is_started_above || self.shown.iter().any(is_left)
    }

    /// Where the program was started, if this is its own file from there on.
    fn started_in(&self, rest: &str) -> Option<String> {
        let program = self.program.as_ref().filter(|path| is_absolute(path))?;
        let parts = || components(rest).filter(|part| !part.is_empty()).rev();
        let count = parts().count();
        let is_end = components(program).rev().take(count).eq(parts());
        is_end.then(|| without_end(program, count))
    }

    /// What is to be said of a stop in a file, if nothing maps it and it seems to be one of the IDE's.
    pub(crate) fn on_stop(&mut self, path: &str, roots: Option<&Mapping>) -> Option<Uncovered> {
        let is_covered = self.of_ide.iter().any(|file| file == path) || self.is_covered(path);
        let is_told =
            self.uncovered.len() >= MOST_MISSING || self.uncovered.iter().any(|told| told == path);
        if is_covered || is_told || !is_absolute(path) || is_library(path) {
            return None;
        }
        let meant = alike(path, &self.of_ide);
        let by_file = meant.and_then(|here| between(here, path));
        let by_file = by_file
            .and_then(|mapping| self.between_trees(mapping, meant.unwrap_or(""), roots, false));
        let by_roots = || {
            let roots = roots.filter(|roots| roots.ide != roots.debuggee)?;
            below(path, &roots.debuggee).map(|_| roots.clone())
        };
        let here = meant.filter(|_| by_file.is_some()).map(str::to_owned);
        let mapping = by_file.or_else(by_roots)?;
        self.uncovered.push(path.to_owned());
        let back = mapping.reversed();
        let of_roots = || back.apply(path).filter(|here| self.of_ide.contains(here));
        let here = here.or_else(of_roots);
        Some(Uncovered { here, mapping })
    }

    /// Whether a path is below a directory that the IDE has mapped, and so one of the IDE's.
    fn is_covered(&self, path: &str) -> bool {
        let mut known = self.in_force.iter();
        known.any(|mapping| below(path, &mapping.ide).is_some())
    }

    /// What was found of the IDE's `file`, unless its directories are two of one project. Of directories near to each
    /// other in one home only a mapping of a whole project is left.
    fn between_trees(
        &self,
        found: Mapping,
        file: &str,
        roots: Option<&Mapping>,
        is_missing: bool,
    ) -> Option<Mapping> {
        if self.is_within_one_tree(&found, roots) {
            return None;
        }
        match !is_one_directory(&found) && are_neighbours(&found.ide, &found.debuggee) {
            true => self.of_project(&found, file, is_missing),
            false => Some(found),
        }
    }

    /// The mapping of a project that lies in one place of a home here and in another one there, if it has the same
    /// name: what the IDE maps is its project, and the directory of the program is one.
    fn of_project(&self, found: &Mapping, file: &str, is_missing: bool) -> Option<Mapping> {
        if !is_top_of_home(&found.ide, &found.debuggee) {
            return None;
        }
        let back = found.reversed();
        let mut opened = self.in_force.iter().map(|mapping| mapping.ide.as_str());
        let opened =
            opened.find(|ide| below(file, ide).is_some() && below(ide, &found.ide).is_some());
        // Of a file that both ends have, each of several projects may have one.
        let program = self
            .program
            .as_deref()
            .filter(|_| is_missing && opened.is_none());
        let started = program
            .map(|program| without_end(program, 1))
            .filter(|there| below(there, &found.debuggee).is_some())
            .and_then(|there| back.apply(&there))
            .filter(|ide| below(file, ide).is_some());
        let ide = opened
            .map(|ide| without_separator(ide).to_owned())
            .or(started)?;
        let is_there_too = self
            .of_debuggee
            .iter()
            .any(|path| below(path, &ide).is_some());
        let debuggee = found.apply(&ide).filter(|_| !is_there_too)?;
        Some(Mapping { ide, debuggee })
    }

    /// Whether both directories of what was found belong to the same sources. The files are two then that have one
    /// name, as each application of Django's has its `models.py`, and not one file at two ends.
    fn is_within_one_tree(&self, found: &Mapping, roots: Option<&Mapping>) -> bool {
        let holds_both = |tree: &str| {
            [&found.ide, &found.debuggee].iter().all(|directory| {
                below(directory, tree).is_some() || directory.as_str() == without_separator(tree)
            })
        };
        if is_one_directory(found) {
            return false;
        }
        roots.is_some_and(|roots| holds_both(&roots.ide))
            || self.in_force.iter().any(|mapping| holds_both(&mapping.ide))
    }
}

impl Mapping {
    fn reversed(&self) -> Self {
        Self {
            ide: self.debuggee.clone(),
            debuggee: self.ide.clone(),
        }
    }

    /// The debuggee's directory for one of the IDE's.
    fn counterpart(&self, directory: &str) -> Option<String> {
        match without_separator(directory) == without_separator(&self.ide) {
            true => Some(self.debuggee.clone()),
            false => self.apply(without_separator(directory)),
        }
    }

    /// The debuggee's path for one of the IDE's.
    fn apply(&self, path: &str) -> Option<String> {
        let below = below(path, &self.ide)?;
        let separator = match is_of_windows(&self.debuggee) {
            true => '\\',
            false => '/',
        };
        let mut there = self.debuggee.trim_end_matches(['/', '\\']).to_owned();
        for part in components(below).filter(|part| !part.is_empty()) {
            there.push(separator);
            there.push_str(part);
        }
        Some(there)
    }
}

/// What of a path is below a directory.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(without_separator(directory))?;
    rest.starts_with(['/', '\\']).then_some(rest)
}

fn without_separator(directory: &str) -> &str {
    directory.trim_end_matches(['/', '\\'])
}

/// Whether two directories are as near to each other as those of one project: beside each other, one in the other, or
/// in a directory that is more than a disk, a home or what holds the homes.
fn are_neighbours(one: &str, other: &str) -> bool {
    let (one, other) = (directories(one), directories(other));
    let common = common_beginning(&one, &other);
    let (left_of_one, left_of_other) = (one.len() - common, other.len() - common);
    let is_near = left_of_one.min(left_of_other) == 0 || (left_of_one, left_of_other) == (1, 1);
    let is_home = matches!(one.first().map(String::as_str), Some("home" | "users"));
    // Two users may have the same project, each in a home of the same kind.
    let least = if is_home { 2 } else { 1 };
    common > least || (common == least && is_near)
}

/// Whether two directories have a user's home in common, and no directory within it.
fn is_top_of_home(one: &str, other: &str) -> bool {
    let (one, other) = (directories(one), directories(other));
    let home = match one.first().map(String::as_str) {
        Some("home" | "users") => 2,
        Some("root") => 1,
        _ => return false,
    };
    common_beginning(&one, &other) == home
}

/// The parts of a path without its drive, by which it is compared.
fn directories(path: &str) -> Vec<String> {
    let parts = components(path).filter(|part| !part.is_empty() && !part.ends_with(':'));
    parts.map(str::to_ascii_lowercase).collect()
}

fn common_beginning(one: &[String], other: &[String]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// Whether it is one directory, which each end spells in its own way.
fn is_one_directory(found: &Mapping) -> bool {
    found.ide.to_lowercase() == found.debuggee.to_lowercase()
}

fn is_absolute(path: &str) -> bool {
    path.starts_with(['/', '\\']) || has_drive(path)
}

/// Whether a file was installed, rather than written by whoever debugs.
fn is_library(path: &str) -> bool {
    let of_python = |part: &str| part.starts_with("python3.") || part.starts_with("python2.");
    components(path).any(|part| {
        matches!(part, "site-packages" | "dist-packages" | "node_modules") || of_python(part)
    })
}

/// The file that has the longest end in common with another one; none if that cannot be told.
fn alike<'a>(path: &str, files: &'a [String]) -> Option<&'a str> {
    let files = || files.iter().filter(|file| !is_library(file));
    let length = files().map(|file| common_end(path, file)).max()?;
    let mut alike = files().filter(|file| common_end(path, file) == length);
    let file = alike.next()?;
    // Every package has files of these names.
    let common = ["__init__.py", "__main__.py"]
        .iter()
        .any(|name| path.ends_with(name));
    let is_none = length == 0 || file == path || (common && length == 1) || alike.next().is_some();
    (!is_none).then_some(file)
}

/// The mapping by which one file is the other. Where the debuggee tells names apart by their case, as Windows does not,
/// what differs in that is no end in common; none if that is the file's own name.
fn between(ide: &str, debuggee: &str) -> Option<Mapping> {
    let length = match is_of_windows(debuggee) {
        true => common_end(ide, debuggee),
        false => components(ide)
            .rev()
            .zip(components(debuggee).rev())
            .take_while(|(a, b)| a == b && !a.is_empty())
            .count(),
    };
    (length > 0).then(|| Mapping {
        ide: without_end(ide, length),
        debuggee: without_end(debuggee, length),
    })
}

/// Whether a path is one of Windows, where the case of names means nothing: by its drive, or by its separators where
/// there is no `/` before them. One that could be of either system is taken for one of the others.
fn is_of_windows(path: &str) -> bool {
    has_drive(path)
        || path
            .find(['/', '\\'])
            .is_some_and(|at| path[at..].starts_with('\\'))
}

fn has_drive(path: &str) -> bool {
    path.as_bytes().get(1) == Some(&b':')
}

/// The mapping by what the tunnel knows of the sources at both ends.
fn by_roots(path: &str, roots: &Mapping) -> Option<Mapping> {
    below(path, &roots.ide)?;
    (roots.ide != roots.debuggee).then(|| roots.clone())
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split(['/', '\\'])
}

/// How many components the ends of two paths have in common, whatever their case.
fn common_end(one: &str, other: &str) -> usize {
    components(one)
        .rev()
        .zip(components(other).rev())
        .take_while(|(a, b)| a.eq_ignore_ascii_case(b) && !a.is_empty())
        .count()
}

/// A path without so many of its last components.
fn without_end(path: &str, count: usize) -> String {
    let end: usize = components(path)
        .rev()
        .take(count)
        .map(|c| c.len() + 1)
        .sum();
    let rest = &path[..path.len().saturating_sub(end)];
    if rest.is_empty() { "/" } else { rest }.to_owned()
}

#[cfg(test)]
mod tests;
