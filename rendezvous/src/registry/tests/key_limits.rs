//! Keys with names: each has its limits and its end, and nobody else's.

use super::*;
use crate::keys::KeyName;

/// A rendezvous with two keys, `default` and another.
fn two_keys(limits: KeyLimits) -> (Bench, Credential) {
    let mut bench = Bench::new();
    let other = AccessKey::random();
    add(&mut bench.file, "other", &other, limits);
    bench.apply();
    (bench, Credential::AccessKey(other))
}

impl Bench {
    /// A listener with this key comes, and so many pair with it and leave. Returns their vouchers.
    fn pair_with_many(&mut self, key: Credential, count: u64) -> Vec<Credential> {
        self.arrive(LISTENER, key);
        let nameplate = self.listen(LISTENER, None).nameplate;
        let vouchers = (100..100 + count).map(|id| {
            self.arrive(ConnId(id), Credential::None);
            let voucher = self.voucher(ConnId(id), nameplate);
            self.lose(ConnId(id));
            Credential::Voucher(voucher)
        });
        vouchers.collect()
    }

    /// Lets the keys hold that are in the file now.
    fn apply(&mut self) -> Vec<Effect> {
        let ring = KeyRing::new(&self.file, false);
        self.registry.set_keys(self.now, ring)
    }

    fn revoke(&mut self, name: &str) -> Vec<Effect> {
        let name: KeyName = name.parse().unwrap();
        self.file.revoke(&name, self.now.unix_s).unwrap();
        self.apply()
    }
}

fn shut_out(effects: &[Effect]) -> HashSet<ConnId> {
    let closed = effects.iter().filter_map(|effect| match effect {
        Effect::Close(id, close::REFUSED) => Some(*id),
        _ => None,
    });
    closed.collect()
}

#[test]
fn revoking_a_key_ends_its_peers_and_their_relay_at_once_and_nobody_else() {
    let (mut bench, other) = two_keys(KeyLimits::default());
    let session = bench.pair();
    bench.confirm(session, [LISTENER, CONNECTOR]);
    bench.arrive(OTHER, other);
    bench.listen(OTHER, None);
    let effects = bench.revoke("default");
    assert_eq!(refusal(&effects), Some(Refusal::AccessKey));
    // The connector came by a code of that key, and has a voucher under it since.
    assert_eq!(shut_out(&effects), HashSet::from([LISTENER, CONNECTOR]));
    let linger = false;
    assert!(effects.contains(&Effect::CloseLegs { session, linger }));
    bench.listen(OTHER, None);
    assert_eq!(bench.registry.sessions(), 0);
    assert_eq!(bench.registry.peers(), 1);
}

#[test]
fn vouchers_of_a_revoked_key_are_void_and_those_of_another_hold() {
    let (mut bench, other) = two_keys(KeyLimits::default());
    let claim = bench.listener_and_connector();
    let voucher = bench.voucher(CONNECTOR, claim.nameplate);
    bench.arrive(OTHER, other.clone());
    let others = bench.listen(OTHER, None);
    bench.revoke("default");
    bench.arrive(ConnId(5), Credential::Voucher(voucher));
    let handle = Handle::random();
    let effects = bench.meet(ConnId(5), &handle, Role::Connector);
    assert_eq!(refusal(&effects), Some(Refusal::NobodyThere));
    bench.arrive(ConnId(6), other);
    assert_eq!(bench.listen(ConnId(6), Some(others.clone())), others);
    // The nameplate of the revoked key is not given to whoever shows its voucher.
    assert_ne!(bench.listen(ConnId(6), Some(claim.clone())), claim);
}

#[test]
fn a_key_that_expires_while_it_is_in_use_shuts_its_peers_out() {
    let mut bench = Bench::new();
    let brief = AccessKey::random();
    let name: KeyName = "brief".parse().unwrap();
    let until = bench.now.unix_s + 60;
    let limits = KeyLimits::default();
    bench
        .file
        .add(name, &brief, limits, 0, Some(until))
        .unwrap();
    bench.apply();
    bench.arrive(LISTENER, Credential::AccessKey(brief.clone()));
    bench.arrive(OTHER, bench.key());
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.registry.expire(bench.now), []);
    bench.pass(Duration::from_secs(1));
    let effects = bench.registry.expire(bench.now);
    assert_eq!(shut_out(&effects), HashSet::from([LISTENER]));
    bench.connect(LISTENER);
    let again = bench.hello(LISTENER, Credential::AccessKey(brief));
    assert_eq!(refusal(&again), Some(Refusal::AccessKey));
}

#[test]
fn clock_that_is_wrong_for_a_second_ends_no_key_and_one_that_is_set_does() {
    let mut bench = Bench::new();
    let brief = AccessKey::random();
    let until = Some(bench.now.unix_s + 3_600);
    let limits = KeyLimits::default();
    let name: KeyName = "brief".parse().unwrap();
    bench.file.add(name, &brief, limits, 0, until).unwrap();
    bench.apply();
    let credential = Credential::AccessKey(brief);
    bench.arrive(LISTENER, credential.clone());
    let tick = |bench: &mut Bench, jump: i64| {
        bench.pass(Duration::from_secs(1));
        bench.now.unix_s = bench.now.unix_s.saturating_add_signed(jump);
        shut_out(&bench.registry.expire(bench.now)).len()
    };
    let ended = [0, 86_400, -86_400, 0].map(|jump| tick(&mut bench, jump));
    assert_eq!(ended, [0; 4]);
    // Nor do other keys that come just then; one that is revoked ends at once.
    bench.now.unix_s += 86_400;
    assert_eq!(shut_out(&bench.apply()).len(), 0);
    // And who comes just then by a key that holds is let in.
    assert!(bench.comes(20, &credential));
    let ended = [0, 0].map(|jump| tick(&mut bench, jump));
    assert_eq!(ended, [0, 2]);
}

#[test]
fn a_rotated_key_lets_its_peers_stay_and_its_vouchers_hold() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    let name: KeyName = "default".parse().unwrap();
    let until = bench.now.unix_s + 60;
    let fresh = AccessKey::random();
    bench.file.rotate(&name, &fresh, Some(until)).unwrap();
    assert_eq!(bench.apply(), []);
    bench.arrive(OTHER, bench.key());
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.registry.expire(bench.now), []);
    bench.connect(ConnId(5));
    let late = bench.hello(ConnId(5), bench.key());
    assert_eq!(refusal(&late), Some(Refusal::AccessKey));
    bench.arrive(ConnId(6), Credential::AccessKey(fresh));
    assert_eq!(bench.listen(ConnId(6), Some(claim.clone())), claim);
}

#[test]
fn a_key_has_its_own_number_of_peers_sessions_and_codes() {
    let limits = KeyLimits {
        peers: Some(3),
        sessions: Some(1),
        codes: Some(2),
        ..KeyLimits::default()
    };
    let (mut bench, other) = two_keys(limits);
    bench.arrive(LISTENER, other.clone());
    let codes = [(); 2].map(|()| bench.listen(LISTENER, None).nameplate);
    let third = bench.say(LISTENER, ToRendezvous::Listen { claim: None });
    assert!(matches!(refusal(&third), Some(Refusal::Limit { .. })));
    for (id, expected) in [(10, true), (11, false)] {
        bench.arrive(ConnId(id), Credential::None);
        let joined = bench.join(ConnId(id), codes[0]);
        let other = bench.join(ConnId(id), codes[1]);
        assert_eq!(refusal(&joined).is_none(), expected);
        assert!(matches!(refusal(&other), Some(Refusal::Limit { .. })));
    }
    for id in [12, 15] {
        bench.arrive(ConnId(id), other.clone());
    }
    bench.connect(ConnId(13));
    let fourth = bench.hello(ConnId(13), other);
    assert_eq!(refusal(&fourth), Some(Refusal::Full));
    // The limits of one key are not another's.
    bench.arrive(ConnId(14), bench.key());
    for _ in 0..3 {
        bench.listen(ConnId(14), None);
    }
}

/// A listener with a key that may have so many peers, and the vouchers of so many who have paired with it and left.
fn vouchers_of_a_key_with(peers: usize, count: u64) -> (Bench, Credential, Vec<Credential>) {
    let limits = KeyLimits {
        peers: Some(peers),
        ..KeyLimits::default()
    };
    let (mut bench, other) = two_keys(limits);
    let vouchers = bench.pair_with_many(other.clone(), count);
    (bench, other, vouchers)
}

impl Bench {
    /// Whether a peer is let in.
    fn comes(&mut self, id: u64, credential: &Credential) -> bool {
        self.connect(ConnId(id));
        self.is_welcome(id, credential)
    }

    /// Forgets one that was refused.
    fn is_lost(&mut self, id: u64) -> bool {
        self.lose(ConnId(id));
        false
    }

    /// Whether a peer that has connected is let in.
    fn is_welcome(&mut self, id: u64, credential: &Credential) -> bool {
        let effects = self.hello(ConnId(id), credential.clone());
        let welcome = |e: &Effect| matches!(e, Effect::Tell(to, FromRendezvous::Welcome { .. }) if to.0 == id);
        effects.iter().any(welcome)
    }
}

#[test]
fn vouchers_that_are_shown_by_many_leave_places_to_those_who_have_the_key() {
    let (mut bench, other, vouchers) = vouchers_of_a_key_with(8, 4);
    let shown = vouchers.iter().flat_map(|v| [v; 2]).zip(10..);
    let vouched = shown.filter(|(voucher, id)| bench.comes(*id, voucher));
    // Six of eight.
    assert_eq!(vouched.count(), 6);
    let with_key = (30..50).filter(|id| bench.comes(*id, &other)).count();
    assert_eq!(with_key, 1);
}

#[test]
fn voucher_that_is_shown_by_many_keeps_nobody_out_who_has_another() {
    let (mut bench, other, vouchers) = vouchers_of_a_key_with(8, 2);
    for id in 10..30 {
        assert!(bench.comes(id, &vouchers[0]));
    }
    // The newest two of them, and the listener.
    let key = bench.file.find(&"other".parse().unwrap()).unwrap().id;
    assert_eq!(bench.registry.peers_of(key), 3);
    assert!(bench.registry.connections.contains_key(&ConnId(28)));
    assert!(bench.comes(30, &vouchers[1]) && bench.comes(31, &vouchers[1]));
    assert!(bench.comes(32, &other));
    // A key without a limit has one for each voucher.
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    let voucher = Credential::Voucher(bench.voucher(CONNECTOR, claim.nameplate));
    for id in 10..210 {
        assert!(bench.comes(id, &voucher));
    }
    assert_eq!(
        bench.registry.peers(),
        1 + bench.limits.sessions_per_voucher
    );
}

#[test]
fn peers_that_pair_by_code_leave_the_places_of_a_key_to_those_who_have_it() {
    let (mut bench, other) = two_keys(KeyLimits {
        peers: Some(4),
        ..KeyLimits::default()
    });
    bench.arrive(LISTENER, other.clone());
    for id in 10..14 {
        let nameplate = bench.listen(LISTENER, None).nameplate;
        bench.arrive(ConnId(id), Credential::None);
        // Each has its voucher, for the next time, whether or not it counts now.
        bench.voucher(ConnId(id), nameplate);
    }
    let key = bench.file.find(&"other".parse().unwrap()).unwrap().id;
    assert_eq!(bench.registry.peers_of(key), 4);
    bench.lose(LISTENER);
    bench.connect(LISTENER);
    assert!(bench.is_welcome(LISTENER.0, &other));
}

#[test]
fn newcomer_by_a_voucher_stays_though_it_connected_before_those_who_are_there() {
    let (mut bench, _, vouchers) = vouchers_of_a_key_with(8, 1);
    bench.connect(ConnId(9));
    assert!(bench.comes(10, &vouchers[0]) && bench.comes(11, &vouchers[0]));
    assert!(bench.is_welcome(9, &vouchers[0]));
    assert!(!bench.registry.connections.contains_key(&ConnId(10)));
    // The listener, 9 and 11.
    assert_eq!(bench.registry.peers(), 3);
}

#[test]
fn codes_that_are_claimed_are_no_more_than_a_key_and_a_connection_may_have() {
    let limits = KeyLimits {
        codes: Some(2),
        ..KeyLimits::default()
    };
    let (mut bench, other) = two_keys(limits);
    let default = bench.key();
    let each = bench.limits.nameplates_per_connection;
    let mut gather = |key: Credential, each: usize| {
        let mut claims = Vec::new();
        for id in 10..13 {
            bench.arrive(ConnId(id), key.clone());
            for _ in 0..each {
                claims.push(bench.listen(ConnId(id), None));
            }
            bench.lose(ConnId(id));
        }
        bench.arrive(LISTENER, key);
        let (mut held, mut refused) = (Vec::new(), Vec::new());
        for claim in claims {
            let said = ToRendezvous::Listen {
                claim: Some(claim.clone()),
            };
            match refusal(&bench.say(LISTENER, said)) {
                None => held.push(claim),
                Some(Refusal::Limit { .. }) => refused.push(claim),
                Some(other) => panic!("{other:?}"),
            }
        }
        // What was refused is not lost by it.
        bench.unlisten(held[0].nameplate, Fate::Withdrawn);
        assert_eq!(bench.listen(LISTENER, Some(refused[0].clone())), refused[0]);
        // Nor is what it has.
        assert_eq!(bench.listen(LISTENER, Some(held[1].clone())), held[1]);
        bench.lose(LISTENER);
        held.len()
    };
    assert_eq!(gather(other, 2), 2);
    assert_eq!(gather(default, each), each);
}

/// A listener and a connector with a key that may have one session, which they have confirmed, at this handle.
fn one_session_of_a_key() -> (Bench, Handle, SessionId, KeyId) {
    one_session_of_a_key_for(1)
}

/// The same with a key that may have so many.
fn one_session_of_a_key_for(sessions: usize) -> (Bench, Handle, SessionId, KeyId) {
    let limits = KeyLimits {
        sessions: Some(sessions),
        ..KeyLimits::default()
    };
    let (mut bench, key) = two_keys(limits);
    let handle = Handle::random();
    for id in [LISTENER, CONNECTOR, OTHER] {
        bench.arrive(id, key.clone());
    }
    bench.meet(LISTENER, &handle, Role::Listener);
    let effects = bench.meet(CONNECTOR, &handle, Role::Connector);
    let session = introductions(&effects).0.session;
    bench.confirm(session, [LISTENER, CONNECTOR]);
    let key = bench.file.find(&"other".parse().unwrap()).unwrap().id;
    (bench, handle, session, key)
}

/// Whether somebody else with that key may begin a session with the listener.
fn another_begins(bench: &mut Bench) -> bool {
    let handle = Handle::random();
    bench.meet(LISTENER, &handle, Role::Listener);
    match refusal(&bench.meet(OTHER, &handle, Role::Connector)) {
        None => true,
        Some(Refusal::Limit { .. }) => false,
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn session_that_another_has_taken_the_place_of_does_not_count_and_ends_soon() {
    let (mut bench, handle, first, key) = one_session_of_a_key();
    assert!(!another_begins(&mut bench));
    let effects = bench.meet(CONNECTOR, &handle, Role::Connector);
    let second = introductions(&effects).0.session;
    // Both are there, since nobody knows yet whether the second one comes to anything.
    assert_eq!(bench.registry.taken_by_key()[&key].sessions, 2);
    bench.confirm(second, [LISTENER, CONNECTOR]);
    assert_eq!(bench.registry.taken_by_key()[&key].sessions, 1);
    assert_eq!(
        bench.registry.sessions(),
        2,
        "one carries what is on its way"
    );
    assert!(!another_begins(&mut bench));
    bench.pass(Duration::from_secs(10));
    let ended = bench.registry.expire(bench.now);
    assert!(ended.contains(&Effect::CloseLegs {
        session: first,
        linger: false
    }));
    assert_eq!(bench.registry.sessions(), 1);
    bench.lose(CONNECTOR);
    assert!(another_begins(&mut bench));
}

#[test]
fn session_that_takes_no_other_ones_place_in_time_ends_and_adds_one_at_the_most() {
    let (mut bench, handle, first, key) = one_session_of_a_key();
    let effects = bench.meet(CONNECTOR, &handle, Role::Connector);
    let second = introductions(&effects).0.session;
    let third = bench.meet(CONNECTOR, &handle, Role::Connector);
    assert!(matches!(refusal(&third), Some(Refusal::Limit { .. })));
    bench.pass(bench.limits.pairing_within);
    let ended = bench.registry.expire(bench.now);
    let closes = |session| {
        ended.contains(&Effect::CloseLegs {
            session,
            linger: false,
        })
    };
    assert!(closes(second) && !closes(first));
    assert_eq!(bench.registry.taken_by_key()[&key].sessions, 1);
}

#[test]
fn session_whose_place_is_taken_twice_ends_no_later_for_it() {
    let (mut bench, handle, first, key) = one_session_of_a_key();
    for _ in 0..2 {
        let effects = bench.meet(CONNECTOR, &handle, Role::Connector);
        let next = introductions(&effects).0.session;
        bench.confirm(next, [LISTENER, CONNECTOR]);
        assert_eq!(bench.registry.taken_by_key()[&key].sessions, 1);
        bench.pass(Duration::from_secs(9));
    }
    let ended = bench.registry.expire(bench.now);
    assert!(ended.contains(&Effect::CloseLegs {
        session: first,
        linger: false
    }));
}

#[test]
fn session_that_is_confirmed_after_a_later_one_is_counted_to_its_end() {
    let (mut bench, handle, first, key) = one_session_of_a_key_for(2);
    let [second, third] = [(); 2].map(|()| {
        let effects = bench.meet(CONNECTOR, &handle, Role::Connector);
        introductions(&effects).0.session
    });
    let counted = |bench: &Bench| bench.registry.taken_by_key()[&key].sessions;
    for (confirmed, count) in [(third, 2), (second, 2)] {
        bench.confirm(confirmed, [LISTENER, CONNECTOR]);
        assert_eq!(counted(&bench), count);
    }
    bench.pass(Duration::from_secs(10));
    let ended = bench.registry.expire(bench.now);
    assert!(ended.contains(&Effect::CloseLegs {
        session: first,
        linger: false
    }));
    assert_eq!(counted(&bench), 2);
    bench.lose(CONNECTOR);
    assert_eq!(counted(&bench), 0);
}

#[test]
fn peers_that_pair_and_stay_count_by_vouchers_as_far_as_those_may() {
    let limits = Limits {
        connections: 16,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    let key = bench.key();
    for id in (100..112).map(ConnId) {
        bench.arrive(LISTENER, key.clone());
        let nameplate = bench.listen(LISTENER, None).nameplate;
        bench.arrive(id, Credential::None);
        bench.voucher(id, nameplate);
        bench.lose(LISTENER);
    }
    let key = bench.file.find(&"default".parse().unwrap()).unwrap().id;
    assert_eq!(bench.registry.taken_by_key()[&key].peers, 9);
}

/// A rendezvous for sixteen with two keys, and the vouchers of so many who have paired with each and left.
fn vouchers_of_two_keys(counts: [u64; 2]) -> (Bench, [Vec<Credential>; 2]) {
    let limits = Limits {
        connections: 16,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    let other = AccessKey::random();
    add(&mut bench.file, "other", &other, KeyLimits::default());
    bench.apply();
    let keys = [bench.key(), Credential::AccessKey(other)];
    let mut granted = |key: Credential, count: u64| {
        let vouchers = bench.pair_with_many(key, count);
        bench.lose(LISTENER);
        vouchers
    };
    let [one, other] = keys;
    let vouchers = [granted(one, counts[0]), granted(other, counts[1])];
    (bench, vouchers)
}

impl Bench {
    /// Whether a peer is let in, which waits at a handle then.
    fn comes_to_wait(&mut self, id: u64, credential: &Credential) -> bool {
        let comes = self.comes(id, credential);
        match comes {
            true => drop(self.meet(ConnId(id), &Handle::random(), Role::Connector)),
            false => drop(self.lose(ConnId(id))),
        }
        comes
    }
}

#[test]
fn vouchers_of_one_key_leave_room_for_other_keys_and_for_who_joins_by_code() {
    let (mut bench, [many, few]) = vouchers_of_two_keys([20, 6]);
    let crowd = many.iter().zip(200..);
    let crowd = crowd.filter(|(voucher, id)| bench.comes_to_wait(*id, voucher));
    assert_eq!(crowd.count(), 9);
    // Those who come without anything, a quarter of what peers without a key may have.
    let by_code = (300..310).filter(|id| bench.comes_to_wait(*id, &Credential::None));
    assert_eq!(by_code.count(), 3);
    // Until both keys have as many, and the first of the crowd go.
    let others = few.iter().zip(400..);
    let others = others.filter(|(voucher, id)| bench.comes_to_wait(*id, voucher));
    assert_eq!(others.count(), 4);
    let is_here = |id: &u64| bench.registry.connections.contains_key(&ConnId(*id));
    let here: Vec<u64> = (200..220).filter(is_here).collect();
    assert_eq!(here, [204, 205, 206, 207, 208]);
    assert_eq!((300..310).filter(is_here).count(), 3);
    assert_eq!(bench.registry.peers(), 12);
}

#[test]
fn one_key_that_takes_all_that_it_may_leaves_room_for_other_keys_and_for_who_joins_by_code() {
    let limits = Limits {
        connections: 8,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    let other = AccessKey::random();
    add(&mut bench.file, "other", &other, KeyLimits::default());
    bench.apply();
    let (greedy, other) = (bench.key(), Credential::AccessKey(other));
    let mut welcome = |ids: std::ops::Range<u64>, credential: &Credential| {
        let welcome = ids.filter(|id| bench.comes(*id, credential) || bench.is_lost(*id));
        welcome.count()
    };
    assert_eq!(welcome(100..112, &greedy), 6);
    assert_eq!(welcome(200..204, &Credential::None), 2);
    // Until both keys have as many.
    assert_eq!(welcome(300..308, &other), 3);
    assert_eq!(welcome(112..120, &greedy), 0);
    // Who came first is here still, and nobody had to go for nothing.
    let mut here: Vec<u64> = bench.registry.connections.keys().map(|id| id.0).collect();
    here.sort_unstable();
    assert_eq!(here, [100, 101, 102, 200, 201, 300, 301, 302]);
}

#[test]
fn who_has_no_key_and_waits_for_nobody_makes_room_for_who_has_one() {
    let limits = Limits {
        connections: 8,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits.clone(), false);
    let (key, stranger) = (bench.key(), Credential::None);
    let strangers = (200..206).filter(|id| bench.comes(*id, &stranger));
    assert_eq!(strangers.count(), 6);
    assert!(bench.comes(100, &key) && bench.comes(101, &key));
    // Nobody has rested for long enough, and there is one key alone.
    assert!(!bench.comes(102, &key));
    bench.lose(ConnId(102));
    bench.pass(limits.keyless_rest);
    let with_key = (102..110).filter(|id| bench.comes(*id, &key) || bench.is_lost(*id));
    assert_eq!(with_key.count(), 4);
    let mut here: Vec<u64> = bench.registry.connections.keys().map(|id| id.0).collect();
    here.sort_unstable();
    assert_eq!(here, [100, 101, 102, 103, 104, 105, 204, 205]);
}

#[test]
fn where_nobody_needs_a_key_all_places_are_for_everybody() {
    let limits = Limits {
        connections: 8,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, true);
    let here = (100..112).filter(|id| bench.comes(*id, &Credential::None));
    assert_eq!(here.count(), 8);
}

#[test]
fn vouchers_of_one_key_leave_room_for_those_of_another_where_a_key_has_the_rest() {
    let (mut bench, [many, few]) = vouchers_of_two_keys([8, 2]);
    let greedy = bench.key();
    let crowd = (500..520).filter(|id| bench.comes(*id, &greedy));
    assert_eq!(crowd.count(), 12);
    let mut vouched = |vouchers: &[Credential], first: u64| {
        let shown = vouchers.iter().zip(first..);
        let vouched = shown.filter(|(voucher, id)| bench.comes_to_wait(*id, voucher));
        vouched.count()
    };
    assert_eq!(vouched(&many, 200), 4);
    assert_eq!(vouched(&few, 400), 2);
    assert_eq!(bench.registry.peers(), 16);
}
