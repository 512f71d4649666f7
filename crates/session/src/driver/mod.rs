//! The task of a session: it owns the connections, the streams and the forwards, moves what happens into the decisions,
//! and carries out what they want.

use std::time::{Duration, Instant};

use p2pdbg_attach::Programs;
use p2pdbg_base::{ErrorCode, Failure, Untrusted};
use p2pdbg_events::{Event as Report, Reporter, Status};
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::Connection;
use p2pdbg_ledger::{ResetCode, StreamId};
use p2pdbg_net::{changes::Changes, deadline::sleep_until};
use p2pdbg_path::{FirstTunnel, PathCommand, PathEvent, Paths};
use p2pdbg_proto::{rendezvous::Role, signal::PeerMessage, tunnel::TunnelMessage};
use p2pdbg_tunnel::TunnelConfig;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    decisions::{Decisions, Input, Output, Settings},
    end::SessionEnd,
    event::SessionEvent,
    forwards::Forwards,
    io::{QUEUE, SessionInput, SessionOutput},
    own_sources::SourcesPart,
    paths::{Relays, SessionPaths, StarvingEnd},
    pipe_requests::PipeRequest,
    session_config::SessionConfig,
    session_policy::SessionPolicy,
    streams::{Opened, Streams},
    tunnel_connections::Connections,
};
use crate::watch::Watcher;

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(250);

/// What there is of a session before it begins.
pub(super) struct Begun {
    pub(super) paths: Paths,
    pub(super) told: Vec<PathEvent>,
    pub(super) tunnel: Option<FirstTunnel>,
}

/// What the two ends are, for each other and for a person.
pub(super) struct Peers {
    pub(super) name: Untrusted,
    /// Whether the two knew each other before.
    pub(super) known: bool,
    /// What the peer is told of this host.
    pub(super) here: HostFacts,
    /// What the peer told last of its own.
    pub(super) there: Option<HostFacts>,
    pub(super) began: Instant,
}

/// The state of a session, owned by its task.
pub(super) struct SessionDriver {
    pub(super) role: Role,
    pub(super) decisions: Decisions,
    pub(super) connections: Connections,
    pub(super) ways: SessionPaths,
    pub(super) peers: Peers,
    pub(super) streams: Streams,
    pub(super) forwards: Forwards,
    pub(super) sources: SourcesPart,
    /// What debuggers may attach to here.
    pub(super) programs: Programs,
    /// Streams of `p2pdbg pipe` whose forwards the connector has not judged yet.
    pub(super) pipes: Vec<(u16, PipeRequest)>,
    pub(super) reporter: Reporter,
    outputs: mpsc::Sender<SessionOutput>,
    pub(super) events: mpsc::Sender<SessionEvent>,
    /// Tasks that end with the session.
    pub(super) tasks: JoinSet<()>,
    over: Option<SessionEnd>,
}

impl SessionDriver {
    pub(super) fn new(
        config: SessionConfig,
        tunnel_config: TunnelConfig,
        paths: Paths,
        outputs: mpsc::Sender<SessionOutput>,
    ) -> (Self, mpsc::Receiver<SessionEvent>) {
        let now = Instant::now();
        let (role, path_policy) = (config.paths.role, config.paths.policy);
        let policy = config.policy.clone();
        let (events, received) = mpsc::channel(QUEUE);
        let key = config.keys.tunnel.clone();
        let connections = Connections::new(role, tunnel_config, key, events.clone());
        let watcher = policy.inspect.then(|| {
            let wrap = |stream, report| SessionEvent::Inspected(stream, Box::new(report));
            Watcher::start(role, events.clone(), wrap)
        });
        let reporter = config.reporter.clone();
        let streams = Streams::new(role, connections.best(), reporter, watcher);
        let forwards = Forwards::new(&config, events.clone());
        let sources = SourcesPart::new(&config, events.clone());
        let programs = programs(&policy, events.clone());
        let relays = Relays::new(role, config.paths.route.clone(), path_policy);
        let settings = Settings {
            role,
            path_policy,
            policy,
            started: config.reporter.started(),
        };
        let driver = Self {
            role,
            decisions: Decisions::new(settings, now),
            connections,
            ways: SessionPaths::new(paths, config.keys.punch, path_policy, relays),
            peers: Peers {
                name: config.peer_name,
                known: config.known,
                here: config.facts,
                there: None,
                began: now,
            },
            streams,
            forwards,
            sources,
            programs,
            pipes: Vec::new(),
            reporter: config.reporter,
            outputs,
            events,
            tasks: JoinSet::new(),
            over: None,
        };
        (driver, received)
    }

    /// Runs the session to its end. `told` is what the paths have told already, `first` the tunnel that was begun.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<SessionInput>,
        mut received: mpsc::Receiver<SessionEvent>,
        told: Vec<PathEvent>,
        first: Option<FirstTunnel>,
        changes: Changes,
        closing: CancellationToken,
    ) {
        if self.role == Role::Listener {
            for socket in self.ways.sockets() {
                self.connections.accept_on(socket, &mut self.tasks);
            }
            if let Err(failure) = self.forwards.open_ports(&mut self.tasks).await {
                self.end(SessionEnd::Failed(failure));
            }
        }
        if let Some(first) = first {
            self.go_on_with(first);
        }
        self.watch_relays();
        for event in told {
            self.handle_path(event);
        }
        let mut changes = changes.subscribe();
        let rejections = self.connections.rejections().clone();
        while self.over.is_none() {
            let timeout = self.decisions.poll_timeout();
            tokio::select! {
                () = closing.cancelled() => self.end(SessionEnd::Closed),
                input = inputs.recv() => match input {
                    Some(input) => self.handle_input(input),
                    None => self.end(SessionEnd::Closed),
                },
                Some(event) = self.ways.event() => self.handle_path(event),
                Some(event) = received.recv() => {
                    self.handle_event(event).await;
                    // What came before the forwards did can be understood now.
                    while let Some(event) = self.forwards.next_kept() {
                        self.handle_event(event).await;
                    }
                }
                Some((stream, event)) = self.streams.event() => self.handle_stream(stream, event),
                () = sleep_until(timeout) => self.on_timeout(),
                reason = changes.news() => self.decide(reason.into()),
                () = rejections.noted() => self.decide(Input::Rejected),
                Some(_) = self.tasks.join_next() => {}
            }
            self.tell_streams();
        }
        self.say_goodbye().await;
    }

    /// Tells the decisions, and those who look at targets, how the streams are doing.
    fn tell_streams(&mut self) {
        let (live, delivered) = (self.streams.count(), self.streams.all_delivered());
        let has_tunnel = self.connections.current().is_some();
        self.forwards.note_usage(has_tunnel, live > 0);
        self.decide(Input::Streams { live, delivered });
    }

    fn on_timeout(&mut self) {
        let counters = self.connections.counters();
        self.decide(Input::Flow(self.streams.flow()));
        self.decide(Input::Timeout(&counters));
        if let Some(warning) = self.connections.rejections().poll_warning() {
            self.reporter.emit(Report::Warning(warning));
        }
    }

    /// Has something decided, and carries it out.
    pub(super) fn decide(&mut self, input: Input<'_>) {
        self.decisions.handle(Instant::now(), input);
        while let Some(output) = self.decisions.poll_output() {
            self.carry_out(output);
        }
    }

    fn end(&mut self, why: SessionEnd) {
        self.decide(Input::End(&why));
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial {
                number,
                socket,
                remote,
                path,
            } => self.dial(number, (socket, remote), path),
            Output::Call { socket, remote } => self.call(socket, remote),
            Output::Accept(socket) => {
                if let Some(socket) = self.ways.socket(socket) {
                    self.connections.accept_on(&socket, &mut self.tasks);
                }
            }
            Output::Adopt(epoch) => self.adopt(epoch),
            Output::Close { epoch, code } => self.connections.close(epoch, code),
            Output::Ping { epoch, unanswered } => {
                let unanswered_ms = u32::try_from(unanswered.as_millis()).unwrap_or(u32::MAX);
                if let Some(tunnel) = self.connections.find(epoch) {
                    tunnel.send(TunnelMessage::Ping { unanswered_ms });
                }
            }
            Output::Use(epoch) => self.use_for_streams(epoch),
            Output::Leave(epoch) => self.streams.on_tunnel_silent(epoch),
            Output::Lost(epoch) => {
                self.connections.remove(epoch);
                self.streams.on_tunnel_lost(epoch);
            }
            Output::Search => {
                self.ways.search();
            }
            Output::Path(PathCommand::AvoidUdp(time)) => {
                self.ways.avoid_udp(StarvingEnd::Here, time);
            }
            Output::AvoidUdpForPeer(time) => self.ways.avoid_udp(StarvingEnd::Peer, time),
            Output::Path(command) => self.ways.command(command),
            Output::AskForTcp(time) => {
                let seconds = u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
                let message = TunnelMessage::RelayByTcp { seconds };
                self.connections.send_everywhere(&message);
            }
            Output::NearLost => self.on_near_lost(),
            Output::Doubt => self.tell(SessionOutput::Doubt),
            Output::InUse(in_use) => self.sources.sources.on_use(in_use),
            Output::Drained => self.tell(SessionOutput::Drained),
            Output::Report(report) => {
                match report {
                    Report::PeerLost { .. } => self.tell(SessionOutput::Away(true)),
                    Report::Resumed { .. } => self.tell(SessionOutput::Away(false)),
                    _ => {}
                }
                self.reporter.emit(report);
            }
            Output::Status => self.update_status(),
            Output::Over(why) => self.over = Some(why),
        }
    }

    fn on_peer_bound(&mut self, bound: bool) {
        if bound {
            self.decide(Input::PeerBound);
        }
    }

    fn handle_input(&mut self, input: SessionInput) {
        match input {
            SessionInput::Introduced(introduction) => {
                let bound = introduction.peer_bound;
                self.ways.command(PathCommand::Introduced(introduction));
                self.on_home();
                self.decide(Input::Introduced);
                self.on_peer_bound(bound);
            }
            SessionInput::PeerSeen { addresses, bound } => {
                self.ways
                    .command(PathCommand::PeerSeen { addresses, bound });
                self.on_peer_bound(bound);
            }
            SessionInput::Message(PeerMessage::Punch(signal)) => {
                self.ways.command(PathCommand::PeerSignal(signal));
            }
            SessionInput::Message(PeerMessage::NoPlace) if self.role == Role::Connector => {
                let message = "the listener has its session with another p2pdbg connect, and lets no more peers in";
                let failure = Failure::new(ErrorCode::NoPlace, message);
                let hint = "end that one (p2pdbg status shows those of this host), or start listen with a greater --peers N";
                self.end(SessionEnd::Failed(failure.hint(hint)));
            }
            SessionInput::Message(PeerMessage::Bye | PeerMessage::NoPlace) => {
                self.end(SessionEnd::PeerClosed);
            }
            SessionInput::Message(PeerMessage::Introduce(_)) => {}
            SessionInput::Message(PeerMessage::Distances(there)) => self.on_distances(there),
            SessionInput::RelayAt(at) => self.on_relay_at(at),
            SessionInput::RelayRefused(node) => self.on_relay_refused(node),
            SessionInput::PeerLeft => self.decide(Input::PeerLeft),
            SessionInput::Replaced => self.end(SessionEnd::Replaced),
            SessionInput::Describe(answer) => drop(answer.send(self.describe())),
            SessionInput::Pipe(request) => self.open_pipe(request),
            SessionInput::Forward(request) => self.add_forward(request),
            SessionInput::Drain => {
                let ports = self.forwards.sweep();
                self.decide(Input::Drain { ports });
            }
        }
    }

    fn handle_path(&mut self, event: PathEvent) {
        match event {
            PathEvent::Relay {
                socket,
                remote,
                transport,
            } => self.decide(Input::Relay {
                socket: socket.id,
                remote,
                transport,
            }),
            PathEvent::Direct { socket, path } => {
                self.ways.on_nominated(Some(socket));
                self.decide(Input::Nominated(path));
            }
            PathEvent::Answers { after } => self.decide(Input::PathAnswers { after }),
            PathEvent::IsLan => self.decide(Input::PathIsLan),
            PathEvent::NearRelay { socket, remote } => {
                let socket = socket.id;
                self.decide(Input::NearRelay { socket, remote });
            }
            PathEvent::NearGone { leg } => self.on_near_gone(leg),
            PathEvent::Near { .. } => {}
            PathEvent::Heard { socket, remote } => self.decide(Input::Heard { socket, remote }),
            PathEvent::RelayGone => self.tell(SessionOutput::LegLost),
            PathEvent::DirectLost(reason) => {
                self.ways.on_nominated(None);
                self.decide(Input::DirectLost(reason));
                self.ways.relays.look_soon();
            }
            PathEvent::Closed { socket } => self.connections.stop_accepting(socket),
            PathEvent::Signal(signal) => {
                self.tell(SessionOutput::Message(PeerMessage::Punch(signal)))
            }
            PathEvent::Unused { technique, rtt } => self.decide(Input::Unused { technique, rtt }),
            PathEvent::Obstacle(obstacle) => self.decide(Input::Obstacle(obstacle)),
        }
    }

    /// Hears what the paths have told by now: how the path of a new tunnel was found, before that path is reported.
    pub(super) fn catch_up_with_paths(&mut self) {
        while let Some(event) = self.ways.try_event() {
            self.handle_path(event);
        }
    }

    async fn handle_event(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::TunnelUp(tunnel, control) => {
                self.catch_up_with_paths();
                let facts = self.connections.insert(tunnel, control);
                self.decide(Input::TunnelUp(facts));
            }
            SessionEvent::Called(answered) => self.on_called(answered),
            SessionEvent::DialFailed {
                number,
                path,
                error,
            } => {
                tracing::info!(%error, ?path, "no tunnel");
                self.decide(Input::DialFailed(number));
            }
            SessionEvent::CallFailed => self.decide(Input::CallFailed),
            SessionEvent::TunnelEnded(epoch, error) => self.on_tunnel_ended(epoch, &error),
            event @ (SessionEvent::Control(_, TunnelMessage::Ledger(_))
            | SessionEvent::Carrier(..))
                if !self.forwards.are_known() =>
            {
                self.forwards.keep_until_known(event);
            }
            SessionEvent::Control(epoch, message) => self.handle_control(epoch, message).await,
            SessionEvent::Carrier(epoch, header, stream) => {
                self.handle_carrier(epoch, header, stream)
            }
            SessionEvent::Copy(header, data) => self.streams.handle_copy(header, data),
            SessionEvent::Measured(here) => self.on_measured(here),
            SessionEvent::Swept => self.decide(Input::Swept),
            SessionEvent::Accepted(forward, connection) => self.on_accepted(forward, connection),
            SessionEvent::TargetListening(forward, listening) => {
                self.on_target_listening(forward, listening);
            }
            SessionEvent::Sources(told) => self.on_told(told),
            SessionEvent::Attached(attached) => self.on_attached(attached),
            SessionEvent::Inspected(stream, report) => self.on_inspected(stream, *report),
            SessionEvent::OpenToNetwork(address) => self.forwards.on_open_to_network(address),
            SessionEvent::Listening(seen) => {
                for message in self.forwards.on_listening(&seen) {
                    self.connections.send(message);
                }
            }
            SessionEvent::TurnedAway(forward) => self.forwards.on_turned_away(forward),
            SessionEvent::Silent(forward) => self.forwards.on_silent(forward),
            SessionEvent::OtherUser(forward, uid) => self.forwards.on_other_user(forward, uid),
            SessionEvent::HungUp(forward) => self.forwards.on_hung_up(forward),
            SessionEvent::Reached(forward) => self.forwards.on_reached(forward, &mut self.tasks),
            SessionEvent::StreamWaiting(stream, forward) => self.on_stream_waiting(stream, forward),
        }
    }

    /// Opens a stream for a connection to the port of a forward.
    fn on_accepted(&mut self, forward: u16, connection: Connection) {
        let forward = Opened {
            forward,
            is_client: self.forwards.client_filter(forward).is_some(),
        };
        self.streams
            .open(forward, connection, None, &mut self.tasks);
    }

    /// Tells the other end, which opens the port, that a target has begun or ceased to listen.
    fn on_target_listening(&mut self, forward: u16, listening: bool) {
        if let Some(message) = self.forwards.note_target(forward, listening) {
            self.connections.send(message);
        }
        // Where nobody debugs, a path that is dead is found out late, and this would wait as long.
        self.decide(Input::Asked);
    }

    fn on_stream_waiting(&mut self, stream: StreamId, forward: u16) {
        if let Some(target) = self.forwards.target(forward)
            && self.streams.on_waiting(stream, target, self.role)
        {
            self.announce_waiting(stream, true);
        }
    }

    /// Tells the owner how the session stands.
    pub(super) fn update_status(&mut self) {
        let mut status = Status::new(self.decisions.activity());
        status.rtt = self.connections.current().map(p2pdbg_tunnel::Tunnel::rtt);
        status.streams = self.streams.count();
        status.waiting = self.streams.waiting();
        status.debugger = self.streams.debugger();
        self.reporter.status(status);
    }

    pub(super) fn tell(&self, output: SessionOutput) {
        if self.outputs.try_send(output).is_err() {
            tracing::warn!("the owner of the session does not keep up");
        }
    }

    /// Ends everything, so that the peer hears of it at once, on whatever path there is.
    async fn say_goodbye(mut self) {
        let end = self.over.take().unwrap_or(SessionEnd::Closed);
        if !matches!(end, SessionEnd::PeerClosed | SessionEnd::Replaced) {
            self.tell(SessionOutput::Message(PeerMessage::Bye));
        }
        self.streams.abort_all(ResetCode::SESSION);
        let _ = tokio::time::timeout(GOODBYE, self.streams.broken_off()).await;
        self.connections
            .close_everything(GOODBYE, &self.ways.all_sockets())
            .await;
        // The next session may want the same ports.
        tokio::join!(self.tasks.shutdown(), self.ways.close());
        self.reporter
            .status(Status::new(p2pdbg_events::Activity::Closing));
        let _ = self.outputs.send(SessionOutput::Over(end)).await;
    }
}

/// What debuggers may attach to here, of which the session is told.
fn programs(policy: &SessionPolicy, events: mpsc::Sender<SessionEvent>) -> Programs {
    // If the session is that busy, its log says it.
    let told = move |attached| drop(events.try_send(SessionEvent::Attached(attached)));
    Programs::new(policy.attach.clone(), policy.descriptors, told)
}

#[cfg(test)]
mod tests;
