//! What `listen` and `connect` have in common: this host's identity and known peers, the meeting, and the session
//! that comes of it.

use std::{sync::Arc, time::SystemTime};

use p2pdbg_identity::{Identity, StateDir, StateError};
use p2pdbg_wire::control::Role;
use tokio::sync::mpsc;

use super::inquiries::Inquiries;
use crate::{
    cli::SessionOptions,
    control::snapshot::ProcessState,
    facts::HostFacts,
    failure::{ErrorCode, Failure},
    forward::{Direction, Forward, OpenPort, port_failure},
    meeting::{Meeting, MeetingCommand, MeetingConfig, MeetingEvent, MeetingPoint, Met, Whom},
    net::{changes::Changes, stun_servers::FurtherServers},
    pairing::{KnownPeer, KnownPeers},
    path::SEARCH_LOCK,
    peer_name::PeerName,
    policy::{Absent, PathPolicy},
    recent::RecentSession,
    rendezvous::{TcpRoute, Transports},
    report::{
        Activity, Event, Reporter, Status, Untrusted, Waiting, WaitingFor, Warning, WarningCode,
    },
    same_host::host_tag,
    session::{Session, SessionConfig, SessionEnd, SessionInput, SessionOutput, refuses},
};

/// How many of a session's outputs may wait.
const OUTPUTS: usize = 256;

/// This host in its part of a session.
pub(super) struct Host {
    role: Role,
    options: SessionOptions,
    identity: Arc<Identity>,
    peers: KnownPeers,
    facts: HostFacts,
    state: StateDir,
    /// What `p2pdbg ide` reads; of a listener alone.
    recent: Option<RecentSession>,
    reporter: Reporter,
    /// How the rendezvous is reached over TCP.
    route: TcpRoute,
    changes: Changes,
    further_stun: Arc<FurtherServers>,
    absent: Option<Absent>,
    forwards: Vec<Forward>,
    /// Open from the start to the end, whichever sessions there are meanwhile: an IDE that comes early is held.
    ports: Vec<Option<Arc<OpenPort>>>,
    meeting: Option<Meeting>,
    /// The peer's name, for as long as one is known.
    peer: Option<PeerName>,
    session: Option<Running>,
    reached: bool,
    /// How far it has come while there is no session.
    stage: ProcessState,
    pub(super) inquiries: Inquiries,
}

struct Running {
    session: Session,
    outputs: mpsc::Receiver<SessionOutput>,
}

/// What a command must decide itself.
pub(super) enum HostEvent {
    /// This code leads here now.
    Code(p2pdbg_wire::code::Code),
    /// The forwards stand.
    Ready(Vec<Forward>),
    /// The session is over.
    Over(SessionEnd),
}

impl Host {
    /// Opens the state directory.
    pub(super) fn open(
        role: Role,
        options: SessionOptions,
        mut forwards: Vec<Forward>,
        absent: Option<Absent>,
        facts: HostFacts,
        reporter: Reporter,
    ) -> Result<Self, Failure> {
        // What the command line forbids itself is said before a code is shown.
        for forward in &forwards {
            if forward.direction == Direction::ToIde {
                options.allow.require(&forward.target)?;
            }
        }
        let state = StateDir::open(options.state.as_deref(), "p2pdbg").map_err(state_failure)?;
        let identity = Arc::new(state.identity().map_err(state_failure)?);
        let peers = KnownPeers::load(&state).map_err(state_failure)?;
        let ports = open_ports(&mut forwards, absent)?;
        let recent =
            (role == Role::Listener).then(|| RecentSession::begin(facts.clone(), &forwards));
        let further_stun = Arc::new(FurtherServers::look_up(&options.stun));
        let route = TcpRoute::new(&options.rendezvous);
        let host = Self {
            role,
            options,
            identity,
            peers,
            facts,
            state,
            recent,
            route,
            reporter,
            changes: Changes::of_this_host(),
            further_stun,
            absent,
            forwards,
            ports,
            meeting: None,
            peer: None,
            session: None,
            reached: false,
            stage: ProcessState::ReachingRendezvous,
            inquiries: Inquiries::open(),
        };
        host.write_recent();
        Ok(host)
    }

    /// The known peer of that name.
    pub(super) fn known_peer(&self, name: &PeerName) -> Result<KnownPeer, Failure> {
        self.peers.get(name).ok_or_else(|| {
            let known: Vec<_> = self.peers.names().map(PeerName::to_string).collect();
            let hint = match known.is_empty() {
                true => "pair with it by code first; no peer is known yet".to_owned(),
                false => format!(
                    "pair with it by code first; known are: {}",
                    known.join(", ")
                ),
            };
            Failure::new(
                ErrorCode::PeerUnknown,
                format!("no peer called {name} is known"),
            )
            .hint(hint)
        })
    }

    /// The peer that this code has led to before, if it has.
    pub(super) fn peer_of_code(&self, code: &p2pdbg_wire::code::Code) -> Option<KnownPeer> {
        self.peers.find_by_code(code)
    }

    /// Goes to the rendezvous to meet a peer.
    pub(super) fn meet(&mut self, whom: Whom) {
        if let Whom::Known(peer) = &whom {
            self.peer = Some(peer.name.clone());
        }
        self.note_peer();
        let authority = self.options.rendezvous.authority();
        self.reporter
            .status(Status::new(Activity::ReachingRendezvous(authority)));
        self.meeting = Some(Meeting::start(MeetingConfig {
            rendezvous: self.options.rendezvous.clone(),
            role: self.role,
            identity: Arc::clone(&self.identity),
            name: self.options.name.clone(),
            whom,
            route: self.route.clone(),
            transports: match self.options.path {
                PathPolicy::RelayTcp => Transports::Tcp,
                _ => Transports::Any,
            },
            changes: self.changes.clone(),
            path: self.options.path,
            traversal: self.options.traversal,
            search_lock: self.state.path().join(SEARCH_LOCK),
            further_stun: Arc::clone(&self.further_stun),
        }));
    }

    /// Carries on until there is something to decide.
    ///
    /// # Errors
    /// When there is no more to be done.
    pub(super) async fn event(&mut self) -> Result<HostEvent, Failure> {
        loop {
            let event = tokio::select! {
                event = next_meeting_event(&mut self.meeting) => self.handle_meeting(event).await?,
                output = next_output(&mut self.session) => self.handle_output(output),
                inquiry = self.inquiries.next() => {
                    self.answer(inquiry);
                    None
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    async fn handle_meeting(
        &mut self,
        event: Option<MeetingEvent>,
    ) -> Result<Option<HostEvent>, Failure> {
        let Some(event) = event else {
            self.meeting = None;
            return Ok(None);
        };
        match event {
            MeetingEvent::LinkUp => {
                self.reached = true;
                self.stage = ProcessState::AwaitingPeer;
                if self.session.is_none() {
                    self.await_peer();
                }
            }
            MeetingEvent::LinkDown(error) if !self.reached => return Err(error.into()),
            MeetingEvent::LinkDown(error) => {
                self.stage = ProcessState::ReachingRendezvous;
                if self.session.is_none() {
                    let authority = self.options.rendezvous.authority();
                    self.reporter
                        .status(Status::new(Activity::ReachingRendezvous(authority)));
                    self.reporter.emit(Event::Waiting(Waiting {
                        awaited: WaitingFor::Rendezvous,
                        at: None,
                    }));
                }
                let warning = Warning::new(WarningCode::RendezvousLost, error.to_string());
                self.reporter.emit(Event::Warning(warning));
            }
            MeetingEvent::Code(code) => return Ok(Some(HostEvent::Code(code))),
            MeetingEvent::CodeBurned => {
                let message = "somebody tried the code with a wrong word, so it is burned";
                let warning = Warning::new(WarningCode::CodeBurned, message)
                    .hint("use the new code; if it was not a typing error, somebody is guessing");
                self.reporter.emit(Event::Warning(warning));
            }
            MeetingEvent::Pairing => {
                self.stage = ProcessState::Pairing;
                if self.session.is_none() {
                    self.reporter.status(Status::new(Activity::Pairing));
                }
            }
            MeetingEvent::PairingFailed(failure) => {
                tracing::info!(%failure, "an exchange failed");
                self.stage = ProcessState::AwaitingPeer;
                if self.session.is_none() {
                    self.await_peer();
                }
            }
            MeetingEvent::Met(met) => self.begin_session(*met).await?,
            MeetingEvent::Introduced(at) => self.tell_session(self.introduced(at)),
            MeetingEvent::PeerSeen(addresses) => {
                self.tell_session(SessionInput::PeerSeen(addresses));
            }
            MeetingEvent::PeerLeft => self.tell_session(SessionInput::PeerLeft),
            MeetingEvent::Message(message) => self.tell_session(SessionInput::Message(message)),
            MeetingEvent::Failed(failure) => {
                self.meeting = None;
                if self.session.is_none() {
                    return Err(failure);
                }
                let mut warning = Warning::new(WarningCode::RendezvousLost, failure.message);
                warning.hint = failure.hint;
                self.reporter.emit(Event::Warning(warning));
            }
        }
        Ok(None)
    }

    fn await_peer(&self) {
        self.reporter.status(Status::new(Activity::AwaitingPeer));
        if self.role == Role::Connector || self.peer.is_some() {
            self.reporter.emit(Event::Waiting(Waiting {
                awaited: WaitingFor::Peer,
                at: None,
            }));
        }
    }

    async fn begin_session(&mut self, met: Met) -> Result<(), Failure> {
        if let Some(old) = self.session.take() {
            // The same peer, or another, has come with a new process: the old one's connections are gone.
            let warning = Warning::new(
                WarningCode::PeerRestarted,
                "the peer has come back as a new process; its old connections are reset",
            );
            self.reporter.emit(Event::Warning(warning));
            old.session.replace().await;
        }
        self.remember(&met);
        self.note_peer();
        let known = met.pair_secret.is_none();
        let peer = match &self.peer {
            Some(name) => Untrusted::new(name.as_str()),
            None => Untrusted::new(&met.info.name),
        };
        self.stage = ProcessState::AwaitingPeer;
        self.reporter.emit(Event::Paired {
            peer: peer.clone(),
            known,
        });
        let (report, outputs) = mpsc::channel(OUTPUTS);
        let config = SessionConfig {
            role: self.role,
            identity: Arc::clone(&self.identity),
            peer: met.peer,
            keys: met.keys,
            same_host: met.info.host == host_tag(),
            forwards: self.forwards.clone(),
            ports: self.ports.clone(),
            absent: self.absent,
            allow: self.options.allow.clone(),
            path: self.options.path,
            traversal: self.options.traversal,
            search_lock: self.state.path().join(SEARCH_LOCK),
            resume_for: self.options.resume_for,
            facts: self.facts.clone(),
            route: self.route.clone(),
            sources: self.options.sources.clone(),
            changes: self.changes.clone(),
            approach: met.approach,
            reporter: self.reporter.clone(),
            inspect: self.options.inspect,
            peer_name: peer,
            known,
        };
        let session = Session::start(config, report)?;
        session.input(self.introduced(met.at));
        self.session = Some(Running { session, outputs });
        Ok(())
    }

    /// Keeps the peer for the next time; a state directory that cannot be written costs no more than that.
    fn remember(&mut self, met: &Met) {
        let now = SystemTime::now();
        let Some(secret) = &met.pair_secret else {
            if let Some(name) = &self.peer
                && let Err(error) = self.peers.seen(name, now)
            {
                tracing::warn!(%error, "cannot note when the peer was met");
            }
            return;
        };
        let proposed = PeerName::nearest(&met.info.name);
        let remembered = self
            .peers
            .remember(&proposed, met.peer, secret, met.code.as_ref(), now);
        let name = match remembered {
            Ok(remembered) => {
                if remembered.name_was_taken {
                    let message = format!(
                        "the peer calls itself {proposed}, as another one does: here it is known as {}",
                        remembered.name
                    );
                    let warning = Warning::new(WarningCode::NameTaken, message);
                    self.reporter.emit(Event::Warning(warning));
                }
                remembered.name
            }
            Err(error) => {
                let message = format!("the peer is not remembered: {error}");
                let warning = Warning::new(WarningCode::PeerNotRemembered, message)
                    .hint("a code is needed the next time too");
                self.reporter.emit(Event::Warning(warning));
                proposed
            }
        };
        let peer = KnownPeer {
            name: name.clone(),
            fingerprint: met.peer,
            secret: secret.clone(),
            last_seen: now,
        };
        self.peer = Some(name);
        self.tell_meeting(MeetingCommand::Remember(Box::new(peer)));
    }

    fn handle_output(&mut self, output: Option<SessionOutput>) -> Option<HostEvent> {
        match output {
            Some(SessionOutput::Message(message)) => {
                self.tell_meeting(MeetingCommand::Message(message));
                None
            }
            Some(SessionOutput::Facts(facts)) => {
                if let Some(recent) = &mut self.recent {
                    recent.there = Some(facts.clone());
                }
                self.write_recent();
                self.reporter.emit(Event::Facts(facts));
                None
            }
            Some(SessionOutput::Ready(forwards)) => Some(HostEvent::Ready(forwards)),
            Some(SessionOutput::Over(end)) => {
                self.session = None;
                self.tell_meeting(MeetingCommand::SessionOver);
                Some(HostEvent::Over(end))
            }
            Some(SessionOutput::Doubt) => {
                self.tell_meeting(MeetingCommand::Doubt);
                None
            }
            Some(SessionOutput::Drained) => None,
            None => {
                self.session = None;
                None
            }
        }
    }

    /// Waits for the peer to come again.
    pub(super) fn await_return(&self) {
        self.await_peer();
    }

    /// Lets the streams deliver what is left of connections that have ended here.
    pub(super) async fn drain(&mut self) {
        let Some(running) = &mut self.session else {
            return;
        };
        running.session.input(SessionInput::Drain);
        loop {
            match next_output(&mut self.session).await {
                Some(SessionOutput::Drained) | None => return,
                output => {
                    if let Some(HostEvent::Over(_)) = self.handle_output(output) {
                        return;
                    }
                }
            }
        }
    }

    /// Notes for `p2pdbg ide` who the peer is.
    fn note_peer(&mut self) {
        if let (Some(recent), Some(name)) = (&mut self.recent, &self.peer) {
            recent.set_peer(name);
            self.write_recent();
        }
    }

    /// A file that cannot be written costs no session.
    fn write_recent(&self) {
        if let Some(Err(error)) = self.recent.as_ref().map(|recent| recent.write(&self.state)) {
            tracing::warn!(%error, "cannot note the session for p2pdbg ide");
        }
    }

    /// Ends everything; the peer is told at once.
    pub(super) async fn close(mut self) {
        if let Some(recent) = &mut self.recent {
            recent.ended = true;
            self.write_recent();
        }
        if let Some(Running {
            session,
            mut outputs,
        }) = self.session.take()
        {
            let last_words = async {
                while let Some(output) = outputs.recv().await {
                    if let SessionOutput::Message(message) = output {
                        self.tell_meeting(MeetingCommand::Message(message));
                    }
                }
            };
            tokio::join!(session.close(), last_words);
        }
        if let Some(meeting) = self.meeting.take() {
            meeting.close().await;
        }
    }

    fn introduced(&self, at: MeetingPoint) -> SessionInput {
        SessionInput::Introduced {
            leg: at.leg,
            rendezvous: at.rendezvous,
            stun: at.stun,
            peer_seen: at.peer_seen,
            peer_bound: at.peer_bound,
            over_tcp: at.over_tcp,
        }
    }

    /// This host's part.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Where the peers meet.
    pub(super) fn rendezvous(&self) -> String {
        self.options.rendezvous.authority()
    }

    /// How far it has come while there is no session.
    pub(super) fn stage(&self) -> ProcessState {
        self.stage
    }

    /// Whether there is a session.
    pub(super) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn tell_session(&self, input: SessionInput) {
        if let Some(running) = &self.session {
            running.session.input(input);
        }
    }

    fn tell_meeting(&self, command: MeetingCommand) {
        if let Some(meeting) = &self.meeting {
            meeting.command(command);
        }
    }
}

/// Opens the ports beside the IDE, before anything else can go wrong because of them.
fn open_ports(
    forwards: &mut [Forward],
    absent: Option<Absent>,
) -> Result<Vec<Option<Arc<OpenPort>>>, Failure> {
    let open = |forward: &mut Forward| {
        if forward.direction == Direction::ToIde || refuses(forward, absent) {
            return Ok(None);
        }
        let port = OpenPort::open(forward.bind).map_err(|e| port_failure(forward, &e))?;
        forward.bind.port = port.address().port();
        Ok(Some(Arc::new(port)))
    };
    forwards.iter_mut().map(open).collect()
}

async fn next_meeting_event(meeting: &mut Option<Meeting>) -> Option<MeetingEvent> {
    match meeting {
        Some(meeting) => meeting.event().await,
        None => std::future::pending().await,
    }
}

async fn next_output(session: &mut Option<Running>) -> Option<SessionOutput> {
    match session {
        Some(running) => running.outputs.recv().await,
        None => std::future::pending().await,
    }
}

fn state_failure(error: StateError) -> Failure {
    Failure::new(ErrorCode::StateDir, error.to_string())
}
