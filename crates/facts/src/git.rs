//! The Git checkout around a directory, read from its files: no `git` is run, since a repository's own configuration
//! can name programs for it to run.
//!
//! Left out: references in the format `reftable`; the commit is unknown there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    git_directory::{common, git_directory, read},
    git_index::{self, BlobId},
};

/// How many symbolic references may follow each other.
const MAX_HOPS: usize = 5;

/// A Git work tree, as its own files describe it; `git` is not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCheckout {
    /// The directory that holds `.git`.
    pub root: PathBuf,
    /// The commit that is checked out.
    pub commit: Option<String>,
    /// Its repository: `.git`, or where that file points.
    git: PathBuf,
}

impl GitCheckout {
    /// The checkout that a directory lies in.
    pub fn around(directory: &Path) -> Option<Self> {
        let (root, git) = directory
            .ancestors()
            .find_map(|root| Some((root, git_directory(root)?)))?;
        Some(Self {
            root: root.to_owned(),
            commit: head(&git),
            git,
        })
    }

    /// The files that are tracked, by their paths below the root, with what was in them when they were last added,
    /// where the index tells it as SHA-1.
    pub fn tracked(&self) -> BTreeMap<String, Option<BlobId>> {
        git_index::tracked(&self.root, &self.git)
    }

    /// The file with the ignore patterns that hold in this clone alone; there may be none.
    pub fn exclude_file(&self) -> PathBuf {
        common(&self.git).join("info/exclude")
    }
}

/// Whether a text is the name of a commit, SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn head(git: &Path) -> Option<String> {
    // A linked work tree has a HEAD of its own, and its references in the common directory.
    let common = common(git);
    let mut value = read(&git.join("HEAD"))?;
    for _ in 0..MAX_HOPS {
        let text = value.trim();
        if is_commit(text) {
            return Some(text.to_owned());
        }
        let name = text.strip_prefix("ref:")?.trim();
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return None;
        }
        value = read(&git.join(name))
            .or_else(|| read(&common.join(name)))
            .or_else(|| packed(&common, name))?;
    }
    None
}

fn packed(common: &Path, name: &str) -> Option<String> {
    let text = read(&common.join("packed-refs"))?;
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, packed)| *packed == name)
        .map(|(commit, _)| commit.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn commit(root: &Path) -> Option<String> {
        GitCheckout::around(root).unwrap().commit
    }

    #[test]
    fn the_root_is_found_from_below_and_the_commit_wherever_git_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("app");
        let below = root.join("web/api");
        fs::create_dir_all(&below).unwrap();
        write(&root.join(".git/HEAD"), "ref: refs/heads/main\n");
        assert_eq!(GitCheckout::around(&below).unwrap().root, root);
        assert_eq!(commit(&below), None);
        write(
            &root.join(".git/packed-refs"),
            &format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^{COMMIT}\n"),
        );
        assert_eq!(commit(&root).as_deref(), Some(COMMIT));
        let loose = COMMIT.replace('0', "f");
        write(&root.join(".git/refs/heads/main"), &format!("{loose}\n"));
        assert_eq!(commit(&root), Some(loose));
        write(&root.join(".git/HEAD"), &format!("{COMMIT}\n"));
        assert_eq!(commit(&root).as_deref(), Some(COMMIT));
    }

    #[test]
    fn a_linked_work_tree_has_its_commit_in_the_common_directory() {
        let dir = tempfile::tempdir().unwrap();
        let linked = dir.path().join("linked");
        let git = dir.path().join("main/.git/worktrees/linked");
        write(&git.join("HEAD"), "ref: refs/heads/topic\n");
        write(&git.join("commondir"), "../..\n");
        write(&dir.path().join("main/.git/refs/heads/topic"), COMMIT);
        write(
            &linked.join(".git"),
            &format!("gitdir: {}\n", git.display()),
        );
        assert_eq!(commit(&linked).as_deref(), Some(COMMIT));
    }

    #[test]
    fn a_head_that_leads_elsewhere_or_in_circles_is_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for head in [
            "ref: ../../etc/passwd",
            "ref: refs/heads/loop",
            "nonsense",
            "",
        ] {
            write(&root.join(".git/HEAD"), head);
            write(&root.join(".git/refs/heads/loop"), "ref: refs/heads/loop");
            assert_eq!(commit(root), None, "{head}");
        }
    }
}
