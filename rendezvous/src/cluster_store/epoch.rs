//! Which process of a node it is.

use std::{fmt, str::FromStr};

use p2pdbg_identity::{StateDir, StateError};
use p2pdbg_proto::secret::random_bytes;

/// The file that keeps the epoch of the process that serves or has served last.
const FILE: &str = "node-epoch";

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

    /// Draws one for this process and keeps it; with the one before it.
    pub(crate) fn begin(state: &StateDir) -> Result<(Self, Option<Self>), StateError> {
        let kept = state.read(FILE)?;
        let before = kept.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
        let epoch = Self::draw();
        state.write_atomically(FILE, epoch.to_string().as_bytes())?;
        Ok((epoch, before))
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
