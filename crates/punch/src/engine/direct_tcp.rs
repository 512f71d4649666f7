//! A direct path by TCP, beside the checks over UDP: when it is wanted, and what becomes of its connections.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::address;

use super::{Engine, attempts::Phase, host::Socket};
use crate::{
    Family, LossReason, Output, PunchEvent, SocketId, TcpPorts, Technique,
    candidate::{self, Candidate, Kind},
    direct_tcp::{self, MOST_CANDIDATES, Step, Stream, TcpOffer},
};

/// How long the first attempt runs before silence of the servers counts: what a peer says of itself at first may be
/// from before they have answered it.
const BLOCKED_AFTER: Duration = Duration::from_millis(500);

impl Engine {
    /// Whether a path by TCP is to be looked for. The controlling side begins with it; the other follows.
    fn wants_tcp(&self) -> bool {
        self.config.tcp
            && self.authenticated
            && self.peer.remote.is_some()
            && match &self.path.direct {
                None => !self.is_controlling() || self.needs_tcp(),
                Some(_) => self.takes_instead(),
            }
    }

    /// Whether a connection would be of use though there is a path: TCP is sought in place of UDP here, or the
    /// controlling side does so, which need not say more than that it begins. How often it may is bounded.
    fn takes_instead(&self) -> bool {
        let by_udp = self.path.socket().is_some_and(|s| !s.is_stream());
        self.seeks_instead() || by_udp && !self.is_controlling() && self.tcp.is_asked()
    }

    /// Whether TCP is put before UDP now.
    pub(super) fn avoids_udp(&self) -> bool {
        self.tcp.instead_until(self.now).is_some()
    }

    /// Whether there is a path over UDP, and one by TCP is to take its place.
    fn seeks_instead(&self) -> bool {
        let by_udp = self.path.socket().is_some_and(|s| !s.is_stream());
        by_udp && self.avoids_udp()
    }

    /// UDP gets through at one end not at all or with small datagrams alone, an attempt with it was in vain, or TCP was
    /// what worked before.
    fn needs_tcp(&self) -> bool {
        let (here, there) = (
            &self.nat.report,
            self.peer.remote.as_ref().map(|r| &r.report),
        );
        let asked = !self.config.stun_servers.is_empty() && self.host.gathering.is_settled();
        let silent = self.host.gathering.has_fallen_silent();
        let blocked_here = silent || asked && !here.answered && !here.answered_v6;
        let blocked_there = there.is_some_and(|there| !there.answered && !there.answered_v6);
        let (tried, failed) = match self.attempts.phase {
            Phase::Waiting => (false, false),
            Phase::Running { attempt, began, .. } => {
                (self.now >= began + BLOCKED_AFTER, attempt > 0)
            }
            Phase::Resting { .. } => (true, true),
        };
        tried && (blocked_here || blocked_there)
            || self.attempts.checks.any_narrow()
            || failed
            || self.tcp.has_worked()
            || self.avoids_udp()
    }

    pub(super) fn try_tcp(&mut self) {
        let wanted = self.wants_tcp();
        loop {
            let offer = self.peer.remote.as_ref().and_then(|r| r.tcp.as_ref());
            match self.tcp.poll(self.now, wanted, offer) {
                Some(Step::Gather) => {
                    self.out.event(PunchEvent::TcpSeries);
                    let web = self.tcp.is_for_web();
                    self.out.push(Output::TcpGather { web });
                }
                Some(Step::Tell) => self.host.signal_due = true,
                Some(Step::Dial { round, patience }) => {
                    let to = self.tcp_targets(round);
                    let addresses = to.len();
                    self.out.event(PunchEvent::TcpRound { round, addresses });
                    if !to.is_empty() {
                        self.out.push(Output::TcpDial { to, patience });
                    }
                }
                Some(Step::Rest) => self.out.push(Output::TcpRest),
                None => return,
            }
        }
    }

    pub(super) fn try_tcp_at(&self) -> Option<Instant> {
        let blocked = match self.attempts.phase {
            Phase::Running { began, .. } => Some(began + BLOCKED_AFTER).filter(|at| self.now < *at),
            _ => None,
        };
        let blocked = blocked.filter(|_| self.config.tcp);
        let instead = self.tcp.instead_until(self.now);
        [
            self.tcp.next_at(self.now, self.wants_tcp()),
            blocked,
            instead,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where the peer is dialled in this round.
    fn tcp_targets(&self, round: u32) -> Vec<SocketAddr> {
        let seen = |ip| self.peer.seen.contains(&ip);
        let candidates = self.peers_tcp_candidates();
        let mut to = direct_tcp::targets(&candidates, round, self.tcp.is_hard(), seen);
        if self.tcp.has_web_port() {
            // The peer can call this port alone, and no server has told it how its NAT maps its own.
            to.extend(direct_tcp::kept_ports(&candidates, &self.peer.seen));
            to.truncate(MOST_CANDIDATES);
        }
        to
    }

    fn peers_tcp_candidates(&self) -> Vec<Candidate> {
        let offer = self.peer.remote.as_ref().and_then(|r| r.tcp.as_ref());
        offer.map_or_else(Vec::new, |offer| {
            candidate::accept(&offer.candidates, &self.host.addresses, MOST_CANDIDATES)
        })
    }

    pub(super) fn tcp_offer(&self) -> Option<TcpOffer> {
        let local = &self.host.addresses;
        self.tcp.offer(|ports| direct_tcp::candidates(ports, local))
    }

    pub(super) fn on_tcp_ports(&mut self, ports: &TcpPorts) {
        self.host.signal_due |= self.tcp.on_ports(self.now, ports.clone());
    }

    /// A connection has proved to lead to the peer: it is a socket with one pair.
    pub(super) fn on_tcp_connected(
        &mut self,
        socket: SocketId,
        local: SocketAddr,
        remote: SocketAddr,
        dialled: bool,
    ) {
        let remote = address::canonical(remote);
        let stream = Stream {
            remote,
            heard: self.now,
            technique: match dialled {
                true => self.dialled_by(local, remote),
                false => direct_tcp::accepted(local, remote, self.tcp.is_mapped()),
            },
        };
        // A path was agreed on meanwhile, or there are enough.
        let taken = match self.path.direct {
            Some(_) if !self.takes_instead() => Err(()),
            _ => self.tcp.add_stream(self.now, socket, stream, None),
        };
        match taken {
            Ok(silent) => self.close_sockets(silent.as_slice(), None),
            Err(()) => {
                self.out.push(Output::CloseSocket { socket });
                return;
            }
        }
        let opened = Socket {
            port: local.port(),
            family: Family::of(remote.ip()),
        };
        self.host.sockets.insert(socket, opened);
        if self.attempts.pacer.exhausted() {
            // A connection is as good a beginning as any.
            self.attempts.pacer.begin_attempt();
        }
        let key = (socket, remote);
        self.attempts.checks.add(key, stream.technique);
        self.attempts.checks.trigger(self.now, key);
    }

    /// What a connection that this end dialled is called.
    fn dialled_by(&self, local: SocketAddr, remote: SocketAddr) -> Technique {
        let named = self
            .peers_tcp_candidates()
            .into_iter()
            .find(|c| c.address == remote);
        let candidate = named.unwrap_or(Candidate {
            kind: Kind::PeerReflexive,
            address: remote,
        });
        match direct_tcp::by_tcp(candidate::technique(candidate, &self.host.addresses)) {
            // The other way round it would have been to this end's public address.
            Technique::TcpPunch => direct_tcp::accepted(local, remote, false),
            technique => technique,
        }
    }

    pub(super) fn on_tcp_closed(&mut self, socket: SocketId) {
        if self.path.socket() == Some(socket) {
            self.lose_path(LossReason::Disconnected);
        }
        self.tcp.remove_stream(socket);
        self.host.sockets.remove(&socket);
        self.attempts.checks.remove_socket(socket);
        self.out.push(Output::CloseSocket { socket });
    }

    /// Both ends have agreed on a path on this socket: connections beside it end in a while, when the peer has agreed
    /// too.
    pub(super) fn on_agreed_beside_tcp(&mut self, socket: SocketId) {
        self.tcp.on_agreed(self.now, socket.is_stream());
        let beside: Vec<SocketId> = self
            .tcp
            .streams()
            .map(|(stream, _)| stream)
            .filter(|&stream| stream != socket)
            .collect();
        for stream in beside {
            self.path.retire(self.now, Some(stream));
        }
    }
}
