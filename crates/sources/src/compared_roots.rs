//! Which directory's files are compared with the peer's at this end, and where copies may be put.

use std::path::{Path, PathBuf};

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
