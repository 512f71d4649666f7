//! Which process of a node it is.

use std::{fmt, fs, path::Path, str::FromStr};

use p2pdbg_identity::{StateDir, StateError};
use p2pdbg_proto::secret::random_bytes;

/// The file that keeps the epoch of the process that serves or has served last.
const FILE: &str = "node-epoch";

/// What the kernel draws at each start of the host; Linux alone says it.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Drawn by each process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Epoch(u64);

impl Epoch {
    /// A number that no other process has had, by all likelihood.
    pub(crate) fn draw() -> Self {
        Self(u64::from_be_bytes(random_bytes()))
    }

    /// As a number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Draws one for this process and keeps it; with the one before it, if that has served with this very directory:
    /// the lock on it shows that it is gone. The one that served with a directory of which this is a copy may live.
    pub(crate) fn begin(state: &StateDir) -> Result<(Self, Option<Self>), StateError> {
        Self::begin_since(&boot(), state)
    }

    /// What is wrong with the file for a process after this one, if anything is: without it that one cannot take the
    /// node's number before the store has forgotten who had it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn fault(state: &StateDir) -> Result<Option<String>, StateError> {
        let path = state.path().join(FILE);
        if Self::kept(&directory_since(&boot(), state), state)?.is_some() {
            return Ok(None);
        }
        let how = match path.exists() {
            true => "damaged",
            false => "missing",
        };
        Ok(Some(format!("the file {} is {how}", path.display())))
    }

    /// The same on a host that has run since this `boot`: a copy of a whole volume or host has the directory at the
    /// same number, but it was started at another time.
    fn begin_since(boot: &str, state: &StateDir) -> Result<(Self, Option<Self>), StateError> {
        let directory = directory_since(boot, state);
        let before = Self::kept(&directory, state)?;
        let epoch = Self::draw();
        state.write_atomically(FILE, format!("{epoch} {directory}\n").as_bytes())?;
        Ok((epoch, before))
    }

    /// The one that is kept, if it is of this directory.
    fn kept(directory: &str, state: &StateDir) -> Result<Option<Self>, StateError> {
        let kept = state.read(FILE)?;
        Ok(kept.and_then(|bytes| {
            let text = std::str::from_utf8(&bytes).ok()?;
            let (epoch, of) = text.trim_end().split_once(' ')?;
            epoch.parse().ok().filter(|_| of == directory)
        }))
    }
}

/// At which start of the host this one is.
fn boot() -> String {
    let boot = fs::read_to_string(BOOT).unwrap_or_default();
    boot.trim().to_owned()
}

/// What tells the directory from its copies.
fn directory_since(boot: &str, state: &StateDir) -> String {
    format!("{}/{boot}", number_of(state.path()))
}

/// By what a directory differs from its copies on one host: its file system, and the number that this gave it.
fn number_of(directory: &Path) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let found = fs::metadata(directory);
        found.map_or(String::new(), |found| {
            format!("{}:{}", found.dev(), found.ino())
        })
    }
    #[cfg(not(unix))]
    {
        directory.display().to_string()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_before_is_believed_in_its_own_directory_and_not_in_a_copy() {
        let (own, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = |at: &tempfile::TempDir| {
            StateDir::open(Some(&at.path().join("state")), "test").unwrap()
        };
        let (first, before) = Epoch::begin(&state(&own)).unwrap();
        assert_eq!(before, None);
        let (of, copied) = (state(&own), state(&copy));
        std::fs::copy(of.path().join(FILE), copied.path().join(FILE)).unwrap();
        assert_eq!(Epoch::begin(&copied).unwrap().1, None);
        assert_eq!(Epoch::begin(&state(&own)).unwrap().1, Some(first));
    }

    #[test]
    fn epoch_before_is_not_believed_on_a_copy_of_the_whole_host() {
        let at = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&at.path().join("state")), "test").unwrap();
        let (first, _) = Epoch::begin_since("one", &state).unwrap();
        // Nothing of the directory differs there.
        let (second, before) = Epoch::begin_since("another", &state).unwrap();
        assert_eq!(before, None);
        let (_, before) = Epoch::begin_since("another", &state).unwrap();
        assert!(before == Some(second) && before != Some(first));
    }
}
