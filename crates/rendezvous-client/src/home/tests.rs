//! Whom a peer dials next, as it meets hosts that are gone, refuse it and send it on.

use std::net::Ipv4Addr;

use super::*;

const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn at(host: &str) -> HostAt {
    host.parse().unwrap()
}

fn hosts() -> Hosts {
    Hosts::new(&"p2pdbg://a,b,c".parse().unwrap(), Remembered::default())
}

#[test]
fn hosts_are_dialled_by_distance_at_first() {
    let all = vec![at("a"), at("b"), at("c")];
    assert_eq!(hosts().plan(true), Plan::Nearest(all, STAGGER));
    let one = Hosts::new(&"p2pdbg://a".parse().unwrap(), Remembered::default());
    assert_eq!(one.plan(true), Plan::InOrder(vec![at("a")], STAGGER));
}

#[test]
fn lost_home_of_an_idle_peer_is_tried_alone_once_and_then_with_the_others() {
    let mut hosts = hosts();
    hosts.on_up(&at("b"), OUTSIDE);
    assert_eq!(hosts.plan(false), Plan::InOrder(vec![at("b")], STAGGER));
    hosts.on_failed();
    let order = vec![at("b"), at("c"), at("a")];
    assert_eq!(hosts.plan(false), Plan::InOrder(order, STAGGER_FROM_HOME));
    hosts.on_up(&at("c"), OUTSIDE);
    assert_eq!(hosts.plan(false), Plan::InOrder(vec![at("c")], STAGGER));
}

#[test]
fn lost_home_of_peers_in_need_is_followed_by_the_same_host_for_both() {
    let mut hosts = hosts();
    hosts.on_up(&at("b"), OUTSIDE);
    for _ in 0..3 {
        let order = vec![at("b"), at("c"), at("a")];
        assert_eq!(hosts.plan(true), Plan::InOrder(order, STAGGER_FROM_HOME));
        hosts.on_failed();
    }
}

fn node(text: &str) -> Node {
    text.parse().unwrap()
}

fn pinned() -> Hosts {
    let print = "A".repeat(43);
    Hosts::new(
        &format!("p2pdbg://all,b#{print}").parse().unwrap(),
        Remembered::default(),
    )
}

#[test]
fn nodes_that_are_told_come_before_the_seeds_and_the_home_is_known_by_its_number() {
    let mut hosts = pinned();
    hosts.on_up(&at("all"), OUTSIDE);
    let nodes = ["19=c", "17=a", "18=b"].map(node).to_vec();
    hosts.on_told(NodeNumber::new(18).unwrap(), nodes.clone(), Vec::new());
    assert_eq!(hosts.plan(false), Plan::InOrder(vec![at("b")], STAGGER));
    let order = vec![at("b"), at("c"), at("all"), at("a")];
    assert_eq!(hosts.plan(true), Plan::InOrder(order, STAGGER_FROM_HOME));

    // Without a fingerprint any host with a certificate of its own could be named.
    let mut loose = self::hosts();
    let told = loose.on_told(NodeNumber::new(18).unwrap(), nodes, Vec::new());
    assert_eq!(told, None);
    assert!(matches!(loose.plan(false), Plan::Nearest(all, _) if all.len() == 3));
}

#[test]
fn nodes_that_were_told_at_an_earlier_start_are_dialled_with_the_seeds() {
    let print = "A".repeat(43);
    let nodes = ["17=a", "18=b"].map(node).to_vec();
    let remembered = Remembered {
        nodes,
        told_inside: false,
    };
    let of = |url: &str| Hosts::new(&url.parse().unwrap(), remembered.clone()).plan(true);
    let all = vec![at("a"), at("b"), at("dead")];
    let pinned = of(&format!("p2pdbg://dead#{print}"));
    assert_eq!(pinned, Plan::Nearest(all, STAGGER));
    let loose = of("p2pdbg://dead");
    assert_eq!(loose, Plan::InOrder(vec![at("dead")], STAGGER));
}

#[test]
fn node_elsewhere_names_no_host_of_the_network_that_the_peer_is_in() {
    let inside = [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.7.7",
        "169.254.1.1",
        "100.64.0.1",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "localhost",
        "a.LOCALHOST.",
    ];
    let never = [
        "127.1",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
    ];
    let told = |reached: IpAddr| {
        let mut hosts = pinned();
        hosts.on_up(&at("all"), reached);
        let named = inside
            .into_iter()
            .chain(never)
            .chain(["rdv.example", "198.51.100.7"]);
        let named = named.take(NodeNumber::MOST).zip(10u8..);
        let nodes = named.map(|(host, number)| node(&format!("{number}={host}")));
        let told = hosts
            .on_told(NodeNumber::MIN, Vec::new(), nodes.collect())
            .unwrap();
        told.relays.len()
    };
    assert_eq!(told(OUTSIDE), 0);
    assert_eq!(told([10, 0, 0, 1].into()), inside.len());
    let mut hosts = pinned();
    hosts.on_up(&at("all"), OUTSIDE);
    let now = Instant::now();
    assert!(!hosts.go_to(now, &at("192.168.0.1")));
    assert!(hosts.go_to(now, &at("198.51.100.7")));
}

#[test]
fn named_hosts_may_be_in_the_network_around_if_who_named_them_was_there() {
    let own = IpAddr::from([10, 0, 0, 1]);
    let told = |hosts: &mut Hosts, reached| {
        hosts.on_up(&at("all"), reached);
        let (nodes, relays) = (vec![node("17=a")], vec![node("30=r")]);
        hosts
            .on_told(NodeNumber::MIN, nodes, relays)
            .unwrap()
            .allowed
    };
    for (reached, may) in [(OUTSIDE, false), (own, true)] {
        let mut hosts = pinned();
        let allowed = told(&mut hosts, reached);
        assert_eq!(allowed.admits(&at("r"), own), may);
        assert_eq!(hosts.allowed_addresses().admits(&at("a"), own), may);
        assert!(
            hosts.allowed_addresses().admits(&at("all"), own),
            "the user has named it"
        );
        hosts.go_to(Instant::now(), &at("c"));
        assert_eq!(hosts.allowed_addresses().admits(&at("c"), own), may);
        let print = "A".repeat(43);
        let url = format!("p2pdbg://all#{print}").parse().unwrap();
        let later = Hosts::new(&url, hosts.to_remember());
        assert_eq!(later.allowed_addresses().admits(&at("a"), own), may);
    }
}

#[test]
fn peer_that_is_sent_on_goes_there_alone_and_not_in_a_circle() {
    let mut hosts = pinned();
    let now = Instant::now();
    hosts.on_up(&at("a"), OUTSIDE);
    assert!(!hosts.go_to(now, &at("a")), "it is there");
    for to in ["b", "a", "b"] {
        assert!(hosts.go_to(now, &at(to)));
        assert_eq!(hosts.plan(true), Plan::InOrder(vec![at(to)], STAGGER));
        hosts.on_up(&at(to), OUTSIDE);
    }
    assert!(!hosts.go_to(now, &at("a")));
    assert!(hosts.go_to(now + HOPS_WITHIN, &at("a")));
    // Where nothing answers there, it looks elsewhere.
    hosts.on_failed();
    let order = vec![at("a"), at("all"), at("b")];
    assert_eq!(hosts.plan(false), Plan::InOrder(order, STAGGER_FROM_HOME));
}

#[test]
fn host_that_a_peer_was_sent_on_to_or_has_lost_and_that_takes_it_later_is_dialled_twice_more() {
    let mut hosts = pinned();
    hosts.on_up(&at("a"), OUTSIDE);
    assert!(hosts.go_to(Instant::now(), &at("c")));
    assert!(!hosts.on_delayed(&at("b")));
    for _ in 0..2 {
        assert!(hosts.on_delayed(&at("c")));
        hosts.on_failed();
        let alone = vec![at("c")];
        assert_eq!(hosts.plan(true), Plan::InOrder(alone, STAGGER));
    }
    assert!(!hosts.on_delayed(&at("c")));
    hosts.on_refused(&at("c"));
    hosts.on_failed();
    let others = vec![at("all"), at("b")];
    assert_eq!(hosts.plan(true), Plan::InOrder(others, STAGGER_FROM_HOME));
    // So it is with the home that it has lost.
    let mut hosts = pinned();
    assert!(!hosts.on_delayed(&at("a")), "it has none yet");
    hosts.on_up(&at("a"), OUTSIDE);
    for _ in 0..2 {
        assert!(hosts.on_delayed(&at("a")));
        hosts.on_failed();
        let alone = vec![at("a")];
        assert_eq!(hosts.plan(true), Plan::InOrder(alone, STAGGER));
    }
    assert!(!hosts.on_delayed(&at("a")));
    hosts.on_refused(&at("a"));
    hosts.on_failed();
    assert!(matches!(hosts.plan(true), Plan::InOrder(order, _) if !order.contains(&at("a"))));
    // What it cannot reach at all is not dialled alone again, though it once was told to come later.
    let mut hosts = pinned();
    hosts.on_up(&at("a"), OUTSIDE);
    assert!(hosts.go_to(Instant::now(), &at("c")));
    assert!(hosts.on_delayed(&at("c")));
    hosts.on_failed();
    hosts.on_failed();
    assert!(matches!(hosts.plan(true), Plan::InOrder(order, _) if order.len() > 1));
}

#[test]
fn host_that_refuses_is_left_out_until_there_is_a_connection_and_all_together_are_final() {
    let mut hosts = hosts();
    assert!(hosts.on_refused(&at("a")));
    hosts.on_failed();
    let others = vec![at("b"), at("c")];
    assert_eq!(hosts.plan(true), Plan::Nearest(others, STAGGER));
    hosts.on_up(&at("b"), OUTSIDE);
    let order = vec![at("b"), at("c"), at("a")];
    assert_eq!(hosts.plan(true), Plan::InOrder(order, STAGGER_FROM_HOME));
    assert!(hosts.on_refused(&at("b")) && hosts.on_refused(&at("c")));
    hosts.on_failed();
    let left = vec![at("a")];
    assert_eq!(hosts.plan(false), Plan::InOrder(left, STAGGER_FROM_HOME));
    assert!(!hosts.on_refused(&at("a")), "nobody is left");
    let one = "p2pdbg://a".parse().unwrap();
    assert!(!Hosts::new(&one, Remembered::default()).on_refused(&at("a")));
}

/// A peer at home at one of six nodes, with a URL that names no more than that one.
fn at_home_at_one_of_six() -> Hosts {
    let print = "A".repeat(43);
    let url = format!("p2pdbg://a#{print}").parse().unwrap();
    let mut hosts = Hosts::new(&url, Remembered::default());
    hosts.on_up(&at("a"), OUTSIDE);
    let nodes = ["17=a", "18=b", "19=c", "20=d", "21=e", "22=f"];
    let own = NodeNumber::new(17).unwrap();
    hosts.on_told(own, nodes.map(node).to_vec(), Vec::new());
    hosts
}

#[test]
fn nodes_further_on_are_dialled_once_all_up_to_them_have_refused() {
    let mut hosts = at_home_at_one_of_six();
    for refuses in ["a", "b", "c", "d"] {
        assert!(hosts.on_refused(&at(refuses)));
    }
    let further = vec![at("e"), at("f")];
    assert_eq!(hosts.plan(true), Plan::InOrder(further, STAGGER_FROM_HOME));
}

#[test]
fn all_nodes_are_dialled_once_the_home_and_those_behind_it_are_gone_for_long() {
    let mut hosts = at_home_at_one_of_six();
    for _ in 0..ALL_AFTER {
        let near = ["a", "b", "c", "d"].map(at).to_vec();
        assert_eq!(hosts.plan(true), Plan::InOrder(near, STAGGER_FROM_HOME));
        hosts.on_failed();
    }
    let all = ["a", "b", "c", "d", "e", "f"].map(at).to_vec();
    assert_eq!(hosts.plan(true), Plan::InOrder(all, STAGGER_FROM_HOME));
}

#[test]
fn home_that_has_refused_once_is_dialled_again_while_the_others_are_gone() {
    let mut hosts = at_home_at_one_of_six();
    hosts.on_refused(&at("a"));
    let mut dialled = false;
    for _ in 0..2 * ALL_AFTER {
        let Plan::InOrder(order, _) = hosts.plan(true) else {
            panic!("it has a home");
        };
        dialled |= order.contains(&at("a"));
        if hosts.are_all(&order) {
            hosts.on_nobody_else(&[]);
        }
        hosts.on_failed();
    }
    assert!(dialled);
}

#[test]
fn every_host_is_dialled_within_a_few_attempts_whoever_refuses_or_is_gone() {
    const ATTEMPTS: usize = 10;
    for seed in 0..500 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut hosts = at_home_at_one_of_six();
        let mut not_dialled: Vec<Vec<HostAt>> = Vec::new();
        for _ in 0..30 {
            let (Plan::InOrder(order, _) | Plan::Nearest(order, _)) = hosts.plan(chance.bool());
            not_dialled.push(hosts.all.clone());
            for waiting in &mut not_dialled {
                waiting.retain(|host| !order.contains(host));
            }
            not_dialled.retain(|waiting| !waiting.is_empty());
            assert!(not_dialled.len() <= ATTEMPTS, "{seed}: {not_dialled:?}");
            // As the link does it: one of them answers and refuses, or nobody does.
            let is_all = hosts.are_all(&order);
            match chance.choice(&order).filter(|_| chance.bool()) {
                Some(refuses) => _ = hosts.on_refused(refuses),
                None if is_all => _ = hosts.on_nobody_else(&[]),
                None => {}
            }
            hosts.on_failed();
        }
    }
}

#[test]
fn hosts_that_refuse_have_their_turn_again_where_nobody_else_answers() {
    let mut hosts = hosts();
    assert!(hosts.on_refused(&at("a")));
    hosts.on_failed();
    assert!(!hosts.on_nobody_else(&[]), "the user has named the others");
    assert!(matches!(hosts.plan(true), Plan::Nearest(all, _) if all.len() == 3));
}

#[test]
fn refusal_of_all_hosts_of_the_url_is_believed_if_others_are_remembered_alone() {
    let print = "A".repeat(43);
    let url = format!("p2pdbg://a,b#{print}").parse().unwrap();
    let remembered = Remembered {
        nodes: vec![node("18=gone")],
        told_inside: false,
    };
    let mut hosts = Hosts::new(&url, remembered);
    assert!(hosts.on_refused(&at("a")));
    assert!(!hosts.on_nobody_else(&[]), "b has said nothing");
    hosts.on_refused(&at("a"));
    assert!(hosts.on_nobody_else(&[at("b")]));
    hosts.on_up(&at("a"), OUTSIDE);
    let own = NodeNumber::new(18).unwrap();
    hosts.on_told(own, vec![node("18=gone")], Vec::new());
    hosts.on_refused(&at("a"));
    assert!(!hosts.on_nobody_else(&[at("b")]), "it was told now");
}

#[test]
fn peer_without_a_pinned_certificate_is_sent_to_hosts_of_its_url_alone() {
    let mut hosts = hosts();
    let now = Instant::now();
    hosts.on_up(&at("a"), OUTSIDE);
    assert!(!hosts.go_to(now, &at("elsewhere")));
    assert!(hosts.go_to(now, &at("b")));
}
