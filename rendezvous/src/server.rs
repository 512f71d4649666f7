//! The server as a whole: binds the ports, reads the state, starts the tasks, and stops them in order.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZero,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use p2pdbg_identity::{Identity, StateDir, StateLock, outer, tls};
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    url::{HostAt, MOST_HOSTS, RendezvousUrl},
};
use p2pdbg_udp::drivers::WatchedRuntime;
use quinn::Endpoint;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    bind,
    clustered::{self, Membership},
    config::{ServerConfig, StartError},
    control::{
        acceptor::Lobby,
        attempt_limits::Admission,
        by_proxy::{self, WebEntrance},
        hub::Hub,
        quic::{Entrance, accept, endpoint_config, server_config},
        tcp::{self, Services, TcpEntrance},
    },
    counters::{self, Counters, Tallies},
    datapath::{
        Channels, Datapath,
        ports::{Port, Ports},
        quic_socket::QuicSocket,
        socket::{BUFFER, UdpPort},
        unproved::Unproved,
    },
    fair::Book,
    keys::{KeyRing, KeyStore, UsageFile, unix_s},
    offer::Offer,
    operate::{Operator, drain::Drain, http::HttpPort},
    public_host::{guess, is_private},
    registry::{Registry, voucher::Vouchers},
    relay::{Relay, tcp_leg::Legs},
    self_check::SelfCheck,
    stun::{
        alternatives::{self, Alternatives},
        topology::StunPlaces,
    },
    succession::{Handover, Inheritance, state::Carried},
};

#[cfg(unix)]
use crate::{operate::admin::AdminSocket, succession::MOST_SOCKETS};

/// The name of the directory that the state lies in, unless told otherwise.
pub const PROGRAM: &str = "p2pdbg-rendezvous";

/// How long peers may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(3);

/// Events and commands that wait for the hub and the datapath.
const QUEUE: usize = 1_024;

/// The file with the secret behind vouchers and resets.
const SECRET: &str = "server-secret";

/// What the operating system buffers for each main port over UDP, in bytes. What comes on top is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// What it was asked for.
    pub asked: usize,
    /// The least that it has granted to any; on Linux `net.core.rmem_max` is the bound.
    pub granted: usize,
}

/// The most workers.
pub const MOST_RELAY_WORKERS: usize = 256;

/// A running rendezvous. Dropping it ends everything at once; peers see their connections close.
#[derive(Debug)]
pub struct Server {
    url: RendezvousUrl,
    addresses: Vec<SocketAddr>,
    alternatives: Vec<SocketAddr>,
    unreachable: bool,
    receive_buffer: ReceiveBuffer,
    metrics: Option<SocketAddr>,
    web: Option<SocketAddr>,
    operator: Operator,
    /// Nobody else serves with this state directory.
    _lock: StateLock,
    stop: CancellationToken,
    stop_datapath: CancellationToken,
    /// The sockets once more, for a successor.
    #[cfg(unix)]
    sockets: Vec<std::os::fd::OwnedFd>,
    entrances: JoinSet<()>,
    hub_task: AbortOnDropHandle<Registry>,
    datapath: AbortOnDropHandle<Option<Relay>>,
    /// What ends with it: the log, the control socket.
    aside: JoinSet<()>,
}

impl Server {
    /// Opens the state and the ports and serves, on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        Self::start_with(config, Inheritance::none()).await
    }

    /// The same with the sockets, and from the state, of a process before this one.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(
        config: ServerConfig,
        mut inheritance: Inheritance,
    ) -> Result<Self, StartError> {
        let state = StateDir::open(config.state.as_deref(), PROGRAM)?;
        let identity = Identity::load_or_make(&state)?;
        let offer = open_offer(&config)?;
        let lock = state
            .try_lock("serving")?
            .ok_or_else(|| StartError::AlreadyServing(state.path().to_owned()))?;
        let store = KeyStore::new(state.clone());
        let keys = store.load_or_make(unix_s())?;
        let access_key = store.default_secret(&keys)?;
        let has_served = state.read(SECRET)?.is_some();
        let secret = state.secret32(SECRET)?;
        let cluster_secret = clustered::secret(&state)?;
        let authority = clustered::authority(&config, &identity, cluster_secret.is_some())?;
        let membership = Membership::begin(
            &config,
            &state,
            authority,
            cluster_secret.as_ref(),
            inheritance.is_of_predecessor(),
        );
        let membership = membership.await?;
        let clock_behind = clock_behind(state.path(), SystemTime::now());
        let (mains, listeners): (Vec<_>, Vec<_>) = bind::mains(&config.bind, &mut inheritance)?
            .into_iter()
            .unzip();
        let mut web = bind::web(config.web, &mut inheritance)?;
        let behind_proxy = web.as_ref().and_then(|web| web.local_addr().ok());
        let Alternatives {
            ports: alternatives,
            vantages,
        } = alternatives::open(&config, &mains, &mut inheritance)?;
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
        let outer = Arc::new(outer::server(&identity)?);
        let quic = server_config(tls::control_server(&identity)?, &config.limits)
            .map_err(|error| StartError::Other(error.to_string()))?;
        let key = access_key.filter(|_| !config.open);
        let pinned = authority.unwrap_or(identity.fingerprint());
        let (url, unreachable) = url(&config, &mains, key, pinned);

        let stop = CancellationToken::new();
        let stop_datapath = CancellationToken::new();
        let mut entrances = JoinSet::new();
        #[cfg(unix)]
        let mut sockets = duplicates(&mains, listeners.iter().chain(&web), &alternatives)
            .map_err(|error| StartError::Other(error.to_string()))?;
        let mut workers = vec![Vec::new(); workers(config.relay_workers)];
        let mut receive_buffer = ReceiveBuffer {
            asked: BUFFER,
            granted: BUFFER,
        };
        let mut addresses = Vec::new();
        for (index, (main, listener)) in mains.into_iter().zip(listeners).enumerate() {
            let main = Arc::new(main);
            addresses.push(main.local());
            let unproved = Unproved::new(&config.limits);
            let (socket, feed) = QuicSocket::new(main.clone(), unproved.clone());
            let shares = share_out(main.clone(), workers.len(), &mut inheritance);
            #[cfg(unix)]
            sockets.extend(siblings(
                &shares,
                MOST_SOCKETS.saturating_sub(sockets.len()),
            ));
            workers.truncate(shares.len());
            for (udp, ports) in shares.into_iter().zip(&mut workers) {
                let granted = udp.receive_buffer().unwrap_or(BUFFER);
                receive_buffer.granted = receive_buffer.granted.min(granted);
                ports.push(Port {
                    udp,
                    quic: Some(feed.clone()),
                    read: true,
                });
            }
            let endpoint = Endpoint::new_with_abstract_socket(
                endpoint_config(&secret),
                Some(quic.clone()),
                socket,
                Arc::new(WatchedRuntime),
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
            let services = Services {
                tls: tls.clone(),
                outer: outer.clone(),
                stun: stun.clone(),
                legs: legs.clone(),
                offer: offer.clone(),
            };
            if let Some(listener) = web.take() {
                // What comes through a proxy is told of the first port.
                let services = services.clone();
                let by_web = WebEntrance { listener, services };
                entrances.spawn(by_proxy::accept(by_web, lobby.clone(), stop.clone()));
            }
            let by_tcp = TcpEntrance { listener, services };
            entrances.spawn(tcp::accept(by_tcp, lobby.clone(), stop.clone()));
            let entrance = Entrance {
                endpoint,
                stun,
                unproved,
            };
            entrances.spawn(accept(entrance, lobby.clone(), stop.clone()));
        }
        let alternative_addresses: Vec<SocketAddr> =
            alternatives.iter().map(UdpPort::local).collect();
        for alternative in alternatives.into_iter().map(Arc::new) {
            for (worker, ports) in workers.iter_mut().enumerate() {
                ports.push(Port {
                    udp: alternative.clone(),
                    quic: None,
                    read: worker == 0,
                });
            }
        }
        let now = Instant::now();
        let ring = KeyRing::new(&keys, config.open);
        let usage = UsageFile::new(state.clone());
        let mut book = Book::new(now, unix_s(), config.limits.relay_mbit);
        book.set_keys(&ring, unix_s());
        if let Some((month, used)) = usage.read() {
            book.restore(month, used);
        }
        let vouchers = Vouchers::new(cluster_secret.as_ref().unwrap_or(&secret));
        let mut registry = Registry::new(config.limits.clone(), ring, vouchers);
        registry.begin(now, has_served);
        if let Some(membership) = &membership {
            registry.join_cluster(membership.cluster());
        }
        registry.announce_offer(offer.as_deref().map(Offer::script));
        let numbered = [&addresses[..], &alternative_addresses].concat();
        let inherited = carried(&mut inheritance).map(|carried| {
            registry.inherit(now, carried.nameplates);
            let meter = |terms| book.reopen(terms);
            Relay::inherit(now, &config.limits, carried.relay, &numbered, meter)
        });
        let mut hub = Hub::new(
            registry,
            book,
            usage,
            hub_events,
            commands,
            tallies.clone(),
            SelfCheck::new(clock_behind),
        );
        let mut aside = JoinSet::new();
        let nodes = membership.map(|membership| membership.attend(&mut hub, &mut aside));
        let hub = tokio::spawn(hub.run(stop.clone()));
        let channels = Channels {
            commands: datapath_commands,
            streams: datapath_streams,
            events: events.clone(),
        };
        let workers = workers
            .into_iter()
            .map(|all| Ports {
                all,
                tallies: tallies.clone(),
            })
            .collect();
        let datapath = Datapath::new(workers, vantages, &config.limits, channels, inherited);
        let datapath = tokio::spawn(datapath.run(stop_datapath.clone()));
        aside.spawn(counters::log(tallies.clone()));
        let operator = Operator {
            hub: events,
            store,
            open: config.open,
            tallies: tallies.clone(),
            began: now,
            url_without_key: url.without_key().to_string(),
            drain: Drain::new(tallies.clone()).sending_on(nodes.is_some()),
            nodes,
        };
        remember_url(&state, &operator.url_without_key);
        let metrics = serve_http(config.metrics, &operator, &mut aside).await?;
        #[cfg(unix)]
        serve_operator(&state, &operator, &mut aside);
        Ok(Self {
            url,
            addresses,
            alternatives: alternative_addresses,
            unreachable,
            receive_buffer,
            metrics,
            web: behind_proxy,
            operator,
            _lock: lock,
            stop,
            stop_datapath,
            #[cfg(unix)]
            sockets,
            entrances,
            hub_task: AbortOnDropHandle::new(hub),
            datapath: AbortOnDropHandle::new(datapath),
            aside,
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

    /// Where it answers over HTTP, if it does.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Where it answers to a reverse proxy, if it does.
    pub fn web(&self) -> Option<SocketAddr> {
        self.web
    }

    /// By which an operator asks it.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// What the operating system buffers of what the main ports receive.
    pub fn receive_buffer(&self) -> ReceiveBuffer {
        self.receive_buffer
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        self.operator.tallies.snapshot()
    }

    /// Waits until a part ends that should not, for it has panicked, and says which: a rendezvous without it is deaf or
    /// dumb. Nothing can be done with the server afterwards.
    pub async fn failed(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.hub_task => "the registry",
            _ = &mut self.datapath => "the relay",
            Some(_) = self.entrances.join_next() => "the entrance of a port",
        }
    }

    /// Tells the peers, closes their connections, and stops. Takes three seconds at most.
    pub async fn shutdown(mut self) {
        #[cfg(unix)]
        self.sockets.clear();
        self.take_leave().await;
        self.stop_datapath.cancel();
        let _ = (&mut self.hub_task).await;
        let _ = (&mut self.datapath).await;
    }

    /// The same for a successor: the relay goes on until the last moment, and sockets and state are left.
    pub async fn hand_over(mut self) -> Handover {
        self.take_leave().await;
        let registry = (&mut self.hub_task).await.ok();
        self.stop_datapath.cancel();
        let relay = (&mut self.datapath).await.ok().flatten();
        let now = Instant::now();
        let numbered = [&self.addresses[..], &self.alternatives].concat();
        let state = Carried {
            relay: relay.map_or_else(Default::default, |relay| relay.carry(now, &numbered)),
            nameplates: registry.map_or_else(Vec::new, |registry| registry.carry(now)),
        };
        Handover {
            #[cfg(unix)]
            sockets: std::mem::take(&mut self.sockets),
            state: state.encode(),
        }
    }

    async fn take_leave(&mut self) {
        self.aside.abort_all();
        self.stop.cancel();
        let farewell = async { while self.entrances.join_next().await.is_some() {} };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::info!("some peers did not take leave in time");
        }
        self.entrances.shutdown().await;
    }
}

/// How many workers are meant.
fn workers(wanted: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let wanted = if wanted == 0 { cores() } else { wanted };
    wanted.clamp(1, MOST_RELAY_WORKERS)
}

/// A socket on the port for each worker, this the first: fewer where the system does not share a port.
fn share_out(
    first: Arc<UdpPort>,
    workers: usize,
    inheritance: &mut Inheritance,
) -> Vec<Arc<UdpPort>> {
    let mut shares = vec![first.clone()];
    while shares.len() < workers {
        let sibling = match inheritance.take_sibling(first.local()) {
            Some(open) => UdpPort::from_socket(open),
            None => first.sibling(),
        };
        match sibling {
            Ok(sibling) => shares.push(Arc::new(sibling)),
            Err(error) => {
                tracing::info!(%error, workers = shares.len(), "the port is not shared out further");
                break;
            }
        }
    }
    shares
}

/// What the process before this one has left, if this program can read it.
fn carried(inheritance: &mut Inheritance) -> Option<Carried> {
    let state = inheritance.take_state()?;
    match Carried::decode(&state) {
        Ok(carried) => Some(carried),
        Err(why) => {
            tracing::warn!(%why, "the state of the process before this one is left alone; relayed sessions begin anew");
            None
        }
    }
}

/// Second handles of all sockets.
#[cfg(unix)]
fn duplicates<'a>(
    mains: &[UdpPort],
    listeners: impl Iterator<Item = &'a tokio::net::TcpListener>,
    alternatives: &[UdpPort],
) -> std::io::Result<Vec<std::os::fd::OwnedFd>> {
    use std::os::fd::AsFd;

    let udp = mains.iter().chain(alternatives).map(UdpPort::duplicate);
    let tcp = listeners.map(|listener| listener.as_fd().try_clone_to_owned());
    udp.chain(tcp).collect()
}

/// Second handles of the sockets of all workers but the first, as many as there is room for.
#[cfg(unix)]
fn siblings(shares: &[Arc<UdpPort>], room: usize) -> Vec<std::os::fd::OwnedFd> {
    let others = shares.iter().skip(1).take(room);
    // One that is not handed over is opened anew, and only what waits in its buffer is lost.
    others.filter_map(|share| share.duplicate().ok()).collect()
}

/// By how much the clock is behind the newest file of this directory, which it cannot be.
fn clock_behind(directory: &std::path::Path, now: SystemTime) -> Duration {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let written = files.filter_map(|file| file.metadata().ok()?.modified().ok());
    let newest = written.max().unwrap_or(now);
    newest.duration_since(now).unwrap_or_default()
}

/// The file with the URL, without a key, under which the rendezvous served last: `keys` and `url` complete it.
pub const LAST_URL: &str = "url";

/// Keeps the URL for commands that run while the rendezvous does not.
fn remember_url(state: &StateDir, url_without_key: &str) {
    if let Err(error) = state.write_atomically(LAST_URL, url_without_key.as_bytes()) {
        tracing::warn!(%error, "cannot keep the URL for `p2pdbg-rendezvous url`");
    }
}

/// Reads what is to be handed out, if something is.
fn open_offer(config: &ServerConfig) -> Result<Option<Arc<Offer>>, StartError> {
    let Some(directory) = &config.offer else {
        return Ok(None);
    };
    match Offer::open(directory, &config.limits) {
        Ok(offer) => Ok(Some(Arc::new(offer))),
        Err(source) => Err(StartError::Offer {
            directory: directory.clone(),
            source,
        }),
    }
}

/// Opens the HTTP port, if there is to be one.
async fn serve_http(
    address: Option<SocketAddr>,
    operator: &Operator,
    aside: &mut JoinSet<()>,
) -> Result<Option<SocketAddr>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let port = HttpPort::bind(address).await;
    let port = port.map_err(|source| StartError::Metrics { address, source })?;
    let local = port.local();
    aside.spawn(port.serve(operator.clone()));
    Ok(Some(local))
}

/// Opens the control socket. A rendezvous without one still serves.
#[cfg(unix)]
fn serve_operator(state: &StateDir, operator: &Operator, aside: &mut JoinSet<()>) {
    match AdminSocket::open(state.path()) {
        Ok(socket) => {
            aside.spawn(socket.serve(operator.clone()));
        }
        Err(error) => {
            tracing::warn!(%error, "no control socket: status and keys cannot ask this process")
        }
    }
}

/// The URL, and whether its host is a guess that is of no use elsewhere.
fn url(
    config: &ServerConfig,
    mains: &[UdpPort],
    access_key: Option<p2pdbg_proto::url::AccessKey>,
    fingerprint: Fingerprint,
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
    let mut hosts = vec![HostAt {
        host,
        port: port.unwrap_or(bound.port()),
    }];
    if let Some(cluster) = &config.cluster {
        let nodes = cluster.nodes.iter().map(|node| node.at.clone());
        hosts = nodes.take(MOST_HOSTS).collect();
    }
    let HostAt { host, port } = hosts.remove(0);
    let url = RendezvousUrl {
        access_key,
        host,
        port,
        further: hosts,
        fingerprint: Some(fingerprint),
    };
    (url, unreachable && config.cluster.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn server_of_which_a_part_ends_says_so() {
        for (part, name) in ["the registry", "the relay", "the entrance of a port"]
            .into_iter()
            .enumerate()
        {
            let mut state = tempfile::Builder::new();
            #[cfg(unix)]
            state.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
            let state = state.tempdir().unwrap();
            let config = ServerConfig {
                bind: vec!["127.0.0.1:0".parse().unwrap()],
                alt_port: 0,
                state: Some(state.path().into()),
                ..ServerConfig::default()
            };
            let mut server = Server::start(config).await.unwrap();
            match part {
                0 => server.hub_task.abort(),
                1 => server.datapath.abort(),
                _ => server.entrances.abort_all(),
            }
            assert_eq!(server.failed().await, name);
        }
    }
}
