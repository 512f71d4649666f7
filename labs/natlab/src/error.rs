//! Why a lab could not be built or changed.

use std::{io, process::ExitStatus};

use p2pdbg_nat::NatKind;

/// What this machine lacks; displayed as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// This process is not root, and namespaces need it.
    #[error("network namespaces need root")]
    Root,
    /// A program is not installed.
    #[error("`{tool}` is not installed (Debian package {package})")]
    Tool {
        /// The program that is not installed.
        tool: &'static str,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// Shaped links need TAP devices.
    #[error("/dev/net/tun cannot be opened: {0}")]
    Tun(io::Error),
}

/// Why a lab could not be built or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine cannot hold a lab.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A program that the lab runs (`ip`, `nft`, `conntrack`) failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The command line that was run.
        command: String,
        /// The status with which it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried, as in "cannot …".
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel cannot be a NAT of this kind; the simulator can.
    #[error("the kernel's NAT cannot be {}: {why}", kind.short_name())]
    Unsupported {
        /// The kind that was asked for.
        kind: NatKind,
        /// What the kernel cannot do.
        why: &'static str,
    },
    /// A network has no address left.
    #[error("{network} has no address left")]
    Exhausted {
        /// The network's address and prefix length.
        network: String,
    },
    /// Impairments and silent cuts need a shaped link.
    #[error("{link} is a plain veth: it can be neither impaired nor cut silently")]
    NotShaped {
        /// The node and its interface.
        link: String,
    },
    /// A name would not do for a namespace.
    #[error("`{0}` cannot be a name: use 1 to 24 lower-case letters, digits and hyphens")]
    Name(String),
    /// The interface is not this node's.
    #[error("{node} has no link {link}")]
    NoLink {
        /// The node that was named.
        node: String,
        /// The interface that it has not.
        link: String,
    },
}

impl Error {
    /// For `map_err`: an I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
