//! What peers come in by: the ports, and at each main one QUIC, TCP and, at the first, what a reverse proxy hands on.
//!
//! A main port is opened once for each worker of the relay, where the system can share it out.

#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};
use std::{net::SocketAddr, num::NonZero, sync::Arc};

use p2pdbg_identity::{tls, web_tls};
use p2pdbg_proto::secret::Secret;
use p2pdbg_udp::quinn_tasks::WatchedRuntime;
use quinn::Endpoint;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

#[cfg(unix)]
use crate::handover::MOST_SOCKETS;
use crate::{
    alternative_ports::{self, Alternatives},
    bind,
    config::ServerConfig,
    connections::{
        by_reverse_proxy::{self, WebEntrance},
        given_up_ids::Watched,
        intake::Intake,
        quic::{Entrance, accept, endpoint_config, server_config},
        tcp::{self, Services, TcpEntrance},
    },
    datapath::{
        amplification::Unproved,
        quic_socket::{Datagram, QuicSocket},
        socket::{BUFFER, UdpPort},
        worker_sockets::Port,
    },
    handover::Inheritance,
    offer::Offer,
    relay::tcp_leg_input::Legs,
    start_error::StartError,
    state_files::StateFiles,
    stun::topology::{StunPlaces, Vantages},
};

/// What the operating system buffers for each main port over UDP, in bytes. What comes on top is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// What it was asked for.
    pub asked: usize,
    /// The least that it has granted to any; on Linux `net.core.rmem_max` is the bound.
    pub granted: usize,
}

impl Default for ReceiveBuffer {
    /// What is wanted, before any port was opened.
    fn default() -> Self {
        Self {
            asked: BUFFER,
            granted: BUFFER,
        }
    }
}

/// The most workers of the relay.
pub const MOST_RELAY_WORKERS: usize = 256;

/// All ports of this process, before anything listens at them.
pub(crate) struct OpenPorts {
    mains: Vec<UdpPort>,
    listeners: Vec<TcpListener>,
    web: Option<TcpListener>,
    alternatives: Vec<UdpPort>,
    /// The same numbers over TCP, as many as were to be had.
    tcp_alternatives: Vec<TcpListener>,
    vantages: Arc<Vantages>,
}

impl OpenPorts {
    /// Opens what `config` says, or takes what the process before this one had open.
    ///
    /// # Errors
    /// When a port is in use, or forbidden.
    pub(crate) fn open(
        config: &ServerConfig,
        inheritance: &mut Inheritance,
    ) -> Result<Self, StartError> {
        let (mains, listeners): (Vec<_>, Vec<_>) =
            bind::mains(&config.bind, inheritance)?.into_iter().unzip();
        let web = bind::web(config.web, inheritance)?;
        let Alternatives { ports, vantages } =
            alternative_ports::open(config, &mains, inheritance)?;
        // At a second address STUN alone is answered, over UDP.
        let beside_a_main = |port: &&UdpPort| {
            let is_there = |main: &UdpPort| main.local().ip() == port.local().ip();
            mains.iter().any(is_there)
        };
        let tcp_alternatives = ports
            .iter()
            .filter(beside_a_main)
            .filter_map(|port| bind::tcp_beside(port, inheritance));
        let tcp_alternatives = tcp_alternatives.collect();
        Ok(Self {
            tcp_alternatives,
            mains,
            listeners,
            web,
            alternatives: ports,
            vantages: Arc::new(vantages),
        })
    }

    /// The first main port, which the URL names.
    pub(crate) fn first(&self) -> Option<&UdpPort> {
        self.mains.first()
    }

    /// Where the main ports are bound, over UDP and TCP alike.
    pub(crate) fn mains(&self) -> Vec<SocketAddr> {
        self.mains.iter().map(UdpPort::local).collect()
    }

    /// Where a reverse proxy is answered, if one is.
    pub(crate) fn web(&self) -> Option<SocketAddr> {
        self.web.as_ref()?.local_addr().ok()
    }

    /// How the places that answer STUN lie to each other.
    pub(crate) fn vantages(&self) -> Arc<Vantages> {
        self.vantages.clone()
    }

    /// The alternative ports, which answer STUN alone.
    pub(crate) fn alternatives(&self) -> Vec<SocketAddr> {
        self.alternatives.iter().map(UdpPort::local).collect()
    }

    /// Second handles of all sockets.
    #[cfg(unix)]
    fn duplicates(&self) -> std::io::Result<Vec<OwnedFd>> {
        let udp = self.mains.iter().chain(&self.alternatives);
        let udp = udp.map(UdpPort::duplicate);
        let tcp = self.listeners.iter().chain(&self.web);
        let tcp = tcp.chain(&self.tcp_alternatives);
        let tcp = tcp.map(|listener| listener.as_fd().try_clone_to_owned());
        udp.chain(tcp).collect()
    }
}

/// What all ports have in common.
pub(crate) struct Common {
    /// Who is let in, and where what they say goes.
    pub(crate) intake: Arc<Intake>,
    /// The way of legs over TCP to the relay.
    pub(crate) legs: Legs,
    /// What is handed out over HTTP.
    pub(crate) offer: Option<Arc<Offer>>,
    pub(crate) stop: CancellationToken,
}

/// Ports at which peers are let in.
pub(crate) struct ServedPorts {
    /// A task for each way in. None of them ends before `stop`.
    pub(crate) tasks: JoinSet<()>,
    /// The ports as each worker of the relay has them; at least one.
    pub(crate) workers: Vec<Vec<Port>>,
    /// What the system buffers for them.
    pub(crate) receive_buffer: ReceiveBuffer,
    /// All sockets once more, for a successor.
    #[cfg(unix)]
    pub(crate) sockets: Vec<OwnedFd>,
}

/// What each main port is opened with.
struct Opening<'a> {
    common: &'a Common,
    quic: quinn::ServerConfig,
    secret: &'a Secret<32>,
    tls: TlsAcceptor,
    outer: Arc<rustls::ServerConfig>,
    public_port: Option<u16>,
    vantages: Arc<Vantages>,
    mains: Vec<SocketAddr>,
    alternatives: Vec<SocketAddr>,
    /// The port for a reverse proxy, until the first main port has taken it.
    web: Option<TcpListener>,
}

impl ServedPorts {
    /// Lets peers in at these ports.
    ///
    /// # Errors
    /// When a socket cannot be set up.
    pub(crate) fn open(
        ports: OpenPorts,
        config: &ServerConfig,
        state: &StateFiles,
        common: &Common,
        inheritance: &mut Inheritance,
    ) -> Result<Self, StartError> {
        let identity = &state.identity;
        let quic = server_config(tls::control_server(identity)?, &config.limits).map_err(other)?;
        let mut served = Self {
            tasks: JoinSet::new(),
            workers: vec![Vec::new(); workers(config.relay_workers)],
            receive_buffer: ReceiveBuffer::default(),
            #[cfg(unix)]
            sockets: ports.duplicates().map_err(other)?,
        };
        let mut opening = Opening {
            common,
            quic,
            secret: &state.secret,
            tls: TlsAcceptor::from(Arc::new(tls::stream_server(identity)?)),
            outer: Arc::new(web_tls::server(identity)?),
            public_port: config.public.as_ref().and_then(|public| public.port),
            mains: ports.mains(),
            alternatives: ports.alternatives(),
            vantages: ports.vantages,
            web: ports.web,
        };
        for (number, main) in ports.mains.into_iter().zip(ports.listeners).enumerate() {
            served.open_main(number, main, &mut opening, inheritance)?;
        }
        for listener in ports.tcp_alternatives {
            served.add_tcp_alternative(listener, &opening);
        }
        for alternative in ports.alternatives.into_iter().map(Arc::new) {
            served.add_alternative(&alternative);
        }
        Ok(served)
    }

    fn open_main(
        &mut self,
        number: usize,
        (main, listener): bind::Main,
        opening: &mut Opening<'_>,
        inheritance: &mut Inheritance,
    ) -> Result<(), StartError> {
        let Common { intake, stop, .. } = opening.common;
        let main = Arc::new(main);
        let stun = opening.stun_places(number, main.local());
        let unproved = Unproved::new(&intake.limits);
        let (socket, feed) = QuicSocket::new(main.clone(), unproved.clone());
        self.share_out(main, &feed, inheritance);
        let services = opening.services(stun.clone());
        if let Some(listener) = opening.web.take() {
            // What comes through a proxy is told of the first port.
            let services = services.clone();
            let by_web = WebEntrance { listener, services };
            self.tasks.spawn(by_reverse_proxy::accept(
                by_web,
                intake.clone(),
                stop.clone(),
            ));
        }
        let by_tcp = TcpEntrance { listener, services };
        self.tasks
            .spawn(tcp::accept(by_tcp, intake.clone(), stop.clone()));
        let entrance = Entrance {
            endpoint: opening.endpoint(socket)?,
            stun,
            unproved,
            watched: Watched::default(),
        };
        self.tasks
            .spawn(accept(entrance, intake.clone(), stop.clone()));
        Ok(())
    }

    /// Gives each worker a socket of its own on a main port. Where the system does not share a port there are fewer
    /// workers.
    fn share_out(
        &mut self,
        main: Arc<UdpPort>,
        feed: &mpsc::Sender<Datagram>,
        inheritance: &mut Inheritance,
    ) {
        let shares = shares(main, self.workers.len(), inheritance);
        #[cfg(unix)]
        self.sockets.extend(siblings(
            &shares,
            MOST_SOCKETS.saturating_sub(self.sockets.len()),
        ));
        self.workers.truncate(shares.len());
        for (udp, ports) in shares.into_iter().zip(&mut self.workers) {
            let granted = udp.receive_buffer().unwrap_or(BUFFER);
            self.receive_buffer.granted = self.receive_buffer.granted.min(granted);
            ports.push(Port {
                udp,
                quic: Some(feed.clone()),
                read: true,
            });
        }
    }

    /// A second port over TCP, for peers to see by STUN what their NATs do there. It serves as the main one at its
    /// address does.
    fn add_tcp_alternative(&mut self, listener: TcpListener, opening: &Opening<'_>) {
        let Common { intake, stop, .. } = opening.common;
        let ip = listener.local_addr().ok().map(|local| local.ip());
        let mut mains = opening.mains.iter().enumerate();
        let Some((number, main)) = mains.find(|(_, main)| Some(main.ip()) == ip) else {
            return;
        };
        let services = opening.services(opening.stun_places(number, *main));
        let by_tcp = TcpEntrance { listener, services };
        self.tasks
            .spawn(tcp::accept(by_tcp, intake.clone(), stop.clone()));
    }

    /// A port that all workers send on, and the first reads.
    fn add_alternative(&mut self, alternative: &Arc<UdpPort>) {
        for (worker, ports) in self.workers.iter_mut().enumerate() {
            ports.push(Port {
                udp: alternative.clone(),
                quic: None,
                read: worker == 0,
            });
        }
    }
}

impl Opening<'_> {
    fn endpoint(&self, socket: Arc<QuicSocket>) -> Result<Endpoint, StartError> {
        let endpoint = Endpoint::new_with_abstract_socket(
            endpoint_config(self.secret),
            Some(self.quic.clone()),
            socket,
            Arc::new(WatchedRuntime),
        );
        endpoint.map_err(other)
    }

    fn services(&self, stun: StunPlaces) -> Services {
        Services {
            tls: self.tls.clone(),
            outer: self.outer.clone(),
            stun,
            legs: self.common.legs.clone(),
            offer: self.common.offer.clone(),
        }
    }

    /// What the peers at a main port are told of STUN.
    fn stun_places(&self, socket: usize, main: SocketAddr) -> StunPlaces {
        let alternative = self
            .alternatives
            .iter()
            .find(|alternative| alternative.ip() == main.ip());
        let mut ports = vec![self.public_port.unwrap_or(main.port())];
        ports.extend(alternative.map(SocketAddr::port));
        StunPlaces {
            socket,
            ports,
            vantages: self.vantages.clone(),
        }
    }
}

fn other(error: impl ToString) -> StartError {
    StartError::Other(error.to_string())
}

/// How many workers are meant.
fn workers(wanted: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let wanted = if wanted == 0 { cores() } else { wanted };
    wanted.clamp(1, MOST_RELAY_WORKERS)
}

/// A socket on the port for each worker, this the first: fewer where the system does not share a port.
fn shares(first: Arc<UdpPort>, workers: usize, inheritance: &mut Inheritance) -> Vec<Arc<UdpPort>> {
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

/// Second handles of the sockets of all workers but the first, as many as there is room for.
#[cfg(unix)]
fn siblings(shares: &[Arc<UdpPort>], room: usize) -> Vec<OwnedFd> {
    let others = shares.iter().skip(1).take(room);
    // One that is not handed over is opened anew, and only what waits in its buffer is lost.
    others.filter_map(|share| share.duplicate().ok()).collect()
}
