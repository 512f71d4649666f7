use std::net::SocketAddr;

use super::*;

const PUBLIC: PairKey = (
    SocketId::V4,
    SocketAddr::V4(std::net::SocketAddrV4::new(
        std::net::Ipv4Addr::new(192, 0, 2, 1),
        9,
    )),
);
const LAN: PairKey = (
    SocketId::V4,
    SocketAddr::V4(std::net::SocketAddrV4::new(
        std::net::Ipv4Addr::new(10, 0, 0, 1),
        9,
    )),
);

fn checklist() -> Checklist {
    let budget = Budget {
        peer_reflexive: 2,
        ..Budget::default()
    };
    let mut list = Checklist::new(Timing::default(), &budget, Role::Controlled);
    list.add(PUBLIC, Technique::HolePunch);
    list.add(LAN, Technique::Lan);
    list
}

#[test]
fn the_better_pair_goes_first_and_public_addresses_get_a_short_lived_packet_before() {
    let now = Instant::now();
    let mut list = checklist();
    assert_eq!(
        list.poll(now),
        None,
        "nothing goes out before an attempt begins"
    );
    list.restart(now);
    assert_eq!(
        list.poll(now),
        Some(Due {
            key: LAN,
            ttl: None,
            length: Length::Short,
        })
    );
    assert_eq!(
        list.poll(now),
        Some(Due {
            key: PUBLIC,
            ttl: Some(4),
            length: Length::Short,
        })
    );
    assert_eq!(list.poll(now), None);
    let then = now + Timing::default().first_ttl_lead;
    assert_eq!(list.next_at(), Some(then));
    assert_eq!(
        list.poll(then),
        Some(Due {
            key: PUBLIC,
            ttl: None,
            length: Length::Short,
        })
    );
}

#[test]
fn a_pair_without_an_answer_is_checked_fifteen_times_and_fails() {
    let mut now = Instant::now();
    let mut list = checklist();
    list.restart(now);
    let mut sent = 0;
    while let Some(at) = list.next_at() {
        now = at;
        while let Some(due) = list.poll(now) {
            sent += u32::from(due.key == LAN);
        }
    }
    assert_eq!(sent, 15);
    assert_eq!(list.get(LAN).unwrap().state, State::Failed);
}

fn measured(technique: Technique, ms: u64) -> Measured {
    Measured {
        key: (SocketId::V4, ([192, 0, 2, 1], 1000 + ms as u16).into()),
        technique,
        rtt: Duration::from_millis(ms),
    }
}

#[test]
fn best_valid_pair_is_the_fastest_and_among_equals_the_one_of_the_best_technique() {
    let mut list = checklist();
    let now = Instant::now();
    list.on_valid(now, PUBLIC, Duration::from_millis(10), Length::Short);
    for (lan, best) in [(11, LAN), (12, LAN), (13, PUBLIC), (19, PUBLIC)] {
        list.fail(LAN);
        list.get_mut(LAN).unwrap().begin(now, false);
        list.on_valid(now, LAN, Duration::from_millis(lan), Length::Short);
        let found = list.best_valid().map(|m| m.key);
        assert_eq!(found, Some(best), "{lan} ms");
    }
}

#[test]
fn path_is_displaced_by_what_is_faster_and_not_by_a_slow_vpn_nor_to_and_fro() {
    let punched = measured(Technique::HolePunch, 40);
    let vpn = measured(Technique::Vpn, 80);
    assert!(!vpn.displaces(&punched) && punched.displaces(&vpn));
    assert!(measured(Technique::Lan, 1).displaces(&measured(Technique::HolePunch, 2)));
    assert!(measured(Technique::Ipv6, 45).displaces(&punched));
    for a in Technique::ALL {
        for b in Technique::ALL {
            for (ours, theirs) in [(1, 2), (7, 9), (40, 49), (40, 51), (80, 40), (200, 210)] {
                let (a, b) = (measured(a, ours), measured(b, theirs));
                assert!(!(a.displaces(&b) && b.displaces(&a)), "{a:?} {b:?}");
            }
        }
    }
}

#[test]
fn private_address_that_is_far_away_is_a_vpns() {
    let mut list = checklist();
    let now = Instant::now();
    list.on_valid(now, LAN, Duration::from_millis(80), Length::Short);
    assert_eq!(list.get(LAN).unwrap().technique, Technique::Vpn);
    // The first answer had waited for something else.
    list.on_valid(now, LAN, Duration::from_millis(1), Length::Short);
    assert_eq!(list.get(LAN).unwrap().technique, Technique::Lan);
}

#[test]
fn round_trip_of_a_pair_is_the_shortest_of_the_last_few() {
    let mut list = checklist();
    let now = Instant::now();
    let rtt_after = |list: &mut Checklist, ms| {
        list.on_valid(now, PUBLIC, Duration::from_millis(ms), Length::Short);
        list.rtt(PUBLIC).unwrap().as_millis()
    };
    assert_eq!(rtt_after(&mut list, 40), 40);
    for _ in 0..3 {
        assert_eq!(rtt_after(&mut list, 90), 40);
    }
    assert_eq!(rtt_after(&mut list, 90), 90);
}

#[test]
fn unannounced_pairs_are_few_and_announced_ones_are_not_counted_with_them() {
    let mut list = checklist();
    let mut add = |port| {
        list.add_unannounced(
            (SocketId::V4, ([192, 0, 2, 7], port).into()),
            Technique::PeerReflexive,
        )
    };
    assert!(add(1) && add(2) && add(1));
    assert!(!add(3));
}

#[test]
fn a_packet_from_the_peer_brings_its_pairs_check_forward() {
    let now = Instant::now();
    let mut list = checklist();
    list.restart(now);
    while list.poll(now).is_some() {}
    list.trigger(now, PUBLIC);
    assert_eq!(
        list.poll(now),
        Some(Due {
            key: PUBLIC,
            ttl: None,
            length: Length::Short,
        })
    );
    assert_eq!(list.poll(now), None);
}

#[test]
fn addresses_that_failed_and_are_named_no_more_make_room_for_new_ones() {
    let mut list = checklist();
    let bridge = |n: u8| (SocketId::V4, SocketAddr::from(([172, 17, n, 1], 9)));
    for n in 0..=255 {
        list.add(bridge(n), Technique::Lan);
    }
    let full = list.usable();
    let new = bridge(255);
    assert!(list.get(new).is_none(), "there is no room for it");
    list.restart(Instant::now());
    assert!(!list.has_to_forget(&[LAN, new]), "they are being checked");
    list.forget_others(&[LAN, new]);
    assert_eq!(list.usable(), full);
    list.on_valid(Instant::now(), PUBLIC, Duration::ZERO, Length::Short);
    list.stop();
    assert!(!list.has_to_forget(&[LAN, bridge(0)]), "it has these");
    assert!(list.has_to_forget(&[LAN, new]));
    list.forget_others(&[LAN, new]);
    assert_eq!(list.usable(), 2, "what is named, and what works");
    assert!(!list.has_to_forget(&[LAN, new]), "there is room");
    list.add(new, Technique::Lan);
    assert!(list.get(new).is_some());
}
