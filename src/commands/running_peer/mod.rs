//! What `listen` and `connect` have in common: this host's identity and known peers, the meeting, and the sessions
//! that come of it.
//!
//! A `connect` has one session, a `listen` as many as it has [`places`]; each has keys, paths and streams of its own,
//! and what happens to one is nothing to the others. Here is what all share; `arrivals` is what the meeting tells,
//! `running` what the sessions tell.

mod absence;
mod arrivals;
mod control_socket;
mod peer_names;
mod places;
mod running;

use std::{path::Path, sync::Arc, time::Instant};

use p2pdbg_base::{ErrorCode, Failure, PathPolicy, PeerName};
use p2pdbg_events::{
    Activity, Event, Reporter, Status, Warning, WarningCode,
    snapshot::{ProcessState, SessionSnapshot},
};
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Direction, Forward};
use p2pdbg_identity::{Identity, StateDir, StateError};
use p2pdbg_meeting::{Awaited, Meeting, MeetingCommand, MeetingConfig, MeetingEvent, Whom};
use p2pdbg_net::{changes::Changes, deadline::sleep_until, stun_servers::FurtherServers};
use p2pdbg_pairing::{KnownPeer, KnownPeers, ProcessNumber};
use p2pdbg_path::{PathContext, SEARCH_LOCK};
use p2pdbg_proto::rendezvous::Role;
use p2pdbg_rendezvous_client::{NodeMemory, TcpRoute, Transports};
use p2pdbg_session::{SessionEnd, SessionInput};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use self::control_socket::Inquiries;
use self::{absence::Absence, peer_names::PeerNames, places::Places, running::Running};
use crate::{
    cli::{Given, PeersOptions, SessionOptions},
    recent_sessions::{self, RecentSession},
};

/// What sessions that end may have to say to their peers and nobody has passed on yet.
const LAST_WORDS: usize = 16;

/// What this process is to all its peers, and stays.
struct Here {
    role: Role,
    options: SessionOptions,
    identity: Arc<Identity>,
    /// Which of this host's processes this is.
    process: ProcessNumber,
    /// What the peers are told of it.
    facts: HostFacts,
    state: StateDir,
    /// How the rendezvous is reached over TCP.
    route: TcpRoute,
    changes: Changes,
    further_stun: Arc<FurtherServers>,
}

impl Here {
    /// What holds for the paths to all peers.
    fn paths(&self) -> PathContext {
        PathContext {
            role: self.role,
            policy: self.options.path,
            traversal: self.options.traversal,
            search_lock: self.state.path().join(SEARCH_LOCK),
            route: self.route.clone(),
            changes: self.changes.clone(),
        }
    }
}

/// This host in its part of sessions.
pub(super) struct RunningPeer {
    here: Here,
    known_peers: KnownPeers,
    reporter: Reporter,
    places: Places,
    /// Whether a code is made for whoever has no place yet.
    makes_codes: bool,
    peer_names: PeerNames,
    meeting: Option<Meeting>,
    /// Why there is no meeting any more.
    parted: Option<Failure>,
    sessions: Vec<Running>,
    reached: bool,
    /// How far it has come while there is no session.
    stage: ProcessState,
    inquiries: Inquiries,
}

/// What a command must decide itself.
pub(super) enum RunningPeerEvent {
    /// The rendezvous hands out the program, by a script with this SHA-256. Comes before the code.
    Offered([u8; 32]),
    /// This code leads here now.
    Code(p2pdbg_proto::code::Code),
    /// All forwards of the session are open, or their failure was told.
    Ready(Vec<Forward>),
    /// A session is over; how it ended, and what reports of it.
    Over(SessionEnd, Reporter),
}

impl RunningPeer {
    /// Opens the state directory, and the ports beside the IDE.
    pub(super) fn open(
        role: Role,
        options: SessionOptions,
        forwards: Vec<Forward>,
        peers: &PeersOptions,
        facts: HostFacts,
        reporter: Reporter,
    ) -> Result<Self, Failure> {
        // What the command line forbids itself is said before a code is shown.
        for forward in &forwards {
            if forward.direction == Direction::ToIde {
                options.policy.allow.require(&forward.target)?;
            }
        }
        let state = open_state(options.state.as_deref(), &reporter);
        let state = state.map_err(|failure| match &options.state_place {
            Some(place) => Failure {
                message: format!("{place}: {}", failure.message),
                ..failure
            },
            None => failure,
        })?;
        #[cfg(windows)]
        tell_of_firewall(&state, &reporter);
        let identity = Arc::new(Identity::load_or_make(&state).map_err(state_failure)?);
        let process = ProcessNumber::take(&state, role);
        let known_peers = KnownPeers::load(&state, process.get()).map_err(state_failure)?;
        let places = Places::open(forwards, options.policy.absent, peers)?;
        let further_stun = Arc::new(FurtherServers::look_up(&options.stun));
        let memory = NodeMemory::new(state.clone());
        let route = TcpRoute::new(&options.rendezvous).remembering(memory);
        let here = Here {
            role,
            options,
            identity,
            process,
            facts,
            state,
            route,
            changes: Changes::of_this_host(),
            further_stun,
        };
        let mut host = Self {
            here,
            known_peers,
            reporter,
            places,
            makes_codes: peers.makes_codes,
            peer_names: PeerNames::default(),
            meeting: None,
            parted: None,
            sessions: Vec::new(),
            reached: false,
            stage: ProcessState::ReachingRendezvous,
            inquiries: Inquiries::open(),
        };
        host.begin_recent();
        Ok(host)
    }

    /// The known peer of that name.
    pub(super) fn known_peer(&self, name: &PeerName) -> Result<KnownPeer, Failure> {
        self.known_peers.get(name).ok_or_else(|| {
            let known: Vec<_> = self.known_peers.names().map(PeerName::to_string).collect();
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
    pub(super) fn peer_of_code(&self, code: &p2pdbg_proto::code::Code) -> Option<KnownPeer> {
        self.known_peers.find_by_code(code)
    }

    /// Goes to the rendezvous to meet peers.
    pub(super) fn meet(&mut self, whom: Whom) {
        let known: Vec<KnownPeer> = match &whom {
            Whom::Known(peer) => vec![peer.clone()],
            Whom::Several(awaited) => awaited.known.clone(),
            Whom::CodeHolder | Whom::CodeMaker(_) => Vec::new(),
        };
        if let ([peer], 1) = (&known[..], self.places.most()) {
            self.note_peer(0, &peer.name);
        }
        for peer in known {
            self.peer_names.expect(peer);
        }
        let authority = self.here.options.rendezvous.authority();
        self.reporter
            .status(Status::new(Activity::ReachingRendezvous(authority)));
        self.meeting = Some(Meeting::start(MeetingConfig {
            rendezvous: self.here.options.rendezvous.clone(),
            identity: Arc::clone(&self.here.identity),
            name: self.here.options.name.clone(),
            process: self.here.process.get(),
            whom,
            transports: match self.here.options.path {
                PathPolicy::RelayTcp => Transports::Tcp,
                _ => Transports::Any,
            },
            paths: self.here.paths(),
            further_stun: Arc::clone(&self.here.further_stun),
        }));
    }

    /// Carries on until there is something to decide.
    ///
    /// # Errors
    /// When there is no more to be done.
    pub(super) async fn event(&mut self) -> Result<RunningPeerEvent, Failure> {
        loop {
            if self.sessions.is_empty()
                && let Some(failure) = self.parted.take()
            {
                return Err(failure);
            }
            let offer_due = self.offer_due();
            let event = tokio::select! {
                event = next_meeting_event(&mut self.meeting) => self.handle_meeting(event).await?,
                (index, output) = running::next_output(&mut self.sessions) => {
                    self.handle_output(index, output)
                }
                () = sleep_until(offer_due) => {
                    self.offer_places();
                    None
                }
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

    /// Whether there may be several sessions, so that each must be told from the others.
    pub(super) fn is_for_several(&self) -> bool {
        self.places.most() > 1
    }

    /// Lets the meeting know whom to await.
    fn await_peers(&mut self) {
        let awaited = self.awaited();
        self.tell_meeting(MeetingCommand::Await(awaited));
    }

    /// When the place of a peer that is away is to be offered to others.
    fn offer_due(&self) -> Option<Instant> {
        let due = |running: &Running| running.absence.due();
        let single = !self.is_for_several() && self.makes_codes;
        self.sessions
            .iter()
            .filter(|_| single)
            .filter_map(due)
            .min()
    }

    /// Offers the places of those that have been away for long enough.
    fn offer_places(&mut self) {
        let now = Instant::now();
        for running in &mut self.sessions {
            if running.absence.due().is_some_and(|due| due <= now) {
                running.absence = Absence::Offered;
            }
        }
        self.await_peers();
    }

    /// Whom to await, as things stand.
    fn awaited(&self) -> Awaited {
        let has_session = |peer| self.sessions.iter().any(|s| s.peer.fingerprint == peer);
        let is_awaited = |name: &PeerName, peer| {
            // One that is here may come as a new process.
            has_session(peer) || self.places.has_room_for(name)
        };
        let single = !self.is_for_several();
        let known = self
            .peer_names
            .awaited(|name, peer| single || is_awaited(name, peer));
        // Who was here finds its way back without a code, if it has kept what it is known by.
        let is_offered = |running: &Running| running.absence.is_offered();
        let has_room = match single {
            true => self.sessions.iter().all(is_offered),
            false => self.places.room() > 0,
        };
        Awaited {
            known,
            code: self.makes_codes && has_room,
        }
    }

    /// Ends everything; the peers are told at once.
    pub(super) async fn close(mut self) {
        for recent in self.places.iter_mut().filter_map(|p| p.recent.as_mut()) {
            recent.ended = true;
        }
        self.write_recent();
        let (say, mut last_words) = mpsc::channel(LAST_WORDS);
        let mut closing = JoinSet::new();
        for running in std::mem::take(&mut self.sessions) {
            closing.spawn(running.close(say.clone()));
        }
        drop(say);
        while let Some((channel, message)) = last_words.recv().await {
            self.tell_meeting(MeetingCommand::Message(channel, message));
        }
        while closing.join_next().await.is_some() {}
        if let Some(meeting) = self.meeting.take() {
            meeting.close().await;
        }
    }

    /// Notes for `p2pdbg ide` which ports there are.
    fn begin_recent(&mut self) {
        if self.here.role == Role::Connector {
            return;
        }
        let facts = &self.here.facts;
        for (index, place) in self.places.iter_mut().enumerate() {
            let mut recent = RecentSession::begin(facts.clone(), &place.forwards);
            recent.place = index;
            if let Some(owner) = place.owner() {
                recent.set_peer(owner);
            }
            place.recent = Some(recent);
        }
        self.write_recent();
    }

    /// Notes for `p2pdbg ide` how this process was started.
    pub(in crate::commands) fn note_options(&mut self, given: Given) {
        for recent in self.places.iter_mut().filter_map(|p| p.recent.as_mut()) {
            recent.options.clone_from(&given.options);
            recent.rendezvous_given = given.rendezvous;
        }
        self.write_recent();
    }

    /// Notes for `p2pdbg ide` who has a place.
    fn note_peer(&mut self, place: usize, name: &PeerName) {
        let recent = self.places.get_mut(place).and_then(|p| p.recent.as_mut());
        if let Some(recent) = recent {
            recent.set_peer(name);
            self.write_recent();
        }
    }

    /// A file that cannot be written costs no session.
    fn write_recent(&self) {
        let recent = self.places.iter().filter_map(|p| p.recent.as_ref());
        if let Err(error) = recent_sessions::write(recent, &self.here.state) {
            tracing::warn!(%error, "cannot note the session for p2pdbg ide");
        }
    }

    /// The part that this command plays: listener or connector.
    pub(super) fn role(&self) -> Role {
        self.here.role
    }

    /// `HOST:PORT` of the rendezvous, without the key.
    pub(super) fn rendezvous(&self) -> String {
        self.here.options.rendezvous.authority()
    }

    /// How far it has come while there is no session.
    pub(super) fn stage(&self) -> ProcessState {
        self.stage
    }

    /// How many peers there may be at once, if there may be several.
    pub(super) fn places(&self) -> Option<usize> {
        self.is_for_several().then(|| self.places.most())
    }

    /// Has the sessions describe themselves, in the order of their places.
    pub(super) fn describe_sessions(&self) -> Vec<oneshot::Receiver<SessionSnapshot>> {
        let mut sessions: Vec<&Running> = self.sessions.iter().collect();
        sessions.sort_by_key(|running| running.place);
        let describe = |running: &Running| {
            let (describe, described) = oneshot::channel();
            running.session.input(SessionInput::Describe(describe));
            described
        };
        sessions.into_iter().map(describe).collect()
    }

    /// The session that is meant: that with the peer of this name, or the only one.
    pub(super) fn session_with(
        &self,
        peer: Option<&str>,
    ) -> Result<&p2pdbg_session::Session, Failure> {
        let is_meant = |running: &&Running| peer.is_none_or(|peer| running.name.as_str() == peer);
        let meant: Vec<&Running> = self.sessions.iter().filter(is_meant).collect();
        let failure = match (&meant[..], peer) {
            ([running], _) => return Ok(&running.session),
            ([], Some(peer)) => {
                let message = format!("there is no session with {peer:?}");
                Failure::new(ErrorCode::NoSession, message)
                    .hint("p2pdbg status tells which peers there are")
            }
            ([], None) => Failure::new(ErrorCode::NoSession, "the peer is not there yet")
                .hint("run p2pdbg connect on the debuggee's host, and this again"),
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|r| r.name.as_str()).collect();
                let message = format!(
                    "there are sessions with several peers: {}",
                    names.join(", ")
                );
                Failure::new(ErrorCode::Usage, message).hint("choose one by --peer NAME")
            }
        };
        Err(failure)
    }

    fn tell_meeting(&self, command: MeetingCommand) {
        if let Some(meeting) = &self.meeting {
            meeting.command(command);
        }
    }
}

async fn next_meeting_event(meeting: &mut Option<Meeting>) -> Option<MeetingEvent> {
    match meeting {
        Some(meeting) => meeting.event().await,
        None => std::future::pending().await,
    }
}

/// The state directory. Where none can be had and none was asked for, as in a container with a random user and nothing
/// to write to, what is known lives as long as the process: a code needs no more.
fn open_state(asked: Option<&Path>, reporter: &Reporter) -> Result<StateDir, Failure> {
    match StateDir::open(asked, "p2pdbg") {
        Err(error) if asked.is_none() && error.is_for_want_of_a_place() => {
            let message =
                format!("nothing can be kept here, so a code is needed each time: {error}");
            reporter.emit(Event::Warning(
                Warning::new(WarningCode::NothingKept, message).hint(
                    "to be known again, name a directory that can be written with --state DIR",
                ),
            ));
            Ok(StateDir::in_memory())
        }
        result => result.map_err(state_failure),
    }
}

/// Says once that Windows' firewall may ask. It asks when a program first takes what it has not asked for, and says
/// nothing of why.
#[cfg(windows)]
fn tell_of_firewall(state: &StateDir, reporter: &Reporter) {
    const TOLD: &str = "firewall-told";
    if !matches!(state.read(TOLD), Ok(None)) {
        return;
    }
    let message = "Windows' firewall may ask whether p2pdbg may be reached from networks";
    reporter.emit(Event::Warning(
        Warning::new(WarningCode::Firewall, message).hint(
            "p2pdbg works either way, since it sends first; allowed, hosts of one network find each other sooner",
        ),
    ));
    // Otherwise it is said once more, which harms nobody.
    let _ = state.write_atomically(TOLD, b"1\n");
}

fn state_failure(error: StateError) -> Failure {
    Failure::new(ErrorCode::StateDir, error.to_string()).hint(
        "--state DIR, P2PDBG_STATE or state in the configuration file names another directory",
    )
}
