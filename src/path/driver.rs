//! The task that owns the sockets and drives leg and engine.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_punch::{Config, Engine, Family, Input, Obstacle, Output, SocketId};
use p2pdbg_wire::{relay::RelayFrame, relay::is_relay_frame};
use tokio::sync::mpsc;

use super::{
    PathCommand, PathEvent, PathSocket, Search,
    leg::{Leg, LegAction},
};
use crate::net::{
    changes::{Listener, Reason},
    interfaces::local_addresses,
    mux::Datagram,
};

/// How many datagrams that are not QUIC may wait, of all sockets together.
pub(super) const DATAGRAMS: usize = 1024;

/// Addresses of the peer that are kept until there is an engine.
const PEER_SEEN: usize = 32;

/// How long the connector waits to hear that the peer's leg is bound, before it dials all the same.
const PEER_LEG: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    sockets: HashMap<SocketId, PathSocket>,
    others: mpsc::Sender<Datagram>,
    report: mpsc::Sender<PathEvent>,
    seed: [u8; 32],
    relay: Option<Relay>,
    engine: Option<Engine>,
    /// What was learned before there was an engine.
    peer_seen: Vec<IpAddr>,
    obstacle: Option<Obstacle>,
    /// Whether the rendezvous is on this host, and the peer may be too.
    on_this_host: bool,
    /// What the session has not been told yet.
    news: VecDeque<PathEvent>,
}

struct Relay {
    leg: Leg,
    address: SocketAddr,
    socket: SocketId,
    progress: Progress,
}

impl Relay {
    /// Binds again, and takes it that the peer's leg is where it was: if it is not, dialling costs a repetition.
    fn rebind(&mut self, now: Instant) {
        let peer_bound = match self.progress {
            Progress::Binding { peer_bound } => peer_bound,
            Progress::Bound { dial_at } => dial_at <= now,
            Progress::Told => true,
        };
        self.leg.rebind(now);
        self.progress = Progress::Binding { peer_bound };
    }
}

/// How far the relay is from carrying something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// This leg is not bound.
    Binding { peer_bound: bool },
    /// This leg is bound; the other one, not as far as this end knows, until then.
    Bound { dial_at: Instant },
    /// The session was told.
    Told,
}

impl Driver {
    pub(super) fn new(
        sockets: Vec<PathSocket>,
        others: mpsc::Sender<Datagram>,
        report: mpsc::Sender<PathEvent>,
        seed: [u8; 32],
    ) -> Self {
        Self {
            sockets: sockets.into_iter().map(|s| (s.id, s)).collect(),
            others,
            report,
            seed,
            relay: None,
            engine: None,
            peer_seen: Vec::new(),
            obstacle: None,
            on_this_host: false,
            news: VecDeque::new(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut datagrams: mpsc::Receiver<Datagram>,
        mut commands: mpsc::Receiver<PathCommand>,
        mut changes: Listener,
    ) {
        loop {
            let timeout = self.poll_timeout();
            tokio::select! {
                Some(datagram) = datagrams.recv() => self.handle_datagram(&datagram),
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => return,
                },
                () = sleep_until(timeout) => self.handle_timeout(),
                reason = changes.changed() => self.on_network_changed(reason),
            }
            if !self.flush().await {
                return;
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let relay = self.relay.as_ref().and_then(|relay| match relay.progress {
            Progress::Binding { .. } => relay.leg.poll_timeout(),
            Progress::Bound { dial_at } => Some(dial_at),
            Progress::Told => None,
        });
        let engine = self.engine.as_ref().and_then(Engine::poll_timeout);
        relay.into_iter().chain(engine).min()
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        if let Some(relay) = &mut self.relay
            && let Some(LegAction::Send(frame)) = relay.leg.handle_timeout(now)
        {
            send(&self.sockets, relay.socket, relay.address, &frame, None);
        }
        if let Some(engine) = &mut self.engine {
            engine.handle(now, Input::Timeout);
        }
    }

    fn handle_datagram(&mut self, datagram: &Datagram) {
        let Some(&first) = datagram.payload.first() else {
            return;
        };
        if is_relay_frame(first) {
            self.handle_relay_frame(datagram);
        } else if let Some(engine) = &mut self.engine {
            let input = Input::Datagram {
                socket: datagram.socket,
                from: datagram.from,
                payload: &datagram.payload,
            };
            engine.handle(Instant::now(), input);
        }
    }

    fn handle_relay_frame(&mut self, datagram: &Datagram) {
        let Some(relay) = &mut self.relay else {
            return;
        };
        if (datagram.socket, datagram.from) != (relay.socket, relay.address) {
            return;
        }
        let Ok(frame) = RelayFrame::decode(&datagram.payload) else {
            return;
        };
        match relay.leg.handle_frame(&frame) {
            Some(LegAction::Send(frame)) => {
                send(&self.sockets, relay.socket, relay.address, &frame, None);
            }
            Some(LegAction::Bound) => {
                let now = Instant::now();
                let dial_at = match relay.progress {
                    Progress::Binding { peer_bound: false } => now + PEER_LEG,
                    _ => now,
                };
                relay.progress = Progress::Bound { dial_at };
            }
            Some(LegAction::Gone) => {
                self.relay = None;
                self.tell(PathEvent::RelayGone);
            }
            None => {}
        }
    }

    fn handle_command(&mut self, command: PathCommand) {
        let now = Instant::now();
        match command {
            PathCommand::Introduced {
                leg,
                rendezvous,
                peer_seen,
                peer_bound,
            } => {
                self.on_peer_seen(&peer_seen);
                self.on_this_host = rendezvous.ip().to_canonical().is_loopback();
                let Some(leg) = leg else {
                    return;
                };
                let socket = match rendezvous.ip().to_canonical() {
                    IpAddr::V4(_) => SocketId::V4,
                    IpAddr::V6(_) => SocketId::V6,
                };
                self.relay = Some(Relay {
                    leg: Leg::new(leg, now),
                    address: SocketAddr::new(rendezvous.ip().to_canonical(), rendezvous.port()),
                    socket,
                    progress: Progress::Binding { peer_bound },
                });
            }
            PathCommand::PeerSeen(addresses) => {
                self.on_peer_seen(&addresses);
                match self.relay.as_mut().map(|relay| &mut relay.progress) {
                    Some(Progress::Binding { peer_bound }) => *peer_bound = true,
                    Some(Progress::Bound { dial_at }) => *dial_at = now,
                    Some(Progress::Told) | None => {}
                }
            }
            PathCommand::Search(search) => self.start_engine(search),
            PathCommand::PeerSignal(signal) => self.tell_engine(Input::PeerSignal(&signal)),
            PathCommand::DirectUp => self.tell_engine(Input::TunnelUp),
            PathCommand::DirectLost => self.tell_engine(Input::TunnelLost),
            PathCommand::StreamsActive(active) => {
                self.tell_engine(Input::StreamsActive(active));
            }
            PathCommand::Silent => {
                self.tell_engine(Input::PathSilent);
                self.rebind(now);
            }
            PathCommand::RelayLost => self.rebind(now),
        }
    }

    fn rebind(&mut self, now: Instant) {
        if let Some(relay) = &mut self.relay {
            relay.rebind(now);
        }
    }

    fn on_peer_seen(&mut self, addresses: &[IpAddr]) {
        self.tell_engine(Input::PeerSeen(addresses));
        if self.engine.is_none() {
            self.peer_seen.extend_from_slice(addresses);
            self.peer_seen.truncate(PEER_SEEN);
        }
    }

    fn start_engine(&mut self, search: Search) {
        let Search { role, key, stun } = search;
        let now = Instant::now();
        let mut engine = Engine::new(Config::new(role, key, stun), self.seed, now);
        for socket in self.sockets.values() {
            let any: IpAddr = match socket.id {
                SocketId::V4 => Ipv4Addr::UNSPECIFIED.into(),
                _ => Ipv6Addr::UNSPECIFIED.into(),
            };
            let opened = Input::SocketOpened {
                socket: socket.id,
                local: SocketAddr::new(any, socket.port),
            };
            engine.handle(now, opened);
        }
        engine.handle(now, Input::PeerSeen(&self.peer_seen));
        self.engine = Some(engine);
        self.tell_addresses();
    }

    /// Whatever stood may not stand any more, with the same addresses too.
    fn on_network_changed(&mut self, reason: Reason) {
        tracing::debug!(?reason, "looking at all paths again");
        self.tell_addresses();
        self.tell_engine(Input::NetworkChanged);
        if let Some(relay) = &mut self.relay {
            relay.rebind(Instant::now());
        }
    }

    fn tell_addresses(&mut self) {
        let addresses = local_addresses(self.on_this_host);
        self.tell_engine(Input::LocalAddresses(&addresses));
    }

    fn tell_engine(&mut self, input: Input<'_>) {
        if let Some(engine) = &mut self.engine {
            engine.handle(Instant::now(), input);
        }
    }

    /// Carries out what leg and engine want; whether the session still listens.
    async fn flush(&mut self) -> bool {
        self.flush_relay();
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll_output) {
            self.act(output);
        }
        let obstacle = self.engine.as_ref().and_then(Engine::why_relayed);
        if obstacle != self.obstacle {
            self.obstacle = obstacle;
            if let Some(obstacle) = obstacle {
                self.tell(PathEvent::Obstacle(obstacle));
            }
        }
        while let Some(event) = self.news.pop_front() {
            if self.report.send(event).await.is_err() {
                return false;
            }
        }
        true
    }

    fn flush_relay(&mut self) {
        let now = Instant::now();
        let Some(relay) = &mut self.relay else {
            return;
        };
        if !matches!(relay.progress, Progress::Bound { dial_at } if dial_at <= now) {
            return;
        }
        relay.progress = Progress::Told;
        let remote = relay.address;
        if let Some(socket) = self.sockets.get(&relay.socket) {
            let socket = socket.clone();
            self.tell(PathEvent::Relay { socket, remote });
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send {
                socket,
                to,
                ttl,
                payload,
            } => {
                if !send(&self.sockets, socket, to, &payload, ttl) {
                    self.tell_engine(Input::SendFailed { socket, to });
                }
            }
            Output::Signal(signal) => self.tell(PathEvent::Signal(signal)),
            Output::OpenSocket { socket, family } => self.open_socket(socket, family),
            Output::CloseSocket { socket } => {
                self.sockets.remove(&socket);
            }
            Output::Nominated(path) => {
                if let Some(socket) = self.sockets.get(&path.socket) {
                    let socket = socket.clone();
                    self.tell(PathEvent::Direct { socket, path });
                }
            }
            Output::PathLost { reason } => self.tell(PathEvent::DirectLost(reason)),
            Output::Event(event) => tracing::debug!(?event, "traversal"),
        }
    }

    fn open_socket(&mut self, id: SocketId, family: Family) {
        let any = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        match PathSocket::open(id, any, self.others.clone()) {
            Ok(socket) => {
                let local = SocketAddr::new(any, socket.port);
                self.sockets.insert(id, socket);
                self.tell_engine(Input::SocketOpened { socket: id, local });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot open a socket for the search");
                self.tell_engine(Input::SocketFailed { socket: id });
            }
        }
    }

    fn tell(&mut self, event: PathEvent) {
        self.news.push_back(event);
    }
}

/// Sends a datagram that is not QUIC; whether the operating system took it or it may be repeated.
fn send(
    sockets: &HashMap<SocketId, PathSocket>,
    socket: SocketId,
    to: SocketAddr,
    payload: &[u8],
    ttl: Option<u8>,
) -> bool {
    let Some(socket) = sockets.get(&socket) else {
        return false;
    };
    match socket.mux.send(to, payload, ttl) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => true,
        Err(error) => {
            tracing::debug!(%error, "cannot send");
            false
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
