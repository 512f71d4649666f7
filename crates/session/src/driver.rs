//! The task of a session: what it owns, and the loop in which everything that happens is handled.

use std::{collections::VecDeque, time::Duration};

use p2pdbg_base::{ErrorCode, Failure, PathPolicy, Untrusted};
use p2pdbg_facts::HostFacts;
use p2pdbg_ledger::ResetCode;
use p2pdbg_net::changes::{Changes, Reason};
use p2pdbg_pairing::SessionKeys;
use p2pdbg_path::{FirstTunnel, PathCommand, PathEvent, Paths};
use p2pdbg_proto::{
    control::Role,
    signal::PeerMessage,
    tunnel::{PathKind, TunnelMessage, close},
};
use p2pdbg_tunnel::TunnelConfig;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Event, QUEUE, SessionConfig, SessionEnd, SessionInput, SessionOutput,
    calls::CallBook,
    chart::Chart,
    forwards::Forwards,
    rest::{self, Rest},
    status::StatusLine,
    streams::{Opened, Streams},
    tunnels::{self, Tunnels},
};
use crate::{stream::Connection, watch::Watcher};

/// How many messages about streams may come before the forwards do.
const EARLY: usize = 256;

/// How often the tunnels are looked at while streams move.
const LOOK: Duration = Duration::from_millis(250);

/// How often they are looked at while there are streams of which none moves.
const CALM_LOOK: Duration = Duration::from_secs(1);

/// How often they are looked at while one has not answered.
const QUICK_LOOK: Duration = Duration::from_millis(100);

/// How late a look is that was held up: this process was stopped, or had no processor.
const LATE: Duration = Duration::from_secs(1);

/// How often it is said, at most, that a tunnel is silent.
const SILENCE: Duration = Duration::from_secs(2);

/// How long streams may take to deliver what is left, when the program that they belong to has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a session without any path is tried with `--path direct`.
const NO_PATH: Duration = Duration::from_secs(60);

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(250);

/// What there is of a session before it begins.
pub(super) struct Begun {
    pub(super) paths: Paths,
    pub(super) told: Vec<PathEvent>,
    pub(super) tunnel: Option<FirstTunnel>,
}

/// The state of a session, owned by its task.
pub(super) struct Driver {
    pub(super) role: Role,
    pub(super) policy: PathPolicy,
    pub(super) resume_for: Duration,
    pub(super) keys: SessionKeys,
    /// What the peer is told of this host.
    pub(super) facts: HostFacts,
    /// What the peer told last of its own.
    pub(super) peer_facts: Option<HostFacts>,
    pub(super) paths: Paths,
    pub(super) tunnels: Tunnels,
    rest: Rest,
    pub(super) streams: Streams,
    pub(super) forwards: Forwards,
    #[cfg(unix)]
    pub(super) sources: super::sources::SourcesPart,
    /// Streams of `p2pdbg pipe` whose forwards the connector has not judged yet.
    #[cfg(unix)]
    pub(super) pipes: Vec<(u16, super::PipeRequest)>,
    pub(super) peer_name: Untrusted,
    pub(super) known: bool,
    pub(super) chart: Chart,
    pub(super) status: StatusLine,
    pub(super) outputs: mpsc::Sender<SessionOutput>,
    pub(super) events: mpsc::Sender<Event>,
    /// Tasks that end with the session.
    pub(super) tasks: JoinSet<()>,
    /// What came about streams before the forwards were known: QUIC delivers its streams in any order.
    pub(super) early: VecDeque<Event>,
    pub(super) closing: CancellationToken,
    changes: Changes,
    /// What the paths told before there was a session.
    told: Vec<PathEvent>,
    /// The first tunnel, begun before there was a session.
    begun: Option<FirstTunnel>,
    /// The listener's calls.
    pub(super) calls: CallBook,
    pub(super) searching: bool,
    /// What the traversal was told last: whether there are streams.
    streams_active: bool,
    /// When the paths and the rendezvous were told last that a tunnel is silent.
    silence_told: Option<Instant>,
    /// Since when no tunnel is heard.
    pub(super) out_of_reach_since: Option<Instant>,
    /// The same, once it has been told.
    pub(super) lost_since: Option<Instant>,
    /// Whether the streams use another tunnel than when the path was told last.
    pub(super) path_untold: bool,
    pub(super) drain_until: Option<Instant>,
    /// Open ports whose waiting connections have not been taken yet since then.
    unswept: usize,
    pub(super) began: Instant,
    pub(super) over: Option<SessionEnd>,
    pub(super) received: mpsc::Receiver<Event>,
}

impl Driver {
    pub(super) fn new(
        config: SessionConfig,
        tunnel_config: TunnelConfig,
        begun: Begun,
        outputs: mpsc::Sender<SessionOutput>,
        closing: CancellationToken,
    ) -> Self {
        let Begun {
            paths,
            told,
            tunnel,
        } = begun;
        let (events, received) = mpsc::channel(QUEUE);
        let (role, policy) = (config.paths.role, config.paths.policy);
        let tunnels = Tunnels::new(role, tunnel_config, config.keys.tunnel.clone());
        let watcher = config.inspect.then(|| {
            let wrap = |stream, report| Event::Inspected(stream, Box::new(report));
            Watcher::start(role, events.clone(), wrap)
        });
        let reporter = config.reporter.clone();
        let streams = Streams::new(role, tunnels.best(), reporter, watcher);
        let forwards = Forwards::new(&config, events.clone());
        #[cfg(unix)]
        let sources = {
            let sources = p2pdbg_sources::Sources::new(config.sources, events.clone());
            super::sources::SourcesPart::new(sources, config.reporter.clone())
        };
        let status = StatusLine::new(config.reporter, policy);
        Self {
            role,
            policy,
            resume_for: config.resume_for,
            keys: config.keys,
            facts: config.facts,
            peer_facts: None,
            paths,
            tunnels,
            rest: Rest::new(role),
            streams,
            forwards,
            #[cfg(unix)]
            sources,
            #[cfg(unix)]
            pipes: Vec::new(),
            peer_name: config.peer_name,
            known: config.known,
            chart: Chart::default(),
            status,
            outputs,
            events,
            tasks: JoinSet::new(),
            early: VecDeque::new(),
            closing,
            changes: config.paths.changes,
            told,
            begun: tunnel,
            calls: CallBook::default(),
            searching: false,
            streams_active: false,
            silence_told: None,
            out_of_reach_since: None,
            lost_since: None,
            path_untold: false,
            drain_until: None,
            unswept: 0,
            began: Instant::now(),
            over: None,
            received,
        }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<SessionInput>) {
        let closing = self.closing.clone();
        if self.role == Role::Listener {
            self.accept_tunnels();
            if let Err(failure) = self.forwards.open_ports(&mut self.tasks).await {
                self.over = Some(SessionEnd::Failed(failure));
            }
        }
        if let Some(begun) = self.begun.take() {
            self.go_on_with(begun);
        }
        for event in std::mem::take(&mut self.told) {
            self.handle_path(event);
        }
        let mut changes = self.changes.subscribe();
        let refusals = self.tunnels.refusals().clone();
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
                    if next_look.elapsed() >= LATE {
                        self.tunnels.forgive();
                    }
                    next_look = Instant::now() + self.on_tick();
                }
                reason = changes.changed() => {
                    if let Reason::Woke { .. } = reason {
                        self.tunnels.forgive();
                    }
                    self.rest.on_network_changed();
                    // The peer may have given up what stands here.
                    self.tunnels.ask();
                    next_look = Instant::now() + QUICK_LOOK;
                }
                () = refusals.noted() => next_look = next_look.min(Instant::now() + rest::WAITING),
                Some(_) = self.tasks.join_next() => {}
            }
            if !self.is_settled() {
                next_look = next_look.min(Instant::now() + rest::WAITING);
            }
            if self.note_activity() {
                // Whatever has not been heard during the rest is asked.
                next_look = Instant::now();
                #[cfg(unix)]
                self.sources.sources.on_use();
            }
        }
        self.say_goodbye().await;
    }

    /// Whether nothing is waited for that looks have to find out.
    fn is_settled(&self) -> bool {
        self.tunnels.current().is_some()
            && self.out_of_reach_since.is_none()
            && self.drain_until.is_none()
    }

    /// Has the paths watched closely while there are streams, whoever opened them. Whether there have been none before.
    fn note_activity(&mut self) -> bool {
        let active = self.streams.count() > 0;
        if active == self.streams_active {
            return false;
        }
        self.streams_active = active;
        self.tell_activity();
        active
    }

    /// Hears what the paths have told by now: how the path of a new tunnel was found, before that path is reported.
    fn catch_up_with_paths(&mut self) {
        while let Some(event) = self.paths.try_event() {
            self.handle_path(event);
        }
    }

    fn tell_activity(&self) {
        let active = self.streams_active;
        self.paths.command(PathCommand::StreamsActive(active));
    }

    pub(super) fn handle_input(&mut self, input: SessionInput) {
        match input {
            SessionInput::Introduced(introduction) => {
                self.paths.command(PathCommand::Introduced(introduction));
                if self.policy.allows_direct() && !self.searching {
                    self.searching = true;
                    let key = self.keys.punch.clone();
                    self.paths.command(PathCommand::Authenticated(key));
                    self.tell_activity();
                }
            }
            SessionInput::PeerSeen { addresses, bound } => {
                self.paths
                    .command(PathCommand::PeerSeen { addresses, bound });
            }
            SessionInput::Message(PeerMessage::Punch(signal)) => {
                self.paths.command(PathCommand::PeerSignal(signal));
            }
            SessionInput::Message(PeerMessage::NoPlace) if self.role == Role::Connector => {
                let failure =
                    Failure::new(ErrorCode::NoPlace, "the listener lets no more peers in");
                let hint = "start it with a greater --peers N, or end another p2pdbg connect to it";
                self.over = Some(SessionEnd::Failed(failure.hint(hint)));
            }
            SessionInput::Message(PeerMessage::Bye | PeerMessage::NoPlace) => {
                self.over = Some(SessionEnd::PeerClosed);
            }
            SessionInput::Message(PeerMessage::Introduce(_)) => {}
            SessionInput::PeerLeft if self.tunnels.never_up() => {
                self.over = Some(SessionEnd::PeerClosed);
            }
            SessionInput::PeerLeft => {}
            SessionInput::Replaced => self.over = Some(SessionEnd::Replaced),
            SessionInput::Describe(answer) => drop(answer.send(self.describe())),
            #[cfg(unix)]
            SessionInput::Pipe(request) => self.open_pipe(request),
            SessionInput::Drain => {
                self.drain_until = Some(Instant::now() + DRAIN);
                self.unswept = self.forwards.sweep();
                self.check_drained();
            }
        }
    }

    pub(super) fn handle_path(&mut self, event: PathEvent) {
        match event {
            PathEvent::Relay {
                socket,
                remote,
                carrier,
            } => {
                self.on_relay(carrier);
                let path = carrier.path();
                if self.role == Role::Connector && !self.tunnels.serves(path) {
                    if std::mem::take(&mut self.calls.expects) {
                        self.await_call(socket, remote, path);
                    } else {
                        self.dial(socket, remote, path);
                    }
                }
            }
            PathEvent::Direct { socket, path } => {
                self.status.on_direct(&path);
                self.on_nominated(socket, path.remote);
            }
            PathEvent::Near { .. } => {}
            PathEvent::Heard { socket, remote } => self.on_heard(&socket, remote),
            // A rendezvous that was restarted knows neither the leg nor the connection to it.
            PathEvent::RelayGone => self.tell(SessionOutput::Doubt),
            PathEvent::DirectLost(reason) => {
                self.status.on_direct_lost(reason);
                self.on_not_nominated();
                self.tunnels.close_all(PathKind::Direct, close::REPLACED);
            }
            PathEvent::Signal(signal) => {
                self.tell(SessionOutput::Message(PeerMessage::Punch(signal)))
            }
            PathEvent::Unused { technique, rtt } => self.status.on_unused(technique, rtt),
            PathEvent::Obstacle(obstacle) => self.status.on_obstacle(obstacle),
        }
    }

    pub(super) async fn handle_event(&mut self, event: Event) {
        match event {
            Event::TunnelUp(tunnel, control) => {
                self.catch_up_with_paths();
                self.on_tunnel_up(tunnel, control);
            }
            Event::DialFailed(path, error) => self.on_dial_failed(path, &error),
            Event::PathFailed(path) => self.on_path_failed(path),
            Event::Retire(epoch) => self.tunnels.close(epoch, close::REPLACED),
            Event::Unused(epoch) => self.drop_call(epoch),
            Event::TunnelEnded(epoch, why) => {
                if tunnels::is_goodbye(&why) {
                    self.over = Some(SessionEnd::PeerClosed);
                } else {
                    self.on_tunnel_ended(epoch, Untrusted::of_error(&why).as_str());
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
            Event::Swept => {
                self.unswept = self.unswept.saturating_sub(1);
                self.check_drained();
            }
            Event::Accepted(forward, connection) => {
                let local = Connection::Tcp(connection);
                let forward = Opened {
                    forward,
                    is_client: self.forwards.screen(forward).is_some(),
                };
                self.streams.open(forward, local, None, &mut self.tasks);
            }
            Event::TargetListening(forward, listening) => {
                self.forwards.note_target(forward, listening);
                self.tunnels
                    .send(TunnelMessage::TargetListening { forward, listening });
            }
            #[cfg(unix)]
            Event::Sources(told) => self.on_told(told),
            Event::Inspected(stream, report) => self.on_inspected(stream, *report),
            Event::NotCalled(socket, remote, path) => self.on_not_called(socket, remote, path),
            Event::Called(answered) => {
                self.catch_up_with_paths();
                self.on_called(answered);
            }
            Event::NotCalling => self.on_not_calling(),
            Event::OpenToNetwork(address) => self.forwards.on_open_to_network(address),
            Event::TurnedAway(forward) => self.forwards.on_turned_away(forward),
            Event::HungUp(forward) => self.forwards.on_hung_up(forward),
            Event::Reached(forward) => self.forwards.on_reached(forward, &mut self.tasks),
            Event::StreamWaiting(stream, forward) => {
                if let Some(target) = self.forwards.target(forward)
                    && self.streams.on_waiting(stream, target, self.role)
                {
                    self.announce_waiting(stream, true);
                }
            }
        }
    }

    pub(super) fn check_drained(&mut self) {
        let late = self
            .drain_until
            .is_some_and(|until| until <= Instant::now());
        let done = self.unswept == 0 && self.streams.all_delivered();
        if late || (self.drain_until.is_some() && done) {
            self.drain_until = None;
            self.tell(SessionOutput::Drained);
        }
    }

    /// Looks at everything; gives the time until the next look.
    pub(super) fn on_tick(&mut self) -> Duration {
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
        let unheard = self.rest.unheard(self.streams.count() > 0);
        let look = self.tunnels.look(unheard);
        if look.silent && self.silence_told.is_none_or(|at| at.elapsed() >= SILENCE) {
            self.silence_told = Some(Instant::now());
            self.paths.command(PathCommand::Silent);
            self.tell(SessionOutput::Doubt);
        }
        for path in &look.suspects {
            self.status.on_silent(*path);
            self.paths.command(PathCommand::Silent);
        }
        if let Some(warning) = self.tunnels.refusals().poll_warning() {
            self.status.on_refused(warning);
        }
        self.on_best_changed();
        self.chart
            .look(self.tunnels.current(), std::time::Instant::now());
        self.check_drained();
        self.update_status();
        match self.streams.count() {
            0 => {
                let settled = self.is_settled();
                self.rest.after(&look, settled)
            }
            _ if look.again_soon => QUICK_LOOK,
            _ if look.moved => LOOK,
            _ => CALM_LOOK,
        }
    }

    pub(super) fn update_status(&mut self) {
        self.status.update(
            self.tunnels.current(),
            self.lost_since,
            self.streams.count(),
            self.streams.waiting(),
            self.streams.debugger(),
        );
    }

    pub(super) fn tell(&self, output: SessionOutput) {
        if self.outputs.try_send(output).is_err() {
            tracing::warn!("the owner of the session does not keep up");
        }
    }

    /// Ends everything, so that the peer hears of it at once, on whatever path there is.
    pub(super) async fn say_goodbye(mut self) {
        let end = self.over.take().unwrap_or(SessionEnd::Closed);
        if !matches!(end, SessionEnd::PeerClosed | SessionEnd::Replaced) {
            self.tell(SessionOutput::Message(PeerMessage::Bye));
        }
        self.streams.abort_all(ResetCode::SESSION);
        let _ = tokio::time::timeout(GOODBYE, self.streams.broken_off()).await;
        self.tunnels
            .close_everything(GOODBYE, self.paths.sockets())
            .await;
        // The next session may want the same ports.
        tokio::join!(self.tasks.shutdown(), self.paths.close());
        self.status.on_over();
        let _ = self.outputs.send(SessionOutput::Over(end)).await;
    }
}
