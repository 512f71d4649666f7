//! The forwards of a session: which end opens the port, which one dials, and whether they stand.

mod accept;
mod dial;
mod entry;
mod first_word;
mod hold_or_refuse;
mod look_times;
mod report;
mod same_user;
mod target_watch;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use p2pdbg_base::{Bind, Failure, HostPort, Opened, Untrusted};
use p2pdbg_events::{Event as Report, Reporter, Warning, WarningCode};
use p2pdbg_forward::{Forward, OpenPort, Preset, Purpose, SpecFault, port_failure};
use p2pdbg_ledger::{ResetCode, StreamId};
use p2pdbg_proto::{
    rendezvous::Role,
    tunnel::{Direction, Elsewhere, ForwardOffer, ForwardState, TunnelMessage, WhileAbsent},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use self::hold_or_refuse::while_absent;
use self::{
    accept::Accepting, dial::TargetDial, entry::Entry, first_word::ClientFilter,
    hold_or_refuse::breaks_off, look_times::Usage, same_user::Gate,
};
use super::{
    debuggers_elsewhere,
    event::SessionEvent,
    forward_requests::{ForwardRequest, refusal, refuse_circle},
    session_config::SessionConfig,
    session_policy::SessionPolicy,
};
use crate::stream::Local;

/// The most forwards that a listener may ask for.
const MOST: usize = 64;

/// How many messages about streams may come before the forwards do.
const EARLY: usize = 256;

/// How many of them `p2pdbg pipe` may have added.
const MOST_ADDED: usize = 32;

pub(super) struct Forwards {
    role: Role,
    same_host: bool,
    further: bool,
    policy: Arc<SessionPolicy>,
    reporter: Reporter,
    events: mpsc::Sender<SessionEvent>,
    table: Vec<Entry>,
    told: bool,
    /// What came about streams before the forwards were known: QUIC delivers its streams in any order.
    early: VecDeque<SessionEvent>,
    /// Ports of which the person was told that other hosts can reach them.
    open_to_network: Vec<SocketAddr>,
    /// Debuggers of which the person was told that no forward leads to them.
    elsewhere: debuggers_elsewhere::Told,
    /// Tells those who look at targets how the session is used.
    usage: watch::Sender<Usage>,
}

impl Forwards {
    pub(super) fn new(config: &SessionConfig, events: mpsc::Sender<SessionEvent>) -> Self {
        Self {
            role: config.paths.role,
            same_host: config.same_host,
            further: config.further,
            policy: config.policy.clone(),
            reporter: config.reporter.clone(),
            events,
            table: config
                .forwards
                .iter()
                .enumerate()
                .map(|(index, forward)| Entry {
                    port: config.ports.get(index).cloned().flatten(),
                    ..Entry::new(forward.clone(), while_absent(forward, config.policy.absent))
                })
                .collect(),
            told: false,
            early: VecDeque::new(),
            open_to_network: Vec::new(),
            elsewhere: debuggers_elsewhere::Told::default(),
            usage: watch::Sender::default(),
        }
    }

    /// Tells of debuggers to which no forward leads, at the end that dials; returns what the other end must hear.
    pub(super) fn on_listening(&mut self, seen: &debuggers_elsewhere::Seen) -> Vec<TunnelMessage> {
        let dialled = (0..)
            .zip(&self.table)
            .filter(|(number, entry)| !entry.added && !self.opens(*number));
        let dialled = dialled.map(|(number, entry)| (number, &entry.forward));
        let mut found = debuggers_elsewhere::elsewhere(dialled, seen);
        found.retain(|one| self.elsewhere.note(one));
        for one in &found {
            if let Some(target) = self.target(one.forward) {
                debuggers_elsewhere::report(&self.reporter, self.role, target, one);
            }
        }
        found.into_iter().map(TunnelMessage::Elsewhere).collect()
    }

    /// Tells of a debugger that the other end has seen; or gives its port, if it is to be forwarded too.
    pub(super) fn on_elsewhere(&mut self, one: &Elsewhere) -> Option<(u16, Preset)> {
        let entry = self.table.get(usize::from(one.forward));
        let forward = entry.map(|entry| &entry.forward);
        if !debuggers_elsewhere::is_sound(one, forward) || !self.elsewhere.note(one) {
            return None;
        }
        let followed = self
            .target(one.forward)
            .and_then(|target| debuggers_elsewhere::followed(one, target));
        if let Some(followed) = followed.filter(|_| self.policy.follows_ports) {
            return Some(followed);
        }
        if let Some(target) = self.target(one.forward) {
            debuggers_elsewhere::report(&self.reporter, self.role, target, one);
        }
        None
    }

    /// Opens the listener's own ports, and begins to look at its own targets where that is wanted.
    ///
    /// # Errors
    /// If a port cannot be opened: the person is there to choose another.
    pub(super) async fn open_ports(&mut self, tasks: &mut JoinSet<()>) -> Result<(), Failure> {
        for index in 0..self.table.len() {
            let forward = number(index);
            let target = &self.table[index].forward.target;
            if !self.opens(forward) {
                self.policy.allow.require(target)?;
            }
            if self.opens(forward) && !self.table[index].refuses() {
                self.open(forward, tasks)
                    .await
                    .map_err(|error| port_failure(&self.table[index].forward, &error))?;
            } else if !self.opens(forward) && self.table[index].refuses() {
                self.look_at_target(forward, tasks);
            }
        }
        Ok(())
    }

    /// What the other end must hear on each new tunnel, and on one that the streams move to.
    pub(super) fn announcements(&self) -> Vec<TunnelMessage> {
        let mut messages = Vec::new();
        if self.role == Role::Listener {
            let offers = (0..).zip(&self.table);
            let offers = offers.map(|(n, entry)| entry.forward.to_offer(n, entry.while_absent));
            messages.push(TunnelMessage::Forwards(offers.collect()));
        }
        for (forward, entry) in (0..).zip(&self.table) {
            if self.role == Role::Connector
                && let Some(state) = entry.state.clone()
            {
                messages.push(TunnelMessage::ForwardState { forward, state });
            }
            if let (false, Some(listening), Some(number)) = (
                self.opens(forward),
                *entry.listening.borrow(),
                entry.latest.said(),
            ) {
                messages.push(TunnelMessage::TargetListening {
                    forward,
                    listening,
                    number,
                });
            }
        }
        if self.role == Role::Connector {
            messages.extend(self.elsewhere.announcements());
        }
        messages
    }

    /// Takes the listener's offers, at the connector: opens ports, judges targets. Returns what to answer.
    ///
    /// The offers come again on every tunnel. A session's forwards do not change; but more may follow those that there
    /// were, for the streams of `p2pdbg pipe`.
    ///
    /// # Errors
    /// If an offer does not parse: the listener has misbehaved.
    pub(super) async fn accept(
        &mut self,
        mut offers: Vec<ForwardOffer>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Vec<TunnelMessage>, SpecFault> {
        offers.truncate(MOST);
        let known = self.table.len();
        if self.told && offers.len() <= known {
            return Ok(Vec::new());
        }
        let entries = offers.iter().skip(known).map(|offer| {
            Forward::from_offer(offer).map(|forward| Entry::new(forward, offer.while_absent))
        });
        let new: Vec<Entry> = entries.collect::<Result<_, _>>()?;
        self.table.extend(new);
        // Those of debuggers first, and so told first: whoever wants a debugger takes the first forward it hears of.
        let mut order: Vec<usize> = (known..self.table.len()).collect();
        order.sort_by_key(|index| self.table[*index].forward.preset().is_none());
        for index in order {
            let state = self.set_up(number(index), tasks).await;
            self.table[index].state = Some(state);
        }
        let is_watched_for = |entry: &Entry| {
            entry.forward.direction == Direction::ToDebuggee
                && debuggers_elsewhere::can_be_told(&entry.forward)
        };
        if self.table.iter().any(is_watched_for) {
            let watch = debuggers_elsewhere::watch(self.events.clone(), SessionEvent::Listening);
            self.elsewhere.watch_by(|| tasks.spawn(watch));
        }
        Ok(self.announcements())
    }

    async fn set_up(&mut self, forward: u16, tasks: &mut JoinSet<()>) -> ForwardState {
        let entry = &self.table[usize::from(forward)];
        let Forward { bind, target, .. } = entry.forward.clone();
        if self.same_host && target.is_loopback() && bind.port == target.port {
            let port = target.port;
            let why = format!(
                "both ends are on one host, where port {port} cannot be opened twice; use two ports, as in \
                 -L {}:localhost:{port}",
                u32::from(port) + 10_000
            );
            return ForwardState::Failed(why);
        }
        if !self.opens(forward) {
            if !self.policy.allow.permits(&target) {
                self.warn_not_allowed(&target);
                return ForwardState::NotAllowed;
            }
            if entry.refuses() {
                self.look_at_target(forward, tasks);
            }
            self.report_forward(forward, None);
            return ForwardState::Up {
                listen: String::new(),
            };
        }
        if !self.policy.allow.permits_bind(&bind) {
            self.warn_not_allowed(&bind);
            return ForwardState::NotAllowed;
        }
        if entry.refuses() {
            self.report_awaited(forward);
            return ForwardState::Up {
                listen: String::new(),
            };
        }
        match self.open(forward, tasks).await {
            Ok(listen) => ForwardState::Up { listen },
            Err(error) => {
                let failure = port_failure(&self.table[usize::from(forward)].forward, &error);
                let mut warning = Warning::new(WarningCode::ForwardFailed, failure.message);
                warning.hint = failure.hint;
                self.reporter.emit(Report::Warning(warning));
                match error.kind() {
                    std::io::ErrorKind::AddrInUse => ForwardState::PortInUse,
                    _ => ForwardState::Failed(error.to_string()),
                }
            }
        }
    }

    /// Hears, at the listener, what became of a forward at the connector.
    pub(super) fn on_state(&mut self, forward: u16, state: ForwardState) {
        let opens = self.opens(forward);
        let Some(entry) = self.table.get_mut(usize::from(forward)) else {
            return;
        };
        if entry.state.as_ref() == Some(&state) {
            return;
        }
        entry.state = Some(state.clone());
        if entry.added {
            // Whoever asked for it is told.
            return;
        }
        let Forward { bind, target, .. } = &entry.forward;
        let (port, target) = (bind.port, target.clone());
        let warning = match state {
            ForwardState::Up { listen } => {
                if !opens {
                    let listen: Option<HostPort> = listen.parse().ok();
                    if let Some(listen) = &listen {
                        // It may be another port than was asked for.
                        entry.forward.bind.port = listen.port;
                    }
                    self.report_forward(forward, listen.map(Opened::from));
                } else {
                    self.report_awaited(forward);
                }
                return;
            }
            ForwardState::PortInUse => Warning::new(
                WarningCode::ForwardFailed,
                format!("port {port} is in use on the debuggee's host"),
            )
            .hint("end what listens there, or forward another port"),
            ForwardState::NotAllowed => {
                let (what, allowed) = if opens {
                    (target.to_string(), target.to_string())
                } else {
                    (format!("port {port}"), format!("HOST:{port}"))
                };
                let hint = format!(
                    "only its loopback is, unless p2pdbg connect is run there with --allow {allowed}"
                );
                Warning::new(
                    WarningCode::TargetNotAllowed,
                    format!("the debuggee's host does not allow {what} to be used"),
                )
                .hint(hint)
            }
            ForwardState::Failed(why) => Warning::new(
                WarningCode::ForwardFailed,
                format!(
                    "the forward of port {port} failed there: {}",
                    Untrusted::limited(&why, 300)
                ),
            ),
        };
        self.reporter.emit(Report::Warning(warning));
    }

    /// The forwards that stand, once, when the fate of all is known.
    pub(super) fn newly_standing(&mut self) -> Option<Vec<Forward>> {
        if self.told || self.table.iter().any(|entry| entry.state.is_none()) {
            return None;
        }
        self.told = true;
        let standing = self.table.iter().filter(|entry| entry.stands());
        Some(standing.map(|entry| entry.forward.clone()).collect())
    }

    /// Whether this end knows the forwards: the connector learns them from the listener.
    pub(super) fn are_known(&self) -> bool {
        self.role == Role::Listener || self.told
    }

    /// Keeps what cannot be understood before the forwards are known. What is too much is dropped, and its stream with
    /// it.
    pub(super) fn keep_until_known(&mut self, event: SessionEvent) {
        if self.early.len() < EARLY {
            self.early.push_back(event);
        }
    }

    /// The next of what was kept, once it can be understood.
    pub(super) fn next_kept(&mut self) -> Option<SessionEvent> {
        self.early
            .pop_front_if(|_| self.told || self.role == Role::Listener)
    }

    /// Adds a forward to a target at the connector, for which no port is opened; its number, and whether it is new.
    /// `None` if there are as many as there may be.
    pub(super) fn add(&mut self, target: &HostPort) -> Option<(u16, bool)> {
        let is_it = |entry: &Entry| entry.added && entry.forward.target == *target;
        if let Some(index) = self.table.iter().position(is_it) {
            return Some((number(index), false));
        }
        let added = self.table.iter().filter(|entry| entry.added).count();
        if self.table.len() >= MOST || added >= MOST_ADDED {
            return None;
        }
        let forward = Forward {
            direction: Direction::ToDebuggee,
            bind: Bind::loopback(0),
            socket: None,
            target: target.clone(),
            purpose: Purpose::Anything,
        };
        self.table.push(Entry {
            added: true,
            ..Entry::new(forward, WhileAbsent::Hold)
        });
        Some((number(self.table.len() - 1), true))
    }

    /// Adds a forward to a debugger of the connector's, with a port here that opens once the connector has agreed;
    /// false if that cannot be, which is told.
    pub(super) fn ask(&mut self, request: ForwardRequest) -> bool {
        let bind = Bind::loopback(request.port);
        // What connects to its IDE by itself would have this end dial whatever the port is.
        let leads_there = request.debugger.direction() == Direction::ToDebuggee;
        let opened = match self.table.len() < MOST {
            _ if !leads_there => Err(std::io::Error::other("that debugger connects to its IDE")),
            true => OpenPort::open(bind).or_else(|_| OpenPort::open_above(bind, |_| true)),
            false => Err(std::io::Error::other("the session has too many forwards")),
        };
        let mut forward = Forward::of_preset(request.debugger, request.port);
        let standing = self.table.iter().filter(|entry| entry.stands());
        let opened = opened.map_err(|error| port_failure(&forward, &error));
        let opened = opened.and_then(|port| {
            forward.bind.port = port.port();
            refuse_circle(&forward, standing.map(|entry| &entry.forward)).map(|()| port)
        });
        match opened {
            Ok(port) => {
                let entry = Entry::new(forward, WhileAbsent::Hold);
                self.table.push(Entry {
                    port: Some(Arc::new(port)),
                    asked: Some(request),
                    ..entry
                });
                true
            }
            Err(failure) => {
                drop(request.opened.send(Err(failure)));
                false
            }
        }
    }

    /// Opens the port of a forward that was asked for, if that is what was settled, and tells who asked.
    pub(super) async fn settle_asked(&mut self, forward: u16, tasks: &mut JoinSet<()>) {
        let entry = self.table.get_mut(usize::from(forward));
        let asked = entry.and_then(|entry| Some((entry.asked.take()?, entry.state.clone()?)));
        let Some((request, state)) = asked else {
            return;
        };
        let answer = match state {
            ForwardState::Up { .. } => match self.open(forward, tasks).await {
                Ok(listen) => listen
                    .parse()
                    .map_err(|_| Failure::new(p2pdbg_base::ErrorCode::Internal, listen)),
                Err(error) => Err(port_failure(
                    &self.table[usize::from(forward)].forward,
                    &error,
                )),
            },
            state => {
                // Nobody will ever accept there, and the next who asks may want that number.
                self.table[usize::from(forward)].port = None;
                Err(refusal(&state, &HostPort::loopback(request.port)))
            }
        };
        let _ = request.opened.send(answer);
    }

    /// What the connector has made of a forward.
    pub(super) fn state(&self, forward: u16) -> Option<&ForwardState> {
        self.table.get(usize::from(forward))?.state.as_ref()
    }

    /// The debugger that a forward is for.
    pub(super) fn preset(&self, forward: u16) -> Option<Preset> {
        self.table.get(usize::from(forward))?.forward.preset()
    }

    /// The port of this host at which the IDE of a forward listens, if that is how it is.
    pub(super) fn ide_port(&self, forward: u16) -> Option<u16> {
        let target = self.target(forward)?;
        let is_here = self.role == Role::Listener && !self.opens(forward);
        (is_here && target.is_loopback()).then_some(target.port)
    }

    /// What a forward dials at its far end; none of a number that is not known.
    pub(super) fn target(&self, forward: u16) -> Option<&HostPort> {
        let entry = self.table.get(usize::from(forward))?;
        Some(&entry.forward.target)
    }

    /// The local end of a stream that the peer opened: the target is dialled for as long as it takes, if this end is
    /// the one that dials for that forward.
    pub(super) fn dial(&self, stream: StreamId, forward: u16) -> Local {
        let entry = self.table.get(usize::from(forward));
        let entry = entry.filter(|_| !self.opens(forward));
        let allowed = |target: &HostPort| self.policy.allow.permits(target);
        let dialled = entry.filter(|entry| allowed(&entry.forward.target));
        let Some(entry) = dialled else {
            return Local::Dialing(Box::pin(async { Err(ResetCode::NOT_ALLOWED) }));
        };
        let dial = TargetDial {
            stream,
            forward,
            target: entry.forward.target.clone(),
            turns: Arc::clone(&entry.turns),
            absence: breaks_off(&entry.forward, entry.while_absent)
                .then(|| entry.listening.subscribe()),
            events: self.events.clone(),
        };
        if ClientFilter::of(&entry.forward).is_none() {
            return Local::Dialing(dial.dial());
        }
        Local::Debuggee(Box::new(move |pause| {
            let dial = dial.clone();
            Box::pin(async move {
                if let Some(pause) = pause {
                    let _ = dial.events.try_send(SessionEvent::HungUp(forward));
                    let _ = dial
                        .events
                        .try_send(SessionEvent::StreamWaiting(stream, forward));
                    tokio::time::sleep(pause).await;
                }
                dial.dial().await
            })
        }))
    }

    /// What the connections to the port of a forward are asked for, if this end opens it for a debugger's clients.
    pub(super) fn client_filter(&self, forward: u16) -> Option<ClientFilter> {
        let entry = self.table.get(usize::from(forward));
        ClientFilter::of(&entry.filter(|_| self.opens(forward))?.forward)
    }

    /// Whether this end opens the port of a forward; the other end dials.
    fn opens(&self, forward: u16) -> bool {
        let direction = self
            .table
            .get(usize::from(forward))
            .map(|entry| entry.forward.direction);
        matches!(
            (self.role, direction),
            (Role::Listener, Some(Direction::ToDebuggee))
                | (Role::Connector, Some(Direction::ToIde))
        )
    }

    /// Opens the port of a forward and accepts on it from now on. Returns its address.
    async fn open(&mut self, forward: u16, tasks: &mut JoinSet<()>) -> std::io::Result<String> {
        let gate = Gate {
            filter: self.client_filter(forward),
            same_user: self.policy.same_user,
        };
        let policy = Arc::clone(&self.policy);
        let is_peers = self.role == Role::Connector;
        // Asked here, where ports open, so that no message of the peer leads past it.
        let may_open = |bind: &Bind| !is_peers || policy.allow.permits_bind(bind);
        let entry = &mut self.table[usize::from(forward)];
        if !may_open(&entry.forward.bind) {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        let port = match entry.port.take() {
            Some(port) => port,
            None => {
                let bind = entry.forward.bind;
                let opened = match OpenPort::of(&entry.forward) {
                    // The next one is as good for a program that asks where to go.
                    Err(error)
                        if error.kind() == std::io::ErrorKind::AddrInUse
                            && self.further
                            && is_peers =>
                    {
                        let may = |port| may_open(&Bind { port, ..bind });
                        OpenPort::open_above(bind, may).inspect(|port| {
                            let message = format!(
                                "port {} is in use here, so {} is open in its place",
                                bind.port,
                                port.port()
                            );
                            let warning = Warning::new(WarningCode::PortMoved, message).hint(
                                "let the debuggee connect there, as DEBUGGER_PORT tells a COMMAND",
                            );
                            self.reporter.emit(Report::Warning(warning));
                        })
                    }
                    opened => opened,
                };
                Arc::new(opened?)
            }
        };
        let (number, opened) = (port.port(), port.opened());
        if let Some(error) = port.missing_family() {
            let warning = Warning::new(
                WarningCode::OneFamily,
                format!("port {number} is open for IPv4 only: {error}"),
            );
            self.reporter.emit(Report::Warning(warning));
        }
        entry.forward.bind.port = number;
        let accepting = Accepting::begin(port, forward, gate, self.events.clone(), tasks);
        entry.accepting = Some(accepting);
        self.report_forward(forward, Some(opened.clone()));
        Ok(opened.to_string())
    }

    /// Has the connections taken that wait in the kernel at the open ports; how many times [`SessionEvent::Swept`]
    /// follows.
    pub(super) fn sweep(&self) -> usize {
        let accepting = self.table.iter().filter_map(|e| e.accepting.as_ref());
        accepting.filter(|accepting| accepting.sweep()).count()
    }
}

/// Forwards are numbered by their place; there are never more than [`MOST`].
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
