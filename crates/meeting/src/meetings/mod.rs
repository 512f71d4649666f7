//! What a meeting decides; no sockets, no clock, no randomness but the operating system's (which the exchanges draw
//! from).
//!
//! [`Meetings::handle`] takes what has happened. Then [`Meetings::poll_output`] gives what is to be done, until there
//! is no more, and [`Meetings::poll_timeout`] says when [`Input::Timeout`] is due. A peer comes in four steps: the
//! rendezvous introduces it, an exchange gives both keys, it says who it is, and its owner is told that it has been
//! met. Up to there it is an [`Encounter`]; afterwards there is a sealed [`Channel`](super::channel::Channel) to it.

mod exchanges;

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_base::Failure;
use p2pdbg_net::stun_servers::FurtherServers;
use p2pdbg_pairing as pairing;
use p2pdbg_path::RelayAt;
use p2pdbg_proto::{
    rendezvous::{
        Credential, Fate, FromRendezvous, MAX_SIGNAL, NameplateClaim, Refusal, Request, Role,
        SessionId, ToRendezvous,
    },
    signal::Signal,
};
use p2pdbg_rendezvous_client::LinkError;

use super::{
    Awaited, ChannelId, MeetingCommand, MeetingConfig, MeetingEvent,
    channel::encode,
    channels::Channels,
    encounter::Encounters,
    io::{Input, Output, Reached},
    refusals::{Meaning, RETRY, meaning},
    registration::Registration,
};

/// The state of a meeting.
pub struct Meetings {
    registration: Registration,
    further_stun: std::sync::Arc<FurtherServers>,
    /// None while there is no connection to the rendezvous.
    reached: Option<Reached>,
    encounters: Encounters,
    channels: Channels,
    /// When everything is asked for again.
    retry_at: Option<Instant>,
    /// When another session was last asked for in place of one whose leg the relay does not know.
    replaced_at: Option<Instant>,
    over: bool,
    outputs: VecDeque<Output>,
}

impl Meetings {
    /// The meeting of this configuration; its first outputs say what the rendezvous is to be told.
    pub fn new(config: &MeetingConfig) -> Self {
        let mut meetings = Self {
            registration: Registration::new(config),
            further_stun: std::sync::Arc::clone(&config.further_stun),
            reached: None,
            encounters: Encounters::default(),
            channels: Channels::default(),
            retry_at: None,
            replaced_at: None,
            over: false,
            outputs: VecDeque::new(),
        };
        meetings.begin_with();
        meetings
    }

    /// Takes what has happened; [`Self::poll_output`] says what follows from it.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::LinkUp { told, reached } => self.on_link_up(&told, reached),
            Input::LinkDown(error) => self.on_link_down(error),
            Input::Rendezvous(message) => self.on_message(now, message),
            Input::Owner(command) => self.on_command(now, command),
            Input::PathSignal(session, signal) => {
                if let Some(mut encounter) = self.encounters.take(session) {
                    encounter.keep_for_peer(signal);
                    self.go_on(session, encounter);
                }
            }
            Input::NetworkChanged => self.look_again(now),
            Input::Timeout => self.on_timeout(now),
            Input::Close => self.leave(),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let encounters = self.encounters.poll_timeout().into_iter();
        let pauses = self.retry_at.into_iter();
        let pauses = pauses.chain(self.registration.code.poll_timeout());
        encounters.chain(pauses).min()
    }

    /// Whether the paths made ready for this encounter are still of use.
    pub fn awaits(&self, session: SessionId) -> bool {
        self.encounters.contains(session)
    }

    /// Whether there is no more to be done.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether a person sits before `connect` and no session has begun. A listener waits for hours, and a session says
    /// itself when it needs the rendezvous.
    pub(crate) fn does_a_person_wait(&self) -> bool {
        self.role() == Role::Connector && self.channels.iter().next().is_none()
    }

    fn role(&self) -> Role {
        self.registration.host.role
    }

    fn on_link_up(&mut self, told: &[ToRendezvous], reached: Reached) {
        self.reached = Some(reached);
        self.registration.code.on_link_up(told);
        self.tell(MeetingEvent::LinkUp);
        // Plans may have changed while it was being dialled.
        if told != self.registration.messages(&self.channels) {
            self.register();
        }
    }

    fn on_link_down(&mut self, error: LinkError) {
        self.reached = None;
        self.encounters.clear();
        self.registration.code.on_link_down();
        self.channels.on_link_down();
        self.begin_with();
        if let LinkError::Moved { .. } | LinkError::ByTcp = error {
            tracing::debug!(%error);
        } else if error.is_passing() {
            self.tell(MeetingEvent::LinkDown(error));
        } else {
            self.fail(error.into());
        }
    }

    fn begin_with(&mut self) {
        self.registration.prepare(&self.channels);
        let messages = self.registration.messages(&self.channels);
        self.outputs.push_back(Output::BeginWith(messages));
    }

    /// Tells the rendezvous all that it must know of this end, now and on the next connection.
    fn register(&mut self) {
        self.registration.prepare(&self.channels);
        if self.reached.is_some() {
            for message in self.registration.messages(&self.channels) {
                if !self.registration.code.is_asked_twice(&message) {
                    self.send(message);
                }
            }
        }
        self.begin_with();
    }

    /// Begins the exchanges that are missing, and tells the rendezvous of them.
    fn prepare_anew(&mut self) {
        let before = self.registration.preparations();
        self.registration.prepare(&self.channels);
        if self.reached.is_some() {
            for message in self.registration.preparations() {
                if !before.contains(&message) {
                    self.send(message);
                }
            }
        }
    }

    fn on_message(&mut self, now: Instant, message: FromRendezvous) {
        match message {
            FromRendezvous::Listening(claim) => self.on_listening(claim),
            FromRendezvous::Introduced(introduction) => self.on_introduced(now, introduction),
            FromRendezvous::Signal { session, payload } => self.on_signal(now, session, &payload),
            FromRendezvous::PeerSeen {
                session,
                addresses,
                bound,
            } => self.on_peer_seen(session, addresses, bound),
            FromRendezvous::PeerLeft {
                session,
                on_purpose,
            } => self.on_peer_left(now, session, on_purpose),
            FromRendezvous::Refused { request, refusal } => self.on_refused(now, &request, refusal),
            FromRendezvous::Vouched { voucher } => {
                if !self.registration.host.has_key {
                    let credential = Credential::Voucher(voucher);
                    self.outputs.push_back(Output::UseCredential(credential));
                }
            }
            FromRendezvous::Pong => self.on_pong(),
            FromRendezvous::Stopping { .. } => tracing::info!("the rendezvous is stopping"),
            FromRendezvous::Draining { left_s } => {
                let left = left_s.map(|seconds| Duration::from_secs(seconds.into()));
                self.tell(MeetingEvent::Draining(left));
            }
            FromRendezvous::Offer { script } => self.tell(MeetingEvent::Offered(script)),
            // The link has not gone there: what was asked for is asked for again, later.
            FromRendezvous::GoTo { .. } => self.retry_within(now, RETRY),
            FromRendezvous::RelayAt {
                session,
                node,
                leg,
                ticket,
            } => {
                if let Some((id, _)) = self.channels.carried_by(session) {
                    self.tell(MeetingEvent::RelayAt(id, RelayAt { node, leg, ticket }));
                }
            }
            FromRendezvous::Welcome { .. } | FromRendezvous::Nodes { .. } => {}
        }
    }

    fn on_listening(&mut self, claim: NameplateClaim) {
        let asked = self.registration.code.is_asked_for(claim.nameplate);
        if !asked || !self.registration.awaited.code || !self.registration.code.may_ask() {
            let (nameplate, fate) = (claim.nameplate, Fate::Withdrawn);
            self.send(ToRendezvous::Unlisten { nameplate, fate });
        } else if let Some(code) = self.registration.code.on_listening(claim) {
            self.prepare_anew();
            self.tell(MeetingEvent::Code(code));
        }
    }

    fn on_peer_seen(&mut self, session: SessionId, addresses: Vec<IpAddr>, bound: bool) {
        if let Some(encounter) = self.encounters.get_mut(session) {
            encounter.on_peer_seen(addresses.clone(), bound);
            let seen = Output::PeerSeen(session, addresses, bound);
            self.outputs.push_back(seen);
        } else if let Some((channel, _)) = self.channels.carried_by(session) {
            self.tell(MeetingEvent::PeerSeen(channel, addresses, bound));
        }
    }

    fn on_peer_left(&mut self, now: Instant, session: SessionId, on_purpose: bool) {
        if let Some(encounter) = self.encounters.take(session) {
            match encounter.is_exchanging() {
                true => {
                    let by_code = encounter.is_by_code();
                    let left = pairing::Failure::PeerLeft;
                    self.on_exchange_failed(now, session, by_code, left);
                }
                false => self.register(),
            }
        } else if let Some((id, channel)) = self.channels.carried_by(session) {
            channel.carried_by = None;
            if on_purpose {
                self.tell(MeetingEvent::PeerLeft(id));
            } else {
                // It comes back to the handle. If not by then, this side may not wait there any more, since an older
                // connection of this host's has said something there late; or the session alone has ended. To ask at
                // once would bring another session beside the one that the peer is asking for now.
                self.retry_within(now, RETRY);
            }
        }
    }

    fn on_refused(&mut self, now: Instant, request: &Request, refusal: Refusal) {
        if let (Request::Relay(session, node), Refusal::Draining) = (request, refusal) {
            if let Some((id, _)) = self.channels.carried_by(*session) {
                self.tell(MeetingEvent::RelayRefused(id, *node));
            }
            return;
        }
        if let Request::Listen(nameplate) = request {
            self.registration.code.on_refused(*nameplate);
        }
        let may_return = self.reached.as_ref().is_some_and(|r| now < r.returns_until);
        match meaning(self.role(), request, refusal, may_return) {
            Meaning::Nothing => {}
            Meaning::RetryWithin(pause) => self.retry_within(now, pause),
            Meaning::CodeOver(nameplate) => {
                // This listener's code has waited for too long: another takes its place.
                if nameplate == self.registration.code.nameplate() {
                    self.registration.code.take();
                    // In a moment, or a rendezvous that takes back what it gives would have one shown after the other.
                    self.retry_within(now, RETRY);
                }
            }
            Meaning::SessionOver(session) => self.on_peer_left(now, session, false),
            Meaning::Over(failure) => self.fail(failure),
            Meaning::NotLetIn => {
                let authority = self.registration.host.authority.clone();
                self.fail(LinkError::Refused { authority, refusal }.into());
            }
        }
    }

    fn on_command(&mut self, now: Instant, command: MeetingCommand) {
        match command {
            MeetingCommand::Message(channel, message) => {
                let channel = self.channels.get_mut(channel);
                if let Some((session, payload)) = channel.and_then(|c| c.seal(&message)) {
                    self.send(ToRendezvous::Signal { session, payload });
                }
            }
            MeetingCommand::Relay(channel, node) => {
                let channel = self.channels.get_mut(channel);
                if let Some(session) = channel.and_then(|channel| channel.carried_by) {
                    self.send(ToRendezvous::Relay { session, node });
                }
            }
            MeetingCommand::SessionOver(channel) => {
                if let Some(channel) = self.channels.remove(channel) {
                    let (handle, role) = (channel.handle, self.role());
                    self.send(ToRendezvous::Unmeet { handle, role });
                    if let Some(session) = channel.carried_by {
                        self.send(ToRendezvous::Leave { session });
                    }
                }
                if self.role() == Role::Listener {
                    self.register();
                }
            }
            MeetingCommand::Doubt => {
                self.outputs.push_back(Output::Redial);
                self.look_again(now);
            }
            MeetingCommand::LegLost(channel) => self.on_leg_lost(now, channel),
            MeetingCommand::Await(awaited) => self.on_await(awaited),
        }
    }

    fn on_leg_lost(&mut self, now: Instant, channel: ChannelId) {
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.leg_lost = true;
        }
        self.outputs.push_back(Output::Redial);
        if self.replaced_at.is_none_or(|before| now >= before + RETRY) {
            self.replaced_at = Some(now);
            self.look_again(now);
        } else {
            // A relay that knows no leg of this host is asked no more often than that.
            self.retry_within(now, RETRY);
        }
    }

    /// Asks for everything again after this pause, or sooner if that was planned already.
    fn retry_within(&mut self, now: Instant, pause: Duration) {
        let at = now + pause;
        self.retry_at = Some(self.retry_at.map_or(at, |planned| planned.min(at)));
    }

    fn on_await(&mut self, awaited: Awaited) {
        let gone = self.registration.await_others(awaited);
        if self.role() == Role::Connector {
            return;
        }
        for message in gone {
            self.send(message);
        }
        if !self.registration.awaited.code {
            self.end_code(Fate::Withdrawn);
        }
        self.register();
    }

    /// What failed before may work now, and what seems to stand may be gone.
    fn look_again(&mut self, now: Instant) {
        if self.retry_at.is_some() {
            self.retry_at = Some(now);
        }
        // Nothing but sending shows that the other end of the link is gone, or tells it this end's address.
        if self.reached.is_some() {
            let role = self.role();
            let meet = self.channels.iter().map(|channel| channel.meet(role));
            self.outputs.extend(meet.map(Output::Send));
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        let retries = self.retry_at.take_if(|at| *at <= now).is_some();
        if self.registration.code.on_timeout(now) || retries {
            self.register();
        }
        for session in self.encounters.sessions(|one| one.until <= now) {
            let Some(encounter) = self.encounters.take(session) else {
                continue;
            };
            self.send(ToRendezvous::Leave { session });
            match encounter.is_exchanging() {
                true => {
                    let by_code = encounter.is_by_code();
                    let left = pairing::Failure::PeerLeft;
                    self.on_exchange_failed(now, session, by_code, left);
                }
                false => self.retry_within(now, RETRY),
            }
        }
    }

    fn leave(&mut self) {
        self.end_code(Fate::Withdrawn);
        let carried: Vec<_> = self.channels.iter().filter_map(|c| c.carried_by).collect();
        for session in carried {
            self.send(ToRendezvous::Leave { session });
        }
    }

    fn signal(&mut self, session: SessionId, signal: &Signal) {
        if let Some(payload) = encode(signal).filter(|payload| payload.len() <= MAX_SIGNAL) {
            self.send(ToRendezvous::Signal { session, payload });
        }
    }

    fn send(&mut self, message: ToRendezvous) {
        self.outputs.push_back(Output::Send(message));
    }

    fn tell(&mut self, event: MeetingEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn fail(&mut self, failure: Failure) {
        self.over = true;
        self.tell(MeetingEvent::Failed(failure));
    }
}
