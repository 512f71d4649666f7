//! A session: everything between this host and one peer, for as long as both processes live.
//!
//! One task owns the session's state: the tunnels that are up (`tunnels`), the streams (`streams`), the forwards
//! (`forwards`). Sockets and traversal belong to [`crate::path`], the rendezvous to [`crate::meeting`]; both are
//! told what to do and tell what happened. Whatever else takes time (a handshake, reading a carrier's header,
//! accepting a connection) runs in a task of its own and sends an `Event`.

mod forwards;
mod pulse;
mod status;
mod streams;
mod tunnels;

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use p2pdbg_identity::Identity;
use p2pdbg_ledger::{CarrierHeader, Frame, ResetCode, StreamId};
use p2pdbg_wire::{
    control::Role,
    fingerprint::Fingerprint,
    relay::LegGrant,
    signal::PeerMessage,
    tunnel::{PathKind, TunnelMessage, close},
};
use quinn::RecvStream;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

pub(crate) use self::forwards::refuses;
use self::{forwards::Forwards, status::StatusLine, streams::Streams, tunnels::Tunnels};
use crate::{
    cli::{Absent, PathPolicy},
    failure::{ErrorCode, Failure},
    forward::{AllowList, Forward, OpenPort},
    pairing::SessionKeys,
    path::{PathCommand, PathEvent, Paths, Search},
    report::Reporter,
    stream::StreamEvent,
    tunnel::{Tunnel, TunnelConfig, TunnelError},
};

/// How many events may wait for the session's task.
const QUEUE: usize = 1024;

/// How many messages about streams may come before the forwards do.
const EARLY: usize = 256;

/// How often the tunnels are looked at while streams depend on them.
const LOOK: Duration = Duration::from_millis(500);

/// How often they are looked at otherwise.
const IDLE_LOOK: Duration = Duration::from_secs(2);

/// How long streams may take to deliver what is left, when the program that they belong to has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// The pause before a path is tried again on which no tunnel came up.
const REDIAL: Duration = Duration::from_secs(1);

/// How long a tunnel stays up after a newer one on the same kind of path.
const RETIRE: Duration = Duration::from_secs(5);

/// How long a session without any path is tried with `--path direct`.
const NO_PATH: Duration = Duration::from_secs(60);

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Everything that a session starts with.
pub struct SessionConfig {
    /// This side's part.
    pub role: Role,
    /// This host's certificate.
    pub identity: Arc<Identity>,
    /// The peer's certificate.
    pub peer: Fingerprint,
    /// The keys on which both agreed.
    pub keys: SessionKeys,
    /// Whether the peer is on this host, where one port cannot be opened twice.
    pub same_host: bool,
    /// The forwards; a connector learns them from the listener.
    pub forwards: Vec<Forward>,
    /// The listener's ports that are open already, in the order of the forwards.
    pub ports: Vec<Option<Arc<OpenPort>>>,
    /// What they do while nothing listens; none for what suits each.
    pub absent: Option<Absent>,
    /// What the peer may reach from here besides loopback.
    pub allow: AllowList,
    /// Which paths may be used.
    pub path: PathPolicy,
    /// For how long the streams of a lost peer are held.
    pub resume_for: Duration,
    /// Where to report.
    pub reporter: Reporter,
}

/// What the owner of the session tells it.
#[derive(Debug)]
pub enum SessionInput {
    /// The rendezvous introduced the peers, and they have recognised each other.
    Introduced {
        /// This side's leg of the relay.
        leg: LegGrant,
        /// Where the relay is.
        rendezvous: std::net::SocketAddr,
        /// Where the rendezvous answers STUN.
        stun: Vec<std::net::SocketAddr>,
        /// Where it saw the peer.
        peer_seen: Vec<std::net::IpAddr>,
        /// Whether the peer has bound its leg already.
        peer_bound: bool,
    },
    /// The rendezvous saw the peer bind its leg.
    PeerSeen(Vec<std::net::IpAddr>),
    /// The peer said something through the rendezvous.
    Message(PeerMessage),
    /// The peer has come back as another process: this session is over.
    Replaced,
    /// Tell when everything that local programs wrote before they closed has been delivered, or cannot be soon.
    Drain,
}

/// What the session tells its owner.
#[derive(Debug)]
pub enum SessionOutput {
    /// Say this to the peer through the rendezvous.
    Message(PeerMessage),
    /// The forwards stand, at both ends.
    Ready(Vec<Forward>),
    /// What was to be drained is.
    Drained,
    /// This host's addresses have changed.
    NetworkChanged,
    /// The session is over.
    Over(SessionEnd),
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// This side was told to end it.
    Closed,
    /// The peer ended it.
    PeerClosed,
    /// The peer came back as another process.
    Replaced,
    /// The peer was out of reach for longer than streams are held.
    PeerGone,
    /// It could not be set up.
    Failed(Failure),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the session was ended here"),
            Self::PeerClosed => f.write_str("the peer ended the session"),
            Self::Replaced => f.write_str("the peer came back as another process"),
            Self::PeerGone => f.write_str("the peer was out of reach for too long"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

/// What happens within a session.
#[derive(Debug)]
enum Event {
    TunnelUp(Tunnel, crate::tunnel::ControlReader),
    DialFailed(PathKind, TunnelError),
    PathFailed(PathKind),
    Retire(u64),
    TunnelEnded(u64, quinn::ConnectionError),
    Control(u64, TunnelMessage),
    Carrier(u64, CarrierHeader, RecvStream),
    Accepted(u16, TcpStream),
    TargetListening(u16, bool),
    StreamWaiting(StreamId, u16),
    OpenToNetwork(std::net::SocketAddr),
}

/// A handle on a running session.
#[derive(Debug)]
pub struct Session {
    inputs: mpsc::Sender<SessionInput>,
    closing: CancellationToken,
    task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Session {
    /// Starts a session. What it tells comes out of `outputs`.
    ///
    /// # Errors
    /// If this host has no UDP, or the identity is of no use.
    pub fn start(
        config: SessionConfig,
        outputs: mpsc::Sender<SessionOutput>,
    ) -> Result<Self, Failure> {
        let internal = |e: &dyn std::fmt::Display| Failure::new(ErrorCode::Internal, e.to_string());
        let tunnel_config =
            TunnelConfig::new(&config.identity, config.peer).map_err(|e| internal(&e))?;
        let paths = Paths::open(p2pdbg_wire::secret::random_bytes())
            .map_err(|e| internal(&format!("cannot open a UDP socket: {e}")))?;
        let (inputs, receiver) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let driver = Driver::new(config, tunnel_config, paths, outputs, closing.clone());
        let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(driver.run(receiver)));
        Ok(Self {
            inputs,
            closing,
            task,
        })
    }

    /// Tells the session something.
    pub fn input(&self, input: SessionInput) {
        if self.inputs.try_send(input).is_err() {
            tracing::warn!("the session takes no more");
        }
    }

    /// Ends the session because its peer's process is gone; its ports are free afterwards.
    pub async fn replace(self) {
        self.input(SessionInput::Replaced);
        let _ = self.task.await;
    }

    /// Ends the session: the peer is told at once, the streams are reset.
    pub async fn close(self) {
        self.closing.cancel();
        let _ = self.task.await;
    }
}

struct Driver {
    role: Role,
    policy: PathPolicy,
    resume_for: Duration,
    keys: SessionKeys,
    paths: Paths,
    tunnels: Tunnels,
    streams: Streams,
    forwards: Forwards,
    status: StatusLine,
    outputs: mpsc::Sender<SessionOutput>,
    events: mpsc::Sender<Event>,
    /// Tasks that end with the session.
    tasks: JoinSet<()>,
    /// What came about streams before the forwards were known: QUIC delivers its streams in any order.
    early: VecDeque<Event>,
    closing: CancellationToken,
    searching: bool,
    lost_since: Option<Instant>,
    drain_until: Option<Instant>,
    began: Instant,
    over: Option<SessionEnd>,
    received: mpsc::Receiver<Event>,
}

impl Driver {
    fn new(
        config: SessionConfig,
        tunnel_config: TunnelConfig,
        paths: Paths,
        outputs: mpsc::Sender<SessionOutput>,
        closing: CancellationToken,
    ) -> Self {
        let (events, received) = mpsc::channel(QUEUE);
        let tunnels = Tunnels::new(config.role, tunnel_config, config.keys.tunnel.clone());
        let streams = Streams::new(config.role, tunnels.best(), config.reporter.clone());
        let forwards = Forwards::new(&config, events.clone());
        let status = StatusLine::new(config.reporter, config.path);
        Self {
            role: config.role,
            policy: config.path,
            resume_for: config.resume_for,
            keys: config.keys,
            paths,
            tunnels,
            streams,
            forwards,
            status,
            outputs,
            events,
            tasks: JoinSet::new(),
            early: VecDeque::new(),
            closing,
            searching: false,
            lost_since: None,
            drain_until: None,
            began: Instant::now(),
            over: None,
            received,
        }
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<SessionInput>) {
        let closing = self.closing.clone();
        if self.role == Role::Listener {
            self.accept_tunnels();
            if let Err(failure) = self.forwards.open_ports(&mut self.tasks).await {
                self.over = Some(SessionEnd::Failed(failure));
            }
        }
        let mut next_look = Instant::now();
        while self.over.is_none() {
            tokio::select! {
                () = closing.cancelled() => self.over = Some(SessionEnd::Closed),
                input = inputs.recv() => match input {
                    Some(input) => self.handle_input(input),
                    None => self.over = Some(SessionEnd::Closed),
                },
                Some(event) = self.paths.event() => self.handle_path(event),
                Some(event) = self.received.recv() => {
                    self.handle_event(event).await;
                    // What came before the forwards did can be understood now.
                    while self.forwards.are_known() && let Some(event) = self.early.pop_front() {
                        self.handle_event(event).await;
                    }
                }
                Some((stream, event)) = self.streams.event() => self.handle_stream(stream, event),
                () = tokio::time::sleep_until(next_look) => {
                    self.on_tick();
                    let pause = if self.streams.count() > 0 { LOOK } else { IDLE_LOOK };
                    next_look = Instant::now() + pause;
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
        self.say_goodbye().await;
    }

    fn handle_input(&mut self, input: SessionInput) {
        match input {
            SessionInput::Introduced {
                leg,
                rendezvous,
                stun,
                peer_seen,
                peer_bound,
            } => {
                self.paths.command(PathCommand::Introduced {
                    leg: Some(leg).filter(|_| self.policy != PathPolicy::Direct),
                    rendezvous,
                    peer_seen,
                    peer_bound,
                });
                if self.policy != PathPolicy::Relay && !self.searching {
                    self.searching = true;
                    let role = match self.role {
                        Role::Connector => p2pdbg_punch::Role::Controlling,
                        Role::Listener => p2pdbg_punch::Role::Controlled,
                    };
                    let key = self.keys.punch.clone();
                    self.paths
                        .command(PathCommand::Search(Search { role, key, stun }));
                }
            }
            SessionInput::PeerSeen(addresses) => {
                self.paths.command(PathCommand::PeerSeen(addresses));
            }
            SessionInput::Message(PeerMessage::Punch(signal)) => {
                self.paths.command(PathCommand::PeerSignal(signal));
            }
            SessionInput::Message(PeerMessage::Bye) => self.over = Some(SessionEnd::PeerClosed),
            SessionInput::Message(PeerMessage::Introduce(_)) => {}
            SessionInput::Replaced => self.over = Some(SessionEnd::Replaced),
            SessionInput::Drain => {
                self.drain_until = Some(Instant::now() + DRAIN);
                self.check_drained();
            }
        }
    }

    fn handle_path(&mut self, event: PathEvent) {
        match event {
            PathEvent::Relay { socket, remote } => {
                if self.role == Role::Connector && !self.tunnels.has(PathKind::RelayUdp) {
                    self.dial(socket, remote, PathKind::RelayUdp);
                }
            }
            PathEvent::Direct { socket, path } => {
                self.status.on_direct(&path);
                match self.role {
                    Role::Connector => self.dial(socket, path.remote, PathKind::Direct),
                    Role::Listener => self.accept_on(socket),
                }
            }
            PathEvent::RelayGone => {}
            PathEvent::DirectLost(reason) => {
                self.status.on_direct_lost(reason);
                self.tunnels.close_all(PathKind::Direct, close::REPLACED);
            }
            PathEvent::Signal(signal) => {
                self.tell(SessionOutput::Message(PeerMessage::Punch(signal)))
            }
            PathEvent::Obstacle(obstacle) => self.status.on_obstacle(obstacle),
            PathEvent::NetworkChanged => self.tell(SessionOutput::NetworkChanged),
        }
    }

    async fn handle_event(&mut self, event: Event) {
        match event {
            Event::TunnelUp(tunnel, control) => self.on_tunnel_up(tunnel, control),
            Event::DialFailed(path, error) => self.on_dial_failed(path, &error),
            Event::PathFailed(path) => self.on_path_failed(path),
            Event::Retire(epoch) => self.tunnels.close(epoch, close::REPLACED),
            Event::TunnelEnded(epoch, why) => {
                if tunnels::is_goodbye(&why) {
                    self.over = Some(SessionEnd::PeerClosed);
                } else {
                    self.on_tunnel_ended(epoch, &why.to_string());
                }
            }
            event @ (Event::Control(_, TunnelMessage::Ledger(_)) | Event::Carrier(..))
                if !self.forwards.are_known() =>
            {
                if self.early.len() < EARLY {
                    self.early.push_back(event);
                }
            }
            Event::Control(epoch, message) => self.handle_control(epoch, message).await,
            Event::Carrier(epoch, header, stream) => self.handle_carrier(epoch, header, stream),
            Event::Accepted(forward, connection) => {
                self.streams.open(forward, connection, &mut self.tasks);
            }
            Event::TargetListening(forward, listening) => {
                self.forwards.note_target(forward, listening);
                self.tunnels
                    .send(TunnelMessage::TargetListening { forward, listening });
            }
            Event::OpenToNetwork(address) => self.forwards.on_open_to_network(address),
            Event::StreamWaiting(stream, forward) => {
                if let Some(target) = self.forwards.target(forward) {
                    self.streams.on_waiting(stream, target, self.role);
                    self.announce_waiting(stream, true);
                }
            }
        }
    }

    fn on_tunnel_up(&mut self, tunnel: Tunnel, control: crate::tunnel::ControlReader) {
        let path = tunnel.path;
        if path == PathKind::Direct {
            self.paths.command(PathCommand::DirectUp);
        }
        tunnels::watch(&tunnel, control, &self.events, &mut self.tasks);
        for message in self.forwards.announcements() {
            tunnel.send(message);
        }
        for stream in self.streams.waiting_here(self.role) {
            let (stream, waiting) = (stream.to_u64(), true);
            tunnel.send(TunnelMessage::StreamWaiting { stream, waiting });
        }
        for epoch in self.tunnels.insert(tunnel) {
            let events = self.events.clone();
            self.tasks.spawn(async move {
                // What is in flight on it arrives, or is sent again.
                tokio::time::sleep(RETIRE).await;
                let _ = events.send(Event::Retire(epoch)).await;
            });
        }
        self.on_best_changed();
    }

    fn on_dial_failed(&mut self, path: PathKind, error: &TunnelError) {
        tracing::info!(%error, ?path, "no tunnel");
        self.tunnels.on_dial_failed(path);
        // Whoever stands on the path may have caused it, an impostor's certificate too: that ends no session.
        let events = self.events.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(REDIAL).await;
            let _ = events.send(Event::PathFailed(path)).await;
        });
    }

    /// Has a path looked for anew after its tunnel was lost or did not come up.
    fn on_path_failed(&mut self, path: PathKind) {
        if !self.tunnels.has(path) {
            self.paths.command(match path {
                PathKind::Direct => PathCommand::DirectLost,
                PathKind::RelayUdp | PathKind::RelayTcp => PathCommand::RelayLost,
            });
        }
    }

    fn on_tunnel_ended(&mut self, epoch: u64, why: &str) {
        let Some(path) = self.tunnels.remove(epoch) else {
            return;
        };
        tracing::info!(epoch, ?path, why, "a tunnel ended");
        self.streams.on_tunnel_lost(epoch);
        self.on_path_failed(path);
        self.status.on_lost(path, why);
        self.on_best_changed();
    }

    /// Tells what has changed when the streams move to another tunnel, or have none.
    fn on_best_changed(&mut self) {
        if !self.tunnels.choose() {
            return;
        }
        let streams = self.streams.count();
        match self.tunnels.current() {
            Some(tunnel) => {
                if let Some(since) = self.lost_since.take() {
                    self.status.on_resumed(since.elapsed(), streams);
                }
                self.status.on_path(tunnel);
            }
            None => {
                self.lost_since = Some(Instant::now());
                self.status.on_peer_lost(streams);
            }
        }
        self.update_status();
    }

    async fn handle_control(&mut self, epoch: u64, message: TunnelMessage) {
        match message {
            TunnelMessage::Ledger(bytes) => match Frame::decode(&bytes) {
                Ok(frame) => self.handle_frame(epoch, frame),
                Err(error) => self.on_misbehaviour(epoch, &error),
            },
            TunnelMessage::Forwards(offers) if self.role == Role::Connector => {
                match self.forwards.accept(offers, &mut self.tasks).await {
                    Ok(answers) => answers
                        .into_iter()
                        .for_each(|answer| self.tunnels.send(answer)),
                    Err(fault) => return self.on_misbehaviour(epoch, &fault),
                }
                if let Some(standing) = self.forwards.newly_standing() {
                    self.tell(SessionOutput::Ready(standing));
                }
            }
            TunnelMessage::ForwardState { forward, state } if self.role == Role::Listener => {
                self.forwards.on_state(forward, state);
                if let Some(standing) = self.forwards.newly_standing() {
                    self.tell(SessionOutput::Ready(standing));
                }
            }
            TunnelMessage::TargetListening { forward, listening } => {
                self.forwards
                    .on_target_listening(forward, listening, &mut self.tasks)
                    .await;
            }
            TunnelMessage::StreamWaiting {
                stream,
                waiting: false,
            } => self.streams.on_waited(StreamId::from_u64(stream)),
            TunnelMessage::StreamWaiting { stream, .. } => {
                let stream = StreamId::from_u64(stream);
                if let Some(target) = self
                    .streams
                    .forward_of(stream)
                    .and_then(|f| self.forwards.target(f))
                {
                    self.streams.on_waiting(stream, target, self.role.other());
                }
            }
            TunnelMessage::Bye => self.over = Some(SessionEnd::PeerClosed),
            TunnelMessage::Ping => {}
            TunnelMessage::Hello { .. }
            | TunnelMessage::Forwards(_)
            | TunnelMessage::ForwardState { .. } => {
                self.on_misbehaviour(epoch, &"a message that does not belong here");
            }
        }
    }

    fn handle_frame(&mut self, epoch: u64, frame: Frame) {
        let stream = frame.stream();
        match self.admit(stream, frame.forward()) {
            Ok(true) => {
                let is_end = matches!(frame, Frame::End(_));
                let via = self.tunnels.find(epoch).filter(|_| is_end).cloned();
                if !self.streams.handle_frame(stream, frame, via) {
                    self.tunnels.close(epoch, close::PROTOCOL);
                }
            }
            Ok(false) => {
                if let Some(reply) = frame.reply_if_closed() {
                    self.tunnels.send_frame(epoch, reply);
                }
            }
            Err(violation) => self.on_misbehaviour(epoch, &violation),
        }
    }

    fn handle_carrier(&mut self, epoch: u64, header: CarrierHeader, mut stream: RecvStream) {
        match self.admit(header.stream, Some(header.forward)) {
            Ok(true) => self.streams.handle_carrier(epoch, &header, stream),
            Ok(false) => {
                let _ = stream.stop(crate::stream::UNWANTED);
                self.tunnels.send_frame(epoch, header.reply_if_closed());
            }
            Err(violation) => self.on_misbehaviour(epoch, &violation),
        }
    }

    /// Whether a stream lives; one that the peer opens with this message begins to.
    fn admit(
        &mut self,
        stream: StreamId,
        opens: Option<u16>,
    ) -> Result<bool, p2pdbg_ledger::Violation> {
        let admission = self.streams.admit(stream, opens.is_some())?;
        if let (p2pdbg_ledger::Admission::New, Some(forward)) = (admission, opens) {
            let local = self.forwards.dial(stream, forward);
            self.streams.start(stream, forward, local, &mut self.tasks);
        }
        Ok(admission != p2pdbg_ledger::Admission::Closed)
    }

    fn handle_stream(&mut self, stream: StreamId, event: StreamEvent) {
        if let StreamEvent::Violation(violation) = &event {
            tracing::warn!(%violation, "the peer broke the rules of a stream");
        }
        let before = self.streams.count();
        if self.streams.waits_here(stream, self.role) && !matches!(event, StreamEvent::Violation(_))
        {
            self.announce_waiting(stream, false);
        }
        let target = self
            .streams
            .forward_of(stream)
            .and_then(|forward| self.forwards.target(forward))
            .cloned();
        self.streams.on_event(stream, event, target);
        self.check_drained();
        let after = self.streams.count();
        if (before == 0) != (after == 0) {
            self.paths.command(PathCommand::StreamsActive(after > 0));
        }
        self.update_status();
    }

    /// Tells the other end whether a stream waits here until its target listens.
    fn announce_waiting(&self, stream: StreamId, waiting: bool) {
        let stream = stream.to_u64();
        self.tunnels
            .send(TunnelMessage::StreamWaiting { stream, waiting });
    }

    fn check_drained(&mut self) {
        let late = self
            .drain_until
            .is_some_and(|until| until <= Instant::now());
        if late || (self.drain_until.is_some() && self.streams.all_delivered()) {
            self.drain_until = None;
            self.tell(SessionOutput::Drained);
        }
    }

    fn on_misbehaviour(&mut self, epoch: u64, what: &dyn std::fmt::Display) {
        tracing::warn!(epoch, %what, "the peer broke the protocol");
        self.tunnels.close(epoch, close::PROTOCOL);
    }

    fn on_tick(&mut self) {
        if let Some(since) = self.lost_since
            && since.elapsed() >= self.resume_for
        {
            self.over = Some(SessionEnd::PeerGone);
        }
        if self.policy == PathPolicy::Direct
            && self.tunnels.never_up()
            && self.began.elapsed() >= NO_PATH
        {
            let failure = Failure::new(
                ErrorCode::NoPath,
                format!("there is no direct path: {}", self.status.why_relayed()),
            )
            .hint("leave out --path direct, so that the relay may be used");
            self.over = Some(SessionEnd::Failed(failure));
        }
        for path in self.tunnels.look() {
            self.status.on_silent(path);
            if path == PathKind::RelayUdp {
                // The address from which the relay knows this end may be another one now.
                self.paths.command(PathCommand::RelayLost);
            }
        }
        self.on_best_changed();
        self.check_drained();
        self.update_status();
    }

    fn update_status(&mut self) {
        self.status.update(
            self.tunnels.current(),
            self.lost_since,
            self.streams.count(),
            self.streams.waiting(),
        );
    }

    /// Dials a tunnel in a task of its own.
    fn dial(
        &mut self,
        socket: crate::path::PathSocket,
        remote: std::net::SocketAddr,
        path: PathKind,
    ) {
        let Some(dialing) = self.tunnels.dial(socket.endpoint, remote, path) else {
            return;
        };
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let event = match dialing.await {
                Ok((tunnel, control)) => Event::TunnelUp(tunnel, control),
                Err(error) => Event::DialFailed(path, error),
            };
            let _ = events.send(event).await;
        });
    }

    fn accept_tunnels(&mut self) {
        for socket in self.paths.sockets().to_vec() {
            self.accept_on(socket);
        }
    }

    fn accept_on(&mut self, socket: crate::path::PathSocket) {
        if let Some(accepting) = self.tunnels.accept_on(&socket, self.events.clone()) {
            self.tasks.spawn(accepting);
        }
    }

    fn tell(&self, output: SessionOutput) {
        if self.outputs.try_send(output).is_err() {
            tracing::warn!("the owner of the session does not keep up");
        }
    }

    /// Ends everything, so that the peer hears of it at once, on whatever path there is.
    async fn say_goodbye(mut self) {
        let end = self.over.take().unwrap_or(SessionEnd::Closed);
        // A peer whose process is gone answers nothing.
        let patience = match end {
            SessionEnd::Replaced => GOODBYE / 5,
            _ => GOODBYE,
        };
        if !matches!(end, SessionEnd::PeerClosed | SessionEnd::Replaced) {
            self.tunnels.broadcast(TunnelMessage::Bye);
            self.tell(SessionOutput::Message(PeerMessage::Bye));
        }
        self.streams.abort_all(ResetCode::SESSION);
        let streams = self.streams.drain();
        let _ = tokio::time::timeout(patience, streams).await;
        self.tunnels
            .close_everything(patience, self.paths.sockets())
            .await;
        // The next session may want the same ports.
        self.tasks.shutdown().await;
        self.status.on_over();
        let _ = self.outputs.send(SessionOutput::Over(end)).await;
    }
}
