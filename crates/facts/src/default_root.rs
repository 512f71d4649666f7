//! The directories that hold the same sources at both ends: what this end would take for its own, and the pair.

use std::{
    env,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{GitCheckout, HostPath};

/// The pair of directories, as comparing the files has found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRoots {
    /// The directory on this host.
    pub here: HostPath,
    /// The directory at the peer that holds the same files, by the name that its user has for it.
    pub there: HostPath,
    /// The real path of that, if a link leads there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<HostPath>,
}

impl SourceRoots {
    /// The directory at the peer by all its names, the one that its user sees first.
    pub fn there(&self) -> Vec<HostPath> {
        let names = [Some(&self.there), self.resolved.as_ref()];
        names.into_iter().flatten().cloned().collect()
    }
}

/// The directory whose files are meant unless another one is named: the root of the Git work tree around `directory`,
/// or `directory` itself. A repository that is the user's home or holds it (dotfiles) says nothing of what is in it.
pub fn default_root(directory: &Path) -> PathBuf {
    match GitCheckout::around(directory) {
        Some(checkout) if !holds_home(&checkout.root) => checkout.root,
        _ => directory.to_owned(),
    }
}

/// Whether a directory is the user's home or above it, where nobody means everything.
pub fn holds_home(directory: &Path) -> bool {
    let Some(home) = home() else {
        return false;
    };
    let real = |path: &Path| real_path(path).unwrap_or_else(|_| path.to_owned());
    // In a container without a user of its own, `/` is called the home.
    home.parent().is_some()
        && (home.starts_with(directory) || real(&home).starts_with(real(directory)))
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute())
}

/// The working directory by the name under which its user came there: `$PWD`, if that is the same directory. Behind a
/// link, as in `current -> releases/5`, programs that are started with the link's name have that name in their paths.
pub fn working_directory() -> Option<PathBuf> {
    let real = env::current_dir().ok()?;
    let named = env::var_os("PWD").map(PathBuf::from);
    Some(
        named
            .filter(|named| is_plain(named) && is_same(named, &real))
            .unwrap_or(real),
    )
}

/// A directory by the name that its user gave it, made absolute, if it needs no `..` for that.
pub fn by_its_name(directory: &Path) -> std::io::Result<PathBuf> {
    let real = real_path(directory)?;
    let named = working_directory().map(|working| {
        let parts = directory
            .components()
            .filter(|part| *part != Component::CurDir);
        parts.fold(working, |path, part| path.join(part))
    });
    Ok(named
        .filter(|named| is_plain(named) && is_same(named, &real))
        .unwrap_or(real))
}

/// A path without links and turns, as people and other programs write it: Windows itself calls it `\\?\C:\…`, which
/// IDEs do not take.
///
/// # Errors
/// If there is nothing of that name, or it may not be looked at.
pub fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    dunce::canonicalize(path)
}

fn is_plain(path: &Path) -> bool {
    let turns = |part| matches!(part, Component::ParentDir | Component::CurDir);
    path.is_absolute() && !path.components().any(turns)
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok() == other.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_tree_is_meant_as_a_whole_unless_it_holds_the_home() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("web/api");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(default_root(&below), below);
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        std::fs::write(dir.path().join(".git/HEAD"), "").unwrap();
        assert_eq!(default_root(&below), dir.path());
        let home = home().unwrap();
        assert!(holds_home(&home) && holds_home(Path::new("/")));
        assert!(!holds_home(&home.join("app")));
    }

    #[test]
    #[cfg(unix)]
    fn a_directory_keeps_the_name_of_the_link_that_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("5")).unwrap();
        std::os::unix::fs::symlink("5", root.join("current")).unwrap();
        assert_eq!(
            by_its_name(&root.join("current")).unwrap(),
            root.join("current")
        );
        let around = root.join("current/../5");
        assert_eq!(by_its_name(&around).unwrap(), root.join("5"));
        assert!(by_its_name(&root.join("none")).is_err());
    }
}
