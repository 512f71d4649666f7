//! Reports for people: the code on standard output, all else on standard error.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use p2pdbg_wire::control::Role;

use super::{
    Activity, Event, Status,
    terminal::StatusTerminal,
    words::{Line, View, Weight},
};

/// The frames of the spinner.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Where lines go, and how.
pub(super) enum Screen {
    /// A terminal, with the status line below everything.
    Terminal {
        /// Draws the status line and keeps it below what is printed.
        bar: ProgressBar,
        /// Whether colours are welcome (<https://no-color.org>).
        colour: bool,
    },
    /// A file, a pipe or a terminal that cannot move its cursor: lines alone.
    Plain(Box<dyn Write + Send>),
}

impl Screen {
    /// The screen that standard error is.
    pub(super) fn of_stderr() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !io::stderr().is_terminal() || dumb {
            return Self::Plain(Box::new(io::stderr()));
        }
        // Drawn at most every 100 ms, and then always: the limit of indicatif must not hold a line back.
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(StatusTerminal::stderr()), 100);
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Self::Terminal {
            bar,
            colour: !set("NO_COLOR"),
        }
    }
}

/// The reports of one session.
pub(super) struct Human {
    view: View,
    out: Box<dyn Write + Send>,
    screen: Screen,
    status: Option<Status>,
    frame: usize,
    /// Whether a COMMAND has the terminal.
    released: bool,
}

impl Human {
    pub(super) fn new(role: Role, out: Box<dyn Write + Send>, screen: Screen) -> Self {
        Self {
            view: View::new(role),
            out,
            screen,
            status: None,
            frame: 0,
            released: false,
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        if let Event::Ready {
            code: Some(code), ..
        } = event
        {
            self.print_code(&code.to_string());
        }
        let resumed = matches!(event, Event::Resumed { .. });
        for line in self.view.lines(event) {
            let matters = resumed || matches!(line.weight, Weight::Warning | Weight::Error);
            if !self.released {
                self.print(&line);
            } else if matters {
                let text = format!("p2pdbg: {}", line.text);
                self.print(&Line { text, ..line });
            }
        }
    }

    /// One log line, which comes with its line break.
    pub(super) fn log(&mut self, line: &[u8]) {
        // A log that cannot be written cannot be reported either.
        let _ = match &mut self.screen {
            Screen::Terminal { bar, .. } => bar.suspend(|| io::stderr().write_all(line)),
            Screen::Plain(err) => err.write_all(line),
        };
    }

    pub(super) fn release_terminal(&mut self) {
        self.clear();
        self.released = true;
    }

    /// Takes over a new status, if there is one, and draws the line; on a plain screen there is none.
    pub(super) fn draw(&mut self, status: Option<Status>) {
        if status.is_some() {
            self.status = status;
        }
        let (Screen::Terminal { bar, colour }, Some(status), false) =
            (&self.screen, &self.status, self.released)
        else {
            return;
        };
        let mark = match status.activity {
            Activity::Connected { .. } => paint(*colour, "32", "●"),
            Activity::Resuming { .. } => paint(*colour, "33", "●"),
            _ => SPINNER[self.frame % SPINNER.len()].to_owned(),
        };
        self.frame = self.frame.wrapping_add(1);
        let line = self.view.status_line(status, Instant::now());
        bar.set_message(format!("{mark} {line}"));
    }

    pub(super) fn redraw_every(&self) -> Option<Duration> {
        let drawing = matches!(self.screen, Screen::Terminal { .. }) && !self.released;
        let status = self.status.as_ref().filter(|_| drawing)?;
        status.activity.redraw_every()
    }

    pub(super) fn clear(&mut self) {
        if let Screen::Terminal { bar, .. } = &self.screen {
            bar.finish_and_clear();
        }
    }

    /// The code stands alone on its line of standard output, for a person to copy or a script to read.
    fn print_code(&mut self, code: &str) {
        let mut print = || writeln!(self.out, "{code}").and_then(|()| self.out.flush());
        let result = match &self.screen {
            Screen::Terminal { bar, .. } => bar.suspend(print),
            Screen::Plain(_) => print(),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the code could not be written to standard output");
        }
    }

    fn print(&mut self, line: &Line) {
        match &mut self.screen {
            Screen::Terminal { bar, colour } => {
                let sgr = match line.weight {
                    Weight::Plain => "",
                    Weight::Good => "32",
                    Weight::Warning => "33",
                    Weight::Error => "31",
                };
                let text = paint(*colour && !sgr.is_empty(), sgr, &line.text);
                // Nowhere is left to complain to.
                let _ = bar.suspend(|| writeln!(io::stderr(), "{text}"));
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

    use super::*;
    use crate::report::{Untrusted, Warning, WarningCode};

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
        let human = Human::new(Role::Listener, Box::new(out.clone()), screen);
        (human, out, err)
    }

    fn ready() -> Event {
        Event::Ready {
            code: Some("482913-orbit-lemon-tiger".parse().unwrap()),
            command: "p2pdbg connect 482913-orbit-lemon-tiger".to_owned(),
        }
    }

    #[test]
    fn the_code_alone_is_on_standard_output() {
        let (mut human, out, err) = plain();
        human.event(&ready());
        human.event(&Event::Paired {
            peer: Untrusted::new("web-1"),
            known: false,
        });
        assert_eq!(out.text(), "482913-orbit-lemon-tiger\n");
        assert!(err.text().contains("p2pdbg connect 482913"));
        assert!(err.text().ends_with("paired with web-1\n"));
    }

    #[test]
    fn a_screen_that_is_no_terminal_gets_lines_without_escapes_or_status() {
        let (mut human, _, err) = plain();
        human.draw(Some(Status::new(Activity::Pairing)));
        human.event(&Event::Warning(Warning::new(
            WarningCode::OneFamily,
            "::1 is taken",
        )));
        assert_eq!(err.text(), "warning: ::1 is taken\n");
        assert_eq!(human.redraw_every(), None);
    }

    #[test]
    fn a_command_that_has_the_terminal_is_disturbed_by_what_matters_alone() {
        let (mut human, _, err) = plain();
        human.release_terminal();
        human.event(&Event::Closed { why: "done".into() });
        human.event(&Event::PeerLost { streams: 1 });
        human.event(&Event::Resumed {
            gap_ms: 900,
            streams: 1,
        });
        assert_eq!(
            err.text(),
            "p2pdbg: network lost, holding 1 debugger connection\n\
             p2pdbg: resumed after 0.9 s, nothing lost\n"
        );
    }
}
