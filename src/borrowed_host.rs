//! A host where p2pdbg is not installed, and is to leave nothing behind.
//!
//! The script by which it came there (`packaging/offer`) has a directory that it removes afterwards. What would lie in
//! the user's home lies there then. A variable says so that is p2pdbg's alone: those that programs share, or that
//! users set, would reach COMMAND too and mean something there.

use std::path::PathBuf;

/// Names the directory. COMMAND does not get it.
pub(crate) const VARIABLE: &str = "P2PDBG_BORROWED";

/// Where known peers and this host's certificate are kept on such a host, unless the user says otherwise.
pub(crate) fn state() -> Option<PathBuf> {
    directory().map(|directory| directory.join("state"))
}

/// Where its running processes are found, if it has no runtime directory.
pub(crate) fn run() -> Option<PathBuf> {
    directory().map(|directory| directory.join("run"))
}

fn directory() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|named| !named.is_empty());
    named.map(PathBuf::from)
}
