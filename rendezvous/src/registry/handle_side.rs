//! One side of a handle, by the handle's digest.

use std::fmt;

use p2pdbg_proto::control::{Handle, Role};
use sha2::{Digest, Sha256};

/// One side of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Meeting {
    digest: [u8; 32],
    role: Role,
}

impl Meeting {
    pub(super) fn new(handle: &Handle, role: Role) -> Self {
        Self {
            digest: Sha256::digest(handle.expose()).into(),
            role,
        }
    }

    /// Whom it waits for.
    pub(super) fn other_side(&self) -> Self {
        Self {
            role: self.role.other(),
            ..*self
        }
    }
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<handle>/{:?}", self.role)
    }
}
