//! The leg's decisions, driven without sockets.

use p2pdbg_proto::{relay::LegId, secret::Secret};

use super::*;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A leg and a relay that answers at once, over whatever gets through.
struct Bench {
    relay: Relay,
    now: Instant,
    udp_passes: bool,
    tcp_passes: bool,
    /// What was done besides binding.
    done: Vec<RelayAction>,
    /// How many BINDs have gone out over UDP.
    binds: u32,
}

impl Bench {
    fn new(transports: LegTransports) -> Self {
        let now = Instant::now();
        let grant = LegGrant {
            leg: LegId([3; 16]),
            key: Secret::random(),
        };
        let address = "192.0.2.1:3478".parse().unwrap();
        Self {
            relay: Relay::new(grant, address, SocketId::V4, transports, true, now),
            now,
            udp_passes: true,
            tcp_passes: true,
            done: Vec::new(),
            binds: 0,
        }
    }

    fn reply(&mut self, frame: &[u8]) {
        let leg = self.relay.grant.leg;
        let reply = match RelayFrame::decode(frame).unwrap() {
            RelayFrame::Bind { .. } => RelayFrame::Challenge {
                leg,
                cookie: [1; 32],
            },
            _ => RelayFrame::Bound {
                leg,
                lifetime_s: 300,
            },
        };
        self.relay.handle_frame(self.now, &reply);
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.poll_action(self.now) {
            if let RelayAction::Send(frame) = &action {
                let frame = RelayFrame::decode(frame).unwrap();
                self.binds += u32::from(matches!(frame, RelayFrame::Bind { .. }));
            }
            match action {
                RelayAction::Send(frame) if self.udp_passes => self.reply(&frame),
                RelayAction::Send(_) | RelayAction::Near => {}
                RelayAction::Connect if self.tcp_passes => {
                    self.done.push(RelayAction::Connect);
                    self.relay.on_stream_bound(self.now, LegTransport::Tcp);
                }
                RelayAction::Connect => {
                    self.done.push(RelayAction::Connect);
                    self.relay.on_stream_ended(self.now);
                }
                action => self.done.push(action),
            }
        }
    }

    /// Lets time pass, from one timer to the next.
    fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        self.act();
        while let Some(next) = self.relay.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.relay.handle_timeout(self.now);
            self.act();
        }
        self.now = end;
        self
    }

    fn done(&mut self) -> Vec<RelayAction> {
        std::mem::take(&mut self.done)
    }
}

use RelayAction::{Check, Connect, HangUp, LeaveTcp, Ready};

#[test]
fn where_udp_passes_tcp_is_never_tried() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.done(), [Ready(LegTransport::Udp)]);
}

#[test]
fn where_udp_does_not_pass_tcp_carries_the_leg_before_long() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.udp_passes = false;
    bench.pass(TCP_AFTER);
    assert_eq!(bench.done(), [Connect, Ready(LegTransport::Tcp)]);
}

#[test]
fn where_the_rendezvous_took_tcp_the_leg_does_not_wait_for_udp() {
    let mut bench = Bench::new(LegTransports::Both);
    bench.udp_passes = false;
    bench.relay.handle_timeout(bench.now);
    bench.act();
    assert_eq!(bench.done(), [Connect, Ready(LegTransport::Tcp)]);
}

#[test]
fn udp_takes_the_leg_as_soon_as_it_passes_and_tcp_lingers_for_what_is_on_its_way() {
    let mut bench = Bench::new(LegTransports::Both);
    bench.udp_passes = false;
    bench.pass(Duration::from_secs(30)).done();
    bench.udp_passes = true;
    // BIND goes out every two seconds, since UDP has not been blocked for long.
    bench.pass(Duration::from_secs(2) + LINGER);
    let ready = || Ready(LegTransport::Udp);
    // Bound once more in the end, in case the end of the connection took the leg away.
    assert_eq!(bench.done(), [LeaveTcp, ready(), HangUp, ready()]);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.done(), []);
}

#[test]
fn a_relay_that_falls_silent_over_udp_is_reached_over_tcp() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.pass(Duration::from_secs(5)).done();
    bench.udp_passes = false;
    bench.relay.rebind(bench.now);
    bench.pass(TCP_AFTER);
    assert_eq!(bench.done(), [Connect, Ready(LegTransport::Tcp)]);
}

#[test]
fn a_peer_that_falls_silent_costs_no_connection_over_tcp() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.pass(Duration::from_secs(5)).done();
    for _ in 0..100 {
        bench.relay.rebind(bench.now);
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.done(), [Ready(LegTransport::Udp)]);
    }
}

#[test]
fn udp_that_has_failed_must_be_heard_for_a_while_and_longer_each_time() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.pass(Duration::from_secs(1)).done();
    let mut probation = Probation::default();
    for _ in 0..6 {
        bench.udp_passes = false;
        bench.relay.rebind(bench.now);
        bench.pass(Duration::from_secs(20));
        assert_eq!(bench.done(), [Connect, Ready(LegTransport::Tcp)]);
        bench.udp_passes = true;
        bench.pass(probation.lasts() - millis(1));
        assert_eq!(bench.done(), [], "{probation:?}");
        bench.pass(Duration::from_secs(11));
        assert_eq!(bench.done()[..2], [LeaveTcp, Ready(LegTransport::Udp)]);
        probation = probation.longer();
    }
}

#[test]
fn udp_that_stays_blocked_is_asked_ever_more_rarely_and_anew_when_something_has_changed() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.udp_passes = false;
    bench.pass(Duration::from_secs(3_600)).done();
    bench.binds = 0;
    bench.pass(Duration::from_secs(24 * 3600));
    assert_eq!(bench.binds, 24 * 60);
    for change in [Relay::rebind, Relay::on_network_changed] {
        bench.binds = 0;
        change(&mut bench.relay, bench.now);
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.binds, 4, "at 0, 0.25, 0.75 and 1.75 s");
        bench.pass(Duration::from_secs(3_600));
    }
}

#[test]
fn answer_of_the_relay_that_is_lost_on_udp_costs_no_minute() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.udp_passes = false;
    bench.pass(Duration::from_secs(3_610)).done();
    // It challenges, and what follows is lost.
    let leg = bench.relay.grant.leg;
    let cookie = [1; 32];
    let challenge = RelayFrame::Challenge { leg, cookie };
    bench.relay.handle_frame(bench.now, &challenge);
    bench.act();
    bench.udp_passes = true;
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.done()[..2], [LeaveTcp, Ready(LegTransport::Udp)]);
}

#[test]
fn udp_that_comes_and_goes_within_its_probation_does_not_take_the_leg() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.pass(Duration::from_secs(1)).done();
    bench.udp_passes = false;
    bench.relay.rebind(bench.now);
    bench.pass(Duration::from_secs(5)).done();
    bench.relay.trial.probation = Probation::default().longer().longer();
    for _ in 0..20 {
        bench.udp_passes = true;
        bench.pass(Duration::from_secs(6));
        bench.udp_passes = false;
        bench.pass(Duration::from_secs(6));
    }
    assert_eq!(bench.done(), []);
}

#[test]
fn a_connection_that_is_lost_is_made_again_and_udp_is_taken_at_once_meanwhile() {
    let mut bench = Bench::new(LegTransports::Both);
    bench.udp_passes = false;
    bench.pass(Duration::from_secs(60)).done();
    bench.relay.on_stream_ended(bench.now);
    bench.pass(millis(1));
    assert_eq!(bench.done(), [LeaveTcp, Connect, Ready(LegTransport::Tcp)]);
    bench.relay.trial.begin();
    bench.tcp_passes = false;
    bench.relay.on_stream_ended(bench.now);
    bench.pass(millis(1));
    assert_eq!(bench.done()[0], LeaveTcp);
    bench.udp_passes = true;
    bench.pass(Duration::from_secs(5));
    assert!(bench.done().contains(&Ready(LegTransport::Udp)));
}

#[test]
fn a_relay_that_takes_neither_is_asked_ever_more_rarely() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    (bench.udp_passes, bench.tcp_passes) = (false, false);
    bench.pass(Duration::from_secs(300));
    let attempts = bench.done().len();
    assert!((10..20).contains(&attempts), "{attempts}");
}

#[test]
fn pauses_of_one_outage_do_not_make_those_of_the_next_longer() {
    let mut bench = Bench::new(LegTransports::TcpAlone);
    for _ in 0..5 {
        bench.tcp_passes = true;
        bench.pass(Duration::from_secs(60)).done();
        bench.tcp_passes = false;
        bench.relay.on_stream_ended(bench.now);
        // At once, and after pauses of 1, 2, 4 and 8 s.
        bench.pass(Duration::from_secs(16));
        assert_eq!(
            bench.done(),
            [LeaveTcp, Connect, Connect, Connect, Connect, Connect]
        );
    }
}

#[test]
fn doubt_about_a_leg_over_tcp_has_the_connection_checked_and_the_peer_dialled() {
    let mut bench = Bench::new(LegTransports::TcpAlone);
    bench.pass(Duration::from_secs(1)).done();
    bench.relay.rebind(bench.now);
    bench.pass(millis(1));
    assert_eq!(bench.done(), [Check, Ready(LegTransport::Tcp)]);
}

#[test]
fn session_is_told_again_that_the_peer_can_be_dialled_when_its_leg_is_bound_anew() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.pass(Duration::from_secs(1)).done();
    bench.relay.on_peer_bound(bench.now);
    bench.pass(millis(1));
    assert_eq!(bench.done(), [Ready(LegTransport::Udp)]);
}

#[test]
fn an_attempt_over_tcp_that_udp_overtakes_is_given_up_and_the_leg_bound_once_more() {
    let mut bench = Bench::new(LegTransports::Both);
    bench.relay.handle_timeout(bench.now);
    let mut binds = 0;
    while let Some(action) = bench.relay.poll_action(bench.now) {
        match action {
            RelayAction::Send(frame) => {
                binds += usize::from(frame[0] == 4);
                bench.reply(&frame);
                bench.relay.handle_timeout(bench.now);
            }
            RelayAction::Near => {}
            action => bench.done.push(action),
        }
    }
    assert_eq!(binds, 2);
    assert_eq!(bench.done()[..2], [Connect, HangUp]);
    bench.pass(Duration::from_secs(30));
    assert!(!bench.done().contains(&Connect));
}

#[test]
fn after_a_change_of_the_network_the_connection_is_made_again_at_once() {
    let mut bench = Bench::new(LegTransports::TcpAlone);
    bench.pass(Duration::from_secs(1)).done();
    bench.relay.on_network_changed(bench.now);
    bench.pass(millis(1));
    assert_eq!(bench.done(), [Connect, Ready(LegTransport::Tcp)]);
    bench.tcp_passes = false;
    bench.relay.on_network_changed(bench.now);
    bench.pass(millis(1));
    assert_eq!(bench.done(), [Connect, LeaveTcp]);
    bench.tcp_passes = true;
    bench.pass(FIRST_PAUSE);
    assert_eq!(bench.done(), [Connect, Ready(LegTransport::Tcp)]);
}

#[test]
fn connection_that_is_still_there_after_a_change_of_the_network_carries_the_leg_and_is_asked() {
    let mut bench = Bench::new(LegTransports::TcpAlone);
    bench.pass(Duration::from_secs(1)).done();
    bench.relay.on_network_changed(bench.now);
    assert_eq!(bench.relay.poll_action(bench.now), Some(Connect));
    bench.relay.on_stream_kept(bench.now);
    bench.act();
    let done = [RelayAction::Check, Ready(LegTransport::Tcp)];
    assert_eq!(bench.done(), done);
    // It was dead after all.
    bench.relay.on_stream_ended(bench.now);
    bench.act();
    assert_eq!(bench.done(), [LeaveTcp]);
    assert!(bench.relay.poll_timeout().is_some());
}

#[test]
fn alone_over_tcp_nothing_is_sent_over_udp() {
    let mut bench = Bench::new(LegTransports::TcpAlone);
    bench.tcp_passes = false;
    bench.relay.rebind(bench.now);
    for _ in 0..100 {
        bench.now += Duration::from_secs(1);
        bench.relay.handle_timeout(bench.now);
        while let Some(action) = bench.relay.poll_action(bench.now) {
            assert!(!matches!(action, RelayAction::Send(_)));
            if action == Connect {
                bench.relay.on_stream_ended(bench.now);
            }
        }
    }
}

#[test]
fn a_leg_that_the_relay_does_not_know_is_gone() {
    let mut bench = Bench::new(LegTransports::TcpAlone);
    bench.pass(Duration::from_secs(1)).done();
    let reason = RelayRefusal::UnknownLeg;
    bench.relay.on_stream_refused(bench.now, reason);
    bench.act();
    assert_eq!(bench.done()[0], RelayAction::Gone);
}

#[test]
fn leg_is_carried_over_tcp_for_as_long_as_udp_is_to_be_avoided_and_not_again_at_once() {
    let mut bench = Bench::new(LegTransports::UdpFirst);
    bench.pass(Duration::from_secs(10)).done();
    bench.relay.avoid_udp(Duration::from_secs(30), bench.now);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.done(), [Connect, Ready(LegTransport::Tcp)]);
    bench.pass(Duration::from_secs(28));
    assert_eq!(bench.done(), []);
    bench.pass(Duration::from_secs(20));
    assert!(bench.done().contains(&Ready(LegTransport::Udp)));
    // A peer that asks all the time.
    for _ in 0..100 {
        bench.relay.avoid_udp(Duration::from_secs(30), bench.now);
        bench.relay.avoid_udp(Duration::ZERO, bench.now);
        bench.pass(Duration::from_millis(100));
    }
    let connects = bench.done().iter().filter(|a| **a == Connect).count();
    assert!(connects <= 4, "{connects} in 10 s");
}
