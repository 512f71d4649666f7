//! What a process is doing, as text for people: `p2pdbg status`.

use std::{fmt, time::Duration};

use p2pdbg_proto::rendezvous::Role;

pub(crate) use super::words::step_cost;
use p2pdbg_base::untrusted::escape;
use p2pdbg_events::{
    PathReport, StreamState, Waiting,
    snapshot::{
        ForwardSnapshot, ForwardStanding, ProcessSnapshot, ProcessState, Sample, SessionCommand,
        SessionSnapshot, SessionState, StreamSnapshot,
    },
};

use super::words::{milliseconds, opening_role, seconds, waiting_in_short, way};

/// A process, in a few lines.
#[derive(Debug)]
pub struct Described<'a>(pub &'a ProcessSnapshot);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![headline(self.0)];
        let several = self.0.places.is_some();
        for session in &self.0.sessions {
            let details = session_lines(self.0.command, session);
            let indent = if several { "    " } else { "  " };
            lines.extend(several.then(|| format!("  {}:", session.peer)));
            lines.extend(details.into_iter().map(|line| format!("{indent}{line}")));
        }
        for line in lines {
            writeln!(f, "{}", escape(line.chars()))?;
        }
        Ok(())
    }
}

/// `listen (pid 4242), up 12 s: …`
pub(crate) fn headline(process: &ProcessSnapshot) -> String {
    let command = match process.command {
        SessionCommand::Listen => "listen",
        SessionCommand::Connect => "connect",
    };
    let state = match process.state {
        ProcessState::ReachingRendezvous => format!("reaching {}", process.rendezvous),
        ProcessState::AwaitingPeer => "waiting for the peer".to_owned(),
        ProcessState::Pairing => "exchanging keys with the peer".to_owned(),
        ProcessState::InSession => {
            let peers: Vec<_> = process
                .sessions
                .iter()
                .map(|session| session.peer.as_str())
                .collect();
            let free = process
                .places
                .map_or(0, |places| places.saturating_sub(peers.len()));
            let free = match free {
                0 => String::new(),
                1 => ", 1 more may come".to_owned(),
                more => format!(", {more} more may come"),
            };
            match peers.is_empty() {
                true => "a session is beginning or ending".to_owned(),
                false => format!("in session with {}{free}", peers.join(", ")),
            }
        }
    };
    format!(
        "{command} (pid {}), up {}: {state}",
        process.pid,
        whole_seconds(process.up_ms)
    )
}

fn session_lines(command: SessionCommand, session: &SessionSnapshot) -> Vec<String> {
    let mut lines = vec![path_line(session)];
    if let [before @ .., _now] = &session.paths[..]
        && let Some(last) = before.last()
    {
        lines.push(format!("before: {}", past_path(last)));
    }
    lines.extend(session.forwards.iter().map(|f| forward_line(command, f)));
    for stream in &session.streams {
        lines.push(stream_line(stream));
        if let Some(debugger) = &stream.debugger {
            let cost = step_cost(debugger, session.rtt_ms);
            let cost = cost.map_or(String::new(), |cost| format!(", {cost}"));
            lines.push(format!("  {debugger}{cost}"));
        }
    }
    if session.more_streams > 0 {
        lines.push(format!("and {} more streams", session.more_streams));
    }
    lines.extend(session.waiting.iter().map(waiting_in_short));
    lines
}

/// How the peer is reached now.
pub(crate) fn path_line(session: &SessionSnapshot) -> String {
    match session.state {
        SessionState::Connecting => "looking for a path to the peer".to_owned(),
        SessionState::Resuming => format!(
            "network lost {} ago, the connections are held",
            whole_seconds(session.lost_ms.unwrap_or(0))
        ),
        SessionState::Connected => {
            let mut text = match session.paths.last() {
                Some(path) => past_path(path),
                None => "connected".to_owned(),
            };
            if let Some(rtt) = session.rtt_ms {
                text.push_str(&format!(", RTT {}", milliseconds(rtt)));
            }
            if let Some(loss) = loss(&session.samples) {
                text.push_str(&format!(", {:.1} % lost", loss * 100.0));
            }
            text
        }
    }
}

/// A path and what found it: `direct by hole-punch`.
pub(crate) fn past_path(path: &PathReport) -> String {
    match &path.technique {
        Some(technique) => format!("{} by {technique}", way(path)),
        None => way(path),
    }
}

/// The part of what was sent of late that was lost.
pub(crate) fn loss(samples: &[Sample]) -> Option<f64> {
    let (sent, lost) = samples.iter().fold((0, 0), |(sent, lost), sample| {
        (sent + sample.sent, lost + sample.lost)
    });
    (sent > 0).then(|| lost as f64 / sent as f64)
}

/// A forward, with where each end is.
pub(crate) fn forward_line(command: SessionCommand, forward: &ForwardSnapshot) -> String {
    let role = match command {
        SessionCommand::Listen => Role::Listener,
        SessionCommand::Connect => Role::Connector,
    };
    let place = |end: Role| if end == role { "here" } else { "there" };
    let opener = opening_role(forward.direction);
    let debugger = forward
        .debugger
        .map_or(String::new(), |debugger| format!("  ({})", debugger.name()));
    let from = match &forward.listen {
        Some(listen) => format!("{listen} {}", place(opener)),
        None => "pipe".to_owned(),
    };
    let state = match forward.state {
        ForwardStanding::Asked => ", not confirmed yet",
        ForwardStanding::Up => "",
        ForwardStanding::Failed => ", failed",
        ForwardStanding::Closed => ", closed until something listens there",
    };
    let to = format!("{} {}", forward.to, place(opener.other()));
    format!("forward: {from} -> {to}{debugger}{state}")
}

/// What was sent twice on a path that loses packets, for the end of a stream's line.
pub(crate) fn copied(stream: &StreamSnapshot) -> String {
    match stream.copied {
        0 => String::new(),
        copied => format!(", {} sent twice for losses", bytes(copied)),
    }
}

fn stream_line(stream: &StreamSnapshot) -> String {
    let to = stream
        .to
        .as_ref()
        .map_or(String::new(), |to| format!(" to {to}"));
    format!(
        "stream {}{to}: {}, {} sent, {} received, {}{}",
        stream.id,
        stream_state(stream.state),
        bytes(stream.sent),
        bytes(stream.received),
        whole_seconds(stream.age_ms),
        copied(stream)
    )
}

/// What must come before held connections can go on.
pub(crate) fn waiting_line(waiting: &Waiting) -> String {
    waiting_in_short(waiting)
}

/// The state of a stream in a word or two.
pub(crate) fn stream_state(state: Option<StreamState>) -> &'static str {
    match state {
        None => "dialling",
        Some(StreamState::Waiting) => "waiting",
        Some(StreamState::Open) => "open",
        Some(StreamState::HalfClosed) => "half closed",
        Some(StreamState::Closed) => "closed",
        Some(StreamState::Reset) => "reset",
        Some(StreamState::GaveUp) => "gave up",
    }
}

/// `12 s`, without parts of a second.
pub(crate) fn whole_seconds(ms: u64) -> String {
    seconds(Duration::from_secs(ms / 1000))
}

/// `512 B`, `1.2 kB`, `34 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return match unit {
                "B" => format!("{count} B"),
                _ if value < 9.95 => format!("{value:.1} {unit}"),
                _ => format!("{value:.0} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (12_345, "12 kB"),
            (999_600, "1.0 MB"),
            (u64::MAX, "18446744.1 TB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn loss_is_told_only_of_what_was_sent() {
        let sample = |sent, lost| Sample {
            ago_ms: 0,
            rtt_ms: None,
            sent,
            lost,
        };
        assert_eq!(loss(&[]), None);
        assert_eq!(loss(&[sample(0, 0)]), None);
        assert_eq!(loss(&[sample(30, 1), sample(10, 1)]), Some(0.05));
    }

    #[test]
    fn a_process_is_described_in_lines_that_move_no_cursor() {
        let json = r#"{"pid":42,"command":"listen","version":"0.1.0","up_ms":12900,"rendezvous":"h:1",
            "state":"in_session","sessions":[{"peer":"web\u001b[2J","known":true,"age_ms":9000,"state":"connected",
            "paths":[{"kind":"relay","via":"udp","after_ms":1,"why":"x"},
                {"kind":"direct","via":"udp","technique":"hole-punch","after_ms":2,"why":"y"}],
            "rtt_ms":40.2,"samples":[{"ago_ms":1,"rtt_ms":40.0,"sent":100,"lost":1}],
            "forwards":[{"direction":"to_debuggee","listen":"127.0.0.1:5678","to":"localhost:5678","debugger":"debugpy",
                "state":"up"}],
            "streams":[{"id":1,"state":"open","to":"localhost:5678","age_ms":3999,"sent":12,"received":3456,
                "debugger":{"protocol":"dap","name":"debugpy","program":"running","step_round_trips":5}}],
            "waiting":[{"for":"debuggee","at":"localhost:5678"}]}]}"#;
        let process: ProcessSnapshot = serde_json::from_str(json).unwrap();
        let expected = r"listen (pid 42), up 12 s: in session with web\u{1b}[2J
  direct by hole-punch, RTT 40 ms, 1.0 % lost
  before: over the relay
  forward: 127.0.0.1:5678 here -> localhost:5678 there  (debugpy)
  stream 1 to localhost:5678: open, 12 B sent, 3.5 kB received, 3 s
    debugpy, running, a step: 40 ms × 5 = 0.2 s
  waiting for a debuggee on localhost:5678
";
        assert_eq!(Described(&process).to_string(), expected);
    }

    #[test]
    fn of_several_peers_each_has_its_name_above_it() {
        let json = r#"{"pid":42,"command":"listen","version":"0.1.0","up_ms":12900,"rendezvous":"h:1",
            "state":"in_session","places":3,"sessions":[
            {"peer":"web","known":true,"age_ms":9000,"state":"connecting"},
            {"peer":"db","known":true,"age_ms":9000,"state":"resuming","lost_ms":2000}]}"#;
        let process: ProcessSnapshot = serde_json::from_str(json).unwrap();
        let expected = "listen (pid 42), up 12 s: in session with web, db, 1 more may come
  web:
    looking for a path to the peer
  db:
    network lost 2 s ago, the connections are held
";
        assert_eq!(Described(&process).to_string(), expected);
    }
}
