//! Who may open a connection: the limits that hold before a peer has said anything that counts.
//!
//! An *attempt* lasts from the first packet until the peer is let in (or, over TCP, has bound a leg). Attempts are
//! bounded for each network that the peer's address is in and for each transport, so that a crowd from one place, or
//! over TCP, leaves room to others. Where there is no room, the network that holds most gives way to a newcomer that
//! holds less, whatever its attempts have said: else as many addresses as fill all places would keep them for as long
//! as they dial anew. Among those that hold as much, an attempt that has been silent gives way: a peer that means to
//! talk does so within a round trip, and one that is crowded out dials again.
//!
//! The source of a first datagram can be forged, so limits per address count only peers that have proved
//! theirs, by completing a handshake or by answering a Retry.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    address_prefixes::{Network, networks},
    limits::{Limits, Tally},
};

/// An attempt that has said something and gets no further for so long may be crowded out too.
const STALLED: Duration = Duration::from_secs(2);

/// What carries a connection; each kind has limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Quic,
    Tcp,
}

/// What becomes of a connection attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Shake hands; dropped, the handshake no longer counts.
    Accept(Handshake),
    /// Let it prove its address first.
    Retry,
    /// Answer nothing that costs anything, and end it.
    Refuse,
}

/// Counts connections; shared by all who accept them, and locked twice or three times for each.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    /// Attempts by their numbers, the oldest first.
    attempts: BTreeMap<u64, Attempt>,
    next: u64,
    /// Established connections over QUIC and over TCP, those that have said nothing yet included.
    established: [usize; 2],
    /// How many of those are legs of the relay, which are bounded with the sessions.
    legs: usize,
    by_network: Tally<Network>,
}

#[derive(Debug)]
struct Bounds {
    connections: usize,
    tcp_connections: usize,
    connections_per_address: usize,
    handshakes: usize,
    handshakes_unproven: usize,
    handshakes_per_address: usize,
}

#[derive(Debug)]
struct Attempt {
    transport: Transport,
    ip: IpAddr,
    proven: bool,
    began: Instant,
    /// Whether nothing has come of it, as far as can be told: over QUIC what comes belongs to the handshake.
    silent: bool,
    /// Whether its connection is established, and counted there.
    complete: bool,
    crowded_out: CancellationToken,
}

/// An attempt; counted until dropped, completed or crowded out.
#[derive(Debug)]
pub(crate) struct Handshake {
    admission: Admission,
    id: u64,
    ip: IpAddr,
    transport: Transport,
    crowded_out: CancellationToken,
}

/// An established connection; counted until dropped, and as an attempt too until [`Established::greeted`].
#[derive(Debug)]
pub(crate) struct Established {
    attempt: Handshake,
    /// Whether it has turned out to be a leg of the relay.
    is_leg: AtomicBool,
}

impl Attempt {
    fn is_in(&self, network: Network) -> bool {
        self.proven && networks(self.ip).any(|(own, _)| own == network)
    }

    /// The smallest network that it counts for, if it does.
    fn network(&self) -> Option<Network> {
        smallest(self.ip).filter(|_| self.proven)
    }

    fn is_stalled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= STALLED
    }

    /// Whether it may be crowded out by one of the same network, or of one that holds less.
    fn may_go(&self, now: Instant) -> bool {
        self.is_stalled(now) || self.silent && self.transport == Transport::Tcp
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bounds = Bounds {
            // Who is let in, the registry decides. To ask, a peer has to get so far while all places are taken.
            connections: limits.connections.saturating_add(limits.handshakes),
            tcp_connections: limits.tcp_connections,
            connections_per_address: limits.connections_per_address,
            handshakes: limits.handshakes,
            handshakes_unproven: limits.handshakes_unproven,
            handshakes_per_address: limits.handshakes_per_address,
        };
        let state = State {
            bounds,
            attempts: BTreeMap::new(),
            next: 0,
            established: [0; 2],
            legs: 0,
            by_network: Tally::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Judges an attempt from `ip`, which is `proven` if an answer has reached it already.
    pub(crate) fn judge(
        &self,
        now: Instant,
        transport: Transport,
        ip: IpAddr,
        proven: bool,
    ) -> Verdict {
        let mut state = self.lock();
        // First of all, since whoever may have forged its address makes nobody give way.
        if !proven && state.in_flight(transport) >= state.bounds.handshakes_unproven {
            return Verdict::Retry;
        }
        if proven && state.has_its_share(ip) || !state.make_room(now, transport, ip, proven) {
            return Verdict::Refuse;
        }
        let id = state.next;
        state.next += 1;
        let crowded_out = CancellationToken::new();
        let attempt = Attempt {
            transport,
            ip,
            proven,
            began: now,
            silent: true,
            complete: false,
            crowded_out: crowded_out.clone(),
        };
        state.attempts.insert(id, attempt);
        Verdict::Accept(Handshake {
            admission: self.clone(),
            id,
            ip,
            transport,
            crowded_out,
        })
    }

    /// Lets the oldest attempt over TCP go, for want of file descriptors.
    pub(crate) fn shed_tcp(&self, now: Instant) {
        let of_tcp = |attempt: &Attempt| attempt.transport == Transport::Tcp;
        self.lock().crowd_out(now, of_tcp);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one of an address' networks has as many established connections as it may.
    fn has_its_share(&self, ip: IpAddr) -> bool {
        networks(ip).any(|(network, times)| {
            let most = self.bounds.connections_per_address.saturating_mul(times);
            self.by_network.of(&network) >= most
        })
    }

    fn in_flight(&self, transport: Transport) -> usize {
        let all = self.attempts.values();
        all.filter(|attempt| attempt.transport == transport).count()
    }

    /// Whether there is room for another attempt, once one that may go has gone if need be.
    fn make_room(&mut self, now: Instant, transport: Transport, ip: IpAddr, proven: bool) -> bool {
        for (network, times) in networks(ip).filter(|_| proven) {
            let most = self.bounds.handshakes_per_address.saturating_mul(times);
            let own = |a: &Attempt| a.transport == transport && a.is_in(network);
            let held = self.attempts.values().filter(|a| own(a)).count();
            if held >= most && !self.crowd_out(now, own) {
                return false;
            }
        }
        let own = |attempt: &Attempt| attempt.transport == transport;
        let newcomer = smallest(ip).filter(|_| proven);
        if self.in_flight(transport) >= self.bounds.handshakes && !self.give_way(now, newcomer, own)
        {
            return false;
        }
        let full = |state: &Self| match transport {
            Transport::Tcp => state.total(Some(Transport::Tcp)) >= state.bounds.tcp_connections,
            Transport::Quic => false,
        };
        if full(self) && !self.give_way(now, newcomer, own) {
            return false;
        }
        self.total(None) < self.bounds.connections || self.give_way(now, newcomer, |_| true)
    }

    /// Connections that are established, and attempts that are not yet; of legs only the descriptors count.
    fn total(&self, transport: Option<Transport>) -> usize {
        let counts = |of: Transport| transport.is_none_or(|transport| transport == of);
        let attempts = self.attempts.values();
        let shaking = attempts.filter(|a| !a.complete && counts(a.transport));
        let established = [Transport::Quic, Transport::Tcp].into_iter();
        let established = established.filter(|of| counts(*of));
        established
            .map(|of| self.established[of as usize])
            .sum::<usize>()
            + shaking.count()
            - if transport.is_none() { self.legs } else { 0 }
    }

    /// Lets one of these attempts go for a newcomer of this network, if it counts for one; whether there was one.
    fn give_way(
        &mut self,
        now: Instant,
        newcomer: Option<Network>,
        of: impl Fn(&Attempt) -> bool,
    ) -> bool {
        let mut held: HashMap<Network, usize> = HashMap::new();
        for network in self
            .attempts
            .values()
            .filter(|a| of(a))
            .filter_map(Attempt::network)
        {
            *held.entry(network).or_default() += 1;
        }
        let count = |network: Network| held.get(&network).copied().unwrap_or_default();
        let own = newcomer.map_or(usize::MAX, count);
        let heaviest = held.iter().max_by_key(|(_, count)| **count);
        if let Some((heaviest, most)) = heaviest
            && *most > own.saturating_add(1)
        {
            let in_it = |a: &Attempt| of(a) && a.network() == Some(*heaviest);
            return self.crowd_out(now, in_it) || self.end_first(in_it);
        }
        // What is not stalled makes room only for those that hold less, or it would be the newest peers that go.
        let yields = |a: &Attempt| a.is_stalled(now) || a.network().is_some_and(|n| count(n) > own);
        self.crowd_out(now, |a| of(a) && yields(a))
    }

    /// Lets the oldest of these attempts go that may, silent ones first; whether there was one.
    fn crowd_out(&mut self, now: Instant, of: impl Fn(&Attempt) -> bool) -> bool {
        let may_go = |attempt: &Attempt| of(attempt) && attempt.may_go(now);
        let may_go = &may_go;
        self.end_first(|a| a.silent && may_go(a)) || self.end_first(may_go)
    }

    /// Lets the oldest of these attempts go; whether there was one.
    fn end_first(&mut self, of: impl Fn(&Attempt) -> bool) -> bool {
        let mut all = self.attempts.iter();
        let first = all.find(|(_, attempt)| of(attempt)).map(|(id, _)| *id);
        let gone = first.and_then(|id| self.attempts.remove(&id));
        let Some(gone) = gone else {
            return false;
        };
        gone.crowded_out.cancel();
        true
    }
}

fn smallest(ip: IpAddr) -> Option<Network> {
    networks(ip).next().map(|(network, _)| network)
}

impl Handshake {
    /// Something has come: it is silent no more.
    pub(crate) fn spoke(&self) {
        if let Some(attempt) = self.admission.lock().attempts.get_mut(&self.id) {
            attempt.silent = false;
        }
    }

    /// Resolves when the attempt has to make room for another.
    pub(crate) async fn crowded_out(&self) {
        self.crowded_out.cancelled().await;
    }

    /// The handshake is complete; `None` if its address has as many connections as it may, or it was crowded out.
    pub(crate) fn complete(self) -> Option<Established> {
        let mut state = self.admission.lock();
        if state.has_its_share(self.ip) {
            return None;
        }
        let attempt = state.attempts.get_mut(&self.id)?;
        attempt.complete = true;
        // From now on it counts for its address, whatever its first packet proved.
        attempt.proven = true;
        state.established[self.transport as usize] += 1;
        for (network, _) in networks(self.ip) {
            state.by_network.add(network);
        }
        drop(state);
        Some(Established {
            attempt: self,
            is_leg: AtomicBool::new(false),
        })
    }
}

impl Established {
    /// The peer is let in, and is an attempt no more.
    pub(crate) fn greeted(&self) {
        let attempt = &self.attempt;
        attempt.admission.lock().attempts.remove(&attempt.id);
    }

    /// The same of one that is bound as a leg of the relay.
    pub(crate) fn is_bound(&self) {
        self.greeted();
        if !self.is_leg.swap(true, Ordering::Relaxed) {
            self.attempt.admission.lock().legs += 1;
        }
    }

    /// Resolves when a peer that has said nothing has to make room for another.
    pub(crate) async fn crowded_out(&self) {
        self.attempt.crowded_out().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.admission.lock().attempts.remove(&self.id);
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        let attempt = &self.attempt;
        let mut state = attempt.admission.lock();
        state.established[attempt.transport as usize] -= 1;
        state.legs -= usize::from(*self.is_leg.get_mut());
        for (network, _) in networks(attempt.ip) {
            state.by_network.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests;
