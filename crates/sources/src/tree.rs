//! The source files below a directory, with what they hold.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use ignore::WalkBuilder;
use p2pdbg_proto::sources::{Sha256 as Digest, Summary};
use sha2::{Digest as _, Sha256};

use super::SourceName;

/// How much of a directory is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files.
    pub files: usize,
    /// Entries of any kind, files that are passed over among them.
    pub entries: usize,
    /// Bytes of a file; a longer one is passed over.
    pub file: u64,
    /// Bytes that are read in one scan.
    pub bytes: u64,
    /// Directories within each other.
    pub depth: usize,
    /// Time for one scan.
    pub time: Duration,
}

impl Limits {
    /// Those that are kept to.
    pub const DEFAULT: Self = Self {
        files: 20_000,
        entries: 200_000,
        file: 8 << 20,
        bytes: 256 << 20,
        depth: 32,
        time: Duration::from_secs(10),
    };
}

/// A directory that is scanned again and again; what has not been touched is not read again.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    limits: Limits,
    known: HashMap<SourceName, (Stamp, Digest)>,
}

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// The files, by their names.
    pub files: BTreeMap<SourceName, Digest>,
    /// Whether there are more: a limit was met.
    pub partial: bool,
}

/// By what a file that was changed is told from one that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        }
    }
}

impl Tree {
    /// The tree below `root`.
    pub fn new(root: PathBuf, limits: Limits) -> Self {
        Self {
            root,
            limits,
            known: HashMap::new(),
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at all of it. Takes up to [`Limits::time`] and blocks.
    pub fn scan(&mut self) -> Scan {
        let limits = self.limits;
        let began = Instant::now();
        let mut scan = Scan::default();
        let mut known = HashMap::with_capacity(self.known.len());
        let mut read = 0;
        // Links are not followed, so that there are no loops and nothing outside is seen. Hidden files are left out.
        let walk = WalkBuilder::new(&self.root)
            .follow_links(false)
            .require_git(false)
            .max_depth(Some(limits.depth))
            .build();
        for (seen, entry) in walk.enumerate() {
            if seen >= limits.entries
                || scan.files.len() >= limits.files
                || began.elapsed() >= limits.time
            {
                scan.partial = true;
                break;
            }
            let Ok(entry) = entry else {
                continue;
            };
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let relative = entry.path().strip_prefix(&self.root);
            let Some(name) = relative.ok().and_then(|path| SourceName::of(path).ok()) else {
                continue;
            };
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let stamp = Stamp::of(&metadata);
            if stamp.length > limits.file {
                continue;
            }
            let digest = match self.known.get(&name) {
                Some((old, digest)) if *old == stamp => *digest,
                _ if read + stamp.length > limits.bytes => {
                    scan.partial = true;
                    break;
                }
                _ => {
                    read += stamp.length;
                    // One that has just gone, or that this user may not read.
                    let Ok(digest) = digest_of(entry.path(), limits.file) else {
                        continue;
                    };
                    digest
                }
            };
            known.insert(name.clone(), (stamp, digest));
            scan.files.insert(name, digest);
        }
        self.known = known;
        scan
    }
}

impl Scan {
    /// It in short.
    pub fn summary(&self) -> Summary {
        let mut hash = Sha256::new();
        for (name, digest) in &self.files {
            hash.update((name.as_str().len() as u64).to_be_bytes());
            hash.update(name.as_str());
            hash.update(digest);
        }
        Summary {
            compares: true,
            files: u32::try_from(self.files.len()).unwrap_or(u32::MAX),
            partial: self.partial,
            digest: hash.finalize().into(),
        }
    }
}

/// The SHA-256 of a file of at most `limit` bytes.
///
/// # Errors
/// If it cannot be read, is a link, or has grown beyond the limit.
pub(super) fn digest_of(path: &Path, limit: u64) -> io::Result<Digest> {
    let mut file = open(path)?;
    let mut hash = Sha256::new();
    let copied = io::copy(&mut Read::by_ref(&mut file).take(limit + 1), &mut hash)?;
    if copied > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(hash.finalize().into())
}

/// Opens a regular file, and neither follows a link nor waits for a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let bits = i32::try_from(flags.bits()).unwrap_or(0);
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, bits);
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
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
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(dir.path().join("outside.py"), root.join("linked.py")).unwrap();
            symlink(&root, root.join("web/loop")).unwrap();
            symlink(dir.path(), root.join("up")).unwrap();
        }
        let scan = tree(&root).scan();
        assert_eq!(names(&scan), ["app.py", "web/api.py"]);
        assert!(!scan.partial);
    }

    #[test]
    fn a_change_is_seen_and_gives_another_summary() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "app.py", "1");
        let mut tree = tree(dir.path());
        let first = tree.scan();
        assert_eq!(tree.scan(), first);
        assert_eq!(tree.scan().summary(), first.summary());
        write(dir.path(), "app.py", "12");
        let second = tree.scan();
        assert_ne!(second.summary().digest, first.summary().digest);
        assert_eq!(second.files.len(), 1);
    }

    #[test]
    fn limits_end_a_scan_and_are_told() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..50 {
            write(dir.path(), &format!("d/{n}.py"), "12345");
        }
        let scan = |limits: Limits| Tree::new(dir.path().to_owned(), limits).scan();
        let few = scan(Limits {
            files: 10,
            ..Limits::DEFAULT
        });
        assert!(few.partial && few.files.len() == 10);
        let entries = scan(Limits {
            entries: 10,
            ..Limits::DEFAULT
        });
        assert!(entries.partial && entries.files.len() < 10);
        let bytes = scan(Limits {
            bytes: 52,
            ..Limits::DEFAULT
        });
        assert!(bytes.partial && bytes.files.len() == 10);
        let late = scan(Limits {
            time: Duration::ZERO,
            ..Limits::DEFAULT
        });
        assert!(late.partial && late.files.is_empty());
        let long = scan(Limits {
            file: 4,
            ..Limits::DEFAULT
        });
        assert!(!long.partial && long.files.is_empty());
    }
}
