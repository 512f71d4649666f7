//! The relay's table by itself, filled, for its micro-benchmark: the table is private to the server.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use p2pdbg_proto::{
    relay::{LegGrant, LegId, RelayFrame, answer_mac},
    rendezvous::SessionId,
    secret::{Secret, random_bytes},
};

use crate::{
    limits::Limits,
    relay::{
        Forward, Relay, Source, UdpRoute,
        routes::{Found, Routes},
    },
    relay_allowance::LegMeter,
    wire_cost::Load,
};

/// A table with sessions whose legs are all bound.
#[derive(Debug)]
pub struct FilledTable {
    relay: Relay,
    routes: Routes,
    now: Instant,
    /// A leg of the first session.
    leg: LegGrant,
}

impl FilledTable {
    /// A table with the legs of so many sessions, all bound.
    pub fn with_sessions(count: u32) -> Self {
        let now = Instant::now();
        let mut relay = Relay::new(now, &Limits::default());
        let leg = grant();
        for number in 0..count {
            let first = if number == 0 { leg.clone() } else { grant() };
            let grants = [first, grant()];
            relay.open(SessionId(random_bytes()), grants.clone(), meters());
            for (side, grant) in (0..).zip(&grants) {
                bind(&mut relay, now, source(number * 2 + side), grant);
            }
        }
        let routes = Routes::new(now);
        relay.publish(&routes);
        Self {
            relay,
            routes,
            now,
            leg,
        }
    }

    /// Whether the first session's first leg can be bound again, as a peer does that has moved: BIND, CHALLENGE,
    /// ANSWER, BOUND.
    pub fn binds(&mut self) -> bool {
        bind(&mut self.relay, self.now, source(0), &self.leg)
    }

    /// Whether a datagram from this source has somewhere to go; two sources belong to each session, from 0 on.
    pub fn forwards(&mut self, number: u32) -> bool {
        matches!(
            self.relay
                .forward(self.now, &source(number), Load::one(1_200)),
            Forward::To(_)
        )
    }
}

impl FilledTable {
    /// The same as a worker finds it, without the relay.
    pub fn finds(&self, number: u32) -> bool {
        let found = self.routes.find(self.now, &source(number), 1_200);
        matches!(found, Some(Found::To(_)))
    }
}

fn meters() -> [Arc<LegMeter>; 2] {
    [LegMeter::unbounded(), LegMeter::unbounded()]
}

fn grant() -> LegGrant {
    LegGrant {
        leg: LegId(random_bytes()),
        key: Secret::random(),
    }
}

fn source(number: u32) -> Source {
    let [a, b, c, d] = 0x0a00_0000_u32.wrapping_add(number).to_be_bytes();
    Source {
        socket: 0,
        remote: SocketAddr::from(([a, b, c, d], 40_000)),
    }
}

fn bind(relay: &mut Relay, now: Instant, source: Source, grant: &LegGrant) -> bool {
    let route = UdpRoute {
        source,
        local: None,
    };
    let leg = grant.leg;
    let frame = RelayFrame::Bind { leg, mac: [0; 32] };
    let challenge = relay.handle_frame(now, route, &frame.encode());
    let Some(RelayFrame::Challenge { cookie, .. }) = challenge.reply else {
        return false;
    };
    let mac = answer_mac(grant, &cookie);
    let answer = RelayFrame::Answer { leg, cookie, mac };
    let bound = relay.handle_frame(now, route, &answer.encode());
    matches!(bound.reply, Some(RelayFrame::Bound { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_legs_of_every_session_forward_and_strangers_do_not() {
        let mut table = FilledTable::with_sessions(3);
        assert!((0..6).all(|number| table.forwards(number)));
        assert!(!table.forwards(6));
        assert!((0..6).all(|number| table.finds(number)));
        assert!(!table.finds(6));
        assert!(table.binds() && table.binds());
    }
}
