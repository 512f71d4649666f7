//! Whether the source files are the same at both ends, and copying those of the IDE's end to the debuggee.
//!
//! Where they differ, breakpoints land on the wrong line. The IDE's end scans a directory (`Tree`): names and what the
//! files hold, within `Limits`, links never followed. In a conversation (`talk`), which is a stream of the session, it
//! tells its names, and the debuggee's end looks for just these (`compare`): first which directory below its root holds
//! what which directory below the other root does (`align`), since one may be a part of the other. Both say what
//! differs (`Differences`). Nothing is copied unless `p2pdbg push` asks for it, and only into the directory that
//! `connect --accept-push` named (`Inbox`), where the file is that is meant.
//!
//! Left out: what is missing at one end, which moves no breakpoint; and deleting, which nobody asks for.

mod align;
mod compare;
mod content;
pub mod conversation;
mod directory;
mod extended_attributes;
mod file_metadata;
mod inbox;
mod look_times;
mod name;
mod partial_files;
mod service;
mod tree;
mod walk;

use std::path::{Path, PathBuf};

pub use self::{
    align::{Names, Prefixes},
    compare::Differences,
    content::Content,
    extended_attributes::copy_extended_attributes,
    inbox::{Begun, Inbox, Incoming, Seen},
    name::{NotAName, SourceName},
    service::{Sources, Told},
    tree::{Installed, Limits, Scan, Tree},
};
use p2pdbg_facts::{default_root, holds_home};

/// What an end was asked to do about source files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcesOptions {
    /// The directory whose files are meant, by the name that its user has for it.
    pub root: Option<PathBuf>,
    /// Whether it was named, rather than found around the working directory.
    pub is_named: bool,
    /// Whether its files are compared with the peer's.
    pub compares: bool,
    /// Where copies may be put; only ever at the connector.
    pub inbox: Option<PathBuf>,
}

impl SourcesOptions {
    /// The same, but that a home directory is not compared unless it was named.
    #[must_use]
    pub fn unless_home(mut self) -> Self {
        let is_home = self.root.as_deref().is_none_or(holds_home);
        self.compares &= self.is_named || !is_home;
        self
    }

    /// The same, with a directory for copies. It says where the sources are, if nothing else does.
    ///
    /// # Errors
    /// Gives back the directory that was named for the sources, if no file of it is in the one for copies.
    pub fn with_inbox(mut self, inbox: PathBuf) -> Result<Self, PathBuf> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let holds = |one: &Path, other: &Path| real(other).starts_with(real(one));
        let root = self
            .root
            .take()
            .filter(|root| holds(root, &inbox) || holds(&inbox, root) || self.is_named);
        let root = root.unwrap_or_else(|| default_root(&inbox));
        if !holds(&root, &inbox) && !holds(&inbox, &root) {
            return Err(root);
        }
        (self.root, self.inbox) = (Some(root), Some(inbox));
        Ok(self)
    }

    /// The directory that is compared; none if none is.
    pub fn compared(&self) -> Option<&Path> {
        self.root.as_deref().filter(|_| self.compares)
    }
}
