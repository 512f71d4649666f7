//! The control connection, dialled again whenever it is lost.
//!
//! One task owns the connection. It says hello, then passes messages both ways, and reports when the connection comes
//! up and goes down so that its owner registers again; the rendezvous keeps nothing for a peer that is gone. When it
//! dials again, and how patiently, is [`Reconnection`]'s to say; a nudge says that the owner needs it now. When this
//! host's network changes, it begins a new attempt at once, or carries the connection that it has over to a new socket.

use std::{net::SocketAddr, time::Duration};

use p2pdbg_net::changes::{Changes, Listener};
use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, Refusal, ToRendezvous},
    url::{HostAt, RendezvousUrl},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    LinkError, TcpRoute, Transports,
    connection::{Connection, Reader},
    conversation::{Conversation, clock, read},
    dial::Dialling,
    dial_hosts::NoneReached,
    home::{Hosts, Plan},
    host_distance::nearest_first,
    link_history::{LinkHistory, pause},
    names::REACHED_AFTER,
    reconnection::Reconnection,
    tcp_fallback::{Reached, TcpBesideQuic, TcpFallback},
};

/// A nudge that came so long before the connection was lost meant its loss.
const IN_NEED: Duration = Duration::from_secs(10);

/// An attempt that is older when the network changes is begun anew: its packets are repeated ever more rarely.
const FRESH: Duration = Duration::from_millis(500);

/// How long the owner may take to say what the next connection begins with, once it has heard that there is none.
const PREPARES: Duration = Duration::from_secs(1);

/// How long the rendezvous may take to answer the hello.
const GREETING: Duration = Duration::from_secs(6);

/// How many messages may wait in either direction.
const QUEUE: usize = 256;

/// How long closing a link may take in all; its goodbye takes a second or two where nobody answers.
const CLOSES: Duration = Duration::from_secs(10);

/// A connection on which the rendezvous has said welcome.
type Connected = (Reader, Conversation);

/// What the link tells its owner.
#[derive(Debug)]
pub enum LinkEvent {
    /// The connection stands, and the rendezvous knows nothing of this peer yet.
    Up {
        /// What it was told right after the hello, as [`Link::begin_with`] had it then.
        told: Vec<ToRendezvous>,
        /// This peer's address as the rendezvous sees it.
        observed: SocketAddr,
        /// Where the rendezvous is reached: the address of the relay too.
        rendezvous: SocketAddr,
        /// Which of its hosts that is.
        at: HostAt,
        /// The addresses at which it answers STUN; empty if it does not.
        stun: Vec<SocketAddr>,
        /// Whether it took TCP to reach it.
        over_tcp: bool,
        /// For how long it had served then.
        up_for: Duration,
    },
    /// A message of the rendezvous, in the order in which it came.
    Message(FromRendezvous),
    /// An attempt failed, or the connection was lost. The link tries again unless the error is final.
    Down(LinkError),
}

/// Where the link leads, and how.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The rendezvous: its hosts, its certificate, and the key that lets this peer in.
    pub url: RendezvousUrl,
    /// How it is reached over TCP.
    pub route: TcpRoute,
    /// Which transports may be used.
    pub transports: Transports,
}

/// A handle on the link; dropping it ends the connection.
#[derive(Debug)]
pub struct Link {
    outgoing: mpsc::Sender<ToRendezvous>,
    events: mpsc::Receiver<LinkEvent>,
    credentials: tokio::sync::watch::Sender<Credential>,
    first_words: tokio::sync::watch::Sender<Vec<ToRendezvous>>,
    closing: CancellationToken,
    /// When the owner last needed the rendezvous at once.
    nudged: watch::Sender<Option<Instant>>,
    awaited: watch::Sender<bool>,
    task: AbortOnDropHandle<()>,
}

impl Link {
    /// Begins to connect, with what lets this peer in at first.
    pub fn open(config: LinkConfig, credential: Credential, changes: &Changes) -> Self {
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (report, events) = mpsc::channel(QUEUE);
        let (credentials, credential) = tokio::sync::watch::channel(credential);
        let (first_words, first) = tokio::sync::watch::channel(Vec::new());
        let closing = CancellationToken::new();
        let (nudged, nudges) = watch::channel(None);
        let (awaited, is_awaited) = watch::channel(false);
        let driver = LinkDriver {
            nudged: nudges,
            hurries: false,
            awaited: is_awaited,
            policy: Reconnection::new(),
            hosts: Hosts::new(&config.url, config.route.remembered()),
            changes: changes.subscribe(),
            config,
            past: LinkHistory::default(),
            proved_at: None,
            refusal: None,
            credential,
            first_words: first,
            to_send,
            report,
            closing: closing.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(driver.run()));
        Self {
            outgoing,
            events,
            credentials,
            first_words,
            closing,
            nudged,
            awaited,
            task,
        }
    }

    /// Whether a person waits for the rendezvous, and not only a peer for others to come: then the link hurries
    /// whenever it is lost.
    pub fn is_awaited(&self, awaited: bool) {
        self.awaited
            .send_if_modified(|before| std::mem::replace(before, awaited) != awaited);
    }

    /// The owner needs the rendezvous now: a link that waits tries at once, and one that is lost, or is so within 10 s,
    /// hurries until it is up again.
    pub fn nudge(&self) {
        self.nudged.send_replace(Some(Instant::now()));
    }

    /// The next event; `None` when the link has given up after a final error.
    pub async fn event(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }

    /// Queues a message. While the connection is down it goes nowhere: what matters is said again after
    /// [`LinkEvent::Up`].
    pub fn send(&self, message: ToRendezvous) {
        if self.outgoing.try_send(message).is_err() {
            tracing::debug!("dropped a message to the rendezvous: the queue is full");
        }
    }

    /// What to say right after the hello, without a round trip between, at the next connection.
    pub fn begin_with(&self, messages: Vec<ToRendezvous>) {
        self.first_words.send_replace(messages);
    }

    /// What lets this peer in at the next connection.
    pub fn use_credential(&self, credential: Credential) {
        self.credentials.send_replace(credential);
    }

    /// Says goodbye after what is queued has been sent.
    pub async fn close(self) {
        self.closing.cancel();
        // The driver bounds its own goodbye, but not for how long nobody takes what it reports.
        let _ = timeout(CLOSES, self.task).await;
    }
}

/// How a connection has ended.
struct End {
    error: LinkError,
    /// For how long the rendezvous has asked to be left alone.
    asked: Option<Duration>,
    /// What takes its place at once.
    by_tcp: Option<Reached>,
}

struct LinkDriver {
    nudged: watch::Receiver<Option<Instant>>,
    /// Whether the owner has needed the rendezvous since it was lost.
    hurries: bool,
    awaited: watch::Receiver<bool>,
    policy: Reconnection,
    hosts: Hosts,
    changes: Listener,
    config: LinkConfig,
    past: LinkHistory,
    /// Where the host of the connection that there is has proved to be.
    proved_at: Option<SocketAddr>,
    /// Why a host will not have this peer, while another was still to be asked.
    refusal: Option<LinkError>,
    credential: tokio::sync::watch::Receiver<Credential>,
    first_words: tokio::sync::watch::Receiver<Vec<ToRendezvous>>,
    to_send: mpsc::Receiver<ToRendezvous>,
    report: mpsc::Sender<LinkEvent>,
    closing: CancellationToken,
}

impl LinkDriver {
    async fn run(mut self) {
        let closing = self.closing.clone();
        let mut ready = None;
        loop {
            let Some(attempt) = self.connect_anew(ready.take()).await else {
                return;
            };
            self.changes.forget();
            let error = match attempt {
                Ok(connected) => {
                    let began = Instant::now();
                    let Some(end) = self.converse(connected).await else {
                        return;
                    };
                    self.past.on_there();
                    self.policy.on_lost(began.elapsed(), end.asked);
                    // One that waited for a pause to pass would be stale.
                    ready = end.by_tcp.filter(|_| matches!(end.error, LinkError::ByTcp));
                    end.error
                }
                Err(error) => {
                    self.policy
                        .on_failed(matches!(error, LinkError::Busy { .. }));
                    self.hosts.on_failed();
                    self.past.judge(error, Instant::now())
                }
            };
            if let LinkError::Moved { .. } | LinkError::ByTcp = error {
                self.first_words.mark_unchanged();
                if self.report.send(LinkEvent::Down(error)).await.is_err() {
                    return;
                }
                if ready.is_some() {
                    // What was right for the first connection is not for this one, and nothing is dialled meanwhile.
                    let _ = timeout(PREPARES, self.first_words.changed()).await;
                }
                continue;
            }
            let lasting = !error.is_passing();
            let in_need = self.is_in_need();
            let pause = pause(&error, self.policy.next_wait(in_need));
            if self.report.send(LinkEvent::Down(error)).await.is_err() || lasting {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.nudged.changed() => {}
                _ = self.changes.changed() => {
                    self.policy.begin_anew();
                    self.config.route.names().begin_anew();
                }
                () = closing.cancelled() => return,
            }
        }
    }

    /// Whether somebody waits for the connection: the owner said so, or there has been none yet.
    fn is_in_need(&mut self) -> bool {
        let nudged = *self.nudged.borrow_and_update();
        self.hurries |= nudged.is_some_and(|at| at.elapsed() < IN_NEED);
        !self.past.was_up || self.hurries || *self.awaited.borrow()
    }

    /// Connects, and begins once more when the network changes meanwhile; `None` if the owner closes the link. What is
    /// `ready` is used first.
    async fn connect_anew(
        &mut self,
        mut ready: Option<Reached>,
    ) -> Option<Result<Connected, LinkError>> {
        let mut changes = self.changes.clone();
        let mut nudged = self.nudged.clone();
        let closing = self.closing.clone();
        let names = self.config.route.names().clone();
        loop {
            let began = Instant::now();
            let in_need = self.is_in_need();
            nudged.mark_unchanged();
            let attempt = self.connect(in_need, ready.take());
            tokio::pin!(attempt);
            let result = loop {
                tokio::select! {
                    result = &mut attempt => break Some(result),
                    _ = changes.changed() => {
                        names.begin_anew();
                        if began.elapsed() >= FRESH {
                            break None;
                        }
                    }
                    // A patient attempt repeats itself too rarely for one who is in need now.
                    Ok(()) = nudged.changed(), if !in_need => if began.elapsed() >= FRESH { break None },
                    () = closing.cancelled() => return None,
                }
            };
            if result.is_some() {
                return result;
            }
        }
    }

    /// Connects to one of the hosts.
    async fn dial(&mut self, in_need: bool) -> Result<(HostAt, Connection), LinkError> {
        let LinkConfig {
            url,
            route,
            transports,
        } = &self.config;
        let allowed = self.hosts.allowed_addresses();
        let (hosts, stagger) = match self.hosts.plan(in_need) {
            Plan::InOrder(hosts, stagger) => (hosts, stagger),
            Plan::Nearest(hosts, stagger) => {
                let named = self.hosts.named_alone();
                let hosts = nearest_first(hosts, named, &allowed, &route.ways()).await;
                (hosts, stagger)
            }
        };
        let dialling = Dialling {
            url: url.clone(),
            route: route.clone(),
            transports: *transports,
            allowed,
            reached_after: REACHED_AFTER,
            tcp_later: match self.past.needed_tcp {
                true => Duration::ZERO,
                false => self.policy.tcp_later(in_need, self.past.was_up),
            },
            patience: self.policy.patience(in_need),
            ends_with_patience: self.past.was_up,
        };
        let tried_all = self.hosts.are_all(&hosts);
        let NoneReached { error, hopeless } = match dialling.dial_in_order(hosts, stagger).await {
            Ok(reached) => return Ok(reached),
            Err(none) => none,
        };
        if !tried_all {
            return Err(match error.is_passing() {
                true => error,
                false => LinkError::OfOneHost(Box::new(error)),
            });
        }
        let (hosts, errors): (Vec<_>, Vec<_>) = hopeless.into_iter().unzip();
        let believed = self.hosts.on_nobody_else(&hosts);
        let refusal = self.refusal.take().into_iter().chain(errors).next();
        Err(refusal.filter(|_| believed).unwrap_or(error))
    }

    fn hello(&mut self) -> ToRendezvous {
        ToRendezvous::Hello {
            credential: self.credential.borrow_and_update().clone(),
            agent: concat!("p2pdbg/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// What there is besides a connection to this host.
    fn beside(&self, at: &HostAt, over_tcp: bool) -> TcpFallback {
        if self.hosts.are_several() {
            return TcpFallback::Hosts;
        }
        if over_tcp {
            return TcpFallback::Nothing;
        }
        let by_tcp = Dialling {
            url: self.config.url.clone(),
            route: self.config.route.clone(),
            transports: Transports::Tcp,
            allowed: self.hosts.allowed_addresses(),
            reached_after: Duration::ZERO,
            tcp_later: Duration::ZERO,
            patience: self.policy.patience(true),
            ends_with_patience: true,
        };
        TcpFallback::Tcp(Box::new(TcpBesideQuic::new(at.clone(), by_tcp)))
    }

    async fn connect(
        &mut self,
        in_need: bool,
        ready: Option<Reached>,
    ) -> Result<Connected, LinkError> {
        let (at, connection) = match ready {
            Some(reached) => reached,
            None => self.dial(in_need).await?,
        };
        let (rendezvous, over_tcp) = (connection.remote, connection.is_over_tcp());
        self.config.route.note_found(rendezvous, &at);
        self.past.on_connected(over_tcp);
        self.hurries = false;
        let (mut reader, writer, rest) = connection.open().await?;
        let mut conversation = Conversation::new(writer, rest, self.beside(&at, over_tcp));
        let hello = self.hello();
        conversation.say(&hello).await?;
        let told = self.first_words.borrow_and_update().clone();
        for message in &told {
            conversation.say(message).await?;
        }
        let authority = at.to_string();
        let answer =
            timeout(GREETING, read(&mut reader))
                .await
                .map_err(|_| LinkError::Unreachable {
                    authority: authority.clone(),
                })??;
        match answer {
            FromRendezvous::Welcome {
                observed,
                stun,
                up_s,
            } => {
                self.on_welcome(&at, rendezvous, over_tcp);
                let up = LinkEvent::Up {
                    told,
                    observed,
                    rendezvous,
                    at,
                    stun,
                    over_tcp,
                    up_for: Duration::from_secs(up_s.into()),
                };
                if let Some(clock) = clock(&hello) {
                    conversation.say(&clock).await?;
                }
                // What was queued for the connection before this one has lost its meaning.
                while self.to_send.try_recv().is_ok() {}
                let _ = self.report.send(up).await;
                Ok((reader, conversation))
            }
            FromRendezvous::Refused { refusal, .. } => {
                Err(self.turned_away(&at, LinkError::Refused { authority, refusal }))
            }
            _ => Err(self.turned_away(&at, LinkError::Version { authority })),
        }
    }

    /// This host has said welcome, at that address.
    fn on_welcome(&mut self, at: &HostAt, rendezvous: SocketAddr, over_tcp: bool) {
        self.past.on_there();
        self.hosts.on_up(at, rendezvous.ip());
        self.refusal = None;
        self.proved_at = self.config.route.proved_at(at, rendezvous, over_tcp);
        if let Some(address) = self.proved_at {
            self.config.route.names().note_reached(at, address);
        }
        self.config.route.note_nodes(None);
    }

    /// The error of a host that does not take this peer, which is not the last word while there are others.
    fn turned_away(&mut self, at: &HostAt, error: LinkError) -> LinkError {
        let is_for_now = matches!(
            error,
            LinkError::Refused {
                refusal: Refusal::Limit { .. },
                ..
            }
        );
        if is_for_now && self.hosts.on_delayed(at) {
            return error;
        }
        match self.hosts.on_refused(at) {
            true => {
                self.refusal = Some(error.clone());
                LinkError::OfOneHost(Box::new(error))
            }
            false => error,
        }
    }

    /// What concerns the hosts of the rendezvous. That this peer goes to another one ends the connection; that it does
    /// not is for the owner, which waits for what it has asked for.
    fn on_nodes(&mut self, message: FromRendezvous) -> Option<LinkError> {
        match message {
            FromRendezvous::Nodes { own, nodes, relays } => {
                let known = self.hosts.on_told(own, nodes, relays);
                // It may have another name than the one by which it was reached.
                if let (Some(address), Some(home)) = (self.proved_at, self.hosts.home()) {
                    self.config.route.names().note_reached(home, address);
                }
                if known.is_some() {
                    self.config.route.remember(&self.hosts.to_remember());
                }
                self.config.route.note_nodes(known);
            }
            FromRendezvous::GoTo { node } => {
                let now = Instant::now().into_std();
                if self.hosts.go_to(now, &node.at) {
                    let authority = node.at.to_string();
                    return Some(LinkError::Moved { authority });
                }
                tracing::debug!(%node, "not going there");
                // A hint, and to wait here would be to hear of nothing else.
                let message = FromRendezvous::GoTo { node };
                let _ = self.report.try_send(LinkEvent::Message(message));
            }
            _ => {}
        }
        None
    }

    /// Passes messages until the connection is lost, or the owner closes the link (`None`).
    async fn converse(&mut self, connected: Connected) -> Option<End> {
        let (reader, mut conversation) = connected;
        let (heard, mut last_heard) = watch::channel(Instant::now());
        let (asked, asked_to_stay_away) = watch::channel(None);
        let (for_link, mut of_nodes) = mpsc::channel(4);
        let listening = tokio::spawn(listen(reader, self.report.clone(), heard, asked, for_link));
        let mut listening = AbortOnDropHandle::new(listening);
        let error = loop {
            conversation.on_heard(*last_heard.borrow_and_update());
            let step = tokio::select! {
                ended = &mut listening => Err(ended.unwrap_or_else(|e| LinkError::lost(&e))),
                message = self.to_send.recv() => match message {
                    Some(message) => conversation.say(&message).await,
                    None => Err(LinkError::Lost("closed".into())),
                },
                _ = self.changes.changed() => {
                    self.config.route.names().begin_anew();
                    conversation.on_network_changed().await
                }
                Ok(()) = self.nudged.changed() => {
                    self.nudged.mark_unchanged();
                    conversation.on_needed().await
                }
                Some(message) = of_nodes.recv() => self.on_nodes(message).map_or(Ok(()), Err),
                Ok(()) = last_heard.changed() => Ok(()),
                due = conversation.due() => conversation.see_to(due).await,
                () = self.closing.cancelled() => {
                    while let Ok(message) = self.to_send.try_recv() {
                        let _ = conversation.say(&message).await;
                    }
                    conversation.close(async {
                        let _ = (&mut listening).await;
                    })
                    .await;
                    return None;
                }
            };
            if let Err(error) = step {
                break error;
            }
        };
        conversation.abandon(&error);
        Some(End {
            error,
            asked: *asked_to_stay_away.borrow(),
            by_tcp: conversation.take_by_tcp(),
        })
    }
}

/// Passes on what the rendezvous says until there is no more; gives why.
async fn listen(
    mut reader: Reader,
    report: mpsc::Sender<LinkEvent>,
    heard: watch::Sender<Instant>,
    asked: watch::Sender<Option<Duration>>,
    for_link: mpsc::Sender<FromRendezvous>,
) -> LinkError {
    loop {
        let message = match read(&mut reader).await {
            Ok(message) => message,
            Err(error) => return error,
        };
        heard.send_replace(Instant::now());
        if let FromRendezvous::Stopping { after_ms } = message {
            asked.send_replace(Some(Duration::from_millis(after_ms.into())));
        }
        if let FromRendezvous::Nodes { .. } | FromRendezvous::GoTo { .. } = message {
            if for_link.send(message).await.is_err() {
                return LinkError::Lost("nobody listens to it".into());
            }
            continue;
        }
        if report.send(LinkEvent::Message(message)).await.is_err() {
            return LinkError::Lost("nobody listens to it".into());
        }
    }
}
