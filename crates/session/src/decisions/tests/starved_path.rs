//! A direct path that carries less than the relay would, and what is told of the ways there are.

use p2pdbg_events::Via;
use p2pdbg_net::changes::Reason;
use p2pdbg_proto::node::NodeNumber;

use super::{super::starved_path::TRIAL, *};

/// What local programs want to send all the time, in bytes.
const HELD: u64 = 1 << 20;

/// A connector with a tunnel on the relay, 1, and the direct one that its stream uses, 2.
fn on_both() -> Bench {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.tell(Input::Nominated(path(2)));
    bench.up(2, PathKind::Direct);
    bench.streams(1);
    bench
}

/// Lets time pass while a stream wants to send more than it can: at each look so many bytes more were delivered, and of
/// the direct tunnel's packets a third was lost.
fn pass_hungry(bench: &mut Bench, time: Duration, bytes: u64, delivered: &mut u64) -> Vec<Output> {
    let end = bench.now + time;
    let mut outputs = Vec::new();
    while let Some(at) = bench.decisions.poll_timeout().filter(|at| *at <= end) {
        bench.now = bench.now.max(at);
        *delivered += bytes;
        bench.tell(Input::Flow(Flow {
            delivered: *delivered,
            held: HELD,
        }));
        for counters in &mut bench.counters {
            counters.sent += 30;
            counters.heard += 30;
            counters.packets_sent += 30;
            counters.packets_lost += if counters.epoch == 2 { 10 } else { 0 };
        }
        let counters = bench.counters.clone();
        outputs.extend(bench.tell(Input::Timeout(&counters)));
    }
    bench.now = end;
    outputs
}

/// For how long UDP is to be avoided, each time that it was said, here and to the peer.
fn avoided(outputs: &[Output]) -> Vec<Duration> {
    let here = outputs.iter().filter_map(|output| match output {
        Output::Path(PathCommand::AvoidUdp(time)) => Some(*time),
        _ => None,
    });
    let there = outputs.iter().filter_map(|output| match output {
        Output::AskForTcp(time) => Some(*time),
        _ => None,
    });
    let here: Vec<Duration> = here.collect();
    assert_eq!(here, there.collect::<Vec<_>>(), "both ends alike");
    here
}

fn uses(outputs: &[Output]) -> Vec<Option<u64>> {
    let uses = outputs.iter().filter_map(|output| match output {
        Output::Use(epoch) => Some(*epoch),
        _ => None,
    });
    uses.collect()
}

#[test]
fn streams_that_starve_on_the_direct_path_go_to_the_relay_and_back_after_a_while() {
    let (mut bench, mut delivered) = (on_both(), 0);
    let tried = pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    assert_eq!(avoided(&tried), [TRIAL]);
    assert_eq!(uses(&tried), [Some(1)]);
    let why = &path_reports(&tried)[0].why;
    assert!(why.contains("loses 33 %"), "{why}");
    // It carries a hundred times as much.
    let kept = pass_hungry(&mut bench, Duration::from_secs(10), 100_000, &mut delivered);
    assert_eq!(avoided(&kept), [Duration::from_secs(60)]);
    assert!(
        path_reports(&kept)[0]
            .why
            .contains("which is tried again in 60 s")
    );
    let back = pass_hungry(&mut bench, Duration::from_secs(54), 100_000, &mut delivered);
    assert_eq!(avoided(&back), [Duration::ZERO]);
    assert_eq!(uses(&back), [Some(2)]);
}

#[test]
fn direct_path_by_tcp_takes_the_relays_place_as_soon_as_its_tunnel_is_up() {
    let (mut bench, mut delivered) = (on_both(), 0);
    pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    assert_eq!(bench.decisions.used(), Some(1), "the relay is tried");
    bench.tell(Input::Nominated(by_tcp(3)));
    let before = pass_hungry(
        &mut bench,
        Duration::from_millis(500),
        100_000,
        &mut delivered,
    );
    assert!(avoided(&before).is_empty(), "no tunnel there yet");
    bench.up(3, PathKind::Direct);
    let moved = pass_hungry(&mut bench, Duration::from_secs(2), 100_000, &mut delivered);
    assert_eq!(avoided(&moved), [Duration::from_secs(60)]);
    assert_eq!(bench.decisions.used(), Some(3));
    // UDP again: it is judged as before.
    bench.tell(Input::Nominated(path(4)));
    bench.up(4, PathKind::Direct);
    pass_hungry(&mut bench, Duration::from_secs(1), 1000, &mut delivered);
    assert_eq!(bench.decisions.used(), Some(4));
}

#[test]
fn relay_that_carries_no_more_is_left_and_not_tried_again_at_once() {
    let (mut bench, mut delivered) = (on_both(), 0);
    pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    let left = pass_hungry(&mut bench, Duration::from_secs(20), 1000, &mut delivered);
    assert_eq!(avoided(&left), [Duration::ZERO]);
    assert_eq!(uses(&left), [Some(2)]);
    let later = pass_hungry(&mut bench, Duration::from_secs(30), 1000, &mut delivered);
    assert!(avoided(&later).is_empty());
}

#[test]
fn another_network_takes_streams_back_from_a_relay_that_was_tried() {
    let (mut bench, mut delivered) = (on_both(), 0);
    pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    assert_eq!(bench.decisions.used(), Some(1));
    let changed = bench.tell(Input::NetworkChanged { woke: true });
    assert_eq!(avoided(&changed), [Duration::ZERO]);
    assert_eq!(bench.decisions.used(), Some(2));
}

#[test]
fn networks_of_containers_leave_streams_where_they_are() {
    let (mut bench, mut delivered) = (on_both(), 0);
    pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    assert_eq!(bench.decisions.used(), Some(1));
    for _ in 0..10 {
        let changed = bench.tell(Reason::Nearby.into());
        assert!(avoided(&changed).is_empty());
        pass_hungry(&mut bench, Duration::from_secs(1), 100_000, &mut delivered);
        assert_eq!(bench.decisions.used(), Some(1));
    }
}

/// A session of either role that may only go direct, on a path over UDP.
fn on_direct_alone(role: Role) -> Bench {
    let mut bench = Bench::with_policy(role, PathPolicy::Direct);
    bench.tell(Input::Nominated(path(2)));
    bench.up(2, PathKind::Direct);
    bench.streams(1);
    bench
}

fn by_tcp(epoch: u64) -> Path {
    Path {
        technique: Technique::TcpPunch,
        ..path(epoch)
    }
}

#[test]
fn policed_direct_path_without_a_relay_is_kept_and_a_direct_path_by_tcp_is_sought_at_either_end() {
    for role in [Role::Connector, Role::Listener] {
        let (mut bench, mut delivered) = (on_direct_alone(role), 0);
        let sought = pass_hungry(&mut bench, Duration::from_secs(20), 1000, &mut delivered);
        assert_eq!(avoided(&sought), [Duration::from_secs(120)]);
        assert!(uses(&sought).is_empty());
        let why = &path_reports(&sought)[0].why;
        assert!(why.contains("a direct path by TCP is looked for"), "{why}");
        bench.tell(Input::Nominated(by_tcp(3)));
        bench.up(3, PathKind::Direct);
        let moved = pass_hungry(&mut bench, Duration::from_secs(2), 100_000, &mut delivered);
        assert_eq!(avoided(&moved), [Duration::from_secs(60)]);
        assert_eq!(bench.decisions.used(), Some(3));
    }
}

#[test]
fn direct_path_by_tcp_that_is_not_found_is_sought_less_and_less_often() {
    let (mut bench, mut delivered) = (on_direct_alone(Role::Connector), 0);
    let mut sought = |minutes: u64| {
        let outputs = pass_hungry(
            &mut bench,
            Duration::from_secs(60 * minutes),
            1000,
            &mut delivered,
        );
        avoided(&outputs).len()
    };
    assert_eq!(sought(10), 3);
    assert_eq!(sought(60), 6);
}

/// The tunnel in use goes silent, as if it were policed, until `heard` says what is heard again.
fn silence(bench: &mut Bench, held: u64, delivered: u64) -> Vec<Output> {
    let used = bench.decisions.used().unwrap();
    bench.heard.retain(|epoch| *epoch != used);
    bench.tell(Input::Flow(Flow { delivered, held }));
    let outputs = bench.pass(Duration::from_millis(1500));
    bench.heard.push(used);
    outputs
}

#[test]
fn direct_path_that_goes_silent_under_load_twice_yields_as_one_that_was_measured() {
    let (mut bench, mut delivered) = (on_both(), 0);
    // It carries next to nothing, and is left before a second has passed.
    pass_hungry(&mut bench, Duration::from_secs(1), 1000, &mut delivered);
    let once = silence(&mut bench, HELD, delivered);
    assert_eq!(bench.decisions.used(), Some(1));
    assert!(avoided(&once).is_empty(), "a NAT may have forgotten");
    pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    assert_eq!(bench.decisions.used(), Some(2), "it is heard again");
    let twice = silence(&mut bench, HELD, delivered);
    assert_eq!(avoided(&twice), [TRIAL]);
    let kept = pass_hungry(&mut bench, Duration::from_secs(10), 100_000, &mut delivered);
    assert_eq!(avoided(&kept), [Duration::from_secs(60)]);
    assert_eq!(bench.decisions.used(), Some(1), "though it is heard");
    // Found meanwhile.
    bench.tell(Input::Nominated(by_tcp(3)));
    bench.up(3, PathKind::Direct);
    pass_hungry(&mut bench, Duration::from_secs(2), 100_000, &mut delivered);
    assert_eq!(bench.decisions.used(), Some(3));
}

#[test]
fn direct_path_that_is_cut_off_each_time_it_is_used_yields_though_little_is_sent() {
    let mut bench = on_both();
    silence(&mut bench, 100, 0);
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.decisions.used(), Some(2));
    let twice = silence(&mut bench, 100, 0);
    assert_eq!(avoided(&twice)[0], TRIAL);
    assert_eq!(bench.decisions.used(), Some(1));
}

#[test]
fn direct_path_that_goes_silent_once_in_a_minute_or_with_all_else_is_found_again_as_it_was() {
    let mut bench = on_both();
    for _ in 0..4 {
        assert!(avoided(&silence(&mut bench, 100, 0)).is_empty());
        assert!(avoided(&bench.pass(Duration::from_secs(58))).is_empty());
        assert_eq!(bench.decisions.used(), Some(2));
    }
    let mut bench = on_both();
    for _ in 0..4 {
        bench.heard.clear();
        bench.tell(Input::Flow(Flow {
            delivered: 0,
            held: 100,
        }));
        assert!(avoided(&bench.pass(Duration::from_secs(3))).is_empty());
        bench.heard = vec![1, 2];
        assert!(avoided(&bench.pass(Duration::from_secs(8))).is_empty());
    }
}

/// Lets time pass in which the tunnel in use sends all the time, and others when they are asked.
fn pass_on_one(bench: &mut Bench, used: u64, time: Duration) -> Vec<Output> {
    let end = bench.now + time;
    let mut outputs = Vec::new();
    while let Some(at) = bench.decisions.poll_timeout().filter(|at| *at <= end) {
        bench.now = bench.now.max(at);
        for counters in bench.counters.iter_mut().filter(|c| c.epoch == used) {
            counters.sent += 1;
            counters.heard += u64::from(bench.heard.contains(&used));
        }
        let counters = bench.counters.clone();
        outputs.extend(bench.tell(Input::Timeout(&counters)));
    }
    bench.now = end;
    outputs
}

#[test]
fn outages_in_which_an_idle_relay_is_silent_too_say_nothing_of_udp() {
    let mut bench = on_both();
    for _ in 0..4 {
        bench.heard.clear();
        bench.tell(Input::Flow(Flow {
            delivered: 0,
            held: 100,
        }));
        assert!(avoided(&pass_on_one(&mut bench, 2, Duration::from_secs(5))).is_empty());
        bench.heard = vec![1, 2];
        assert!(avoided(&pass_on_one(&mut bench, 2, Duration::from_secs(5))).is_empty());
    }
}

#[test]
fn silent_path_without_a_relay_has_tcp_sought_and_a_new_tunnel_says_so_again() {
    let mut bench = on_direct_alone(Role::Listener);
    assert!(avoided(&silence(&mut bench, 100, 0)).is_empty());
    bench.pass(Duration::from_secs(6));
    let twice = silence(&mut bench, 100, 0);
    assert_eq!(avoided(&twice), [Duration::from_secs(120)]);
    bench.heard.clear();
    // What was said went with the tunnel.
    let why = TunnelEnd::Lost("timed out");
    bench.tell(Input::TunnelEnded { epoch: 2, why });
    assert!(asked_on(&mut bench, 3).is_some_and(|time| !time.is_zero()));
    bench.pass(Duration::from_secs(120));
    assert_eq!(asked_on(&mut bench, 4), Some(Duration::ZERO));
}

/// For how long the peer is asked to avoid UDP when a direct tunnel of this epoch comes up.
fn asked_on(bench: &mut Bench, epoch: u64) -> Option<Duration> {
    let outputs = bench.up(epoch, PathKind::Direct);
    outputs.iter().find_map(|output| match output {
        Output::AskForTcp(time) => Some(*time),
        _ => None,
    })
}

#[test]
fn peer_hears_on_the_next_tunnel_that_udp_may_be_used_again_if_there_was_none_to_say_it_on() {
    let mut never = Bench::new(Role::Connector);
    assert_eq!(asked_on(&mut never, 1), None);
    let (mut bench, mut delivered) = (on_both(), 0);
    pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    // The host sleeps, and wakes in another network: all tunnels are dead.
    for epoch in [1, 2] {
        let why = TunnelEnd::Lost("timed out");
        bench.tell(Input::TunnelEnded { epoch, why });
    }
    bench.tell(Input::NetworkChanged { woke: true });
    assert_eq!(asked_on(&mut bench, 4), Some(Duration::ZERO));
}

#[test]
fn outages_where_no_relay_is_allowed_are_no_fault_of_udp_whatever_waits_to_be_sent() {
    // Until the tunnel is trusted again, each time longer.
    let trusted = Duration::from_secs(30);
    for held in [100, HELD] {
        let mut bench = on_direct_alone(Role::Connector);
        silence(&mut bench, held, 0);
        bench.pass(trusted);
        for _ in 0..2 {
            // TCP may show that it passes as long as UDP does not.
            let outage = silence(&mut bench, held, 0);
            assert_eq!(avoided(&outage), [Duration::from_secs(120)]);
            assert_eq!(avoided(&bench.pass(trusted)), [Duration::ZERO]);
            assert_eq!(bench.decisions.used(), Some(2));
        }
        silence(&mut bench, held, 0);
        bench.heard.clear();
        let lost = bench.tell(Input::DirectLost(LossReason::ConsentExpired));
        assert_eq!(avoided(&lost), [Duration::ZERO]);
    }
}

#[test]
fn tcp_that_gets_through_while_udp_is_silent_is_kept_and_not_where_udp_answers_by_then() {
    for (udp_answers, kept) in [(false, Duration::from_secs(60)), (true, Duration::ZERO)] {
        let mut bench = on_direct_alone(Role::Connector);
        silence(&mut bench, HELD, 0);
        bench.pass(Duration::from_secs(6));
        silence(&mut bench, HELD, 0);
        bench.heard = if udp_answers { vec![2, 3] } else { vec![3] };
        bench.tell(Input::Nominated(by_tcp(3)));
        let mut outputs = bench.up(3, PathKind::Direct);
        outputs.extend(bench.pass(Duration::from_secs(1)));
        let mut avoided = outputs.iter().filter_map(|output| match output {
            Output::Path(PathCommand::AvoidUdp(time)) => Some(*time),
            _ => None,
        });
        assert_eq!(avoided.next_back(), Some(kept), "{udp_answers}");
    }
}

#[test]
fn relay_that_is_policed_over_udp_is_gone_by_tcp_and_udp_is_tried_again() {
    for policy in [PathPolicy::Any, PathPolicy::Relay] {
        let (mut bench, mut delivered) = (Bench::with_policy(Role::Listener, policy), 0);
        bench.tell(relay());
        bench.up(2, PathKind::RelayUdp);
        bench.streams(1);
        let tried = pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
        assert_eq!(avoided(&tried), [TRIAL]);
        let by_tcp = path_reports(&bench.tell(relay_by_tcp()));
        assert_eq!(by_tcp[0].via, Via::Tcp);
        let why = &by_tcp[0].why;
        assert!(
            why.contains("over UDP carries") && !why.contains("allow"),
            "{why}"
        );
        let kept = pass_hungry(&mut bench, Duration::from_secs(10), 100_000, &mut delivered);
        assert_eq!(avoided(&kept), [Duration::from_secs(60)]);
        let why = path_reports(&kept)[0].why.clone();
        assert!(why.contains("TCP carries"), "{why}");
        let back = pass_hungry(&mut bench, Duration::from_secs(54), 100_000, &mut delivered);
        assert_eq!(avoided(&back), [Duration::ZERO]);
    }
}

#[test]
fn relay_that_carries_no_more_over_tcp_goes_back_to_udp() {
    let (mut bench, mut delivered) = (Bench::with_policy(Role::Connector, PathPolicy::Relay), 0);
    bench.up(2, PathKind::RelayUdp);
    bench.streams(1);
    let outputs = pass_hungry(&mut bench, Duration::from_secs(25), 1000, &mut delivered);
    assert_eq!(avoided(&outputs), [TRIAL, Duration::ZERO]);
    let later = pass_hungry(&mut bench, Duration::from_secs(30), 1000, &mut delivered);
    assert!(avoided(&later).is_empty());
}

#[test]
fn peer_that_asks_for_tcp_again_and_again_is_heard_four_times_and_then_once_in_20_s() {
    let mut bench = Bench::new(Role::Connector);
    let mut begun = 0;
    let wish = |bench: &mut Bench, seconds| {
        let asked = Input::AskedForTcp(Duration::from_secs(seconds));
        has(&bench.tell(asked), |o| {
            matches!(o, Output::AvoidUdpForPeer(_))
        })
    };
    for _ in 0..600 {
        begun += usize::from(wish(&mut bench, 600));
        assert!(wish(&mut bench, 0), "what is taken back costs nothing");
        bench.pass(Duration::from_millis(200));
    }
    assert!((9..=10).contains(&begun), "{begun} in two minutes");
    bench.pass(Duration::from_secs(100));
    assert!(wish(&mut bench, 30) && wish(&mut bench, 60), "longer");
}

/// A connector with a tunnel by its home's relay, 1, and one by a nearer relay, 2, that its stream uses.
fn on_near_relay() -> Bench {
    let mut bench = Bench::with_policy(Role::Connector, PathPolicy::Relay);
    bench.up(1, PathKind::RelayUdp);
    bench.tell(Input::NearAt(Some(near())));
    bench.up(2, PathKind::RelayUdp);
    bench.streams(1);
    assert_eq!(bench.decisions.used(), Some(2));
    bench
}

fn near() -> Near {
    Near {
        address: peer(2),
        node: NodeNumber::MIN,
    }
}

fn leaves_near(outputs: &[Output]) -> bool {
    outputs
        .iter()
        .any(|output| matches!(output, Output::NearLost))
}

#[test]
fn nearer_relay_that_answers_and_drops_bulk_is_left_for_the_homes() {
    let (mut bench, mut delivered) = (on_near_relay(), 0);
    let tried = pass_hungry(&mut bench, Duration::from_secs(5), 0, &mut delivered);
    assert_eq!(uses(&tried), [Some(1)]);
    assert!(!leaves_near(&tried) && avoided(&tried).is_empty());
    let left = pass_hungry(&mut bench, Duration::from_secs(10), 100_000, &mut delivered);
    assert!(leaves_near(&left));
    let closed = bench.tell(Input::NearAt(None));
    assert!(matches!(closed[..], [Output::Close { epoch: 2, .. }, ..]));
    assert_eq!(bench.decisions.used(), Some(1));
}

#[test]
fn nearer_relay_is_kept_if_the_homes_carries_no_more_or_nothing_is_lost_there() {
    let (mut bench, mut delivered) = (on_near_relay(), 0);
    let tried = pass_hungry(&mut bench, Duration::from_secs(30), 1000, &mut delivered);
    assert_eq!(uses(&tried), [Some(1), Some(2)]);
    assert!(!leaves_near(&tried));
    let mut bench = on_near_relay();
    bench.decisions.handle(bench.now, Input::NearAt(None));
    let near = Near {
        address: peer(1),
        ..near()
    };
    bench.tell(Input::NearAt(Some(near)));
    let calm = pass_hungry(&mut bench, Duration::from_secs(30), 1000, &mut delivered);
    assert!(!leaves_near(&calm) && bench.decisions.used() == Some(1));
}

#[test]
fn direct_path_that_comes_up_ends_a_trial_of_the_homes_relay() {
    let (mut bench, mut delivered) = (on_near_relay(), 0);
    pass_hungry(&mut bench, Duration::from_secs(5), 1000, &mut delivered);
    assert_eq!(bench.decisions.used(), Some(1));
    bench.tell(Input::Nominated(path(3)));
    bench.up(3, PathKind::Direct);
    pass_hungry(&mut bench, Duration::from_secs(1), 1000, &mut delivered);
    bench.tell(Input::DirectLost(LossReason::ConsentExpired));
    let why = TunnelEnd::Replaced;
    let lost = bench.tell(Input::TunnelEnded { epoch: 3, why });
    assert!(!leaves_near(&lost) && bench.decisions.used() == Some(2));
}

#[test]
fn nearer_relay_is_left_when_the_peer_has_left_it_and_not_when_its_tunnel_was_replaced() {
    let mut bench = on_near_relay();
    let mut facts = facts(3, PathKind::RelayUdp);
    facts.remote = peer(2);
    bench.heard.push(3);
    bench.tell(Input::TunnelUp(facts));
    let why = TunnelEnd::Replaced;
    let older = bench.tell(Input::TunnelEnded { epoch: 2, why });
    assert!(!leaves_near(&older), "its ticket was renewed");
    let left = bench.tell(Input::TunnelEnded { epoch: 3, why });
    assert!(leaves_near(&left));
    let home = bench.tell(Input::TunnelEnded { epoch: 1, why });
    assert!(!leaves_near(&home));
}

#[test]
fn nearer_relay_that_comes_and_goes_is_left_and_one_that_was_away_once_is_not() {
    let mut bench = on_near_relay();
    let away = |bench: &mut Bench| {
        bench.heard.retain(|epoch| *epoch != 2);
        let outputs = bench.pass(Duration::from_secs(5));
        bench.heard.push(2);
        outputs
    };
    assert!(!leaves_near(&away(&mut bench)));
    assert_eq!(bench.decisions.used(), Some(1));
    assert!(!leaves_near(&bench.pass(Duration::from_secs(70))));
    assert_eq!(bench.decisions.used(), Some(2));
    assert!(
        !leaves_near(&away(&mut bench)),
        "it lasted for more than a minute"
    );
    assert!(!leaves_near(&bench.pass(Duration::from_secs(20))));
    assert!(leaves_near(&away(&mut bench)));
}

#[test]
fn loss_of_the_direct_path_is_told_with_what_it_was_seen_by() {
    for (reason, words) in [
        (LossReason::ConsentExpired, "has gone silent"),
        (
            LossReason::TunnelLost,
            "the tunnel on the direct path was lost",
        ),
        (
            LossReason::SocketFailed,
            "the socket of the direct path failed",
        ),
        (
            LossReason::Disconnected,
            "the direct path's TCP connection has ended",
        ),
    ] {
        let mut bench = on_both();
        bench.tell(Input::DirectLost(reason));
        let why = TunnelEnd::Lost("closed here");
        let reports = path_reports(&bench.tell(Input::TunnelEnded { epoch: 2, why }));
        assert_eq!(reports.len(), 1, "{reason:?}");
        assert!(reports[0].why.contains(words), "{}", reports[0].why);
        assert_eq!(bench.decisions.used(), Some(1));
    }
}

#[test]
fn slower_way_beside_the_direct_path_is_told_with_it() {
    let mut bench = on_both();
    let slower = bench.tell(Input::Unused {
        technique: Technique::Vpn,
        rtt: Duration::from_millis(80),
    });
    let why = &path_reports(&slower)[0].why;
    let expected = format!("{}; 80 ms {} not used", Technique::Lan, Technique::Vpn);
    assert_eq!(why, &expected);
    let unused = |technique, ms| Input::Unused {
        technique,
        rtt: Duration::from_millis(ms),
    };
    let again = bench.tell(unused(Technique::Vpn, 60));
    assert!(path_reports(&again).is_empty(), "the figure alone");
    let another = bench.tell(unused(Technique::Ipv6, 60));
    assert_eq!(path_reports(&another).len(), 1);
}

#[test]
fn obstacle_is_told_to_whoever_is_on_the_relay_and_a_passing_one_is_not() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    let passing = bench.tell(Input::Obstacle(Obstacle::Gathering));
    assert!(path_reports(&passing).is_empty());
    let lasting = bench.tell(Input::Obstacle(Obstacle::BothSymmetric));
    let why = path_reports(&lasting)[0].why.clone();
    let again = bench.tell(Input::Obstacle(Obstacle::BothSymmetric));
    assert!(path_reports(&again).is_empty(), "it was told: {why}");
}
