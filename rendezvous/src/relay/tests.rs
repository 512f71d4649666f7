//! The relay's table, driven without sockets.

use std::net::SocketAddr;

use p2pdbg_proto::{
    relay::{answer_mac, bind_mac},
    secret::random_bytes,
};

use super::{cookie::COOKIE_TIME, leg::UNPROVED_AGAIN, routes::Found, *};
use crate::{
    keys::{KeyId, KeyLimits, KeyRing},
    relay_allowance::Book,
};

const LISTENER: &str = "192.0.2.1:1000";
const CONNECTOR: &str = "198.51.100.2:2000";
const ELSEWHERE: &str = "203.0.113.9:3000";

struct Bench {
    relay: Relay,
    routes: Routes,
    now: Instant,
    session: SessionId,
    grants: [LegGrant; 2],
}

fn udp(remote: &str) -> UdpRoute {
    let source = Source {
        socket: 0,
        remote: remote.parse().unwrap(),
    };
    UdpRoute {
        source,
        local: None,
    }
}

fn route(remote: &str) -> Route {
    Route::Udp(udp(remote))
}

fn grant() -> LegGrant {
    LegGrant {
        leg: LegId(random_bytes()),
        key: Secret::random(),
    }
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let mut bench = Self {
            relay: Relay::new(now, &Limits::default()),
            routes: Routes::new(now),
            now,
            session: SessionId([1; 16]),
            grants: [grant(), grant()],
        };
        bench
            .relay
            .open(bench.session, bench.grants.clone(), meters());
        bench
    }

    fn both_bound() -> Self {
        let mut bench = Self::new();
        bench.bind(Role::Listener, LISTENER);
        bench.bind(Role::Connector, CONNECTOR);
        bench
    }

    fn grant(&self, role: Role) -> &LegGrant {
        &self.grants[side(role)]
    }

    fn frame(&mut self, remote: &str, frame: &RelayFrame) -> Outcome {
        let request = frame.encode();
        let outcome = self.relay.handle_frame(self.now, udp(remote), &request);
        if let Some(reply) = &outcome.reply {
            assert!(reply.encode().len() <= request.len(), "{reply:?}");
        }
        outcome
    }

    fn challenge(&mut self, role: Role, remote: &str) -> Cookie {
        let leg = self.grant(role).leg;
        match self
            .frame(remote, &RelayFrame::Bind { leg, mac: [0; 32] })
            .reply
        {
            Some(RelayFrame::Challenge { cookie, .. }) => cookie,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, role: Role, remote: &str, cookie: Cookie) -> Outcome {
        let grant = self.grant(role).clone();
        let mac = answer_mac(&grant, &cookie);
        let leg = grant.leg;
        self.frame(remote, &RelayFrame::Answer { leg, cookie, mac })
    }

    fn bind(&mut self, role: Role, remote: &str) {
        // Cookies are told apart by the microsecond.
        self.now += Duration::from_micros(1);
        let cookie = self.challenge(role, remote);
        let outcome = self.answer(role, remote, cookie);
        assert!(matches!(outcome.reply, Some(RelayFrame::Bound { .. })));
    }

    /// The connector's JOIN, by the attempt of this number.
    fn join(&mut self, stream: TcpLegId, attempt: u64) -> Joined {
        let exported = [7; 32];
        let join = Join::new(self.grant(Role::Connector), attempt, &exported);
        let ip = "198.51.100.2".parse().unwrap();
        self.relay.join(self.now, stream, ip, &join, &exported)
    }

    fn forward(&mut self, remote: &str) -> Forward {
        self.relay.publish(&self.routes);
        let source = udp(remote).source;
        let found = self.routes.find(self.now, &source, 1_200);
        let decided = self.relay.forward(self.now, &source, Load::one(1_200));
        // What the workers find by themselves is what the relay would have said, and is found whenever it may be.
        match found {
            Some(Found::To(to)) => assert_eq!(decided, Forward::To(Route::Udp(to))),
            Some(Found::TooMuch) => assert_eq!(decided, Forward::TooMuch),
            None => assert!(!self.both_proved(&source), "{remote} is not published"),
        }
        decided
    }

    /// Whether datagrams of this source need nobody's decision.
    fn both_proved(&self, source: &Source) -> bool {
        let Some(position) = self.relay.sources.get(source) else {
            return false;
        };
        self.relay.sessions[&position.session].iter().all(|leg| {
            leg.bound
                .as_ref()
                .is_some_and(|b| b.credit.is_none() && matches!(b.route, Route::Udp(_)))
        })
    }
}

/// Whether a datagram waits for the leg of that member.
fn awaits(forward: Forward, member: Role) -> bool {
    matches!(forward, Forward::NotYet(_, role) if role == member)
}

fn refused(outcome: &Outcome, why: RelayRefusal) -> bool {
    matches!(outcome.reply, Some(RelayFrame::Refused { reason, .. }) if reason == why)
        && outcome.seen.is_none()
}

#[test]
fn two_bound_legs_reach_each_other_and_nobody_else() {
    let mut bench = Bench::both_bound();
    assert_eq!(bench.forward(LISTENER), Forward::To(route(CONNECTOR)));
    assert_eq!(bench.forward(CONNECTOR), Forward::To(route(LISTENER)));
    assert_eq!(bench.forward(ELSEWHERE), Forward::NotALeg);
}

#[test]
fn a_leg_without_the_other_bound_leads_nowhere() {
    let mut bench = Bench::new();
    bench.bind(Role::Listener, LISTENER);
    assert!(awaits(bench.forward(LISTENER), Role::Connector));
}

#[test]
fn binding_tells_where_the_member_was_seen() {
    let mut bench = Bench::new();
    let mapped = "[::ffff:192.0.2.1]:1000";
    let cookie = bench.challenge(Role::Listener, mapped);
    let seen = bench.answer(Role::Listener, mapped, cookie).seen.unwrap();
    assert_eq!(seen.session, bench.session);
    assert_eq!(seen.role, Role::Listener);
    assert_eq!(seen.ip, "192.0.2.1".parse::<IpAddr>().unwrap());
}

#[test]
fn nothing_is_stored_for_a_source_that_has_only_asked() {
    let mut bench = Bench::new();
    for port in 1..500 {
        bench.challenge(Role::Listener, &format!("192.0.2.1:{port}"));
    }
    assert_eq!(bench.relay.bound(), 0);
}

#[test]
fn a_cookie_serves_only_at_the_address_that_it_was_made_for() {
    let mut bench = Bench::new();
    let cookie = bench.challenge(Role::Listener, LISTENER);
    let elsewhere = bench.answer(Role::Listener, ELSEWHERE, cookie);
    assert!(refused(&elsewhere, RelayRefusal::Proof));
    let other_host = bench.answer(Role::Listener, "192.0.2.2:1000", cookie);
    assert!(refused(&other_host, RelayRefusal::Proof));
    let other_port = bench.answer(Role::Listener, "192.0.2.1:1001", cookie);
    assert!(refused(&other_port, RelayRefusal::Proof));
    let other_leg = bench.answer(Role::Connector, LISTENER, cookie);
    assert!(refused(&other_leg, RelayRefusal::Proof));
    assert_eq!(bench.forward(ELSEWHERE), Forward::NotALeg);
}

#[test]
fn an_answer_without_the_legs_key_binds_nothing() {
    let mut bench = Bench::new();
    let cookie = bench.challenge(Role::Listener, LISTENER);
    let leg = bench.grant(Role::Listener).leg;
    let mut mac = answer_mac(bench.grant(Role::Listener), &cookie);
    mac[31] ^= 1;
    let outcome = bench.frame(LISTENER, &RelayFrame::Answer { leg, cookie, mac });
    assert!(refused(&outcome, RelayRefusal::Proof));
    assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
}

#[test]
fn a_forged_cookie_binds_nothing() {
    let mut bench = Bench::new();
    let mut cookie = bench.challenge(Role::Listener, LISTENER);
    cookie[31] ^= 1;
    assert!(refused(
        &bench.answer(Role::Listener, LISTENER, cookie),
        RelayRefusal::Proof
    ));
    let from_the_future = {
        let mut cookie = cookie;
        cookie[..COOKIE_TIME].copy_from_slice(&u64::MAX.to_be_bytes());
        cookie
    };
    assert!(refused(
        &bench.answer(Role::Listener, LISTENER, from_the_future),
        RelayRefusal::Proof
    ));
}

#[test]
fn a_challenge_is_void_after_half_a_minute() {
    let mut bench = Bench::new();
    let cookie = bench.challenge(Role::Listener, LISTENER);
    bench.now += COOKIE_LIFETIME + Duration::from_millis(1);
    assert!(refused(
        &bench.answer(Role::Listener, LISTENER, cookie),
        RelayRefusal::Proof
    ));
}

#[test]
fn a_member_that_moves_takes_its_leg_along() {
    let mut bench = Bench::both_bound();
    bench.bind(Role::Listener, ELSEWHERE);
    assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
    assert_eq!(bench.forward(ELSEWHERE), Forward::To(route(CONNECTOR)));
    assert_eq!(bench.forward(CONNECTOR), Forward::To(route(ELSEWHERE)));
    assert_eq!(bench.relay.bound(), 2);
}

#[test]
fn a_replayed_answer_does_not_take_a_leg_back() {
    let mut bench = Bench::new();
    let old = bench.challenge(Role::Listener, LISTENER);
    bench.answer(Role::Listener, LISTENER, old);
    // Bound was lost: the same answer from the same place is no replay.
    let again = bench.answer(Role::Listener, LISTENER, old);
    assert!(matches!(again.reply, Some(RelayFrame::Bound { .. })));
    assert_eq!(again.seen, None);
    bench.bind(Role::Listener, ELSEWHERE);
    let replayed = bench.answer(Role::Listener, LISTENER, old);
    assert!(refused(&replayed, RelayRefusal::Proof));
    assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
}

/// A BIND with the leg's MAC, which is not answered for yet.
fn knock(bench: &mut Bench, role: Role, remote: &str) {
    let grant = bench.grant(role).clone();
    let (leg, mac) = (grant.leg, bind_mac(&grant));
    bench.frame(remote, &RelayFrame::Bind { leg, mac });
}

#[test]
fn a_leg_begins_with_its_first_bind_and_is_sent_three_times_what_came() {
    let mut bench = Bench::new();
    knock(&mut bench, Role::Listener, LISTENER);
    assert!(awaits(bench.forward(LISTENER), Role::Connector));
    bench.bind(Role::Connector, CONNECTOR);
    // The challenge was one, and what has been sent meanwhile counts too.
    for _ in 0..2 + 3 {
        assert_eq!(bench.forward(CONNECTOR), Forward::To(route(LISTENER)));
    }
    assert!(awaits(bench.forward(CONNECTOR), Role::Listener));
    assert_eq!(bench.forward(LISTENER), Forward::To(route(CONNECTOR)));
    assert_eq!(bench.forward(CONNECTOR), Forward::To(route(LISTENER)));
    bench.bind(Role::Listener, LISTENER);
    for _ in 0..100 {
        assert_eq!(bench.forward(CONNECTOR), Forward::To(route(LISTENER)));
    }
}

#[test]
fn a_leg_that_has_only_begun_is_sent_three_times_what_came_in_small_datagrams_too() {
    let mut bench = Bench::new();
    bench.bind(Role::Connector, CONNECTOR);
    knock(&mut bench, Role::Listener, LISTENER);
    let small = Load {
        bytes: 10,
        count: 10,
    };
    let source = udp(CONNECTOR).source;
    let passes = |bench: &mut Bench| {
        bench.relay.forward(bench.now, &source, small)
            != Forward::NotYet(bench.session, Role::Listener)
    };
    let passed = (0..100).filter(|_| passes(&mut bench)).count();
    // The challenge was a third of what may be sent, and each of these is 29 bytes on the wire.
    assert_eq!(passed, 2 * (PADDED_LENGTH + 28) / (10 * 29));
}

#[test]
fn a_bind_without_the_legs_key_begins_nothing() {
    let mut bench = Bench::new();
    let leg = bench.grant(Role::Listener).leg;
    let mac = bind_mac(bench.grant(Role::Connector));
    bench.frame(LISTENER, &RelayFrame::Bind { leg, mac });
    assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
}

#[test]
fn a_bind_from_elsewhere_takes_no_leg_that_is_bound_and_no_source_of_another() {
    let mut bench = Bench::both_bound();
    knock(&mut bench, Role::Listener, ELSEWHERE);
    assert_eq!(bench.forward(ELSEWHERE), Forward::NotALeg);
    assert_eq!(bench.forward(CONNECTOR), Forward::To(route(LISTENER)));
    let grants = [grant(), grant()];
    bench
        .relay
        .open(SessionId([2; 16]), grants.clone(), meters());
    let first = std::mem::replace(&mut bench.grants, grants);
    knock(&mut bench, Role::Listener, CONNECTOR);
    bench.grants = first;
    assert_eq!(bench.forward(CONNECTOR), Forward::To(route(LISTENER)));
}

#[test]
fn a_leg_goes_on_with_a_source_that_is_not_proved_for_three_seconds_of_a_minute() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        let began = bench.now;
        for millis in [0, 1_500, 2_999] {
            bench.now = began + Duration::from_millis(millis);
            // Nor does it go on for longer from here, or from elsewhere.
            knock(&mut bench, Role::Listener, LISTENER);
            knock(&mut bench, Role::Listener, ELSEWHERE);
            bench.relay.expire(bench.now);
            assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
            assert!(awaits(bench.forward(ELSEWHERE), Role::Connector));
        }
        for millis in [3_000, 59_999] {
            bench.now = began + Duration::from_millis(millis);
            bench.relay.expire(bench.now);
            knock(&mut bench, Role::Listener, LISTENER);
            assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
            assert_eq!(bench.forward(ELSEWHERE), Forward::NotALeg);
        }
        // Its member binds it all the same.
        bench.bind(Role::Listener, LISTENER);
        assert!(awaits(bench.forward(LISTENER), Role::Connector));
        bench.now = began + UNPROVED_AGAIN + bench.relay.leg_idle;
        bench.relay.expire(bench.now);
    }
}

#[test]
fn a_source_sends_for_its_newest_leg_only() {
    let mut bench = Bench::both_bound();
    let second = SessionId([2; 16]);
    let grants = [grant(), grant()];
    bench.relay.open(second, grants.clone(), meters());
    let first = std::mem::replace(&mut bench.grants, grants);
    bench.bind(Role::Listener, LISTENER);
    assert!(awaits(bench.forward(LISTENER), Role::Connector));
    bench.grants = first;
    assert!(awaits(bench.forward(CONNECTOR), Role::Listener));
    bench.relay.close(bench.session);
    assert!(awaits(bench.forward(LISTENER), Role::Connector));
    bench.relay.close(second);
    assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
    assert_eq!(bench.relay.bound(), 0);
}

#[test]
fn an_idle_route_is_forgotten_and_can_be_bound_again() {
    let mut bench = Bench::both_bound();
    bench.now += Duration::from_secs(200);
    bench.forward(LISTENER);
    bench.now += Duration::from_secs(200);
    bench.relay.expire(bench.now);
    assert_eq!(bench.forward(CONNECTOR), Forward::NotALeg);
    assert!(awaits(bench.forward(LISTENER), Role::Connector));
    bench.bind(Role::Connector, CONNECTOR);
    assert_eq!(bench.forward(LISTENER), Forward::To(route(CONNECTOR)));
}

#[test]
fn a_leg_whose_datagrams_the_workers_pass_on_alone_is_not_idle() {
    let mut bench = Bench::both_bound();
    bench.relay.publish(&bench.routes);
    for _ in 0..3 {
        bench.now += Duration::from_secs(200);
        for remote in [LISTENER, CONNECTOR] {
            let found = bench.routes.find(bench.now, &udp(remote).source, 100);
            assert!(found.is_some());
        }
        bench.relay.expire(bench.now);
    }
    assert_eq!(bench.forward(LISTENER), Forward::To(route(CONNECTOR)));
}

#[test]
fn a_stream_that_takes_a_leg_over_or_ends_takes_the_path_of_the_workers_away() {
    let mut bench = Bench::both_bound();
    assert_eq!(bench.forward(LISTENER), Forward::To(route(CONNECTOR)));
    let stream = TcpLegId(1);
    assert!(bench.join(stream, 1).seen.is_some());
    let by_stream = Forward::To(Route::Stream(stream));
    assert_eq!(bench.forward(LISTENER), by_stream);
    assert_eq!(bench.forward(CONNECTOR), Forward::NotALeg);
    bench.relay.on_stream_ended(stream);
    assert!(awaits(bench.forward(LISTENER), Role::Connector));
    bench.bind(Role::Connector, CONNECTOR);
    assert_eq!(bench.forward(LISTENER), Forward::To(route(CONNECTOR)));
}

#[test]
fn attempt_over_tcp_that_was_on_its_way_for_long_does_not_take_the_leg_from_a_later_one() {
    let mut bench = Bench::both_bound();
    assert!(bench.join(TcpLegId(1), 4).seen.is_some());
    for late in [3, 4] {
        let reply = bench.join(TcpLegId(2), late).reply;
        let reason = RelayRefusal::Superseded;
        assert!(matches!(reply, RelayFrame::Refused { reason: told, .. } if told == reason));
        assert_eq!(bench.relay.poll_orphan(), None);
    }
    assert!(bench.join(TcpLegId(3), 5).seen.is_some());
    assert_eq!(bench.relay.poll_orphan(), Some(TcpLegId(1)));
    let by_stream = Forward::To(Route::Stream(TcpLegId(3)));
    assert_eq!(bench.forward(LISTENER), by_stream);
}

#[test]
fn closed_legs_are_unknown() {
    let mut bench = Bench::both_bound();
    bench.relay.close(bench.session);
    assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
    let leg = bench.grant(Role::Listener).leg;
    let outcome = bench.frame(LISTENER, &RelayFrame::Bind { leg, mac: [0; 32] });
    assert!(refused(&outcome, RelayRefusal::UnknownLeg));
    let answer = RelayFrame::Answer {
        leg,
        cookie: [0; 32],
        mac: [0; 32],
    };
    assert!(refused(
        &bench.frame(LISTENER, &answer),
        RelayRefusal::UnknownLeg
    ));
}

#[test]
fn legs_of_a_lost_session_linger_and_then_close() {
    let mut bench = Bench::both_bound();
    bench.relay.linger(bench.now, bench.session);
    bench.now += Duration::from_secs(299);
    bench.forward(LISTENER);
    bench.relay.expire(bench.now);
    assert_eq!(bench.forward(CONNECTOR), Forward::To(route(LISTENER)));
    bench.bind(Role::Connector, CONNECTOR);
    bench.now += Duration::from_secs(1);
    bench.relay.expire(bench.now);
    assert_eq!(bench.forward(LISTENER), Forward::NotALeg);
    assert!(bench.relay.sessions.is_empty() && bench.relay.legs.is_empty());
}

#[test]
fn lingering_sessions_make_room_when_the_table_is_full() {
    let limits = Limits {
        sessions: 1,
        ..Limits::default()
    };
    let now = Instant::now();
    let mut relay = Relay::new(now, &limits);
    for n in 0..10u8 {
        let session = SessionId([n; 16]);
        relay.open(session, [grant(), grant()], meters());
        relay.linger(now + Duration::from_secs(n.into()), session);
    }
    assert_eq!(relay.sessions.len(), 2);
    assert!(relay.sessions.contains_key(&SessionId([9; 16])));
}

#[test]
fn lingering_sessions_of_the_key_with_most_make_room_first() {
    let limits = Limits {
        sessions: 4,
        ..Limits::default()
    };
    let now = Instant::now();
    let mut relay = Relay::new(now, &limits);
    let keys = [KeyId([1; 8]), KeyId([2; 8])];
    let mut book = book(&keys.map(|key| (key, KeyLimits::default())));
    let mut open = |n: u8, key: usize| {
        let session = SessionId([n; 16]);
        relay.open(session, [grant(), grant()], book.open([keys[key]; 2]));
        relay.linger(now + Duration::from_secs(n.into()), session);
    };
    // The others' have lingered longest.
    open(0, 0);
    open(1, 0);
    for n in 2..100 {
        open(n, 1);
    }
    assert_eq!(relay.sessions.len(), 8);
    for kept in [0, 1, 94, 99] {
        assert!(relay.sessions.contains_key(&SessionId([kept; 16])));
    }
}

#[test]
fn garbage_is_dropped_in_silence() {
    let mut bench = Bench::both_bound();
    for first in 4..16u8 {
        for length in [1, 2, 17, 18, 19, 20, 50, 64, 82, 1200] {
            let mut datagram = vec![0xa5; length];
            datagram[0] = first;
            let outcome = bench
                .relay
                .handle_frame(bench.now, udp(ELSEWHERE), &datagram);
            assert_eq!(outcome, Outcome::default());
        }
    }
    let bound = RelayFrame::Bound {
        leg: bench.grant(Role::Listener).leg,
        lifetime_s: 1,
    };
    assert_eq!(bench.frame(ELSEWHERE, &bound), Outcome::default());
}

fn meters() -> [Arc<LegMeter>; 2] {
    [LegMeter::unbounded(), LegMeter::unbounded()]
}

const PORT: &str = "192.0.2.100:3478";

fn book(keys: &[(KeyId, KeyLimits)]) -> Book {
    let mut book = Book::new(Instant::now(), 0, None);
    book.set_keys(&KeyRing::of(keys), 0);
    book
}

impl Bench {
    /// As if another process had taken over, with these sockets.
    fn hand_over(&mut self, ports: &[&str]) {
        self.hand_over_to(ports, &mut book(&[(KeyId::NOBODY, KeyLimits::default())]));
    }

    fn hand_over_to(&mut self, ports: &[&str], book: &mut Book) {
        let carried = self.relay.carry(self.now, &[PORT.parse().unwrap()]);
        let bytes = postcard::to_stdvec(&carried).unwrap();
        let carried = postcard::from_bytes(&bytes).unwrap();
        let ports: Vec<SocketAddr> = ports.iter().map(|port| port.parse().unwrap()).collect();
        let meter = |terms| book.reopen(terms);
        self.relay = Relay::inherit(self.now, &Limits::default(), carried, &ports, meter);
        self.routes = Routes::new(self.relay.began());
    }
}

#[test]
fn a_carried_table_forwards_as_before_and_takes_answers_to_its_old_challenges() {
    let mut bench = Bench::both_bound();
    bench.now += Duration::from_secs(100);
    let leg = bench.grant(Role::Listener).leg;
    let cookie = bench.challenge(Role::Listener, ELSEWHERE);
    bench.hand_over(&[PORT]);
    let forward = |bench: &mut Bench, from: &str| {
        bench
            .relay
            .forward(bench.now, &udp(from).source, Load::one(100))
    };
    assert_eq!(forward(&mut bench, LISTENER), Forward::To(route(CONNECTOR)));
    assert_eq!(forward(&mut bench, CONNECTOR), Forward::To(route(LISTENER)));
    let mac = answer_mac(bench.grant(Role::Listener), &cookie);
    let outcome = bench.frame(ELSEWHERE, &RelayFrame::Answer { leg, cookie, mac });
    assert!(
        matches!(outcome.reply, Some(RelayFrame::Bound { .. })),
        "{outcome:?}"
    );
    assert_eq!(
        forward(&mut bench, CONNECTOR),
        Forward::To(route(ELSEWHERE))
    );
}

#[test]
fn a_carried_session_lingers_and_then_goes() {
    let mut bench = Bench::both_bound();
    bench.hand_over(&[PORT]);
    bench.now += Limits::default().leg_linger;
    bench.relay.expire(bench.now);
    let leg = bench.grant(Role::Listener).leg;
    let outcome = bench.frame(LISTENER, &RelayFrame::Bind { leg, mac: [0; 32] });
    assert!(matches!(outcome.reply, Some(RelayFrame::Refused { .. })));
}

#[test]
fn a_carried_route_of_a_socket_that_is_gone_is_bound_anew() {
    let mut bench = Bench::both_bound();
    bench.hand_over(&["192.0.2.100:9999"]);
    let forward = bench
        .relay
        .forward(bench.now, &udp(LISTENER).source, Load::one(100));
    assert_eq!(forward, Forward::NotALeg);
    bench.bind(Role::Listener, LISTENER);
}

#[test]
fn carried_legs_keep_to_the_bandwidth_of_their_key_and_send_nothing_once_it_is_gone() {
    const KEY: KeyId = KeyId([1; 8]);
    let limits = KeyLimits {
        relay_mbit: Some(1),
        ..KeyLimits::default()
    };
    let keys = [(KEY, limits)];
    let mut bench = Bench::new();
    bench.relay.close(bench.session);
    let meters = book(&keys).open([KEY; 2]);
    let grants = bench.grants.clone();
    bench.relay.open(bench.session, grants, meters);
    bench.bind(Role::Listener, LISTENER);
    bench.bind(Role::Connector, CONNECTOR);
    let send = |bench: &mut Bench| {
        let source = udp(LISTENER).source;
        bench
            .relay
            .forward(bench.now, &source, Load::one(64 * 1024))
    };
    let mut limited = book(&keys);
    bench.hand_over_to(&[PORT], &mut limited);
    assert_eq!(send(&mut bench), Forward::To(route(CONNECTOR)));
    assert_eq!(send(&mut bench), Forward::TooMuch);
    let mut without_the_key = book(&[]);
    bench.hand_over_to(&[PORT], &mut without_the_key);
    bench.now += Duration::from_secs(1);
    assert_eq!(send(&mut bench), Forward::TooMuch);
}
