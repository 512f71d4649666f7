//! Reports for people: the code on standard output, all else on standard error.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, Instant},
};

use p2pdbg_base::{shows_colours, takes_escapes};
use p2pdbg_events::{Activity, Event, Of, Status};
use p2pdbg_proto::rendezvous::Role;

use super::{
    Statuses,
    output::OutputLines,
    status_line::StatusLine,
    words::{Line, View, Weight},
};

/// The frames of the spinner.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Where lines go, and how.
pub(super) enum Screen {
    /// A terminal, with the status line below everything.
    Terminal {
        /// What stays below everything that is printed.
        line: StatusLine,
        /// Whether colours are welcome (<https://no-color.org>).
        colour: bool,
    },
    /// A file, a pipe or a terminal that cannot move its cursor: lines alone.
    Plain(Box<dyn Write + Send>),
}

impl Screen {
    /// The screen that standard error is.
    pub(super) fn of_stderr() -> Self {
        if !takes_escapes(&io::stderr()) {
            return Self::Plain(Box::new(io::stderr()));
        }
        Self::Terminal {
            line: StatusLine::default(),
            colour: shows_colours(&io::stderr()),
        }
    }
}

/// What is shown of one session, or of what all have in common.
struct Shown {
    view: View,
    status: Option<Status>,
}

/// The reports of one process.
pub(super) struct Human {
    role: Role,
    shown: BTreeMap<Of, Shown>,
    out: OutputLines,
    screen: Screen,
    frame: usize,
    /// Whether a COMMAND has the terminal.
    released: bool,
}

impl Human {
    pub(super) fn new(role: Role, out: impl Write + Send + 'static, screen: Screen) -> Self {
        Self {
            role,
            shown: BTreeMap::new(),
            out: OutputLines::to(out),
            screen,
            frame: 0,
            released: false,
        }
    }

    /// # Errors
    /// If the code cannot be written to standard output.
    pub(super) fn event(&mut self, of: Of, event: &Event) -> io::Result<()> {
        let code = match event {
            Event::Ready { code, .. } => code.as_ref(),
            _ => None,
        };
        let written = code.map_or(Ok(()), |code| self.print_code(&code.to_string()));
        let resumed = matches!(event, Event::Resumed { .. });
        let lines = self.shown(of.clone()).view.lines(event);
        for mut line in lines {
            if let Some(session) = &of {
                line.text = format!("{session}: {}", line.text);
            }
            let matters = resumed || matches!(line.weight, Weight::Warning | Weight::Error);
            if !self.released {
                self.print(&line);
            } else if matters {
                let text = format!("p2pdbg: {}", line.text);
                self.print(&Line { text, ..line });
            }
        }
        written
    }

    /// Warns of what is no event.
    pub(super) fn warn(&mut self, warning: String) {
        self.print(&Line {
            text: format!("warning: {warning}"),
            weight: Weight::Warning,
        });
    }

    fn shown(&mut self, of: Of) -> &mut Shown {
        let role = self.role;
        self.shown.entry(of).or_insert_with(|| Shown {
            view: View::new(role),
            status: None,
        })
    }

    /// One log line, which comes with its line break.
    pub(super) fn log(&mut self, line: &[u8]) {
        // A log that cannot be written cannot be reported either.
        let _ = match &mut self.screen {
            Screen::Terminal { line: status, .. } => {
                status.print_above(|| io::stderr().write_all(line))
            }
            Screen::Plain(err) => err.write_all(line),
        };
    }

    pub(super) fn release_terminal(&mut self) {
        self.clear();
        self.released = true;
    }

    /// Takes over what is new of the status, and draws the line; on a plain screen there is none.
    pub(super) fn draw(&mut self, statuses: Statuses) {
        for (of, status) in statuses {
            self.shown(of).status = status;
        }
        let (Screen::Terminal { colour, .. }, false) = (&self.screen, self.released) else {
            return;
        };
        let activities = || self.statuses().map(|(_, _, status)| &status.activity);
        let is_resuming = |activity: &Activity| matches!(activity, Activity::Resuming { .. });
        let is_connected = |activity: &Activity| matches!(activity, Activity::Connected { .. });
        let mark = match (
            activities().any(is_resuming),
            activities().any(is_connected),
        ) {
            (true, _) => paint(*colour, "33", "●"),
            (false, true) => paint(*colour, "32", "●"),
            (false, false) => SPINNER[self.frame % SPINNER.len()].to_owned(),
        };
        self.frame = self.frame.wrapping_add(1);
        let text = self.status_line(Instant::now());
        if let (Some(text), Screen::Terminal { line, .. }) = (text, &mut self.screen) {
            line.set(&mark, &text);
        }
    }

    /// Sessions first, in the order of their names.
    fn statuses(&self) -> impl Iterator<Item = (&Of, &View, &Status)> {
        let each = self.shown.iter().filter(|(of, _)| of.is_some());
        let all = self.shown.get_key_value(&None);
        each.chain(all)
            .filter_map(|(of, shown)| Some((of, &shown.view, shown.status.as_ref()?)))
    }

    /// One session with all there is to say of it, or several in short.
    fn status_line(&self, now: Instant) -> Option<String> {
        let several = self.statuses().any(|(of, ..)| of.is_some());
        let lines = self
            .statuses()
            .map(|(of, view, status)| match (of, several) {
                (None, true) if status.activity == Activity::AwaitingPeer => {
                    "waiting for another peer".to_owned()
                }
                (None, _) => view.status_line(status, now),
                (Some(session), _) => view.short_status(session, status, now),
            });
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join(" · "))
    }

    pub(super) fn redraw_every(&self) -> Option<Duration> {
        let drawing = matches!(self.screen, Screen::Terminal { .. }) && !self.released;
        let statuses = self.statuses().filter(|_| drawing);
        statuses
            .filter_map(|(.., status)| status.activity.redraw_every())
            .min()
    }

    pub(super) fn clear(&mut self) {
        if let Screen::Terminal { line, .. } = &mut self.screen {
            line.clear();
        }
    }

    /// The code stands alone on its line of standard output, for a person to copy or a script to read.
    fn print_code(&mut self, code: &str) -> io::Result<()> {
        let mut print = || self.out.write(code);
        match &mut self.screen {
            Screen::Terminal { line, .. } => line.print_above(print),
            Screen::Plain(_) => print(),
        }
    }

    fn print(&mut self, line: &Line) {
        match &mut self.screen {
            Screen::Terminal {
                line: status,
                colour,
            } => {
                let sgr = match line.weight {
                    Weight::Plain => "",
                    Weight::Good => "32",
                    Weight::Warning => "33",
                    Weight::Error => "31",
                };
                let text = paint(*colour && !sgr.is_empty(), sgr, &line.text);
                // Nowhere is left to complain to.
                let _ = status.print_above(|| writeln!(io::stderr(), "{text}"));
            }
            Screen::Plain(err) => {
                let _ = writeln!(err, "{}", line.text).and_then(|()| err.flush());
            }
        }
    }
}

fn paint(colour: bool, sgr: &str, text: &str) -> String {
    if colour {
        format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use p2pdbg_base::Untrusted;
    use p2pdbg_events::{Warning, WarningCode};

    use super::*;

    /// What was written, shared with the one who looks.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn plain() -> (Human, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        let screen = Screen::Plain(Box::new(err.clone()));
        let human = Human::new(Role::Listener, out.clone(), screen);
        (human, out, err)
    }

    fn ready() -> Event {
        Event::Ready {
            code: Some("482913-orbit-lemon-tiger".parse().unwrap()),
            command: "p2pdbg connect 482913-orbit-lemon-tiger".to_owned(),
            without_install: None,
            with_program: Some("p2pdbg connect 482913-orbit-lemon-tiger -- dlv exec".to_owned()),
        }
    }

    #[test]
    fn the_code_alone_is_on_standard_output() {
        let (mut human, out, err) = plain();
        human.event(None, &ready()).unwrap();
        human
            .event(
                None,
                &Event::Paired {
                    peer: Untrusted::new("web-1"),
                    known: false,
                },
            )
            .unwrap();
        assert_eq!(out.text(), "482913-orbit-lemon-tiger\n");
        let said = "run:\n    p2pdbg connect 482913-orbit-lemon-tiger\nor, with the program behind it:\n    \
                    p2pdbg connect 482913-orbit-lemon-tiger -- dlv exec\n";
        assert!(err.text().contains(said), "{}", err.text());
        assert!(err.text().ends_with("paired with web-1\n"));
    }

    #[test]
    fn a_screen_that_is_no_terminal_gets_lines_without_escapes_or_status() {
        let (mut human, _, err) = plain();
        human.draw(Statuses::from([(
            None,
            Some(Status::new(Activity::Pairing)),
        )]));
        human
            .event(
                None,
                &Event::Warning(Warning::new(WarningCode::OneFamily, "::1 is taken")),
            )
            .unwrap();
        assert_eq!(err.text(), "warning: ::1 is taken\n");
        assert_eq!(human.redraw_every(), None);
    }

    #[test]
    fn a_command_that_has_the_terminal_is_disturbed_by_what_matters_alone() {
        let (mut human, _, err) = plain();
        human.release_terminal();
        human
            .event(None, &Event::Closed { why: "done".into() })
            .unwrap();
        human.event(None, &Event::PeerLost { streams: 1 }).unwrap();
        human
            .event(
                None,
                &Event::Resumed {
                    gap_ms: 900,
                    streams: 1,
                },
            )
            .unwrap();
        assert_eq!(
            err.text(),
            "p2pdbg: network lost, holding 1 debugger connection\n\
             p2pdbg: resumed after 0.9 s, nothing lost\n"
        );
    }

    #[test]
    fn of_several_sessions_every_line_says_which_it_is_of() {
        let (mut human, _, err) = plain();
        for name in ["web-1", "web-2"] {
            human
                .event(
                    Some(name.into()),
                    &Event::Paired {
                        peer: Untrusted::new(name),
                        known: false,
                    },
                )
                .unwrap();
        }
        human
            .event(Some("web-2".into()), &Event::PeerLost { streams: 1 })
            .unwrap();
        assert_eq!(
            err.text(),
            "web-1: paired with web-1\nweb-2: paired with web-2\n\
             web-2: network lost, holding 1 debugger connection\n"
        );
    }

    #[test]
    fn the_status_line_of_several_sessions_says_of_each_how_it_is_and_who_may_still_come() {
        let (mut human, _, _) = plain();
        let of = |name: &str| Some(name.into());
        let connected = || Some(Status::new(Activity::Connected { searching: false }));
        human.draw(Statuses::from([
            (None, Some(Status::new(Activity::AwaitingPeer))),
            (of("web-2"), connected()),
            (of("web-1"), Some(Status::new(Activity::Connecting))),
        ]));
        assert_eq!(
            human.status_line(Instant::now()).unwrap(),
            "web-1: connecting · web-2: connected, no connections · waiting for another peer"
        );
        human.draw(Statuses::from([(None, None), (of("web-1"), None)]));
        assert_eq!(
            human.status_line(Instant::now()).unwrap(),
            "web-2: connected, no connections"
        );
    }
}
