//! Why the rendezvous does not start, in words for its operator: what happened, why, and what to do.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use p2pdbg_identity::StateError;

use crate::keys::KeyError;

/// Why the rendezvous cannot serve: what happened, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("{0}")]
    State(#[from] StateError),
    /// A port cannot be opened.
    #[error("cannot open {protocol} port {} on {}: {}", address.port(), address.ip(), why_not(source))]
    Bind {
        /// `UDP` or `TCP`, for the message.
        protocol: &'static str,
        /// What was to be bound.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The HTTP port cannot be opened.
    #[error(
        "cannot answer over HTTP at {address}: {source}; choose another address with --metrics"
    )]
    Metrics {
        /// What was to be bound.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The port for a reverse proxy cannot be opened.
    #[error(
        "cannot listen for a reverse proxy at {address}: {source}; choose another address with --web"
    )]
    Web {
        /// What was to be bound.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// There is nothing to offer.
    #[error(
        "cannot offer what is in {}: its run.sh cannot be read ({source}); name a directory offer/ of a release with --offer",
        directory.display()
    )]
    Offer {
        /// The directory that was named.
        directory: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A second address for STUN cannot be used.
    #[error("cannot use {address} as a second address for STUN: {why}")]
    SecondAddress {
        /// The address that was named.
        address: IpAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// There is none of this file in the state directory, and there was one.
    #[error(
        "{} is missing, with which a rendezvous has served; put a backup in its place, or p2pdbg-rendezvous makes \
         another when it is started anew, which shuts peers out",
        .0.display()
    )]
    Missing(PathBuf),
    /// Another process serves with this state directory.
    #[error(
        "another p2pdbg-rendezvous serves with the state directory {}; stop that one, or name another with --state",
        .0.display()
    )]
    AlreadyServing(PathBuf),
    /// It is to be one node of several, and cannot be.
    #[error("cannot serve as a node of several: {0}")]
    Cluster(String),
    /// The certificate does not serve.
    #[error(
        "the certificate in the state directory does not serve: {0}; delete it and a new one is made"
    )]
    Certificate(#[from] rustls::Error),
    /// The operating system or the libraries refuse otherwise.
    #[error("cannot serve: {0}")]
    Other(String),
}

fn why_not(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program uses it (another p2pdbg-rendezvous?); \
             stop that one, or choose another port with --bind and --alt-port"
            .into(),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 take more privileges: start it with the socket unit of packaging/systemd, or allow it by \
             `setcap cap_net_bind_service=+ep`; or choose a port above 1023 with --bind and --alt-port"
                .into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have that address; choose another with --bind".into()
        }
        _ => format!("{error}; choose another address with --bind"),
    }
}
