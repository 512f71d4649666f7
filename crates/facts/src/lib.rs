//! What an end of the session is told about the other, and tells about itself: its working directory, Git checkout,
//! platform and debuggers. With it the IDE's end knows which path there corresponds to which here.
//!
//! A peer may lie. [`HostFacts::accept`] drops whatever is not what it should be, so that all that is kept may be shown
//! on a terminal and written into an IDE's configuration. Left out: whether the files are the same, which is
//! the business of comparing them.

mod debuggers;
mod default_root;
mod git;
mod git_directory;
mod git_index;
mod host_path;

use std::{env, ffi::OsStr, path::Path};

use p2pdbg_proto::facts::{Facts, MAX_DEBUGGERS, MAX_TEXT};
use serde::{Deserialize, Serialize};

pub use debuggers::on_path;
pub use default_root::{
    SourceRoots, by_its_name, default_root, holds_home, real_path, working_directory,
};
pub use git::GitCheckout;
pub use host_path::{HostPath, NotAHostPath};

use p2pdbg_base::Untrusted;

/// Where an end of a session runs, every part of it judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The operating system: `linux`, `macos`, `windows`.
    pub os: String,
    /// The processor: `x86_64`, `aarch64`.
    pub arch: String,
    /// The working directory; none if it has no name that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<HostPath>,
    /// The root of the Git work tree that it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_root: Option<HostPath>,
    /// The commit that is checked out there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// The directory whose files are meant: the one that was named, or else the root of the Git work tree if that is
    /// not a home directory, or else the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<HostPath>,
    /// The real path of that, if a link leads there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_resolved: Option<HostPath>,
    /// The debuggers that were found there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub debuggers: Vec<String>,
}

impl HostFacts {
    /// Takes what the peer says of itself, but for the parts that are not what they should be.
    pub fn accept(said: Facts) -> Self {
        let path = |text: Option<String>| {
            let text = text?;
            let path = text.parse::<HostPath>();
            path.inspect_err(|fault| {
                let text = Untrusted::new(&text);
                tracing::warn!(%text, %fault, "the peer names a directory that is not taken over");
            })
            .ok()
        };
        let mut debuggers = said.debuggers;
        debuggers.truncate(MAX_DEBUGGERS);
        debuggers.retain(|name| is_plain(name));
        Self {
            os: Some(said.os).filter(|os| is_plain(os)).unwrap_or_default(),
            arch: Some(said.arch).filter(|a| is_plain(a)).unwrap_or_default(),
            directory: path(said.directory),
            git_root: path(said.git_root),
            git_commit: said.git_commit.filter(|commit| git::is_commit(commit)),
            root: path(said.root),
            root_resolved: path(said.root_resolved),
            debuggers,
        }
    }

    /// What is to be said of this host: of its working directory and, at the debuggee, of the debuggers for `command`.
    pub fn of_this_host(looks_for_debuggers: bool, command: Option<&OsStr>) -> Self {
        let directory = working_directory();
        let mut facts = Self::of_directory(directory.as_deref());
        if looks_for_debuggers {
            facts.debuggers = debuggers::found(command);
        }
        facts
    }

    /// What is to be said of a directory of this host.
    pub fn of_directory(directory: Option<&Path>) -> Self {
        let checkout = directory.and_then(GitCheckout::around);
        let facts = Self {
            os: env::consts::OS.to_owned(),
            arch: env::consts::ARCH.to_owned(),
            directory: directory.and_then(|path| HostPath::of(path).ok()),
            git_root: checkout
                .as_ref()
                .and_then(|checkout| HostPath::of(&checkout.root).ok()),
            git_commit: checkout.and_then(|checkout| checkout.commit),
            root: None,
            root_resolved: None,
            debuggers: Vec::new(),
        };
        facts.with_root(directory.map(default_root).as_deref())
    }

    /// With this for the directory whose files are meant.
    #[must_use]
    pub fn with_root(mut self, root: Option<&Path>) -> Self {
        let Some(root) = root else {
            return self;
        };
        let real = real_path(root).ok();
        let real = real.and_then(|real| HostPath::of(&real).ok());
        self.root = HostPath::of(root).ok();
        self.root_resolved = real.filter(|real| Some(real) != self.root.as_ref());
        self
    }

    /// The same as it is said.
    pub fn to_wire(&self) -> Facts {
        let path = |path: &Option<HostPath>| path.as_ref().map(HostPath::to_string);
        Facts {
            os: self.os.clone(),
            arch: self.arch.clone(),
            directory: path(&self.directory),
            git_root: path(&self.git_root),
            git_commit: self.git_commit.clone(),
            root: path(&self.root),
            root_resolved: path(&self.root_resolved),
            debuggers: self.debuggers.clone(),
        }
    }

    /// The directory that holds the sources, as far as it is known.
    pub fn source_root(&self) -> Option<&HostPath> {
        self.root.as_ref().or(self.directory.as_ref())
    }

    /// The directory that holds the same sources as `other`'s, by all its names, as long as no comparison has found it:
    /// a work tree is none of the other end's if that has no Git, unless it was named.
    pub fn roots_beside(&self, other: &Self) -> Vec<HostPath> {
        let is_work_tree = self.git_root.is_some() && self.root == self.git_root;
        match &self.directory {
            Some(directory) if is_work_tree && other.git_root.is_none() => vec![directory.clone()],
            _ => self.roots(),
        }
    }

    /// The same by all its names, the one that its user sees first.
    pub fn roots(&self) -> Vec<HostPath> {
        let names = [self.source_root(), self.root_resolved.as_ref()];
        names.into_iter().flatten().cloned().collect()
    }
}

/// Whether a text is short and shows what it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TEXT
        && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lying_peer_says_is_dropped_part_by_part() {
        let said = Facts {
            os: "linux\u{1b}[2J".to_owned(),
            arch: "x".repeat(65),
            directory: Some("/srv/../etc".to_owned()),
            git_root: Some("/srv/app".to_owned()),
            git_commit: Some("zz".repeat(20)),
            root: Some("srv/app".to_owned()),
            root_resolved: Some("/srv\n".to_owned()),
            debuggers: vec!["debugpy 1.8.22".to_owned(), "a\nb".to_owned()],
        };
        let expected = HostFacts {
            git_root: Some("/srv/app".parse().unwrap()),
            debuggers: vec!["debugpy 1.8.22".to_owned()],
            ..HostFacts::default()
        };
        assert_eq!(HostFacts::accept(said), expected);
        let flood = Facts {
            debuggers: vec!["gdbserver".to_owned(); 5000],
            ..Facts::default()
        };
        assert_eq!(HostFacts::accept(flood).debuggers.len(), MAX_DEBUGGERS);
    }

    #[test]
    fn what_this_host_says_is_taken_over_as_it_is() {
        let facts = HostFacts::of_this_host(true, None);
        assert!(facts.directory.is_some());
        assert_eq!(HostFacts::accept(facts.to_wire()), facts);
    }
}
