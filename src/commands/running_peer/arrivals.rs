//! What the meeting tells: codes, peers that come, and how the rendezvous is reached.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use p2pdbg_base::{Failure, PeerName, Untrusted};
use p2pdbg_events::{
    Activity, Event, Reporter, Status, Waiting, WaitingFor, Warning, WarningCode,
    snapshot::ProcessState,
};
use p2pdbg_meeting::{ChannelId, MeetingCommand, MeetingEvent, Met};
use p2pdbg_net::same_host::host_tag;
use p2pdbg_pairing::{KnownPeer, PeerId};
use p2pdbg_proto::{rendezvous::Role, signal::PeerMessage};
use p2pdbg_rendezvous_client::LinkError;
use p2pdbg_session::{Session, SessionConfig, SessionInput};
use tokio::sync::mpsc;

use super::{Running, RunningPeer, RunningPeerEvent, absence::Absence};

/// How many of a session's outputs may wait.
const OUTPUTS: usize = 256;

impl RunningPeer {
    pub(super) async fn handle_meeting(
        &mut self,
        event: Option<MeetingEvent>,
    ) -> Result<Option<RunningPeerEvent>, Failure> {
        let Some(event) = event else {
            self.meeting = None;
            return Ok(None);
        };
        match event {
            MeetingEvent::LinkUp => {
                self.reached = true;
                self.stage = ProcessState::AwaitingPeer;
                self.on_link(true);
                self.say_who_is_awaited(None);
            }
            MeetingEvent::LinkDown(LinkError::OfOneHost(why)) if !self.reached => {
                tracing::info!(%why, "another of the rendezvous' hosts is tried");
            }
            MeetingEvent::LinkDown(error) if !self.reached => return Err(error.into()),
            MeetingEvent::LinkDown(error) => self.on_link_down(&error.to_string()),
            MeetingEvent::Draining(left) => {
                self.reporter.emit(Event::Warning(draining(left)));
            }
            MeetingEvent::Offered(script) => return Ok(Some(RunningPeerEvent::Offered(script))),
            MeetingEvent::Code(code) => return Ok(Some(RunningPeerEvent::Code(code))),
            MeetingEvent::CodeBurned => self.reporter.emit(Event::Warning(code_burned())),
            MeetingEvent::CodesOver(failure) => self.warn_of(WarningCode::CodeBurned, &failure),
            MeetingEvent::Pairing => {
                self.stage = ProcessState::Pairing;
                if self.sessions.is_empty() {
                    self.reporter.status(Status::new(Activity::Pairing));
                }
            }
            MeetingEvent::PairingFailed(failure) => {
                tracing::info!(%failure, "an exchange failed");
                self.stage = ProcessState::AwaitingPeer;
                self.say_who_is_awaited(None);
            }
            MeetingEvent::Met(met) => self.receive(*met).await?,
            MeetingEvent::Introduced(channel, at) => {
                self.tell(channel, SessionInput::Introduced(at));
            }
            MeetingEvent::PeerSeen(channel, addresses, bound) => {
                self.tell(channel, SessionInput::PeerSeen { addresses, bound });
            }
            MeetingEvent::RelayAt(channel, at) => {
                self.tell(channel, SessionInput::RelayAt(at));
            }
            MeetingEvent::RelayRefused(channel, node) => {
                self.tell(channel, SessionInput::RelayRefused(node));
            }
            MeetingEvent::PeerLeft(channel) => self.tell(channel, SessionInput::PeerLeft),
            MeetingEvent::Message(channel, message) => {
                self.tell(channel, SessionInput::Message(message));
            }
            MeetingEvent::Failed(failure) => self.on_meeting_failed(failure)?,
        }
        Ok(None)
    }

    /// Nobody can come any more; the sessions that there are go on.
    fn on_meeting_failed(&mut self, failure: Failure) -> Result<(), Failure> {
        self.meeting = None;
        if self.sessions.is_empty() {
            return Err(failure);
        }
        self.warn_of(WarningCode::RendezvousLost, &failure);
        self.parted = Some(failure);
        Ok(())
    }

    fn on_link_down(&mut self, why: &str) {
        self.stage = ProcessState::ReachingRendezvous;
        self.on_link(false);
        if self.sessions.is_empty() {
            let authority = self.here.options.rendezvous.authority();
            self.reporter
                .status(Status::new(Activity::ReachingRendezvous(authority)));
            self.reporter.emit(Event::Waiting(Waiting {
                awaited: WaitingFor::Rendezvous,
                at: None,
                run: None,
            }));
        }
        let warning = Warning::new(WarningCode::RendezvousLost, why);
        self.reporter.emit(Event::Warning(warning));
    }

    /// Tells of a failure that ends nothing.
    fn warn_of(&self, code: WarningCode, failure: &Failure) {
        let mut warning = Warning::new(code, failure.message.clone());
        warning.hint.clone_from(&failure.hint);
        self.reporter.emit(Event::Warning(warning));
    }

    fn on_link(&mut self, up: bool) {
        let now = Instant::now();
        let sessions = self.sessions.iter_mut();
        sessions.for_each(|running| running.absence.on_link(up, now));
    }

    fn tell(&self, channel: ChannelId, input: SessionInput) {
        let mut sessions = self.sessions.iter();
        if let Some(running) = sessions.find(|running| running.channel == channel) {
            running.session.input(input);
        }
    }

    /// Says who may come, if somebody may, and `of` whom it is when it is one who was here before.
    pub(super) fn say_who_is_awaited(&self, of: Option<&Reporter>) {
        if self.is_for_several() {
            // The sessions have lines of their own.
            match self.awaits_more() {
                true => self.reporter.status(Status::new(Activity::AwaitingPeer)),
                false => self.reporter.end_status(),
            }
        } else if !self.sessions.is_empty() {
            return;
        } else {
            self.reporter.status(Status::new(Activity::AwaitingPeer));
        }
        let single = !self.is_for_several();
        let is_known = self.here.role == Role::Connector || !self.awaited().known.is_empty();
        if (single && is_known) || (!self.makes_codes && self.awaits_more()) {
            of.unwrap_or(&self.reporter).emit(Event::Waiting(Waiting {
                awaited: WaitingFor::Peer,
                at: None,
                run: self.other_ends_command(),
            }));
        }
    }

    /// What makes a known peer come that is not there: this host is called there as it introduced itself. Who came with
    /// a code is no more than one who made it.
    fn other_ends_command(&self) -> Option<String> {
        let name = &self.here.options.name;
        let command = match self.here.role {
            Role::Listener => format!("p2pdbg connect --peer {name}"),
            Role::Connector => format!("p2pdbg listen --peer {name}"),
        };
        (!self.awaited().known.is_empty()).then_some(command)
    }

    /// Whether there is a place for one more peer.
    fn awaits_more(&self) -> bool {
        self.sessions.len() < self.places.most()
    }

    /// Begins a session with a peer that has come, in the place that is its own; one that it had is over.
    async fn receive(&mut self, met: Met) -> Result<(), Failure> {
        let peer = PeerId {
            fingerprint: met.peer,
            process: met.info.process,
        };
        let single = !self.is_for_several();
        let returning =
            |running: &Running| running.peer == peer || (single && running.absence.is_away());
        if single && !self.sessions.iter().all(returning) {
            // Two of one host, say, with the same code: the first has a program that is being debugged.
            let name = PeerName::nearest(&met.info.name);
            let why = match self.sessions.iter().any(|s| s.peer.fingerprint == met.peer) {
                true => "it is a second p2pdbg connect there, and the session of the first goes on",
                false => "another peer has the session",
            };
            self.turn_away(met.channel, &name, why);
            return Ok(());
        }
        if let Some(index) = self.sessions.iter().position(returning) {
            self.replace(index).await;
        }
        let name = self.name(&met, peer);
        let reporter = match self.is_for_several() {
            true => self.reporter.of_session(&name),
            false => self.reporter.clone(),
        };
        self.stage = ProcessState::AwaitingPeer;
        let place = match self.places.take(&name) {
            Ok(Some(place)) => place,
            Ok(None) => {
                self.turn_away(met.channel, &name, "every place is taken");
                return Ok(());
            }
            Err(failure) if self.is_for_several() => {
                self.turn_away(met.channel, &name, &failure.message);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let began = self.begin_session(met, place, name, reporter);
        match began {
            Ok(()) => {}
            Err((channel, name, failure)) if self.is_for_several() => {
                self.places.release(place);
                self.turn_away(channel, &name, &failure.message);
            }
            Err((.., failure)) => return Err(failure),
        }
        self.await_peers();
        if self.is_for_several() {
            self.say_who_is_awaited(None);
            self.warn_of_unused_maps();
        }
        Ok(())
    }

    /// Ends a session whose peer, or in the only place another, has come with a new process: the connections of the old
    /// one are gone.
    async fn replace(&mut self, index: usize) {
        let old = self.remove(index);
        let warning = Warning::new(
            WarningCode::PeerRestarted,
            "the peer has come back as a new process; its old connections are reset",
        );
        old.reporter.emit(Event::Warning(warning));
        old.session.replace().await;
    }

    /// What a peer that has come is called here; it is kept for the next time.
    fn name(&mut self, met: &Met, peer: PeerId) -> PeerName {
        let known = self.remember(met, peer);
        let present: Vec<PeerName> = self.sessions.iter().map(|s| s.name.clone()).collect();
        match &known {
            Some(known) if self.is_for_several() => {
                self.peer_names.name(known, peer, &met.info.name, &present)
            }
            Some(known) => self.peer_names.only(known),
            None => PeerName::nearest(&met.info.name),
        }
    }

    fn begin_session(
        &mut self,
        met: Met,
        place: usize,
        name: PeerName,
        reporter: Reporter,
    ) -> Result<(), (ChannelId, PeerName, Failure)> {
        let (channel, at) = (met.channel, met.at.clone());
        let peer = PeerId {
            fingerprint: met.peer,
            process: met.info.process,
        };
        reporter.emit(Event::Paired {
            peer: Untrusted::new(name.as_str()),
            known: met.pair_secret.is_none(),
        });
        let (report, outputs) = mpsc::channel(OUTPUTS);
        let config = self.session_config(met, place, &name, reporter.clone());
        let session = match Session::start(config, report) {
            Ok(session) => session,
            Err(failure) => {
                reporter.end_status();
                return Err((channel, name, failure));
            }
        };
        session.input(SessionInput::Introduced(at));
        self.note_peer(place, &name);
        self.sessions.push(Running {
            channel,
            peer,
            name,
            place,
            absence: Absence::default(),
            reporter,
            session,
            outputs,
        });
        Ok(())
    }

    fn session_config(
        &self,
        met: Met,
        place: usize,
        name: &PeerName,
        reporter: Reporter,
    ) -> SessionConfig {
        let (forwards, ports) = match self.places.get(place) {
            Some(place) => (place.forwards.clone(), place.ports.clone()),
            None => (Vec::new(), Vec::new()),
        };
        SessionConfig {
            identity: self.here.identity.clone(),
            peer: met.peer,
            keys: met.keys,
            same_host: met.info.host == host_tag(),
            further: self.here.process.get() > 1,
            forwards,
            ports,
            paths: self.here.paths(),
            policy: Arc::new(self.here.options.policy.clone()),
            facts: self.here.facts.clone(),
            approach: met.approach,
            reporter,
            peer_name: Untrusted::new(name.as_str()),
            known: met.pair_secret.is_none(),
        }
    }

    /// Ends what has begun with a peer for whom there is no place.
    fn turn_away(&self, channel: ChannelId, name: &PeerName, why: &str) {
        self.tell_meeting(MeetingCommand::Message(channel, PeerMessage::NoPlace));
        self.tell_meeting(MeetingCommand::SessionOver(channel));
        let message = format!("{name} was turned away: {why}");
        let warning = Warning::new(WarningCode::PeerTurnedAway, message)
            .hint("let more peers in with a greater --peers N");
        self.reporter.emit(Event::Warning(warning));
    }

    /// Says once all places are taken which names of `--map` were nobody's.
    fn warn_of_unused_maps(&self) {
        if self.awaits_more() {
            return;
        }
        let unused: Vec<&str> = self.places.unused_maps().map(PeerName::as_str).collect();
        if !unused.is_empty() {
            let here: Vec<&str> = self.sessions.iter().map(|s| s.name.as_str()).collect();
            let message = format!(
                "--map names {}, and the peers are {}",
                unused.join(", "),
                here.join(", ")
            );
            let warning = Warning::new(WarningCode::MapUnused, message)
                .hint("give ports to the names that the peers have here");
            self.reporter.emit(Event::Warning(warning));
        }
    }

    /// Keeps the peer for the next time; a state directory that cannot be written costs no more than that. `None` if
    /// the peer is not known any more.
    fn remember(&mut self, met: &Met, peer: PeerId) -> Option<KnownPeer> {
        let now = SystemTime::now();
        let secret = match &met.pair_secret {
            Some(secret) => secret.clone(),
            None => {
                let known = self.peer_names.known(peer).cloned()?;
                if known.id() == peer || !self.is_for_several() {
                    if let Err(error) = self.known_peers.seen(&known.name, now) {
                        tracing::warn!(%error, "cannot note when the peer was met");
                    }
                    return Some(known);
                }
                // Another process of a host that is known, met by the secret of that one.
                known.secret
            }
        };
        let proposed = PeerName::nearest(&met.info.name);
        let (known_peers, code) = (&mut self.known_peers, met.code.as_ref());
        let name = match known_peers.remember(&proposed, peer, &secret, code, now) {
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
        Some(KnownPeer {
            name,
            fingerprint: peer.fingerprint,
            process: peer.process,
            secret,
            last_seen: now,
        })
    }
}

fn code_burned() -> Warning {
    let message = "somebody tried the code with a wrong word, so it is burned";
    Warning::new(WarningCode::CodeBurned, message)
        .hint("use the new code; if it was not a typing error, somebody is guessing")
}

/// What the person is told of a rendezvous that goes out of service within this time, or stays in it after all.
fn draining(left: Option<Duration>) -> Warning {
    let Some(left) = left else {
        let message = "the rendezvous stays in service after all";
        return Warning::new(WarningCode::RendezvousDraining, message);
    };
    let message = format!(
        "the rendezvous goes out of service within {} min: until it is back it introduces nobody new",
        left.as_secs().div_ceil(60)
    );
    let hint = "direct sessions go on; one that it relays pauses until it is there again";
    Warning::new(WarningCode::RendezvousDraining, message).hint(hint)
}
