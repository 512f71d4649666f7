//! A direct path that carries less than the relay would, and what is told of the ways there are.

use p2pdbg_proto::node::NodeNumber;

use super::*;

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
    assert_eq!(avoided(&tried), [starvation::TRIAL]);
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
    let by_tcp = Path {
        technique: Technique::TcpPunch,
        ..path(3)
    };
    bench.tell(Input::Nominated(by_tcp));
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
fn path_policy_without_a_relay_has_nothing_to_yield_to() {
    let mut bench = Bench::with_policy(Role::Connector, PathPolicy::Direct);
    bench.tell(Input::Nominated(path(2)));
    bench.up(2, PathKind::Direct);
    bench.streams(1);
    let outputs = pass_hungry(&mut bench, Duration::from_secs(20), 1000, &mut 0);
    assert!(avoided(&outputs).is_empty());
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
