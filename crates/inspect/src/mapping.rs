//! From a file that the debuggee does not have to the path mapping with which it would.
//!
//! The IDE names a file by its own path, and the debuggee its own files by theirs. If two of them end alike, they are
//! held to be the same file, and what comes before is what must be mapped.

/// Files of the debuggee that are remembered.
const MOST_FILES: usize = 128;

/// Missing files that wait for more to be known.
const MOST_MISSING: usize = 8;

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

/// The files that both ends have named.
#[derive(Debug, Default)]
pub(crate) struct Files {
    of_debuggee: Vec<String>,
    /// Missing files, and whether each was told.
    missing: Vec<(String, bool)>,
}

impl Files {
    pub(crate) fn on_debuggee_file(&mut self, path: &str) {
        let new = !self.of_debuggee.iter().any(|known| known == path);
        let fits = path.len() <= LONGEST && self.of_debuggee.len() < MOST_FILES;
        if new && fits && is_absolute(path) {
            self.of_debuggee.push(path.to_owned());
        }
    }

    pub(crate) fn on_missing(&mut self, path: &str) {
        let new = !self.missing.iter().any(|(known, _)| known == path);
        if new && path.len() <= LONGEST && self.missing.len() < MOST_MISSING {
            self.missing.push((path.to_owned(), false));
        }
    }

    /// The next missing file that was not told of, and what would help, once something is known that may.
    pub(crate) fn poll(&mut self, roots: Option<&Mapping>) -> Option<(String, Option<Mapping>)> {
        let known = &self.of_debuggee;
        let (path, told) = self.missing.iter_mut().find(|(_, told)| !told)?;
        let mapping = best(path, known).or_else(|| by_roots(path, roots?));
        if mapping.is_none() && known.is_empty() {
            // The debuggee has not said yet which files it has.
            return None;
        }
        *told = true;
        Some((path.clone(), mapping))
    }
}

fn is_absolute(path: &str) -> bool {
    path.starts_with(['/', '\\']) || path.as_bytes().get(1) == Some(&b':')
}

/// The mapping by the file that has the longest end in common.
fn best(path: &str, files: &[String]) -> Option<Mapping> {
    let common = |file: &String| common_end(path, file);
    let file = files.iter().max_by_key(|file| common(file))?;
    let length = common(file);
    // Every package has files of these names.
    let common = ["__init__.py", "__main__.py"]
        .iter()
        .any(|name| path.ends_with(name));
    if length == 0 || file == path || (common && length == 1) {
        return None;
    }
    Some(Mapping {
        ide: without_end(path, length),
        debuggee: without_end(file, length),
    })
}

/// The mapping by what the tunnel knows of both working directories.
fn by_roots(path: &str, roots: &Mapping) -> Option<Mapping> {
    let under = path.strip_prefix(roots.ide.trim_end_matches(['/', '\\']))?;
    (under.starts_with(['/', '\\']) && roots.ide != roots.debuggee).then(|| roots.clone())
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split(['/', '\\'])
}

/// How many components the ends of two paths have in common.
fn common_end(one: &str, other: &str) -> usize {
    components(one)
        .rev()
        .zip(components(other).rev())
        .take_while(|(a, b)| a == b && !a.is_empty())
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
        known.on_missing(missing);
        known.poll(None).unwrap().1
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
        files.on_missing("/home/me/app.py");
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
        files.on_missing("/home/me/project/a.py");
        files.on_missing("/home/me/projects/a.py");
        let told = files.poll(Some(&roots)).unwrap();
        assert_eq!(told, ("/home/me/project/a.py".into(), Some(roots.clone())));
        assert_eq!(files.poll(Some(&roots)), None);
    }
}
