//! How to serve, and why a rendezvous cannot.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use p2pdbg_identity::StateError;
use p2pdbg_proto::{
    node::{Node, NodeNumber},
    url::DEFAULT_ALT_PORT,
};

use crate::{keys::KeyError, limits::Limits, public_host::PublicAddress};

/// How to serve, as the command line has settled it.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The main ports, of UDP and TCP; none means port 3478 of every address, over IPv6 and IPv4.
    pub bind: Vec<SocketAddr>,
    /// The port, at each of those addresses, that answers STUN too; 0 takes any that is free.
    pub alt_port: u16,
    /// Second addresses of this host's that answer STUN at the same ports, one of each family at the most, each with
    /// the address by which others reach it if that is another.
    pub alt_ips: Vec<(IpAddr, Option<IpAddr>)>,
    /// What the URL says; without it, the best guess.
    pub public: Option<PublicAddress>,
    /// The state directory; none means the platform's.
    pub state: Option<PathBuf>,
    /// Where to answer over HTTP what an operator asks: metrics, health and a page. None means nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where a reverse proxy on this host passes on what comes for this rendezvous: plain HTTP, at an address of the
    /// loopback. None means nowhere.
    pub web: Option<SocketAddr>,
    /// The directory of what is handed out over plain HTTP to hosts where p2pdbg is not installed, as `scripts/release`
    /// makes it; none offers nothing.
    pub offer: Option<PathBuf>,
    /// Asks nobody for the access key.
    pub open: bool,
    /// How many workers read each main port over UDP and relay what comes there; 0 means one for each core. Where the
    /// system cannot share a port out evenly there is one.
    pub relay_workers: usize,
    /// Which node of several this is; none means that it is the one host.
    pub cluster: Option<ClusterConfig>,
    /// Relays for the nodes of a cluster, which say by ticket for whom, and does nothing else.
    pub relays_alone: bool,
    /// What peers may take, each and in all.
    pub limits: Limits,
}

/// The nodes that serve one URL, and which of them this is.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The number of this node, by which the others and the store know it.
    pub own: NodeNumber,
    /// All nodes, this one among them, in the order in which the URL names them.
    pub nodes: Vec<Node>,
    /// Hosts that relay for them and do nothing else, by numbers of their own.
    pub relays: Vec<Node>,
    /// The store in which nodes find known peers for each other; without it those meet at one node alone.
    pub store: Option<StoreUrl>,
}

/// Where a store is, with what lets this node in.
#[derive(Clone)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// `redis://USER:PASSWORD@HOST:PORT/DB`, or `rediss://` for TLS.
    pub fn new(url: String) -> Self {
        Self(url)
    }

    /// The text, password and all.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "for the store"))]
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreUrl")
    }
}

impl ClusterConfig {
    /// This node as the list has it; none if it is not in the list.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.number == self.own)
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: Vec::new(),
            alt_port: DEFAULT_ALT_PORT,
            alt_ips: Vec::new(),
            public: None,
            state: None,
            metrics: None,
            web: None,
            offer: None,
            open: false,
            relay_workers: 0,
            cluster: None,
            relays_alone: false,
            limits: Limits::default(),
        }
    }
}

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
