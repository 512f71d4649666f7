//! The TCP side of reaching the rendezvous: TLS 1.3 at one address, or through the proxy that the environment names,
//! and inside a WebSocket where that fails ([`super::web`]).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use p2pdbg_base::Untrusted;
use p2pdbg_identity::tls;
use p2pdbg_net::{nat64::Nat64, tcp_port};
use p2pdbg_proto::{
    node::{Node, NodeNumber},
    url::{HostAt, RendezvousUrl},
};
use rustls::{AlertDescription, ClientConfig, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    LinkError,
    allowed_addresses::AllowedAddresses,
    host_distance::{NodeAway, Ways, distances},
    names::Names,
    node_memory::{NodeMemory, Remembered},
    proxy::{NotAProxy, Proxy, Refused},
    tcp_or_web::TcpOrWeb,
};

/// How long an address may take to complete its handshake, over QUIC too.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(6);

/// The system asks whether the other end is there after so much silence, and then in the same rhythm.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What the kernel may hold that is not sent yet, in bytes. More would be delay that nobody sees.
const NOT_SENT: u32 = 16 * 1024;

/// A connection over TCP to the rendezvous, before anything was said on it.
pub type Stream = TlsStream<TcpOrWeb>;

/// How the rendezvous is reached over TCP.
#[derive(Clone, Debug)]
pub struct TcpRoute {
    url: RendezvousUrl,
    proxy: Option<Proxy>,
    /// What the environment names as a proxy and is none: told if the rendezvous is not reached without it either.
    unusable: Option<NotAProxy>,
    /// How it is reached if it has IPv4 and this host has not, by UDP too.
    nat64: Nat64,
    /// The address that sockets are bound to.
    local: Option<IpAddr>,
    /// Whether the last connection over TCP was a WebSocket: one memory for all clones.
    by_web: Arc<AtomicBool>,
    /// Which of the rendezvous' hosts the link has found at which address: a leg leads to one that it was told of so.
    found: Arc<Mutex<Vec<(SocketAddr, HostAt)>>>,
    /// Which node the link has reached, and which there are.
    nodes: Arc<Mutex<Option<Nodes>>>,
    /// Where they are kept for the next start.
    memory: Option<NodeMemory>,
    /// The addresses of hosts: one memory for all clones.
    names: Names,
    /// Whether the proxy has answered, whatever it said, since this attempt began.
    pub(super) proxy_answered: Arc<AtomicBool>,
    /// Whether it has opened a connection.
    pub(super) proxy_opened: Arc<AtomicBool>,
}

/// The nodes of a rendezvous, as one of them has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// The one that has told it: the home.
    pub own: NodeNumber,
    /// All that relay, those that do nothing else among them.
    pub relays: Vec<Node>,
    /// Where they may be.
    pub(super) allowed: AllowedAddresses,
}

/// One way over TCP, for who wants to know of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// TLS at once, as a rendezvous at a port of its own has it.
    Alone,
    /// TLS in a WebSocket, as it passes a web server that has port 443.
    Web,
}

/// So many addresses of hosts are remembered.
const FOUND: usize = 16;

impl TcpRoute {
    /// To that rendezvous, through the proxy that the environment names for it.
    pub fn new(url: &RendezvousUrl) -> Self {
        let (proxy, unusable) = match Proxy::from_environment(&url.host, url.port) {
            Ok(proxy) => (proxy, None),
            Err(unusable) => (None, Some(unusable)),
        };
        let url = url.without_key();
        Self {
            url,
            proxy,
            unusable,
            nat64: Nat64::default(),
            local: None,
            by_web: Arc::default(),
            found: Arc::default(),
            nodes: Arc::default(),
            memory: None,
            names: Names::default(),
            proxy_answered: Arc::default(),
            proxy_opened: Arc::default(),
        }
    }

    /// To this host of the rendezvous', through the proxy that the environment names for it, for another attempt.
    pub(super) fn at(&self, host: &HostAt) -> Self {
        if (&self.url.host, self.url.port) == (&host.host, host.port) {
            return self.anew();
        }
        Self {
            nat64: self.nat64.clone(),
            local: self.local,
            // What passes is the network's affair, whichever host it leads to.
            by_web: Arc::clone(&self.by_web),
            found: Arc::clone(&self.found),
            nodes: Arc::clone(&self.nodes),
            memory: self.memory.clone(),
            names: self.names.clone(),
            ..Self::new(&self.url.at(host))
        }
    }

    /// The same for another attempt.
    fn anew(&self) -> Self {
        Self {
            proxy_answered: Arc::default(),
            proxy_opened: Arc::default(),
            ..self.clone()
        }
    }

    /// The addresses of hosts.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The address at which the host has answered as itself; none if a proxy has opened the connection, to whichever.
    pub(super) fn proved_at(
        &self,
        host: &HostAt,
        address: SocketAddr,
        over_tcp: bool,
    ) -> Option<SocketAddr> {
        let is_guessed = over_tcp && self.at(host).has_proxy();
        (!is_guessed).then_some(address)
    }

    /// Through this proxy.
    #[cfg(test)]
    pub(super) fn by(mut self, proxy: SocketAddr) -> Self {
        self.proxy = Some(Proxy::parse("HTTPS_PROXY", &proxy.to_string()).unwrap());
        self
    }

    /// With the addresses of hosts from there.
    #[cfg(test)]
    pub(super) fn knowing(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// How hosts are asked for their distance.
    pub(super) fn ways(&self) -> Ways {
        Ways {
            names: self.names.clone(),
            nat64: self.nat64.clone(),
            local: self.local,
        }
    }

    /// That host is the one at this address.
    pub(super) fn note_found(&self, address: SocketAddr, host: &HostAt) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|(at, _)| *at != address);
        if found.len() == FOUND {
            found.remove(0);
        }
        found.push((address, host.clone()));
    }

    /// Keeps there which nodes there are, and begins with those that were kept.
    pub fn remembering(mut self, memory: NodeMemory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The nodes that serve peers, as they were told at an earlier start.
    pub(super) fn remembered(&self) -> Remembered {
        let memory = self.memory.as_ref().zip(self.url.fingerprint);
        memory.map_or_else(Remembered::default, |(memory, authority)| {
            memory.read(authority)
        })
    }

    /// Keeps which nodes serve peers.
    pub(super) fn remember(&self, nodes: &Remembered) {
        if let (Some(memory), Some(authority)) = (&self.memory, self.url.fingerprint) {
            memory.write(authority, nodes);
        }
    }

    /// The node that is reached has told of all, or the host that is reached has not.
    pub(super) fn note_nodes(&self, nodes: Option<Nodes>) {
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// The nodes, as the one has told that was reached last; none where the rendezvous is one host.
    pub fn nodes(&self) -> Option<Nodes> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.clone()
    }

    /// How far the nodes are from here over UDP, those that do not answer left out.
    pub async fn distances(&self) -> Vec<NodeAway> {
        match self.nodes() {
            Some(Nodes {
                relays, allowed, ..
            }) => distances(relays, &allowed, &self.ways()).await,
            None => Vec::new(),
        }
    }

    /// To the host that was found at this address.
    fn to_found(&self, address: SocketAddr) -> Self {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let host = found.iter().find(|(at, _)| *at == address);
        host.map_or_else(|| self.anew(), |(_, host)| self.at(host))
    }

    /// From this address of this host's, over UDP too: for measurements with many peers on one host.
    pub fn from_address(mut self, local: IpAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// The address that sockets are bound to, unless the system chooses.
    pub(super) fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// How IPv4 is reached where this host has none.
    pub fn nat64(&self) -> &Nat64 {
        &self.nat64
    }

    /// Whether a proxy opens the connections, and resolves the name too.
    pub fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// The proxy, without its password, if one is used.
    ///
    /// # Errors
    /// What is wrong with what the environment names.
    pub fn proxy(&self) -> Result<Option<String>, String> {
        match self.unusable {
            Some(unusable) => Err(unusable.to_string()),
            None => Ok(self.proxy.as_ref().map(ToString::to_string)),
        }
    }

    /// A connection for the rendezvous protocol, to that address unless a proxy opens it. Where nothing answers it is
    /// tried again until then.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn control(
        &self,
        address: Option<SocketAddr>,
        again_until: Instant,
    ) -> Result<Stream, LinkError> {
        let config = tls::control_client(self.url.fingerprint).map_err(|e| local(&e))?;
        self.race(address, config, again_until).await
    }

    /// The same by one way alone.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn control_by(
        &self,
        way: Way,
        address: Option<SocketAddr>,
    ) -> Result<Stream, LinkError> {
        let config = tls::control_client(self.url.fingerprint).map_err(|e| local(&e))?;
        match way {
            Way::Alone => {
                self.alone(address, Arc::new(config), &AtomicBool::default())
                    .await
            }
            Way::Web => self.web(address, Arc::new(config), true).await,
        }
    }

    /// A connection for a leg of the relay, to that address unless a proxy opens it.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn leg(&self, address: SocketAddr) -> Result<Stream, LinkError> {
        let config = tls::relay_client(self.url.fingerprint).map_err(|e| local(&e))?;
        let route = self.to_found(address);
        route.race(Some(address), config, Instant::now()).await
    }

    /// The rendezvous, without the key.
    pub(super) fn url(&self) -> &RendezvousUrl {
        &self.url
    }

    /// Whether the last connection over TCP was a WebSocket.
    pub(super) fn went_by_web(&self) -> bool {
        self.by_web.load(Ordering::Relaxed)
    }

    /// Remembers which way it came.
    pub(super) fn note(&self, stream: Stream) -> Stream {
        let is_web = stream.get_ref().0.is_web();
        self.by_web.store(is_web, Ordering::Relaxed);
        stream
    }

    /// By TCP alone; whether something accepts the connection is noted in `connected`.
    pub(super) async fn alone(
        &self,
        address: Option<SocketAddr>,
        config: Arc<ClientConfig>,
        connected: &AtomicBool,
    ) -> Result<Stream, LinkError> {
        let connecting = async {
            let stream = self.tcp(address, &self.url.authority()).await?;
            connected.store(true, Ordering::Relaxed);
            self.shake_hands(TcpOrWeb::tcp(stream), config).await
        };
        timeout(HANDSHAKE, connecting)
            .await
            .unwrap_or_else(|_| Err(self.unreachable()))
    }

    /// TCP to that address, or through the proxy to that authority.
    pub(super) async fn tcp(
        &self,
        address: Option<SocketAddr>,
        authority: &str,
    ) -> Result<TcpStream, LinkError> {
        let stream = match (&self.proxy, address) {
            (Some(proxy), _) => return self.through(proxy, authority).await,
            (None, Some(address)) => {
                let target = self.nat64.target(address).await;
                let connected = tcp_port::connect(target, self.local).await;
                connected.map_err(|_| self.unreachable())?
            }
            (None, None) => return Err(self.unreachable()),
        };
        set_up(&stream);
        Ok(stream)
    }

    /// TLS over this connection, with the certificate that `config` pins.
    pub(super) async fn shake_hands(
        &self,
        wire: TcpOrWeb,
        config: Arc<ClientConfig>,
    ) -> Result<Stream, LinkError> {
        let shaken = TlsConnector::from(config).connect(self.name()?, wire);
        shaken.await.map_err(|error| self.judge(&error))
    }

    /// The host, as TLS names it.
    pub(super) fn name(&self) -> Result<ServerName<'static>, LinkError> {
        ServerName::try_from(self.url.host.clone()).map_err(|e| local(&e))
    }

    /// Nothing answers, or not in time.
    pub(super) fn unreachable(&self) -> LinkError {
        match (self.unusable, &self.proxy) {
            (Some(unusable), _) => LinkError::NotAProxy(unusable.to_string()),
            (None, Some(proxy)) if !self.proxy_answered.load(Ordering::Relaxed) => {
                LinkError::Proxy {
                    proxy: proxy.to_string(),
                    why: Refused::Silent.to_string(),
                }
            }
            (None, Some(proxy)) if self.proxy_opened.load(Ordering::Relaxed) => {
                LinkError::BehindProxy {
                    authority: self.url.authority(),
                    proxy: proxy.to_string(),
                }
            }
            (None, _) => LinkError::Unreachable {
                authority: self.url.authority(),
            },
        }
    }

    /// What a failed handshake means.
    fn judge(&self, error: &io::Error) -> LinkError {
        let authority = self.url.authority();
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let spoken = match inner {
            None => return self.unreachable(),
            Some(rustls::Error::InvalidCertificate(_)) => LinkError::Identity {
                authority,
                why: Untrusted::of_error(error).to_string(),
                pinned: self.url.fingerprint.is_some(),
            },
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) | _) => {
                LinkError::Version { authority }
            }
        };
        LinkError::InItsPlace(Box::new(spoken))
    }
}

/// Sets what every connection over TCP has.
pub(super) fn set_up(stream: &TcpStream) {
    p2pdbg_frames::set_up_tcp(stream, KEEPALIVE, NOT_SENT);
}

pub(super) fn local(error: &dyn std::fmt::Display) -> LinkError {
    LinkError::Local(error.to_string())
}
