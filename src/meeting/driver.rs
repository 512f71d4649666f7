//! The task that meets peers.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use p2pdbg_wire::{
    code::{Code, Words},
    control::{
        Credential, Fate, FromRendezvous, Handle, Introduction, MAX_SIGNAL, NameplateClaim, Place,
        Refusal, Role, SessionId, ToRendezvous,
    },
    signal::{AbortReason, MAX_NAME, PeerInfo, PeerMessage, SessionTag, Signal},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    MeetingCommand, MeetingConfig, MeetingEvent, MeetingPoint, Met, Whom,
    channel::{Channel, Remains, encode, split},
};
use crate::{
    failure::{ErrorCode, Failure},
    pairing::{self, Attempts, CodeFate, Exchange, KnownPeer, Next},
    rendezvous::{Link, LinkError, LinkEvent},
    same_host::host_tag,
};

/// How long an exchange may take.
const EXCHANGE: Duration = Duration::from_secs(20);

/// Exchanges that may be under way at once; whoever comes then is told that the listener is busy.
const EXCHANGES: usize = 4;

/// The pause before a connector looks again for a listener that is not there yet.
const RETRY: Duration = Duration::from_secs(2);

pub(super) struct Driver {
    config: MeetingConfig,
    link: Link,
    report: mpsc::Sender<MeetingEvent>,
    /// Where the rendezvous is, while the link is up.
    up: Option<Rendezvous>,
    /// The code that leads to this listener.
    code: Option<ListenerCode>,
    /// How often the connector's code was tried.
    attempts: Attempts,
    /// The peer to meet when no session runs.
    known: Option<KnownPeer>,
    exchanges: HashMap<SessionId, Pending>,
    /// A peer that has paired and has not introduced itself yet.
    arriving: Option<Arriving>,
    channel: Option<Channel>,
    retry_at: Option<Instant>,
    over: bool,
}

struct Rendezvous {
    address: SocketAddr,
    stun: Vec<SocketAddr>,
}

struct ListenerCode {
    code: Code,
    claim: NameplateClaim,
    attempts: Attempts,
}

struct Pending {
    /// Taken out while a signal is handled.
    exchange: Option<Exchange>,
    introduction: Introduction,
    /// Whether the peer has bound its leg.
    peer_bound: bool,
    began: Instant,
}

struct Arriving {
    channel: Channel,
    remains: Remains,
    introduction: Introduction,
    code: Option<Code>,
    peer_bound: bool,
    began: Instant,
}

impl Driver {
    pub(super) fn new(config: MeetingConfig, report: mpsc::Sender<MeetingEvent>) -> Self {
        let credential = match &config.rendezvous.access_key {
            Some(key) => Credential::AccessKey(key.clone()),
            None => Credential::None,
        };
        let link = Link::open(config.rendezvous.clone(), credential);
        let known = match &config.whom {
            Whom::Known(peer) => Some(peer.clone()),
            Whom::CodeHolder | Whom::CodeMaker(_) => None,
        };
        Self {
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
        }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<MeetingCommand>,
        closing: CancellationToken,
    ) {
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

    fn leave(&mut self) {
        if let Some(listening) = self.code.take() {
            self.unlisten(&listening, Fate::Withdrawn);
        }
        if let Some(session) = self.channel.as_ref().and_then(|c| c.carried_by) {
            self.link.send(ToRendezvous::Leave { session });
        }
    }

    async fn handle_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up {
                rendezvous, stun, ..
            } => {
                self.up = Some(Rendezvous {
                    address: rendezvous,
                    stun: with_addresses(stun, rendezvous),
                });
                self.tell(MeetingEvent::LinkUp).await;
                self.register();
            }
            LinkEvent::Down(error) => {
                self.up = None;
                self.exchanges.clear();
                self.arriving = None;
                if let Some(channel) = &mut self.channel {
                    channel.carried_by = None;
                }
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
    fn register(&mut self) {
        if self.up.is_none() {
            return;
        }
        let role = self.config.role;
        if let Some(channel) = &self.channel {
            self.meet(channel.handle.clone(), channel.carried_by);
            if role == Role::Connector && channel.carried_by.is_some() {
                return;
            }
        }
        match (&self.known, &self.config.whom) {
            (Some(peer), _) => self.meet(peer.meeting_handle(), None),
            (None, Whom::CodeMaker(_)) if self.channel.is_some() => {}
            (None, Whom::CodeMaker(code)) => {
                let nameplate = code.nameplate;
                self.link.send(ToRendezvous::Join { nameplate });
            }
            (None, _) if self.channel.is_some() => {}
            (None, _) => {
                let claim = self.code.as_ref().map(|listening| listening.claim.clone());
                self.link.send(ToRendezvous::Listen { claim });
            }
        }
    }

    fn meet(&self, handle: Handle, already: Option<SessionId>) {
        let role = self.config.role;
        self.link.send(ToRendezvous::Meet {
            handle,
            role,
            already,
        });
    }

    /// Waits for the peer of a channel no more.
    fn unmeet(&self, channel: Channel) {
        let role = self.config.role;
        let handle = channel.handle;
        self.link.send(ToRendezvous::Unmeet { handle, role });
        if let Some(session) = channel.carried_by {
            self.link.send(ToRendezvous::Leave { session });
        }
    }

    fn unlisten(&self, listening: &ListenerCode, fate: Fate) {
        let nameplate = listening.code.nameplate;
        self.link.send(ToRendezvous::Unlisten { nameplate, fate });
    }

    async fn handle_message(&mut self, message: FromRendezvous) {
        match message {
            FromRendezvous::Listening(claim) => self.on_listening(claim).await,
            FromRendezvous::Introduced(introduction) => self.on_introduced(introduction).await,
            FromRendezvous::Signal { session, payload } => {
                self.handle_signal(session, &payload).await;
            }
            FromRendezvous::PeerSeen { session, addresses } => {
                let arriving = self.arriving.as_mut();
                if let Some(pending) = self.exchanges.get_mut(&session) {
                    pending.introduction.peer_seen.extend(addresses);
                    pending.peer_bound = true;
                } else if let Some(a) = arriving.filter(|a| a.introduction.session == session) {
                    a.introduction.peer_seen.extend(addresses);
                    a.peer_bound = true;
                } else if self.carries(session) {
                    self.tell(MeetingEvent::PeerSeen(addresses)).await;
                }
            }
            FromRendezvous::PeerLeft { session, .. } => self.on_peer_left(session).await,
            FromRendezvous::Refused { refusal } => self.on_refused(refusal).await,
            FromRendezvous::Stopping => tracing::info!("the rendezvous is stopping"),
            FromRendezvous::Welcome { .. } => {}
        }
    }

    async fn on_listening(&mut self, claim: NameplateClaim) {
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

    async fn on_introduced(&mut self, introduction: Introduction) {
        let voucher = Credential::Voucher(introduction.voucher.clone());
        if self.config.rendezvous.access_key.is_none() {
            self.link.use_credential(voucher);
        }
        let session = introduction.session;
        if let (Place::Handle(handle), Some(channel)) = (&introduction.place, &mut self.channel)
            && *handle == channel.handle
        {
            channel.carried_by = Some(session);
            if let Some(point) = self.point_of(&introduction) {
                self.tell(MeetingEvent::Introduced(point)).await;
            }
            return;
        }
        if self.exchanges.len() >= EXCHANGES {
            let reason = AbortReason::Busy;
            self.signal(session, &Signal::Abort { reason });
            self.link.send(ToRendezvous::Leave { session });
            return;
        }
        let own = self.config.identity.fingerprint();
        let role = self.config.role;
        let begun = match (&introduction.place, &self.known) {
            (Place::Nameplate(nameplate), _) => self
                .own_code()
                .filter(|code| code.nameplate == *nameplate)
                .map(|code| Exchange::by_code(role, code, own)),
            (Place::Handle(handle), Some(known)) if *handle == known.meeting_handle() => Some(
                Exchange::by_secret(role, &known.secret, own, known.fingerprint),
            ),
            (Place::Handle(_), _) => None,
        };
        let Some((exchange, signal)) = begun else {
            self.link.send(ToRendezvous::Leave { session });
            return;
        };
        self.signal(session, &signal);
        let pending = Pending {
            exchange: Some(exchange),
            introduction,
            peer_bound: false,
            began: Instant::now(),
        };
        self.exchanges.insert(session, pending);
        self.tell(MeetingEvent::Pairing).await;
    }

    /// The code that leads to this meeting.
    fn own_code(&self) -> Option<&Code> {
        match (&self.config.whom, &self.code) {
            (Whom::CodeMaker(code), _) => Some(code),
            (_, Some(listening)) => Some(&listening.code),
            (_, None) => None,
        }
    }

    async fn handle_signal(&mut self, session: SessionId, payload: &[u8]) {
        if let Some(pending) = self.exchanges.get_mut(&session) {
            let Some(exchange) = pending.exchange.take() else {
                return;
            };
            let step = exchange.handle_payload(payload);
            if let Some(reply) = &step.reply {
                self.signal(session, reply);
            }
            match step.next {
                Next::Wait(exchange) => {
                    if let Some(pending) = self.exchanges.get_mut(&session) {
                        pending.exchange = Some(exchange);
                    }
                }
                Next::Paired(paired) => self.on_paired(session, *paired),
                Next::Failed(failure) => self.on_exchange_failed(session, failure).await,
            }
            return;
        }
        if let Some(arriving) = &mut self.arriving
            && arriving.introduction.session == session
        {
            if let Some(PeerMessage::Introduce(info)) = arriving.channel.open(payload) {
                self.on_arrived(info).await;
            }
            return;
        }
        if self.carries(session)
            && let Some(message) = self.channel.as_mut().and_then(|c| c.open(payload))
        {
            self.tell(MeetingEvent::Message(message)).await;
        }
    }

    fn carries(&self, session: SessionId) -> bool {
        self.channel.as_ref().and_then(|c| c.carried_by) == Some(session)
    }

    fn on_paired(&mut self, session: SessionId, paired: pairing::Paired) {
        let Some(pending) = self.exchanges.remove(&session) else {
            return;
        };
        let (mut channel, remains) = split(paired, session);
        let introduce = PeerMessage::Introduce(PeerInfo {
            name: self.config.name.to_string(),
            agent: concat!("p2pdbg/", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host_tag(),
            session: self.channel.as_ref().map(|c| SessionTag::of(&c.handle)),
        });
        if let Some((session, payload)) = channel.seal(&introduce) {
            self.link.send(ToRendezvous::Signal { session, payload });
        }
        let by_code = matches!(pending.introduction.place, Place::Nameplate(_));
        let arriving = self.arriving.replace(Arriving {
            channel,
            remains,
            introduction: pending.introduction,
            peer_bound: pending.peer_bound,
            began: Instant::now(),
            code: self.own_code().filter(|_| by_code).cloned(),
        });
        if let Some(displaced) = arriving {
            let session = displaced.introduction.session;
            self.link.send(ToRendezvous::Leave { session });
        }
    }

    /// The peer has said who it is: a session can begin. One that was running is over.
    async fn on_arrived(&mut self, mut info: PeerInfo) {
        let Some(arriving) = self.arriving.take() else {
            return;
        };
        truncate(&mut info.name, MAX_NAME);
        truncate(&mut info.agent, MAX_NAME);
        if arriving.code.is_some()
            && let Some(listening) = self.code.take()
        {
            self.unlisten(&listening, Fate::Used);
            self.drop_exchanges_by_code();
        }
        let Some(mut at) = self.point_of(&arriving.introduction) else {
            return;
        };
        at.peer_bound = arriving.peer_bound;
        if let Some(channel) = &mut self.channel
            && info.session == Some(SessionTag::of(&channel.handle))
        {
            // The same process, met at another place: what the two have goes on.
            channel.carried_by = Some(arriving.introduction.session);
            self.tell(MeetingEvent::Introduced(at)).await;
            return;
        }
        if let Some(old) = self.channel.take() {
            self.unmeet(old);
        }
        let channel = arriving.channel;
        self.meet(channel.handle.clone(), channel.carried_by);
        if let (Role::Connector, Some(known)) = (self.config.role, &self.known) {
            // Only a listener waits for its peer's next process.
            let (handle, role) = (known.meeting_handle(), Role::Connector);
            self.link.send(ToRendezvous::Unmeet { handle, role });
        }
        self.channel = Some(channel);
        let Remains {
            peer,
            keys,
            pair_secret,
        } = arriving.remains;
        let met = Met {
            peer,
            info,
            keys,
            pair_secret,
            code: arriving.code,
            at,
        };
        self.tell(MeetingEvent::Met(Box::new(met))).await;
    }

    fn point_of(&self, introduction: &Introduction) -> Option<MeetingPoint> {
        let up = self.up.as_ref()?;
        Some(MeetingPoint {
            leg: introduction.leg.clone(),
            rendezvous: up.address,
            stun: up.stun.clone(),
            peer_seen: introduction.peer_seen.clone(),
            peer_bound: false,
        })
    }

    async fn on_peer_left(&mut self, session: SessionId) {
        if self.exchanges.contains_key(&session) {
            self.on_exchange_failed(session, pairing::Failure::PeerLeft)
                .await;
            return;
        }
        let arriving = |a: &Arriving| a.introduction.session == session;
        if self.arriving.as_ref().is_some_and(arriving) {
            self.arriving = None;
            self.register();
        }
        if self.carries(session)
            && let Some(channel) = &mut self.channel
        {
            // It comes back to the handle at which this side waits.
            channel.carried_by = None;
        }
    }

    async fn on_exchange_failed(&mut self, session: SessionId, failure: pairing::Failure) {
        let Some(pending) = self.exchanges.remove(&session) else {
            return;
        };
        if failure != pairing::Failure::PeerLeft {
            self.link.send(ToRendezvous::Leave { session });
        }
        let by_code = matches!(pending.introduction.place, Place::Nameplate(_));
        match (&mut self.code, &self.config.whom) {
            (Some(listening), _) if by_code => {
                if listening.attempts.failed(&failure) == CodeFate::Burned {
                    self.burn_code().await;
                } else {
                    self.tell(MeetingEvent::PairingFailed(failure)).await;
                }
            }
            (None, Whom::CodeMaker(_)) if by_code => {
                let fate = self.attempts.failed(&failure);
                let passing = failure == pairing::Failure::PeerLeft && fate == CodeFate::Good;
                if passing {
                    self.retry_at = Some(Instant::now() + RETRY);
                    self.tell(MeetingEvent::PairingFailed(failure)).await;
                } else {
                    self.fail(code_failure(&failure)).await;
                }
            }
            _ => match failure {
                pairing::Failure::PeerLeft
                | pairing::Failure::Aborted(AbortReason::Busy | AbortReason::Protocol) => {
                    self.retry_at = Some(Instant::now() + RETRY);
                    self.tell(MeetingEvent::PairingFailed(failure)).await;
                }
                lasting => self.fail(known_peer_failure(&lasting)).await,
            },
        }
    }

    async fn burn_code(&mut self) {
        if let Some(listening) = self.code.take() {
            self.unlisten(&listening, Fate::Burned);
        }
        self.drop_exchanges_by_code();
        self.tell(MeetingEvent::CodeBurned).await;
        self.register();
    }

    /// A code is good for one pairing or one wrong guess; whoever else was trying it at the same time has lost.
    fn drop_exchanges_by_code(&mut self) {
        let link = &self.link;
        self.exchanges.retain(|session, pending| {
            let by_code = matches!(pending.introduction.place, Place::Nameplate(_));
            if by_code {
                let session = *session;
                link.send(ToRendezvous::Leave { session });
            }
            !by_code
        });
    }

    async fn on_refused(&mut self, refusal: Refusal) {
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

    fn handle_command(&mut self, command: MeetingCommand) {
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
            MeetingCommand::NetworkChanged => self.link.nudge(),
            MeetingCommand::Remember(peer) => {
                self.known = Some(*peer);
                if self.config.role == Role::Listener {
                    self.register();
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let exchanges = self.exchanges.values().map(|p| p.began + EXCHANGE);
        let arriving = self.arriving.as_ref().map(|a| a.began + EXCHANGE);
        exchanges.chain(arriving).chain(self.retry_at).min()
    }

    async fn on_timeout(&mut self) {
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

    fn signal(&self, session: SessionId, signal: &Signal) {
        if let Some(payload) = encode(signal).filter(|payload| payload.len() <= MAX_SIGNAL) {
            self.link.send(ToRendezvous::Signal { session, payload });
        }
    }

    async fn fail(&mut self, failure: Failure) {
        self.over = true;
        self.tell(MeetingEvent::Failed(failure)).await;
    }

    async fn tell(&self, event: MeetingEvent) {
        // Without an owner the task ends at its next step.
        let _ = self.report.send(event).await;
    }
}

/// What a failed exchange by code means for the person who typed the code.
fn code_failure(failure: &pairing::Failure) -> Failure {
    let (code, hint) = match failure {
        pairing::Failure::Version { .. } => (
            ErrorCode::PeerVersion,
            "use the same version of p2pdbg at both ends",
        ),
        pairing::Failure::Protocol | pairing::Failure::Aborted(_) => (
            ErrorCode::PeerMisbehaved,
            "use the same version of p2pdbg at both ends, and try again",
        ),
        _ => (
            ErrorCode::CodeRefused,
            "the code is burned: use the one that p2pdbg listen shows now",
        ),
    };
    Failure::new(code, failure.to_string()).hint(hint)
}

/// What a failed exchange between known peers means.
fn known_peer_failure(failure: &pairing::Failure) -> Failure {
    let code = match failure {
        pairing::Failure::Version { .. } => ErrorCode::PeerVersion,
        pairing::Failure::Protocol => ErrorCode::PeerMisbehaved,
        _ => ErrorCode::PeerIdentity,
    };
    Failure::new(code, failure.to_string()).hint("pair the two hosts again with a new code")
}

/// Replaces unspecified addresses by the one at which the rendezvous was reached.
fn with_addresses(stun: Vec<SocketAddr>, rendezvous: SocketAddr) -> Vec<SocketAddr> {
    let reached = rendezvous.ip().to_canonical();
    stun.into_iter()
        .map(|address| {
            let ip = match address.ip() {
                ip if ip.is_unspecified() => reached,
                ip => ip.to_canonical(),
            };
            SocketAddr::new(ip, address.port())
        })
        .collect()
}

fn truncate(text: &mut String, limit: usize) {
    while text.len() > limit {
        text.pop();
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
