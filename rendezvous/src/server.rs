//! The server as a whole: binds the ports, reads the state, starts the tasks, and stops them in order.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use p2pdbg_identity::{StateDir, StateError, StateLock, tls};
use p2pdbg_proto::url::{DEFAULT_PORT, RendezvousUrl};
use quinn::{Endpoint, TokioRuntime};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    control::{
        acceptor::Lobby,
        admission::Admission,
        hub::{Event, Hub},
        quic::{Entrance, accept, endpoint_config, server_config},
        report::Report,
        tcp::{self, TcpEntrance},
    },
    counters::{self, Counters, Tallies},
    datapath::{Datapath, Port, quic_socket::QuicSocket, socket::UdpPort},
    fair::Book,
    keys::{KeyError, KeyRing, KeyStore, UsageFile},
    limits::Limits,
    public::{PublicAddress, guess, is_private},
    registry::{Registry, voucher::Vouchers},
    relay::tcp_leg::Legs,
    stun::{
        alternatives::{self, Alternatives},
        topology::StunPlaces,
    },
};

/// The second port on which STUN is answered, unless told otherwise.
pub const DEFAULT_ALT_PORT: u16 = 3479;

/// The name of the directory that the state lies in, unless told otherwise.
const PROGRAM: &str = "p2pdbg-rendezvous";

/// How long peers may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(3);

/// Events and commands that wait for the hub and the datapath.
const QUEUE: usize = 1_024;

/// How to serve.
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
    /// Asks nobody for the access key.
    pub open: bool,
    /// The limits.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: Vec::new(),
            alt_port: DEFAULT_ALT_PORT,
            alt_ips: Vec::new(),
            public: None,
            state: None,
            open: false,
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
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// What was to be bound.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A second address for STUN cannot be used.
    #[error("cannot use {address} as a second address for STUN: {why}")]
    SecondAddress {
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Another process serves with this state directory.
    #[error(
        "another p2pdbg-rendezvous serves with the state directory {}; stop that one, or name another with --state",
        .0.display()
    )]
    AlreadyServing(PathBuf),
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
            "it takes more privileges; choose a port above 1023 with --bind and --alt-port".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have that address; choose another with --bind".into()
        }
        _ => format!("{error}; choose another address with --bind"),
    }
}

/// The file with the secret behind vouchers and resets.
const SECRET: &str = "server-secret";

/// A running rendezvous. Dropping it ends everything at once; peers see their connections close.
#[derive(Debug)]
pub struct Server {
    url: RendezvousUrl,
    addresses: Vec<SocketAddr>,
    alternatives: Vec<SocketAddr>,
    unreachable: bool,
    tallies: Arc<Tallies>,
    store: KeyStore,
    open: bool,
    hub: mpsc::Sender<Event>,
    /// Nobody else serves with this state directory.
    _lock: StateLock,
    stop: CancellationToken,
    stop_datapath: CancellationToken,
    entrances: JoinSet<()>,
    core: JoinSet<()>,
}

impl Server {
    /// Opens the state and the ports and serves, on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let state = StateDir::open(config.state.as_deref(), PROGRAM)?;
        let identity = state.identity()?;
        let lock = state
            .try_lock("serving")?
            .ok_or_else(|| StartError::AlreadyServing(state.path().to_owned()))?;
        let store = KeyStore::new(state.clone());
        let keys = store.load_or_make(unix_s())?;
        let access_key = store.default_secret(&keys)?;
        let has_served = state.read(SECRET)?.is_some();
        let secret = state.secret32(SECRET)?;
        let (mains, listeners): (Vec<_>, Vec<_>) = bind_mains(&config.bind)?.into_iter().unzip();
        let Alternatives {
            ports: alternatives,
            vantages,
        } = alternatives::open(&config, &mains)?;
        let vantages = Arc::new(vantages);

        let tallies = Arc::new(Tallies::default());
        let (events, hub_events) = mpsc::channel(QUEUE);
        let (commands, datapath_commands) = mpsc::channel(QUEUE);
        let lobby = Arc::new(Lobby {
            admission: Admission::new(&config.limits),
            hub: events.clone(),
            tallies: tallies.clone(),
            limits: config.limits.clone(),
            next: AtomicU64::new(1),
        });
        let (streams, datapath_streams) = mpsc::channel(QUEUE);
        let legs = Legs::new(streams);
        let tls = TlsAcceptor::from(Arc::new(tls::stream_server(&identity)?));
        let quic = server_config(tls::control_server(&identity)?, &config.limits)
            .map_err(|error| StartError::Other(error.to_string()))?;
        let key = access_key.filter(|_| !config.open);
        let (url, unreachable) = url(&config, &mains, key, identity.fingerprint());

        let stop = CancellationToken::new();
        let stop_datapath = CancellationToken::new();
        let mut entrances = JoinSet::new();
        let mut core = JoinSet::new();
        let mut ports = Vec::new();
        let mut addresses = Vec::new();
        for (index, (main, listener)) in mains.into_iter().zip(listeners).enumerate() {
            let main = Arc::new(main);
            addresses.push(main.local());
            let (socket, feed) = QuicSocket::new(main.clone());
            ports.push(Port {
                udp: main.clone(),
                quic: Some(feed),
            });
            let endpoint = Endpoint::new_with_abstract_socket(
                endpoint_config(&secret),
                Some(quic.clone()),
                socket,
                Arc::new(TokioRuntime),
            )
            .map_err(|error| StartError::Other(error.to_string()))?;
            let public_port = config.public.as_ref().and_then(|public| public.port);
            let mut stun_ports = vec![public_port.unwrap_or(main.local().port())];
            let alternative = alternatives
                .iter()
                .find(|alternative| alternative.local().ip() == main.local().ip());
            stun_ports.extend(alternative.map(|alternative| alternative.local().port()));
            let stun = StunPlaces {
                socket: index,
                ports: stun_ports,
                vantages: vantages.clone(),
            };
            let by_tcp = TcpEntrance {
                listener,
                tls: tls.clone(),
                stun: stun.clone(),
                legs: legs.clone(),
            };
            entrances.spawn(tcp::accept(by_tcp, lobby.clone(), stop.clone()));
            let entrance = Entrance { endpoint, stun };
            entrances.spawn(accept(entrance, lobby.clone(), stop.clone()));
        }
        let alternative_addresses = alternatives.iter().map(UdpPort::local).collect();
        ports.extend(alternatives.into_iter().map(|alternative| Port {
            udp: Arc::new(alternative),
            quic: None,
        }));
        let ring = KeyRing::new(&keys, config.open);
        let usage = UsageFile::new(state);
        let mut book = Book::new(Instant::now(), unix_s(), config.limits.relay_mbit);
        book.set_keys(&ring, unix_s());
        if let Some((month, used)) = usage.read() {
            book.restore(month, used);
        }
        let vouchers = Vouchers::new(&secret);
        let mut registry = Registry::new(config.limits.clone(), ring, vouchers);
        registry.begin(Instant::now(), has_served);
        let hub = Hub::new(registry, book, usage, hub_events, commands, tallies.clone());
        core.spawn(hub.run(stop.clone()));
        let datapath = Datapath::new(
            ports,
            vantages,
            &config.limits,
            datapath_commands,
            datapath_streams,
            events.clone(),
            tallies.clone(),
        );
        core.spawn(datapath.run(stop_datapath.clone()));
        let (log, until) = (counters::log(tallies.clone()), stop.clone());
        core.spawn(async move {
            until.run_until_cancelled(log).await;
        });
        Ok(Self {
            url,
            addresses,
            alternatives: alternative_addresses,
            unreachable,
            tallies,
            store,
            open: config.open,
            hub: events,
            _lock: lock,
            stop,
            stop_datapath,
            entrances,
            core,
        })
    }

    /// What peers are given: host, port, fingerprint, and the access key unless the rendezvous is open.
    pub fn url(&self) -> &RendezvousUrl {
        &self.url
    }

    /// The main ports, as they are bound, over UDP and TCP alike.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The ports that answer STUN alone.
    pub fn alternatives(&self) -> &[SocketAddr] {
        &self.alternatives
    }

    /// Whether the host in the URL was guessed, and is one that hosts elsewhere cannot reach.
    pub fn is_guess_private(&self) -> bool {
        self.unreachable
    }

    /// Reads the keys again, and lets them hold from now on: whoever is there by one that has ended, is shut out, and
    /// nobody else notices.
    ///
    /// # Errors
    /// When they cannot be read; those from before hold on, then.
    pub async fn reload(&self) -> Result<(), KeyError> {
        let keys = self.store.load_or_make(unix_s())?;
        let ring = KeyRing::new(&keys, self.open);
        // The hub ends with the server alone.
        let _ = self.hub.send(Event::Keys(ring)).await;
        Ok(())
    }

    /// How things are; `None` while it stops.
    pub async fn report(&self) -> Option<Report> {
        let (reply, report) = oneshot::channel();
        self.hub.send(Event::Report(reply)).await.ok()?;
        report.await.ok()
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        self.tallies.snapshot()
    }

    /// Tells the peers, closes their connections, and stops. Takes three seconds at most.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let farewell = async { while self.entrances.join_next().await.is_some() {} };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::info!("some peers did not take leave in time");
        }
        self.entrances.shutdown().await;
        self.stop_datapath.cancel();
        while self.core.join_next().await.is_some() {}
    }
}

/// A main port: the same number over UDP and over TCP.
type Main = (UdpPort, TcpListener);

/// How many numbers are tried when the system may choose one that is free over both.
const DRAWS: usize = 32;

pub(crate) fn bind_udp(address: SocketAddr, only_v6: bool) -> Result<UdpPort, StartError> {
    let protocol = "UDP";
    UdpPort::bind(address, only_v6).map_err(|source| StartError::Bind {
        protocol,
        address,
        source,
    })
}

fn bind_main(address: SocketAddr, only_v6: bool) -> Result<Main, StartError> {
    let mut draws = if address.port() == 0 { DRAWS } else { 1 };
    loop {
        let udp = bind_udp(address, only_v6)?;
        match tcp::listen(udp.local(), udp.is_dual_stack()) {
            Ok(listener) => return Ok((udp, listener)),
            Err(source) => {
                draws -= 1;
                if draws == 0 || source.kind() != io::ErrorKind::AddrInUse {
                    return Err(StartError::Bind {
                        protocol: "TCP",
                        address: udp.local(),
                        source,
                    });
                }
            }
        }
    }
}

fn bind_mains(wanted: &[SocketAddr]) -> Result<Vec<Main>, StartError> {
    if wanted.is_empty() {
        return bind_everywhere(DEFAULT_PORT);
    }
    wanted
        .iter()
        .map(|address| {
            // Two wildcards on one port: to each its own family.
            let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            bind_main(*address, wanted.contains(&v4))
        })
        .collect()
}

/// Every address of both families, with one socket where the system can.
fn bind_everywhere(port: u16) -> Result<Vec<Main>, StartError> {
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match bind_main(v6, false) {
        Ok(both) if both.0.is_dual_stack() => Ok(vec![both]),
        Ok(only_v6) => Ok(vec![only_v6, bind_main(v4, false)?]),
        Err(in_use) if is_in_use(&in_use) => Err(in_use),
        // A host without IPv6.
        Err(_) => Ok(vec![bind_main(v4, false)?]),
    }
}

/// A clock before 1970 makes everything fresh, which is the lesser evil.
pub(crate) fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn is_in_use(error: &StartError) -> bool {
    matches!(error, StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

/// The URL, and whether its host is a guess that is of no use elsewhere.
fn url(
    config: &ServerConfig,
    mains: &[UdpPort],
    access_key: Option<p2pdbg_proto::url::AccessKey>,
    fingerprint: p2pdbg_proto::fingerprint::Fingerprint,
) -> (RendezvousUrl, bool) {
    let bound = mains
        .first()
        .map(|main| (main.local(), main.is_dual_stack()));
    let (bound, dual_stack) =
        bound.unwrap_or((SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), false));
    let (host, port, unreachable) = match &config.public {
        Some(public) => (public.host.clone(), public.port, false),
        None => {
            let guessed = guess(bound, dual_stack);
            (guessed.to_string(), None, is_private(guessed))
        }
    };
    let url = RendezvousUrl {
        access_key,
        host,
        port: port.unwrap_or(bound.port()),
        fingerprint: Some(fingerprint),
    };
    (url, unreachable)
}
