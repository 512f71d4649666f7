//! The sentences that people read.

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_events::{Warning, WarningCode};

use super::*;

fn paired(view: &mut View, name: &str) -> Vec<Line> {
    view.lines(&Event::Paired {
        peer: Untrusted::new(name),
        known: false,
    })
}

fn path(kind: PathKind, why: &str) -> Event {
    Event::Path(PathReport {
        kind,
        via: Via::Udp,
        local: None,
        remote: None,
        technique: None,
        rtt_ms: Some(40.2),
        after_ms: 300,
        why: why.to_owned(),
    })
}

fn forward(direction: Direction) -> Event {
    Event::Forward {
        direction,
        listen: "127.0.0.1:5678".parse().unwrap(),
        to: "localhost:9".parse().unwrap(),
        debugger: None,
        start: None,
    }
}

#[test]
fn a_forward_says_which_end_is_here_seen_from_either_end() {
    let text = |role, direction| {
        let mut view = View::new(role);
        paired(&mut view, "web-1");
        view.lines(&forward(direction)).remove(0).text
    };
    let here_to_there = "forward: 127.0.0.1:5678 here -> localhost:9 at web-1";
    let there_to_here = "forward: 127.0.0.1:5678 at web-1 -> localhost:9 here";
    assert_eq!(text(Role::Listener, Direction::ToDebuggee), here_to_there);
    assert_eq!(text(Role::Connector, Direction::ToIde), here_to_there);
    assert_eq!(text(Role::Listener, Direction::ToIde), there_to_here);
    assert_eq!(text(Role::Connector, Direction::ToDebuggee), there_to_here);
}

#[test]
fn the_status_line_says_how_the_peers_are_connected_and_what_waits_for_what() {
    let mut view = View::new(Role::Listener);
    let now = Instant::now();
    let mut status = Status::new(Activity::Connected { searching: true });
    paired(&mut view, "web-1");
    view.lines(&path(PathKind::Relay, "still looking"));
    status.rtt = Some(Duration::from_micros(80_400));
    status.waiting.push(Waiting {
        awaited: WaitingFor::Debuggee,
        at: Some("localhost:5678".parse().unwrap()),
        run: None,
    });
    assert_eq!(
        view.status_line(&status, now),
        "web-1: over the relay, RTT 80 ms, looking for a direct path, no connections, \
         waiting for a debuggee on localhost:5678, still looking"
    );
    view.lines(&path(PathKind::Direct, "punched"));
    status = Status::new(Activity::Connected { searching: false });
    status.rtt = Some(Duration::from_micros(412));
    status.streams = 2;
    assert_eq!(
        view.status_line(&status, now),
        "web-1: direct, RTT 0.4 ms, 2 connections"
    );
}

#[test]
fn the_status_line_names_the_debugger_and_what_a_step_costs() {
    let view = View::new(Role::Listener);
    let mut status = Status::new(Activity::Connected { searching: false });
    status.rtt = Some(Duration::from_micros(40_200));
    status.streams = 1;
    let json = r#"{"protocol":"dap","name":"debugpy","version":"1.8.22","runtime":"Python 3.11","pid":4242,
        "program":"stopped","file":"/srv/app.py","line":17,"step_round_trips":5}"#;
    let debugger: DebuggerReport = serde_json::from_str(json).unwrap();
    let cost = |rtt| step_cost(&debugger, Some(rtt)).unwrap();
    assert_eq!(cost(0.4), "a step: 0.4 ms × 5 = 2.0 ms");
    status.debugger = Some(Box::new(debugger));
    assert_eq!(
        view.status_line(&status, Instant::now()),
        "the peer: connected, RTT 40 ms, 1 connection, debugpy 1.8.22, Python 3.11, pid 4242, \
         stopped at app.py:17, a step: 40 ms × 5 = 0.2 s"
    );
}

#[test]
fn an_outage_is_told_with_its_length() {
    let view = View::new(Role::Listener);
    let since = Instant::now();
    let mut status = Status::new(Activity::Resuming { since });
    status.streams = 1;
    let after = |seconds| view.status_line(&status, since + Duration::from_secs(seconds));
    assert_eq!(
        after(12),
        "network lost 12 s ago, holding 1 debugger connection"
    );
    assert_eq!(
        after(200),
        "network lost 3 min 20 s ago, holding 1 debugger connection"
    );
    assert_eq!(
        after(7500),
        "network lost 2 h 5 min ago, holding 1 debugger connection"
    );
    let mut view = View::new(Role::Listener);
    let resumed = Event::Resumed {
        gap_ms: 14_200,
        streams: 1,
    };
    let lines = view.lines(&resumed);
    assert_eq!(lines[0].text, "resumed after 14.2 s, nothing lost");
}

#[test]
fn failures_and_warnings_give_the_reason_and_the_way_out() {
    let mut view = View::new(Role::Connector);
    let failure = Failure::new(ErrorCode::CodeExpired, "this code was used already")
        .hint("ask for a new one");
    let lines = view.lines(&Event::Error(failure));
    assert_eq!(lines[0].text, "error: this code was used already");
    assert_eq!(lines[1].text, "    ask for a new one");
    let warning = Warning::new(WarningCode::OpenDebugPort, "0.0.0.0:5678 is open to all");
    let lines = view.lines(&Event::Warning(warning));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].weight, Weight::Warning);
}

#[test]
fn no_line_carries_an_escape_wherever_it_came_from() {
    let evil = "\u{1b}[2J\r\nroot#\u{202e}";
    let mut view = View::new(Role::Listener);
    let mut lines = paired(&mut view, evil);
    lines.extend(view.lines(&path(PathKind::Relay, evil)));
    lines.extend(view.lines(&Event::Closed { why: evil.into() }));
    lines.extend(view.lines(&Event::Error(Failure::new(ErrorCode::Internal, evil))));
    lines.extend(view.lines(&forward(Direction::ToDebuggee)));
    assert_eq!(lines.len(), 5);
    let status = Status::new(Activity::ReachingRendezvous(evil.to_owned()));
    let mut texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    texts.push(view.status_line(&status, Instant::now()));
    for text in texts {
        assert!(
            !text.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{text:?}"
        );
    }
}
