//! A direct path that carries less than the relay would, and what is told of the ways there are.

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
