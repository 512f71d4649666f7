//! An open directory, and what is in it by a single name: never through a link, so that no name leads out, whatever is
//! changed meanwhile.
//!
//! On Unix by file descriptors and `openat`; on Windows by handles, as `cap-std` does it. Both have the same methods.

use std::time::SystemTime;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(any(windows, test))]
mod windows_names;

#[cfg(unix)]
pub(super) use unix::{Attributes, Directory, Version, refusal};
#[cfg(windows)]
pub(super) use windows::{Attributes, Directory, Version, refusal};

/// What has a name in a directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// How many bytes it has.
    pub(super) length: u64,
    pub(super) modified: Option<SystemTime>,
    /// Whether it is this user's, as far as the system has that.
    pub(super) is_own: bool,
    /// What else is kept of a file that is replaced.
    pub(super) attributes: Attributes,
    /// By what it is seen that it was changed.
    pub(super) version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Link,
    Other,
}
