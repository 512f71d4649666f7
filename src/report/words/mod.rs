//! Events and the status as lines of text for people. Nothing is written here.

use std::time::{Duration, Instant};

use p2pdbg_base::{HostPort, Untrusted, untrusted::escape};
use p2pdbg_events::{
    Activity, DebuggerReport, Event, PathKind, PathReport, SourcesReport, Status, StreamState, Via,
    Waiting, WaitingFor,
};
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::Direction;
use p2pdbg_proto::rendezvous::Role;

use super::unanswered::Unanswered;

/// How much a line matters, which decides its colour and whether it is shown while a COMMAND has the
/// terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// Something went on as it should.
    Plain,
    /// Something is better than before.
    Good,
    /// A person should look at it.
    Warning,
    /// Something has ended that should have gone on.
    Error,
}

/// One line for a person, without its line break. Safe to write to a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) weight: Weight,
    pub(super) text: String,
}

/// What to run on the other host.
fn ready(command: &str, without_install: Option<&str>, with_program: Option<&str>) -> Vec<Line> {
    let mut lines = vec![
        plain("on the debuggee's host, run:"),
        plain(format!("    {command}")),
    ];
    if let Some(line) = with_program {
        lines.push(plain("or, with the program behind it:"));
        lines.push(plain(format!("    {line}")));
    }
    if let Some(line) = without_install {
        lines.push(plain("or, in a shell of Linux without p2pdbg:"));
        lines.push(plain(format!("    {line}")));
    }
    lines
}

/// How many files that differ are named.
const MOST_NAMED: usize = 10;

/// What has been learnt from the events so far and later lines refer to.
#[derive(Debug)]
pub(super) struct View {
    role: Role,
    peer: Option<Untrusted>,
    path: Option<PathReport>,
    unanswered: Unanswered,
}

impl View {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            peer: None,
            path: None,
            unanswered: Unanswered::default(),
        }
    }

    /// The lines that tell of `event`; the view takes in what it says.
    // One match, which splitting would only scatter: an event, what is read of it.
    pub(super) fn lines(&mut self, event: &Event) -> Vec<Line> {
        if self.unanswered.is_repeated(event) {
            return Vec::new();
        }
        let lines = match event {
            Event::Ready {
                command,
                without_install,
                with_program,
                ..
            } => ready(command, without_install.as_deref(), with_program.as_deref()),
            Event::Paired { peer, known } => {
                self.peer = Some(peer.clone());
                let how = if *known { ", a known peer" } else { "" };
                vec![good(format!("paired with {peer}{how}"))]
            }
            Event::Facts(facts) => vec![plain(self.facts(facts))],
            Event::Sources(sources) => self.sources(sources),
            Event::Received { name } => vec![plain(format!(
                "{name} was copied here from {}",
                self.peer_name()
            ))],
            Event::AttachAsked {
                pid,
                command,
                debugger,
            } => vec![warning(format!(
                "{} wants {} to attach to process {pid} ({command}); let it? [y/N]",
                self.peer_name(),
                debugger.name()
            ))],
            Event::Attached {
                pid,
                command,
                debugger,
                port,
            } => vec![warning(format!(
                "{} has had {} attach to process {pid} ({command}), on port {port}",
                self.peer_name(),
                debugger.name()
            ))],
            Event::Forward {
                direction,
                listen,
                to,
                debugger,
                start,
            } => {
                let debugger = debugger.map_or(String::new(), |d| format!("  ({})", d.name()));
                let (opened, dialled) = (
                    self.place(opening_role(*direction)),
                    self.place(opening_role(*direction).other()),
                );
                let mut lines = vec![plain(format!(
                    "forward: {listen} {opened} -> {to} {dialled}{debugger}"
                ))];
                lines.extend(
                    start
                        .iter()
                        .map(|command| plain(format!("    debuggee: {command}"))),
                );
                lines
            }
            Event::Path(path) => {
                self.path = Some(path.clone());
                vec![path_line(path)]
            }
            Event::Stream {
                state: StreamState::GaveUp,
                to: Some(to),
                ..
            } => vec![plain(format!(
                "a connection to {to} was given up before anything answered there; nothing of it is delivered"
            ))],
            Event::Stream { .. } => Vec::new(),
            Event::Waiting(waiting) => vec![plain(self.waiting(waiting))],
            Event::PeerLost { streams } => vec![warning(format!(
                "network lost, holding {}",
                debugger_connections(*streams)
            ))],
            Event::Resumed { gap_ms, .. } => vec![good(format!(
                "resumed after {}, nothing lost",
                seconds(Duration::from_millis(*gap_ms))
            ))],
            Event::Warning(w) => with_hint(Weight::Warning, "warning", &w.message, &w.hint),
            Event::Error(e) => with_hint(Weight::Error, "error", &e.message, &e.hint),
            Event::Closed { why } => vec![plain(format!("closed: {why}"))],
        };
        lines.into_iter().map(Line::made_safe).collect()
    }

    /// The line that stays true, without the mark before it.
    pub(super) fn status_line(&self, status: &Status, now: Instant) -> String {
        let peer = self.peer.as_ref().map_or("the peer", Untrusted::as_str);
        let mut parts = match &status.activity {
            Activity::ReachingRendezvous(at) => vec![format!("reaching the rendezvous {at}")],
            Activity::AwaitingPeer => vec![format!("waiting for {peer} to connect")],
            Activity::Pairing => vec!["exchanging keys with the peer".to_owned()],
            Activity::Connecting => vec![format!("connecting to {peer}")],
            Activity::Connected { searching } => self.connected(peer, status.rtt, *searching),
            Activity::Resuming { since } => {
                let ago = seconds(Duration::from_secs(
                    now.saturating_duration_since(*since).as_secs(),
                ));
                let held = debugger_connections(status.streams);
                vec![format!("network lost {ago} ago, holding {held}")]
            }
            Activity::Closing if status.streams == 0 => vec!["closing".to_owned()],
            Activity::Closing => vec![format!("closing {}", connections(status.streams))],
        };
        if matches!(status.activity, Activity::Connected { .. }) {
            // Short, since the line is cut at the width of the terminal.
            parts.push(connections(status.streams));
            parts.extend(status.waiting.iter().map(waiting_in_short));
            // What may be cut off stands last: it was told in full when it came.
            let relayed = self
                .path
                .as_ref()
                .filter(|path| path.kind == PathKind::Relay);
            parts.extend(
                relayed
                    .map(|path| path.why.clone())
                    .filter(|why| !why.is_empty()),
            );
            if let Some(debugger) = &status.debugger {
                parts.push(debugger.to_string());
                let rtt = status.rtt.map(|rtt| rtt.as_secs_f64() * 1e3);
                parts.extend(step_cost(debugger, rtt));
            }
        }
        escape(parts.join(", ").chars())
    }

    /// What stays true of one session of several, in few words.
    pub(super) fn short_status(&self, session: &str, status: &Status, now: Instant) -> String {
        let mut parts = match &status.activity {
            Activity::Connecting => vec![format!("{session}: connecting")],
            Activity::Connected { .. } => {
                let mut parts = self.connected(session, status.rtt, false);
                parts.push(connections(status.streams));
                parts
            }
            _ => vec![format!("{session}: {}", self.status_line(status, now))],
        };
        if matches!(status.activity, Activity::Connected { .. }) {
            parts.extend(status.waiting.iter().map(waiting_in_short));
        }
        escape(parts.join(", ").chars())
    }

    fn peer_name(&self) -> &str {
        self.peer.as_ref().map_or("the peer", Untrusted::as_str)
    }

    /// A line for each file that differs, as far as somebody reads them.
    fn sources(&self, sources: &SourcesReport) -> Vec<Line> {
        let peer = self.peer_name();
        let differing = sources.differ.len() + sources.more;
        let left_out = (sources.left_out > 0).then(|| {
            let files = match sources.left_out {
                1 => "1 file was".to_owned(),
                more => format!("{more} files were"),
            };
            format!("{files} left out of comparing: name a smaller directory with --sources")
        });
        let ends = (!sources.line_ends.is_empty()).then(|| {
            let files = sources.line_ends.len();
            let differ = if files == 1 {
                "file differs in its"
            } else {
                "files differ in their"
            };
            format!("{files} {differ} line ends alone, which moves no breakpoint")
        });
        let plain = |text| Line {
            weight: Weight::Plain,
            text,
        };
        if differing == 0 {
            let files = sources.same + sources.line_ends.len();
            let are = if files == 1 { "file is" } else { "files are" };
            let same = good(format!("sources: {files} {are} the same as at {peer}"));
            let more = [ends, left_out].into_iter().flatten();
            return std::iter::once(same).chain(more.map(plain)).collect();
        }
        // The IDE's user sets the breakpoints; the debuggee's may have a COMMAND on the terminal.
        let weight = match self.role {
            Role::Listener => Weight::Warning,
            Role::Connector => Weight::Plain,
        };
        let named = sources.differ.iter().take(MOST_NAMED).map(|name| {
            format!(
                "{name} differs from the copy at {peer}: breakpoints may land on the wrong line"
            )
        });
        let left = differing.saturating_sub(MOST_NAMED);
        let rest =
            (left > 0).then(|| format!("and {left} more: p2pdbg sources lists all that differ"));
        let texts = named.chain(rest).chain(ends).chain(left_out);
        texts.map(|text| Line { weight, text }).collect()
    }

    /// `web-1: linux x86_64, /srv/app at 1f3a5c7, debugpy 1.8.22`.
    fn facts(&self, facts: &HostFacts) -> String {
        let peer = self.peer.as_ref().map_or("the peer", Untrusted::as_str);
        let commit = facts.git_commit.as_deref().and_then(|c| c.get(..7));
        let mut parts = vec![format!("{} {}", facts.os, facts.arch)];
        parts.extend(facts.source_root().map(|root| match commit {
            Some(commit) => format!("{root} at {commit}"),
            None => root.to_string(),
        }));
        parts.extend(facts.debuggers.iter().cloned());
        format!("{peer}: {}", parts.join(", "))
    }

    fn connected(&self, peer: &str, rtt: Option<Duration>, searching: bool) -> Vec<String> {
        let way = self.path.as_ref().map_or("connected".to_owned(), |path| {
            let found = path.technique.as_ref();
            way(path) + &found.map_or(String::new(), |by| format!(" by {by}"))
        });
        let mut parts = vec![format!("{peer}: {way}")];
        parts.extend(rtt.map(|rtt| format!("RTT {}", milliseconds(rtt.as_secs_f64() * 1e3))));
        if searching {
            parts.push("looking for a direct path".to_owned());
        }
        parts
    }

    fn waiting(&self, waiting: &Waiting) -> String {
        let somewhere = || "the forward's target".to_owned();
        let at = waiting
            .at
            .as_ref()
            .map_or_else(somewhere, HostPort::to_string);
        match waiting.awaited {
            WaitingFor::Peer => {
                let peer = self.peer.as_ref().map_or("the peer", Untrusted::as_str);
                let run = waiting.run.as_ref();
                let run = run.map_or(String::new(), |command| format!("; there: {command}"));
                format!("waiting for {peer}{run}")
            }
            WaitingFor::Rendezvous => "waiting for the rendezvous to answer".to_owned(),
            WaitingFor::Debuggee => format!(
                "waiting for a debuggee to listen on {at} {}",
                self.place(Role::Connector)
            ),
            WaitingFor::Ide => format!(
                "waiting for the IDE to listen on {at} {}",
                self.place(Role::Listener)
            ),
        }
    }

    /// Where the end of that role is, seen from this one.
    fn place(&self, role: Role) -> String {
        match &self.peer {
            _ if role == self.role => "here".to_owned(),
            Some(peer) => format!("at {peer}"),
            None => "at the peer".to_owned(),
        }
    }
}

impl Line {
    /// Escapes whatever slipped through: one event is one or two lines, and moves no cursor.
    fn made_safe(self) -> Self {
        Self {
            text: escape(self.text.chars()),
            ..self
        }
    }
}

pub(super) fn waiting_in_short(waiting: &Waiting) -> String {
    let on = waiting
        .at
        .as_ref()
        .map_or(String::new(), |at| format!(" on {at}"));
    match waiting.awaited {
        WaitingFor::Peer => "waiting for the peer".to_owned(),
        WaitingFor::Rendezvous => "waiting for the rendezvous".to_owned(),
        WaitingFor::Debuggee => format!("waiting for a debuggee{on}"),
        WaitingFor::Ide => format!("waiting for the IDE{on}"),
    }
}

/// What a step costs on the path: `a step: 40 ms × 5 = 0.2 s`.
pub(crate) fn step_cost(debugger: &DebuggerReport, rtt_ms: Option<f64>) -> Option<String> {
    let (round_trips, rtt) = (debugger.step_round_trips?, rtt_ms?);
    let cost = rtt * f64::from(round_trips) / 1e3;
    let cost = if cost < 0.095 {
        milliseconds(cost * 1e3)
    } else {
        format!("{cost:.1} s")
    };
    Some(format!(
        "a step: {} × {round_trips} = {cost}",
        milliseconds(rtt)
    ))
}

/// The end that opens a forward's port.
pub(super) fn opening_role(direction: Direction) -> Role {
    match direction {
        Direction::ToDebuggee => Role::Listener,
        Direction::ToIde => Role::Connector,
    }
}

fn path_line(path: &PathReport) -> Line {
    let mut text = way(path);
    if let Some(technique) = &path.technique {
        text.push_str(&format!(" by {technique}"));
    }
    if let Some(rtt) = path.rtt_ms {
        text.push_str(&format!(", RTT {}", milliseconds(rtt)));
    }
    if !path.why.is_empty() {
        text.push_str(&format!(": {}", path.why));
    }
    match path.kind {
        PathKind::Direct => good(text),
        PathKind::Relay => plain(text),
    }
}

pub(super) fn way(path: &PathReport) -> String {
    match (path.kind, path.via) {
        (PathKind::Direct, Via::Udp) => "direct".to_owned(),
        (PathKind::Direct, Via::Tcp | Via::WebSocket) => "direct over TCP".to_owned(),
        (PathKind::Relay, Via::Udp) => "over the relay".to_owned(),
        (PathKind::Relay, Via::Tcp) => "over the relay by TCP".to_owned(),
        (PathKind::Relay, Via::WebSocket) => "over the relay by WebSocket".to_owned(),
    }
}

fn with_hint(weight: Weight, label: &str, message: &str, hint: &Option<String>) -> Vec<Line> {
    let mut lines = vec![Line {
        weight,
        text: format!("{label}: {message}"),
    }];
    lines.extend(hint.iter().map(|hint| Line {
        weight,
        text: format!("    {hint}"),
    }));
    lines
}

fn plain(text: impl Into<String>) -> Line {
    Line {
        weight: Weight::Plain,
        text: text.into(),
    }
}

fn good(text: String) -> Line {
    Line {
        weight: Weight::Good,
        text,
    }
}

fn warning(text: String) -> Line {
    Line {
        weight: Weight::Warning,
        text,
    }
}

fn connections(streams: usize) -> String {
    match streams {
        0 => "no connections".to_owned(),
        1 => "1 connection".to_owned(),
        n => format!("{n} connections"),
    }
}

fn debugger_connections(streams: usize) -> String {
    connections(streams).replace("connection", "debugger connection")
}

/// A time for people: `0.4 ms`, `40 ms`.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// `14.2 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn seconds(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 if time.subsec_millis() == 0 => format!("{s} s"),
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests;
