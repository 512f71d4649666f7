//! One node of several.

use p2pdbg_proto::node::{Node, NodeNumber};

use super::*;
use crate::cluster_store::{Ask, Found};

fn nodes() -> Vec<Node> {
    ["17=a", "18=b", "23=c"]
        .map(|node| node.parse().unwrap())
        .to_vec()
}

fn number(number: u8) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

fn node(own: u8) -> Bench {
    let mut bench = Bench::new();
    let cluster = Cluster::new(number(own), nodes());
    bench.registry.join_cluster(cluster);
    bench
}

/// Says hello; whether it is told of the nodes.
fn arrive(bench: &mut Bench, id: ConnId, credential: Credential) -> bool {
    bench.connect(id);
    let effects = bench.hello(id, credential);
    effects.iter().any(|effect| match effect {
        Effect::Tell(to, FromRendezvous::Nodes { nodes, .. }) => {
            *to == id && *nodes == self::nodes()
        }
        _ => false,
    })
}

fn sent_on(effects: &[Effect]) -> Vec<(ConnId, u8)> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(to, FromRendezvous::GoTo { node }) => Some((*to, node.number.get())),
        _ => None,
    });
    sent.collect()
}

#[test]
fn peer_of_a_node_is_told_of_all_nodes_and_codes_begin_with_its_number() {
    let mut bench = node(18);
    let key = bench.key();
    assert!(arrive(&mut bench, LISTENER, key));
    let claim = bench.listen(LISTENER, None);
    assert_eq!(claim.nameplate.node(), Some(number(18)));
    assert!(arrive(&mut bench, CONNECTOR, Credential::None));
    let introduced = bench.join(CONNECTOR, claim.nameplate);
    introductions(&introduced);
}

#[test]
fn peer_with_another_nodes_code_is_sent_there_and_one_with_no_nodes_code_is_refused() {
    let mut bench = node(18);
    arrive(&mut bench, CONNECTOR, Credential::None);
    let effects = bench.join(CONNECTOR, Nameplate::random_of(number(23)));
    assert_eq!(sent_on(&effects), [(CONNECTOR, 23)]);
    for nameplate in [
        Nameplate::random_of(number(99)),
        Nameplate::random_of(number(18)),
        Nameplate::random(),
    ] {
        let effects = bench.join(CONNECTOR, nameplate);
        assert_eq!(refusal(&effects), Some(Refusal::NameplateUnknown));
    }
    // It costs what a join costs, and no more is told to who asks too often.
    let effects = bench.join(CONNECTOR, Nameplate::random_of(number(23)));
    assert!(matches!(refusal(&effects), Some(Refusal::Limit { .. })));
}

#[test]
fn code_of_another_node_is_not_given_here_although_the_voucher_is_good() {
    let mut bench = node(17);
    let key = bench.key();
    arrive(&mut bench, LISTENER, key.clone());
    let claim = bench.listen(LISTENER, None);
    // Another node has the same keys and the same secret.
    bench.restart();
    bench
        .registry
        .join_cluster(Cluster::new(number(18), nodes()));
    arrive(&mut bench, LISTENER, key.clone());
    let given = bench.listen(LISTENER, Some(claim.clone()));
    assert_ne!(given.nameplate, claim.nameplate);
    assert_eq!(given.nameplate.node(), Some(number(18)));
    bench.restart();
    bench
        .registry
        .join_cluster(Cluster::new(number(17), nodes()));
    arrive(&mut bench, LISTENER, key);
    assert_eq!(bench.listen(LISTENER, Some(claim.clone())), claim);
}

#[test]
fn node_out_of_service_sends_who_is_in_no_session_to_the_next_one_once() {
    let mut bench = node(18);
    let key = bench.key();
    for id in [LISTENER, OTHER] {
        arrive(&mut bench, id, key.clone());
    }
    arrive(&mut bench, CONNECTOR, Credential::None);
    let claim = bench.listen(LISTENER, None);
    bench.join(CONNECTOR, claim.nameplate);
    assert_eq!(sent_on(&bench.registry.expire(bench.now)), []);
    let until = bench.now.instant + Duration::from_secs(600);
    let begun = bench.registry.drain(bench.now, Some(until));
    assert_eq!(sent_on(&begun), [(OTHER, 23)]);
    assert_eq!(sent_on(&bench.registry.expire(bench.now)), []);
    bench.registry.on_lost(bench.now, CONNECTOR, false);
    let mut rest = sent_on(&bench.registry.expire(bench.now));
    rest.sort_by_key(|(id, _)| *id);
    assert_eq!(rest, [(LISTENER, 23)]);
    // The last number is followed by the first.
    let mut last = node(23);
    let key = last.key();
    arrive(&mut last, OTHER, key);
    let begun = last.registry.drain(last.now, Some(until));
    assert_eq!(sent_on(&begun), [(OTHER, 17)]);
}

#[test]
fn node_out_of_service_passes_over_a_next_one_that_the_store_knows_to_be_dead() {
    let mut bench = node(17);
    let key = bench.key();
    arrive(&mut bench, OTHER, key);
    let living = |numbers: &[u8]| {
        let numbers = numbers.iter().map(|one| number(*one));
        Found::Living(Some(numbers.collect()))
    };
    bench.registry.on_directory(Instant::now(), living(&[17]));
    let until = bench.now.instant + Duration::from_secs(600);
    let begun = bench.registry.drain(bench.now, Some(until));
    assert_eq!(sent_on(&begun), [], "nobody else lives");
    bench
        .registry
        .on_directory(Instant::now(), living(&[17, 23]));
    assert_eq!(sent_on(&bench.registry.expire(bench.now)), [(OTHER, 23)]);
    let mut blind = node(17);
    let key = blind.key();
    arrive(&mut blind, OTHER, key);
    blind
        .registry
        .on_directory(Instant::now(), living(&[17, 23]));
    blind
        .registry
        .on_directory(Instant::now(), Found::Living(None));
    let begun = blind.registry.drain(blind.now, Some(until));
    assert_eq!(sent_on(&begun), [(OTHER, 18)], "the store says nothing");
}

#[test]
fn node_out_of_service_says_so_and_passes_over_a_next_one_that_goes_out_too() {
    let mut bench = with_directory(17);
    let key = bench.key();
    arrive(&mut bench, OTHER, key);
    let draining = |numbers: &[u8]| {
        let numbers = numbers.iter().map(|one| number(*one));
        Found::Draining(numbers.collect())
    };
    bench
        .registry
        .on_directory(Instant::now(), draining(&[18, 23]));
    let until = bench.now.instant + Duration::from_secs(600);
    let begun = bench.registry.drain(bench.now, Some(until));
    assert_eq!(sent_on(&begun), [], "nobody else stays");
    assert_eq!(asks(begun), [Ask::Drain(true)]);
    bench.registry.on_directory(Instant::now(), draining(&[18]));
    assert_eq!(sent_on(&bench.registry.expire(bench.now)), [(OTHER, 23)]);
    let taken_back = bench.registry.drain(bench.now, None);
    assert_eq!(asks(taken_back), [Ask::Drain(false)]);
}

fn with_directory(own: u8) -> Bench {
    let mut bench = Bench::new();
    let cluster = Cluster::new(number(own), nodes()).with_directory();
    bench.registry.join_cluster(cluster);
    bench
}

fn asks(effects: Vec<Effect>) -> Vec<Ask> {
    let asks = effects.into_iter().filter_map(|effect| match effect {
        Effect::Ask(ask) => Some(ask),
        _ => None,
    });
    asks.collect()
}

#[test]
fn directory_is_told_of_listeners_and_asked_by_connectors_that_find_nobody() {
    let mut bench = with_directory(17);
    let handle = Handle::random();
    let key = bench.key();
    arrive(&mut bench, LISTENER, key);
    let waits = asks(bench.meet(LISTENER, &handle, Role::Listener));
    let [Ask::Waits(digest, _)] = waits[..] else {
        panic!("{waits:?}");
    };
    arrive(&mut bench, CONNECTOR, Credential::None);
    let found = bench.meet(CONNECTOR, &handle, Role::Connector);
    introductions(&found);
    assert_eq!(asks(found), []);
    assert_eq!(
        asks(bench.registry.on_lost(bench.now, LISTENER, false)),
        [Ask::Left(digest)]
    );
    arrive(&mut bench, OTHER, Credential::None);
    let seeks = asks(bench.meet(OTHER, &handle, Role::Connector));
    assert_eq!(seeks, [Ask::Seek(OTHER.0, digest)]);
    let at = Found::At(OTHER.0, digest, number(23));
    assert_eq!(
        sent_on(&bench.registry.on_directory(Instant::now(), at)),
        [(OTHER, 23)]
    );
    let nowhere = Found::At(OTHER.0, digest, number(99));
    assert_eq!(bench.registry.on_directory(Instant::now(), nowhere), []);
}

#[test]
fn peer_that_may_not_wait_at_another_handle_does_not_have_the_directory_asked() {
    let mut bench = with_directory(17);
    let key = bench.key();
    arrive(&mut bench, CONNECTOR, key);
    let most = bench.limits.waiting_per_connection;
    for _ in 0..most {
        bench.meet(CONNECTOR, &Handle::random(), Role::Connector);
    }
    let effects = bench.meet(CONNECTOR, &Handle::random(), Role::Connector);
    assert!(matches!(refusal(&effects), Some(Refusal::Limit { .. })));
    assert_eq!(asks(effects), []);
}

/// What the directory is asked when these meet at many handles one after the other, and wait at none for long: who is
/// looked for, who waits, who has left.
fn churn(bench: &mut Bench, peers: &[ConnId]) -> [usize; 3] {
    let mut counts = [0; 3];
    let mut count = |effects| {
        for ask in asks(effects) {
            match ask {
                Ask::Seek(..) => counts[0] += 1,
                Ask::Waits(..) => counts[1] += 1,
                Ask::Left(_) => counts[2] += 1,
                other => panic!("{other:?}"),
            }
        }
    };
    for at in 0..100 {
        let (id, handle) = (peers[at % peers.len()], Handle::random());
        for role in [Role::Connector, Role::Listener] {
            count(bench.meet(id, &handle, role));
        }
        for role in [Role::Connector, Role::Listener] {
            let handle = handle.clone();
            count(bench.say(id, ToRendezvous::Unmeet { handle, role }));
        }
    }
    counts
}

#[test]
fn peer_with_a_key_that_comes_and_goes_without_end_does_not_have_the_directory_told_each_time() {
    let mut bench = with_directory(17);
    let key = bench.key();
    arrive(&mut bench, LISTENER, key);
    let [sought, came, left] = churn(&mut bench, &[LISTENER]);
    assert_eq!(sought + came, 128);
    assert_eq!(came, left);
}

#[test]
fn bearers_of_one_voucher_have_the_directory_asked_no_more_often_together_than_one() {
    let mut bench = with_directory(17);
    let key = bench.key();
    arrive(&mut bench, LISTENER, key);
    let nameplate = bench.listen(LISTENER, None).nameplate;
    arrive(&mut bench, CONNECTOR, Credential::None);
    let voucher = bench.voucher(CONNECTOR, nameplate);
    let bearers: Vec<ConnId> = (20..24).map(ConnId).collect();
    for id in &bearers {
        arrive(&mut bench, *id, Credential::Voucher(voucher.clone()));
    }
    let [sought, came, left] = churn(&mut bench, &bearers);
    assert_eq!(sought + came, 128);
    assert_eq!(came, left);
}

#[test]
fn listener_that_the_directory_learns_of_with_all_the_rest_is_removed_when_it_leaves() {
    let mut bench = with_directory(17);
    let key = bench.key();
    arrive(&mut bench, LISTENER, key);
    churn(&mut bench, &[LISTENER]);
    let handle = Handle::random();
    assert_eq!(asks(bench.meet(LISTENER, &handle, Role::Listener)), []);
    let all = asks(bench.registry.on_directory(Instant::now(), Found::TellAll));
    let [Ask::All(listeners)] = &all[..] else {
        panic!("{all:?}");
    };
    let [(digest, _)] = listeners[..] else {
        panic!("{listeners:?}");
    };
    let lost = bench.registry.on_lost(bench.now, LISTENER, false);
    assert_eq!(asks(lost), [Ask::Left(digest)]);
}

#[test]
fn stranger_who_asks_without_end_does_not_have_the_directory_asked() {
    let mut bench = with_directory(17);
    arrive(&mut bench, CONNECTOR, Credential::None);
    let mut asked = 0;
    for _ in 0..300 {
        asked += asks(bench.meet(CONNECTOR, &Handle::random(), Role::Connector)).len();
    }
    assert!((50..=70).contains(&asked), "{asked}");
}

#[test]
fn key_with_many_that_wait_does_not_keep_anothers_listener_from_being_asked_for() {
    let mut bench = with_directory(17);
    let other = AccessKey::random();
    add(&mut bench.file, "other", &other, KeyLimits::default());
    let ring = KeyRing::new(&bench.file, false);
    bench.registry.set_keys(bench.now, ring);
    let own = bench.key();
    let many = (10..30).map(|id| (id, own.clone(), 64));
    for (id, key, handles) in many.chain([(5, Credential::AccessKey(other), 1)]) {
        bench.connect(ConnId(id));
        bench.hello(ConnId(id), key);
        for _ in 0..handles {
            bench.meet(ConnId(id), &Secret::random(), Role::Connector);
        }
    }
    // The second time the other key's have not all been asked for once.
    for _ in 0..2 {
        let asked = asks(bench.registry.expire(bench.now));
        let is_own = |ask: &Ask| matches!(ask, Ask::Seek(5, _));
        assert_eq!(asked.len(), 500);
        assert!(asked.iter().any(is_own));
        bench.pass(Duration::from_secs(2));
    }
}
