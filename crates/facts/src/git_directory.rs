//! Where the repository of a work tree lies, and its small files.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// The most bytes of a file that are read: a `packed-refs` of some ten thousand references.
const MAX_FILE: u64 = 4 << 20;

/// The directory with the repository of a work tree: `.git`, or what the file `.git` leads to.
pub(super) fn git_directory(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    let metadata = fs::metadata(&git).ok()?;
    if metadata.is_dir() {
        return git.join("HEAD").exists().then_some(git);
    }
    let text = read(&git)?;
    let path = text.strip_prefix("gitdir:")?.trim();
    Some(root.join(path))
}

/// The directory that all work trees of a repository share.
pub(super) fn common(git: &Path) -> PathBuf {
    match read(&git.join("commondir")) {
        Some(path) => git.join(path.trim()),
        None => git.to_owned(),
    }
}

/// The text of a file of a repository, as far as it is read.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}
