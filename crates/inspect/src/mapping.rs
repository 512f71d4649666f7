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
    /// Missing files, whether they are by the debuggee's paths already, and whether each was told.
    missing: Vec<(String, bool, bool)>,
    /// Files of stops that were told of.
    uncovered: Vec<String>,
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

    pub(crate) fn on_debuggee_file(&mut self, path: &str) {
        let new = !self.of_debuggee.iter().any(|known| known == path);
        let fits = path.len() <= LONGEST && self.of_debuggee.len() < MOST_FILES;
        // What a mapping covers is shown by the IDE's path.
        if new && fits && !self.is_covered(path) && is_absolute(path) {
            self.of_debuggee.push(path.to_owned());
        }
    }

    /// The debuggee has no such file. With `translated` the path is the one that the IDE's mapping has made.
    pub(crate) fn on_missing(&mut self, path: &str, translated: bool) {
        let new = !self.missing.iter().any(|(known, ..)| known == path);
        if new && path.len() <= LONGEST && self.missing.len() < MOST_MISSING {
            self.missing.push((path.to_owned(), translated, false));
        }
    }

    /// The next missing file that was not told of, and what would help, once something is known that may.
    pub(crate) fn poll(&mut self, roots: Option<&Mapping>) -> Option<Missing> {
        let known = &self.of_debuggee;
        let at = self.missing.iter().position(|(.., told)| !told)?;
        let (path, translated, _) = &self.missing[at];
        let tried =
            match *translated && roots.is_some_and(|roots| below(path, &roots.ide).is_none()) {
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
        let by_file = by_file.filter(|mapping| !self.is_within_one_tree(mapping, roots));
        let is_by_file = by_file.is_some();
        let by_roots = || {
            // Where a relative one leads to is not known: most likely to the directory of the roots, and has failed.
            let is_unknown = tried.as_ref().is_some_and(|there| !is_absolute(there));
            let roots = roots.filter(|_| !is_unknown)?;
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
        let missing = Missing {
            file: path.clone(),
            there,
            tried,
            mapping,
        };
        self.missing[at].2 = true;
        Some(missing)
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
        let by_file = by_file.filter(|mapping| !self.is_within_one_tree(mapping, roots));
        let by_roots = || {
            let roots = roots.filter(|roots| roots.ide != roots.debuggee)?;
            below(path, &roots.debuggee).map(|_| roots.clone())
        };
        let here = meant.filter(|_| by_file.is_some()).map(str::to_owned);
        let mapping = by_file.or_else(by_roots)?;
        self.uncovered.push(path.to_owned());
        let back = Mapping {
            ide: mapping.debuggee.clone(),
            debuggee: mapping.ide.clone(),
        };
        let of_roots = || back.apply(path).filter(|here| self.of_ide.contains(here));
        let here = here.or_else(of_roots);
        Some(Uncovered { here, mapping })
    }

    /// Whether a path is below a directory that the IDE has mapped, and so one of the IDE's.
    fn is_covered(&self, path: &str) -> bool {
        let mut known = self.in_force.iter();
        known.any(|mapping| below(path, &mapping.ide).is_some())
    }

    /// Whether both directories of what was found belong to the same sources. The files are two then that have one
    /// name, as each application of Django's has its `models.py`, and not one file at two ends.
    fn is_within_one_tree(&self, found: &Mapping, roots: Option<&Mapping>) -> bool {
        let holds_both = |tree: &str| {
            [&found.ide, &found.debuggee].iter().all(|directory| {
                below(directory, tree).is_some() || directory.as_str() == without_separator(tree)
            })
        };
        // One directory, which each end spells in its own way.
        if found.ide.to_lowercase() == found.debuggee.to_lowercase() {
            return false;
        }
        roots.is_some_and(|roots| holds_both(&roots.ide))
            || self.in_force.iter().any(|mapping| holds_both(&mapping.ide))
            || are_neighbours(&found.ide, &found.debuggee)
    }
}

impl Mapping {
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
    let parts = |path: &str| -> Vec<String> {
        let parts = components(path).filter(|part| !part.is_empty() && !part.ends_with(':'));
        parts.map(str::to_ascii_lowercase).collect()
    };
    let (one, other) = (parts(one), parts(other));
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (left_of_one, left_of_other) = (one.len() - common, other.len() - common);
    let is_near = left_of_one.min(left_of_other) == 0 || (left_of_one, left_of_other) == (1, 1);
    let is_home = matches!(one.first().map(String::as_str), Some("home" | "users"));
    // Two users may have the same project, each in a home of the same kind.
    let least = if is_home { 2 } else { 1 };
    common > least || (common == least && is_near)
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
mod tests {
    use super::*;

    fn mapping(missing: &str, files: &[&str]) -> Option<Mapping> {
        let mut known = Files::default();
        files.iter().for_each(|file| known.on_debuggee_file(file));
        known.on_missing(missing, false);
        known.poll(None).unwrap().mapping
    }

    #[test]
    fn what_is_before_the_common_end_is_mapped() {
        let found = mapping(
            "/home/me/project/web/app.py",
            &[
                "/usr/lib/app.py",
                "/srv/app/web/app.py",
                "/srv/app/web/db.py",
            ],
        );
        let expected = Mapping {
            ide: "/home/me/project".into(),
            debuggee: "/srv/app".into(),
        };
        assert_eq!(found, Some(expected));
        let windows = mapping(r"C:\work\app.py", &["/app.py"]);
        let expected = Mapping {
            ide: r"C:\work".into(),
            debuggee: "/".into(),
        };
        assert_eq!(windows, Some(expected));
    }

    #[test]
    fn no_mapping_is_made_up() {
        assert_eq!(mapping("/home/me/app.py", &["/srv/other.py"]), None);
        assert_eq!(mapping("/srv/app.py", &["/srv/app.py"]), None);
        let mut files = Files::default();
        files.on_missing("/home/me/app.py", false);
        assert_eq!(files.poll(None), None);
        files.on_debuggee_file("relative/app.py");
        assert_eq!(files.poll(None), None);
    }

    #[test]
    fn without_a_file_in_common_the_roots_help() {
        let roots = Mapping {
            ide: "/home/me/project".into(),
            debuggee: "/srv/app".into(),
        };
        let mut files = Files::default();
        files.on_missing("/home/me/project/a.py", false);
        files.on_missing("/home/me/projects/a.py", false);
        let told = files.poll(Some(&roots)).unwrap();
        assert_eq!(told.mapping, Some(roots.clone()));
        assert_eq!(told.there.as_deref(), Some("/srv/app/a.py"));
        assert_eq!(files.poll(Some(&roots)), None);
    }

    #[test]
    fn the_mapping_that_has_just_failed_is_never_proposed() {
        let roots = Mapping {
            ide: "/home/me/p".into(),
            debuggee: "/app".into(),
        };
        let mut files = Files::default();
        files.on_mapping("/home/me/p", "/app");
        files.on_missing("/home/me/p/backend/app.py", false);
        assert_eq!(files.poll(Some(&roots)), None, "nothing is known yet");
        // Shown by the IDE's path, since the mapping covers it.
        files.on_debuggee_file("/home/me/p/backend/app.py");
        assert_eq!(files.poll(Some(&roots)), None);
        files.on_debuggee_file("/app/app.py");
        let told = files.poll(Some(&roots)).unwrap();
        assert_eq!(told.tried.as_deref(), Some("/app/backend/app.py"));
        assert_eq!(told.there.as_deref(), Some("/app/app.py"));
        assert_eq!(told.mapping.unwrap().ide, "/home/me/p/backend");
        files.on_missing("/home/me/p/other.py", false);
        let told = files.poll(Some(&roots)).unwrap();
        assert_eq!(
            (told.mapping, told.tried.as_deref()),
            (None, Some("/app/other.py"))
        );
    }

    #[test]
    fn files_of_libraries_and_those_of_which_there_are_two_are_no_evidence() {
        let lib = "/usr/lib/python3.11/site-packages/x/app.py";
        assert_eq!(mapping("/home/me/app.py", &[lib, "/srv/b.py"]), None);
        assert_eq!(
            mapping("/home/me/app.py", &["/srv/1/app.py", "/srv/2/app.py"]),
            None
        );
    }

    #[test]
    fn names_that_differ_in_case_are_mapped_as_far_as_a_mapping_leads_to_them() {
        let missing = |file: &str, there: &str| {
            let mut known = Files::default();
            known.on_debuggee_file(there);
            known.on_missing(file, false);
            let roots = Mapping {
                ide: "/home/me".into(),
                debuggee: "/srv".into(),
            };
            let missing = known.poll(Some(&roots)).unwrap();
            let mapping = missing.mapping.map(|found| (found.ide, found.debuggee));
            assert_eq!(missing.there.as_deref(), Some(there), "{file}");
            mapping
        };
        let pair = |ide: &str, debuggee: &str| Some((ide.to_owned(), debuggee.to_owned()));
        assert_eq!(
            missing("/home/me/Web/api/app.py", "/srv/web/api/app.py"),
            pair("/home/me/Web", "/srv/web")
        );
        assert_eq!(
            missing("/home/me/App/x.py", "/home/me/app/x.py"),
            pair("/home/me/App", "/home/me/app")
        );
        assert_eq!(missing("/home/me/Web/App.py", "/srv/web/app.py"), None);
        assert_eq!(
            missing("/home/me/Web/App.py", r"C:\srv\web\app.py"),
            pair("/home/me", r"C:\srv")
        );
        let mut files = Files::default();
        files.on_ide_file("/home/me/Web/app.py");
        let told = files.on_stop("/srv/web/app.py", None).unwrap();
        assert_eq!(told.here.as_deref(), Some("/home/me/Web/app.py"));
        assert_eq!(told.mapping.ide, "/home/me/Web");
        assert_eq!(files.on_stop("/srv/web/App.py", None), None);
    }

    #[test]
    fn a_stop_in_a_file_that_nothing_maps_is_told_once() {
        let mut files = Files::default();
        files.on_mapping("/home/me/p", "/srv/releases/5");
        files.on_ide_file("/home/me/p/app.py");
        assert_eq!(files.on_stop("/home/me/p/app.py", None), None);
        assert_eq!(files.on_stop("/usr/lib/python3.11/json/app.py", None), None);
        assert_eq!(files.on_stop("/srv/current/other.py", None), None);
        let told = files.on_stop("/srv/current/app.py", None).unwrap();
        assert_eq!(told.here.as_deref(), Some("/home/me/p/app.py"));
        assert_eq!(told.mapping.debuggee, "/srv/current");
        assert_eq!(files.on_stop("/srv/current/app.py", None), None);
    }

    const ROOTS: (&str, &str) = ("/home/me/p", "/srv/app");

    fn of((ide, debuggee): (&str, &str)) -> Mapping {
        let (ide, debuggee) = (ide.into(), debuggee.into());
        Mapping { ide, debuggee }
    }

    #[test]
    fn where_a_mapping_leads_to_a_relative_directory_its_files_are_covered() {
        let roots = of(ROOTS);
        let mut files = Files::default();
        files.on_mapping("/home/me/p", ".");
        files.on_ide_file("/home/me/p/users/models.py");
        // The debugger names what is below it by the IDE's paths.
        files.on_debuggee_file("/home/me/p/orders/models.py");
        assert_eq!(files.on_stop("/home/me/p/orders/models.py", None), None);
        assert_eq!(
            files.on_stop("/home/me/p/orders/views.py", Some(&roots)),
            None
        );
        // Its mapping is tried already, and has failed.
        files.on_missing("/home/me/p/users/models.py", false);
        assert_eq!(files.poll(Some(&roots)), None, "nothing is known yet");
        files.on_debuggee_file("/srv/app/manage.py");
        let told = files.poll(Some(&roots)).unwrap();
        assert_eq!(told.mapping, None);
        assert_eq!(told.tried.as_deref(), Some("./users/models.py"));
    }

    #[test]
    fn paths_of_windows_are_told_by_drives_and_separators() {
        for path in [r"C:\app", "C:/app", r"\\host\app", r"app\web"] {
            assert!(is_of_windows(path), "{path}");
        }
        for path in ["/srv/app", "./app", "app/web", "app", ".", r"/srv/a\b"] {
            assert!(!is_of_windows(path), "{path}");
        }
        let there = |there: &str| of(("/home/me", there)).apply("/home/me/web/app.py");
        assert_eq!(there("srv").as_deref(), Some("srv/web/app.py"));
        assert_eq!(there(r"srv\x").as_deref(), Some(r"srv\x\web\app.py"));
        let in_case = between("/home/me/Web/app.py", "srv/web/app.py").unwrap();
        assert_eq!(in_case.ide, "/home/me/Web");
    }

    #[test]
    fn two_files_of_one_name_in_the_same_sources_give_no_mapping() {
        let stop = |breakpoint: &str, stop: &str, roots: Option<Mapping>| {
            let mut files = Files::default();
            files.on_ide_file(breakpoint);
            files.on_stop(stop, roots.as_ref())
        };
        for (breakpoint, path) in [
            ("/home/me/p/users/models.py", "/home/me/p/orders/models.py"),
            ("/home/me/p/users/models.py", "/home/me/p/a/b/models.py"),
            ("/app/users/models.py", "/app/orders/models.py"),
            ("/app/models.py", "/app/orders/models.py"),
            (r"C:\work\users\models.py", r"c:\work\orders\models.py"),
        ] {
            assert_eq!(stop(breakpoint, path, None), None, "{path}");
            assert_eq!(stop(path, breakpoint, None), None, "{path}");
            assert_eq!(mapping(breakpoint, &[path]), None, "{path}");
        }
        let (users, orders) = ("/srv/a/users/x.py", "/srv/b/orders/x.py");
        assert!(stop(users, orders, None).is_some());
        assert_eq!(stop(users, orders, Some(of(("/srv", "/app")))), None);
        // The same project of two users, and in two containers.
        assert_eq!(
            mapping("/home/me/p/app.py", &["/home/you/p/app.py"]),
            Some(of(("/home/me", "/home/you")))
        );
        assert_eq!(
            mapping("/src/app.py", &["/app/app.py"]),
            Some(of(("/src", "/app")))
        );
    }
}
