//! The state directory that a command is about.

use std::time::{SystemTime, UNIX_EPOCH};

use p2pdbg_identity::StateDir;
use p2pdbg_rendezvous::{KeyDirectory, PROGRAM};

use crate::{cli::StateArg, service_manager};

/// The state directory.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn open(arg: &StateArg) -> Result<StateDir, String> {
    // As for the one that serves: what runs beside it in its unit means the same directory.
    let state = arg.state.clone().or_else(service_manager::state_directory);
    StateDir::open(state.as_deref(), PROGRAM).map_err(|error| error.to_string())
}

/// The keys of this state directory, which need not be there yet.
pub(super) fn keys(state: &StateDir) -> KeyDirectory {
    KeyDirectory::new(state.clone())
}

/// Now, in Unix seconds.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
