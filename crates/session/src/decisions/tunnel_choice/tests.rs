//! Which tunnel carries what, with tunnels whose counters and answers are set by hand.

use super::*;

const STEP: Duration = Duration::from_millis(250);

struct Bench {
    table: TunnelTable,
    now: Instant,
    counters: Vec<Counters>,
}

impl Bench {
    fn new() -> Self {
        Self {
            table: TunnelTable::default(),
            now: Instant::now(),
            counters: Vec::new(),
        }
    }

    fn up(&mut self, epoch: u64, path: PathKind) -> Vec<u64> {
        let remote = SocketAddr::from(([192, 0, 2, 1], 1000));
        let rtt = Duration::from_millis(20);
        self.counters.push(Counters {
            epoch,
            open: true,
            heard: 0,
            sent: 0,
            packets_sent: 0,
            packets_lost: 0,
            remote,
            rtt,
        });
        let facts = TunnelFacts {
            epoch,
            path,
            local: None,
            remote,
            rtt,
        };
        self.table.insert(facts, self.now)
    }

    /// Lets time pass in which all tunnels send and only these hear.
    fn pass(&mut self, time: Duration, heard: &[u64]) -> Look {
        let mut look = Look::default();
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.now += STEP;
            for counters in &mut self.counters {
                counters.sent += 1;
                counters.heard += u64::from(heard.contains(&counters.epoch));
            }
            self.table.take_in(&self.counters);
            look = self.table.look(Duration::MAX, self.now);
            self.table.choose();
        }
        look
    }

    fn used(&mut self) -> Option<u64> {
        self.table.choose();
        self.table.used().map(|facts| facts.epoch)
    }
}

#[test]
fn direct_path_that_is_lost_twice_is_taken_back_only_when_it_stays() {
    let mut bench = Bench::new();
    bench.up(1, PathKind::RelayUdp);
    for epoch in [2, 3] {
        bench.up(epoch, PathKind::Direct);
        assert_eq!(
            bench.used(),
            Some(epoch),
            "found for the first time, or again"
        );
        bench.table.remove(epoch, bench.now);
        assert_eq!(bench.used(), Some(1));
    }
    bench.up(4, PathKind::Direct);
    let look = bench.pass(Duration::from_secs(2), &[1, 4]);
    assert!(look.ask.contains(&4), "it shows that it answers: {look:?}");
    assert_eq!(bench.used(), Some(1));
    assert!(
        bench.table.serves(PathKind::Direct),
        "it is no reason to look for another"
    );
    bench.pass(Duration::from_secs(2), &[1, 4]);
    assert_eq!(bench.used(), Some(4));
}

#[test]
fn direct_path_on_trial_is_used_where_there_is_no_other() {
    let mut bench = Bench::new();
    for epoch in [1, 2, 3] {
        bench.up(epoch, PathKind::Direct);
        assert_eq!(bench.used(), Some(epoch));
        bench.table.remove(epoch, bench.now);
    }
}

#[test]
fn direct_tunnel_is_used_before_a_newer_relayed_one() {
    let mut bench = Bench::new();
    assert_eq!(bench.used(), None);
    bench.up(1, PathKind::Direct);
    bench.up(2, PathKind::RelayUdp);
    assert_eq!(bench.used(), Some(1));
}

#[test]
fn newer_tunnel_of_a_kind_retires_the_older_ones_of_that_kind_alone() {
    let mut bench = Bench::new();
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    assert_eq!(bench.up(3, PathKind::RelayTcp), [1]);
    assert_eq!(bench.up(4, PathKind::Direct), [2]);
    assert_eq!(bench.used(), Some(4));
}

#[test]
fn nearer_relay_is_used_before_the_rendezvous_and_behind_a_direct_path_and_retires_neither() {
    let mut bench = Bench::new();
    let near = SocketAddr::from(([192, 0, 2, 1], 1000));
    let far = SocketAddr::from(([192, 0, 2, 9], 1000));
    bench.up(1, PathKind::RelayUdp);
    bench.counters[0].remote = far;
    bench.table.take_in(&bench.counters);
    assert!(bench.table.set_near(Some(near)).is_empty());
    assert!(!bench.table.serves_near());
    assert!(bench.up(2, PathKind::RelayUdp).is_empty());
    assert!(bench.table.serves_near() && bench.table.leads_near(2));
    assert_eq!(bench.used(), Some(2));
    assert_eq!(
        bench.up(3, PathKind::RelayUdp),
        [2],
        "its ticket was renewed"
    );
    assert_eq!(bench.used(), Some(3));
    bench.up(4, PathKind::Direct);
    assert_eq!(bench.used(), Some(4));
    bench.table.prefer_relay(true);
    assert_eq!(bench.used(), Some(1), "TCP leads to the rendezvous alone");
    bench.table.prefer_relay(false);
    bench.table.remove(4, bench.now);
    bench.pass(Duration::from_secs(1), &[1, 2, 3]);
    bench.pass(Duration::from_secs(2), &[1]);
    assert_eq!(bench.used(), Some(1), "the nearer relay is dead");
    assert_eq!(bench.table.set_near(None), [2, 3]);
}

#[test]
fn suspect_tunnel_is_left_for_one_that_answers_and_told_once() {
    let mut bench = Bench::new();
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.pass(Duration::from_secs(1), &[1, 2]);
    bench.pass(Duration::from_secs(2), &[1]);
    assert_eq!(bench.used(), Some(1));
    assert_eq!(bench.table.poll_leave(), Some(2));
    assert_eq!(bench.table.poll_leave(), None);
    assert!(!bench.table.serves(PathKind::Direct));
    assert_eq!(bench.table.out_of_reach_since(bench.now), None);
}

#[test]
fn silent_tunnel_is_kept_where_no_other_answers() {
    let mut bench = Bench::new();
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.pass(Duration::from_secs(1), &[1, 2]);
    let look = bench.pass(Duration::from_secs(2), &[]);
    assert_eq!(look.ask, [1, 2]);
    assert_eq!(bench.used(), Some(2));
    assert_eq!(bench.table.poll_leave(), None);
    assert!(bench.table.out_of_reach_since(bench.now).is_some());
}

#[test]
fn silence_of_one_tunnel_has_the_others_asked() {
    let mut bench = Bench::new();
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.pass(Duration::from_secs(1), &[1, 2]);
    let look = bench.pass(2 * STEP, &[1]);
    assert!(look.silent && look.again_soon);
    assert_eq!(look.ask, [1, 2]);
}

#[test]
fn tunnel_closed_here_or_ended_is_not_used() {
    let mut bench = Bench::new();
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.table.on_closed(2);
    assert_eq!(bench.used(), Some(1));
    bench.counters[0].open = false;
    bench.table.take_in(&bench.counters);
    assert_eq!(bench.used(), None);
    assert_eq!(bench.table.remove(1, bench.now), Some(PathKind::RelayUdp));
    assert_eq!(bench.table.remove(1, bench.now), None);
}

#[test]
fn kind_of_path_that_is_dialled_counts_as_there() {
    let mut bench = Bench::new();
    let here = SocketAddr::from(([192, 0, 2, 1], 1));
    let dial = bench.table.dials.begin(PathKind::RelayUdp, here, bench.now);
    assert!(bench.table.has(PathKind::RelayTcp) && !bench.table.has(PathKind::Direct));
    assert!(bench.table.dials.end(dial.unwrap()).is_some());
    assert!(!bench.table.has(PathKind::RelayTcp));
}

#[test]
fn tunnel_is_known_by_the_address_that_its_peer_has_now() {
    let mut bench = Bench::new();
    bench.up(1, PathKind::Direct);
    let rebound = SocketAddr::from(([192, 0, 2, 1], 2000));
    assert!(!bench.table.reaches(rebound));
    bench.counters[0].remote = rebound;
    bench.table.take_in(&bench.counters);
    assert!(bench.table.reaches(rebound));
}

#[test]
fn tunnel_over_a_link_is_known_by_its_interface() {
    let on_interface = |scope| {
        let ip = "fe80::1".parse().unwrap();
        SocketAddr::from(std::net::SocketAddrV6::new(ip, 2000, 0, scope))
    };
    let mut bench = Bench::new();
    bench.up(1, PathKind::Direct);
    bench.counters[0].remote = on_interface(2);
    bench.table.take_in(&bench.counters);
    assert!(bench.table.reaches(on_interface(2)));
    assert!(!bench.table.reaches(on_interface(3)));
    assert!(!bench.table.answers_directly_but_at(Some(on_interface(2))));
}
