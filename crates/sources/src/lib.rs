//! Whether the source files are the same at both ends, and copying those of the IDE's end to the debuggee.
//!
//! Where they differ, breakpoints land on the wrong line. Each end scans a directory (`Tree`): names and SHA-256, within
//! `Limits`, what the ignore files name left out, links never followed. Both tell each other in a conversation
//! (`talk`), which is a stream of the session, and each says what differs (`Differences`). Nothing is copied unless
//! `p2pdbg push` asks for it, and only into the directory that `connect --accept-push` named (`Inbox`).
//!
//! Left out: what is missing at one end, which moves no breakpoint; deleting, which nobody asks for; and Windows, where
//! neither the control socket nor the safe opening of files is written yet.

#[cfg(unix)]
mod compare;
#[cfg(unix)]
mod inbox;
#[cfg(unix)]
mod name;
#[cfg(unix)]
mod service;
#[cfg(unix)]
pub mod talk;
#[cfg(unix)]
mod tree;

use std::path::{Path, PathBuf};

#[cfg(unix)]
pub use self::{
    compare::Differences,
    inbox::{Begun, Inbox, Incoming},
    name::{NotAName, SourceName},
    service::{Sources, Told},
    tree::{Limits, Scan, Tree},
};
use p2pdbg_facts::GitCheckout;

/// What an end was asked to do about source files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcesOptions {
    /// The directory that is compared; none if none is.
    pub root: Option<PathBuf>,
    /// Where copies may be put; only ever at the connector.
    pub inbox: Option<PathBuf>,
}

/// The directory that is compared unless another one is named: the root of the Git work tree around `directory`, unless
/// that is the user's home or above it, where nobody means everything.
pub fn default_root(directory: &Path) -> Option<PathBuf> {
    let root = GitCheckout::around(directory)?.root;
    let home = etcetera::home_dir().ok();
    let holds_home = home.is_some_and(|home| home.starts_with(&root));
    (!holds_home).then_some(root)
}
