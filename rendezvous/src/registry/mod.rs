//! Who is here, who waits where, and who has been introduced to whom. No sockets, no clock, no randomness but
//! the operating system's: a message goes in with the time, [`Effect`]s come out.
//!
//! A *listener* waits at a nameplate (a new pairing) or, like a *connector*, at a handle (peers that know each
//! other). Where two meet a *session* begins, through which they signal until one of them leaves or is lost.
//! Nothing here is written to the disk: what must outlive a restart is in the peers' [vouchers](Vouchers).

pub(crate) mod cluster;
mod connection;
mod draining;
mod greediest;
mod handle_side;
mod handles;
mod key_limits;
pub(crate) mod nameplate_end;
mod nameplates;
mod peers_of_keys;
mod prepared;
mod relays;
mod requests;
mod revocation;
mod room;
mod session_end;
mod session_room;
mod sessions;
mod shared_limits;
mod standing;
mod succession;
pub(crate) mod voucher_codec;
mod vouchers;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    relay::LegGrant,
    rendezvous::{Credential, FromRendezvous, Refusal, Request, SessionId, ToRendezvous, close},
};

use tracing::Span;

use self::{
    cluster::Cluster,
    connection::{Connection, Standing},
    handles::Handles,
    key_limits::ByKey,
    nameplate_end::{CarriedNameplate, End},
    nameplates::Nameplates,
    room::Resting,
    sessions::{Ended, Sessions},
};
use crate::{
    cluster_store::Ask,
    keys::{KeyId, KeyRing},
    limits::{AddressBuckets, Limits},
    registry::voucher_codec::Vouchers,
    relay::Seen,
};

/// When the first peer in a session comes back after a stop: a process that is started again at once needs about as
/// long.
const SOONEST_RETURN: Duration = Duration::from_millis(200);

/// When the first idle one does: until the others have taken leave it would only be refused.
const SOONEST_IDLE_RETURN: Duration = Duration::from_secs(2);

/// So long before codes whose listener is not back are given up, the last one is to be back, however many there are.
const TO_SPARE: Duration = Duration::from_secs(10);

/// A clock that has gone further than time has, by more than this, in seconds, is believed when it says so twice.
const JUMP_S: u64 = 5;

/// Names a control connection while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// The time, by the clock that never jumps and by the one that outlives a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For what happens within one run.
    pub(crate) instant: Instant,
    /// For vouchers, in Unix seconds.
    pub(crate) unix_s: u64,
}

/// What is known of a connection when it has been made.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Where the peer is; shown to receive there.
    pub(crate) observed: SocketAddr,
    /// Where STUN is answered for it.
    pub(crate) stun: Vec<SocketAddr>,
    /// Whether it came over TCP, and so takes a file descriptor.
    pub(crate) over_tcp: bool,
    /// What is logged of it lies in this. It gets the name of the peer's key, in the field `key`.
    pub(crate) span: Span,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send a message to this connection, if it is still there.
    Tell(ConnId, FromRendezvous),
    /// Close the connection with this code once what it was told has been sent.
    Close(ConnId, u32),
    /// Ask the directory of the cluster, if it can be asked.
    Ask(Ask),
    /// Open a session's legs at the relay, the listener's first, on the accounts of these keys. Comes before the
    /// members are told of them.
    OpenLegs(SessionId, [LegGrant; 2], [KeyId; 2]),
    /// Close them, at once or after they have lingered.
    CloseLegs {
        session: SessionId,
        /// Whether datagrams may still pass for a while.
        linger: bool,
    },
}

/// How many connections have said hello.
#[derive(Debug, Default)]
struct Present {
    peers: usize,
    /// How many of them have not shown the access key.
    without_key: usize,
    /// And how many of those came over TCP.
    without_key_over_tcp: usize,
    /// Those, by how long they may have rested.
    resting: Resting,
    by_key: ByKey,
}

/// For how long this process has served, and what its clocks said.
#[derive(Debug, Default)]
struct Run {
    /// When it began to.
    began: Option<Instant>,
    /// Until when listeners may come back that a process before this one knew.
    returning_until: Option<Instant>,
    /// The time when it was last looked what has lasted long enough.
    looked: Option<Now>,
}

impl Run {
    /// The time by which keys end, in Unix seconds: what the clock shows, unless that has jumped since the last look. A
    /// clock that is wrong for a second would shut out everybody whose key ends some day.
    fn trusted_unix_s(&self, now: Now) -> u64 {
        let Some(before) = self.looked else {
            return now.unix_s;
        };
        let passed = now.instant.saturating_duration_since(before.instant);
        let expected = before.unix_s.saturating_add(passed.as_secs());
        now.unix_s.min(expected.saturating_add(JUMP_S))
    }
}

/// The registry. Call [`Registry::on_connected`] before anything else for a connection, and
/// [`Registry::on_lost`] once it is gone; messages for connections that are gone come to nothing.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: Limits,
    keys: KeyRing,
    vouchers: Vouchers,
    connections: HashMap<ConnId, Connection>,
    nameplates: Nameplates,
    handles: Handles,
    sessions: Sessions,
    joins: AddressBuckets,
    /// Those of peers who have the access key, which a crowd without it cannot fill up.
    joins_with_key: AddressBuckets,
    present: Present,
    run: Run,
    /// The SHA-256 of the script that hosts can fetch from here where p2pdbg is not installed.
    offer: Option<[u8; 32]>,
    /// None where this is the one host.
    cluster: Option<Cluster>,
    /// Whether this host relays for others, and lets nobody in.
    relays_alone: bool,
}

impl Registry {
    /// The time by which keys and vouchers end, in Unix seconds.
    pub(crate) fn trusted_unix_s(&self, now: Now) -> u64 {
        self.run.trusted_unix_s(now)
    }

    /// An empty registry that lets in who has one of these keys.
    pub(crate) fn new(limits: Limits, keys: KeyRing, vouchers: Vouchers) -> Self {
        Self {
            keys,
            vouchers,
            connections: HashMap::new(),
            nameplates: Nameplates::new(&limits),
            handles: Handles::new(),
            sessions: Sessions::new(),
            joins: AddressBuckets::new(limits.connections.saturating_mul(4)),
            joins_with_key: AddressBuckets::new(limits.connections),
            limits,
            present: Present::default(),
            run: Run::default(),
            offer: None,
            cluster: None,
            relays_alone: false,
        }
    }

    /// Serves from now on. If a process before this one has served, its listeners may come back for a while.
    pub(crate) fn begin(&mut self, now: Instant, has_served: bool) {
        self.run.began = Some(now);
        self.run.returning_until = has_served.then(|| now + self.limits.return_within);
    }

    /// Lets nobody in: this host relays for others.
    pub(crate) fn relay_alone(&mut self) {
        self.relays_alone = true;
    }

    /// Has listeners told of what is offered, by the SHA-256 of its script.
    pub(crate) fn announce_offer(&mut self, script: Option<[u8; 32]>) {
        self.offer = script;
    }

    /// The nameplates for a successor.
    pub(crate) fn carry(&self, now: Instant) -> Vec<CarriedNameplate> {
        self.nameplates.carry(now)
    }

    /// Takes over the nameplates of the process before this one.
    pub(crate) fn inherit(&mut self, now: Instant, nameplates: Vec<CarriedNameplate>) {
        self.nameplates.inherit(now, nameplates);
    }

    /// How many connections have said hello.
    pub(crate) fn peers(&self) -> usize {
        self.present.peers
    }

    /// Where a peer is, if it has a key.
    pub(crate) fn key_holder_at(&self, id: ConnId) -> Option<IpAddr> {
        let connection = self.connections.get(&id)?;
        connection.has_key().then_some(connection.ip)
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// A connection has been made.
    pub(crate) fn on_connected(&mut self, now: Now, id: ConnId, arrival: Arrival) {
        let greet_by = now.instant + self.limits.greeting_within;
        let connection = Connection::new(arrival, now.instant, greet_by);
        self.connections.insert(id, connection);
    }

    /// A peer has said something; what is to be done because of it, in this order.
    pub(crate) fn handle(&mut self, now: Now, id: ConnId, message: ToRendezvous) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(connection) = self.connections.get_mut(&id) else {
            return effects;
        };
        let span = connection.arrival.span.clone();
        let _within = span.enter();
        let within_rate = connection
            .messages
            .take(self.limits.messages, now.instant, 1)
            .is_ok();
        let stranger = matches!(connection.standing, Standing::Stranger { .. });
        let hello = matches!(message, ToRendezvous::Hello { .. });
        let request = message.request();
        let result = if stranger != hello || !within_rate {
            Err(Refusal::Protocol)
        } else {
            self.dispatch(now, id, message, &mut effects)
        };
        if let Err(refusal) = result {
            self.refuse(id, request, refusal, &mut effects);
        }
        effects
    }

    /// A peer has said something that is no message.
    pub(crate) fn on_malformed(&mut self, id: ConnId) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.connections.contains_key(&id) {
            self.refuse(id, Request::Other, Refusal::Protocol, &mut effects);
        }
        effects
    }

    /// A connection is gone; `on_purpose` if the peer closed it.
    pub(crate) fn on_lost(&mut self, now: Now, id: ConnId, on_purpose: bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.forget(now, id, on_purpose, &mut effects);
        effects
    }

    /// A session's member has bound its leg of the relay: the other one is told, as often as it happens.
    pub(crate) fn on_bound(&mut self, now: Now, bound: Seen) -> Vec<Effect> {
        let Some((member, other)) = self.sessions.members(bound.session, bound.role) else {
            return Vec::new();
        };
        let addresses = self.sessions.see(bound);
        // It counts as a signal, since it reaches the other member like one: who binds without end is not heard.
        let heard = self.connections.get_mut(&member).is_some_and(|member| {
            let rate = self.limits.signals;
            member.signals.take(rate, now.instant, 1).is_ok()
        });
        let news = FromRendezvous::PeerSeen {
            session: bound.session,
            addresses,
            bound: true,
        };
        heard
            .then_some(Effect::Tell(other, news))
            .into_iter()
            .collect()
    }

    /// Ends what has lasted long enough. To be called about once a second.
    pub(crate) fn expire(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, nameplate) in self.nameplates.expire(now.instant) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.nameplates.remove(&nameplate);
            }
            let expired = FromRendezvous::Refused {
                request: Request::Listen(Some(nameplate)),
                refusal: Refusal::NameplateExpired,
            };
            effects.push(Effect::Tell(id, expired));
        }
        for session in self.sessions.over_at(now.instant) {
            self.end_session(session, Ended::Cut, &mut effects);
        }
        let silent: Vec<ConnId> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                matches!(connection.standing,
                    Standing::Stranger { greet_by } if greet_by <= now.instant)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            effects.push(Effect::Close(id, close::IDLE));
            self.forget(now, id, false, &mut effects);
        }
        self.end_keys(now, &mut effects);
        self.run.looked = Some(now);
        self.send_on_idle(&mut effects);
        self.seek_again(now, &mut effects);
        effects
    }

    /// The rendezvous is about to stop: tells everybody, and each when to come back.
    pub(crate) fn stop(&mut self) -> Vec<Effect> {
        self.present = Present::default();
        let mut everybody: Vec<(ConnId, bool)> = self
            .connections
            .drain()
            .map(|(id, connection)| (id, connection.sessions.is_empty()))
            .collect();
        // Who is in a session may need the relay; who waits can wait.
        everybody.sort_unstable_by_key(|(_, idle)| *idle);
        let count = u32::try_from(everybody.len()).unwrap_or(u32::MAX).max(1);
        let most = self.limits.return_within.saturating_sub(TO_SPARE) / count;
        let slot = most.min(Duration::from_secs(1) / self.limits.returns_per_second.max(1));
        let mut after = SOONEST_RETURN;
        let mut effects = Vec::with_capacity(2 * everybody.len());
        for (id, idle) in everybody {
            if idle {
                after = after.max(SOONEST_IDLE_RETURN);
            }
            let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
            effects.push(Effect::Tell(id, FromRendezvous::Stopping { after_ms }));
            effects.push(Effect::Close(id, close::STOPPING));
            after += slot;
        }
        effects
    }

    fn hello(
        &mut self,
        now: Now,
        id: ConnId,
        credential: Credential,
        agent: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.relays_alone {
            return Err(Refusal::RelaysAlone);
        }
        let printable = agent.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if agent.len() > 64 || !printable {
            return Err(Refusal::Protocol);
        }
        let Some(ip) = self.connections.get(&id).map(|connection| connection.ip) else {
            return Ok(());
        };
        let standing = self.standing(now, credential, ip)?;
        let up_s = self.up_s(now);
        self.set_standing(id, standing);
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        let has_key = connection.has_key();
        let over_tcp = connection.arrival.over_tcp;
        let rests_since = connection.rests_since;
        if let Some(key) = connection.key() {
            connection.arrival.span.record("key", self.keys.name(key));
        }
        let welcome = FromRendezvous::Welcome {
            observed: connection.arrival.observed,
            stun: connection.arrival.stun.clone(),
            up_s,
        };
        self.may_come(now, id, effects)?;
        if !self.has_room(now, id, effects) {
            self.turn_away(id);
            return Err(Refusal::Full);
        }
        self.present.peers += 1;
        if !has_key {
            self.present.without_key += 1;
            self.present.without_key_over_tcp += usize::from(over_tcp);
            self.present.resting.insert(over_tcp, rests_since, id);
        }
        tracing::debug!(agent, "a peer said hello");
        effects.push(Effect::Tell(id, welcome));
        self.tell_of_nodes(id, effects);
        if let Some(until) = self.sessions.draining {
            let left_s = Some(left_s(now, until));
            effects.push(Effect::Tell(id, FromRendezvous::Draining { left_s }));
        }
        Ok(())
    }

    /// For how many seconds this process has served; the most that there are if it is the first one ever, before which
    /// there was none whose listeners could come back.
    fn up_s(&self, now: Now) -> u32 {
        let up = match (self.run.began, self.run.returning_until) {
            (Some(began), Some(_)) => now.instant - began,
            _ => Duration::MAX,
        };
        u32::try_from(up.as_secs()).unwrap_or(u32::MAX)
    }

    fn refuse(
        &mut self,
        id: ConnId,
        request: Request,
        refusal: Refusal,
        effects: &mut Vec<Effect>,
    ) {
        let ends = refusal.is_final() || request == Request::Hello;
        let refused = FromRendezvous::Refused { request, refusal };
        effects.push(Effect::Tell(id, refused));
        if ends {
            let code = match refusal {
                Refusal::Protocol => close::PROTOCOL,
                _ => close::REFUSED,
            };
            effects.push(Effect::Close(id, code));
        }
    }

    fn forget(&mut self, now: Now, id: ConnId, on_purpose: bool, effects: &mut Vec<Effect>) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.present.by_key.remove(id, connection.standing);
        if !matches!(connection.standing, Standing::Stranger { .. }) {
            self.present.peers -= 1;
            if !connection.has_key() {
                self.present.without_key -= 1;
                self.present.without_key_over_tcp -= usize::from(connection.arrival.over_tcp);
                self.present.resting.remove(connection.rests_since, id);
            }
        }
        for nameplate in connection.nameplates {
            // Even one who closes the connection may come back on another: giving up is said in so many words.
            self.nameplates.end(now.instant, nameplate, End::Lost);
        }
        for meeting in &connection.handles {
            if self.handles.leave(meeting, id) {
                self.note_left(meeting, effects);
            }
        }
        for session in connection.sessions {
            let how = match on_purpose {
                true => Ended::Left(id),
                false => Ended::Lost(id),
            };
            self.end_session(session, how, effects);
        }
    }
}

/// How many seconds there are until then.
fn left_s(now: Now, until: Instant) -> u32 {
    let left = until.saturating_duration_since(now.instant);
    u32::try_from(left.as_secs()).unwrap_or(u32::MAX)
}

fn limit(retry_after: Duration) -> Refusal {
    let whole = retry_after.as_secs().saturating_add(1);
    Refusal::Limit {
        retry_after_s: u32::try_from(whole).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests;
