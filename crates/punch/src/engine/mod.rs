//! The engine's outside: inputs in, outputs and the next deadline out.
//!
//! Each part of the state stands with its owner in a module below; what concerns several parts is a method of
//! [`Engine`] in the module that decides it. [`host`] is what the driver tells of this host, [`nat_view`] what servers
//! show of its NAT, [`peer`] what the peer's engine says and [`datagram`] what comes from the network. [`attempts`]
//! begins and ends attempts, [`direct_tcp`] has TCP tried, [`port_search`] runs the searches that [`search_setup`]
//! builds, and [`path`] agrees on a path and keeps it.

mod attempts;
mod datagram;
mod direct_tcp;
mod host;
mod nat_view;
mod outbox;
mod path;
mod peer;
mod port_search;
mod search_harm;
mod search_setup;

use std::{net::SocketAddr, time::Instant};

use p2pdbg_nat::NatReport;
use p2pdbg_proto::address;

use self::{
    attempts::Attempts, host::LocalHost, nat_view::NatView, outbox::Outbox, path::Agreement,
    peer::Peer, port_search::PortSearch,
};
use crate::{
    Config, Input, Obstacle, Output, Path, PunchKey, Role, check::Keys, direct_tcp::TcpPunch,
    pair::PairKey,
};

/// The traversal engine of one session at one peer. See the crate's documentation for the calling order.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    now: Instant,
    out: Outbox,
    host: LocalHost,
    nat: NatView,
    peer: Peer,
    attempts: Attempts,
    search: PortSearch,
    path: Agreement,
    tcp: TcpPunch,
    /// Whether the keys are those on which both peers have agreed.
    authenticated: bool,
}

impl Engine {
    /// An engine that has not done anything yet. `seed` must come from the operating system's randomness outside
    /// of tests: transaction ids, which must not be guessable, are drawn from it.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let mut out = Outbox::new(&config, seed, now);
        // Half of the numbers, so that counting up does not come around to the peer's last one soon.
        let generation = out.random.u32() >> 1;
        Self {
            now,
            out,
            host: LocalHost::new(&config, generation, now),
            nat: NatView::default(),
            peer: Peer::new(now),
            attempts: Attempts::new(&config, now),
            search: PortSearch::new(now),
            path: Agreement::new(config.timing),
            tcp: TcpPunch::new(config.role == Role::Controlling, now),
            authenticated: false,
            config,
        }
    }

    /// Takes the key on which both peers have agreed in place of the one that the engine was born with. An engine that
    /// is to gather candidates while the peers still authenticate each other is born with a random key, under which the
    /// peer's checks and its own come to nothing.
    pub fn authenticated(&mut self, key: &PunchKey) {
        self.out.keys = Keys::new(key, self.config.role);
        self.authenticated = true;
    }

    /// Takes one input and does whatever is due at `now`.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        self.path.allow_for_lateness(self.now);
        match input {
            Input::Datagram {
                socket,
                from,
                payload,
            } => self.on_datagram(socket, from, payload),
            Input::SocketOpened { socket, local } => self.on_socket_opened(socket, local),
            Input::SocketFailed { socket } => self.on_socket_failed(socket),
            Input::LocalAddresses(addresses) => self.on_local_addresses(addresses),
            Input::PeerSignal(bytes) => self.on_peer_signal(bytes),
            Input::MetAgain => self.host.signal_due = true,
            Input::PeerSeen(addresses) => {
                if self.peer.on_seen(addresses) {
                    self.reconsider_search();
                }
            }
            Input::SendFailed { socket, to } => {
                self.on_send_failed((socket, address::canonical(to)))
            }
            Input::MappedPort { socket, external } => self.on_mapped_port(socket, external),
            Input::NetworkChanged => self.on_network_changed(),
            Input::NearbyChanged => self.ask_whether_all_stands(),
            Input::TunnelUp => {
                let active = self.path.streams_active;
                self.path.set_activity(self.now, true, active);
            }
            Input::TunnelLost => self.on_tunnel_lost(),
            Input::PathSilent => self.on_path_silent(),
            Input::StreamsActive(active) => {
                let tunnel_up = self.path.tunnel_up;
                self.path.set_activity(self.now, tunnel_up, active);
            }
            Input::AvoidUdp(time) => self.tcp.avoid_udp(self.now, time),
            Input::TcpPorts(ports) => self.on_tcp_ports(ports),
            Input::TcpConnected {
                socket,
                local,
                remote,
                dialled,
            } => self.on_tcp_connected(socket, local, remote, dialled),
            Input::TcpClosed { socket } => self.on_tcp_closed(socket),
            Input::SearchAllowed(allowed) => self.allow_search(allowed),
            Input::Timeout => {}
        }
        self.advance();
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When to hand in [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline()
    }

    /// The path that both peers agree on, if there is one.
    #[must_use]
    pub fn nominated(&self) -> Option<&Path> {
        self.path.direct.as_ref().map(|direct| &direct.path)
    }

    /// The servers that it was told of.
    #[must_use]
    pub fn stun_servers(&self) -> &[SocketAddr] {
        &self.config.stun_servers
    }

    /// Why the session is not direct now; `None` when it is.
    #[must_use]
    pub fn why_relayed(&self) -> Option<Obstacle> {
        match (&self.path.direct, &self.peer.remote) {
            (Some(_), _) => None,
            (None, None) => Some(Obstacle::WaitingForPeer),
            (None, Some(_)) => Some(self.attempts.why()),
        }
    }

    /// What the NAT in front of this host looks like so far.
    #[must_use]
    pub fn nat_report(&self) -> &NatReport {
        &self.nat.report
    }

    fn on_send_failed(&mut self, key: PairKey) {
        self.attempts.checks.on_send_failed(key);
        self.host.gathering.on_send_failed(key.0, key.1);
        if let Some(direct) = self.path.direct.as_mut().filter(|d| d.key() == key) {
            direct.consent.doubt(self.now);
        }
    }

    fn is_controlling(&self) -> bool {
        self.config.role == Role::Controlling
    }

    /// Does all that is due at `self.now`, in the order in which one thing makes the next possible.
    fn advance(&mut self) {
        self.take_deferred_signal();
        self.ask_servers();
        self.begin_when_ready();
        self.decide();
        self.sample_if_needed();
        self.continue_sampling();
        self.plan_search();
        self.send_checks();
        self.look_for_harm();
        self.continue_search();
        self.keep_consent();
        self.try_tcp();
        self.close_retired();
        self.look_again();
        self.end_attempt_when_over();
        self.signal_if_due();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let nominates = self.is_controlling() && !self.attempts.is_held(self.now);
        let sampling = self.nat.sampling.as_ref();
        [
            self.host.gathering.next_at(),
            self.attempts.next_at(),
            self.path.nomination.next_at().filter(|_| nominates),
            self.peer.next_at(),
            self.path.next_at(),
            self.look_again_at(),
            sampling.map(|s| s.next_at().max(self.attempts.pacer.next_at())),
            self.plan_search_at(),
            self.search_next_at(),
            self.look_for_harm_at(),
            self.try_tcp_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
