//! What people see of it: a line for each thing that happens, with the time and the place.

use std::{
    env,
    io::{self, IsTerminal},
    process::ExitStatus,
    time::Instant,
};

use p2pdbg_events::{Event, PathKind, PathReport, WaitingFor};

use crate::{
    cast::Who,
    moment::{Debugging, Moment},
    seen::Seen,
    stage::Stage,
};

/// Tells what happens, on standard output.
pub(crate) struct Story {
    began: Instant,
    coloured: bool,
}

/// How a part of a line looks on a terminal.
#[derive(Clone, Copy)]
enum Look {
    Plain,
    Dim,
    Strong,
    Good,
    Bad,
}

impl Story {
    /// Shows the picture of the stage, and begins.
    pub(crate) fn open(stage: &Stage) -> Self {
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let story = Self {
            began: Instant::now(),
            coloured: io::stdout().is_terminal() && !no_color,
        };
        println!("\n{}", stage.picture());
        story
    }

    /// Shows the command by which a program is started.
    pub(crate) fn starts(&self, who: Who, command: &str) {
        let prompt = if who == Who::Debugger {
            "debugger: "
        } else {
            "$ "
        };
        self.line(who, &[(Look::Dim, prompt), (Look::Strong, command)]);
    }

    /// Shows that a program has ended, and how.
    pub(crate) fn ends(&self, who: Who, status: ExitStatus) {
        self.line(who, &[(Look::Dim, &format!("ended ({status})"))]);
    }

    /// A program says something that is not part of the story.
    pub(crate) fn complains(&self, who: Who, line: &str) {
        self.line(who, &[(Look::Dim, line)]);
    }

    /// A program says what happens.
    pub(crate) fn tell(&self, who: Who, moment: &Moment) {
        match moment {
            Moment::Serving(url) => self.line(
                who,
                &[(Look::Plain, "serves at "), (Look::Dim, &shortened(url))],
            ),
            Moment::Printed(line) => self.line(
                who,
                &[(Look::Plain, "the program prints "), (Look::Strong, line)],
            ),
            Moment::Peer(event) => self.tell_event(who, event),
            Moment::Debugger(debugging) => self.tell_debugging(who, debugging),
        }
    }

    /// Shows the figures, when all is well.
    pub(crate) fn close(&self, seen: &Seen) {
        let took = self.began.elapsed().as_secs_f64();
        let text = format!(
            "\n   Done in {took:.1} s: {} breakpoints, {} steps, and the sum came out right.\n",
            seen.breakpoints, seen.steps
        );
        println!("{}", self.paint(Look::Good, &text));
    }

    fn tell_event(&self, who: Who, event: &Event) {
        match event {
            Event::Ready {
                code: Some(code), ..
            } => {
                let code = code.to_string();
                self.line(who, &[(Look::Plain, "code "), (Look::Good, &code)]);
            }
            Event::Paired { peer, .. } => {
                let text = format!(
                    "paired with {}: each has proven to know the code",
                    peer.as_str()
                );
                self.line(who, &[(Look::Plain, &text)]);
            }
            Event::Path(path) if who == Who::Listen => self.tell_path(who, path),
            Event::Forward { listen, to, .. } if who == Who::Listen => {
                let text = format!("{listen} here leads to {to} on the server");
                self.line(who, &[(Look::Plain, &text)]);
            }
            Event::Waiting(waiting)
                if who == Who::Listen && waiting.awaited == WaitingFor::Debuggee =>
            {
                let at = waiting.at.as_ref().map(|at| format!(" at {at}"));
                let text = format!(
                    "holds the debugger's connection until something listens{}",
                    at.unwrap_or_default()
                );
                self.line(who, &[(Look::Dim, &text)]);
            }
            Event::Warning(warning) => self.line(who, &[(Look::Bad, &warning.message)]),
            Event::Error(failure) => self.line(who, &[(Look::Bad, &failure.message)]),
            _ => {}
        }
    }

    fn tell_path(&self, who: Who, path: &PathReport) {
        let (look, kind) = match path.kind {
            PathKind::Direct => (Look::Good, "direct path"),
            PathKind::Relay => (Look::Strong, "path through the relay"),
        };
        let remote = path.remote.map(|remote| format!(" to {remote}"));
        let rtt = path.rtt_ms.map(|rtt| format!(", RTT {rtt:.1} ms"));
        let technique = path.technique.as_ref().map(|name| format!(" ({name})"));
        let rest = format!(
            "{}{}, after {} ms{}",
            remote.unwrap_or_default(),
            rtt.unwrap_or_default(),
            path.after_ms,
            technique.unwrap_or_default()
        );
        self.line(who, &[(look, kind), (Look::Plain, &rest)]);
    }

    fn tell_debugging(&self, who: Who, debugging: &Debugging) {
        match debugging {
            Debugging::Attached { local, remote } => self.line(
                who,
                &[
                    (Look::Plain, "attached; path mapping "),
                    (Look::Dim, &format!("{local} ↔ {remote}")),
                ],
            ),
            Debugging::Breakpoint { at, function } => {
                let place = format!(" {}:{} in {function}  ", at.file, at.line);
                self.line(
                    who,
                    &[
                        (Look::Good, "breakpoint hit"),
                        (Look::Plain, &place),
                        (Look::Strong, &at.source),
                    ],
                );
            }
            Debugging::Variable { name, value } => {
                self.line(
                    who,
                    &[
                        (Look::Plain, "  "),
                        (Look::Strong, &format!("{name} = {value}")),
                    ],
                );
            }
            Debugging::Step { at, ms } => {
                let text = format!("step to {}:{} in {ms:.0} ms  ", at.file, at.line);
                self.line(who, &[(Look::Plain, &text), (Look::Strong, &at.source)]);
            }
            Debugging::Evaluated { expression, value } => self.line(
                who,
                &[
                    (Look::Plain, &format!("evaluates {expression}  ")),
                    (Look::Strong, value),
                ],
            ),
            Debugging::Set { name, value } => self.line(
                who,
                &[
                    (Look::Plain, "sets "),
                    (Look::Strong, &format!("{name} = {value}")),
                    (Look::Plain, " and lets the program run on"),
                ],
            ),
            Debugging::Done { .. } => {}
        }
    }

    fn line(&self, who: Who, parts: &[(Look, &str)]) {
        let time = format!("{:7.2} s ", self.began.elapsed().as_secs_f64());
        let text: String = parts
            .iter()
            .map(|&(look, part)| self.paint(look, part))
            .collect();
        println!("{} {who:<11} {text}", self.paint(Look::Dim, &time));
    }

    fn paint(&self, look: Look, text: &str) -> String {
        let code = match look {
            _ if !self.coloured => return text.to_owned(),
            Look::Plain => return text.to_owned(),
            Look::Dim => "2",
            Look::Strong => "1",
            Look::Good => "1;32",
            Look::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A URL of which the access key and most of the fingerprint are left out.
fn shortened(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (_, place) = rest.split_once('@').unwrap_or(("", rest));
    let (host, fingerprint) = place.split_once('#').unwrap_or((place, ""));
    let start: String = fingerprint.chars().take(6).collect();
    format!("{scheme}://KEY@{host}#{start}…")
}
