//! The files that a Git work tree tracks, read from its index: no `git` is run, since a repository's own configuration
//! can name programs for it to run.
//!
//! The format is that of Git's `index-format`, versions 2 to 4, with SHA-1. The crates that read it bring a dozen
//! others for what are four fields here. Left out: repositories with SHA-256, split and sparse indexes; nothing is
//! known of these.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::git_directory::git_directory;

/// The most bytes of an index that are read: some hundred thousand files.
const MAX_INDEX: u64 = 64 << 20;

/// How deep modules within modules are looked into.
const MAX_MODULES: usize = 8;

/// The name of what a file holds: the SHA-1 of Git's blob.
pub(crate) type BlobId = [u8; 20];

/// The modes of the entries that are files, and of those that are modules.
const REGULAR: u32 = 0o10;
const MODULE: u32 = 0o16;

/// The tracked files below `root`, whose repository is in `git`, by their paths; those of modules within it too.
pub(super) fn tracked(root: &Path, git: &Path) -> BTreeMap<String, BlobId> {
    let mut files = BTreeMap::new();
    collect(root, git, "", MAX_MODULES, &mut files);
    files
}

fn collect(
    root: &Path,
    git: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, BlobId>,
) {
    for entry in read(&git.join("index")).unwrap_or_default() {
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
    id: BlobId,
    path: String,
}

fn read(path: &Path) -> Option<Vec<Entry>> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .ok()?
        .take(MAX_INDEX)
        .read_to_end(&mut bytes);
    read.ok()?;
    parse(&bytes)
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

/// The entries of an index; `None` if it is none that is understood.
fn parse(index: &[u8]) -> Option<Vec<Entry>> {
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
        let id = bytes.take(20)?.try_into().ok()?;
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
    Some(entries)
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
            let id = data_encoding_hex(&tracked["web/x.log"]);
            assert_eq!(id, git(&root, &["hash-object", "web/x.log"]));
        }
    }

    fn data_encoding_hex(id: &BlobId) -> String {
        id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_no_index_or_is_cut_short_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q"]);
        fs::write(dir.path().join("a"), "1").unwrap();
        git(dir.path(), &["add", "."]);
        let index = fs::read(dir.path().join(".git/index")).unwrap();
        assert_eq!(parse(&index).unwrap().len(), 1);
        for length in 0..60 {
            assert!(parse(&index[..length]).is_none(), "{length}");
        }
        assert!(parse(b"nonsense").is_none());
    }
}
