//! The tunnels of a session: which are up, and which one the streams should use.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use p2pdbg_ledger::{CarrierHeader, Epochs, Frame};
use p2pdbg_pairing::TunnelKey;
use p2pdbg_path::PathSocket;
use p2pdbg_proto::{
    control::Role,
    tunnel::{PathKind, TunnelMessage, close},
};
use p2pdbg_punch::SocketId;
use p2pdbg_tunnel as tunnel;
use p2pdbg_tunnel::{Call, ControlReader, Tunnel, TunnelConfig, TunnelError};
use quinn::{ConnectionError, Endpoint, Incoming, RecvStream, VarInt};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Event,
    pulse::{Health, Pulse},
    refusals::{Refusal, Refusals},
};
use crate::stream::{BestTunnel, send_frame};

/// Handshakes of one socket that may go on at once; more are refused.
const HANDSHAKES: usize = 8;

/// From so many handshakes on, a peer must show that it receives at its address before it begins another.
const UNVALIDATED: usize = 2;

/// What a dialled tunnel becomes.
type Dialing =
    std::pin::Pin<Box<dyn Future<Output = Result<(Tunnel, ControlReader), TunnelError>> + Send>>;

/// The tunnels that are up, in the order in which they came up.
pub(super) struct Tunnels {
    role: Role,
    config: TunnelConfig,
    key: TunnelKey,
    /// Shared with the handshakes in flight, which accept an epoch at the moment when its proof has verified.
    epochs: Arc<Mutex<Epochs>>,
    up: Vec<Up>,
    /// Kinds of path on which a tunnel is being dialled.
    dialling: Vec<PathKind>,
    best: watch::Sender<Option<Tunnel>>,
    was_up: bool,
    /// Sockets on which tunnels are accepted, with their ports, since a number may be given again.
    accepting: Vec<(SocketId, u16)>,
    refusals: Refusals,
}

struct Up {
    tunnel: Tunnel,
    pulse: Pulse,
    /// Whether the streams were told that it is silent, and have not used it since.
    forsaken: bool,
}

/// What a look at the tunnels has shown.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Whether one does not answer, and may be on its way to become suspect.
    pub(super) silent: bool,
    /// Whether to look again before long.
    pub(super) again_soon: bool,
    /// Whether one is suspect.
    pub(super) suspect: bool,
    /// Whether one was asked, because nothing had been heard of it for long.
    pub(super) asked: bool,
    /// Whether anything was sent or heard since the look before.
    pub(super) moved: bool,
    /// The kinds of path of those that have become suspect.
    pub(super) suspects: Vec<PathKind>,
}

impl Tunnels {
    pub(super) fn new(role: Role, config: TunnelConfig, key: TunnelKey) -> Self {
        Self {
            role,
            config,
            key,
            epochs: Arc::default(),
            up: Vec::new(),
            dialling: Vec::new(),
            best: watch::Sender::new(None),
            was_up: false,
            accepting: Vec::new(),
            refusals: Refusals::default(),
        }
    }

    /// What has been refused so far.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Follows the tunnel that streams should use.
    pub(super) fn best(&self) -> BestTunnel {
        self.best.subscribe()
    }

    /// The tunnel that streams use now.
    pub(super) fn current(&self) -> Option<&Tunnel> {
        let epoch = self.best.borrow().as_ref().map(|tunnel| tunnel.epoch)?;
        self.find(epoch)
    }

    pub(super) fn find(&self, epoch: u64) -> Option<&Tunnel> {
        let tunnels = self.up.iter().map(|up| &up.tunnel);
        tunnels.into_iter().find(|tunnel| tunnel.epoch == epoch)
    }

    /// Whether no tunnel has come up so far.
    pub(super) fn never_up(&self) -> bool {
        !self.was_up
    }

    /// Looks whether the tunnels are alive. When one is silent all are asked, so that it is known in time whether
    /// another can take its place. Those that are well and have not been heard for `unheard` are asked too, which keeps
    /// the mappings of the NATs open.
    pub(super) fn look(&mut self, unheard: Duration) -> Look {
        let now = Instant::now();
        let mut look = Look::default();
        let mut ask = false;
        for Up { tunnel, pulse, .. } in &mut self.up {
            let was_suspect = pulse.is_suspect();
            let beats = pulse.beats();
            match pulse.look(&tunnel.connection.stats(), now) {
                Health::Good if pulse.unheard(now) >= unheard => {
                    tunnel.send(TunnelMessage::Ping);
                    look.asked = true;
                }
                Health::Good => {}
                Health::Asked => look.again_soon = true,
                Health::Silent => {
                    look.again_soon = true;
                    look.silent = true;
                    ask = true;
                }
                Health::Suspect => {
                    tunnel.send(TunnelMessage::Ping);
                    look.suspect = true;
                    if !was_suspect {
                        look.suspects.push(tunnel.path);
                    }
                }
            }
            look.moved |= pulse.beats() != beats;
        }
        if ask {
            self.ask();
        }
        look
    }

    /// Asks all that are not suspect whether they are alive; those are asked anyway.
    pub(super) fn ask(&self) {
        for Up { tunnel, .. } in self.up.iter().filter(|up| !up.pulse.is_suspect()) {
            tunnel.send(TunnelMessage::Ping);
        }
    }

    /// Takes back what the last looks held against the tunnels: this process did not run in the meantime.
    pub(super) fn forgive(&mut self) {
        let now = Instant::now();
        self.up.iter_mut().for_each(|up| up.pulse.forgive(now));
    }

    /// Whether a tunnel of this kind is up and answers, or is being dialled.
    pub(super) fn has(&self, path: PathKind) -> bool {
        self.is_dialling(path) || self.serves(path)
    }

    /// Since when nothing has come from the peer, if that is so: there is no tunnel, or the one in use does not answer,
    /// and it is only in use because no other does.
    pub(super) fn out_of_reach_since(&self) -> Option<Instant> {
        let epoch = self.current().map(|tunnel| tunnel.epoch);
        match self.up.iter().find(|up| Some(up.tunnel.epoch) == epoch) {
            Some(up) => up.pulse.silent_since(),
            None => self.was_up.then(Instant::now),
        }
    }

    /// Whether a tunnel of this kind is up and answers.
    pub(super) fn serves(&self, path: PathKind) -> bool {
        let mut same = self.up.iter().filter(|up| same_kind(up.tunnel.path, path));
        same.any(|up| !up.pulse.is_suspect())
    }

    /// Begins to dial, unless one of this kind is being dialled already.
    pub(super) fn dial(
        &mut self,
        endpoint: Endpoint,
        remote: SocketAddr,
        path: PathKind,
    ) -> Option<Dialing> {
        if self.role != Role::Connector || self.is_dialling(path) {
            return None;
        }
        self.dialling.push(path);
        let epoch = lock(&self.epochs).draw();
        let (config, key) = (self.config.clone(), self.key.clone());
        Some(Box::pin(async move {
            tunnel::dial(&endpoint, &config, remote, path, epoch, &key).await
        }))
    }

    /// Goes on with the call that was begun before there was a session.
    pub(super) fn complete(&mut self, endpoint: Endpoint, call: Call) -> Dialing {
        let (key, epochs) = (self.key.clone(), Arc::clone(&self.epochs));
        let admit = move |epoch| lock(&epochs).accept(epoch).is_ok();
        Box::pin(async move { tunnel::complete(&endpoint, call, &key, admit).await })
    }

    /// Calls the connector, as the listener.
    pub(super) fn call(&mut self, endpoint: Endpoint, remote: SocketAddr) -> Dialing {
        let call = tunnel::call(endpoint.clone(), self.config.clone(), remote);
        self.complete(endpoint, call)
    }

    /// Numbers tunnels together with those that are called.
    pub(super) fn share_epochs(&mut self, epochs: Arc<Mutex<Epochs>>) {
        self.epochs = epochs;
    }

    /// Whether a direct tunnel to this address is up and answers.
    pub(super) fn reaches(&self, remote: SocketAddr) -> bool {
        let mut direct = self
            .up
            .iter()
            .filter(|up| up.tunnel.path == PathKind::Direct);
        direct.any(|up| {
            let at = up.tunnel.connection.remote_address();
            let at = SocketAddr::new(at.ip().to_canonical(), at.port());
            at == remote && !up.pulse.is_suspect()
        })
    }

    fn is_dialling(&self, path: PathKind) -> bool {
        self.dialling
            .iter()
            .any(|dialling| same_kind(*dialling, path))
    }

    pub(super) fn on_dial_failed(&mut self, path: PathKind) {
        self.dialling.retain(|dialling| !same_kind(*dialling, path));
    }

    /// Accepts tunnels on a socket from now on; the future runs until the socket is closed.
    pub(super) fn accept_on(
        &mut self,
        socket: &PathSocket,
        events: mpsc::Sender<Event>,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let name = (socket.id, socket.port);
        if self.role != Role::Listener || self.accepting.contains(&name) {
            return None;
        }
        self.accepting.push(name);
        socket.accept_with(&self.config.server);
        let endpoint = socket.endpoint.clone();
        let (config, key) = (self.config.clone(), self.key.clone());
        let door = Door {
            epochs: Arc::clone(&self.epochs),
            refusals: self.refusals.clone(),
            endpoint,
            config,
            key,
            events,
        };
        Some(door.accept_all())
    }

    /// Adds a tunnel that came up; returns the older ones of the same kind, which have had their time.
    pub(super) fn insert(&mut self, tunnel: Tunnel) -> Vec<u64> {
        let same = self
            .up
            .iter()
            .filter(|up| same_kind(up.tunnel.path, tunnel.path));
        let older = same.map(|up| up.tunnel.epoch).collect();
        self.dialling
            .retain(|dialling| !same_kind(*dialling, tunnel.path));
        let pulse = Pulse::new(Instant::now());
        self.up.push(Up {
            tunnel,
            pulse,
            forsaken: false,
        });
        self.was_up = true;
        older
    }

    /// Removes a tunnel that ended; returns its kind of path if it was known.
    pub(super) fn remove(&mut self, epoch: u64) -> Option<PathKind> {
        let index = self.up.iter().position(|up| up.tunnel.epoch == epoch)?;
        Some(self.up.remove(index).tunnel.path)
    }

    /// Settles which tunnel streams should use; whether it is another one than before.
    pub(super) fn choose(&mut self) -> bool {
        // Which of UDP and TCP carries the relay's leg may change under a tunnel, so it makes no difference here.
        let rank = |path| path == PathKind::Direct;
        let used = self.best.borrow().as_ref().map(|tunnel| tunnel.epoch);
        let open = self.up.iter().filter(|up| up.tunnel.is_open());
        let best = open.max_by_key(|Up { tunnel, pulse, .. }| {
            // Nobody changes to a tunnel that has been asked and has not answered either: then the peer is away, or
            // this host's network, and no other way would be better.
            let waits = pulse.is_unanswered() && used != Some(tunnel.epoch);
            let trusted = !pulse.is_suspect() && !waits;
            (trusted, rank(tunnel.path), tunnel.epoch)
        });
        let best = best.map(|up| up.tunnel.clone());
        let epoch = best.as_ref().map(|tunnel| tunnel.epoch);
        self.best.send_if_modified(|current| {
            let changed = current.as_ref().map(|tunnel| tunnel.epoch) != epoch;
            if changed {
                *current = best;
            }
            changed
        })
    }

    /// The next tunnel that does not answer while the one in use does. Each is given once; what the streams had on it
    /// must not wait until it answers again or ends.
    pub(super) fn poll_forsaken(&mut self) -> Option<u64> {
        let used = self.best.borrow().as_ref().map(|tunnel| tunnel.epoch)?;
        let is_used = |up: &Up| up.tunnel.epoch == used;
        if let Some(current) = self.up.iter_mut().find(|up| is_used(up)) {
            current.forsaken = false;
            if current.pulse.is_suspect() {
                return None;
            }
        }
        let silent = |up: &&mut Up| up.pulse.is_suspect() && !up.forsaken && !is_used(up);
        let silent = self.up.iter_mut().find(silent)?;
        silent.forsaken = true;
        Some(silent.tunnel.epoch)
    }

    /// Says something on the tunnel in use. Without one it is not said: every new tunnel begins with all that matters.
    pub(super) fn send(&self, message: TunnelMessage) {
        if let Some(tunnel) = self.current() {
            tunnel.send(message);
        }
    }

    /// Sends a frame of the ledger on one tunnel.
    pub(super) fn send_frame(&self, epoch: u64, frame: Frame) {
        if let Some(tunnel) = self.find(epoch) {
            send_frame(tunnel, frame);
        }
    }

    /// Ends one tunnel.
    pub(super) fn close(&self, epoch: u64, code: u32) {
        if let Some(tunnel) = self.find(epoch) {
            tunnel.close(code);
        }
    }

    /// Ends all tunnels of one kind.
    pub(super) fn close_all(&self, path: PathKind, code: u32) {
        for Up { tunnel, .. } in self.up.iter().filter(|up| up.tunnel.path == path) {
            tunnel.close(code);
        }
    }

    /// Ends all tunnels, by which the peer knows that the session is over, and waits until the sockets are quiet.
    pub(super) async fn close_everything(&mut self, patience: Duration, sockets: &[PathSocket]) {
        for Up { tunnel, .. } in self.up.drain(..) {
            tunnel.close(close::DONE);
        }
        let quiet = async {
            for socket in sockets {
                socket.endpoint.wait_idle().await;
            }
        };
        let _ = tokio::time::timeout(patience, quiet).await;
    }
}

/// Whether a connection ended because the peer ended the session.
pub(super) fn is_goodbye(why: &ConnectionError) -> bool {
    let done = VarInt::from_u32(close::DONE);
    matches!(why, ConnectionError::ApplicationClosed(close) if close.error_code == done)
}

/// Watches a tunnel: its control messages, the carriers that the peer opens, and its end.
pub(super) fn watch(
    tunnel: &Tunnel,
    control: ControlReader,
    events: &mpsc::Sender<Event>,
    tasks: &mut JoinSet<()>,
) {
    let epoch = tunnel.epoch;
    let (connection, to) = (tunnel.connection.clone(), events.clone());
    tasks.spawn(async move {
        let wrap = |message| Event::Control(epoch, message);
        tunnel::read_messages(connection, control, to, wrap).await;
    });
    let (connection, to) = (tunnel.connection.clone(), events.clone());
    tasks.spawn(async move {
        let mut headers = JoinSet::new();
        loop {
            tokio::select! {
                carrier = connection.accept_uni() => match carrier {
                    Ok(carrier) => {
                        headers.spawn(read_header(epoch, carrier, to.clone()));
                    }
                    Err(_) => break,
                },
                Some(_) = headers.join_next() => {}
            }
        }
        let why = connection.closed().await;
        let _ = to.send(Event::TunnelEnded(epoch, why)).await;
    });
}

async fn read_header(epoch: u64, mut carrier: RecvStream, events: mpsc::Sender<Event>) {
    let mut bytes = [0; CarrierHeader::LEN];
    // A carrier that was reset before it began is nobody's business. QUIC's limit bounds how many may dawdle.
    if carrier.read_exact(&mut bytes).await.is_err() {
        return;
    }
    match CarrierHeader::decode(&bytes) {
        Ok(header) => {
            let _ = events.send(Event::Carrier(epoch, header, carrier)).await;
        }
        Err(error) => {
            tracing::warn!(%error, "the peer opened a carrier with a bad header");
            let _ = carrier.stop(crate::stream::UNWANTED);
        }
    }
}

/// Where the peer's tunnels come in, and whoever else knocks there.
struct Door {
    endpoint: Endpoint,
    config: TunnelConfig,
    key: TunnelKey,
    epochs: Arc<Mutex<Epochs>>,
    refusals: Refusals,
    events: mpsc::Sender<Event>,
}

impl Door {
    async fn accept_all(self) {
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else {
                        return;
                    };
                    if handshakes.len() >= HANDSHAKES {
                        self.refusals.note(Refusal::Unfinished);
                        incoming.refuse();
                        continue;
                    }
                    if handshakes.len() >= UNVALIDATED && incoming.may_retry() {
                        // Whoever forges its address gets no further than this (RFC 9000 section 8.1.2).
                        self.refusals.note(Refusal::Unfinished);
                        let _ = incoming.retry();
                        continue;
                    }
                    handshakes.spawn(self.shake_hands(incoming));
                }
                Some(_) = handshakes.join_next() => {}
            }
        }
    }

    fn shake_hands(&self, incoming: Incoming) -> impl Future<Output = ()> + Send + use<> {
        let (config, key) = (self.config.clone(), self.key.clone());
        let (epochs, events) = (Arc::clone(&self.epochs), self.events.clone());
        let (endpoint, refusals) = (self.endpoint.clone(), self.refusals.clone());
        async move {
            let admit = move |epoch| lock(&epochs).accept(epoch).is_ok();
            let error = match tunnel::accept(&endpoint, incoming, &config, &key, admit).await {
                Ok((tunnel, control)) => {
                    let _ = events.send(Event::TunnelUp(tunnel, control)).await;
                    return;
                }
                Err(error) => error,
            };
            tracing::info!(%error, "refused a tunnel");
            refusals.note(match error {
                TunnelError::Lost(_) => Refusal::Unfinished,
                TunnelError::Impostor(_) => Refusal::Impostor,
                TunnelError::Misbehaved => Refusal::Violation,
                TunnelError::OldEpoch => Refusal::OldEpoch,
            });
        }
    }
}

/// Whether both are direct, or both lead over the relay.
fn same_kind(one: PathKind, other: PathKind) -> bool {
    (one == PathKind::Direct) == (other == PathKind::Direct)
}

fn lock(epochs: &Mutex<Epochs>) -> std::sync::MutexGuard<'_, Epochs> {
    epochs.lock().unwrap_or_else(PoisonError::into_inner)
}
