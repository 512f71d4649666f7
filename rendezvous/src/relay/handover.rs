//! The relay's table as it goes from a process to its successor.
//!
//! Sockets are named by the address that they are bound to, since the successor may number them otherwise. Times are
//! told as how long ago, or how long yet.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    relay::{Cookie, LegGrant},
    rendezvous::{Role, SessionId},
};
use serde::{Deserialize, Serialize};

use super::{
    Bound, Leg, Position, Relay, Route, Source, UdpRoute, cookie::CookieKey, routes::Heard, side,
};
use crate::{keys::KeyId, limits::Limits, relay_allowance::LegMeter};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CarriedRelay {
    /// Without them the challenges that are on their way would be worth nothing: the key, and the relay's age.
    cookies: Option<(CookieKey, u64)>,
    sessions: Vec<CarriedSession>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedSession {
    session: SessionId,
    legs: [CarriedLeg; 2],
    /// How long the legs last yet, if the session is over.
    left_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedLeg {
    grant: LegGrant,
    /// The key, and how many bytes a second the leg may send: see [`LegMeter::terms`].
    terms: (KeyId, u64),
    newest: Option<Cookie>,
    route: Option<CarriedRoute>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedRoute {
    port: SocketAddr,
    remote: SocketAddr,
    /// Of an IPv6 address with a scope, which the address leaves out when it is written.
    scope: u32,
    local: Option<IpAddr>,
    silent_ms: u64,
}

impl Relay {
    /// The table for a successor; `ports` are the addresses of the sockets in their order.
    pub(crate) fn carry(&self, now: Instant, ports: &[SocketAddr]) -> CarriedRelay {
        // A guest's members come again with their ticket, which brings its limits along.
        let own = { self.sessions.iter() }.filter(|(session, _)| !self.guests.has(**session));
        let sessions = own.map(|(session, legs)| CarriedSession {
            session: *session,
            legs: legs
                .each_ref()
                .map(|leg| carry_leg(leg, self.clock(now), ports)),
            left_ms: { self.lingering.until(*session) }
                .map(|until| millis(until.saturating_duration_since(now))),
        });
        CarriedRelay {
            cookies: Some((self.cookie_key.clone(), self.clock(now))),
            sessions: sessions.collect(),
        }
    }

    /// Takes over such a table; `meter` gives a meter for the terms of each leg. Its sessions linger: their members'
    /// control connections have ended with the process, and the next introduction brings new legs.
    pub(crate) fn inherit(
        now: Instant,
        limits: &Limits,
        carried: CarriedRelay,
        ports: &[SocketAddr],
        mut meter: impl FnMut((KeyId, u64)) -> Arc<LegMeter>,
    ) -> Self {
        let mut relay = Self::new(now, limits);
        if let Some((key, age)) = carried.cookies
            && let Some(began) = now.checked_sub(Duration::from_micros(age))
        {
            relay.cookie_key = key;
            relay.began = began;
        }
        let numbers: HashMap<SocketAddr, usize> = ports.iter().copied().zip(0..).collect();
        for carried in carried.sessions.into_iter().take(relay.capacity) {
            let left = carried
                .left_ms
                .map_or(limits.leg_linger, Duration::from_millis);
            let (key, _) = carried.legs[side(Role::Listener)].terms;
            relay.lingering.insert(carried.session, key, now + left);
            relay.inherit_session(relay.clock(now), carried, &numbers, &mut meter);
        }
        relay
    }

    fn inherit_session(
        &mut self,
        clock: u64,
        carried: CarriedSession,
        numbers: &HashMap<SocketAddr, usize>,
        meter: &mut impl FnMut((KeyId, u64)) -> Arc<LegMeter>,
    ) {
        let session = carried.session;
        for (leg, role) in carried.legs.iter().zip([Role::Listener, Role::Connector]) {
            let position = Position { session, role };
            debug_assert_eq!(side(role), usize::from(role == Role::Connector));
            self.legs.insert(leg.grant.leg, position);
            if let Some(route) = leg.route.as_ref().and_then(|route| route.resolve(numbers)) {
                self.sources.insert(route.source, position);
            }
        }
        let legs = carried.legs.map(|leg| Leg {
            bound: leg.route.and_then(|route| {
                let silent = route.silent_ms.saturating_mul(1_000);
                Some(Bound {
                    route: Route::Udp(route.resolve(numbers)?),
                    credit: None,
                    heard: Heard::at(clock.saturating_sub(silent)),
                })
            }),
            grant: leg.grant,
            meter: meter(leg.terms),
            began: None,
            stream: None,
            // Its connections over TCP end with the process, and the next ones come to this one.
            attempt: None,
            newest: leg.newest,
        });
        self.sessions.insert(session, legs);
        self.touch(session);
    }
}

impl CarriedRoute {
    fn resolve(&self, numbers: &HashMap<SocketAddr, usize>) -> Option<UdpRoute> {
        let mut remote = self.remote;
        if let SocketAddr::V6(remote) = &mut remote {
            remote.set_scope_id(self.scope);
        }
        Some(UdpRoute {
            source: Source {
                socket: *numbers.get(&self.port)?,
                remote,
            },
            local: self.local,
        })
    }
}

fn carry_leg(leg: &Leg, clock: u64, ports: &[SocketAddr]) -> CarriedLeg {
    // An address that is not proved proves itself anew; a stream ends with the process.
    let proved = leg.bound.as_ref().filter(|bound| bound.credit.is_none());
    let route = proved.and_then(|bound| match bound.route {
        Route::Udp(route) => Some(CarriedRoute {
            port: *ports.get(route.source.socket)?,
            remote: route.source.remote,
            scope: match route.source.remote {
                SocketAddr::V4(_) => 0,
                SocketAddr::V6(remote) => remote.scope_id(),
            },
            local: route.local,
            silent_ms: clock.saturating_sub(bound.heard.get()) / 1_000,
        }),
        Route::Stream(_) => None,
    });
    CarriedLeg {
        grant: leg.grant.clone(),
        terms: leg.meter.terms(),
        newest: leg.newest,
        route,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
