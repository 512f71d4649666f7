//! What is made ready for a session while its exchange is still under way, so that no round trip is spent twice.
//!
//! From the introduction on this end binds its leg of the relay, and asks the STUN servers where it is seen. Neither
//! has to do with who the peer is. No check goes to the peer's addresses: the engine knows of none before the peer has
//! been heard under seal, and has no key that the peer would know.
//!
//! Once an end has the peer's first message, the handshake of the first tunnel may begin, pinned to the certificate
//! that this message claims: the listener calls through the relay, and the connector expects it (`tunnel::call`). The
//! listener's certificate, and what the tunnel carries, wait for the confirmation.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use p2pdbg_base::PathPolicy;
use p2pdbg_identity::Identity;
use p2pdbg_pairing::TunnelKey;
use p2pdbg_proto::{
    address::canonical, fingerprint::Fingerprint, rendezvous::Role, tunnel::PathKind,
};
use p2pdbg_tunnel as tunnel;
use p2pdbg_tunnel::{Call, Caller, Calls, Gate, TunnelConfig};
use quinn::Endpoint;

use super::{Introduction, PathCommand, PathContext, PathEvent, PathSocket, Paths};

/// Things told that wait for the session; what comes then is told again when it matters.
const WAITING: usize = 64;

/// What there is of the first tunnel before there is a session.
pub enum FirstTunnel {
    /// The listener has begun to dial it, from this endpoint.
    Called(Endpoint, Call),
    /// The connector answers the listener's calls.
    Expected(Calls),
}

/// The beginnings of a session.
pub struct Approach {
    /// The sockets, bound and asked about.
    pub paths: Paths,
    /// What they have told and nobody has heard yet.
    pub told: Vec<PathEvent>,
    /// The first tunnel, on its way.
    pub tunnel: Option<FirstTunnel>,
    role: Role,
    /// The relay, if it may be used, and how a tunnel over it is named.
    relay: Option<(SocketAddr, PathKind)>,
    /// Where the listener may call.
    near: Option<(PathSocket, SocketAddr)>,
    pinned: Option<TunnelConfig>,
    /// Whether the peer has confirmed.
    gate: Gate,
}

impl Approach {
    /// Opens the sockets and sets out.
    ///
    /// # Errors
    /// If QUIC cannot be started.
    pub fn begin(context: PathContext, introduction: Introduction) -> io::Result<Self> {
        let (role, policy) = (context.role, context.policy);
        let rendezvous = introduction.rendezvous;
        let address = canonical(rendezvous);
        let named = match introduction.over_tcp || policy == PathPolicy::RelayTcp {
            true => PathKind::RelayTcp,
            false => PathKind::RelayUdp,
        };
        let paths = Paths::open(context)?;
        paths.command(PathCommand::Introduced(introduction));
        Ok(Self {
            paths,
            told: Vec::new(),
            tunnel: None,
            role,
            relay: policy.allows_relay().then_some((address, named)),
            near: None,
            pinned: None,
            gate: Gate::shut(),
        })
    }

    /// The rendezvous sees the peer at these addresses, and perhaps saw it bind its leg.
    pub fn on_peer_seen(&self, addresses: Vec<IpAddr>, bound: bool) {
        self.paths
            .command(PathCommand::PeerSeen { addresses, bound });
    }

    /// What the paths tell next.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<PathEvent> {
        match self.paths.poll_event(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Keeps what the paths tell for the session, and calls if that makes it possible.
    pub fn keep(&mut self, event: PathEvent) {
        if let PathEvent::Near { socket, remote } | PathEvent::Relay { socket, remote, .. } = &event
        {
            self.near = Some((socket.clone(), *remote));
        }
        if self.told.len() < WAITING {
            self.told.push(event);
        }
        self.call();
    }

    /// The peer claims this certificate: nobody else is let in from now on. A connector, which has confirmed, is given
    /// the key of the tunnels too.
    pub fn expect(&mut self, peer: Fingerprint, identity: &Arc<Identity>, key: Option<TunnelKey>) {
        self.pinned = TunnelConfig::behind(&self.gate, identity, peer).ok();
        match self.role {
            Role::Listener => self.call(),
            Role::Connector => self.tunnel = self.await_call(peer, identity, key),
        }
    }

    /// The peer has confirmed: it may be shown this end's certificate.
    pub fn confirmed(&self) {
        self.gate.open();
    }

    fn await_call(
        &self,
        peer: Fingerprint,
        identity: &Arc<Identity>,
        key: Option<TunnelKey>,
    ) -> Option<FirstTunnel> {
        let (key, config) = (key?, self.pinned.as_ref()?);
        let mut calls = Calls::expect(Caller {
            identity: Arc::clone(identity),
            peer,
            relay: self.relay,
            key,
        });
        for socket in self.paths.sockets() {
            calls.answer_on(socket.id, socket.endpoint.clone(), config);
        }
        Some(FirstTunnel::Expected(calls))
    }

    fn call(&mut self) {
        if let (Role::Listener, None, Some(config), Some((socket, remote))) =
            (self.role, &self.tunnel, &self.pinned, &self.near)
        {
            let endpoint = socket.endpoint.clone();
            let (gate, config) = (self.gate.clone(), config.clone());
            let call = tunnel::call_early(endpoint.clone(), config, *remote, gate);
            self.tunnel = Some(FirstTunnel::Called(endpoint, call));
        }
    }
}

impl fmt::Debug for Approach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approach")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
