//! What a server is told at its start; why it does not start is in `start_error`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use p2pdbg_proto::{
    node::{Node, NodeNumber},
    url::DEFAULT_ALT_PORT,
};

use crate::{limits::Limits, public_host::PublicAddress};

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
