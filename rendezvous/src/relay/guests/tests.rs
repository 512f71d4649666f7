use p2pdbg_proto::{
    control::{Role, SessionId},
    node::NodeNumber,
    relay::{LegId, RelayRefusal, answer_mac, bind_mac, bind_with_ticket},
    secret::{Secret, random_bytes},
};

use super::*;
use crate::{
    keys::{KeyId, KeyLimits},
    limits::Limits,
    relay::{Forward, Outcome, Route, Source, UdpRoute, side},
    relay_ticket::Terms,
    wire_cost::Load,
};

const NOW: u64 = 1_795_000_000;

/// A relay, the key of its tickets, and a session of another node.
struct Bench {
    relay: Relay,
    key: TicketKey,
    now: Instant,
    ticket: Ticket,
}

fn ticket() -> Ticket {
    let grant = || LegGrant {
        leg: LegId(random_bytes()),
        key: Secret::random(),
    };
    Ticket {
        session: SessionId(random_bytes()),
        legs: [grant(), grant()],
        terms: [Terms::of(KeyId::NOBODY, &KeyLimits::default()); 2],
        expires: NOW + 600,
    }
}

fn route(port: u16) -> UdpRoute {
    let remote = ([192, 0, 2, 1], port).into();
    let source = Source { socket: 0, remote };
    UdpRoute {
        source,
        local: None,
    }
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let key = TicketKey::of(&Secret::random(), NodeNumber::MIN);
        let mut relay = Relay::new(now, &Limits::default());
        relay.take_tickets(key.clone());
        Self {
            relay,
            key,
            now,
            ticket: ticket(),
        }
    }

    fn sealed(&self) -> Vec<u8> {
        self.key.seal(&self.ticket).unwrap()
    }

    fn bind(&self, role: Role) -> Vec<u8> {
        bind_with_ticket(&self.ticket.legs[side(role)], &self.sealed())
    }

    /// What a BIND leads to, as the datapath and the hub do it.
    fn frame(&mut self, port: u16, datagram: &[u8]) -> Outcome {
        if let Some(ticket) = self.relay.admit(NOW, datagram) {
            let left = Duration::from_secs(ticket.expires - NOW);
            let meters = [LegMeter::unbounded(), LegMeter::unbounded()];
            let until = self.now + left;
            self.relay
                .open_guest(self.now, ticket.session, ticket.legs, meters, until);
        }
        self.relay.handle_frame(self.now, route(port), datagram)
    }

    #[track_caller]
    fn join(&mut self, role: Role, port: u16) {
        let grant = self.ticket.legs[side(role)].clone();
        let bind = self.bind(role);
        let Some(RelayFrame::Challenge { leg, cookie }) = self.frame(port, &bind).reply else {
            panic!("no challenge");
        };
        let mac = answer_mac(&grant, &cookie);
        let answer = RelayFrame::Answer { leg, cookie, mac };
        let outcome = self.frame(port, &answer.encode());
        assert!(matches!(outcome.reply, Some(RelayFrame::Bound { .. })));
    }
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(
        outcome.reply,
        Some(RelayFrame::Refused {
            reason: RelayRefusal::UnknownLeg,
            ..
        })
    )
}

#[test]
fn members_with_a_ticket_are_relayed_by_a_host_that_never_heard_of_their_session() {
    let mut bench = Bench::new();
    bench.join(Role::Listener, 1);
    bench.join(Role::Connector, 2);
    let forward = |bench: &mut Bench, from| {
        let source = route(from).source;
        bench.relay.forward(bench.now, &source, Load::one(100))
    };
    assert_eq!(forward(&mut bench, 1), Forward::To(Route::Udp(route(2))));
    assert_eq!(forward(&mut bench, 2), Forward::To(Route::Udp(route(1))));
    // What comes once more opens nothing anew.
    bench.join(Role::Listener, 1);
    assert_eq!(bench.relay.guests(), 1);
}

#[test]
fn ticket_that_is_forged_expired_or_of_another_session_or_relay_opens_no_leg() {
    let mut bench = Bench::new();
    let own = bench.ticket.legs[0].clone();
    let mut forged = bench.sealed();
    forged[40] ^= 1;
    let other = TicketKey::of(&Secret::random(), NodeNumber::MIN);
    let expired = Ticket {
        expires: NOW,
        ..bench.ticket.clone()
    };
    for sealed in [
        forged,
        other.seal(&bench.ticket).unwrap(),
        bench.key.seal(&expired).unwrap(),
        bench.key.seal(&ticket()).unwrap(),
        Vec::new(),
    ] {
        let bind = bind_with_ticket(&own, &sealed);
        assert!(is_unknown(&bench.frame(1, &bind)));
    }
    assert_eq!(bench.relay.guests(), 0);
    bench.join(Role::Listener, 1);
}

#[test]
fn ticket_that_a_third_host_has_caught_opens_nothing_for_it() {
    let mut bench = Bench::new();
    let stolen = LegGrant {
        leg: bench.ticket.legs[0].leg,
        key: Secret::random(),
    };
    let bind = bind_with_ticket(&stolen, &bench.sealed());
    assert!(is_unknown(&bench.frame(9, &bind)));
    // The whole datagram as it was seen on its way begins, since it has the member's MAC, and cannot answer.
    bench.join(Role::Listener, 1);
    let bind = bench.bind(Role::Listener);
    let Some(RelayFrame::Challenge { leg, cookie }) = bench.frame(9, &bind).reply else {
        panic!("no challenge");
    };
    let mac = bind_mac(&stolen);
    let answer = RelayFrame::Answer { leg, cookie, mac };
    let refused = bench.frame(9, &answer.encode());
    assert!(matches!(
        refused.reply,
        Some(RelayFrame::Refused {
            reason: RelayRefusal::Proof,
            ..
        })
    ));
    bench.join(Role::Connector, 2);
    let source = route(2).source;
    let to = bench.relay.forward(bench.now, &source, Load::one(100));
    assert_eq!(
        to,
        Forward::To(Route::Udp(route(1))),
        "the leg is where it was"
    );
}

#[test]
fn guest_ends_with_its_ticket_and_sooner_when_nobody_is_there() {
    let mut bench = Bench::new();
    bench.join(Role::Listener, 1);
    bench.now += Duration::from_secs(90);
    bench.relay.expire(bench.now);
    assert_eq!(bench.relay.guests(), 1, "one member is there");
    bench.now += Duration::from_secs(510);
    bench.relay.expire(bench.now);
    assert_eq!(bench.relay.guests(), 0, "the ticket is over");
    let mut bench = Bench::new();
    let bind = bench.bind(Role::Connector);
    bench.relay.admit(NOW, &bind).unwrap();
    let meters = [LegMeter::unbounded(), LegMeter::unbounded()];
    let (session, legs) = (bench.ticket.session, bench.ticket.legs.clone());
    let until = bench.now + Duration::from_secs(600);
    bench
        .relay
        .open_guest(bench.now, session, legs, meters, until);
    bench
        .relay
        .expire(bench.now + UNPROVED - Duration::from_millis(1));
    assert_eq!(bench.relay.guests(), 1);
    bench.relay.expire(bench.now + UNPROVED);
    assert_eq!(bench.relay.guests(), 0, "nobody has answered");
}

#[test]
fn guest_whose_members_have_left_ends_after_a_minute_though_a_caught_bind_is_sent_again_and_again()
{
    let mut bench = Bench::new();
    bench.join(Role::Listener, 1);
    let caught = bench.bind(Role::Listener);
    let idle = bench.relay.leg_idle;
    bench.now += idle;
    bench.relay.expire(bench.now);
    let left = bench.now;
    while bench.now < left + ABSENT {
        assert_eq!(bench.relay.guests(), 1);
        bench.frame(9, &caught);
        bench.now += Duration::from_secs(2);
        bench.relay.expire(bench.now);
    }
    assert_eq!(bench.relay.guests(), 0, "nobody is there who has the key");
    bench.frame(9, &caught);
    assert_eq!(bench.relay.guests(), 1);
    bench.relay.expire(bench.now + UNPROVED);
    assert_eq!(bench.relay.guests(), 0, "each time it has a moment");
}

#[test]
fn members_have_a_place_though_caught_binds_of_many_sessions_fill_those_of_the_unproved() {
    let mut bench = Bench::new();
    bench.relay.capacity = 64;
    let most = bench.relay.most_unproved();
    bench.join(Role::Listener, 1);
    let own = bench.ticket.clone();
    for port in 0..50 {
        bench.ticket = ticket();
        let caught = bench.bind(Role::Listener);
        bench.frame(100 + port, &caught);
    }
    assert_eq!(bench.relay.guests(), 1 + most);
    bench.ticket = own;
    bench.join(Role::Connector, 2);
    bench.ticket = ticket();
    bench.join(Role::Listener, 3);
    assert_eq!(bench.relay.guests(), 2 + most - 1);
}

#[test]
fn guests_leave_room_for_sessions_of_the_hosts_own() {
    let mut bench = Bench::new();
    bench.relay.capacity = 8;
    for port in 0..2 {
        bench.ticket = ticket();
        bench.join(Role::Listener, port);
    }
    bench.ticket = ticket();
    let bind = bench.bind(Role::Listener);
    assert!(is_unknown(&bench.frame(3, &bind)));
    assert_eq!(bench.relay.guests(), 2);
}
