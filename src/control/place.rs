//! The directory in which this user's running processes are found.
//!
//! It is `$XDG_RUNTIME_DIR/p2pdbg`, or `run` in the user's state directory where there is no runtime directory, and it
//! is closed to everybody else.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use p2pdbg_identity::{StateDir, StateError};

/// The directory; `None` without a home directory.
pub fn directory() -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(runtime) = runtime.filter(|dir| dir.is_absolute()) {
        return Some(runtime.join("p2pdbg"));
    }
    let base = etcetera::choose_base_strategy().ok()?;
    // On Windows the one that is not copied to other hosts, which etcetera calls the cache.
    let state = base.state_dir().unwrap_or_else(|| base.cache_dir());
    Some(state.join("p2pdbg").join("run"))
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
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(open(dir.path()).is_err());
    }
}
