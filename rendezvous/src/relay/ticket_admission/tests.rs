use p2pdbg_proto::{
    node::NodeNumber,
    relay::{LegGrant, LegId, RelayRefusal, answer_mac, bind_mac, bind_with_ticket},
    rendezvous::{Role, SessionId},
    secret::{Secret, random_bytes},
};

use super::*;
use crate::{
    keys::{KeyId, KeyLimits},
    limits::Limits,
    relay::{Forward, Outcome, Route, Source, UdpRoute, side},
    ticket_codec::Terms,
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
        origin: random_bytes(),
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
            self.relay.open_guest(self.now, ticket, meters, until);
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
fn relay_that_drains_lets_no_guest_in_and_goes_on_with_those_that_it_has() {
    let mut bench = Bench::new();
    bench.join(Role::Listener, 1);
    let known = bench.ticket.clone();
    let before = ticket();
    bench.ticket = before.clone();
    let bind = bench.bind(Role::Listener);
    let admitted = bench.relay.admit(NOW, &bind).unwrap();
    bench.relay.drain(true);
    // What the hub gives back now was admitted before.
    let meters = [LegMeter::unbounded(), LegMeter::unbounded()];
    let until = bench.now + Duration::from_secs(600);
    bench.relay.open_guest(bench.now, admitted, meters, until);
    assert!(is_unknown(&bench.frame(3, &bind)));
    bench.ticket = known;
    bench.join(Role::Connector, 2);
    assert_eq!(bench.relay.guests(), 1);
    bench.relay.drain(false);
    bench.ticket = before;
    bench.join(Role::Listener, 3);
    assert_eq!(bench.relay.guests(), 2);
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
    let until = bench.now + Duration::from_secs(600);
    let ticket = bench.ticket.clone();
    bench.relay.open_guest(bench.now, ticket, meters, until);
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
        bench.ticket = ticket_of(port + 1, None);
        let caught = bench.bind(Role::Listener);
        bench.frame(100 + u16::from(port), &caught);
    }
    assert_eq!(bench.relay.guests(), 1 + most);
    bench.ticket = own;
    bench.join(Role::Connector, 2);
    bench.ticket = ticket();
    bench.join(Role::Listener, 3);
    assert_eq!(bench.relay.guests(), 2 + most - 1);
}

#[test]
fn key_with_tickets_without_end_does_not_keep_anothers_members_from_answering() {
    let mut bench = Bench::new();
    bench.relay.capacity = 256;
    let most = bench.relay.most_unproved();
    let caught = |bench: &mut Bench, port: u16| {
        let own = std::mem::replace(&mut bench.ticket, ticket_of(1, None));
        let bind = bench.bind(Role::Listener);
        bench.frame(port, &bind);
        bench.ticket = own;
    };
    bench.ticket = ticket_of(2, None);
    let grant = bench.ticket.legs[0].clone();
    let bind = bench.bind(Role::Listener);
    let Some(RelayFrame::Challenge { leg, cookie }) = bench.frame(1, &bind).reply else {
        panic!("no challenge");
    };
    for port in 0..10 * u16::try_from(most).unwrap() {
        caught(&mut bench, 1_000 + port);
    }
    let mac = answer_mac(&grant, &cookie);
    let answer = RelayFrame::Answer { leg, cookie, mac };
    let outcome = bench.frame(1, &answer.encode());
    assert!(matches!(outcome.reply, Some(RelayFrame::Bound { .. })));
    assert!(bench.relay.guests() <= 1 + most);
}

#[test]
fn two_keys_that_take_all_places_they_may_leave_some_to_a_third() {
    let mut bench = Bench::with_places(8, 16);
    let places = bench.relay.capacity / 4;
    for key in [1, 2] {
        for n in 0..20 {
            bench.join_with(ticket_of(key, None), 100 * u16::from(key) + n);
        }
    }
    assert!(bench.relay.guests() < places);
    let third = bench.join_with(ticket_of(3, None), 1);
    assert!(bench.is_there(third));
    // Those who have one place have it still.
    bench.join_with(ticket_of(1, None), 2);
    assert!(bench.is_there(third));
}

/// One of this key's sessions, of which there may be so many.
fn ticket_of(key: u8, sessions: Option<usize>) -> Ticket {
    let limits = KeyLimits {
        sessions,
        ..KeyLimits::default()
    };
    Ticket {
        terms: [Terms::of(KeyId([key; 8]), &limits); 2],
        ..ticket()
    }
}

impl Bench {
    /// A bench whose relay gives one key so many places of so many.
    fn with_places(per_key: usize, places: usize) -> Self {
        let mut bench = Self::new();
        let limits = Limits {
            sessions: 2 * places,
            sessions_per_key: 2 * per_key,
            ..Limits::default()
        };
        bench.relay = Relay::new(bench.now, &limits);
        bench.relay.take_tickets(bench.key.clone());
        bench
    }

    #[track_caller]
    fn join_with(&mut self, ticket: Ticket, port: u16) -> SessionId {
        self.ticket = ticket;
        self.join(Role::Listener, port);
        self.ticket.session
    }

    fn is_there(&self, session: SessionId) -> bool {
        self.relay.guests.has(session)
    }
}

#[test]
fn key_with_more_tickets_than_places_loses_its_own_oldest_and_takes_nobody_elses() {
    let mut bench = Bench::with_places(4, 16);
    let other = bench.join_with(ticket_of(2, None), 1);
    let own: Vec<SessionId> = (0..8)
        .map(|n| bench.join_with(ticket_of(1, None), 10 + n))
        .collect();
    assert_eq!(bench.relay.guests(), 1 + 4);
    assert!(bench.is_there(other));
    let left: Vec<bool> = own.iter().map(|one| bench.is_there(*one)).collect();
    assert_eq!(left, [[false; 4], [true; 4]].concat());
    bench.join_with(ticket_of(3, None), 30);
    // What has ended is counted no more.
    for session in own {
        bench.relay.close(session);
    }
    let again: Vec<SessionId> = (0..4)
        .map(|n| bench.join_with(ticket_of(1, None), 40 + n))
        .collect();
    assert!(again.iter().all(|one| bench.is_there(*one)));
}

#[test]
fn key_with_a_limit_on_sessions_has_twice_as_many_places_so_that_tickets_can_be_renewed() {
    let mut bench = Bench::with_places(4, 8);
    let own: Vec<SessionId> = (0..3)
        .map(|n| bench.join_with(ticket_of(1, Some(1)), 10 + n))
        .collect();
    let left: Vec<bool> = own.iter().map(|one| bench.is_there(*one)).collect();
    assert_eq!(left, [false, true, true]);
}

#[test]
fn session_with_many_tickets_has_two_places_and_leaves_those_of_its_keys_others() {
    let mut bench = Bench::with_places(4, 8);
    let first = bench.join_with(ticket_of(1, None), 1);
    let origin = [7; 16];
    let of_one: Vec<SessionId> = (0..6)
        .map(|n| {
            let ticket = ticket_of(1, None);
            bench.join_with(Ticket { origin, ..ticket }, 10 + n)
        })
        .collect();
    assert!(bench.is_there(first));
    let left: Vec<bool> = of_one.iter().map(|one| bench.is_there(*one)).collect();
    assert_eq!(left, [false, false, false, false, true, true]);
}

#[test]
fn bind_that_was_caught_ends_no_other_session_of_its_key() {
    let mut bench = Bench::with_places(2, 8);
    let own = [1, 2].map(|port| bench.join_with(ticket_of(1, None), port));
    bench.ticket = ticket_of(1, None);
    let caught = bench.bind(Role::Listener);
    bench.frame(9, &caught);
    assert_eq!(bench.relay.guests(), 3);
    assert!(own.iter().all(|one| bench.is_there(*one)));
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
