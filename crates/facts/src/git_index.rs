//! The files that a Git work tree tracks, read from its index: no `git` is run, since a repository's own configuration
//! can name programs for it to run.
//!
//! The format is that of Git's `index-format`, versions 2 to 4. The crates that read it bring a dozen others for what
//! are four fields here. What is in files is not known with SHA-256. Of a sparse index the directories that are not
//! checked out say nothing.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::git_directory::{common, git_directory, read as read_text};

/// The most bytes of an index that are read: some hundred thousand files.
const MAX_INDEX: u64 = 64 << 20;

/// How deep modules within modules are looked into.
const MAX_MODULES: usize = 8;

/// The name of what a file holds: the SHA-1 of Git's blob.
pub(crate) type BlobId = [u8; 20];

/// How many bytes the name of an object has: SHA-1 and SHA-256.
const SHA1: usize = 20;
const SHA256: usize = 32;

/// The modes of the entries that are files, and of those that are modules.
const REGULAR: u32 = 0o10;
const MODULE: u32 = 0o16;

/// The tracked files below `root`, whose repository is in `git`, by their paths; those of modules within it too.
pub(super) fn tracked(root: &Path, git: &Path) -> BTreeMap<String, Option<BlobId>> {
    let mut files = BTreeMap::new();
    collect(root, git, "", MAX_MODULES, &mut files);
    files
}

fn collect(
    root: &Path,
    git: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, Option<BlobId>>,
) {
    for entry in entries(git).unwrap_or_default() {
        let Some(path) = entry.path else {
            continue;
        };
        let name = format!("{prefix}{path}");
        match entry.mode >> 12 {
            REGULAR => {
                files.insert(name, entry.id);
            }
            MODULE if depth > 0 => {
                let below: PathBuf = root.join(&path);
                if let Some(git) = git_directory(&below) {
                    collect(&below, &git, &format!("{name}/"), depth - 1, files);
                }
            }
            _ => {}
        }
    }
}

struct Entry {
    mode: u32,
    /// None if it is not told, or by another hash.
    id: Option<BlobId>,
    /// None if it is no UTF-8. Empty of what takes the place of an entry in the shared part.
    path: Option<String>,
}

struct Index {
    entries: Vec<Entry>,
    shared: Option<Shared>,
}

/// The shared part of a split index.
struct Shared {
    /// The name of its file.
    file: String,
    /// Which of its entries are no more, by their places in it.
    deleted: Bitmap,
    /// Which of them the first entries of the own part take the places of.
    replaced: Bitmap,
}

/// What is in the index of a repository, the shared part of a split one first. None if not all of it is understood:
/// what was taken out of it would count as tracked.
fn entries(git: &Path) -> Option<Vec<Entry>> {
    let length = id_length(git);
    let own = parse(&read(&git.join("index"))?, length)?;
    let Some(shared) = own.shared else {
        return Some(own.entries);
    };
    let mut entries = parse(&read(&git.join(shared.file))?, length)?.entries;
    let is_in_place = |new: &Entry| new.path.as_deref() == Some("");
    let (in_place, new): (Vec<_>, Vec<_>) = own.entries.into_iter().partition(is_in_place);
    for (at, new) in shared
        .replaced
        .below(entries.len())
        .into_iter()
        .zip(in_place)
    {
        (entries[at].mode, entries[at].id) = (new.mode, new.id);
    }
    let deleted = shared.deleted.below(entries.len());
    let mut deleted = deleted.into_iter().peekable();
    let entries = entries.into_iter().enumerate();
    let left = entries.filter(|(at, _)| deleted.next_if_eq(at).is_none());
    Some(left.map(|(_, entry)| entry).chain(new).collect())
}

/// How long the names of objects are in a repository.
fn id_length(git: &Path) -> usize {
    let config = read_text(&common(git).join("config")).unwrap_or_default();
    let is_sha256 = |line: &str| {
        let words = line.split_whitespace().collect::<String>();
        words.eq_ignore_ascii_case("objectformat=sha256")
    };
    match config.lines().any(is_sha256) {
        true => SHA256,
        false => SHA1,
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .ok()?
        .take(MAX_INDEX)
        .read_to_end(&mut bytes);
    read.ok()?;
    Some(bytes)
}

/// Takes the next bytes off the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().map(u32::from_be_bytes).ok()
    }

    fn until_nul(&mut self) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(at)?;
        self.take(1)?;
        Some(text)
    }

    fn bitmap(&mut self) -> Option<Bitmap> {
        let _bits = self.number()?;
        let length = usize::try_from(self.number()?).ok()?;
        let words = self.take(length.checked_mul(8)?)?.chunks_exact(8);
        let words = words.map(|word| word.try_into().map(u64::from_be_bytes).ok());
        let words = words.collect::<Option<_>>()?;
        // Where whoever goes on writing it finds its last marker.
        self.number()?;
        Some(Bitmap(words))
    }

    /// The offset encoding of pack files.
    fn varint(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        loop {
            let byte = *self.take(1)?.first()?;
            value = value.checked_shl(7)? | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Some(value);
            }
            value = value.checked_add(1)?;
        }
    }
}

/// What is in an index with object names of `id_length` bytes; `None` if it is none that is understood.
fn parse(index: &[u8], id_length: usize) -> Option<Index> {
    let mut bytes = Bytes(index);
    if bytes.take(4)? != b"DIRC" {
        return None;
    }
    let version = bytes.number().filter(|version| (2..=4).contains(version))?;
    let count = bytes.number()?;
    let mut entries = Vec::new();
    let mut before: Vec<u8> = Vec::new();
    for _ in 0..count {
        let start = bytes.0.len();
        // Times, device and inode; mode; owner, group and size.
        bytes.take(24)?;
        let mode = bytes.number()?;
        bytes.take(12)?;
        let id = bytes.take(id_length)?.try_into().ok();
        let flags = bytes.take(2)?;
        if flags[0] & 0x40 != 0 {
            bytes.take(2)?;
        }
        let path = if version == 4 {
            let keep = before.len().checked_sub(bytes.varint()?)?;
            let mut path = before[..keep].to_vec();
            path.extend(bytes.until_nul()?);
            path
        } else {
            let path = bytes.until_nul()?.to_vec();
            // One to eight NULs, up to a multiple of eight.
            let length = start - bytes.0.len();
            bytes.take(length.next_multiple_of(8) - length)?;
            path
        };
        // What is no UTF-8 has its place among the entries all the same.
        entries.push(Entry {
            mode,
            id,
            path: String::from_utf8(path.clone()).ok(),
        });
        before = path;
    }
    let shared = match link(bytes, id_length) {
        Some(link) => Some(shared(Bytes(link), id_length)?),
        None => None,
    };
    Some(Index { entries, shared })
}

/// What tells the shared part, among the extensions behind the entries.
fn link(mut bytes: Bytes<'_>, id_length: usize) -> Option<&[u8]> {
    // At the end is a checksum.
    while bytes.0.len() > id_length {
        let signature = bytes.take(4)?;
        let length = usize::try_from(bytes.number()?).ok()?;
        let data = bytes.take(length)?;
        if signature == b"link" {
            // Without an id there is no shared part any more.
            let mut id = data.iter().take(id_length);
            return id.any(|byte| *byte != 0).then_some(data);
        }
    }
    None
}

fn shared(mut link: Bytes<'_>, id_length: usize) -> Option<Shared> {
    let id = link.take(id_length)?;
    let mut bitmap = || match link.0.is_empty() {
        true => Some(Bitmap::default()),
        false => link.bitmap(),
    };
    Some(Shared {
        file: format!("sharedindex.{}", hex(id.iter())),
        deleted: bitmap()?,
        replaced: bitmap()?,
    })
}

/// A set of numbers, in Git's EWAH encoding: words that say how many words of equal bits follow, and how many of other
/// ones stand behind them.
#[derive(Default)]
struct Bitmap(Vec<u64>);

impl Bitmap {
    /// Those of its numbers that are less than `end`, in their order.
    fn below(&self, end: usize) -> Vec<usize> {
        let mut numbers = Vec::new();
        let (mut at, mut words) = (0_usize, self.0.iter());
        while let Some(marker) = words.next() {
            let run = usize::try_from((marker >> 1) & 0xffff_ffff).unwrap_or(usize::MAX);
            let run_end = at.saturating_add(run.saturating_mul(64));
            if marker & 1 == 1 {
                numbers.extend(at.min(end)..run_end.min(end));
            }
            at = run_end;
            let others = usize::try_from(marker >> 33).unwrap_or(usize::MAX);
            for word in words.by_ref().take(others) {
                let bits = (0..64_usize).filter(|bit| (word >> bit) & 1 == 1);
                let bits = bits.map(|bit| at.saturating_add(bit));
                numbers.extend(bits.filter(|number| *number < end));
                at = at.saturating_add(64);
            }
        }
        numbers
    }
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::GitCheckout;

    fn git(directory: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(directory)
            .args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
                "-c",
                "protocol.file.allow=always",
            ])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn the_files_that_git_lists_are_those_of_the_index_in_every_version() {
        let dir = tempfile::tempdir().unwrap();
        let (root, module) = (dir.path().join("app"), dir.path().join("lib"));
        for directory in [&root, &module] {
            fs::create_dir(directory).unwrap();
            git(directory, &["init", "-q"]);
            fs::write(directory.join("one.py"), "1").unwrap();
            git(directory, &["add", "."]);
            git(directory, &["commit", "-qm", "x"]);
        }
        fs::create_dir_all(root.join("web/api")).unwrap();
        for (name, text) in [
            (".gitignore", "*.log"),
            ("web/api/ü b.py", "2"),
            ("web/x.log", "3"),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        git(
            &root,
            &[
                "submodule",
                "add",
                "-q",
                module.to_str().unwrap(),
                "web/lib",
            ],
        );
        git(&root, &["add", "-f", "."]);
        for version in ["2", "3", "4"] {
            git(&root, &["update-index", "--index-version", version]);
            let tracked = GitCheckout::around(&root).unwrap().tracked();
            let names: Vec<_> = tracked.keys().map(String::as_str).collect();
            let expected = [
                ".gitignore",
                ".gitmodules",
                "one.py",
                "web/api/ü b.py",
                "web/lib/one.py",
                "web/x.log",
            ];
            assert_eq!(names, expected, "{version}");
            let id = hex(tracked["web/x.log"].unwrap().iter());
            assert_eq!(id, git(&root, &["hash-object", "web/x.log"]));
        }
    }

    #[test]
    fn files_of_a_split_index_and_of_a_repository_with_sha256_are_those_that_git_lists() {
        for format in ["sha1", "sha256"] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
            let tracked = || GitCheckout::around(root).unwrap().tracked();
            let names = || tracked().into_keys().collect::<Vec<_>>();
            git(root, &["init", "-q", &format!("--object-format={format}")]);
            // More than a word of the bitmaps has bits, and one of their runs is of nothing but deleted ones.
            for n in 0..300 {
                write(&format!("{n:03}.py"), "1");
            }
            write(".env", "KEY=1");
            git(root, &["add", "."]);
            assert_eq!(names().len(), 301, "{format}");
            assert_eq!(tracked()["000.py"].is_some(), format == "sha1");
            git(root, &["update-index", "--split-index"]);
            write("001.py", "2");
            write("new.py", "3");
            // Otherwise git writes the shared part anew.
            let split = |arguments: &[&str]| {
                let percent = ["-c", "splitIndex.maxPercentChange=100"];
                git(root, &[&percent[..], arguments].concat());
            };
            split(&["add", "."]);
            split(&["rm", "-q", "--cached", ".env", "003.py"]);
            let many: Vec<_> = (70..270).map(|n| format!("{n:03}.py")).collect();
            let many = many.iter().map(String::as_str);
            let delete: Vec<_> = ["rm", "-q", "--cached"].into_iter().chain(many).collect();
            split(&delete);
            let index = parse(
                &read(&root.join(".git/index")).unwrap(),
                id_length(&root.join(".git")),
            );
            let index = index.unwrap();
            // Besides 001.py git may take in others anew, by their times.
            let (in_place, new): (Vec<_>, Vec<_>) = index
                .entries
                .iter()
                .map(|entry| entry.path.as_deref().unwrap())
                .partition(|path| path.is_empty());
            assert!(!in_place.is_empty() && new == ["new.py"], "{new:?}");
            assert_eq!(index.shared.unwrap().deleted.below(1000).len(), 202);
            let listed = git(root, &["ls-files"]);
            assert_eq!(names(), listed.lines().collect::<Vec<_>>(), "{format}");
            assert!(!names().contains(&".env".to_owned()));
            for name in ["001.py", "new.py", "002.py"] {
                let id = tracked()[name].map(|id| hex(id.iter()));
                let expected = git(root, &["hash-object", name]);
                assert_eq!(id, (format == "sha1").then_some(expected), "{name}");
            }
        }
    }

    #[test]
    fn what_is_no_index_or_is_cut_short_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q"]);
        fs::write(dir.path().join("a"), "1").unwrap();
        git(dir.path(), &["add", "."]);
        let index = fs::read(dir.path().join(".git/index")).unwrap();
        assert_eq!(parse(&index, SHA1).unwrap().entries.len(), 1);
        for length in 0..60 {
            assert!(parse(&index[..length], SHA1).is_none(), "{length}");
        }
        assert!(parse(b"nonsense", SHA1).is_none());
    }
}
