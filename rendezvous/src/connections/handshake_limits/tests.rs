//! Crowds of attempts, with a clock of the tests' own.

use super::*;

struct Bench {
    admission: Admission,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let admission = Admission::new(&Limits {
            connections: 8,
            tcp_connections: 7,
            connections_per_address: 2,
            handshakes: 6,
            handshakes_unproven: 2,
            handshakes_per_address: 2,
            ..Limits::default()
        });
        let now = Instant::now();
        Self { admission, now }
    }

    fn judge(&self, transport: Transport, ip: IpAddr, proven: bool) -> Verdict {
        self.admission.judge(self.now, transport, ip, proven)
    }

    #[track_caller]
    fn accept(&self, transport: Transport, ip: IpAddr) -> Handshake {
        match self.judge(transport, ip, true) {
            Verdict::Accept(handshake) => handshake,
            other => panic!("{other:?}"),
        }
    }

    fn is_refused(&self, transport: Transport, ip: IpAddr) -> bool {
        matches!(self.judge(transport, ip, true), Verdict::Refuse)
    }
}

fn ip(n: u8) -> IpAddr {
    [192, 0, 2, n].into()
}

fn v6(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn is_out(handshake: &Handshake) -> bool {
    handshake.crowded_out.is_cancelled()
}

#[test]
fn a_crowd_over_quic_must_prove_its_addresses_and_then_wait() {
    let mut bench = Bench::new();
    let mut held: Vec<_> = (0..2)
        .map(|n| bench.accept(Transport::Quic, ip(n)))
        .collect();
    let unproven = bench.judge(Transport::Quic, ip(9), false);
    assert!(matches!(unproven, Verdict::Retry));
    held.extend((2..6).map(|n| bench.accept(Transport::Quic, ip(n))));
    assert!(bench.is_refused(Transport::Quic, ip(9)));
    // TCP has room of its own.
    let over_tcp = bench.accept(Transport::Tcp, ip(9));
    drop(over_tcp);
    // A handshake that gets nowhere makes room in the end, the oldest first.
    bench.now += STALLED;
    held.push(bench.accept(Transport::Quic, ip(9)));
    assert!(is_out(&held[0]) && !is_out(&held[1]));
}

#[test]
fn a_silent_connection_over_tcp_makes_room_at_once_and_one_that_speaks_does_not() {
    let bench = Bench::new();
    let first = bench.accept(Transport::Tcp, ip(1));
    first.spoke();
    let second = bench.accept(Transport::Tcp, ip(1));
    let third = bench.accept(Transport::Tcp, ip(1));
    assert!(!is_out(&first) && is_out(&second) && !is_out(&third));
    third.spoke();
    assert!(bench.is_refused(Transport::Tcp, ip(1)));
    // Nobody else is affected.
    bench.accept(Transport::Tcp, ip(2));
    assert!(second.complete().is_none());
    assert!(first.complete().is_some());
}

#[test]
fn who_holds_most_makes_room_for_who_holds_less_whatever_it_has_said() {
    for transport in [Transport::Quic, Transport::Tcp] {
        let bench = Bench::new();
        let mut crowd = Vec::new();
        for n in [1, 1, 2, 2, 3, 3] {
            let attempt = bench.accept(transport, ip(n));
            attempt.spoke();
            crowd.push(attempt);
        }
        assert!(bench.is_refused(transport, ip(1)));
        let honest = [4, 5].map(|n| bench.accept(transport, ip(n)));
        assert_eq!(crowd.iter().filter(|a| is_out(a)).count(), 2);
        // Those who hold one each make no room for each other, nor for a crowd that comes again, though they have not
        // spoken yet.
        for n in [1, 2, 3] {
            assert!(matches!(
                bench.judge(transport, ip(n), false),
                Verdict::Retry
            ));
            drop(bench.judge(transport, ip(n), true));
        }
        assert!(!honest.iter().any(is_out));
    }
}

#[test]
fn a_network_has_twice_and_a_site_four_times_what_an_address_has() {
    let bench = Bench::new();
    let from = |ip: &str| bench.accept(Transport::Quic, v6(ip));
    let mut held = Vec::new();
    for ip in [
        "2001:db8:0:1::1",
        "2001:db8:0:1::2",
        "2001:db8:0:2::1",
        "2001:db8:0:3::1",
    ] {
        held.push(from(ip));
    }
    assert!(bench.is_refused(Transport::Quic, v6("2001:db8:0:1::3")));
    assert!(bench.is_refused(Transport::Quic, v6("2001:db8:0:4::1")));
    held.push(from("2001:db8:0:100::1"));
    held.push(from("2001:db8:1::1"));
}

#[test]
fn an_address_has_so_many_connections_and_no_more_until_one_ends() {
    let bench = Bench::new();
    let connect = || {
        let established = bench.accept(Transport::Quic, ip(1)).complete().unwrap();
        established.greeted();
        established
    };
    let first = connect();
    let racing = [1, 1].map(|n| bench.accept(Transport::Quic, ip(n)));
    let [second, third] = racing.map(Handshake::complete);
    assert!(second.is_some() && third.is_none());
    assert!(bench.is_refused(Transport::Quic, ip(1)));
    bench.accept(Transport::Quic, ip(2));
    // A forged source does not count as that address, and so cannot be kept out for it.
    match bench.judge(Transport::Quic, ip(1), false) {
        Verdict::Accept(forged) => assert!(forged.complete().is_none()),
        other => panic!("{other:?}"),
    }
    drop(first);
    connect();
}

#[test]
fn who_has_not_said_hello_counts_as_an_attempt_still() {
    let bench = Bench::new();
    let silent = bench.accept(Transport::Tcp, ip(1)).complete().unwrap();
    bench.accept(Transport::Tcp, ip(1)).complete().unwrap();
    drop(silent);
    let [one, two] = [1, 1].map(|n| bench.accept(Transport::Tcp, ip(n)));
    let one = one.complete().unwrap();
    one.greeted();
    let three = bench.accept(Transport::Tcp, ip(1));
    assert!(!is_out(&two) && !is_out(&three) && !is_out(&one.attempt));
    assert!(two.complete().is_some());
}

#[test]
fn there_are_so_many_connections_in_all_and_over_tcp() {
    let bench = Bench::new();
    let connect = |transport, n| {
        let established = bench.accept(transport, ip(n)).complete().unwrap();
        established.greeted();
        established
    };
    let mut held: Vec<_> = (0..7).map(|n| connect(Transport::Tcp, n)).collect();
    assert!(bench.is_refused(Transport::Tcp, ip(9)));
    // As many as may stay, and as many as may be on their way.
    held.extend((9..16).map(|n| connect(Transport::Quic, n)));
    assert!(bench.is_refused(Transport::Quic, ip(16)));
    held.clear();
    connect(Transport::Tcp, 9);
}

#[test]
fn legs_of_the_relay_take_descriptors_and_no_place_of_a_peer() {
    let bench = Bench::new();
    let leg = |n| {
        let leg = bench.accept(Transport::Tcp, ip(n)).complete().unwrap();
        leg.is_bound();
        leg
    };
    let legs: Vec<_> = (0..7).map(leg).collect();
    let connect = |n| {
        let peer = bench.accept(Transport::Quic, ip(n)).complete().unwrap();
        peer.greeted();
        peer
    };
    let peers: Vec<_> = (10..24).map(connect).collect();
    assert!(bench.is_refused(Transport::Quic, ip(24)));
    assert!(bench.is_refused(Transport::Tcp, ip(24)));
    drop(legs);
    assert!(bench.is_refused(Transport::Quic, ip(24)));
    drop(peers);
    let state = bench.admission.lock();
    assert_eq!((state.legs, state.established), (0, [0, 0]));
}

#[test]
fn nothing_is_left_of_connections_that_are_gone() {
    let bench = Bench::new();
    for n in 0..100 {
        let handshake = bench.accept(Transport::Tcp, ip(n));
        drop(bench.accept(Transport::Quic, ip(n)));
        if let Some(established) = handshake.complete()
            && n % 2 == 0
        {
            established.greeted();
        }
    }
    let state = bench.admission.lock();
    assert!(state.attempts.is_empty() && state.by_network.is_empty());
    assert_eq!(state.established, [0, 0]);
}
