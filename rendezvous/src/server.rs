//! The server as a whole: binds the ports, reads the state, starts the tasks, and stops them in order.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_identity::StateLock;
use p2pdbg_proto::{
    address::is_private,
    fingerprint::Fingerprint,
    url::{AccessKey, HostAt, MOST_HOSTS, RendezvousUrl},
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    cluster_node::{self, Attended, Membership},
    cluster_store::KeySync,
    config::ServerConfig,
    connections::{intake::Intake, quic::own_ids},
    counters::{self, Counters, Tallies},
    datapath::{Channels, Command, Datapath, socket::UdpPort, worker_sockets::Ports},
    entrances::{Common, OpenPorts, ReceiveBuffer, ServedPorts},
    handover::{Handover, Inheritance, state::Carried},
    hub::{Hub, Left},
    hub_event::HubEvent,
    keys::{Basis, KeyRing, KeySeal, SharedKeys, UsageFile, unix_s},
    offer::Offer,
    operate::{Operator, drain_deadline::Drain, http::HttpPort},
    public_host::guess,
    registry::{Registry, voucher_codec::Vouchers},
    relay::{Relay, tcp_leg_input::Legs},
    relay_allowance::Book,
    self_check::SelfCheck,
    start_error::StartError,
    state_files::StateFiles,
    ticket_codec::TicketKey,
};
#[cfg(unix)]
use {crate::operate::control_socket::ControlSocket, p2pdbg_identity::StateDir};

/// How long peers may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(3);

/// Events and commands that wait for the hub and the datapath.
const QUEUE: usize = 1_024;

/// How a rendezvous is reached.
#[derive(Debug)]
struct Reach {
    url: RendezvousUrl,
    /// Whether the host in the URL was guessed, and is one that hosts elsewhere cannot reach.
    is_guess_private: bool,
    addresses: Vec<SocketAddr>,
    alternatives: Vec<SocketAddr>,
    receive_buffer: ReceiveBuffer,
    metrics: Option<SocketAddr>,
    web: Option<SocketAddr>,
}

/// A running rendezvous. Dropping it ends everything at once; peers see their connections close.
#[derive(Debug)]
pub struct Server {
    /// As a successor would have it too.
    config: ServerConfig,
    reach: Reach,
    operator: Operator,
    /// Nobody else serves with this state directory.
    _lock: StateLock,
    stop: CancellationToken,
    stop_datapath: CancellationToken,
    /// The sockets once more, for a successor.
    #[cfg(unix)]
    sockets: Vec<std::os::fd::OwnedFd>,
    port_tasks: JoinSet<()>,
    hub_task: AbortOnDropHandle<Left>,
    datapath: AbortOnDropHandle<Option<Relay>>,
    /// Of a node of several that have a store: ends by itself after the hub, once it has told the other nodes.
    store_task: JoinSet<()>,
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
        let (state, lock) = StateFiles::open(&config, inheritance.is_of_predecessor())?;
        let offer = open_offer(&config)?;
        let (membership, authority) = join_cluster(&config, &state, &inheritance).await?;
        let ports = OpenPorts::open(&config, &mut inheritance)?;
        let (tallies, vantages) = (Arc::new(Tallies::default()), ports.vantages());
        let mut reach = Reach::of(&ports, &config, &state, authority);
        let (events, hub_events) = mpsc::channel(QUEUE);
        let (streams, datapath_streams) = mpsc::channel(QUEUE);
        let (stop, stop_datapath) = (CancellationToken::new(), CancellationToken::new());
        let common = Common {
            intake: Arc::new(Intake::new(&config.limits, events.clone(), tallies.clone())),
            legs: Legs::new(streams),
            offer: offer.clone(),
            stop: stop.clone(),
        };
        let served = ServedPorts::open(ports, &config, &state, &common, &mut inheritance)?;
        reach.receive_buffer = served.receive_buffer;
        let (now, self_check) = (Instant::now(), self_check(&config, &state, authority));
        let mut books = Books::open(now, &config, &state);
        books.announce(membership.as_ref(), offer.as_deref());
        let relay = books.inherit(now, &config, &reach, &mut inheritance);
        let (commands, datapath_commands) = mpsc::channel(QUEUE);
        let mut hub = books.into_hub(hub_events, commands, tallies.clone(), self_check);
        let (mut aside, mut store, ids) = (JoinSet::new(), JoinSet::new(), own_ids(&state.secret));
        let attended = membership.map(|own| own.attend(&mut hub, &mut store));
        let channels = Channels {
            commands: datapath_commands,
            streams: datapath_streams,
            events: events.clone(),
        };
        let workers = Ports::of_all(served.workers, &tallies);
        let datapath = Datapath::new(workers, vantages, &config.limits, ids, channels, relay);
        let hub_task = AbortOnDropHandle::new(tokio::spawn(hub.run(stop.clone())));
        let datapath = AbortOnDropHandle::new(tokio::spawn(datapath.run(stop_datapath.clone())));
        aside.spawn(counters::log(tallies.clone()));
        let operator = operator(&config, &state, &reach, now, events, tallies, attended);
        state.remember_url(&operator.url_without_key);
        reach.metrics = serve_http(config.metrics, &operator, &mut aside).await?;
        #[cfg(unix)]
        serve_operator(&state.directory, &operator, &mut aside);
        Ok(Self {
            reach,
            operator,
            config,
            _lock: lock,
            stop,
            stop_datapath,
            #[cfg(unix)]
            sockets: served.sockets,
            port_tasks: served.tasks,
            hub_task,
            datapath,
            store_task: store,
            aside,
        })
    }

    /// What peers are given: host, port, fingerprint, and the access key unless the rendezvous is open.
    pub fn url(&self) -> &RendezvousUrl {
        &self.reach.url
    }

    /// The main ports, as they are bound, over UDP and TCP alike.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.reach.addresses
    }

    /// The ports that answer STUN alone.
    pub fn alternatives(&self) -> &[SocketAddr] {
        &self.reach.alternatives
    }

    /// Whether the host in the URL was guessed, and is one that hosts elsewhere cannot reach.
    pub fn is_guess_private(&self) -> bool {
        self.reach.is_guess_private
    }

    /// Where it answers over HTTP, if it does.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.reach.metrics
    }

    /// Where it answers to a reverse proxy, if it does.
    pub fn web(&self) -> Option<SocketAddr> {
        self.reach.web
    }

    /// By which an operator asks it.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// What the operating system buffers of what the main ports receive.
    pub fn receive_buffer(&self) -> ReceiveBuffer {
        self.reach.receive_buffer
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
            Some(_) = self.port_tasks.join_next() => "the entrance of a port",
        }
    }

    /// Whether another process could go on in the place of this one, as far as the state directory goes, and what is
    /// handed out.
    ///
    /// # Errors
    /// What is missing there, or cannot be read.
    pub fn can_be_succeeded(&self) -> Result<(), StartError> {
        open_offer(&self.config)?;
        StateFiles::can_be_inherited(&self.config, self.operator.key_directory.directory().path())
    }

    /// Tells the peers, closes their connections, and stops. Takes three seconds at most.
    pub async fn shutdown(mut self) {
        #[cfg(unix)]
        self.sockets.clear();
        self.take_leave().await;
        self.stop_datapath.cancel();
        let left = (&mut self.hub_task).await;
        let _ = (&mut self.datapath).await;
        // What was relayed while peers took leave is on their keys' accounts too.
        let _ = left.map(Left::settle);
    }

    /// The same for a successor: the relay goes on until the last moment, and sockets and state are left.
    pub async fn hand_over(mut self) -> Handover {
        self.take_leave().await;
        let left = (&mut self.hub_task).await.ok();
        self.stop_datapath.cancel();
        let relay = (&mut self.datapath).await.ok().flatten();
        let registry = left.map(Left::settle);
        let now = Instant::now();
        let numbered = self.reach.numbered();
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
        let farewell = async {
            while self.port_tasks.join_next().await.is_some() {}
            // By then the other nodes know too, if the store answers.
            while self.store_task.join_next().await.is_some() {}
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::info!("some peers did not take leave in time");
        }
        self.port_tasks.shutdown().await;
    }
}

impl Reach {
    fn of(
        ports: &OpenPorts,
        config: &ServerConfig,
        state: &StateFiles,
        authority: Option<Fingerprint>,
    ) -> Self {
        let fingerprint = authority.unwrap_or(state.identity.fingerprint());
        let access_key = state.access_key.clone().filter(|_| !config.open);
        let (url, is_guess_private) = url(config, ports.first(), access_key, fingerprint);
        Self {
            url,
            is_guess_private,
            addresses: ports.mains(),
            alternatives: ports.alternatives(),
            receive_buffer: ReceiveBuffer::default(),
            metrics: None,
            web: ports.web(),
        }
    }

    /// The UDP ports in the order in which the relay numbers them.
    fn numbered(&self) -> Vec<SocketAddr> {
        [&self.addresses[..], &self.alternatives].concat()
    }
}

/// The URL, and whether its host is a guess that is of no use elsewhere.
fn url(
    config: &ServerConfig,
    main: Option<&UdpPort>,
    access_key: Option<AccessKey>,
    fingerprint: Fingerprint,
) -> (RendezvousUrl, bool) {
    let bound = main.map(|main| (main.local(), main.is_dual_stack()));
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

/// Takes this process' place among the nodes, if it is one of several; gives the authority that peers pin then.
async fn join_cluster(
    config: &ServerConfig,
    state: &StateFiles,
    inheritance: &Inheritance,
) -> Result<(Option<Membership>, Option<Fingerprint>), StartError> {
    let secret = state.cluster_secret.as_ref();
    let authority = cluster_node::authority(config, &state.identity, secret.is_some())?;
    let takes_over = inheritance.is_of_predecessor();
    let keys = secret.map(|secret| {
        let (files, file) = (state.key_directory.clone(), state.keys.clone());
        KeySync::new(files, file, KeySeal::of(secret), config.open)
    });
    let directory = &state.directory;
    let membership = Membership::begin(config, directory, authority, secret, keys, takes_over);
    Ok((membership.await?, authority))
}

/// Watches what an operator should mend.
fn self_check(
    config: &ServerConfig,
    state: &StateFiles,
    authority: Option<Fingerprint>,
) -> SelfCheck {
    let until = cluster_node::certified_until(config, &state.identity, authority);
    SelfCheck::new(state.clock_behind).with_certificate(until)
}

/// What the keys of the state directory are known by, until the store has answered if nodes share them.
fn basis(config: &ServerConfig, state: &StateFiles) -> Basis {
    let cluster = config.cluster.as_ref();
    let has_store = cluster.is_some_and(|cluster| cluster.store.is_some());
    if !has_store || state.keys.shared().is_none() {
        return Basis::Whole;
    }
    SharedKeys::new(state.keys.clone(), state.key_directory.confirmed()).basis(unix_s())
}

/// What the hub keeps, and the relay besides.
struct Books {
    registry: Registry,
    book: Book,
    usage: UsageFile,
    /// Opens the tickets of other nodes' sessions.
    tickets: Option<TicketKey>,
}

impl Books {
    /// As the state directory has them.
    fn open(now: Instant, config: &ServerConfig, state: &StateFiles) -> Self {
        let ring = KeyRing::new(&state.keys, config.open).known_by(basis(config, state));
        let usage = UsageFile::new(state.directory.clone());
        let mut book = Book::new(now, unix_s(), config.limits.relay_mbit);
        book.set_keys(&ring, unix_s());
        book.restore(usage.read());
        let vouchers = Vouchers::new(state.voucher_secret());
        let mut registry = Registry::new(config.limits.clone(), ring, vouchers);
        registry.begin(now, state.has_served);
        if config.relays_alone {
            registry.relay_alone();
        }
        Self {
            registry,
            book,
            usage,
            tickets: state.tickets.clone(),
        }
    }

    /// What peers are told of this host: its nodes, if it is one of several, and what it hands out.
    fn announce(&mut self, membership: Option<&Membership>, offer: Option<&Offer>) {
        if let Some(membership) = membership {
            self.registry.join_cluster(membership.cluster());
        }
        self.registry.announce_offer(offer.map(Offer::script));
    }

    /// Goes on with what the process before this one has left, if it has; gives the relay, which takes sessions of
    /// other nodes if this is one of several.
    fn inherit(
        &mut self,
        now: Instant,
        config: &ServerConfig,
        reach: &Reach,
        inheritance: &mut Inheritance,
    ) -> Relay {
        let mut relay = match carried(inheritance) {
            Some(carried) => {
                self.registry.inherit(now, carried.nameplates);
                let meter = |terms| self.book.reopen(terms);
                let numbered = reach.numbered();
                Relay::inherit(now, &config.limits, carried.relay, &numbered, meter)
            }
            None => Relay::new(now, &config.limits),
        };
        if let Some(key) = self.tickets.take() {
            relay.take_tickets(key);
        }
        relay
    }

    fn into_hub(
        self,
        events: mpsc::Receiver<HubEvent>,
        datapath: mpsc::Sender<Command>,
        tallies: Arc<Tallies>,
        self_check: SelfCheck,
    ) -> Hub {
        let Self {
            registry,
            book,
            usage,
            ..
        } = self;
        Hub::new(registry, book, usage, events, datapath, tallies, self_check)
    }
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

fn operator(
    config: &ServerConfig,
    state: &StateFiles,
    reach: &Reach,
    began: Instant,
    hub: mpsc::Sender<HubEvent>,
    tallies: Arc<Tallies>,
    attended: Option<Attended>,
) -> Operator {
    let (nodes, shared) = match attended {
        Some(Attended { nodes, keys }) => (Some(nodes), keys),
        None => (None, None),
    };
    Operator {
        hub,
        key_directory: state.key_directory.clone(),
        open: config.open,
        tallies: tallies.clone(),
        began,
        url_without_key: reach.url.without_key().to_string(),
        drain: Drain::new(tallies).sending_on(nodes.is_some()),
        nodes,
        shared,
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
    match ControlSocket::open(state.path()) {
        Ok(socket) => {
            aside.spawn(socket.serve(operator.clone()));
        }
        Err(error) => {
            tracing::warn!(%error, "no control socket: status and keys cannot ask this process")
        }
    }
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
                _ => server.port_tasks.abort_all(),
            }
            assert_eq!(server.failed().await, name);
        }
    }
}
