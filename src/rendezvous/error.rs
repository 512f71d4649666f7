//! What can be wrong with the connection to the rendezvous, and whose fault it is.

use p2pdbg_wire::control::Refusal;

use crate::{
    failure::{ErrorCode, Failure},
    report::Untrusted,
};

/// Why there is no connection to the rendezvous.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The host's name has no address.
    #[error("the rendezvous {authority} has no address: {why}")]
    Resolve {
        /// Host and port.
        authority: String,
        /// What the resolver said.
        why: String,
    },
    /// Nothing answers there.
    #[error("the rendezvous {authority} does not answer")]
    Unreachable {
        /// Host and port.
        authority: String,
    },
    /// Something answers that does not speak this protocol, or no version of it that this program knows.
    #[error("what answers at {authority} is no p2pdbg rendezvous, or one of another version")]
    Version {
        /// Host and port.
        authority: String,
    },
    /// The certificate is not the pinned one, or no root that the system trusts vouches for it.
    #[error("the rendezvous {authority} does not show the certificate that was expected: {why}")]
    Identity {
        /// Host and port.
        authority: String,
        /// What is wrong with it.
        why: String,
        /// Whether the URL says which certificate it must be.
        pinned: bool,
    },
    /// The rendezvous said no.
    #[error("the rendezvous {authority} refused: {refusal}")]
    Refused {
        /// Host and port.
        authority: String,
        /// Why.
        refusal: Refusal,
    },
    /// A connection that was up is gone.
    #[error("the connection to the rendezvous was lost: {0}")]
    Lost(String),
    /// This machine's fault.
    #[error("cannot open a connection to the rendezvous: {0}")]
    Local(String),
}

impl LinkError {
    /// A connection is gone, for this reason.
    pub(super) fn lost(why: &dyn std::fmt::Display) -> Self {
        Self::Lost(Untrusted::of_error(why).to_string())
    }

    /// Whether trying again later could help without anybody's doing something.
    pub fn is_passing(&self) -> bool {
        match self {
            LinkError::Resolve { .. }
            | LinkError::Unreachable { .. }
            | LinkError::Lost(_)
            | LinkError::Local(_) => true,
            LinkError::Version { .. } | LinkError::Identity { .. } => false,
            LinkError::Refused { refusal, .. } => {
                matches!(refusal, Refusal::Limit { .. } | Refusal::Full)
            }
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let (code, hint) = match &error {
            LinkError::Resolve { .. } => (
                ErrorCode::RendezvousUnreachable,
                "check the host in the rendezvous URL, and this host's network",
            ),
            LinkError::Unreachable { .. } => (
                ErrorCode::RendezvousUnreachable,
                "check that p2pdbg-rendezvous runs there, and that UDP to that port is open on the way",
            ),
            LinkError::Version { .. } => (
                ErrorCode::RendezvousVersion,
                "use the same version of p2pdbg and p2pdbg-rendezvous, and check the port in the URL",
            ),
            LinkError::Identity { pinned: false, .. } => (
                ErrorCode::RendezvousIdentity,
                "use the whole URL that p2pdbg-rendezvous printed, with # and the fingerprint at its end",
            ),
            LinkError::Identity { .. } => (
                ErrorCode::RendezvousIdentity,
                "if the rendezvous was set up anew, use the URL that it prints now; else somebody is in the middle",
            ),
            LinkError::Refused { refusal, .. } => (
                ErrorCode::RendezvousRefused,
                match refusal {
                    Refusal::AccessKey => {
                        "use the whole URL that p2pdbg-rendezvous printed, with the key before the @"
                    }
                    _ => "try again later, or ask whoever runs the rendezvous",
                },
            ),
            LinkError::Lost(_) => (
                ErrorCode::RendezvousUnreachable,
                "check that p2pdbg-rendezvous still runs",
            ),
            LinkError::Local(_) => (
                ErrorCode::RendezvousUnreachable,
                "check this host's network",
            ),
        };
        Failure::new(code, error.to_string()).hint(hint)
    }
}
