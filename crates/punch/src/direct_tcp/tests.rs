use super::*;
use crate::candidate::{Kind, LocalAddress};

const RTT: Duration = Duration::from_millis(40);

fn ports() -> TcpPorts {
    TcpPorts {
        v4: Some(4000),
        server_rtt: Some(RTT),
        ..TcpPorts::default()
    }
}

/// One end, what it did, and when.
struct End {
    tcp: TcpPunch,
    done: Vec<(Instant, Step)>,
    /// Whether a path is wanted.
    wanted: bool,
}

impl End {
    fn new(controlling: bool) -> Self {
        Self {
            tcp: TcpPunch::new(controlling, Instant::now()),
            done: Vec::new(),
            wanted: true,
        }
    }

    fn offer(&self) -> Option<TcpOffer> {
        self.tcp.offer(|_| Vec::new())
    }

    fn poll(&mut self, now: Instant, peer: Option<&TcpOffer>) {
        while let Some(step) = self.tcp.poll(now, self.wanted, peer) {
            self.done.push((now, step));
            if step == Step::Gather {
                self.tcp.on_ports(now, ports());
            }
        }
    }

    fn dials(&self) -> Vec<Instant> {
        let dials = self
            .done
            .iter()
            .filter(|(_, step)| matches!(step, Step::Dial { .. }));
        dials.map(|(at, _)| *at).collect()
    }

    fn count(&self, step: Step) -> usize {
        self.done.iter().filter(|(_, other)| *other == step).count()
    }
}

/// Two ends whose offers take half a round trip, looked at every millisecond.
struct Both {
    start: Instant,
    now: Instant,
    ends: [End; 2],
    /// What is under way to each end, and when it arrives.
    offers: [Vec<(Instant, Option<TcpOffer>)>; 2],
    known: [Option<TcpOffer>; 2],
}

impl Both {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            ends: [End::new(true), End::new(false)],
            offers: [Vec::new(), Vec::new()],
            known: [None, None],
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            for n in 0..2 {
                while let Some(at) = self.offers[n].first().map(|o| o.0)
                    && at <= self.now
                {
                    self.known[n] = self.offers[n].remove(0).1;
                    if let Some(offer) = &self.known[n] {
                        self.ends[n].tcp.on_peer_offer(offer);
                    }
                }
                let before = self.ends[n].offer();
                let known = self.known[n].clone();
                self.ends[n].poll(self.now, known.as_ref());
                let after = self.ends[n].offer();
                if after != before {
                    self.offers[1 - n].push((self.now + RTT, after));
                }
            }
            self.now += Duration::from_millis(1);
        }
    }
}

#[test]
fn both_ends_dial_at_about_the_same_moment_in_each_round() {
    let mut both = Both::new();
    both.run(ROUND * (ROUNDS + 1));
    let [ours, theirs] = [0, 1].map(|n| both.ends[n].dials());
    assert_eq!(ours.len(), ROUNDS as usize);
    assert_eq!(ours.len(), theirs.len());
    let apart: Vec<i128> = ours
        .iter()
        .zip(&theirs)
        .map(|(a, b)| (*a - both.start).as_millis() as i128 - (*b - both.start).as_millis() as i128)
        .collect();
    assert!(apart[..2].iter().all(|ms| ms.abs() <= 2), "{apart:?}");
    // Later rounds are a little earlier and later, for when the two ways are not alike.
    assert!(apart.iter().all(|ms| ms.abs() <= 40), "{apart:?}");
    assert!(
        apart.iter().any(|ms| *ms > 5) && apart.iter().any(|ms| *ms < -5),
        "{apart:?}"
    );
}

#[test]
fn series_in_vain_come_ever_more_rarely() {
    let mut both = Both::new();
    both.run(Duration::from_secs(3600));
    let series = both.ends[0].count(Step::Gather);
    assert!((10..=18).contains(&series), "{series}");
    assert_eq!(both.ends[0].dials().len(), both.ends[1].dials().len());
    assert!(both.ends[1].dials().len() <= series * ROUNDS as usize);
}

#[test]
fn once_there_is_a_path_nothing_is_dialled_and_the_port_is_let_go() {
    let mut both = Both::new();
    both.run(Duration::from_millis(500));
    for end in &mut both.ends {
        end.wanted = false;
    }
    both.run(Duration::from_secs(60));
    for end in &both.ends {
        assert_eq!(end.dials().len(), 1);
        assert_eq!(end.count(Step::Rest), 1);
        assert_eq!(end.tcp.next_at(Instant::now(), false), None);
    }
}

/// A path stands for so long and is lost; how long it takes until the next is dialled.
fn lose_after(both: &mut Both, lasts: Duration) -> Duration {
    let agreed = both.now;
    for end in &mut both.ends {
        end.wanted = false;
        end.tcp.on_agreed(agreed, true);
    }
    both.run(lasts);
    let lost = both.now;
    for end in &mut both.ends {
        end.tcp.on_lost(lost);
        end.tcp.restart();
        end.wanted = true;
    }
    both.run(Duration::from_secs(30));
    let dials = both.ends[0].dials();
    dials.into_iter().find(|at| *at > lost).unwrap() - lost
}

#[test]
fn lost_path_is_looked_for_at_once_unless_it_and_the_one_before_did_not_last() {
    let mut both = Both::new();
    both.run(Duration::from_millis(500));
    let second = Duration::from_secs(1);
    for (lasts, soon) in [
        (LASTED, true),
        (LASTED / 2, true),
        (LASTED / 2, false),
        (LASTED / 2, false),
        (LASTED, true),
        (LASTED / 2, true),
    ] {
        let again = lose_after(&mut both, lasts);
        assert_eq!(again < second, soon, "{lasts:?}, {again:?}");
    }
}

#[test]
fn peer_that_counts_wildly_has_no_more_dialled_than_rounds_in_a_series() {
    let mut end = End::new(false);
    let now = Instant::now();
    let mut offer = TcpOffer {
        series: 1,
        round: 0,
        candidates: Vec::new(),
        server_rtt_ms: 0,
    };
    for ms in 0..100_000 {
        let now = now + Duration::from_millis(ms);
        // A few at once and one in 20 s is as fast as it goes.
        offer.series = (ms as u32 / 10) + 1;
        offer.round = ms as u32 % 10;
        end.tcp.on_peer_offer(&offer);
        end.poll(now, Some(&offer));
    }
    let (series, dials) = (end.count(Step::Gather), end.dials().len());
    assert!((5..=10).contains(&series), "{series}");
    assert!(dials <= series * ROUNDS as usize, "{dials}");
    // What was put off is not forgotten.
    let later = now + Duration::from_secs(200);
    end.poll(later, Some(&offer));
    assert_eq!(end.count(Step::Gather), series + 1);
}

#[test]
fn end_whose_peer_was_answered_by_no_server_gathers_once_more_for_the_port_of_the_web() {
    let now = Instant::now();
    let mut tcp = TcpPunch::new(true, now);
    assert_eq!(tcp.poll(now, true, None), Some(Step::Gather));
    assert!(!tcp.is_for_web());
    tcp.on_ports(now, ports());
    let offer = TcpOffer {
        series: 1,
        round: 0,
        candidates: Vec::new(),
        server_rtt_ms: 0,
    };
    assert_eq!(tcp.poll(now, true, Some(&offer)), Some(Step::Gather));
    assert!(tcp.is_for_web() && !tcp.has_web_port());
    let of_web = TcpPorts {
        v4: Some(WEB_PORT),
        ..ports()
    };
    assert!(tcp.on_ports(now, of_web), "the peer is told of it");
    assert!(tcp.has_web_port());
    assert_eq!(tcp.poll(now, true, Some(&offer)), Some(Step::Tell));
    tcp.on_network_changed();
    assert!(!tcp.is_for_web());
}

#[test]
fn peer_whose_servers_answer_again_is_not_taken_for_one_of_the_web_in_the_next_series() {
    let offer = |series, server_rtt_ms| TcpOffer {
        series,
        round: 0,
        candidates: Vec::new(),
        server_rtt_ms,
    };
    let mut now = Instant::now();
    let mut tcp = TcpPunch::new(true, now);
    assert_eq!(tcp.poll(now, true, None), Some(Step::Gather));
    tcp.on_ports(now, ports());
    let unanswered = offer(1, 0);
    assert_eq!(tcp.poll(now, true, Some(&unanswered)), Some(Step::Gather));
    tcp.on_ports(now, ports());
    assert!(tcp.is_for_web());
    // Whatever it says now, there is no third time in this series.
    let answered = offer(1, 30);
    assert_eq!(tcp.poll(now, true, Some(&answered)), Some(Step::Tell));
    for _ in 0..100 {
        match tcp.poll(now, true, Some(&answered)) {
            Some(Step::Gather) => break,
            Some(_) => {}
            None => now = tcp.next_at(now, true).unwrap(),
        }
    }
    assert!(!tcp.is_for_web());
    let mut follows = TcpPunch::new(false, now);
    for (offer, is_for_web) in [(offer(1, 0), true), (offer(2, 30), false)] {
        follows.on_peer_offer(&offer);
        let step = follows.poll(now + LEAST_GAP * offer.series, true, Some(&offer));
        assert_eq!(step, Some(Step::Gather));
        assert_eq!(follows.is_for_web(), is_for_web);
        follows.on_ports(now, ports());
    }
}

#[test]
fn end_whose_driver_or_peer_says_nothing_rests() {
    let now = Instant::now();
    let mut tcp = TcpPunch::new(true, now);
    assert_eq!(tcp.poll(now, true, None), Some(Step::Gather));
    let at = tcp.next_at(now, true).unwrap();
    assert_eq!(tcp.poll(at, true, None), Some(Step::Rest));
    assert_eq!(tcp.poll(at, true, None), None);
    assert!(tcp.next_at(now, true).unwrap() > at + FIRST_PAUSE / 2);
}

#[test]
fn what_is_seen_and_mapped_is_told_beside_a_crowd_of_interfaces() {
    let local: Vec<LocalAddress> = (1..=30)
        .map(|n| LocalAddress::from(std::net::IpAddr::from([10, 0, 0, n])))
        .collect();
    let ports = TcpPorts {
        seen: vec!["192.0.2.1:5000".parse().unwrap()],
        mapped: Some("192.0.2.1:6000".parse().unwrap()),
        ..ports()
    };
    let all = candidates(&ports, &local);
    assert!(all.len() <= MOST_CANDIDATES);
    for kind in [Kind::Host, Kind::ServerReflexive, Kind::Mapped] {
        assert!(all.iter().any(|c| c.kind == kind), "{kind:?}");
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn of_servers_that_see_different_ports_at_one_address_the_last_two_are_told() {
    let told = |texts: &[&str]| seen(addresses(texts).into_iter());
    let one = ["192.0.2.1:5", "192.0.2.1:5", "[2001:db8::1]:7"];
    assert_eq!(told(&one), addresses(&one[1..]));
    let three = [
        "192.0.2.1:7",
        "192.0.2.1:5",
        "192.0.2.1:6",
        "[2001:db8::1]:7",
    ];
    let last = ["192.0.2.1:6", "192.0.2.1:7", "[2001:db8::1]:7"];
    assert_eq!(told(&three), addresses(&last));
    assert_eq!(told(&["192.0.2.1:5", "192.0.2.2:5"]), []);
    assert_eq!(told(&[]), []);
}

#[test]
fn ports_are_foretold_where_they_are_counted_and_only_at_an_address_where_the_peer_was_seen() {
    let candidates = |ports: [u16; 2]| {
        let reflexive = |port| Candidate {
            kind: Kind::ServerReflexive,
            address: ([192, 0, 2, 1], port).into(),
        };
        let host = Candidate {
            kind: Kind::Host,
            address: ([10, 0, 0, 1], 9).into(),
        };
        [host, reflexive(ports[0]), reflexive(ports[1])]
    };
    let at = |ports, round, hard, seen: bool| {
        let mut all = targets(&candidates(ports), round, hard, |_| seen);
        assert_eq!(all.remove(0), ([10, 0, 0, 1], 9).into());
        all.iter().map(SocketAddr::port).collect::<Vec<u16>>()
    };
    let counted = [700, 699];
    assert_eq!(at(counted, 1, false, true), Vec::from_iter(701..=707));
    assert_eq!(at(counted, 2, false, true), Vec::from_iter(708..=714));
    assert_eq!(at(counted, 4, false, true), Vec::from_iter(701..=707));
    assert_eq!(at([65_530, 65_534], 1, false, true), [65_535]);
    // One of the two is called so that our NAT lets the peer in.
    assert_eq!(at(counted, 1, false, false), [700]);
    assert_eq!(at([700, 9_000], 1, false, true), [9_000]);
    assert_eq!(at(counted, 1, true, true), []);
}

#[test]
fn connection_is_named_after_what_let_it_through() {
    let name = |local: &str, remote: &str, mapped| {
        accepted(local.parse().unwrap(), remote.parse().unwrap(), mapped)
    };
    assert_eq!(
        name("192.168.1.2:1", "192.168.1.3:1", true),
        Technique::TcpLan
    );
    assert_eq!(
        name("192.0.2.1:1", "198.51.100.1:1", false),
        Technique::TcpPublicAddress
    );
    assert_eq!(
        name("192.168.1.2:1", "198.51.100.1:1", true),
        Technique::TcpPortMapping
    );
    assert_eq!(
        name("192.168.1.2:1", "198.51.100.1:1", false),
        Technique::TcpPunch
    );
    assert_eq!(
        name("[2001:db8::1]:1", "[2001:db8::2]:1", false),
        Technique::TcpIpv6
    );
    assert_eq!(
        name("[::ffff:192.0.2.1]:1", "[::ffff:198.51.100.1]:1", false),
        Technique::TcpPublicAddress
    );
}

#[test]
fn silent_connection_gives_its_place_up_and_one_that_is_heard_does_not() {
    let start = Instant::now();
    let mut tcp = TcpPunch::new(true, start);
    let stream = |heard| Stream {
        remote: ([192, 0, 2, 1], 7).into(),
        technique: Technique::TcpPunch,
        heard,
    };
    let socket = SocketId::of_stream;
    for n in 0..4 {
        assert_eq!(
            tcp.add_stream(start, socket(n), stream(start), None),
            Ok(None)
        );
    }
    let soon = start + SILENT / 2;
    assert_eq!(tcp.add_stream(soon, socket(4), stream(soon), None), Err(()));
    // The first is the path's, and the second has been heard since.
    let later = start + SILENT;
    tcp.on_heard(later, socket(1));
    let path = Some(socket(0));
    let taken = tcp.add_stream(later, socket(5), stream(later), path);
    assert_eq!(taken, Ok(Some(socket(2))));
    assert_eq!(tcp.remove_stream(socket(2)).map(|s| s.heard), Some(start));
}
