//! This host: its sockets and addresses, and what servers and gateways say of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::address;

use super::Engine;
use crate::{
    Config, Family, LocalAddress, LossReason, Output, PunchEvent, SocketId,
    candidate::{self, Candidate, Kind},
    caution::{CAREFUL_INTERVAL, Caution},
    pace::{self, Pace},
    signal::MAX_CANDIDATES,
    stun_gathering::Gathering,
    stun_server_view,
};

/// Interface addresses that are considered, of each family.
const MAX_LOCAL: usize = 64;

/// News within this time are of the same change.
const SAME_CHANGE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
pub(super) struct Socket {
    pub(super) port: u16,
    pub(super) family: Family,
}

/// What the driver and the servers told of this host.
#[derive(Debug)]
pub(super) struct LocalHost {
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    pub(super) addresses: Vec<LocalAddress>,
    /// Whether the driver has named the addresses at all: none and not yet told are not the same.
    known: bool,
    /// The external address that a gateway maps to each socket, if it does.
    pub(super) mapped: BTreeMap<SocketId, SocketAddr>,
    pub(super) gathering: Gathering,
    /// Names this end's network situation; the peer begins anew when it changes.
    pub(super) generation: u32,
    generation_began: Option<Instant>,
    /// Whether the peer is to be told how things stand.
    pub(super) signal_due: bool,
    /// How often a move is followed.
    moves: Pace,
    /// The shortest round trip to a server.
    pub(super) server_rtt: Option<Duration>,
}

impl LocalHost {
    pub(super) fn new(config: &Config, generation: u32, now: Instant) -> Self {
        Self {
            sockets: BTreeMap::new(),
            addresses: Vec::new(),
            known: false,
            mapped: BTreeMap::new(),
            gathering: Gathering::new(&config.stun_servers, &config.timing, now),
            generation,
            generation_began: None,
            signal_due: true,
            moves: pace::moves(now),
            server_rtt: None,
        }
    }

    /// The local port of a socket that is open.
    pub(super) fn port(&self, socket: SocketId) -> Option<u16> {
        self.sockets.get(&socket).map(|s| s.port)
    }

    /// Our network situation is a new one: a new number for it, and the servers are asked again.
    pub(super) fn begin_generation(&mut self, now: Instant) {
        self.generation = self.generation.wrapping_add(1);
        self.generation_began = Some(now);
        self.signal_due = true;
        self.gathering.set_refreshing(now, true);
        let sockets: Vec<_> = self.main_sockets().collect();
        self.gathering.restart(now, sockets.into_iter());
    }

    /// The session's own sockets that are open.
    pub(super) fn main_sockets(&self) -> impl Iterator<Item = (SocketId, Family)> {
        let main = [SocketId::V4, SocketId::V6];
        main.into_iter()
            .filter_map(|id| Some((id, self.sockets.get(&id)?.family)))
    }

    /// All that the peer may be told to send to.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let (v4, v6) = (self.port(SocketId::V4), self.port(SocketId::V6));
        // A crowd of interfaces must not push out what is seen and mapped.
        let mut all = candidate::host(&self.addresses, v4, v6, MAX_CANDIDATES / 2);
        let mapped = self.mapped.values().map(|&address| Candidate {
            kind: Kind::Mapped,
            address,
        });
        let samples = self.gathering.samples();
        let reflexive = samples
            .filter(|s| s.socket <= SocketId::V6 && !stun_server_view::is_poor_view(s))
            .map(|s| Candidate {
                kind: Kind::ServerReflexive,
                address: s.mapped,
            });
        for candidate in mapped.chain(reflexive) {
            if all.len() < MAX_CANDIDATES && !all.iter().any(|c| c.address == candidate.address) {
                all.push(candidate);
            }
        }
        all
    }
}

/// The first of each family, each once, in their order.
fn considered(addresses: &[LocalAddress]) -> Vec<LocalAddress> {
    let mut considered: Vec<LocalAddress> = Vec::new();
    for address in addresses {
        let of_family = |known: &&LocalAddress| known.ip.is_ipv6() == address.ip.is_ipv6();
        if !considered.contains(address) && considered.iter().filter(of_family).count() < MAX_LOCAL
        {
            considered.push(*address);
        }
    }
    considered
}

impl Engine {
    pub(super) fn on_socket_opened(&mut self, socket: SocketId, local: SocketAddr) {
        if !self.is_expected(socket) {
            // The search that wanted it is over.
            self.out.push(Output::CloseSocket { socket });
            return;
        }
        let opened = Socket {
            port: local.port(),
            family: Family::of(local.ip()),
        };
        let before = self.host.sockets.insert(socket, opened);
        if socket > SocketId::V6 {
            self.on_search_socket(socket);
            return;
        }
        self.host
            .gathering
            .add_socket(self.now, socket, opened.family);
        if before.is_some_and(|b| b.port != opened.port) {
            self.begin_generation();
        }
        self.add_pairs();
        self.host.signal_due = true;
    }

    pub(super) fn on_socket_failed(&mut self, socket: SocketId) {
        if self.path.socket() == Some(socket) {
            self.lose_path(LossReason::SocketFailed);
        }
        self.on_search_socket_failed(socket);
        self.host.sockets.remove(&socket);
        self.host.mapped.remove(&socket);
        self.host.gathering.remove_socket(socket);
        self.attempts.checks.remove_socket(socket);
    }

    /// Other addresses alone are no other network: of that the driver tells beside them.
    pub(super) fn on_local_addresses(&mut self, addresses: &[LocalAddress]) {
        let local = considered(addresses);
        if local == self.host.addresses && self.host.known {
            return;
        }
        self.host.known = true;
        self.host.addresses = local;
        self.host.signal_due = true;
        self.add_pairs();
    }

    pub(super) fn on_mapped_port(&mut self, socket: SocketId, external: Option<SocketAddr>) {
        let external = external
            .map(address::canonical)
            .filter(|&e| candidate::is_usable(e));
        let changed = match external {
            Some(address) => self.host.mapped.insert(socket, address) != Some(address),
            None => self.host.mapped.remove(&socket).is_some(),
        };
        if let (true, Some(address)) = (changed, external) {
            self.out.event(PunchEvent::Gathered {
                kind: Kind::Mapped,
                address,
            });
        }
        self.host.signal_due |= changed;
    }

    /// A server sees our socket elsewhere than before: the network has changed and the system did not say so. A server
    /// that says so all the time is not followed each time.
    pub(super) fn on_moved(&mut self) {
        self.host.signal_due = true;
        if self.host.moves.take(self.now) {
            self.begin_generation();
        }
    }

    /// Whether there is anything to gather for and to tell: a socket, or TCP alone where the host lets the program have
    /// no UDP. The driver opens its sockets before it names the addresses.
    pub(super) fn is_set_up(&self) -> bool {
        !self.host.sockets.is_empty() || self.config.tcp && self.host.known
    }

    /// Begins anew, unless this has just been done: drivers learn of one change in several ways.
    pub(super) fn on_network_changed(&mut self) {
        // What looked like harm done by a search may have been the change itself, which is told later than it is felt.
        self.search.caution = Caution::default();
        self.out.flows.set_interval(CAREFUL_INTERVAL);
        if self
            .host
            .generation_began
            .is_some_and(|at| self.now < at + SAME_CHANGE)
        {
            return;
        }

        self.attempts.held_until = None;
        // The NATs may be others.
        self.path.forgetful = false;
        self.tcp.on_network_changed();
        self.host.gathering.on_network_changed();
        self.path.doubt(self.now);
        self.begin_generation();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{Input, PunchKey, Role};

    #[test]
    fn hundred_ipv4_addresses_leave_ipv6_and_the_first_of_them_announced() {
        let now = Instant::now();
        let config = Config::new(Role::Controlling, PunchKey::new([7; 32]), Vec::new());
        let mut engine = Engine::new(config, [7; 32], now);
        for (socket, local) in [(SocketId::V4, "0.0.0.0:7"), (SocketId::V6, "[::]:7")] {
            let local = local.parse().unwrap();
            engine.handle(now, Input::SocketOpened { socket, local });
        }
        let wanted = ["192.168.1.5", "fd00::5", "fd00::6"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let mut local = vec![LocalAddress::from(wanted[0])];
        local.extend((0..100).map(|n| LocalAddress::from(IpAddr::from([10, 0, n, 1]))));
        local.extend(wanted[1..].iter().map(|&ip| LocalAddress::from(ip)));
        engine.handle(now, Input::LocalAddresses(&local));
        let candidates = engine.host.candidates();
        assert_eq!(candidates.len(), MAX_CANDIDATES / 2);
        for ip in wanted {
            assert!(candidates.iter().any(|c| c.address.ip() == ip), "{ip}");
        }
    }
}
