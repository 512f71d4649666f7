//! The files that a Git work tree tracks, read from its index: no `git` is run, since a repository's own configuration
//! can name programs for it to run.
//!
//! The format is that of Git's `index-format`, versions 2 to 4. The crates that read it bring a dozen others for what
//! are four fields here. Left out: the bitmaps of a split index, which say what of the shared part is no more: its
//! files count as tracked, and what is in them is not known. Neither is it with SHA-256. Of a sparse index the
//! directories that are not checked out say nothing.

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
        let name = format!("{prefix}{}", entry.path);
        match entry.mode >> 12 {
            REGULAR => {
                files.insert(name, entry.id);
            }
            MODULE if depth > 0 => {
                let below: PathBuf = root.join(&entry.path);
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
    path: String,
}

#[derive(Default)]
struct Index {
    entries: Vec<Entry>,
    /// The name of the index that this one goes on from.
    shared: Option<String>,
}

/// What is in the index of a repository, the shared part of a split one first.
fn entries(git: &Path) -> Option<Vec<Entry>> {
    let length = id_length(git);
    let own = parse(&read(&git.join("index"))?, length)?;
    let Some(shared) = own.shared else {
        return Some(own.entries);
    };
    let shared = read(&git.join(shared)).and_then(|bytes| parse(&bytes, length));
    let mut entries = shared.unwrap_or_default().entries;
    entries.iter_mut().for_each(|entry| entry.id = None);
    // What has no name takes the place of one in the shared part.
    let new = own.entries.into_iter().filter(|new| !new.path.is_empty());
    entries.extend(new);
    Some(entries)
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
        if let Ok(path) = String::from_utf8(path.clone()) {
            entries.push(Entry { mode, id, path });
        }
        before = path;
    }
    let shared = shared(bytes, id_length);
    Some(Index { entries, shared })
}

/// The name of the index that one goes on from, by the extensions behind its entries.
fn shared(mut bytes: Bytes<'_>, id_length: usize) -> Option<String> {
    // At the end is a checksum.
    while bytes.0.len() > id_length {
        let signature = bytes.take(4)?;
        let length = usize::try_from(bytes.number()?).ok()?;
        let data = bytes.take(length)?;
        if signature == b"link" {
            let id = data.get(..id_length)?.iter();
            return Some(format!("sharedindex.{}", hex(id)));
        }
    }
    None
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
            for name in ["a.py", "b.py"] {
                write(name, "1");
            }
            git(root, &["add", "."]);
            assert_eq!(names(), ["a.py", "b.py"], "{format}");
            assert_eq!(tracked()["a.py"].is_some(), format == "sha1");
            git(root, &["update-index", "--split-index"]);
            write("b.py", "2");
            write("c.py", "3");
            git(root, &["add", "."]);
            assert_eq!(names(), ["a.py", "b.py", "c.py"], "{format}");
            // Which of the shared part were added anew is not looked for.
            assert_eq!(tracked()["b.py"], None);
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
