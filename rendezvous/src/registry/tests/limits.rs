//! What the registry refuses when there is too much of it.

use super::*;
use p2pdbg_proto::rendezvous::MAX_SIGNAL;

const NEVER: Rate = Rate {
    burst: 3,
    per_minute: 1,
};

fn is_limit(effects: &[Effect]) -> bool {
    matches!(refusal(effects), Some(Refusal::Limit { retry_after_s }) if retry_after_s > 0)
        && closed(effects).is_none()
}

#[test]
fn guessing_nameplates_is_slowed_down_by_address_and_not_by_connection() {
    let mut bench = Bench::new();
    bench.arrive(LISTENER, bench.key());
    let nameplate = bench.listen(LISTENER, None).nameplate;
    let wrong = Nameplate::new(100_000).filter(|n| *n != nameplate);
    let wrong = wrong.unwrap_or(Nameplate::MAX);
    let attacker: IpAddr = [198, 51, 100, 1].into();
    let mut misses = 0;
    for n in 10..40 {
        bench.connect_from(ConnId(n), attacker);
        bench.hello(ConnId(n), Credential::None);
        match refusal(&bench.join(ConnId(n), wrong)) {
            Some(Refusal::NameplateUnknown) => misses += 1,
            Some(Refusal::Limit { retry_after_s }) => assert!(retry_after_s > 0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(misses, 3);
    // The right one too has to wait, from there; from elsewhere it has not.
    assert!(is_limit(&bench.join(ConnId(10), nameplate)));
    bench.arrive(CONNECTOR, Credential::None);
    introductions(&bench.join(CONNECTOR, nameplate));
}

#[test]
fn joins_that_succeed_are_cheap() {
    let mut bench = Bench::new();
    let office: IpAddr = [198, 51, 100, 1].into();
    for n in 0..15 {
        bench.arrive(ConnId(100 + n), bench.key());
        let nameplate = bench.listen(ConnId(100 + n), None).nameplate;
        bench.connect_from(ConnId(n), office);
        bench.hello(ConnId(n), Credential::None);
        introductions(&bench.join(ConnId(n), nameplate));
    }
}

#[test]
fn a_connection_has_so_many_nameplates_and_handles_at_once() {
    let mut bench = Bench::with(
        Limits {
            nameplates_per_connection: 2,
            waiting_per_connection: 2,
            ..Limits::default()
        },
        false,
    );
    bench.arrive(LISTENER, bench.key());
    let first = bench.listen(LISTENER, None).nameplate;
    bench.listen(LISTENER, None);
    let third = bench.say(LISTENER, ToRendezvous::Listen { claim: None });
    assert!(is_limit(&third));
    bench.unlisten(first, Fate::Burned);
    bench.listen(LISTENER, None);

    let handles: [Handle; 3] = std::array::from_fn(|_| Secret::random());
    for handle in &handles[..2] {
        assert_eq!(bench.meet(LISTENER, handle, Role::Listener), []);
        assert_eq!(bench.meet(LISTENER, handle, Role::Listener), []);
    }
    assert!(is_limit(&bench.meet(LISTENER, &handles[2], Role::Listener)));
}

#[test]
fn there_are_so_many_nameplates_in_all() {
    let mut bench = Bench::with(
        Limits {
            nameplates: 2,
            ..Limits::default()
        },
        false,
    );
    for n in 1..=2 {
        bench.arrive(ConnId(n), bench.key());
        bench.listen(ConnId(n), None);
    }
    bench.arrive(OTHER, bench.key());
    let full = bench.say(OTHER, ToRendezvous::Listen { claim: None });
    assert_eq!(refusal(&full), Some(Refusal::Full));
}

/// The secret of a second key.
fn another_key(bench: &mut Bench) -> Credential {
    let secret = AccessKey::random();
    add(&mut bench.file, "another", &secret, KeyLimits::default());
    let ring = KeyRing::new(&bench.file, false);
    bench.registry.set_keys(bench.now, ring);
    Credential::AccessKey(secret)
}

#[test]
fn one_key_leaves_nameplates_for_others_and_has_one_more_when_one_ends() {
    let limits = Limits {
        nameplates: 4,
        nameplates_per_key: 2,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    let claims = [10, 11].map(|n| {
        bench.arrive(ConnId(n), bench.key());
        bench.listen(ConnId(n), None)
    });
    bench.arrive(LISTENER, bench.key());
    assert!(is_limit(
        &bench.say(LISTENER, ToRendezvous::Listen { claim: None })
    ));
    let other = another_key(&mut bench);
    bench.arrive(OTHER, other);
    bench.listen(OTHER, None);
    bench.lose(ConnId(10));
    let third = bench.listen(LISTENER, None);
    // The first comes back and finds its place taken, until there is one.
    bench.arrive(ConnId(10), bench.key());
    let claim = Some(claims[0].clone());
    let again = ToRendezvous::Listen {
        claim: claim.clone(),
    };
    assert!(is_limit(&bench.say(ConnId(10), again)));
    bench.unlisten(third.nameplate, Fate::Used);
    assert_eq!(bench.listen(ConnId(10), claim), claims[0]);
}

#[test]
fn one_key_and_the_vouchers_under_it_leave_places_at_handles_for_others() {
    let limits = Limits {
        waiting: 8,
        waiting_per_key: 4,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    bench.arrive(LISTENER, bench.key());
    let nameplate = bench.listen(LISTENER, None).nameplate;
    bench.arrive(CONNECTOR, Credential::None);
    let voucher = bench.voucher(CONNECTOR, nameplate);
    bench.arrive(ConnId(10), Credential::Voucher(voucher));
    let wait = |bench: &mut Bench, id| {
        let effects = bench.meet(id, &Secret::random(), Role::Connector);
        refusal(&effects)
    };
    let full = Some(Refusal::Limit { retry_after_s: 61 });
    let vouched = [(); 4].map(|()| wait(&mut bench, ConnId(10)));
    assert_eq!(vouched, [None, None, None, full], "a quarter is kept");
    assert_eq!(wait(&mut bench, LISTENER), None);
    assert_eq!(wait(&mut bench, LISTENER), full);
    let other = another_key(&mut bench);
    bench.arrive(OTHER, other);
    let others = [(); 3].map(|()| wait(&mut bench, OTHER));
    assert_eq!(
        others,
        [None, None, full],
        "half of what the first has left"
    );
    bench.lose(ConnId(10));
    assert_eq!(wait(&mut bench, LISTENER), None);
}

#[test]
fn codes_that_end_before_they_are_used_do_not_push_out_those_whose_listeners_come_back() {
    let limits = Limits {
        ended_nameplates: 400,
        nameplates_per_connection: usize::MAX,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    bench.arrive(OTHER, bench.key());
    let lost = bench.listen(OTHER, None).nameplate;
    bench.lose(OTHER);
    let flooder: IpAddr = [198, 51, 100, 1].into();
    let mut given = 0;
    for n in 100..140 {
        bench.connect_from(ConnId(n), flooder);
        bench.hello(ConnId(n), bench.key());
        for _ in 0..50 {
            let effects = bench.say(ConnId(n), ToRendezvous::Listen { claim: None });
            if !is_limit(&effects) {
                given += 1;
            }
        }
        bench.lose(ConnId(n));
    }
    assert_eq!(given, 256);
    bench.arrive(CONNECTOR, Credential::None);
    let late = bench.join(CONNECTOR, lost);
    assert_eq!(refusal(&late), Some(Refusal::NobodyThere));
}

#[test]
fn the_memory_of_ended_nameplates_is_bounded() {
    let mut bench = Bench::with(
        Limits {
            ended_nameplates: 3,
            ..Limits::default()
        },
        false,
    );
    bench.arrive(LISTENER, bench.key());
    let ended: Vec<Nameplate> = (0..10)
        .map(|_| {
            let nameplate = bench.listen(LISTENER, None).nameplate;
            bench.unlisten(nameplate, Fate::Used);
            nameplate
        })
        .collect();
    assert_eq!(bench.registry.nameplates.remembered(), 3);
    bench.arrive(CONNECTOR, Credential::None);
    let oldest = bench.join(CONNECTOR, ended[0]);
    assert_eq!(refusal(&oldest), Some(Refusal::NameplateUnknown));
    let newest = bench.join(CONNECTOR, ended[9]);
    assert_eq!(refusal(&newest), Some(Refusal::NameplateUsed));
}

#[test]
fn coming_and_going_with_a_claim_does_not_fill_the_memory_up() {
    let mut bench = Bench::with(
        Limits {
            ended_nameplates: 3,
            ..Limits::default()
        },
        false,
    );
    let claim = bench.listener_and_connector();
    for _ in 0..20 {
        bench.lose(LISTENER);
        bench.arrive(LISTENER, bench.key());
        assert_eq!(bench.listen(LISTENER, Some(claim.clone())), claim);
    }
    assert!(bench.registry.nameplates.remembered() <= 3);
}

#[test]
fn who_comes_and_goes_with_a_claim_pushes_out_nothing_that_is_remembered_of_others() {
    let mut bench = Bench::with(
        Limits {
            ended_nameplates: 3,
            ..Limits::default()
        },
        false,
    );
    bench.arrive(OTHER, bench.key());
    let others = bench.listen(OTHER, None).nameplate;
    bench.lose(OTHER);
    let claim = bench.listener_and_connector();
    for _ in 0..20 {
        bench.lose(LISTENER);
        bench.arrive(LISTENER, bench.key());
        assert_eq!(bench.listen(LISTENER, Some(claim.clone())), claim);
        bench.pass(Duration::from_millis(10));
    }
    let lost = bench.join(CONNECTOR, others);
    assert_eq!(refusal(&lost), Some(Refusal::NobodyThere));
    // Whatever ends now counts once.
    bench.lose(LISTENER);
    assert_eq!(bench.registry.nameplates.remembered(), 2);
}

#[test]
fn sessions_are_limited_by_connection_by_key_by_voucher_and_in_all() {
    // Two that are introduced again share few sessions, so that one of them is another one each time: the connector,
    // or the listener where the connector shows a voucher.
    let sessions = |vouched: bool, limits: Limits| {
        let mut bench = Bench::with(limits, false);
        bench.arrive(LISTENER, bench.key());
        let nameplate = bench.listen(LISTENER, None).nameplate;
        bench.arrive(OTHER, Credential::None);
        let voucher = bench.voucher(OTHER, nameplate);
        bench.arrive(CONNECTOR, Credential::Voucher(voucher));
        let mut count = 1;
        loop {
            let another = ConnId(100 + count);
            bench.arrive(another, bench.key());
            let (listener, connector) = match vouched {
                true => (another, CONNECTOR),
                false => (LISTENER, another),
            };
            let handle = Secret::random();
            bench.meet(listener, &handle, Role::Listener);
            let effects = bench.meet(connector, &handle, Role::Connector);
            match refusal(&effects) {
                None => count += 1,
                Some(refused) => return (count, refused),
            }
            assert!(count < 20);
        }
    };
    let limit = Refusal::Limit { retry_after_s: 61 };
    let limits = Limits::default;
    let by_connection = Limits {
        sessions_per_connection: 5,
        ..limits()
    };
    assert_eq!(sessions(false, by_connection), (5, limit));
    let by_key = Limits {
        sessions_per_key: 6,
        ..limits()
    };
    assert_eq!(sessions(true, by_key), (6, limit));
    let by_voucher = Limits {
        sessions_per_voucher: 3,
        ..limits()
    };
    assert_eq!(sessions(true, by_voucher), (4, limit));
    let in_all = Limits {
        sessions: 4,
        ..limits()
    };
    assert_eq!(sessions(true, in_all), (4, Refusal::Full));
}

#[test]
fn peer_that_comes_by_many_connections_leaves_room_at_a_listener_for_its_other_peers() {
    let mut bench = Bench::new();
    bench.arrive(LISTENER, bench.key());
    let nameplate = bench.listen(LISTENER, None).nameplate;
    let [greedy, other] = [10, 11].map(|id| {
        bench.arrive(ConnId(id), Credential::None);
        let voucher = bench.voucher(ConnId(id), nameplate);
        bench.lose(ConnId(id));
        Credential::Voucher(voucher)
    });
    let [taken, free] = [(); 2].map(|()| Secret::random());
    for handle in [&taken, &free] {
        assert_eq!(bench.meet(LISTENER, handle, Role::Listener), []);
    }
    let come = |bench: &mut Bench, id: u64, from: [u8; 4], credential: &Credential| {
        bench.connect_from(ConnId(id), from.into());
        bench.hello(ConnId(id), credential.clone());
    };
    // By one voucher from many addresses; from one address without a voucher, and by the key.
    for (shown, is_of_one) in [
        (greedy, false),
        (Credential::None, true),
        (bench.key(), true),
    ] {
        for n in 0..bench.limits.sessions_per_connection as u64 {
            let from = [198, 51, 100, if is_of_one { 7 } else { n as u8 }];
            come(&mut bench, 100 + n, from, &shown);
            introductions(&bench.meet(ConnId(100 + n), &taken, Role::Connector));
        }
        come(&mut bench, 50, [203, 0, 113, 1], &other);
        let effects = bench.meet(ConnId(50), &free, Role::Connector);
        assert_eq!(refusal(&effects), None, "{shown:?}");
        let cut = effects.iter().filter_map(|effect| match effect {
            Effect::Tell(to, FromRendezvous::PeerLeft { .. }) => Some(*to),
            _ => None,
        });
        let cut: HashSet<ConnId> = cut.collect();
        assert_eq!(cut, HashSet::from([LISTENER, ConnId(100)]), "{shown:?}");
        // Whoever has most makes room, and not for itself.
        let again = bench.meet(ConnId(100), &taken, Role::Connector);
        assert!(is_limit(&again), "{shown:?}");
        for id in (100..200).chain([50]) {
            bench.lose(ConnId(id));
        }
        bench.pass(Duration::from_secs(60));
    }
}

#[test]
fn nobody_makes_room_at_a_full_listener_for_one_that_may_have_no_more_sessions_itself() {
    let limits = Limits {
        sessions_per_voucher: 2,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    bench.arrive(LISTENER, bench.key());
    let nameplate = bench.listen(LISTENER, None).nameplate;
    bench.arrive(OTHER, Credential::None);
    let voucher = Credential::Voucher(bench.voucher(OTHER, nameplate));
    bench.lose(OTHER);
    let secret = AccessKey::random();
    let two = KeyLimits {
        sessions: Some(2),
        ..KeyLimits::default()
    };
    add(&mut bench.file, "two", &secret, two);
    let ring = KeyRing::new(&bench.file, false);
    bench.registry.set_keys(bench.now, ring);
    let [taken, free, elsewhere] = [(); 3].map(|()| Secret::random());
    for handle in [&taken, &free] {
        assert_eq!(bench.meet(LISTENER, handle, Role::Listener), []);
    }
    for n in 0..bench.limits.sessions_per_connection as u64 {
        bench.connect_from(ConnId(100 + n), [198, 51, 100, 7].into());
        bench.hello(ConnId(100 + n), bench.key());
        introductions(&bench.meet(ConnId(100 + n), &taken, Role::Connector));
    }
    bench.arrive(ConnId(50), bench.key());
    assert_eq!(bench.meet(ConnId(50), &elsewhere, Role::Listener), []);
    for shown in [voucher, Credential::AccessKey(secret)] {
        bench.arrive(ConnId(60), shown.clone());
        for _ in 0..2 {
            introductions(&bench.meet(ConnId(60), &elsewhere, Role::Connector));
        }
        let before = bench.registry.sessions();
        let refused = bench.meet(ConnId(60), &free, Role::Connector);
        assert!(is_limit(&refused), "{shown:?}");
        assert_eq!(refused.len(), 1, "{shown:?}: {refused:?}");
        assert_eq!(bench.registry.sessions(), before, "{shown:?}");
        // Somebody makes room once it may have another one.
        bench.lose(ConnId(60));
        bench.arrive(ConnId(60), shown.clone());
        let effects = bench.meet(ConnId(60), &free, Role::Connector);
        assert_eq!(refusal(&effects), None, "{shown:?}");
        bench.lose(ConnId(60));
        bench.pass(Duration::from_secs(60));
        bench.connect_from(ConnId(200), [198, 51, 100, 7].into());
        bench.hello(ConnId(200), bench.key());
        introductions(&bench.meet(ConnId(200), &taken, Role::Connector));
    }
}

#[test]
fn peers_without_a_key_share_what_their_address_may_hold() {
    let mut bench = Bench::with(
        Limits {
            sessions_per_voucher: 2,
            ..Limits::default()
        },
        false,
    );
    let office: IpAddr = [198, 51, 100, 1].into();
    for n in 0..3 {
        bench.arrive(ConnId(100 + n), bench.key());
        let nameplate = bench.listen(ConnId(100 + n), None).nameplate;
        bench.connect_from(ConnId(n), office);
        bench.hello(ConnId(n), Credential::None);
        let effects = bench.join(ConnId(n), nameplate);
        if n < 2 {
            introductions(&effects);
        } else {
            assert!(is_limit(&effects));
        }
    }
    bench.lose(ConnId(0));
    bench.arrive(ConnId(200), bench.key());
    let nameplate = bench.listen(ConnId(200), None).nameplate;
    introductions(&bench.join(ConnId(2), nameplate));
}

#[test]
fn signals_have_a_rate_and_a_length() {
    let mut bench = Bench::with(
        Limits {
            signals: NEVER,
            ..Limits::default()
        },
        false,
    );
    let session = bench.pair();
    bench.confirm(session, [LISTENER, CONNECTOR]);
    let signal = |length| ToRendezvous::Signal {
        session,
        payload: vec![0; length],
    };
    for _ in 0..3 {
        assert_eq!(refusal(&bench.say(LISTENER, signal(MAX_SIGNAL))), None);
    }
    assert!(is_limit(&bench.say(LISTENER, signal(1))));
    let long = bench.say(CONNECTOR, signal(MAX_SIGNAL + 1));
    assert_eq!(refusal(&long), Some(Refusal::Protocol));
}

#[test]
fn who_floods_the_rendezvous_with_messages_is_shown_out() {
    let mut bench = Bench::with(
        Limits {
            messages: NEVER,
            ..Limits::default()
        },
        false,
    );
    bench.arrive(LISTENER, bench.key());
    for _ in 0..2 {
        bench.listen(LISTENER, None);
    }
    let flood = bench.say(LISTENER, ToRendezvous::Listen { claim: None });
    assert_eq!(closed(&flood), Some(close::PROTOCOL));
}

#[test]
fn a_member_that_binds_its_leg_on_and_on_is_heard_no_more_often_than_it_may_signal() {
    let limits = Limits {
        signals: NEVER,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits, false);
    let session = bench.pair();
    let heard = |bench: &mut Bench| {
        let ip = [203, 0, 113, 1].into();
        let bound = |_: &usize| !bench.bound(session, Role::Connector, ip).is_empty();
        (0..100).filter(bound).count()
    };
    assert_eq!(heard(&mut bench), 3);
    bench.pass(Duration::from_secs(60));
    assert_eq!(heard(&mut bench), 1);
}

#[test]
fn a_voucher_that_is_renewed_does_not_begin_to_count_anew() {
    let mut bench = Bench::with(
        Limits {
            sessions_per_voucher: 3,
            ..Limits::default()
        },
        false,
    );
    let claim = bench.listener_and_connector();
    let mut voucher = bench.voucher(CONNECTOR, claim.nameplate);
    bench.lose(CONNECTOR);
    let [handle, another] = [(); 2].map(|()| Secret::random());
    bench.meet(LISTENER, &handle, Role::Listener);
    bench.meet(LISTENER, &another, Role::Listener);
    for n in 10..13 {
        bench.arrive(ConnId(n), Credential::Voucher(voucher));
        let effects = bench.meet(ConnId(n), &handle, Role::Connector);
        let session = introductions(&effects).0.session;
        let effects = bench.confirm(session, [LISTENER, ConnId(n)]);
        voucher = vouched(&effects).expect("another voucher");
    }
    assert!(is_limit(&bench.meet(ConnId(12), &another, Role::Connector)));
}

#[test]
fn who_has_no_key_and_asks_for_nothing_makes_room_when_there_is_none_left() {
    let limits = Limits {
        connections: 4,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits.clone(), false);
    bench.arrive(LISTENER, bench.key());
    let nameplate = bench.listen(LISTENER, None).nameplate;
    for n in 10..13 {
        bench.arrive(ConnId(n), Credential::None);
    }
    bench.connect(ConnId(13));
    let one_more = bench.hello(ConnId(13), Credential::None);
    assert_eq!(refusal(&one_more), Some(Refusal::Full));
    bench.pass(limits.keyless_rest);
    // One has a session, and one asks for somebody.
    introductions(&bench.join(ConnId(10), nameplate));
    let busy = bench.join(ConnId(11), nameplate);
    assert_eq!(refusal(&busy), Some(Refusal::NameplateBusy));
    bench.connect(ConnId(14));
    let effects = bench.hello(ConnId(14), Credential::None);
    assert_eq!(closed(&effects), Some(close::REFUSED));
    assert!(effects.contains(&Effect::Close(ConnId(12), close::REFUSED)));
    assert_eq!(bench.registry.peers(), 4);
    bench.connect(ConnId(15));
    let again = bench.hello(ConnId(15), Credential::None);
    assert_eq!(refusal(&again), Some(Refusal::Full));
}

#[test]
fn who_asks_while_all_is_taken_does_not_have_everybody_looked_at() {
    const HERE: u64 = 48;
    let limits = Limits {
        connections: 64,
        ..Limits::default()
    };
    let mut bench = Bench::with(limits.clone(), false);
    bench.arrive(LISTENER, bench.key());
    let nameplate = bench.listen(LISTENER, None).nameplate;
    for n in 0..HERE {
        bench.arrive(ConnId(100 + n), Credential::None);
    }
    bench.pass(limits.keyless_rest);
    for n in 0..HERE {
        bench.join(ConnId(100 + n), nameplate);
    }
    for n in 0..100 {
        bench.connect(ConnId(1_000 + n));
        let effects = bench.hello(ConnId(1_000 + n), Credential::None);
        assert_eq!(refusal(&effects), Some(Refusal::Full));
    }
    assert_eq!(bench.registry.present.resting.looks as u64, HERE);
    bench.pass(limits.keyless_rest);
    bench.connect(ConnId(2_000));
    let effects = bench.hello(ConnId(2_000), Credential::None);
    assert!(effects.contains(&Effect::Close(ConnId(101), close::REFUSED)));
}
