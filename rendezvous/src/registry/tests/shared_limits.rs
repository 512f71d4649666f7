//! Limits that several nodes share: what one of them uses of them, gives away, and hears from the others.

use std::collections::HashMap;

use p2pdbg_proto::node::{Node, NodeNumber};

use super::*;
use crate::{
    cluster_store::{Ask, Found},
    leases::{Account, Kind, Parts},
    limits::Prefix,
};

const SOMEWHERE: [u8; 4] = [198, 51, 100, 7];

fn node(own: u8) -> Bench {
    let mut bench = Bench::new();
    let nodes: Vec<Node> = ["17=a", "18=b", "23=c"]
        .map(|node| node.parse().unwrap())
        .to_vec();
    let cluster = Cluster::new(NodeNumber::new(own).unwrap(), nodes).with_directory();
    bench.registry.join_cluster(cluster);
    bench
}

/// Nodes that count together, as the store does for them, whose joins all come from one address.
struct Counting {
    nodes: Vec<Bench>,
    count: u64,
    counted: Option<Instant>,
}

impl Counting {
    /// A guess at one node; whether it was let guess.
    fn guess(&mut self, index: usize, after: Duration) -> bool {
        let mut missed = false;
        for (at, bench) in self.nodes.iter_mut().enumerate() {
            bench.pass(after);
            if at != index {
                continue;
            }
            let nameplate = Nameplate::new(u32::from([17_u8, 18, 23][index]) * 1_000_000 + 5);
            let effects = bench.join(CONNECTOR, nameplate.unwrap());
            let now = bench.now.instant;
            for effect in effects {
                if let Effect::Ask(Ask::Missed(of, with_key, own)) = effect {
                    missed = true;
                    let is_old = |at: Instant| now - at >= Duration::from_secs(60);
                    if self.counted.is_none_or(is_old) {
                        self.count = 0;
                    }
                    self.counted = Some(now);
                    self.count += u64::from(own);
                    let found = Found::Missed(of, with_key, self.count, own);
                    bench.registry.on_directory(now, found);
                }
            }
        }
        missed
    }
}

#[test]
fn address_that_guesses_at_three_nodes_guesses_hardly_more_than_at_one() {
    let guesses = |at: &dyn Fn(u32) -> usize| {
        let mut nodes = [17, 18, 23].map(node);
        for bench in &mut nodes {
            bench.connect_from(CONNECTOR, SOMEWHERE.into());
            bench.hello(CONNECTOR, Credential::None);
        }
        let mut counting = Counting {
            nodes: nodes.into(),
            count: 0,
            counted: None,
        };
        let every = Duration::from_millis(500);
        (0..1_200)
            .filter(|turn| counting.guess(at(*turn), every))
            .count()
    };
    // Ten minutes of it.
    let alone = guesses(&|_| 0);
    let everywhere = guesses(&|turn| (turn % 3) as usize);
    assert!((60..=64).contains(&alone), "{alone}");
    assert!(everywhere <= alone + 6, "{everywhere}, at one node {alone}");
}

#[test]
fn count_of_joins_that_somebody_has_made_up_keeps_an_address_out_no_longer_than_other_nodes_could()
{
    let mut bench = node(17);
    bench.connect_from(CONNECTOR, SOMEWHERE.into());
    bench.hello(CONNECTOR, Credential::None);
    let of = Prefix::of(SOMEWHERE.into());
    let found = Found::Missed(of, false, u64::MAX, 0);
    bench.registry.on_directory(bench.now.instant, found);
    // At two others nine each, at a cost of five: 75 more than the burst, of which one comes back in two seconds.
    let nameplate = Nameplate::new(17_000_005).unwrap();
    let refused = |bench: &mut Bench| match refusal(&bench.join(CONNECTOR, nameplate)) {
        Some(Refusal::Limit { retry_after_s }) => Some(retry_after_s),
        _ => None,
    };
    assert!(refused(&mut bench).is_some_and(|after| (100..200).contains(&after)));
    bench.pass(Duration::from_secs(200));
    assert_eq!(refused(&mut bench), None);
}

#[test]
fn node_gives_away_its_part_of_a_keys_sessions_and_asks_for_more_when_it_has_no_more() {
    let mut bench = node(17);
    let secret = AccessKey::random();
    let limits = KeyLimits {
        codes: Some(6),
        ..KeyLimits::default()
    };
    add(&mut bench.file, "team", &secret, limits);
    let ring = KeyRing::new(&bench.file, false);
    bench.registry.set_keys(bench.now, ring);
    let key = bench.file.find(&"team".parse().unwrap()).unwrap().id;
    let account = Account {
        key,
        kind: Kind::Codes,
    };
    bench.connect(LISTENER);
    bench.hello(LISTENER, Credential::AccessKey(secret));
    let is_let = |bench: &mut Bench| {
        let effects = bench.say(LISTENER, ToRendezvous::Listen { claim: None });
        match refusal(&effects) {
            None => true,
            Some(Refusal::Limit { retry_after_s }) => {
                assert!(retry_after_s <= 5, "{retry_after_s}");
                false
            }
            Some(other) => panic!("{other:?}"),
        }
    };
    // Before it has heard of the others, an equal part of the six.
    assert!(is_let(&mut bench) && is_let(&mut bench) && !is_let(&mut bench));
    // Said twice before the next part comes: who was refused is told of both times.
    let now = bench.now.instant;
    bench.registry.uses(now, &HashMap::new()).unwrap();
    let uses = bench.registry.uses(now, &HashMap::new()).unwrap();
    let uses = uses.iter().find(|one| one.account == account).unwrap();
    assert_eq!((uses.limit, uses.in_use, uses.need), (6, 2, 3));
    let parts = Parts {
        asked: bench.now.instant,
        parts: HashMap::from([(account, 4)]),
        month: 0,
        relayed_elsewhere: HashMap::new(),
    };
    bench.registry.on_parts(parts);
    assert!(is_let(&mut bench) && is_let(&mut bench) && !is_let(&mut bench));
    // Without the store, its last part for ten minutes, and then an equal one. Nothing that there is ends by it.
    bench.pass(Duration::from_secs(599));
    bench.pass(Duration::from_secs(2));
    assert!(!is_let(&mut bench));
    assert_eq!(bench.registry.taken_by_key()[&key].codes, 4);
}

#[test]
fn peer_that_comes_when_the_part_of_its_keys_peers_is_used_up_is_told_to_come_again_soon() {
    let mut bench = node(18);
    let secret = AccessKey::random();
    let limits = KeyLimits {
        peers: Some(2),
        ..KeyLimits::default()
    };
    add(&mut bench.file, "team", &secret, limits);
    let ring = KeyRing::new(&bench.file, false);
    bench.registry.set_keys(bench.now, ring);
    let key = bench.file.find(&"team".parse().unwrap()).unwrap().id;
    let account = Account {
        key,
        kind: Kind::Peers,
    };
    let comes = |bench: &mut Bench, id: u64| {
        bench.connect(ConnId(id));
        refusal(&bench.hello(ConnId(id), Credential::AccessKey(secret.clone())))
    };
    let hears = |bench: &mut Bench, part: u64| {
        let parts = Parts {
            asked: bench.now.instant,
            parts: HashMap::from([(account, part)]),
            month: 0,
            relayed_elsewhere: HashMap::new(),
        };
        bench.registry.on_parts(parts);
    };
    // The other one of the two is at another node yet.
    hears(&mut bench, 1);
    assert_eq!(comes(&mut bench, 20), None);
    let again = comes(&mut bench, 21);
    let Some(Refusal::Limit { retry_after_s }) = again else {
        panic!("{again:?}");
    };
    assert!(retry_after_s <= 5, "{retry_after_s}");
    // The node asks for one more, and has it when the other has left.
    let now = bench.now.instant;
    let uses = bench.registry.uses(now, &HashMap::new()).unwrap();
    let uses = uses.iter().find(|one| one.account == account).unwrap();
    assert_eq!((uses.in_use, uses.need), (1, 2));
    hears(&mut bench, 2);
    assert_eq!(comes(&mut bench, 22), None);
    assert_eq!(comes(&mut bench, 23), Some(Refusal::Full), "all are here");
}
