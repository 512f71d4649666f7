//! The decisions as a whole, told what happens and asked what they want.

use std::{net::SocketAddr, sync::Arc};

use p2pdbg_path::LegTransport;
use p2pdbg_punch::{Obstacle, Path, SocketId, Technique};

use super::{
    looking::QUICK_LOOK,
    relay_uncarried::{BY_TCP, UNCARRIED},
    *,
};

mod properties;
mod starved_path;

const RTT: Duration = Duration::from_millis(20);

/// The nominated path is seen to work, and was not away.
const ANSWERS: Input<'_> = Input::PathAnswers { after: RTT };

struct Bench {
    decisions: Decisions,
    now: Instant,
    counters: Vec<Counters>,
    /// The tunnels that hear something whenever they send.
    heard: Vec<u64>,
}

impl Bench {
    fn new(role: Role) -> Self {
        Self::with_policy(role, PathPolicy::Any)
    }

    fn with_policy(role: Role, path_policy: PathPolicy) -> Self {
        let now = Instant::now();
        let settings = Settings {
            role,
            path_policy,
            policy: Arc::new(SessionPolicy {
                resume_for: Duration::from_secs(30),
                ..SessionPolicy::default()
            }),
            started: now,
        };
        Self {
            decisions: Decisions::new(settings, now),
            now,
            counters: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn tell(&mut self, input: Input<'_>) -> Vec<Output> {
        self.decisions.handle(self.now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| self.decisions.poll_output()).collect();
        for output in &outputs {
            match output {
                Output::Adopt(epoch) => self.counters.push(Counters {
                    epoch: *epoch,
                    open: true,
                    heard: 1,
                    sent: 1,
                    packets_sent: 1,
                    packets_lost: 0,
                    remote: peer(*epoch),
                    rtt: RTT,
                }),
                Output::Close { epoch, .. } | Output::Lost(epoch) => {
                    self.counters.retain(|counters| counters.epoch != *epoch);
                }
                Output::Ping { epoch, .. } => {
                    for counters in self.counters.iter_mut().filter(|c| c.epoch == *epoch) {
                        counters.sent += 1;
                        counters.heard += u64::from(self.heard.contains(epoch));
                    }
                }
                _ => {}
            }
        }
        outputs
    }

    fn up(&mut self, epoch: u64, path: PathKind) -> Vec<Output> {
        self.heard.push(epoch);
        self.tell(Input::TunnelUp(facts(epoch, path)))
    }

    fn streams(&mut self, live: usize) -> Vec<Output> {
        self.tell(Input::Streams {
            live,
            delivered: live == 0,
        })
    }

    /// Lets time pass; each tunnel sends all the time.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.decisions.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            for counters in &mut self.counters {
                counters.sent += 1;
                counters.heard += u64::from(self.heard.contains(&counters.epoch));
            }
            let counters = self.counters.clone();
            outputs.extend(self.tell(Input::Timeout(&counters)));
        }
        self.now = end;
        outputs
    }
}

/// As [`Bench::pass`], where nothing is sent but what the decisions ask for.
fn pass_quietly(bench: &mut Bench, time: Duration) -> Vec<Output> {
    let end = bench.now + time;
    let mut outputs = Vec::new();
    while let Some(at) = bench.decisions.poll_timeout().filter(|at| *at <= end) {
        bench.now = bench.now.max(at);
        let counters = bench.counters.clone();
        outputs.extend(bench.tell(Input::Timeout(&counters)));
    }
    bench.now = end;
    outputs
}

fn peer(epoch: u64) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1000 + u16::try_from(epoch).unwrap()))
}

fn facts(epoch: u64, path: PathKind) -> TunnelFacts {
    TunnelFacts {
        epoch,
        path,
        local: None,
        remote: peer(epoch),
        rtt: RTT,
    }
}

fn path(epoch: u64) -> Path {
    Path {
        socket: SocketId::V4,
        remote: peer(epoch),
        technique: Technique::Lan,
        rtt: RTT,
        after: Duration::ZERO,
    }
}

fn relay() -> Input<'static> {
    Input::Relay {
        socket: SocketId::V4,
        remote: peer(0),
        transport: LegTransport::Udp,
    }
}

fn dials(outputs: &[Output]) -> Vec<PathKind> {
    let dials = outputs.iter().filter_map(|output| match output {
        Output::Dial { path, .. } => Some(*path),
        _ => None,
    });
    dials.collect()
}

/// The number of the last dial.
fn dialled(outputs: &[Output]) -> u64 {
    let mut numbers = outputs.iter().filter_map(|output| match output {
        Output::Dial { number, .. } => Some(*number),
        _ => None,
    });
    numbers.next_back().unwrap()
}

fn has(outputs: &[Output], wanted: impl Fn(&Output) -> bool) -> bool {
    outputs.iter().any(wanted)
}

fn path_reports(outputs: &[Output]) -> Vec<PathReport> {
    let reports = outputs.iter().filter_map(|output| match output {
        Output::Report(Report::Path(report)) => Some(report.clone()),
        _ => None,
    });
    reports.collect()
}

#[test]
fn connector_dials_the_relay_and_again_a_second_after_it_failed() {
    let mut bench = Bench::new(Role::Connector);
    let dial = bench.tell(relay());
    assert_eq!(dials(&dial), [PathKind::RelayUdp]);
    assert!(dials(&bench.tell(relay())).is_empty(), "it dials already");
    bench.tell(Input::DialFailed(dialled(&dial)));
    let rebind = |output: &Output| matches!(output, Output::Path(PathCommand::RelayLost));
    assert!(!has(&bench.pass(REDIAL / 2), rebind));
    assert!(has(&bench.pass(REDIAL), rebind));
    assert_eq!(dials(&bench.tell(relay())), [PathKind::RelayUdp]);
}

#[test]
fn relay_that_is_bound_anew_is_dialled_anew_unless_the_last_dial_has_just_begun() {
    let mut bench = Bench::new(Role::Connector);
    assert_eq!(dials(&bench.tell(relay())), [PathKind::RelayUdp]);
    // However often the legs are bound, here and there, within a second.
    for _ in 0..9 {
        bench.pass(Duration::from_millis(100));
        assert!(dials(&bench.tell(relay())).is_empty());
    }
    bench.pass(Duration::from_millis(100));
    assert_eq!(dials(&bench.tell(relay())), [PathKind::RelayUdp]);
    bench.up(1, PathKind::RelayUdp);
    bench.pass(Duration::from_secs(2));
    assert!(dials(&bench.tell(relay())).is_empty());
}

#[test]
fn connector_waits_for_the_first_call_and_dials_when_it_does_not_come() {
    let mut bench = Bench::new(Role::Connector);
    bench.tell(Input::CallExpected);
    assert!(dials(&bench.tell(relay())).is_empty());
    assert!(dials(&bench.pass(Duration::from_millis(499))).is_empty());
    let dialled = dials(&bench.pass(Duration::from_millis(2)));
    assert_eq!(dialled, [PathKind::RelayUdp]);
}

#[test]
fn connector_that_was_called_in_time_does_not_dial() {
    let mut bench = Bench::new(Role::Connector);
    bench.tell(Input::CallExpected);
    bench.tell(relay());
    bench.tell(Input::CallUp {
        socket: SocketId::V4,
        remote: peer(0),
        tunnel: facts(1, PathKind::RelayUdp),
    });
    bench.heard.push(1);
    assert!(dials(&bench.pass(Duration::from_secs(5))).is_empty());
    assert_eq!(bench.decisions.used(), Some(1));
}

#[test]
fn listener_never_dials_and_calls_where_it_is_heard() {
    let mut bench = Bench::new(Role::Listener);
    assert!(dials(&bench.tell(relay())).is_empty());
    let heard = Input::Heard {
        socket: SocketId::V4,
        remote: peer(1),
    };
    let call = |output: &Output| matches!(output, Output::Call { .. });
    assert!(has(&bench.tell(heard), call));
    assert!(!has(&bench.tell(heard), call), "one at a time");
    bench.tell(Input::CallFailed);
    assert!(has(&bench.tell(heard), call));
    let accepts = bench.tell(Input::Nominated(path(1)));
    assert!(has(&accepts, |o| matches!(o, Output::Accept(_))));
}

#[test]
fn tunnel_that_was_up_before_its_path_was_nominated_is_told_to_the_paths_again() {
    let mut bench = Bench::new(Role::Listener);
    let told = |outputs: &[Output]| {
        has(outputs, |o| {
            matches!(o, Output::Path(PathCommand::DirectUp))
        })
    };
    bench.up(1, PathKind::Direct);
    assert!(told(&bench.tell(Input::Nominated(path(1)))));
    assert!(
        !told(&bench.tell(Input::Nominated(path(2)))),
        "no tunnel there"
    );
}

#[test]
fn call_on_a_path_that_is_never_nominated_is_closed() {
    let mut bench = Bench::new(Role::Listener);
    bench.tell(Input::CallUp {
        socket: SocketId::V4,
        remote: peer(1),
        tunnel: facts(1, PathKind::Direct),
    });
    assert_eq!(bench.decisions.used(), None);
    let closed = |output: &Output| matches!(output, Output::Close { epoch: 1, .. });
    assert!(has(&bench.pass(Duration::from_secs(6)), closed));
}

#[test]
fn direct_tunnel_is_used_reported_and_the_relay_stays() {
    let mut bench = Bench::new(Role::Connector);
    let relayed = path_reports(&bench.up(1, PathKind::RelayUdp));
    assert_eq!(relayed.len(), 1);
    assert!(matches!(
        bench.decisions.activity(),
        Activity::Connected { searching: true }
    ));
    assert_eq!(
        dials(&bench.tell(Input::Nominated(path(2)))),
        [PathKind::Direct]
    );
    let outputs = bench.up(2, PathKind::Direct);
    assert!(has(&outputs, |o| matches!(o, Output::Use(Some(2)))));
    assert_eq!(path_reports(&outputs)[0].why, Technique::Lan.to_string());
    let later = bench.pass(Duration::from_secs(60));
    assert!(!has(&later, |o| matches!(o, Output::Close { .. })));
}

#[test]
fn newer_tunnel_of_the_same_kind_retires_the_older_after_five_seconds() {
    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::RelayTcp);
    let closed = |output: &Output| matches!(output, Output::Close { epoch: 1, .. });
    assert!(!has(&bench.pass(Duration::from_secs(4)), closed));
    assert!(has(&bench.pass(Duration::from_secs(2)), closed));
}

#[test]
fn silent_direct_path_is_left_for_the_relay_within_a_second_and_a_half() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.streams(1);
    bench.pass(Duration::from_secs(2));
    bench.heard = vec![1];
    let outputs = bench.pass(Duration::from_millis(1500));
    let silent = |output: &Output| matches!(output, Output::Path(PathCommand::Silent));
    assert!(has(&outputs, silent));
    let singly = |output: &Output| matches!(output, Output::Path(PathCommand::SendSingly));
    assert!(has(&outputs, singly));
    assert!(has(&outputs, |o| matches!(o, Output::Doubt)));
    assert!(has(&outputs, |o| matches!(o, Output::Use(Some(1)))));
    assert!(has(&outputs, |o| matches!(o, Output::Leave(2))));
    let reports = path_reports(&outputs);
    assert_eq!(reports[0].why, "the direct path has gone silent");
    let lost = |output: &Output| matches!(output, Output::Report(Report::PeerLost { .. }));
    assert!(!has(&outputs, lost));
}

#[test]
fn peer_that_is_not_heard_is_lost_then_back_with_the_gap() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.streams(2);
    bench.pass(Duration::from_secs(1));
    bench.heard.clear();
    let outputs = bench.pass(Duration::from_secs(4));
    let lost = |o: &Output| matches!(o, Output::Report(Report::PeerLost { streams: 2 }));
    assert_eq!(outputs.iter().filter(|output| lost(output)).count(), 1);
    assert!(matches!(
        bench.decisions.activity(),
        Activity::Resuming { .. }
    ));
    bench.heard = vec![1];
    let outputs = bench.pass(Duration::from_secs(1));
    let back = |o: &Output| matches!(o, Output::Report(Report::Resumed { gap_ms, streams: 2 }) if *gap_ms > 2000);
    assert!(has(&outputs, back));
    let again = |output: &Output| matches!(output, Output::Path(PathCommand::Returned));
    assert!(has(&outputs, again));
    assert!(bench.decisions.lost_since().is_none());
}

#[test]
fn peer_that_is_asked_something_and_is_away_is_lost_within_seconds_without_streams() {
    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    pass_quietly(&mut bench, Duration::from_secs(40));
    bench.heard.clear();
    // The peer said this after the last look, and went.
    bench
        .counters
        .iter_mut()
        .for_each(|counters| counters.heard += 5);
    bench.tell(Input::Asked);
    pass_quietly(&mut bench, Duration::from_secs(5));
    assert!(bench.decisions.lost_since().is_some());
}

#[test]
fn session_ends_when_the_peer_is_lost_for_longer_than_streams_are_held() {
    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::RelayUdp);
    bench.streams(1);
    bench.pass(Duration::from_secs(1));
    let why = TunnelEnd::Lost("timed out");
    let outputs = bench.tell(Input::TunnelEnded { epoch: 1, why });
    assert!(has(&outputs, |o| matches!(o, Output::Lost(1))));
    assert!(has(&outputs, |o| matches!(o, Output::Use(None))));
    let gone = |output: &Output| matches!(output, Output::Over(SessionEnd::PeerGone));
    assert!(!has(&bench.pass(Duration::from_secs(29)), gone));
    assert!(has(&bench.pass(Duration::from_secs(2)), gone));
    assert_eq!(bench.decisions.poll_timeout(), None);
    assert!(
        bench.up(2, PathKind::RelayUdp).is_empty(),
        "nothing follows"
    );
}

/// A connector whose streams are relayed, and which is not heard from now on.
fn relayed_and_unheard() -> Bench {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.streams(1);
    bench.pass(Duration::from_secs(2));
    bench.heard.clear();
    bench
}

#[test]
fn time_in_which_the_process_was_stopped_is_not_held_against_the_peer() {
    let mut bench = relayed_and_unheard();
    bench.pass(Duration::from_millis(400));
    // Stopped for a minute; what comes after is the answer to nothing yet.
    bench.now += Duration::from_secs(60);
    let outputs = bench.pass(Duration::from_millis(700));
    assert!(!has(&outputs, |o| matches!(o, Output::Report(_))));
    assert!(bench.decisions.lost_since().is_none());
}

#[test]
fn stop_after_which_something_else_than_the_timeout_is_read_first_is_not_held_against_the_peer() {
    let inputs = [
        Input::Asked,
        Input::NetworkChanged { woke: false },
        Input::Streams {
            live: 2,
            delivered: false,
        },
        Input::Rejected,
    ];
    for input in inputs {
        let mut bench = relayed_and_unheard();
        bench.pass(Duration::from_millis(400));
        bench.now += Duration::from_secs(60);
        let mut outputs = bench.tell(input);
        outputs.extend(bench.pass(Duration::from_millis(700)));
        let told = has(&outputs, |o| matches!(o, Output::Report(_)));
        assert!(!told && !bench.decisions.is_out_of_reach(), "{input:?}");
    }
}

#[test]
fn stop_is_no_part_of_the_time_after_which_a_silent_peer_is_told_as_lost() {
    let mut bench = relayed_and_unheard();
    bench.pass(Duration::from_millis(1300));
    assert!(bench.decisions.is_out_of_reach());
    bench.now += Duration::from_secs(60);
    let lost = |o: &Output| matches!(o, Output::Report(Report::PeerLost { .. }));
    assert!(!has(&bench.pass(Duration::from_millis(400)), lost));
    assert!(has(&bench.pass(Duration::from_secs(1)), lost));
}

#[test]
fn stop_is_no_part_of_the_time_after_which_something_is_given_up() {
    let stop = |bench: &mut Bench| {
        bench.now += Duration::from_secs(60);
        let mut outputs = pass_quietly(bench, Duration::ZERO);
        outputs.extend(bench.pass(Duration::from_millis(900)));
        outputs
    };
    let second = Duration::from_secs(1);

    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::RelayUdp);
    bench.streams(1);
    bench.tell(Input::Drain { ports: 1 });
    bench.pass(3 * second);
    let drained = |output: &Output| matches!(output, Output::Drained);
    assert!(!has(&stop(&mut bench), drained));
    assert!(has(&bench.pass(2 * second), drained));

    let over = |output: &Output| matches!(output, Output::Over(_));
    let mut bench = Bench::with_policy(Role::Connector, PathPolicy::Direct);
    bench.pass(59 * second);
    assert!(!has(&stop(&mut bench), over), "--path direct");
    assert!(has(&bench.pass(3 * second), over));

    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::RelayUdp);
    bench.streams(1);
    bench.pass(second);
    let why = TunnelEnd::Lost("timed out");
    bench.tell(Input::TunnelEnded { epoch: 1, why });
    bench.pass(29 * second);
    assert!(!has(&stop(&mut bench), over), "the peer is away");
    assert!(has(&bench.pass(3 * second), over));

    let mut bench = Bench::new(Role::Connector);
    bench.tell(Input::PeerBound);
    bench.tell(relay());
    assert_eq!(avoided(&stop(&mut bench)), NONE);
    assert_eq!(avoided(&bench.pass(UNCARRIED)), [BY_TCP]);
}

#[test]
fn lost_direct_path_closes_its_tunnels_and_is_looked_for_again() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    let outputs = bench.tell(Input::DirectLost(LossReason::ConsentExpired));
    let closed = |output: &Output| matches!(output, Output::Close { epoch: 2, .. });
    assert!(has(&outputs, closed));
    let why = TunnelEnd::Lost("closed here");
    let outputs = bench.tell(Input::TunnelEnded { epoch: 2, why });
    assert!(has(&outputs, |o| matches!(o, Output::Use(Some(1)))));
    let search = |output: &Output| matches!(output, Output::Path(PathCommand::DirectLost));
    assert!(has(&outputs, search));
    assert_eq!(bench.decisions.used(), Some(1));
}

#[test]
fn search_begins_once_and_not_where_only_the_relay_may_be_used() {
    let search = |output: &Output| matches!(output, Output::Search);
    let mut bench = Bench::new(Role::Connector);
    assert!(has(&bench.tell(Input::Introduced), search));
    assert!(!has(&bench.tell(Input::Introduced), search));
    let mut bench = Bench::with_policy(Role::Connector, PathPolicy::Relay);
    assert!(!has(&bench.tell(Input::Introduced), search));
}

#[test]
fn direct_only_session_without_a_path_ends_after_a_minute() {
    let over = |output: &Output| matches!(output, Output::Over(SessionEnd::Failed(_)));
    let mut bench = Bench::with_policy(Role::Connector, PathPolicy::Direct);
    assert!(!has(&bench.pass(Duration::from_secs(59)), over));
    assert!(has(&bench.pass(Duration::from_secs(2)), over));
    let mut bench = Bench::with_policy(Role::Connector, PathPolicy::Direct);
    bench.up(1, PathKind::Direct);
    assert!(!has(&bench.pass(Duration::from_secs(120)), over));
}

#[test]
fn goodbye_on_a_tunnel_ends_the_session_and_the_rendezvous_word_only_before_the_first() {
    let over = |output: &Output| matches!(output, Output::Over(SessionEnd::PeerClosed));
    let mut bench = Bench::new(Role::Connector);
    assert!(has(&bench.tell(Input::PeerLeft), over));
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    assert!(!has(&bench.tell(Input::PeerLeft), over));
    let why = TunnelEnd::Goodbye;
    assert!(has(&bench.tell(Input::TunnelEnded { epoch: 1, why }), over));
}

#[test]
fn drain_is_told_when_streams_are_delivered_or_after_five_seconds() {
    let drained = |output: &Output| matches!(output, Output::Drained);
    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::RelayUdp);
    bench.streams(1);
    assert!(!has(&bench.tell(Input::Drain { ports: 1 }), drained));
    assert!(!has(&bench.tell(Input::Swept), drained));
    assert!(has(&bench.streams(0), drained));
    bench.streams(1);
    bench.tell(Input::Drain { ports: 1 });
    assert!(!has(&bench.pass(Duration::from_secs(4)), drained));
    assert!(has(&bench.pass(Duration::from_secs(2)), drained));
}

#[test]
fn first_stream_has_the_paths_watched_and_the_tunnels_looked_at() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.pass(Duration::from_secs(60));
    let outputs = bench.streams(1);
    let watched = |o: &Output| matches!(o, Output::Path(PathCommand::StreamsActive(true)));
    assert!(has(&outputs, watched));
    assert!(has(&outputs, |o| matches!(o, Output::InUse(true))));
    assert_eq!(bench.decisions.poll_timeout(), Some(bench.now));
    let ended = |o: &Output| matches!(o, Output::Path(PathCommand::StreamsActive(false)));
    let outputs = bench.streams(0);
    assert!(has(&outputs, ended));
    assert!(has(&outputs, |o| matches!(o, Output::InUse(false))));
}

#[test]
fn changed_network_has_every_tunnel_asked() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.tell(Input::NetworkChanged { woke: false });
    let outputs = pass_quietly(&mut bench, Duration::ZERO);
    for epoch in [1, 2] {
        assert!(has(
            &outputs,
            |o| matches!(o, Output::Ping { epoch: asked, .. } if *asked == epoch)
        ));
    }
    assert_eq!(bench.decisions.poll_timeout(), Some(bench.now + QUICK_LOOK));
}

#[test]
fn idle_session_wakes_no_more_than_ten_times_a_minute() {
    for role in [Role::Connector, Role::Listener] {
        let mut bench = Bench::new(role);
        bench.up(1, PathKind::RelayUdp);
        bench.pass(Duration::from_secs(60));
        let mut wakes = 0;
        let end = bench.now + Duration::from_secs(60);
        while let Some(at) = bench.decisions.poll_timeout().filter(|at| *at <= end) {
            bench.now = at;
            let counters = bench.counters.clone();
            bench.tell(Input::Timeout(&counters));
            wakes += 1;
        }
        assert!(wakes <= 10, "{role:?}: {wakes}");
    }
}

#[test]
fn slower_direct_way_is_told_on_the_direct_path_alone() {
    let slower = Input::Unused {
        technique: Technique::HolePunch,
        rtt: Duration::from_millis(80),
    };
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    assert!(path_reports(&bench.tell(slower)).is_empty());
    bench.tell(Input::Nominated(path(2)));
    bench.up(2, PathKind::Direct);
    let told = path_reports(&bench.tell(slower));
    assert!(told[0].why.contains("80 ms"), "{}", told[0].why);
}

#[test]
fn lan_that_was_taken_for_a_vpn_is_told_for_what_it_is() {
    for is_used in [true, false] {
        let mut bench = Bench::new(Role::Connector);
        bench.up(1, PathKind::RelayUdp);
        bench.tell(Input::Nominated(Path {
            technique: Technique::Vpn,
            ..path(2)
        }));
        let mut outputs = Vec::new();
        if is_used {
            let told = path_reports(&bench.up(2, PathKind::Direct));
            assert_eq!(told[0].technique.as_deref(), Some("vpn"));
            outputs.extend(bench.tell(Input::PathIsLan));
        } else {
            assert!(path_reports(&bench.tell(Input::PathIsLan)).is_empty());
            outputs.extend(bench.up(2, PathKind::Direct));
        }
        let told = path_reports(&outputs);
        assert_eq!(told[0].technique.as_deref(), Some("lan"), "{is_used}");
        assert_eq!(told[0].why, Technique::Lan.to_string());
        assert!(path_reports(&bench.tell(Input::PathIsLan)).is_empty());
    }
}

/// A session on a direct path with a stream, whose tunnel stops to answer while the path's checks are answered.
fn dead_tunnel_on_a_path_that_works(policy: PathPolicy) -> Bench {
    let mut bench = Bench::with_policy(Role::Connector, policy);
    bench.tell(Input::Nominated(path(1)));
    bench.up(1, PathKind::Direct);
    bench.streams(1);
    bench.pass(Duration::from_secs(2));
    bench.heard.clear();
    bench
}

#[test]
fn path_that_answers_while_its_tunnel_does_not_gets_a_new_tunnel_within_a_second() {
    for policy in [PathPolicy::Any, PathPolicy::Direct] {
        let mut bench = dead_tunnel_on_a_path_that_works(policy);
        let mut outputs = bench.pass(Duration::from_millis(700));
        let doubt = |output: &Output| matches!(output, Output::Path(PathCommand::Silent));
        assert!(has(&outputs, doubt));
        assert!(dials(&outputs).is_empty(), "the path may be dead too");
        outputs = bench.tell(ANSWERS);
        assert_eq!(dials(&outputs), [PathKind::Direct]);
        assert!(dials(&bench.tell(ANSWERS)).is_empty(), "one at a time");
        let outputs = bench.up(2, PathKind::Direct);
        assert!(has(&outputs, |o| matches!(o, Output::Use(Some(2)))));
    }
}

#[test]
fn path_that_is_nominated_anew_before_its_tunnel_is_found_dead_gets_a_new_tunnel() {
    let mut bench = dead_tunnel_on_a_path_that_works(PathPolicy::Direct);
    let mut outputs = bench.tell(Input::Nominated(path(1)));
    outputs.extend(bench.pass(Duration::from_millis(700)));
    assert!(
        dials(&outputs).is_empty(),
        "it may be the tunnel's last answer"
    );
    assert_eq!(dials(&bench.tell(ANSWERS)), [PathKind::Direct]);
}

#[test]
fn path_that_answers_and_on_which_no_new_tunnel_comes_up_is_looked_for_anew() {
    let lost = |outputs: &[Output]| {
        let lost = |output: &&Output| matches!(output, Output::Path(PathCommand::DirectLost));
        outputs.iter().filter(lost).count()
    };
    let mut bench = dead_tunnel_on_a_path_that_works(PathPolicy::Direct);
    bench.pass(Duration::from_millis(700));
    assert_eq!(dials(&bench.tell(ANSWERS)), [PathKind::Direct]);
    assert_eq!(lost(&bench.pass(dialling::STUCK - QUICK_LOOK)), 0);
    let outputs = bench.pass(Duration::from_secs(2));
    assert_eq!(lost(&outputs), 1);
    assert!(dials(&outputs).is_empty());
    assert_eq!(
        dials(&bench.tell(Input::Nominated(path(3)))),
        [PathKind::Direct]
    );
}

#[test]
fn path_on_which_no_new_tunnel_comes_up_is_looked_for_anew_though_the_old_one_is_heard_at_times() {
    let mut bench = dead_tunnel_on_a_path_that_works(PathPolicy::Direct);
    bench.pass(Duration::from_millis(700));
    assert_eq!(dials(&bench.tell(ANSWERS)), [PathKind::Direct]);
    bench.pass(Duration::from_secs(1));
    // What is short passes, and what is as long as a handshake does not.
    bench.heard.push(1);
    let outputs = bench.pass(dialling::STUCK);
    let lost = |output: &Output| matches!(output, Output::Path(PathCommand::DirectLost));
    assert!(has(&outputs, lost));
}

#[test]
fn tunnel_of_a_path_that_was_away_is_given_time_to_come_back() {
    let away = Input::PathAnswers {
        after: Duration::from_secs(2),
    };
    let mut bench = dead_tunnel_on_a_path_that_works(PathPolicy::Direct);
    bench.pass(Duration::from_secs(2));
    assert!(dials(&bench.tell(away)).is_empty());
    assert_eq!(
        dials(&bench.pass(Duration::from_secs(1))),
        [PathKind::Direct]
    );
    // With a relay that serves meanwhile it is given longer.
    let mut bench = dead_tunnel_on_a_path_that_works(PathPolicy::Any);
    bench.up(2, PathKind::RelayUdp);
    bench.pass(Duration::from_secs(2));
    assert!(dials(&bench.tell(away)).is_empty());
    assert!(dials(&bench.pass(Duration::from_secs(2))).is_empty());
    assert_eq!(
        dials(&bench.pass(Duration::from_secs(2))),
        [PathKind::Direct]
    );
}

#[test]
fn path_that_is_nominated_again_before_its_tunnel_has_retired_gets_a_new_one() {
    let mut bench = Bench::new(Role::Connector);
    for (epoch, at) in [(1, 1), (2, 2), (3, 1)] {
        let dialled = dials(&bench.tell(Input::Nominated(path(at))));
        assert_eq!(dialled, [PathKind::Direct], "{epoch}");
        bench.up(epoch, PathKind::Direct);
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.decisions.used(), Some(3));
}

#[test]
fn path_whose_tunnel_answers_gets_no_second_one_however_often_it_is_confirmed() {
    let mut bench = dead_tunnel_on_a_path_that_works(PathPolicy::Any);
    bench.heard = vec![1];
    for _ in 0..10 {
        bench.pass(Duration::from_millis(300));
        assert!(dials(&bench.tell(ANSWERS)).is_empty());
        assert!(dials(&bench.tell(Input::Nominated(path(1)))).is_empty());
    }
}

#[test]
fn peer_that_has_moved_is_dialled_while_its_old_address_still_is() {
    let mut bench = Bench::new(Role::Connector);
    assert_eq!(
        dials(&bench.tell(Input::Nominated(path(1)))),
        [PathKind::Direct]
    );
    assert!(dials(&bench.tell(Input::Nominated(path(1)))).is_empty());
    assert_eq!(
        dials(&bench.tell(Input::Nominated(path(2)))),
        [PathKind::Direct]
    );
}

#[test]
fn tunnel_that_the_peer_does_not_hear_is_left_though_it_is_heard() {
    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.streams(1);
    bench.pass(Duration::from_secs(2));
    let mut outputs = Vec::new();
    for tenths in 3..12 {
        let unanswered = Duration::from_millis(100 * tenths);
        outputs.extend(bench.tell(Input::Pulse {
            epoch: 2,
            unanswered,
        }));
        outputs.extend(bench.pass(Duration::from_millis(100)));
    }
    let silent = |output: &Output| matches!(output, Output::Path(PathCommand::Silent));
    assert!(has(&outputs, silent));
    assert!(has(&outputs, |o| matches!(o, Output::Use(Some(1)))));
    assert_eq!(
        path_reports(&outputs)[0].kind,
        p2pdbg_events::PathKind::Relay
    );
}

#[test]
fn complaints_that_waited_while_this_process_was_stopped_are_no_silence() {
    // Stopped while streams move, while they rest, and without any: then no look is late.
    for (live, moves, rests, stop) in [(1, true, 0, 3_000), (1, false, 0, 950), (0, true, 3, 8_000)]
    {
        let mut bench = Bench::new(Role::Connector);
        bench.up(1, PathKind::RelayUdp);
        bench.up(2, PathKind::Direct);
        bench.streams(live);
        bench.pass(Duration::from_secs(2));
        match moves {
            true => bench.pass(Duration::from_secs(rests)),
            false => pass_quietly(&mut bench, Duration::from_secs(4)),
        };
        bench.now += Duration::from_millis(stop);
        let counters = bench.counters.clone();
        let mut outputs = Vec::new();
        if live > 0 {
            outputs.extend(bench.tell(Input::Timeout(&counters)));
        }
        for (epoch, share) in [(1, 5), (2, 5), (1, 8), (2, 9)] {
            let unanswered = Duration::from_millis(stop) * share / 10;
            outputs.extend(bench.tell(Input::Pulse { epoch, unanswered }));
            let counters = bench.counters.clone();
            outputs.extend(bench.tell(Input::Timeout(&counters)));
        }
        outputs.extend(pass_quietly(&mut bench, Duration::from_millis(100)));
        for epoch in [1, 2] {
            let unanswered = Duration::ZERO;
            outputs.extend(bench.tell(Input::Pulse { epoch, unanswered }));
        }
        outputs.extend(bench.pass(Duration::from_secs(3)));
        let suspects = |output: &Output| {
            let silent = matches!(output, Output::Path(PathCommand::Silent));
            let told = matches!(output, Output::Report(_));
            silent || told || matches!(output, Output::Use(_))
        };
        assert!(!has(&outputs, suspects), "{stop}: {outputs:?}");
    }
}

#[test]
fn peer_is_told_for_how_long_it_is_not_heard_and_when_it_is_again() {
    let mut bench = Bench::new(Role::Listener);
    bench.up(1, PathKind::Direct);
    bench.streams(1);
    bench.pass(Duration::from_secs(1));
    let told = |outputs: &[Output]| {
        let told = outputs.iter().filter_map(|output| match output {
            Output::Ping { unanswered, .. } => Some(*unanswered),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    bench.heard.clear();
    let silence = told(&bench.pass(Duration::from_millis(900)));
    assert!(
        silence.is_sorted() && silence[0] > Duration::ZERO,
        "{silence:?}"
    );
    bench.heard = vec![1];
    let over = told(&bench.pass(Duration::from_millis(300)));
    assert!(over.contains(&Duration::ZERO), "{over:?}");
}

#[test]
fn tunnel_that_was_replaced_is_no_reason_that_a_person_is_told() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    let why = TunnelEnd::Replaced;
    let outputs = bench.tell(Input::TunnelEnded { epoch: 2, why });
    let reports = path_reports(&outputs);
    assert_eq!(reports[0].why, "a direct path is being looked for");
}

#[test]
fn relay_that_answers_again_serves_before_a_direct_path_that_does_not() {
    let mut bench = Bench::new(Role::Connector);
    bench.up(1, PathKind::RelayUdp);
    bench.up(2, PathKind::Direct);
    bench.streams(1);
    bench.pass(Duration::from_secs(1));
    bench.heard.clear();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.decisions.used(), Some(2), "neither answers");
    bench.heard = vec![1];
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.decisions.used(), Some(1));
    bench.heard = vec![1, 2];
    bench.pass(Duration::from_millis(500));
    assert_eq!(bench.decisions.used(), Some(1), "nothing goes to and fro");
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.decisions.used(), Some(2));
}

/// For how long the relay's leg is to be carried over TCP, each time that this is asked for.
fn avoided(outputs: &[Output]) -> Vec<Duration> {
    let avoided = outputs.iter().filter_map(|output| match output {
        Output::Path(PathCommand::AvoidUdp(time)) => Some(*time),
        _ => None,
    });
    avoided.collect()
}

const NONE: [Duration; 0] = [];

fn relay_by_tcp() -> Input<'static> {
    Input::Relay {
        socket: SocketId::V4,
        remote: peer(0),
        transport: LegTransport::Tcp,
    }
}

#[test]
fn relay_over_udp_where_no_tunnel_comes_up_is_tried_over_tcp_at_either_end() {
    for role in [Role::Connector, Role::Listener] {
        let mut bench = Bench::new(role);
        bench.tell(Input::PeerBound);
        bench.tell(relay());
        assert_eq!(avoided(&bench.pass(UNCARRIED / 2)), NONE);
        assert_eq!(avoided(&bench.pass(UNCARRIED)), [BY_TCP]);
        let dialled = dials(&bench.tell(relay_by_tcp()));
        let expected = match role {
            Role::Connector => vec![PathKind::RelayTcp],
            Role::Listener => vec![],
        };
        assert_eq!(
            dialled, expected,
            "anew, without waiting for what was dialled over UDP"
        );
        assert_eq!(avoided(&bench.up(1, PathKind::RelayTcp)), NONE);
        let outputs = bench.pass(UNCARRIED * 5);
        assert_eq!(avoided(&outputs), NONE);
    }
}

#[test]
fn relay_over_udp_that_carries_a_tunnel_in_time_is_left_alone() {
    let mut bench = Bench::new(Role::Connector);
    bench.tell(Input::PeerBound);
    bench.tell(relay());
    bench.pass(UNCARRIED / 2);
    bench.up(1, PathKind::RelayUdp);
    assert_eq!(avoided(&bench.pass(UNCARRIED * 5)), NONE);
    // Bound anew, while the tunnel there answers.
    bench.tell(relay());
    assert_eq!(avoided(&bench.pass(UNCARRIED * 5)), NONE);
}

#[test]
fn tunnel_that_comes_up_late_over_udp_keeps_the_relay_there() {
    let mut bench = Bench::new(Role::Connector);
    bench.tell(Input::PeerBound);
    bench.tell(relay());
    assert_eq!(avoided(&bench.pass(UNCARRIED)), [BY_TCP]);
    let outputs = bench.up(1, PathKind::RelayUdp);
    assert_eq!(avoided(&outputs), [Duration::ZERO]);
}

#[test]
fn person_hears_that_udp_carries_no_tunnel_rather_than_that_it_is_blocked() {
    let mut bench = Bench::new(Role::Connector);
    bench.tell(Input::PeerBound);
    bench.tell(relay());
    bench.pass(UNCARRIED);
    bench.tell(relay_by_tcp());
    let reports = path_reports(&bench.up(1, PathKind::RelayTcp));
    assert!(reports[0].why.contains("carries no tunnel"), "{reports:?}");
    bench.tell(Input::NetworkChanged { woke: false });
    assert!(
        !bench
            .decisions
            .path_status
            .why_relayed()
            .contains("carries no tunnel")
    );
}

/// What is told last of the way that the streams take.
fn last_why(outputs: &[Output]) -> String {
    let last = path_reports(outputs).pop();
    last.map_or_else(String::new, |report| report.why)
}

#[test]
fn rendezvous_that_answers_over_tcp_alone_is_neither_an_outage_nor_for_certain_this_network() {
    let mut bench = Bench::new(Role::Listener);
    bench.tell(relay_by_tcp());
    let first = last_why(&bench.up(1, PathKind::RelayTcp));
    assert!(
        first.contains("or the rendezvous' UDP port is closed"),
        "{first}"
    );
    // Found out by asking both.
    let both = last_why(&bench.tell(Input::Obstacle(Obstacle::UdpBlockedThere)));
    assert!(both.contains("out of the peer's network"), "{both}");
    let hard = last_why(&bench.tell(Input::Obstacle(Obstacle::BothSymmetric)));
    assert!(
        hard.starts_with("both NATs") && hard.ends_with(&first),
        "{hard}"
    );
    let gone = last_why(&bench.tell(Input::Obstacle(Obstacle::Outage)));
    assert_eq!(gone, first, "in the midst of a session");
}

#[test]
fn relay_whose_peer_is_away_is_left_to_udp_and_no_network_is_blamed() {
    let mut bench = Bench::new(Role::Connector);
    bench.tell(relay());
    bench.up(1, PathKind::RelayUdp);
    bench.streams(1);
    bench.pass(Duration::from_secs(1));
    // While it serves that says nothing.
    bench.tell(Input::PeerBound);
    bench.heard.clear();
    let mut outputs = bench.pass(Duration::from_secs(2));
    assert!(has(&outputs, |o| matches!(
        o,
        Output::Path(PathCommand::Silent)
    )));
    for _ in 0..10 {
        outputs = bench.tell(relay());
        outputs.extend(bench.pass(Duration::from_secs(2)));
        assert_eq!(avoided(&outputs), NONE);
    }
    // It is there, and what was dialled does not come up.
    bench.tell(Input::PeerBound);
    bench.tell(relay());
    assert_eq!(avoided(&bench.pass(UNCARRIED)), [BY_TCP]);
}

#[test]
fn peer_that_binds_its_leg_late_is_no_reason_to_leave_udp() {
    for role in [Role::Connector, Role::Listener] {
        let mut bench = Bench::new(role);
        bench.tell(relay());
        assert_eq!(avoided(&bench.pass(UNCARRIED * 10)), NONE);
        bench.tell(Input::NetworkChanged { woke: false });
        bench.tell(relay());
        assert_eq!(avoided(&bench.pass(UNCARRIED * 10)), NONE);
        bench.tell(Input::PeerBound);
        bench.tell(relay());
        assert_eq!(avoided(&bench.pass(UNCARRIED)), [BY_TCP]);
    }
}

#[test]
fn peer_that_has_bound_its_leg_says_nothing_of_udp_while_this_end_has_none() {
    let mut bench = Bench::new(Role::Connector);
    bench.tell(Input::PeerBound);
    assert_eq!(avoided(&bench.pass(UNCARRIED * 3)), NONE);
}

#[test]
fn failure_of_a_dial_that_has_a_successor_is_none_of_the_successor() {
    let mut bench = Bench::new(Role::Connector);
    let first = dialled(&bench.tell(relay()));
    bench.pass(Duration::from_secs(1));
    let second = dialled(&bench.tell(relay()));
    let anew = |outputs: &[Output]| {
        let lost = |o: &Output| matches!(o, Output::Path(PathCommand::RelayLost));
        has(outputs, lost) || !dials(outputs).is_empty()
    };
    let mut outputs = bench.tell(Input::DialFailed(first));
    outputs.extend(bench.pass(REDIAL * 2));
    assert!(!anew(&outputs), "{outputs:?}");
    bench.tell(Input::DialFailed(second));
    assert!(anew(&bench.pass(REDIAL)));
}
