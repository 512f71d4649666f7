//! The directory in which this user's running processes are found.
//!
//! It is `$XDG_RUNTIME_DIR/p2pdbg`, or `run` in the user's state directory where there is no runtime directory (on a
//! borrowed host, in the directory that is removed afterwards), and it is closed to everybody else. On Windows there is
//! none: what sets the variable there (a shell of Cygwin's) means a directory of its own notation, which is not every
//! program's of this user.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use p2pdbg_identity::{StateDir, StateError};

use crate::borrowed_host;

/// The directory; `None` without a home directory.
pub fn directory() -> Option<PathBuf> {
    if let Some(runtime) = runtime(std::env::var_os("XDG_RUNTIME_DIR"), cfg!(windows)) {
        return Some(runtime.join("p2pdbg"));
    }
    if let Some(borrowed) = borrowed_host::run() {
        return Some(borrowed);
    }
    let base = etcetera::choose_base_strategy().ok()?;
    // On Windows the one that is not copied to other hosts, which etcetera calls the cache.
    let state = base.state_dir().unwrap_or_else(|| base.cache_dir());
    Some(state.join("p2pdbg").join("run"))
}

/// The runtime directory that the variable names, on a system that has one.
fn runtime(variable: Option<OsString>, is_windows: bool) -> Option<PathBuf> {
    let named = variable.filter(|_| !is_windows).map(PathBuf::from);
    named.filter(|directory| directory.is_absolute())
}

/// Opens it, making it if there is none.
///
/// # Errors
/// If it cannot be made, or is open to others.
pub fn open(directory: &Path) -> Result<StateDir, StateError> {
    StateDir::open(Some(directory), "p2pdbg")
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn runtime_directory_is_taken_where_the_system_has_one_and_it_is_absolute() {
        let named = |text: &str, is_windows| runtime(Some(text.into()), is_windows);
        assert_eq!(named("/run/user/1", false), Some("/run/user/1".into()));
        assert_eq!(named("/run/user/1", true), None);
        assert_eq!(named("run", false), None);
        assert_eq!(runtime(None, false), None);
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(open(dir.path()).is_err());
    }
}
