//! The task that meets peers.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use p2pdbg_wire::{
    code::{Code, Words},
    control::{
        Credential, Fate, FromRendezvous, Handle, MAX_SIGNAL, NameplateClaim, Refusal, Role,
        SessionId, ToRendezvous,
    },
    signal::Signal,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    MeetingCommand, MeetingConfig, MeetingEvent, Whom,
    channel::{Channel, encode},
    exchanges::{Arriving, Pending},
    stun,
};
use crate::{
    deadline::sleep_until,
    failure::{ErrorCode, Failure},
    pairing::{self, Attempts, KnownPeer},
    rendezvous::{Link, LinkConfig, LinkError, LinkEvent, is_unknown},
};

/// How long an exchange may take.
const EXCHANGE: Duration = Duration::from_secs(20);

/// The pause before a connector looks again for a listener that is not there yet.
pub(super) const RETRY: Duration = Duration::from_secs(2);

pub(super) struct Driver {
    pub(super) config: MeetingConfig,
    pub(super) link: Link,
    pub(super) report: mpsc::Sender<MeetingEvent>,
    /// Where the rendezvous is, while the link is up.
    pub(super) up: Option<Rendezvous>,
    /// The code that leads to this listener.
    pub(super) code: Option<ListenerCode>,
    /// How often the connector's code was tried.
    pub(super) attempts: Attempts,
    /// The peer to meet when no session runs.
    pub(super) known: Option<KnownPeer>,
    pub(super) exchanges: HashMap<SessionId, Pending>,
    /// A peer that has paired and has not introduced itself yet.
    pub(super) arriving: Option<Arriving>,
    pub(super) channel: Option<Channel>,
    pub(super) retry_at: Option<Instant>,
    pub(super) over: bool,
}

pub(super) struct Rendezvous {
    pub(super) address: SocketAddr,
    pub(super) stun: Vec<SocketAddr>,
    pub(super) over_tcp: bool,
}

pub(super) struct ListenerCode {
    pub(super) code: Code,
    pub(super) claim: NameplateClaim,
    pub(super) attempts: Attempts,
}

impl Driver {
    pub(super) fn new(config: MeetingConfig, report: mpsc::Sender<MeetingEvent>) -> Self {
        let credential = match &config.rendezvous.access_key {
            Some(key) => Credential::AccessKey(key.clone()),
            None => Credential::None,
        };
        let link = LinkConfig {
            url: config.rendezvous.clone(),
            route: config.route.clone(),
            transports: config.transports,
        };
        let link = Link::open(link, credential, &config.changes);
        let known = match &config.whom {
            Whom::Known(peer) => Some(peer.clone()),
            Whom::CodeHolder | Whom::CodeMaker(_) => None,
        };
        let driver = Self {
            config,
            link,
            report,
            up: None,
            code: None,
            attempts: Attempts::default(),
            known,
            exchanges: HashMap::new(),
            arriving: None,
            channel: None,
            retry_at: None,
            over: false,
        };
        driver.link.begin_with(driver.registration());
        driver
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<MeetingCommand>,
        closing: CancellationToken,
    ) {
        let mut changes = self.config.changes.subscribe();
        while !self.over {
            let deadline = self.deadline();
            tokio::select! {
                event = self.link.event() => match event {
                    Some(event) => self.handle_link(event).await,
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => break,
                },
                _ = changes.changed() => self.look_again(),
                (session, event) = Self::approach_event(&mut self.exchanges) => {
                    self.on_approach(session, event);
                }
                () = sleep_until(deadline) => self.on_timeout().await,
                () = closing.cancelled() => break,
            }
        }
        while let Ok(command) = commands.try_recv() {
            self.handle_command(command);
        }
        self.leave();
        self.link.close().await;
    }

    pub(super) fn leave(&mut self) {
        if let Some(listening) = self.code.take() {
            self.unlisten(&listening, Fate::Withdrawn);
        }
        if let Some(session) = self.channel.as_ref().and_then(|c| c.carried_by) {
            self.link.send(ToRendezvous::Leave { session });
        }
    }

    pub(super) async fn handle_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up {
                told,
                rendezvous,
                stun,
                over_tcp,
                ..
            } => {
                let host = &self.config.rendezvous.host;
                let mut stun = stun::as_seen_from_here(stun, rendezvous, host).await;
                stun.retain(|server| !is_unknown(*server));
                self.up = Some(Rendezvous {
                    address: rendezvous,
                    stun,
                    over_tcp,
                });
                self.tell(MeetingEvent::LinkUp).await;
                if told != self.registration() {
                    self.register();
                }
            }
            LinkEvent::Down(error) => {
                self.up = None;
                self.exchanges.clear();
                self.arriving = None;
                if let Some(channel) = &mut self.channel {
                    channel.carried_by = None;
                }
                self.link.begin_with(self.registration());
                let lasting = !error.is_passing();
                if lasting {
                    self.fail(error.into()).await;
                } else {
                    self.tell(MeetingEvent::LinkDown(error)).await;
                }
            }
            LinkEvent::Message(message) => self.handle_message(message).await,
        }
    }

    /// Tells the rendezvous all that it must know of this peer, on a new connection or when plans have changed.
    pub(super) fn register(&mut self) {
        let messages = self.registration();
        if self.up.is_some() {
            messages.iter().for_each(|m| self.link.send(m.clone()));
        }
        self.link.begin_with(messages);
    }

    /// What the rendezvous must know of this peer.
    fn registration(&self) -> Vec<ToRendezvous> {
        let mut messages = Vec::new();
        let role = self.config.role;
        let meet = |handle, already| ToRendezvous::Meet {
            handle,
            role,
            already,
        };
        if let Some(channel) = &self.channel {
            messages.push(meet(channel.handle.clone(), channel.carried_by));
            if role == Role::Connector && channel.carried_by.is_some() {
                return messages;
            }
        }
        match (&self.known, &self.config.whom) {
            (Some(peer), _) => messages.push(meet(peer.meeting_handle(), None)),
            (None, _) if self.channel.is_some() => {}
            (None, Whom::CodeMaker(code)) => {
                let nameplate = code.nameplate;
                messages.push(ToRendezvous::Join { nameplate });
            }
            (None, _) => {
                let claim = self.code.as_ref().map(|listening| listening.claim.clone());
                messages.push(ToRendezvous::Listen { claim });
            }
        }
        messages
    }

    pub(super) fn meet(&self, handle: Handle, already: Option<SessionId>) {
        let role = self.config.role;
        self.link.send(ToRendezvous::Meet {
            handle,
            role,
            already,
        });
    }

    /// Waits for the peer of a channel no more.
    pub(super) fn unmeet(&self, channel: Channel) {
        let role = self.config.role;
        let handle = channel.handle;
        self.link.send(ToRendezvous::Unmeet { handle, role });
        if let Some(session) = channel.carried_by {
            self.link.send(ToRendezvous::Leave { session });
        }
    }

    pub(super) fn unlisten(&self, listening: &ListenerCode, fate: Fate) {
        let nameplate = listening.code.nameplate;
        self.link.send(ToRendezvous::Unlisten { nameplate, fate });
    }

    pub(super) async fn handle_message(&mut self, message: FromRendezvous) {
        match message {
            FromRendezvous::Listening(claim) => self.on_listening(claim).await,
            FromRendezvous::Introduced(introduction) => self.on_introduced(introduction).await,
            FromRendezvous::Signal { session, payload } => {
                self.handle_signal(session, &payload).await;
            }
            FromRendezvous::PeerSeen { session, addresses } => {
                let arriving = self.arriving.as_mut();
                if let Some(pending) = self.exchanges.get_mut(&session) {
                    if let Some(approach) = &pending.approach {
                        approach.on_peer_seen(addresses.clone());
                    }
                    pending.introduction.peer_seen.extend(addresses);
                    pending.peer_bound = true;
                } else if let Some(a) = arriving.filter(|a| a.introduction.session == session) {
                    if let Some(approach) = &a.approach {
                        approach.on_peer_seen(addresses.clone());
                    }
                    a.introduction.peer_seen.extend(addresses);
                    a.peer_bound = true;
                } else if self.carries(session) {
                    self.tell(MeetingEvent::PeerSeen(addresses)).await;
                }
            }
            FromRendezvous::PeerLeft {
                session,
                on_purpose,
            } => self.on_peer_left(session, on_purpose).await,
            FromRendezvous::Refused { refusal } => self.on_refused(refusal).await,
            FromRendezvous::Stopping => tracing::info!("the rendezvous is stopping"),
            FromRendezvous::Welcome { .. } | FromRendezvous::Pong => {}
        }
    }

    pub(super) async fn on_listening(&mut self, claim: NameplateClaim) {
        if let Some(listening) = &mut self.code
            && listening.code.nameplate == claim.nameplate
        {
            listening.claim = claim;
            return;
        }
        let code = Code {
            nameplate: claim.nameplate,
            words: Words::random(),
        };
        self.code = Some(ListenerCode {
            code: code.clone(),
            claim,
            attempts: Attempts::default(),
        });
        self.tell(MeetingEvent::Code(code)).await;
    }

    /// The code that leads to this meeting.
    pub(super) fn own_code(&self) -> Option<&Code> {
        match (&self.config.whom, &self.code) {
            (Whom::CodeMaker(code), _) => Some(code),
            (_, Some(listening)) => Some(&listening.code),
            (_, None) => None,
        }
    }

    pub(super) async fn on_refused(&mut self, refusal: Refusal) {
        let by_nameplate = matches!(
            refusal,
            Refusal::NameplateUnknown
                | Refusal::NameplateUsed
                | Refusal::NameplateBurned
                | Refusal::NameplateExpired
        );
        if by_nameplate && self.config.role == Role::Listener {
            // Its own code has waited for too long: another takes its place.
            self.code = None;
            self.register();
            return;
        }
        let code = match refusal {
            Refusal::NameplateUnknown => ErrorCode::NameplateUnknown,
            Refusal::NameplateUsed | Refusal::NameplateBurned | Refusal::NameplateExpired => {
                ErrorCode::CodeExpired
            }
            Refusal::NameplateBusy => {
                self.retry_at = Some(Instant::now() + RETRY);
                return;
            }
            Refusal::NobodyThere => {
                self.retry_at = Some(Instant::now() + RETRY);
                return;
            }
            Refusal::Limit { retry_after_s } => {
                let pause = Duration::from_secs(u64::from(retry_after_s).clamp(1, 60));
                self.retry_at = Some(Instant::now() + pause);
                return;
            }
            Refusal::NoSuchSession => return,
            Refusal::AccessKey | Refusal::Full | Refusal::Protocol => {
                let authority = self.config.rendezvous.authority();
                self.fail(LinkError::Refused { authority, refusal }.into())
                    .await;
                return;
            }
        };
        let hint = match refusal {
            Refusal::NameplateUnknown => {
                "check the code's number, and that p2pdbg listen still runs with the same rendezvous"
            }
            _ => "ask for the code that p2pdbg listen shows now",
        };
        self.fail(Failure::new(code, refusal.to_string()).hint(hint))
            .await;
    }

    pub(super) fn handle_command(&mut self, command: MeetingCommand) {
        match command {
            MeetingCommand::Message(message) => {
                if let Some((session, payload)) =
                    self.channel.as_mut().and_then(|c| c.seal(&message))
                {
                    self.link.send(ToRendezvous::Signal { session, payload });
                }
            }
            MeetingCommand::SessionOver => {
                if let Some(channel) = self.channel.take() {
                    self.unmeet(channel);
                }
                if self.config.role == Role::Listener {
                    self.register();
                }
            }
            MeetingCommand::Doubt => {
                self.link.nudge();
                self.look_again();
            }
            MeetingCommand::Remember(peer) => {
                self.known = Some(*peer);
                if self.config.role == Role::Listener {
                    self.register();
                }
            }
        }
    }

    /// What failed before may work now, and what seems to stand may be gone.
    fn look_again(&mut self) {
        if self.retry_at.is_some() {
            self.retry_at = Some(Instant::now());
        }
        // Nothing but sending shows that the other end of the link is gone, or tells it this end's address.
        if let (Some(_), Some(channel)) = (&self.up, &self.channel) {
            self.meet(channel.handle.clone(), channel.carried_by);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let exchanges = self.exchanges.values().map(|p| p.began + EXCHANGE);
        let arriving = self.arriving.as_ref().map(|a| a.began + EXCHANGE);
        exchanges.chain(arriving).chain(self.retry_at).min()
    }

    pub(super) async fn on_timeout(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.register();
        }
        if self
            .arriving
            .as_ref()
            .is_some_and(|a| a.began + EXCHANGE <= now)
            && let Some(late) = self.arriving.take()
        {
            let session = late.introduction.session;
            self.link.send(ToRendezvous::Leave { session });
            self.retry_at = Some(now + RETRY);
        }
        let late = self
            .exchanges
            .iter()
            .filter(|(_, p)| p.began + EXCHANGE <= now);
        let late: Vec<SessionId> = late.map(|(session, _)| *session).collect();
        for session in late {
            self.link.send(ToRendezvous::Leave { session });
            self.on_exchange_failed(session, pairing::Failure::PeerLeft)
                .await;
        }
    }

    pub(super) fn signal(&self, session: SessionId, signal: &Signal) {
        if let Some(payload) = encode(signal).filter(|payload| payload.len() <= MAX_SIGNAL) {
            self.link.send(ToRendezvous::Signal { session, payload });
        }
    }

    pub(super) async fn fail(&mut self, failure: Failure) {
        self.over = true;
        self.tell(MeetingEvent::Failed(failure)).await;
    }

    pub(super) async fn tell(&self, event: MeetingEvent) {
        // Without an owner the task ends at its next step.
        let _ = self.report.send(event).await;
    }
}
