//! The relay's table: which source may send to which member, and the frames by which a member binds its
//! source to its leg. No sockets, no clock.
//!
//! A session has two legs. A leg is *granted* when its session begins, *bound* to a [`Route`] once its member has shown
//! that it receives there and holds the leg's key, and from then on whatever comes by that route goes to wherever the
//! other leg is bound, and nowhere else. The cookie in the challenge carries all there is to know of a source, under a
//! key of this process.
//!
//! A source whose BIND has the leg's MAC holds the key, and may only be somebody else's address. A leg that is not
//! bound yet begins with it: what the source sends is passed on, and it is sent three times as much as came from it
//! (the measure of RFC 9000 section 8.1), until it has answered the challenge. So the first packets need not wait for
//! that.
//!
//! A route is a UDP source or a *stream*: a connection over TLS on TCP whose member has joined its leg there
//! ([`Relay::join`]). A leg has one route at a time, the one that was bound last. A stream that is not the route any
//! more may go on to send until it ends, so that nothing in flight is lost when a member changes over.

pub(crate) mod bench_table;
mod cookie;
pub(crate) mod early;
mod guest_table;
pub(crate) mod handover;
mod io;
mod leg;
mod lingering;
pub(crate) mod outbox;
pub(crate) mod routes;
pub(crate) mod tcp_leg_input;
mod ticket_admission;

pub(crate) use self::io::{Forward, Joined, Outcome, Route, Seen, Source, TcpLegId, UdpRoute};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    relay::{
        Cookie, LegGrant, LegId, PADDED_LENGTH, RelayFrame, RelayRefusal, answer_is_genuine,
        bind_is_genuine,
    },
    relay_stream::Join,
    rendezvous::{Role, SessionId},
    secret::Secret,
};

use crate::{
    keys::KeyId,
    limits::Limits,
    relay::{
        cookie::{CookieKey, cookie_time},
        guest_table::Guests,
        leg::{Bound, Leg},
        lingering::Lingering,
        routes::{Heard, Path, Routes, micros_since},
    },
    relay_allowance::LegMeter,
    wire_cost::Load,
};

/// How long a challenge may take to be answered.
const COOKIE_LIFETIME: Duration = Duration::from_secs(30);

/// How many times as much as came from an address may be sent there before it is proved (RFC 9000 section 8.1).
const UNPROVED: usize = 3;

/// The most that may be sent there all the same, in bytes.
const UNPROVED_MOST: usize = 16 * 1024;

/// The table, which decides and has one writer at a time. What needs no decision is in [`Routes`], for the workers.
///
/// It is plain values but for [`Heard`] and the meters, and names no socket but by its port's index: `Routes` is made
/// of it anew by [`Relay::publish`].
#[derive(Debug)]
pub(crate) struct Relay {
    cookie_key: CookieKey,
    began: Instant,
    leg_idle: Duration,
    leg_linger: Duration,
    capacity: usize,
    sessions: HashMap<SessionId, [Leg; 2]>,
    legs: HashMap<LegId, Position>,
    sources: HashMap<Source, Position>,
    streams: HashMap<TcpLegId, Position>,
    lingering: Lingering,
    guests: Guests,
    /// Streams that have lost their leg.
    orphans: Vec<TcpLegId>,
    /// Sources whose path may be another now than the one that was published.
    changed: Vec<Source>,
}

/// A leg's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    session: SessionId,
    role: Role,
}

/// Where a member's leg stands in a session's pair.
pub(crate) fn side(role: Role) -> usize {
    match role {
        Role::Listener => 0,
        Role::Connector => 1,
    }
}

impl Relay {
    pub(crate) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            cookie_key: CookieKey::random(),
            began: now,
            leg_idle: limits.leg_idle,
            leg_linger: limits.leg_linger,
            capacity: limits.sessions.saturating_mul(2),
            sessions: HashMap::new(),
            legs: HashMap::new(),
            sources: HashMap::new(),
            streams: HashMap::new(),
            lingering: Lingering::default(),
            guests: Guests::new(limits.sessions_per_key / 2),
            orphans: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Opens a session's legs, the listener's first. The registry bounds how many sessions there are; if those
    /// that linger fill the table up, the key with most of them makes room, with the one that has lingered longest.
    pub(crate) fn open(
        &mut self,
        session: SessionId,
        grants: [LegGrant; 2],
        meters: [Arc<LegMeter>; 2],
    ) {
        if self.sessions.len() >= self.capacity
            && let Some(oldest) = self.lingering.first_to_go()
        {
            self.close(oldest);
        }
        for (grant, role) in grants.iter().zip([Role::Listener, Role::Connector]) {
            self.legs.insert(grant.leg, Position { session, role });
        }
        let [listener, connector] = grants;
        let [listeners, connectors] = meters;
        let legs = [(listener, listeners), (connector, connectors)];
        let legs = legs.map(|(grant, meter)| Leg {
            grant,
            meter,
            bound: None,
            began: None,
            stream: None,
            attempt: None,
            newest: None,
        });
        self.sessions.insert(session, legs);
    }

    /// When the clock of this table began, by which its times are kept in few bytes.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Closes a session's legs: nothing is relayed for it any more.
    pub(crate) fn close(&mut self, session: SessionId) {
        self.lingering.remove(session);
        self.guests.remove(session);
        for leg in self.sessions.remove(&session).into_iter().flatten() {
            self.legs.remove(&leg.grant.leg);
            if let Some(Route::Udp(route)) = leg.bound.map(|bound| bound.route) {
                self.forget(route.source);
            }
            if let Some(stream) = leg.stream {
                self.streams.remove(&stream);
                self.orphans.push(stream);
            }
        }
    }

    /// Closes a session's legs in a while.
    pub(crate) fn linger(&mut self, now: Instant, session: SessionId) {
        if self.sessions.contains_key(&session) {
            let key = self.key_of(session, Role::Listener);
            self.lingering.insert(session, key, now + self.leg_linger);
        }
    }

    /// Where datagrams from `source` go.
    pub(crate) fn forward(&mut self, now: Instant, source: &Source, load: Load) -> Forward {
        match self.sources.get(source) {
            Some(&position) => self.forward_from(now, position, load),
            None => Forward::NotALeg,
        }
    }

    /// Where datagrams from a stream go.
    pub(crate) fn forward_stream(&mut self, now: Instant, stream: TcpLegId, load: Load) -> Forward {
        match self.streams.get(&stream) {
            Some(&position) => self.forward_from(now, position, load),
            None => Forward::NotALeg,
        }
    }

    /// On whose account is what a member sends.
    pub(crate) fn key_of(&self, session: SessionId, role: Role) -> KeyId {
        let legs = self.sessions.get(&session);
        legs.map_or(KeyId::NOBODY, |legs| legs[side(role)].meter.terms().0)
    }

    fn forward_from(&mut self, now: Instant, position: Position, load: Load) -> Forward {
        let now_ns = u64::try_from(now.saturating_duration_since(self.began).as_nanos());
        let Some(legs) = self.sessions.get_mut(&position.session) else {
            return Forward::NotALeg;
        };
        let leg = &mut legs[side(position.role)];
        let admitted = leg.meter.admits(now_ns.unwrap_or(u64::MAX), load.bytes);
        if let Some(bound) = &mut leg.bound {
            bound.heard.set(micros_since(self.began, now));
            if let Some(credit) = &mut bound.credit {
                let more = UNPROVED * on_wire(load, bound.route);
                *credit = credit.saturating_add(more).min(UNPROVED_MOST);
            }
        }
        if !admitted {
            return Forward::TooMuch;
        }
        self.forward_to(position.session, position.role.other(), load)
    }

    /// Where datagrams for a member go.
    pub(crate) fn forward_to(&mut self, session: SessionId, role: Role, load: Load) -> Forward {
        let Some(legs) = self.sessions.get_mut(&session) else {
            return Forward::NotALeg;
        };
        match &mut legs[side(role)].bound {
            Some(Bound {
                route,
                credit: Some(credit),
                ..
            }) if *credit >= on_wire(load, *route) => {
                *credit -= on_wire(load, *route);
                Forward::To(*route)
            }
            Some(Bound {
                route,
                credit: None,
                ..
            }) => Forward::To(*route),
            _ => Forward::NotYet(session, role),
        }
    }

    /// Takes a datagram whose first byte marks it as a frame of the relay, and which came by `route`.
    pub(crate) fn handle_frame(
        &mut self,
        now: Instant,
        route: UdpRoute,
        datagram: &[u8],
    ) -> Outcome {
        let reply = |reply| Outcome {
            reply: Some(reply),
            ..Outcome::default()
        };
        let refuse = |leg, reason| reply(RelayFrame::Refused { leg, reason });
        match RelayFrame::decode(datagram) {
            Ok(RelayFrame::Bind { leg, mac }) if self.legs.contains_key(&leg) => {
                let began = self.begin(now, route, &leg, &mac);
                let cookie = self.cookie_key.cookie(&leg, &route.source, self.clock(now));
                Outcome {
                    began,
                    ..reply(RelayFrame::Challenge { leg, cookie })
                }
            }
            Ok(RelayFrame::Bind { leg, .. }) => refuse(leg, RelayRefusal::UnknownLeg),
            Ok(RelayFrame::Answer { leg, cookie, mac }) => {
                let Some(&position) = self.legs.get(&leg) else {
                    return refuse(leg, RelayRefusal::UnknownLeg);
                };
                if !self.proves(now, position, &route, &cookie, &mac) {
                    return refuse(leg, RelayRefusal::Proof);
                }
                let news = self.bind(now, position, route, cookie);
                self.prove_guest(position.session);
                let seen = news.then_some(Seen {
                    session: position.session,
                    role: position.role,
                    ip: route.source.remote.ip().to_canonical(),
                });
                let lifetime_s = self.lifetime_s();
                Outcome {
                    reply: Some(RelayFrame::Bound { leg, lifetime_s }),
                    seen,
                    began: Some((position.session, position.role)),
                }
            }
            // What only a relay says, and what is no frame at all, is dropped in silence.
            Ok(_) | Err(_) => Outcome::default(),
        }
    }

    /// Takes a JOIN that came by `stream`, from `ip`, on the TLS connection with this keying material.
    pub(crate) fn join(
        &mut self,
        now: Instant,
        stream: TcpLegId,
        ip: IpAddr,
        join: &Join,
        exported: &[u8; 32],
    ) -> Joined {
        let leg = join.leg;
        let refuse = |reason| Joined {
            reply: RelayFrame::Refused { leg, reason },
            seen: None,
        };
        let Some(&position) = self.legs.get(&leg) else {
            return refuse(RelayRefusal::UnknownLeg);
        };
        let found = self.sessions.get_mut(&position.session);
        let Some(found) = found.map(|legs| &mut legs[side(position.role)]) else {
            return refuse(RelayRefusal::UnknownLeg);
        };
        if !join.is_genuine(&found.grant.key, exported) {
            return refuse(RelayRefusal::Proof);
        }
        if found.attempt.is_some_and(|newest| join.attempt <= newest) {
            return refuse(RelayRefusal::Superseded);
        }
        found.attempt = Some(join.attempt);
        let route = Route::Stream(stream);
        let replaced = found.bound.replace(Bound {
            route,
            credit: None,
            heard: Heard::at(micros_since(self.began, now)),
        });
        let older = found.stream.replace(stream);
        if let Some(Route::Udp(route)) = replaced.map(|bound| bound.route) {
            self.forget(route.source);
        }
        if let Some(older) = older {
            self.streams.remove(&older);
            self.orphans.push(older);
        }
        self.streams.insert(stream, position);
        self.prove_guest(position.session);
        self.touch(position.session);
        let seen = Seen {
            session: position.session,
            role: position.role,
            ip: ip.to_canonical(),
        };
        Joined {
            reply: RelayFrame::Bound {
                leg,
                lifetime_s: self.lifetime_s(),
            },
            seen: Some(seen),
        }
    }

    /// A connection over TCP has ended, and with it the leg that it carried.
    pub(crate) fn on_stream_ended(&mut self, stream: TcpLegId) {
        let Some(position) = self.streams.remove(&stream) else {
            return;
        };
        if let Some(legs) = self.sessions.get_mut(&position.session) {
            let leg = &mut legs[side(position.role)];
            leg.stream = None;
            leg.bound
                .take_if(|bound| bound.route == Route::Stream(stream));
            self.touch(position.session);
        }
    }

    /// The next stream that has lost its leg, and is to be told and ended.
    pub(crate) fn poll_orphan(&mut self) -> Option<TcpLegId> {
        self.orphans.pop()
    }

    fn lifetime_s(&self) -> u16 {
        u16::try_from(self.leg_idle.as_secs()).unwrap_or(u16::MAX)
    }

    /// Forgets routes that are idle and sessions that have lingered long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        let clock = self.clock(now);
        let patience = u64::try_from(self.leg_idle.as_micros()).unwrap_or(u64::MAX);
        let mut idle = Vec::new();
        for (session, legs) in &mut self.sessions {
            for leg in legs {
                let unproved_too_long = !leg.goes_on_unproved(now);
                // A stream shows by other means that its member is there, and tells when it is not.
                let is_idle = |bound: &mut Bound| {
                    matches!(bound.route, Route::Udp(_))
                        && (clock.saturating_sub(bound.heard.get()) >= patience
                            || bound.credit.is_some() && unproved_too_long)
                };
                if let Some(bound) = leg.bound.take_if(is_idle) {
                    idle.push((*session, bound.route));
                }
            }
        }
        for (session, route) in idle {
            if let Route::Udp(route) = route {
                self.forget(route.source);
            }
            self.touch(session);
        }
        self.expire_guests(now);
        for session in self.lingering.over(now) {
            self.close(session);
        }
    }

    /// How many UDP sources and streams may send.
    pub(crate) fn bound(&self) -> usize {
        self.sources.len() + self.streams.len()
    }

    /// How many of them are streams.
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Begins with a leg that is not bound, from a source that is not proved to receive there; the newest one counts.
    fn begin(
        &mut self,
        now: Instant,
        route: UdpRoute,
        leg: &LegId,
        mac: &[u8; 32],
    ) -> Option<(SessionId, Role)> {
        let position = *self.legs.get(leg)?;
        let legs = self.sessions.get_mut(&position.session)?;
        let found = &mut legs[side(position.role)];
        let proved = found.is_proved();
        // A source that sends for another leg goes on to until it has answered for this one.
        let taken = self
            .sources
            .get(&route.source)
            .is_some_and(|p| *p != position);
        if proved || taken || !found.may_begin(now) || !bind_is_genuine(&found.grant.key, leg, mac)
        {
            return None;
        }
        if !found.goes_on_unproved(now) {
            found.began = Some(now);
        }
        let before = found.bound.replace(Bound {
            route: Route::Udp(route),
            // The challenge is part of what is sent there.
            credit: Some((UNPROVED - 1) * Load::one(PADDED_LENGTH).on_wire(route.source.remote)),
            heard: Heard::at(micros_since(self.began, now)),
        });
        match before.map(|bound| bound.route) {
            Some(Route::Udp(before)) if before.source != route.source => {
                self.forget(before.source);
            }
            _ => {}
        }
        self.sources.insert(route.source, position);
        self.touch(position.session);
        Some((position.session, position.role))
    }

    /// Whether that is news, rather than the same answer once more.
    fn bind(&mut self, now: Instant, position: Position, route: UdpRoute, cookie: Cookie) -> bool {
        // A source sends for one leg at a time: its newest.
        if let Some(previous) = self.sources.insert(route.source, position)
            && previous != position
            && let Some(legs) = self.sessions.get_mut(&previous.session)
        {
            // Unless a stream has become the route of that leg meanwhile.
            let was = Route::Udp(route);
            legs[side(previous.role)]
                .bound
                .take_if(|bound| same_source(bound.route, was));
            self.touch(previous.session);
        }
        let Some(legs) = self.sessions.get_mut(&position.session) else {
            return false;
        };
        let leg = &mut legs[side(position.role)];
        let news = leg.newest.replace(cookie) != Some(cookie);
        let replaced = leg.bound.replace(Bound {
            route: Route::Udp(route),
            credit: None,
            heard: Heard::at(micros_since(self.began, now)),
        });
        if let Some(Route::Udp(replaced)) = replaced.map(|bound| bound.route)
            && replaced.source != route.source
        {
            self.forget(replaced.source);
        }
        self.touch(position.session);
        news
    }

    fn proves(
        &self,
        now: Instant,
        position: Position,
        route: &UdpRoute,
        cookie: &Cookie,
        mac: &[u8; 32],
    ) -> bool {
        let Some(legs) = self.sessions.get(&position.session) else {
            return false;
        };
        let leg = &legs[side(position.role)];
        let made_at = cookie_time(cookie);
        let age = self.clock(now).checked_sub(made_at);
        let fresh = age.is_some_and(|age| u128::from(age) <= COOKIE_LIFETIME.as_micros());
        let not_older = leg.newest.as_ref().is_none_or(|newest| {
            // The same answer once more, because BOUND was lost, is welcome from the same place only.
            let again = newest == cookie
                && leg
                    .bound
                    .as_ref()
                    .is_some_and(|bound| same_source(bound.route, Route::Udp(*route)));
            again || made_at > cookie_time(newest)
        });
        let ours = Secret::from_bytes(*cookie)
            == Secret::from_bytes(
                self.cookie_key
                    .cookie(&leg.grant.leg, &route.source, made_at),
            );
        fresh && not_older && ours && answer_is_genuine(&leg.grant.key, &leg.grant.leg, cookie, mac)
    }

    /// Microseconds since the relay began.
    fn clock(&self, now: Instant) -> u64 {
        micros_since(self.began, now)
    }

    /// A source sends for no leg any more.
    fn forget(&mut self, source: Source) {
        self.sources.remove(&source);
        self.changed.push(source);
    }

    /// Where the datagrams of a session's members go may have changed.
    fn touch(&mut self, session: SessionId) {
        let legs = self.sessions.get(&session).into_iter().flatten();
        let bound = legs.filter_map(|leg| leg.bound.as_ref());
        self.changed
            .extend(bound.filter_map(|bound| match bound.route {
                Route::Udp(route) => Some(route.source),
                Route::Stream(_) => None,
            }));
    }

    /// Tells the workers what has changed since the last time. Whatever is to reach a member before the datagrams that
    /// find their way alone from now on has to be sent before.
    pub(crate) fn publish(&mut self, routes: &Routes) {
        while let Some(source) = self.changed.pop() {
            routes.set(source, self.path(&source));
        }
    }

    /// Where a source's datagrams go, if both legs are proved and over UDP.
    fn path(&self, source: &Source) -> Option<Path> {
        let position = self.sources.get(source)?;
        let legs = self.sessions.get(&position.session)?;
        let own = legs[side(position.role)].bound.as_ref()?;
        let other = legs[side(position.role.other())].bound.as_ref()?;
        let proved = own.credit.is_none() && other.credit.is_none();
        match other.route {
            Route::Udp(to) if proved => Some(Path {
                to,
                heard: own.heard.clone(),
                meter: legs[side(position.role)].meter.clone(),
            }),
            _ => None,
        }
    }
}

/// What datagrams cost on this route. Over TCP there is no address that is not proved.
fn on_wire(load: Load, route: Route) -> usize {
    match route {
        Route::Udp(route) => load.on_wire(route.source.remote),
        Route::Stream(_) => load.bytes,
    }
}

fn same_source(one: Route, other: Route) -> bool {
    match (one, other) {
        (Route::Udp(one), Route::Udp(other)) => one.source == other.source,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
