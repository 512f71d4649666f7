//! The files below a directory that Git's ignore files leave: `.gitignore` of each directory, and `info/exclude` of
//! each repository. A repository within another one has its own rules alone.
//!
//! The patterns are matched by `gix-ignore`. The crate `ignore` walks as well, but brings regular expressions along:
//! 0.9 MB of a program whose pages are all in memory.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    fs::{self, File, FileType},
    io::{self, Read},
    path::{MAIN_SEPARATOR, Path, PathBuf},
    vec,
};

use gix_ignore::{Search, glob::pattern::Case, search::Ignore};
use p2pdbg_facts::GitCheckout;

/// The most that is read of a file with patterns, in bytes.
const MOST_PATTERNS: u64 = 1 << 20;

/// Directories in which nobody has sources, and that take long: a connect is started in `/` of a container.
const OF_KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Walks through a directory, in the order of the names, and never through a link.
pub(super) struct Walk<F> {
    levels: Vec<Level>,
    repositories: Vec<Rules>,
    depth: usize,
    wanted: F,
    /// How many directories were passed over: too deep, or closed to this user.
    passed_over: usize,
}

/// A directory or a file that is not ignored.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) is_file: bool,
}

/// A directory that is walked through.
struct Level {
    directory: PathBuf,
    entries: vec::IntoIter<(OsString, FileType)>,
    /// Whether its repository ends with it, or else how many lists of patterns there were before its own.
    before: Option<usize>,
}

/// The patterns of a repository, from its root to the directory that is walked through.
struct Rules {
    root: PathBuf,
    search: Search,
}

impl<F: Fn(&Path) -> bool> Walk<F> {
    /// Through `from`, through so many directories within each other, and only to those paths for which `wanted` holds.
    pub(super) fn new(from: PathBuf, depth: usize, wanted: F) -> Self {
        let mut walk = Self {
            levels: Vec::new(),
            repositories: Vec::new(),
            depth,
            wanted,
            passed_over: 0,
        };
        walk.enter(from);
        walk
    }

    /// How many directories were not looked into so far that no ignore file leaves out.
    pub(super) fn passed_over(&self) -> usize {
        self.passed_over
    }

    fn enter(&mut self, directory: PathBuf) {
        let is_repository = fs::symlink_metadata(directory.join(".git")).is_ok();
        let before = match self.repositories.last() {
            Some(rules) if !is_repository => Some(rules.search.patterns.len()),
            _ => {
                self.repositories.push(Rules::of_repository(&directory));
                None
            }
        };
        if let Some(rules) = self.repositories.last_mut() {
            rules.add(&directory.join(".gitignore"));
        }
        let listed = fs::read_dir(&directory);
        self.passed_over += usize::from(listed.is_err());
        let named = listed
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name(), entry.file_type().ok()?)));
        let mut entries: Vec<_> = named.collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.levels.push(Level {
            directory,
            entries: entries.into_iter(),
            before,
        });
    }

    fn leave(&mut self) {
        match self.levels.pop().and_then(|level| level.before) {
            None => drop(self.repositories.pop()),
            Some(before) => {
                if let Some(rules) = self.repositories.last_mut() {
                    rules.search.patterns.truncate(before);
                }
            }
        }
    }

    /// Whether ignore files leave it out. A hidden one, or what Python has compiled, is left out unless they name it as
    /// an exception.
    fn is_left_out(&self, path: &Path, name: &OsStr, is_directory: bool) -> bool {
        let rules = self.repositories.last();
        let is_exception = rules.and_then(|rules| rules.judge(path, is_directory));
        name == ".git" || !is_exception.unwrap_or(!is_passed_over(name))
    }
}

/// Whether something is hidden, or is what Python makes of the sources at each end by itself, and never the same.
pub(super) fn is_passed_over(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__pycache__"
}

impl<F: Fn(&Path) -> bool> Iterator for Walk<F> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let level = self.levels.last_mut()?;
            let Some((name, kind)) = level.entries.next() else {
                self.leave();
                continue;
            };
            let path = level.directory.join(&name);
            let is_of_kernel = OF_KERNEL
                .iter()
                .any(|directory| path == Path::new(directory));
            if is_of_kernel
                || !(self.wanted)(&path)
                || self.is_left_out(&path, &name, kind.is_dir())
            {
                continue;
            }
            match kind.is_dir() {
                true if self.levels.len() < self.depth => self.enter(path.clone()),
                true => self.passed_over += 1,
                false => {}
            }
            let is_file = kind.is_file();
            return Some(Entry { path, is_file });
        }
    }
}

impl Rules {
    /// Those of the repository at `root`, if there is one, for all of it.
    fn of_repository(root: &Path) -> Self {
        let mut search = Search::default();
        let checkout = GitCheckout::around(root).filter(|checkout| checkout.root == root);
        if let Some(checkout) = checkout
            && let Ok(patterns) = read(&checkout.exclude_file())
        {
            // It fails for a source of a name that cannot be said, and this one is relative to nothing.
            let _ = search.add_patterns_buffer(&patterns, "exclude", None, Ignore::default());
        }
        let root = root.to_owned();
        Self { root, search }
    }

    /// Adds those of an ignore file, for the directory that it lies in.
    fn add(&mut self, file: &Path) {
        if let Ok(patterns) = read(file) {
            let root = Some(self.root.as_path());
            let parse = Ignore::default();
            if let Err(error) = self
                .search
                .add_patterns_buffer(&patterns, file, root, parse)
            {
                tracing::debug!(%error, "an ignore file is not heeded");
            }
        }
    }

    /// Whether a path is named as an exception; false if it is ignored, none if nothing is said of it.
    fn judge(&self, path: &Path, is_directory: bool) -> Option<bool> {
        let relative = path.strip_prefix(&self.root).ok()?;
        let relative = slashed(relative);
        let found = self.search.pattern_matching_relative_path(
            relative.as_ref().into(),
            Some(is_directory),
            Case::Sensitive,
        )?;
        Some(found.pattern.is_negative())
    }
}

/// A path as Git writes it, with `/` between its parts on every system.
fn slashed(path: &Path) -> Cow<'_, [u8]> {
    let bytes = path.as_os_str().as_encoded_bytes();
    match MAIN_SEPARATOR {
        '/' => Cow::Borrowed(bytes),
        own => {
            let slash = |byte: &u8| {
                if char::from(*byte) == own {
                    b'/'
                } else {
                    *byte
                }
            };
            Cow::Owned(bytes.iter().map(slash).collect())
        }
    }
}

/// The beginning of a file; a directory or a pipe of that name is none.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut patterns = Vec::new();
    File::open(file)?
        .take(MOST_PATTERNS)
        .read_to_end(&mut patterns)?;
    if patterns.len() as u64 == MOST_PATTERNS {
        // Half a pattern is another one, which may ignore everything.
        let whole = patterns.iter().rposition(|byte| *byte == b'\n');
        patterns.truncate(whole.map_or(0, |at| at + 1));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(root: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        let output = command.current_dir(root).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn files(root: &Path, depth: usize) -> Vec<String> {
        let walk = Walk::new(root.to_owned(), depth, |_| true);
        let files = walk.filter(|entry| entry.is_file);
        let name = |entry: Entry| {
            let name = entry.path.strip_prefix(root).unwrap();
            name.to_str().unwrap().to_owned()
        };
        files.map(name).collect()
    }

    const RULES: &str = "\
# a comment
*.log
!kept.log
build/
/only-here.txt
docs/**/*.html
a\\ b
[0-9]*.tmp
**/deep/*.py
!deep/not.py
\\!mark
trailing   
\\#hash
";

    const FILES: [&str; 27] = [
        "a b",
        "!mark",
        "#hash",
        "1.tmp",
        "x1.tmp",
        "app.py",
        "build/out.o",
        "deep/a.py",
        "deep/not.py",
        "docs/a.html",
        "docs/x/b.html",
        "docs/x/y.txt",
        "kept.log",
        "only-here.txt",
        "sub/.gitignore",
        "sub/build/out.o",
        "sub/deep/c.py",
        "sub/extra.bin",
        "sub/kept.bin",
        "sub/kept.log",
        "sub/more/extra.bin",
        "sub/only-here.txt",
        "sub/x.log",
        "trailing",
        "x.log",
        "zz/excluded.cfg",
        "zz/y.cfg",
    ];

    fn tree(root: &Path) {
        for file in FILES {
            write(root, file, "1");
        }
        write(root, ".gitignore", RULES);
        write(root, "sub/.gitignore", "*.bin\n!/kept.bin\n!x.log\n");
    }

    #[test]
    fn what_is_left_is_what_git_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        git(&root, &["init", "-q"]);
        tree(&root);
        write(&root, ".git/info/exclude", "excluded.cfg\n");
        let listed = ["-c", "core.excludesFile=/dev/null", "ls-files", "-z"];
        let others = ["--others", "--exclude-standard"];
        let said = git(&root, &[&listed[..], &others[..]].concat());
        let mut said: Vec<&str> = said.split_terminator('\0').collect();
        said.retain(|name| !name.ends_with(".gitignore"));
        said.sort_unstable();
        let mut found = files(&root, 32);
        found.sort_unstable();
        assert_eq!(found, said);
        assert!(
            found.len() > 8 && found.len() < FILES.len() - 8,
            "{found:?}"
        );
    }

    #[test]
    fn repository_within_another_has_its_own_rules() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, ".gitignore", "*.log\n");
        write(root, "inner/.gitignore", "*.txt\n");
        for file in ["inner/a.log", "inner/b.txt", "x.log", "y.txt"] {
            write(root, file, "1");
        }
        git(&root.join("inner"), &["init", "-q"]);
        assert_eq!(files(root, 32), ["inner/a.log", "y.txt"]);
    }

    #[test]
    fn hidden_files_are_left_out_but_for_exceptions_and_depth_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, ".gitignore", "!.kept\n");
        let files_there = [
            ".env",
            ".kept",
            ".git/config",
            "__pycache__/1.pyc",
            "a/1",
            "a/b/2",
        ];
        for file in files_there {
            write(root, file, "1");
        }
        assert_eq!(files(root, 32), [".kept", "a/1", "a/b/2"]);
        assert_eq!(files(root, 2), [".kept", "a/1"]);
        assert_eq!(files(root, 1), [".kept"]);
        for (depth, passed_over) in [(3, 0), (2, 1), (1, 1)] {
            let mut walk = Walk::new(root.to_owned(), depth, |_| true);
            walk.by_ref().for_each(drop);
            assert_eq!(walk.passed_over(), passed_over, "{depth}");
        }
    }

    #[test]
    fn ignore_file_that_is_none_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".gitignore")).unwrap();
        write(dir.path(), "a.py", "1");
        assert_eq!(files(dir.path(), 32), ["a.py"]);
    }
}
