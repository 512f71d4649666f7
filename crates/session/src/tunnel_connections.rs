//! The QUIC connections of a session: dialled, accepted, watched, by the epochs of their tunnels.
//!
//! Which of them is used, and when one is dialled, is decided in [`crate::decisions`].

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Buf;
use p2pdbg_ledger::{CarrierHeader, CopyHeader, Epochs, Frame};
use p2pdbg_pairing::TunnelKey;
use p2pdbg_path::PathSocket;
use p2pdbg_proto::{
    rendezvous::Role,
    tunnel::{PathKind, TunnelMessage, close},
};
use p2pdbg_punch::SocketId;
use p2pdbg_tunnel as tunnel;
use p2pdbg_tunnel::{Call, ControlStreamReader, Tunnel, TunnelConfig, TunnelError};
use quinn::{ConnectionError, Endpoint, Incoming, RecvStream};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    decisions::{Counters, TunnelEnd, TunnelFacts},
    event::SessionEvent,
    rejections::{Rejection, Rejections},
};
use crate::stream::{BestTunnel, send_frame};

/// Handshakes of one socket that may go on at once; more are refused.
const HANDSHAKES: usize = 8;

/// From so many handshakes on, a peer must show that it receives at its address before it begins another.
const UNVALIDATED: usize = 2;

/// What a dialled tunnel becomes.
type Dialing = std::pin::Pin<
    Box<dyn Future<Output = Result<(Tunnel, ControlStreamReader), TunnelError>> + Send>,
>;

/// The connections of a session's tunnels.
pub(super) struct Connections {
    role: Role,
    config: TunnelConfig,
    key: TunnelKey,
    /// Shared with the handshakes in flight, which accept an epoch at the moment when its proof has verified.
    epochs: Arc<Mutex<Epochs>>,
    /// By epoch, from the moment at which its proofs have verified until it has ended.
    tunnels: HashMap<u64, Connected>,
    best: watch::Sender<Option<Tunnel>>,
    /// What accepts tunnels on a socket, and keeps it open.
    accepting: HashMap<SocketId, AbortHandle>,
    /// On which the other end was last told something.
    told: Option<u64>,
    rejections: Rejections,
    events: mpsc::Sender<SessionEvent>,
}

struct Connected {
    tunnel: Tunnel,
    /// What the peer says on it, until it is adopted.
    control: Option<ControlStreamReader>,
}

impl Connections {
    pub(super) fn new(
        role: Role,
        config: TunnelConfig,
        key: TunnelKey,
        events: mpsc::Sender<SessionEvent>,
    ) -> Self {
        Self {
            role,
            config,
            key,
            epochs: Arc::default(),
            tunnels: HashMap::new(),
            best: watch::Sender::new(None),
            accepting: HashMap::new(),
            told: None,
            rejections: Rejections::default(),
            events,
        }
    }

    /// What has been rejected so far.
    pub(super) fn rejections(&self) -> &Rejections {
        &self.rejections
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
        self.tunnels.get(&epoch).map(|connected| &connected.tunnel)
    }

    /// Whether it was this tunnel on which the other end was last told something.
    pub(super) fn heard_last(&self, epoch: u64) -> bool {
        self.told == Some(epoch)
    }

    /// The other end was told on this one what it must know.
    pub(super) fn told(&mut self, epoch: u64) {
        self.told = Some(epoch);
    }

    /// Has streams use this tunnel from now on.
    pub(super) fn use_for_streams(&self, epoch: Option<u64>) {
        let tunnel = epoch.and_then(|epoch| self.find(epoch)).cloned();
        self.best.send_replace(tunnel);
    }

    /// What QUIC has counted on the tunnels that are adopted.
    pub(super) fn counters(&self) -> Vec<Counters> {
        let adopted = self.tunnels.values().filter(|c| c.control.is_none());
        adopted
            .map(|connected| counters(&connected.tunnel))
            .collect()
    }

    /// Keeps a tunnel that came up, until it is adopted or closed.
    pub(super) fn insert(&mut self, tunnel: Tunnel, control: ControlStreamReader) -> TunnelFacts {
        let facts = TunnelFacts {
            epoch: tunnel.epoch,
            path: tunnel.path,
            local: tunnel.local,
            remote: tunnel.connection.remote_address(),
            rtt: tunnel.rtt(),
        };
        let control = Some(control);
        let connected = Connected { tunnel, control };
        self.tunnels.insert(facts.epoch, connected);
        facts
    }

    /// Watches a tunnel from now on: its control messages, its carriers, its end.
    pub(super) fn adopt(&mut self, epoch: u64, tasks: &mut JoinSet<()>) -> Option<&Tunnel> {
        let connected = self.tunnels.get_mut(&epoch)?;
        let control = connected.control.take()?;
        watch(&connected.tunnel, control, &self.events, tasks);
        Some(&connected.tunnel)
    }

    /// Forgets a tunnel that has ended.
    pub(super) fn remove(&mut self, epoch: u64) {
        self.tunnels.remove(&epoch);
    }

    /// Dials a tunnel, as the connector.
    pub(super) fn dial(&self, endpoint: Endpoint, remote: SocketAddr, path: PathKind) -> Dialing {
        let epoch = lock(&self.epochs).draw();
        let (config, key) = (self.config.clone(), self.key.clone());
        Box::pin(async move { tunnel::dial(&endpoint, &config, remote, path, epoch, &key).await })
    }

    /// Goes on with the call that was begun before there was a session.
    pub(super) fn complete(&self, endpoint: Endpoint, call: Call) -> Dialing {
        self.completion()(endpoint, call)
    }

    /// What goes on with a call, once there is one.
    fn completion(&self) -> impl FnOnce(Endpoint, Call) -> Dialing + Send + use<> {
        let (key, epochs) = (self.key.clone(), Arc::clone(&self.epochs));
        let admit = move |epoch| lock(&epochs).accept(epoch).is_ok();
        move |endpoint, call| {
            Box::pin(async move { tunnel::complete(&endpoint, call, &key, admit).await })
        }
    }

    /// Calls the connector, as the listener, from the socket that is given.
    pub(super) fn call(&self, given: oneshot::Receiver<PathSocket>, remote: SocketAddr) -> Dialing {
        let (config, complete) = (self.config.clone(), self.completion());
        Box::pin(async move {
            let Ok(PathSocket { endpoint, .. }) = given.await else {
                return Err(TunnelError::Lost("its socket is gone".into()));
            };
            let call = tunnel::call(endpoint.clone(), config, remote);
            complete(endpoint, call).await
        })
    }

    /// Numbers tunnels together with those that are called.
    pub(super) fn share_epochs(&mut self, epochs: Arc<Mutex<Epochs>>) {
        self.epochs = epochs;
    }

    /// Accepts tunnels on a socket from now on, as the listener, until [`Self::stop_accepting`].
    pub(super) fn accept_on(&mut self, socket: &PathSocket, tasks: &mut JoinSet<()>) {
        if self.role != Role::Listener || self.accepting.contains_key(&socket.id) {
            return;
        }
        socket.accept_with(&self.config.server);
        let endpoint = socket.endpoint.clone();
        let (config, key) = (self.config.clone(), self.key.clone());
        let acceptor = TunnelAcceptor {
            epochs: Arc::clone(&self.epochs),
            rejections: self.rejections.clone(),
            endpoint,
            config,
            key,
            events: self.events.clone(),
        };
        let accepting = tasks.spawn(acceptor.accept_all());
        self.accepting.insert(socket.id, accepting);
    }

    /// Lets go of a socket on which nobody comes any more. The tunnels that it has go on.
    pub(super) fn stop_accepting(&mut self, socket: SocketId) {
        if let Some(accepting) = self.accepting.remove(&socket) {
            accepting.abort();
        }
    }

    /// Says something on the tunnel in use. Without one it is not said: every new tunnel begins with all that matters,
    /// and one to which the streams move is told it again.
    pub(super) fn send(&mut self, message: TunnelMessage) {
        let Some(tunnel) = self.current() else {
            return;
        };
        let epoch = tunnel.epoch;
        tunnel.send(message);
        self.told = Some(epoch);
    }

    /// Says something on all tunnels, whichever carries it first.
    pub(super) fn send_everywhere(&self, message: &TunnelMessage) {
        let adopted = self.tunnels.values().filter(|c| c.control.is_none());
        adopted.for_each(|connected| connected.tunnel.send(message.clone()));
    }

    /// Sends a frame of the ledger on one tunnel.
    pub(super) fn send_frame(&self, epoch: u64, frame: Frame) {
        if let Some(tunnel) = self.find(epoch) {
            send_frame(tunnel, frame);
        }
    }

    /// Ends one tunnel, with one of the codes of [`close`]. One that was not adopted is forgotten at once, since nobody
    /// tells of its end.
    pub(super) fn close(&mut self, epoch: u64, code: u32) {
        if let Some(connected) = self.tunnels.get(&epoch) {
            connected.tunnel.close(code);
            if connected.control.is_some() {
                self.tunnels.remove(&epoch);
            }
        }
    }

    /// Ends all tunnels, by which the peer knows that the session is over, and waits until the sockets are quiet.
    pub(super) async fn close_everything(&mut self, patience: Duration, sockets: &[PathSocket]) {
        for (_, Connected { tunnel, .. }) in self.tunnels.drain() {
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

/// Why a connection ended, for the decisions: in words for a person, who has no use for QUIC's codes.
pub(super) fn end_of(error: &ConnectionError) -> TunnelEnd<'static> {
    let code = match error {
        ConnectionError::ApplicationClosed(close) => u32::try_from(close.error_code.into_inner()),
        ConnectionError::LocallyClosed => return TunnelEnd::Replaced,
        ConnectionError::TimedOut => return TunnelEnd::Lost("nothing was heard for 30 s"),
        ConnectionError::Reset => return TunnelEnd::Lost("the peer knows it no longer"),
        _ => return TunnelEnd::Lost("the connection failed"),
    };
    match code {
        Ok(close::DONE) => TunnelEnd::Goodbye,
        Ok(close::REPLACED | close::OLD_EPOCH) => TunnelEnd::Replaced,
        Ok(close::UNKNOWN_SESSION) => TunnelEnd::Lost("the peer knows nothing of the session"),
        _ => TunnelEnd::Lost("the peer found a fault in it"),
    }
}

fn counters(tunnel: &Tunnel) -> Counters {
    let stats = tunnel.connection.stats();
    Counters {
        epoch: tunnel.epoch,
        open: tunnel.is_open(),
        heard: stats.udp_rx.datagrams,
        sent: stats.udp_tx.datagrams,
        packets_sent: stats.path.sent_packets,
        packets_lost: stats.path.lost_packets,
        remote: tunnel.connection.remote_address(),
        rtt: stats.path.rtt,
    }
}

/// Watches a tunnel: its control messages, the carriers that the peer opens, and its end.
fn watch(
    tunnel: &Tunnel,
    control: ControlStreamReader,
    events: &mpsc::Sender<SessionEvent>,
    tasks: &mut JoinSet<()>,
) {
    let epoch = tunnel.epoch;
    let (connection, to) = (tunnel.connection.clone(), events.clone());
    tasks.spawn(async move {
        let wrap = |message| SessionEvent::Control(epoch, message);
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
        let _ = to.send(SessionEvent::TunnelEnded(epoch, why)).await;
    });
    let (connection, to) = (tunnel.connection.clone(), events.clone());
    tasks.spawn(async move {
        while let Ok(mut copy) = connection.read_datagram().await {
            if let Ok(header) = CopyHeader::decode(&copy) {
                copy.advance(CopyHeader::LEN);
                // The carrier brings it too, so a session that is busy can do without.
                let _ = to.try_send(SessionEvent::Copy(header, copy));
            }
        }
    });
}

async fn read_header(epoch: u64, mut carrier: RecvStream, events: mpsc::Sender<SessionEvent>) {
    let mut bytes = [0; CarrierHeader::LEN];
    // A carrier that was reset before it began is nobody's business. QUIC's limit bounds how many may dawdle.
    if carrier.read_exact(&mut bytes).await.is_err() {
        return;
    }
    match CarrierHeader::decode(&bytes) {
        Ok(header) => {
            let _ = events
                .send(SessionEvent::Carrier(epoch, header, carrier))
                .await;
        }
        Err(error) => {
            tracing::warn!(%error, "the peer opened a carrier with a bad header");
            let _ = carrier.stop(crate::stream::UNWANTED);
        }
    }
}

/// Accepts the tunnels that the peer dials to one socket, and rejects whatever else comes there.
struct TunnelAcceptor {
    endpoint: Endpoint,
    config: TunnelConfig,
    key: TunnelKey,
    epochs: Arc<Mutex<Epochs>>,
    rejections: Rejections,
    events: mpsc::Sender<SessionEvent>,
}

impl TunnelAcceptor {
    async fn accept_all(self) {
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else {
                        return;
                    };
                    if handshakes.len() >= HANDSHAKES {
                        self.rejections.note(Rejection::Unfinished);
                        incoming.refuse();
                        continue;
                    }
                    if handshakes.len() >= UNVALIDATED && incoming.may_retry() {
                        // Whoever forges its address gets no further than this (RFC 9000 section 8.1.2).
                        self.rejections.note(Rejection::Unfinished);
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
        let (endpoint, rejections) = (self.endpoint.clone(), self.rejections.clone());
        async move {
            let admit = move |epoch| lock(&epochs).accept(epoch).is_ok();
            let error = match tunnel::accept(&endpoint, incoming, &config, &key, admit).await {
                Ok((tunnel, control)) => {
                    let _ = events.send(SessionEvent::TunnelUp(tunnel, control)).await;
                    return;
                }
                Err(error) => error,
            };
            tracing::info!(%error, "refused a tunnel");
            rejections.note(match error {
                TunnelError::Lost(_) => Rejection::Unfinished,
                TunnelError::Impostor(_) => Rejection::Impostor,
                TunnelError::Misbehaved => Rejection::Violation,
                TunnelError::OldEpoch => Rejection::OldEpoch,
            });
        }
    }
}

fn lock(epochs: &Mutex<Epochs>) -> std::sync::MutexGuard<'_, Epochs> {
    epochs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use quinn::{ApplicationClose, VarInt};

    use super::*;

    fn closed(code: u32) -> TunnelEnd<'static> {
        end_of(&ConnectionError::ApplicationClosed(ApplicationClose {
            error_code: VarInt::from_u32(code),
            reason: "\u{1b}[2J".into(),
        }))
    }

    #[test]
    fn goodbye_alone_ends_the_session_and_nothing_of_the_peers_words_is_told() {
        assert_eq!(closed(close::DONE), TunnelEnd::Goodbye);
        for code in [close::REPLACED, close::OLD_EPOCH] {
            assert_eq!(closed(code), TunnelEnd::Replaced);
        }
        let fault = TunnelEnd::Lost("the peer found a fault in it");
        assert_eq!(closed(close::PROTOCOL), fault);
        assert_eq!(closed(77), fault);
        let unknown = TunnelEnd::Lost("the peer knows nothing of the session");
        assert_eq!(closed(close::UNKNOWN_SESSION), unknown);
    }

    #[test]
    fn tunnel_that_this_end_closed_was_replaced_and_a_silent_one_is_lost() {
        assert_eq!(end_of(&ConnectionError::LocallyClosed), TunnelEnd::Replaced);
        for (error, words) in [
            (ConnectionError::TimedOut, "nothing was heard for 30 s"),
            (ConnectionError::Reset, "the peer knows it no longer"),
            (ConnectionError::VersionMismatch, "the connection failed"),
        ] {
            assert_eq!(end_of(&error), TunnelEnd::Lost(words));
        }
    }
}
