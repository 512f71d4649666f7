//! The source files below a directory: which there are, and what they hold.
//!
//! Meant are the files that Git tracks, whatever ignore files say, and those that the work tree's own ignore files
//! leave. What stands above the work tree, or is another tool's (`.ignore`), says nothing. The order is always the
//! same, with what was installed beside the sources at the end, and what no debugger stops in before that, so that a
//! limit cuts there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use p2pdbg_facts::{GitCheckout, holds_home};
use p2pdbg_proto::sources::Sha256 as Digest;
use sha2::{Digest as _, Sha256};

use super::{
    Prefixes, SourceName,
    content::{Content, ContentHash},
    file_metadata::{self, Stamp},
    walk::{Walk, is_passed_over},
};

/// How much of a directory is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many files are compared.
    pub files: usize,
    /// Entries of any kind, files that are passed over among them.
    pub entries: usize,
    /// Bytes of a file; a longer one is left out.
    pub file: u64,
    /// Bytes that are read in one scan.
    pub bytes: u64,
    /// How many directories may lie within each other.
    pub depth: usize,
    /// How long one scan may take.
    pub time: Duration,
}

impl Limits {
    /// Those that are kept to.
    pub const DEFAULT: Self = Self {
        files: 20_000,
        entries: 400_000,
        file: 8 << 20,
        bytes: 256 << 20,
        depth: 32,
        time: Duration::from_secs(10),
    };
}

/// Directories of what was installed, which is not what somebody wrote here.
const INSTALLED: [&str; 5] = [
    "node_modules",
    "site-packages",
    "__pycache__",
    "venv",
    "dist-packages",
];

/// How the names of files end in which programs are written that a debugger steps through.
const OF_PROGRAMS: [&str; 63] = [
    "asm", "c", "c++", "cc", "cjs", "clj", "cljc", "cpp", "cs", "cts", "cu", "cxx", "d", "dart",
    "erb", "ex", "exs", "f", "f90", "f95", "for", "fs", "go", "groovy", "h", "hh", "hpp", "hs",
    "hxx", "inc", "inl", "ipp", "java", "jl", "js", "jsp", "jsx", "kt", "kts", "lua", "m", "mjs",
    "mm", "php", "phtml", "pl", "pm", "py", "pyw", "pyx", "rake", "rb", "rs", "s", "scala",
    "svelte", "swift", "tpp", "ts", "tsx", "vb", "vue", "zig",
];

/// Whether a file is one that a debugger steps through, by its name.
fn is_of_program(name: &SourceName) -> bool {
    let suffix = Path::new(name.as_str()).extension();
    let suffix = suffix.and_then(|suffix| suffix.to_str());
    suffix.is_some_and(|suffix| OF_PROGRAMS.contains(&suffix.to_lowercase().as_str()))
}

/// A directory that is scanned again and again; what has not been touched is not read again.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    limits: Limits,
    known: HashMap<SourceName, (Stamp, Content)>,
    /// Which directories were found to be each other's the last time that could be told: the peer's, and of this one.
    pub(super) aligned: Option<Prefixes>,
}

/// What a scan found, the same each time as long as no file changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// The files, by their names.
    pub files: BTreeMap<SourceName, Content>,
    /// How many more there are: beyond a limit, too long, closed to this user, or of a name that cannot be said. A
    /// directory that was not looked into is one.
    pub left_out: usize,
    /// Those of them that have names: beyond a limit, too long, or closed to this user.
    pub not_read: BTreeSet<SourceName>,
}

/// The names of a directory's files.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In their order: files of programs come before others, and what was installed comes last.
    pub(super) names: Vec<SourceName>,
    /// How many are of a name that cannot be said, how many directories were passed over, and whether there are more
    /// than were looked at.
    pub(super) left_out: usize,
}

/// What was installed beside sources: packages, and environments of Python, which are of one host.
#[derive(Debug)]
pub struct Installed {
    /// The directories of environments, with a `/` at the end.
    environments: Vec<String>,
}

impl Installed {
    /// Of a list of files.
    pub fn among<'a>(names: impl Iterator<Item = &'a SourceName>) -> Self {
        let directory = |name: &'a SourceName| name.as_str().strip_suffix("pyvenv.cfg");
        let environments = names.filter_map(directory).filter(|dir| dir.ends_with('/'));
        Self {
            environments: environments.map(str::to_owned).collect(),
        }
    }

    /// Whether a file is among it.
    pub fn has(&self, name: &SourceName) -> bool {
        let is_in = |directory: &String| name.as_str().starts_with(directory.as_str());
        name.parts().any(|part| INSTALLED.contains(&part)) || self.environments.iter().any(is_in)
    }
}

impl Tree {
    /// The tree below `root`; nothing is read before the first scan.
    pub fn new(root: PathBuf, limits: Limits) -> Self {
        Self {
            root,
            limits,
            known: HashMap::new(),
            aligned: None,
        }
    }

    /// The directory that is scanned.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at all of it. Takes up to [`Limits::time`] and blocks.
    pub fn scan(&mut self) -> Scan {
        let began = Instant::now();
        let listing = self.list();
        let mut scan = Scan {
            left_out: listing.left_out,
            ..Scan::default()
        };
        let mut read = 0;
        for name in listing.names {
            let is_over =
                scan.files.len() >= self.limits.files || began.elapsed() >= self.limits.time;
            let content = match is_over {
                true => None,
                false => self.look(&name, &mut read),
            };
            match content {
                Some(content) => drop(scan.files.insert(name, content)),
                // Whether it is still there is not asked of what there is no time to look at.
                None if is_over || self.has(&name) => drop(scan.not_read.insert(name)),
                None => {}
            }
        }
        scan.left_out += scan.not_read.len();
        self.known.retain(|name, _| scan.files.contains_key(name));
        scan
    }

    /// The names of its files.
    pub(super) fn list(&self) -> Listing {
        let checkout = GitCheckout::around(&self.root).filter(|git| !holds_home(&git.root));
        let mut listing = self.walk(checkout.as_ref().map(|git| git.root.as_path()));
        let mut names: BTreeSet<SourceName> = listing.names.drain(..).collect();
        if let Some(checkout) = &checkout {
            let below = self
                .root
                .strip_prefix(&checkout.root)
                .unwrap_or(Path::new(""));
            for tracked in checkout.tracked().keys() {
                let name = Path::new(tracked).strip_prefix(below).ok();
                let name = name.and_then(|name| SourceName::of(name).ok());
                let is_there = |name: &SourceName| {
                    fs::symlink_metadata(self.path_of(name)).is_ok_and(|m| m.is_file())
                };
                names.extend(name.filter(|name| names.contains(name) || is_there(name)));
            }
        }
        listing.names = names.into_iter().collect();
        let installed = Installed::among(listing.names.iter());
        let order = |name: &SourceName| (installed.has(name), !is_of_program(name), name.clone());
        listing.names.sort_by_cached_key(order);
        listing
    }

    /// What the ignore files of the work tree leave, hidden files left out. Links are not followed, so that there are
    /// no loops and nothing outside is seen.
    fn walk(&self, work_tree: Option<&Path>) -> Listing {
        // The rules of the directories between the work tree's root and this one count too.
        let from = work_tree
            .filter(|top| self.root.starts_with(top))
            .unwrap_or(&self.root);
        let listing = self.walk_from(from);
        match listing.names.is_empty() && from != self.root {
            // It is ignored itself, and somebody has named it all the same.
            true => self.walk_from(&self.root),
            false => listing,
        }
    }

    fn walk_from(&self, from: &Path) -> Listing {
        let began = Instant::now();
        let (root, limits) = (self.root.clone(), self.limits);
        let above = root.components().count() - from.components().count();
        let wanted = move |path: &Path| path.starts_with(&root) || root.starts_with(path);
        let mut walk = Walk::new(from.to_owned(), limits.depth + above, wanted);
        let mut listing = Listing::default();
        for (seen, entry) in (1..).zip(walk.by_ref()) {
            if seen >= limits.entries || began.elapsed() >= limits.time {
                listing.left_out += 1;
                break;
            }
            if !entry.is_file {
                continue;
            }
            let Ok(relative) = entry.path.strip_prefix(&self.root) else {
                continue;
            };
            match SourceName::of(relative) {
                Ok(name) => listing.names.push(name),
                Err(_) => listing.left_out += 1,
            }
        }
        listing.left_out += walk.passed_over();
        listing
    }

    /// The names of all files that are not hidden, whatever ignore files say, those nearest to the root first: for a
    /// program that was started somewhere above its sources.
    pub(super) fn list_all(&self) -> Vec<SourceName> {
        let began = Instant::now();
        let device = file_metadata::device(&self.root);
        let (mut names, mut level) = (Vec::new(), vec![self.root.clone()]);
        let mut seen = 0;
        for _ in 0..self.limits.depth {
            let mut next = Vec::new();
            for entry in level.iter().flat_map(fs::read_dir).flatten().flatten() {
                seen += 1;
                if seen >= self.limits.entries || began.elapsed() >= self.limits.time / 4 {
                    return names;
                }
                let is_hidden = is_passed_over(&entry.file_name());
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if is_hidden || !file_metadata::is_on(&metadata, device) {
                    continue;
                }
                let path = entry.path();
                if metadata.is_dir() {
                    next.push(path);
                } else if metadata.is_file() {
                    let name = path.strip_prefix(&self.root).ok();
                    names.extend(name.and_then(|name| SourceName::of(name).ok()));
                }
            }
            next.sort();
            level = next;
        }
        names
    }

    /// What a file holds; `None` if there is none, it is behind a link, too long, or more than may be read. `read`
    /// counts the bytes that were.
    pub(super) fn look(&mut self, name: &SourceName, read: &mut u64) -> Option<Content> {
        let path = self.path_of(name);
        let metadata = fs::symlink_metadata(&path).ok().filter(Metadata::is_file)?;
        if name.parts().count() > 1 && self.is_behind_link(&path) {
            return None;
        }
        let (stamp, length) = (Stamp::of(&metadata), metadata.len());
        if length > self.limits.file {
            return None;
        }
        if let Some((old, content)) = self.known.get(name)
            && *old == stamp
        {
            return Some(*content);
        }
        if *read + length > self.limits.bytes {
            return None;
        }
        *read += length;
        let content = content_of(&path, self.limits.file).ok()?;
        match stamp.is_racy() {
            true => drop(self.known.remove(name)),
            false => drop(self.known.insert(name.clone(), (stamp, content))),
        }
        Some(content)
    }

    /// Whether there is a file of that name, and no link on the way.
    pub(super) fn has(&self, name: &SourceName) -> bool {
        let path = self.path_of(name);
        fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file())
            && !self.is_behind_link(&path)
    }

    /// Whether a directory on the way to a file is a link.
    fn is_behind_link(&self, path: &Path) -> bool {
        let below =
            |directory: &&Path| *directory != self.root && directory.starts_with(&self.root);
        let mut directories = path.ancestors().skip(1).take_while(below);
        directories.any(|directory| fs::symlink_metadata(directory).is_ok_and(|m| m.is_symlink()))
    }

    /// The path of a file.
    pub fn path_of(&self, name: &SourceName) -> PathBuf {
        name.parts()
            .fold(self.root.clone(), |path, part| path.join(part))
    }
}

/// What a file of at most `limit` bytes holds.
///
/// # Errors
/// If it cannot be read, is a link, or has grown beyond the limit.
pub(super) fn content_of(path: &Path, limit: u64) -> io::Result<Content> {
    let mut hash = ContentHash::new();
    read_through(path, limit, |bytes| hash.update(bytes))?;
    Ok(hash.finish())
}

/// The SHA-256 of a file's bytes as they are, and what it holds.
///
/// # Errors
/// As [`content_of`].
pub(super) fn digest_of(path: &Path, limit: u64) -> io::Result<(Digest, Content)> {
    let (mut raw, mut content) = (Sha256::new(), ContentHash::new());
    read_through(path, limit, |bytes| {
        raw.update(bytes);
        content.update(bytes);
    })?;
    Ok((raw.finalize().into(), content.finish()))
}

fn read_through(path: &Path, limit: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = open(path)?.take(limit + 1);
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        length += read as u64;
        if length > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        each(&buffer[..read]);
    }
}

/// Opens a regular file, and neither follows a link nor waits for a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    file_metadata::without_links(&mut options);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    Ok(file)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{os::unix::fs::symlink, time::SystemTime};

    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn names(scan: &Scan) -> Vec<&str> {
        scan.files.keys().map(SourceName::as_str).collect()
    }

    fn tree(root: &Path) -> Tree {
        Tree::new(root.to_owned(), Limits::DEFAULT)
    }

    #[test]
    fn ignored_hidden_and_linked_files_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        write(&root, "app.py", "1");
        write(&root, "web/api.py", "2");
        write(&root, "build/out.o", "3");
        write(&root, ".env", "secret");
        write(&root, ".gitignore", "build/\n*.log\n");
        write(&root, "x.log", "4");
        write(dir.path(), "outside.py", "5");
        symlink(dir.path().join("outside.py"), root.join("linked.py")).unwrap();
        symlink(&root, root.join("web/loop")).unwrap();
        symlink(dir.path(), root.join("up")).unwrap();
        let mut tree = tree(&root);
        let scan = tree.scan();
        assert_eq!(names(&scan), ["app.py", "web/api.py"]);
        assert_eq!(scan.left_out, 0);
        assert!(
            tree.look(&"web/loop/app.py".parse().unwrap(), &mut 0)
                .is_none()
        );
        assert_eq!(
            tree.list_all().len(),
            4,
            "hidden ones alone are left out of all"
        );
    }

    #[test]
    fn rules_above_the_work_tree_and_of_other_tools_say_nothing_and_tracked_files_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("app");
        write(dir.path(), ".gitignore", "*\n");
        write(&root, ".ignore", "*\n");
        write(&root, ".gitignore", "*.gen.py\n/web/skipped\n");
        for name in [
            "app.py",
            "a.gen.py",
            "b.gen.py",
            "web/c.py",
            "web/skipped/d.py",
        ] {
            write(&root, name, "1");
        }
        let git = |arguments: &[&str]| {
            let mut command = std::process::Command::new("git");
            assert!(
                command
                    .current_dir(&root)
                    .args(arguments)
                    .status()
                    .unwrap()
                    .success()
            );
        };
        assert_eq!(names(&tree(&root).scan()), ["app.py", "web/c.py"]);
        git(&["init", "-q"]);
        git(&["add", "-f", "a.gen.py", "web/skipped/d.py"]);
        assert_eq!(
            names(&tree(&root).scan()),
            ["a.gen.py", "app.py", "web/c.py", "web/skipped/d.py"]
        );
        // The work tree's rules count below it too.
        write(&root, "web/e.gen.py", "1");
        assert_eq!(
            names(&tree(&root.join("web")).scan()),
            ["c.py", "skipped/d.py"]
        );
        assert_eq!(names(&tree(&root.join("web/skipped")).scan()), ["d.py"]);
    }

    #[test]
    fn a_change_is_seen_also_of_the_same_length_and_time() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "app.py", "1");
        let path = dir.path().join("app.py");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let set = |path: &Path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(long_ago)
                .unwrap()
        };
        set(&path);
        let mut tree = tree(dir.path());
        let first = tree.scan();
        assert_eq!(tree.scan(), first);
        fs::write(&path, "2").unwrap();
        set(&path);
        let second = tree.scan();
        assert_ne!(second, first);
        // Also put in its place.
        fs::write(dir.path().join("new"), "3").unwrap();
        set(&dir.path().join("new"));
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_ne!(tree.scan(), second);
    }

    #[test]
    fn limits_cut_the_same_files_each_time_and_what_was_installed_first() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..50 {
            write(dir.path(), &format!("d/{n:02}.py"), "12345");
            write(dir.path(), &format!("env/lib/{n}.py"), "12345");
        }
        write(dir.path(), "env/pyvenv.cfg", "12345");
        write(dir.path(), "zz.py", "12345");
        let scan = |limits: Limits| Tree::new(dir.path().to_owned(), limits).scan();
        let few = scan(Limits {
            files: 51,
            ..Limits::DEFAULT
        });
        assert_eq!((few.files.len(), few.left_out), (51, 51));
        assert!(names(&few).iter().all(|name| !name.starts_with("env")));
        let bytes = scan(Limits {
            bytes: 52,
            ..Limits::DEFAULT
        });
        assert_eq!((bytes.files.len(), bytes.left_out), (10, 92));
        assert_eq!(names(&bytes)[9], "d/09.py");
        let late = scan(Limits {
            time: Duration::ZERO,
            ..Limits::DEFAULT
        });
        assert!(late.left_out > 0 && late.files.is_empty());
        // Beside data, pictures and the like.
        for n in 0..50 {
            write(dir.path(), &format!("assets/{n:02}.png"), "12345");
        }
        let before_data = scan(Limits {
            files: 51,
            ..Limits::DEFAULT
        });
        assert_eq!((before_data.files.len(), before_data.left_out), (51, 101));
        assert_eq!(names(&before_data), names(&few));
        let long = scan(Limits {
            file: 4,
            ..Limits::DEFAULT
        });
        assert_eq!((long.files.len(), long.left_out), (0, 152));
    }
}
