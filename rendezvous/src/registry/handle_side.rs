//! One side of a handle, by the handle's digest.

use std::fmt;

use p2pdbg_proto::rendezvous::{Handle, Role};
use sha2::{Digest, Sha256};

/// One side of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HandleSide {
    digest: [u8; 32],
    role: Role,
}

impl HandleSide {
    pub(super) fn new(handle: &Handle, role: Role) -> Self {
        Self {
            digest: Sha256::digest(handle.expose()).into(),
            role,
        }
    }

    /// The side of the connector at the handle of this digest.
    pub(super) fn of_connector(digest: [u8; 32]) -> Self {
        let role = Role::Connector;
        Self { digest, role }
    }

    /// The digest of the handle: the rendezvous keeps no more of it.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether it is a listener who waits there.
    pub(super) fn is_listener(&self) -> bool {
        self.role == Role::Listener
    }

    /// The same handle in the other role: whom it waits for.
    pub(super) fn other_side(&self) -> Self {
        Self {
            role: self.role.other(),
            ..*self
        }
    }
}

impl fmt::Debug for HandleSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<handle>/{:?}", self.role)
    }
}
