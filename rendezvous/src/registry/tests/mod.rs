//! The registry, driven without sockets and with a clock of the tests' own.

mod cluster;
mod handles;
mod key_limits;
mod limits;
mod nameplates;
mod prepared;
mod shared_limits;
mod walk;
mod wandering;

use std::{collections::HashSet, net::IpAddr};

use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{Fate, Handle, Introduction, NameplateClaim, Role},
    secret::Secret,
};

use super::*;
use crate::{
    keys::{KeyFile, KeyLimits},
    limits::Rate,
};
use p2pdbg_proto::url::AccessKey;

const LISTENER: ConnId = ConnId(1);
const CONNECTOR: ConnId = ConnId(2);
const OTHER: ConnId = ConnId(3);

struct Bench {
    registry: Registry,
    now: Now,
    file: KeyFile,
    key: AccessKey,
    secret: Secret<32>,
    limits: Limits,
}

fn add(file: &mut KeyFile, name: &str, secret: &AccessKey, limits: KeyLimits) {
    let name = name.parse().unwrap();
    file.add(name, secret, limits, 0, None).unwrap();
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default(), false)
    }

    fn with(limits: Limits, open: bool) -> Self {
        let key = AccessKey::random();
        let secret = Secret::random();
        let mut file = KeyFile::default();
        add(&mut file, "default", &key, KeyLimits::default());
        let ring = KeyRing::new(&file, open);
        Self {
            registry: Registry::new(limits.clone(), ring, Vouchers::new(&secret)),
            file,
            now: Now {
                instant: Instant::now(),
                unix_s: 1_000_000,
            },
            key,
            secret,
            limits,
        }
    }

    /// As if the process had been started again with the same state directory.
    fn restart(&mut self) {
        let ring = KeyRing::new(&self.file, false);
        let vouchers = Vouchers::new(&self.secret);
        self.registry = Registry::new(self.limits.clone(), ring, vouchers);
        self.registry.begin(self.now.instant, true);
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_s += time.as_secs();
    }

    fn connect(&mut self, id: ConnId) {
        // Each connection has an address of its own unless a test wants it otherwise.
        self.connect_from(id, [192, 0, 2, u8::try_from(id.0 % 250).unwrap()].into());
    }

    fn connect_from(&mut self, id: ConnId, ip: IpAddr) {
        let arrival = Arrival {
            observed: SocketAddr::new(ip, 4_000),
            stun: Vec::new(),
            over_tcp: false,
            span: tracing::Span::none(),
        };
        self.registry.on_connected(self.now, id, arrival);
    }

    fn say(&mut self, id: ConnId, message: ToRendezvous) -> Vec<Effect> {
        self.registry.handle(self.now, id, message)
    }

    fn hello(&mut self, id: ConnId, credential: Credential) -> Vec<Effect> {
        let agent = "test".into();
        self.say(id, ToRendezvous::Hello { credential, agent })
    }

    fn arrive(&mut self, id: ConnId, credential: Credential) {
        self.connect(id);
        let effects = self.hello(id, credential);
        assert!(
            matches!(&effects[..], [Effect::Tell(to, FromRendezvous::Welcome { .. })] if *to == id)
        );
    }

    fn key(&self) -> Credential {
        Credential::AccessKey(self.key.clone())
    }

    fn listen(&mut self, id: ConnId, claim: Option<NameplateClaim>) -> NameplateClaim {
        match &self.say(id, ToRendezvous::Listen { claim })[..] {
            [Effect::Tell(to, FromRendezvous::Listening(claim))] if *to == id => claim.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// A listener with the key and a connector without.
    fn listener_and_connector(&mut self) -> NameplateClaim {
        self.arrive(LISTENER, self.key());
        self.arrive(CONNECTOR, Credential::None);
        self.listen(LISTENER, None)
    }

    fn join(&mut self, id: ConnId, nameplate: Nameplate) -> Vec<Effect> {
        self.say(id, ToRendezvous::Join { nameplate })
    }

    fn unlisten(&mut self, nameplate: Nameplate, fate: Fate) {
        let effects = self.say(LISTENER, ToRendezvous::Unlisten { nameplate, fate });
        assert_eq!(effects, []);
    }

    fn meet(&mut self, id: ConnId, handle: &Handle, role: Role) -> Vec<Effect> {
        let handle = handle.clone();
        self.say(
            id,
            ToRendezvous::Meet {
                handle,
                role,
                already: None,
            },
        )
    }

    fn lose(&mut self, id: ConnId) -> Vec<Effect> {
        self.registry.on_lost(self.now, id, false)
    }

    fn bound(&mut self, session: SessionId, role: Role, ip: IpAddr) -> Vec<Effect> {
        self.registry.on_bound(self.now, Seen { session, role, ip })
    }

    /// Two peers in a session that has begun.
    fn pair(&mut self) -> SessionId {
        let claim = self.listener_and_connector();
        let effects = self.join(CONNECTOR, claim.nameplate);
        introductions(&effects).0.session
    }

    /// Both members say that the other is who it should be; what the rendezvous says to that.
    fn confirm(&mut self, session: SessionId, [listener, connector]: [ConnId; 2]) -> Vec<Effect> {
        assert_eq!(self.say(listener, ToRendezvous::Confirmed { session }), []);
        self.say(connector, ToRendezvous::Confirmed { session })
    }

    /// The voucher of a connector that has paired with the listener, at this nameplate.
    fn voucher(&mut self, connector: ConnId, nameplate: Nameplate) -> Vec<u8> {
        let session = introductions(&self.join(connector, nameplate)).0.session;
        let effects = self.confirm(session, [LISTENER, connector]);
        vouched(&effects).expect("a voucher")
    }
}

fn refusal(effects: &[Effect]) -> Option<Refusal> {
    effects.iter().find_map(|effect| match effect {
        Effect::Tell(_, FromRendezvous::Refused { refusal, .. }) => Some(*refusal),
        _ => None,
    })
}

/// The voucher that somebody was given.
fn vouched(effects: &[Effect]) -> Option<Vec<u8>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Tell(_, FromRendezvous::Vouched { voucher }) => Some(voucher.clone()),
        _ => None,
    })
}

/// What the listener and the connector were told when they were introduced, after their legs were opened.
#[track_caller]
fn introductions(effects: &[Effect]) -> (Introduction, Introduction) {
    match effects {
        [
            Effect::OpenLegs(session, [first, second], _),
            Effect::Tell(_, FromRendezvous::Introduced(listener)),
            Effect::Tell(_, FromRendezvous::Introduced(connector)),
        ] => {
            assert_eq!(
                (listener.role, connector.role),
                (Role::Listener, Role::Connector)
            );
            assert_eq!((listener.session, connector.session), (*session, *session));
            assert_eq!((&listener.leg, &connector.leg), (first, second));
            assert_ne!(first.leg, second.leg);
            assert_ne!(first.key, second.key);
            (listener.clone(), connector.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn closed(effects: &[Effect]) -> Option<u32> {
    effects.iter().find_map(|effect| match effect {
        Effect::Close(_, code) => Some(*code),
        _ => None,
    })
}

#[test]
fn the_first_message_is_hello_and_no_later_one_is() {
    let mut bench = Bench::new();
    bench.connect(LISTENER);
    let early = bench.say(LISTENER, ToRendezvous::Listen { claim: None });
    assert_eq!(refusal(&early), Some(Refusal::Protocol));
    assert_eq!(closed(&early), Some(close::PROTOCOL));
    bench.arrive(CONNECTOR, Credential::None);
    let again = bench.hello(CONNECTOR, Credential::None);
    assert_eq!(refusal(&again), Some(Refusal::Protocol));
}

#[test]
fn a_wrong_access_key_is_refused_for_good() {
    let mut bench = Bench::new();
    bench.connect(LISTENER);
    let effects = bench.hello(LISTENER, Credential::AccessKey(AccessKey::random()));
    assert_eq!(refusal(&effects), Some(Refusal::AccessKey));
    assert_eq!(closed(&effects), Some(close::REFUSED));
}

#[test]
fn listening_takes_the_access_key_unless_the_rendezvous_is_open() {
    let mut bench = Bench::new();
    bench.arrive(LISTENER, Credential::None);
    let effects = bench.say(LISTENER, ToRendezvous::Listen { claim: None });
    assert_eq!(refusal(&effects), Some(Refusal::AccessKey));
    let mut open = Bench::with(Limits::default(), true);
    open.arrive(LISTENER, Credential::None);
    open.listen(LISTENER, None);
    open.arrive(OTHER, Credential::AccessKey(AccessKey::random()));
    open.listen(OTHER, None);
}

#[test]
fn an_agent_that_would_spoil_the_log_is_no_agent() {
    let mut bench = Bench::new();
    for agent in ["\x1b[2J", "line\nline", "é", &"a".repeat(65)] {
        bench.connect(LISTENER);
        let credential = Credential::None;
        let agent = agent.into();
        let effects = bench.say(LISTENER, ToRendezvous::Hello { credential, agent });
        assert_eq!(refusal(&effects), Some(Refusal::Protocol));
    }
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let mut bench = Bench::new();
    bench.connect(LISTENER);
    bench.arrive(CONNECTOR, Credential::None);
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.registry.expire(bench.now), []);
    bench.pass(Duration::from_secs(1));
    let effects = bench.registry.expire(bench.now);
    assert_eq!(effects, [Effect::Close(LISTENER, close::IDLE)]);
    assert_eq!(bench.registry.connections.len(), 1);
}

#[test]
fn signals_pass_between_members_and_from_nobody_else() {
    let mut bench = Bench::new();
    let session = bench.pair();
    let signal = |payload: &[u8]| ToRendezvous::Signal {
        session,
        payload: payload.into(),
    };
    let passed = |payload: &[u8]| FromRendezvous::Signal {
        session,
        payload: payload.into(),
    };
    assert_eq!(
        bench.say(LISTENER, signal(b"a")),
        [Effect::Tell(CONNECTOR, passed(b"a"))]
    );
    assert_eq!(
        bench.say(CONNECTOR, signal(b"b")),
        [Effect::Tell(LISTENER, passed(b"b"))]
    );
    bench.arrive(OTHER, bench.key());
    let stranger = bench.say(OTHER, signal(b"c"));
    assert_eq!(refusal(&stranger), Some(Refusal::NoSuchSession));
    assert_eq!(closed(&stranger), None);
}

#[test]
fn who_leaves_a_session_ends_it_for_both() {
    let mut bench = Bench::new();
    let session = bench.pair();
    let effects = bench.say(LISTENER, ToRendezvous::Leave { session });
    let on_purpose = true;
    assert_eq!(
        effects,
        [
            Effect::Tell(
                CONNECTOR,
                FromRendezvous::PeerLeft {
                    session,
                    on_purpose
                }
            ),
            Effect::CloseLegs {
                session,
                linger: false
            },
        ]
    );
    let payload = Vec::new();
    let late = bench.say(CONNECTOR, ToRendezvous::Signal { session, payload });
    assert_eq!(refusal(&late), Some(Refusal::NoSuchSession));
    assert_eq!(bench.say(CONNECTOR, ToRendezvous::Leave { session }), []);
    assert_eq!(bench.registry.sessions(), 0);
}

#[test]
fn a_member_that_is_lost_leaves_legs_behind_for_a_while() {
    let mut bench = Bench::new();
    let session = bench.pair();
    bench.confirm(session, [LISTENER, CONNECTOR]);
    let on_purpose = false;
    assert_eq!(
        bench.lose(CONNECTOR),
        [
            Effect::Tell(
                LISTENER,
                FromRendezvous::PeerLeft {
                    session,
                    on_purpose
                }
            ),
            Effect::CloseLegs {
                session,
                linger: true
            },
        ]
    );
}

#[test]
fn strangers_cannot_end_a_session() {
    let mut bench = Bench::new();
    let session = bench.pair();
    bench.arrive(OTHER, bench.key());
    assert_eq!(bench.say(OTHER, ToRendezvous::Leave { session }), []);
    assert_eq!(bench.registry.sessions(), 1);
}

#[test]
fn the_other_member_hears_from_where_a_leg_was_bound() {
    let mut bench = Bench::new();
    let session = bench.pair();
    bench.confirm(session, [LISTENER, CONNECTOR]);
    for ip in [[192, 0, 2, 1], [203, 0, 113, 1]] {
        let ip: IpAddr = ip.into();
        let news = seen(CONNECTOR, session, &[ip], true);
        assert_eq!(bench.bound(session, Role::Listener, ip), [news]);
    }
}

fn seen(to: ConnId, session: SessionId, addresses: &[IpAddr], bound: bool) -> Effect {
    let addresses = addresses.to_vec();
    let news = FromRendezvous::PeerSeen {
        session,
        addresses,
        bound,
    };
    Effect::Tell(to, news)
}

#[test]
fn nobody_at_a_nameplate_is_told_where_the_other_is_before_both_have_confirmed() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    let (listener, connector) = introductions(&bench.join(CONNECTOR, claim.nameplate));
    assert_eq!((listener.peer_seen, connector.peer_seen), (vec![], vec![]));
    let session = listener.session;
    let elsewhere: IpAddr = [203, 0, 113, 1].into();
    let bound = bench.bound(session, Role::Listener, elsewhere);
    assert_eq!(bound, [seen(CONNECTOR, session, &[], true)]);
    let told = bench.confirm(session, [LISTENER, CONNECTOR]);
    let at = |n| IpAddr::from([192, 0, 2, n]);
    assert_eq!(
        told[..2],
        [
            seen(LISTENER, session, &[at(2)], false),
            seen(CONNECTOR, session, &[at(1), elsewhere], false)
        ]
    );
    // It is said once.
    let again = bench.say(CONNECTOR, ToRendezvous::Confirmed { session });
    assert_eq!(again, []);
}

#[test]
fn a_session_that_is_not_confirmed_in_time_ends_for_both_and_leaves_no_legs() {
    let mut bench = Bench::new();
    let session = bench.pair();
    bench.say(LISTENER, ToRendezvous::Confirmed { session });
    assert_eq!(bench.registry.expire(bench.now), []);
    bench.pass(bench.limits.pairing_within);
    let left = |id| {
        let on_purpose = false;
        let left = FromRendezvous::PeerLeft {
            session,
            on_purpose,
        };
        Effect::Tell(id, left)
    };
    let linger = false;
    let ended = [
        left(LISTENER),
        left(CONNECTOR),
        Effect::CloseLegs { session, linger },
    ];
    assert_eq!(bench.registry.expire(bench.now), ended);
    assert!(bench.registry.sessions.nobody_holds_any());
}

#[test]
fn a_joiner_says_so_much_before_it_is_confirmed_and_anything_after() {
    let mut bench = Bench::new();
    let session = bench.pair();
    let signal = || ToRendezvous::Signal {
        session,
        payload: vec![0; 16_000],
    };
    for _ in 0..3 {
        assert!(matches!(
            bench.say(CONNECTOR, signal())[..],
            [Effect::Tell(LISTENER, _)]
        ));
    }
    let effects = bench.say(CONNECTOR, signal());
    assert!(matches!(refusal(&effects), Some(Refusal::Limit { .. })));
    assert_eq!((bench.registry.sessions(), closed(&effects)), (0, None));

    let session = introductions(&{
        let nameplate = bench.listen(LISTENER, None).nameplate;
        bench.join(CONNECTOR, nameplate)
    })
    .0
    .session;
    bench.confirm(session, [LISTENER, CONNECTOR]);
    for _ in 0..10 {
        let payload = vec![0; 16_000];
        let signal = ToRendezvous::Signal { session, payload };
        assert_eq!(refusal(&bench.say(CONNECTOR, signal)), None);
    }
}

#[test]
fn those_without_the_key_leave_a_quarter_of_the_places_to_those_who_have_it() {
    let limits = Limits {
        connections: 8,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    for n in 0..6 {
        bench.arrive(ConnId(10 + n), Credential::None);
    }
    bench.connect(OTHER);
    let effects = bench.hello(OTHER, Credential::None);
    assert_eq!(refusal(&effects), Some(Refusal::Full));
    assert_eq!(closed(&effects), Some(close::REFUSED));
    bench.lose(OTHER);
    bench.arrive(LISTENER, bench.key());
    bench.lose(ConnId(10));
    bench.arrive(OTHER, Credential::None);
}

#[test]
fn who_shares_a_session_waits_at_a_handle_without_another_introduction() {
    let mut bench = Bench::new();
    let session = bench.pair();
    let handle = Handle::random();
    let meet = |role, already| ToRendezvous::Meet {
        handle: handle.clone(),
        role,
        already,
    };
    let (listener, connector) = (Role::Listener, Role::Connector);
    assert_eq!(bench.say(LISTENER, meet(listener, Some(session))), []);
    assert_eq!(bench.say(CONNECTOR, meet(connector, Some(session))), []);
    let effects = bench.say(CONNECTOR, meet(connector, None));
    let introduced = |id: ConnId| {
        effects.iter().any(
            |effect| matches!(effect, Effect::Tell(to, FromRendezvous::Introduced(_)) if *to == id),
        )
    };
    assert!(introduced(LISTENER) && introduced(CONNECTOR));
}

#[test]
fn stopping_tells_everybody_and_leaves_nobody() {
    let mut bench = Bench::new();
    bench.pair();
    let effects = bench.registry.stop();
    for id in [LISTENER, CONNECTOR] {
        let told = |effect: &Effect| matches!(effect, Effect::Tell(to, FromRendezvous::Stopping { .. }) if *to == id);
        let position = effects.iter().position(told).unwrap();
        assert_eq!(effects[position + 1], Effect::Close(id, close::STOPPING));
    }
    assert_eq!(bench.registry.peers(), 0);
}

#[test]
fn stopping_tells_members_of_sessions_first_and_everybody_another_moment() {
    let mut bench = Bench::new();
    for n in 10..110 {
        bench.arrive(ConnId(n), bench.key());
    }
    bench.pair();
    let effects = bench.registry.stop();
    let moments: Vec<(ConnId, u32)> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell(id, FromRendezvous::Stopping { after_ms }) => Some((*id, *after_ms)),
            _ => None,
        })
        .collect();
    let first: HashSet<ConnId> = moments[..2].iter().map(|(id, _)| *id).collect();
    assert_eq!(first, HashSet::from([LISTENER, CONNECTOR]));
    let slot = Duration::from_secs(1) / bench.limits.returns_per_second;
    let slots = |from: u64, n| (Duration::from_millis(from) + slot * n).as_millis();
    let in_session = (0..2).map(|n| slots(200, n));
    // By then the others have taken leave.
    let idle = (0..100).map(|n| slots(2_000, n));
    let expected: Vec<u128> = in_session.chain(idle).collect();
    assert_eq!(
        moments
            .iter()
            .map(|(_, at)| u128::from(*at))
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn stopping_calls_everybody_back_while_a_code_is_still_waited_for() {
    let limits = Limits {
        returns_per_second: 1,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    for n in 10..210 {
        bench.arrive(ConnId(n), bench.key());
    }
    let effects = bench.registry.stop();
    let latest = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(_, FromRendezvous::Stopping { after_ms }) => Some(*after_ms),
        _ => None,
    });
    let latest = Duration::from_millis(latest.max().unwrap().into());
    assert!(latest < bench.limits.return_within, "{latest:?}");
}

#[test]
fn a_peer_is_told_for_how_long_the_rendezvous_has_served() {
    let mut bench = Bench::new();
    bench.restart();
    bench.pass(Duration::from_secs(75));
    bench.connect(OTHER);
    let effects = bench.hello(OTHER, Credential::None);
    let welcomed = |up| matches!(&effects[..], [Effect::Tell(_, FromRendezvous::Welcome { up_s, .. })] if *up_s == up);
    assert!(welcomed(75), "{effects:?}");
}

#[test]
fn nothing_is_left_of_peers_that_are_gone() {
    let mut bench = Bench::new();
    for round in 0..50 {
        let claim = bench.listener_and_connector();
        bench.meet(LISTENER, &Secret::random(), Role::Listener);
        bench.join(CONNECTOR, claim.nameplate);
        for id in [LISTENER, CONNECTOR] {
            bench.registry.on_lost(bench.now, id, round % 2 == 0);
        }
        // Joins come back with time.
        bench.pass(Duration::from_secs(60));
    }
    let registry = &bench.registry;
    assert_eq!((registry.peers(), registry.sessions()), (0, 0));
    assert!(registry.handles.is_empty());
    assert!(registry.nameplates.none_is_live());
    assert!(registry.sessions.nobody_holds_any());
}
