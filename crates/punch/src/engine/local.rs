//! This host: its sockets and addresses, and the NAT in front of it.

use std::{net::SocketAddr, time::Duration};

use super::{Engine, Socket};
use crate::{
    Event, Family, LocalAddress, LossReason, Output, SocketId,
    candidate::{self, Candidate, Kind},
    footprint::Count,
    gather::Sample,
    observe,
    signal::MAX_CANDIDATES,
};

/// Interface addresses that are considered.
const MAX_LOCAL: usize = 64;

/// News within this time are of the same change.
const SAME_CHANGE: Duration = Duration::from_millis(100);

/// The shortest time between two moves that are followed.
const MOVED_AGAIN: Duration = Duration::from_secs(10);

impl Engine {
    pub(super) fn on_socket_opened(&mut self, socket: SocketId, local: SocketAddr) {
        if !self.is_expected(socket) {
            // The search that wanted it is over.
            self.outputs.push_back(Output::CloseSocket { socket });
            return;
        }
        let opened = Socket {
            port: local.port(),
            family: Family::of(local.ip()),
        };
        let before = self.sockets.insert(socket, opened);
        if socket > SocketId::V6 {
            self.on_search_socket(socket);
            return;
        }
        self.gathering.add_socket(self.now, socket, opened.family);
        if before.is_some_and(|b| b.port != opened.port) {
            self.begin_generation();
        }
        self.add_pairs();
        self.signal_due = true;
    }

    pub(super) fn on_socket_failed(&mut self, socket: SocketId) {
        if self
            .direct
            .as_ref()
            .is_some_and(|d| d.path.socket == socket)
        {
            self.lose_path(LossReason::SocketFailed);
        }
        self.on_search_socket_failed(socket);
        self.sockets.remove(&socket);
        self.mapped.remove(&socket);
        self.gathering.remove_socket(socket);
        self.checks.remove_socket(socket);
    }

    pub(super) fn on_local_addresses(&mut self, addresses: &[LocalAddress]) {
        let mut local: Vec<LocalAddress> = addresses.iter().take(MAX_LOCAL).copied().collect();
        local.sort_unstable();
        local.dedup();
        if local == self.local && self.local_known {
            return;
        }
        let first = !std::mem::replace(&mut self.local_known, true);
        self.local = local;
        self.signal_due = true;
        if first {
            self.add_pairs();
        } else {
            self.on_network_changed();
        }
    }

    pub(super) fn on_mapped_port(&mut self, socket: SocketId, external: Option<SocketAddr>) {
        let external = external
            .map(candidate::canonical)
            .filter(|&e| candidate::is_usable(e));
        let changed = match external {
            Some(address) => self.mapped.insert(socket, address) != Some(address),
            None => self.mapped.remove(&socket).is_some(),
        };
        if let (true, Some(address)) = (changed, external) {
            self.event(Event::Gathered {
                kind: Kind::Mapped,
                address,
            });
        }
        self.signal_due |= changed;
    }

    /// A server sees our socket elsewhere than before: the network has changed and the system did not say so. A server
    /// that says so all the time is not followed each time.
    pub(super) fn on_moved(&mut self) {
        self.signal_due = true;
        if self.moved_at.is_none_or(|at| self.now >= at + MOVED_AGAIN) {
            self.moved_at = Some(self.now);
            self.begin_generation();
        }
    }

    /// Asks the path at once and often, and a server of each family whether this host is still where it was.
    pub(super) fn on_path_silent(&mut self) {
        if let Some(direct) = &mut self.direct {
            direct.consent.doubt(self.now);
        }
        self.gathering.ask_again(self.now);
    }

    /// Begins anew, unless this has just been done: drivers learn of one change in several ways.
    pub(super) fn on_network_changed(&mut self) {
        if self
            .generation_began
            .is_some_and(|at| self.now < at + SAME_CHANGE)
        {
            return;
        }

        self.held_until = None;
        // The NATs may be others.
        self.forgetful = false;
        if let Some(direct) = &mut self.direct {
            direct.consent.doubt(self.now);
        }
        self.begin_generation();
    }

    /// All that the peer may be told to send to.
    pub(super) fn local_candidates(&self) -> Vec<Candidate> {
        let port = |id| self.sockets.get(&id).map(|s: &Socket| s.port);
        let mut all = candidate::host(&self.local, port(SocketId::V4), port(SocketId::V6));
        // Reflexive and mapped ones first: a crowd of interfaces must not push them out.
        all.truncate(MAX_CANDIDATES / 2);
        let mapped = self.mapped.values().map(|&address| Candidate {
            kind: Kind::Mapped,
            address,
        });
        let reflexive = self
            .gathering
            .samples()
            .filter(|s| s.socket <= SocketId::V6)
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

    pub(super) fn update_report(&mut self) {
        let samples: Vec<_> = self.gathering.samples().collect();
        let port = self.sockets.get(&SocketId::V4).map(|s| s.port);
        let counts = self.counts(samples.iter().chain(self.sampled.iter().flatten()));
        if let ([first, .., last], Some(_)) = (counts.as_slice(), &self.sampled) {
            self.counted = Some((*first, *last));
        }
        let report = observe::report(
            &samples,
            self.sampled.as_deref(),
            &counts,
            &self.local,
            port,
        );
        if report != self.report {
            self.report = report.clone();
            self.signal_due = true;
            if self.is_controlling() {
                self.reconsider_search();
            }
            self.event(Event::Nat(report));
        }
    }

    /// The IPv4 samples in the order in which the NAT made the mappings.
    fn counts<'a>(&self, samples: impl Iterator<Item = &'a Sample>) -> Vec<Count> {
        let count = |s: &Sample| {
            Some(Count {
                at: s.asked,
                place: self.footprint.place(s.socket, s.server)?,
                port: s.mapped.port(),
            })
        };
        let mut counts: Vec<Count> = samples
            .filter(|s| s.mapped.is_ipv4())
            .filter_map(count)
            .collect();
        counts.sort_by_key(|c| c.place);
        counts
    }
}
