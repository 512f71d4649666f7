//! The task that meets peers.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_base::Failure;
use p2pdbg_net::deadline::sleep_until;
use p2pdbg_pairing as pairing;
use p2pdbg_pairing::Attempts;
use p2pdbg_proto::{
    code::{Code, Words},
    control::{
        Credential, Fate, FromRendezvous, Handle, MAX_SIGNAL, NameplateClaim, Role, SessionId,
        ToRendezvous, Voucher,
    },
    signal::Signal,
};
use p2pdbg_rendezvous_client::{Link, LinkConfig, LinkEvent, is_unknown};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Awaited, MeetingCommand, MeetingConfig, MeetingEvent, Whom,
    ahead::Ahead,
    channel::{Channel, encode},
    channels::Channels,
    exchanges::{Arriving, Pending},
    stun,
};

/// How long an exchange may take.
const EXCHANGE: Duration = Duration::from_secs(20);

/// The pause before a connector looks again for a listener that is not there yet.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// A listener is back at a rendezvous that was started again within this: it sends every 20 s, gives up after 25 s of
/// silence, and then dials.
const RETURN: Duration = Duration::from_secs(60);

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
    /// Whether a nameplate has been asked for and none was given yet, on this connection.
    pub(super) asked_for_code: bool,
    /// The peers to meet.
    pub(super) awaited: Awaited,
    /// What the rendezvous may say for this end.
    pub(super) ahead: Vec<Ahead>,
    pub(super) exchanges: HashMap<SessionId, Pending>,
    /// Peers that have paired and have not introduced themselves yet.
    pub(super) arriving: HashMap<SessionId, Arriving>,
    pub(super) channels: Channels,
    pub(super) retry_at: Option<Instant>,
    pub(super) over: bool,
}

pub(super) struct Rendezvous {
    pub(super) address: SocketAddr,
    pub(super) stun: Vec<SocketAddr>,
    pub(super) over_tcp: bool,
    /// Until when a listener that the process before this one knew may come back.
    pub(super) returns_until: Instant,
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
            route: config.paths.route.clone(),
            transports: config.transports,
        };
        let link = Link::open(link, credential, &config.paths.changes);
        let awaited = match &config.whom {
            Whom::Known(peer) => Awaited {
                known: vec![peer.clone()],
                code: false,
            },
            Whom::CodeHolder => Awaited {
                known: Vec::new(),
                code: true,
            },
            Whom::CodeMaker(_) => Awaited::default(),
            Whom::Several(awaited) => awaited.clone(),
        };
        let mut driver = Self {
            config,
            link,
            report,
            up: None,
            code: None,
            asked_for_code: false,
            attempts: Attempts::default(),
            awaited,
            ahead: Vec::new(),
            exchanges: HashMap::new(),
            arriving: HashMap::new(),
            channels: Channels::default(),
            retry_at: None,
            over: false,
        };
        driver.prepare();
        driver.link.begin_with(driver.registration());
        driver
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<MeetingCommand>,
        closing: CancellationToken,
    ) {
        let mut changes = self.config.paths.changes.subscribe();
        while !self.over {
            let deadline = self.deadline();
            self.link.is_awaited(self.person_waits());
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
                (session, event) = Self::approach_event(&mut self.exchanges, &mut self.arriving) => {
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

    /// Whether a person sits before `connect` and no session has begun. A listener waits for hours, and a session says
    /// itself when it needs the rendezvous.
    fn person_waits(&self) -> bool {
        self.config.paths.role == Role::Connector && self.channels.iter().next().is_none()
    }

    pub(super) fn leave(&mut self) {
        if let Some(listening) = self.code.take() {
            self.unlisten(&listening, Fate::Withdrawn);
        }
        for session in self.channels.iter().filter_map(|c| c.carried_by) {
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
                up_for,
                ..
            } => {
                let host = &self.config.rendezvous.host;
                let mut stun = stun::as_seen_from_here(stun, rendezvous, host).await;
                stun.retain(|server| !is_unknown(*server));
                self.up = Some(Rendezvous {
                    address: rendezvous,
                    stun,
                    over_tcp,
                    returns_until: Instant::now() + RETURN.saturating_sub(up_for),
                });
                self.asked_for_code = told.iter().any(is_request_for_code);
                self.tell(MeetingEvent::LinkUp).await;
                if told != self.registration() {
                    self.register();
                }
            }
            LinkEvent::Down(error) => {
                self.up = None;
                self.exchanges.clear();
                self.arriving.clear();
                self.asked_for_code = false;
                self.channels.on_link_down();
                self.prepare();
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
        self.prepare();
        let messages = self.registration();
        if self.up.is_some() {
            for message in &messages {
                if is_request_for_code(message) && std::mem::replace(&mut self.asked_for_code, true)
                {
                    // A second one would bring a second code.
                    continue;
                }
                self.link.send(message.clone());
            }
        }
        self.link.begin_with(messages);
    }

    /// What the rendezvous must know of this peer.
    fn registration(&self) -> Vec<ToRendezvous> {
        let mut messages = Vec::new();
        let role = self.config.paths.role;
        let meet = |handle, already| ToRendezvous::Meet {
            handle,
            role,
            already,
        };
        for channel in self.channels.iter() {
            messages.push(meet(channel.handle.clone(), channel.carried_by));
            if role == Role::Connector && channel.carried_by.is_some() {
                return messages;
            }
        }
        for peer in &self.awaited.known {
            messages.push(meet(peer.meeting_handle(), None));
        }
        if self.awaited.code {
            let claim = self.code.as_ref().map(|listening| listening.claim.clone());
            messages.push(ToRendezvous::Listen { claim });
        }
        if let Whom::CodeMaker(code) = &self.config.whom
            && messages.is_empty()
        {
            let nameplate = code.nameplate;
            messages.push(ToRendezvous::Join { nameplate });
        }
        // Before anything that may lead to an introduction.
        let mut all = self.preparations();
        all.extend(messages);
        all
    }

    pub(super) fn meet(&self, handle: Handle, already: Option<SessionId>) {
        let role = self.config.paths.role;
        self.link.send(ToRendezvous::Meet {
            handle,
            role,
            already,
        });
    }

    /// Waits for the peer of a channel no more.
    pub(super) fn unmeet(&self, channel: Channel) {
        let role = self.config.paths.role;
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
            FromRendezvous::PeerSeen {
                session,
                addresses,
                bound,
            } => self.on_peer_seen(session, addresses, bound).await,
            FromRendezvous::PeerLeft {
                session,
                on_purpose,
            } => self.on_peer_left(session, on_purpose).await,
            FromRendezvous::Refused { request, refusal } => {
                self.on_refused(request, refusal).await;
            }
            FromRendezvous::Vouched { voucher } => self.on_vouched(voucher),
            FromRendezvous::Stopping { .. } => tracing::info!("the rendezvous is stopping"),
            FromRendezvous::Pong => self.on_pong().await,
            FromRendezvous::Welcome { .. } => {}
        }
    }

    pub(super) async fn on_listening(&mut self, claim: NameplateClaim) {
        self.asked_for_code = false;
        if !self.awaited.code {
            let (nameplate, fate) = (claim.nameplate, Fate::Withdrawn);
            self.link.send(ToRendezvous::Unlisten { nameplate, fate });
            return;
        }
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
        self.prepare_anew();
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

    async fn on_peer_seen(&mut self, session: SessionId, addresses: Vec<IpAddr>, bound: bool) {
        if let Some(pending) = self.exchanges.get_mut(&session) {
            if let Some(approach) = &pending.approach {
                approach.on_peer_seen(addresses.clone(), bound);
            }
            pending.at.peer_seen.extend(addresses);
            pending.at.peer_bound |= bound;
        } else if let Some(arriving) = self.arriving.get_mut(&session) {
            if let Some(approach) = &arriving.approach {
                approach.on_peer_seen(addresses.clone(), bound);
            }
            arriving.at.peer_seen.extend(addresses);
            arriving.at.peer_bound |= bound;
        } else if let Some((channel, _)) = self.channels.carried_by(session) {
            let seen = MeetingEvent::PeerSeen(channel, addresses, bound);
            self.tell(seen).await;
        }
    }

    /// Lets this peer in without the access key from the next connection on.
    fn on_vouched(&mut self, voucher: Voucher) {
        if self.config.rendezvous.access_key.is_none() {
            self.link.use_credential(Credential::Voucher(voucher));
        }
    }

    /// Whether the rendezvous has served for so short a time that listeners are still coming back to it.
    pub(super) fn may_return(&self) -> bool {
        let up = self.up.as_ref();
        up.is_some_and(|up| Instant::now() < up.returns_until)
    }

    pub(super) fn handle_command(&mut self, command: MeetingCommand) {
        match command {
            MeetingCommand::Message(channel, message) => {
                let channel = self.channels.get_mut(channel);
                if let Some((session, payload)) = channel.and_then(|c| c.seal(&message)) {
                    self.link.send(ToRendezvous::Signal { session, payload });
                }
            }
            MeetingCommand::SessionOver(channel) => {
                if let Some(channel) = self.channels.remove(channel) {
                    self.unmeet(channel);
                }
                if self.config.paths.role == Role::Listener {
                    self.register();
                }
            }
            MeetingCommand::Doubt => {
                self.link.nudge();
                self.look_again();
            }
            MeetingCommand::Await(awaited) => self.on_await(awaited),
        }
    }

    fn on_await(&mut self, awaited: Awaited) {
        let before = std::mem::replace(&mut self.awaited, awaited);
        if self.config.paths.role == Role::Connector {
            return;
        }
        let role = self.config.paths.role;
        for peer in &before.known {
            let is_it = |other: &p2pdbg_pairing::KnownPeer| other.secret == peer.secret;
            if !self.awaited.known.iter().any(is_it) {
                let handle = peer.meeting_handle();
                self.link.send(ToRendezvous::Unmeet { handle, role });
            }
        }
        if !self.awaited.code
            && let Some(listening) = self.code.take()
        {
            self.unlisten(&listening, Fate::Withdrawn);
            self.drop_exchanges_by_code();
        }
        self.register();
    }

    /// What failed before may work now, and what seems to stand may be gone.
    fn look_again(&mut self) {
        if self.retry_at.is_some() {
            self.retry_at = Some(Instant::now());
        }
        // Nothing but sending shows that the other end of the link is gone, or tells it this end's address.
        if self.up.is_some() {
            for channel in self.channels.iter() {
                self.meet(channel.handle.clone(), channel.carried_by);
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let exchanges = self.exchanges.values().map(|p| p.began + EXCHANGE);
        let arriving = self.arriving.values().map(|a| a.began + EXCHANGE);
        exchanges.chain(arriving).chain(self.retry_at).min()
    }

    pub(super) async fn on_timeout(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.register();
        }
        for session in late(&self.arriving, |arriving| arriving.began, now) {
            self.arriving.remove(&session);
            self.link.send(ToRendezvous::Leave { session });
            self.retry_at = Some(now + RETRY);
        }
        for session in late(&self.exchanges, |pending| pending.began, now) {
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

/// The sessions in whose exchange nothing has come of it in time.
fn late<T>(
    table: &HashMap<SessionId, T>,
    began: impl Fn(&T) -> Instant,
    now: Instant,
) -> Vec<SessionId> {
    let late = table.iter().filter(|(_, one)| began(one) + EXCHANGE <= now);
    late.map(|(session, _)| *session).collect()
}

/// Whether a message asks for a new nameplate.
fn is_request_for_code(message: &ToRendezvous) -> bool {
    matches!(message, ToRendezvous::Listen { claim: None })
}
