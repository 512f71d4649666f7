//! What `p2pdbg status --watch` shows, as lines of text: the terminal's affairs are elsewhere.

use p2pdbg_events::{
    ProgramState, StreamState,
    snapshot::{ProcessSnapshot, Sample, SessionSnapshot, SessionState, StreamSnapshot},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::report::described;

/// How many measurements are plotted; as many columns.
const COLUMNS: usize = 50;

/// The steps of a plot, from nothing to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is shown, and from which line on.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) processes: Vec<ProcessSnapshot>,
    /// Why nothing is known, if asking failed.
    pub(super) trouble: Option<String>,
    scroll: usize,
}

impl Screen {
    /// Moves what is shown by so many lines.
    pub(super) fn scroll(&mut self, lines: isize) {
        self.scroll = self.scroll.saturating_add_signed(lines);
    }

    /// Draws everything.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [top, body] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(frame.area());
        let sessions: usize = self.processes.iter().map(|p| p.sessions.len()).sum();
        let title = match sessions {
            0 => "no sessions".to_owned(),
            1 => "1 session".to_owned(),
            n => format!("{n} sessions"),
        };
        let [left, right] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(22)]).areas(top);
        frame.render_widget(
            Line::from(vec!["p2pdbg".bold(), format!("  {title}").into()]),
            left,
        );
        frame.render_widget(
            Line::from("↑↓ scroll  q quits".dim()).right_aligned(),
            right,
        );

        let lines = self.lines();
        let height = usize::from(body.height);
        self.scroll = self.scroll.min(lines.len().saturating_sub(height));
        let shown: Vec<Line<'_>> = lines.into_iter().skip(self.scroll).take(height).collect();
        frame.render_widget(Paragraph::new(shown), body);
    }

    fn lines(&self) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if let Some(trouble) = &self.trouble {
            lines.push(Line::from(trouble.clone()).yellow());
        } else if self.processes.is_empty() {
            lines.push(Line::from("No p2pdbg of yours runs on this host.").dim());
        }
        for (index, process) in self.processes.iter().enumerate() {
            if index > 0 {
                lines.push(Line::default());
            }
            lines.push(Line::from(described::headline(process)).bold());
            for session in &process.sessions {
                lines.extend(session_lines(process, session));
            }
        }
        lines
    }
}

fn session_lines(process: &ProcessSnapshot, session: &SessionSnapshot) -> Vec<Line<'static>> {
    let mark = match session.state {
        SessionState::Connected => "●".green(),
        SessionState::Connecting | SessionState::Resuming => "●".yellow(),
    };
    let path = match process.places {
        Some(_) => format!("{}: {}", session.peer, described::path_line(session)),
        None => described::path_line(session),
    };
    let mut lines = vec![Line::from(vec![
        "  ".into(),
        mark,
        format!(" {path}").into(),
    ])];
    if let Some(history) = history(session) {
        lines.push(Line::from(format!("    {history}")).dim());
    }
    lines.extend(plots(&session.samples));
    let forwards = session.forwards.iter();
    lines.extend(forwards.map(|forward| {
        Line::from(format!(
            "    {}",
            described::forward_line(process.command, forward)
        ))
    }));
    for stream in &session.streams {
        lines.extend(stream_lines(stream, session.rtt_ms));
    }
    if session.more_streams > 0 {
        lines.push(Line::from(format!("    and {} more streams", session.more_streams)).dim());
    }
    for waiting in &session.waiting {
        let text = format!("    {}", described::waiting_line(waiting));
        lines.push(Line::from(text).yellow());
    }
    lines
}

/// The paths so far: `over the relay at 0.2 s, direct at 0.3 s`.
fn history(session: &SessionSnapshot) -> Option<String> {
    let last = session.paths.len().saturating_sub(4);
    let paths: Vec<String> = session.paths[last..]
        .iter()
        .map(|path| {
            let at = path.after_ms as f64 / 1e3;
            format!("{} at {at:.1} s", described::past_path(path))
        })
        .collect();
    (paths.len() > 1).then(|| format!("paths: {}", paths.join(", ")))
}

/// RTT and loss of late, a column for each measurement.
fn plots(samples: &[Sample]) -> Vec<Line<'static>> {
    let recent = &samples[samples.len().saturating_sub(COLUMNS)..];
    let rtts = recent.iter().filter_map(|sample| sample.rtt_ms);
    let (least, most) = rtts.fold((f64::MAX, 0.0_f64), |(least, most), rtt| {
        (least.min(rtt), most.max(rtt))
    });
    if recent.len() < 2 || least > most {
        return Vec::new();
    }
    // From nothing up to a round trip that is at least a little more than the least: noise is no news.
    let scale = most.max(least * 1.5).max(1.0);
    let rtt = recent.iter().map(|sample| match sample.rtt_ms {
        Some(rtt) => bar(rtt / scale),
        None => ' ',
    });
    let lost = |sample: &Sample| sample.lost as f64 / sample.sent.max(sample.lost).max(1) as f64;
    let loss = recent.iter().map(|sample| match sample.rtt_ms {
        None => ' ',
        Some(_) if sample.lost == 0 => '·',
        Some(_) => bar(lost(sample)),
    });
    let range = if milliseconds(least) == milliseconds(most) {
        format!("{} ms", milliseconds(most))
    } else {
        format!("{} to {} ms", milliseconds(least), milliseconds(most))
    };
    let worst = recent.iter().map(lost).fold(0.0, f64::max);
    let plot = |name: &str, bars: String, colour: Color, legend: String| {
        let padding = COLUMNS - bars.chars().count();
        Line::from(vec![
            Span::from(format!("    {name:<5}")),
            Span::styled(bars, Style::new().fg(colour)),
            Span::from(" ".repeat(padding)),
            Span::from(format!(" {legend}")).dim(),
        ])
    };
    let most_lost = match worst {
        0.0 => "none".to_owned(),
        worst => format!("up to {:.0} %", worst * 100.0),
    };
    vec![
        plot("RTT", rtt.collect(), Color::Cyan, range),
        plot("loss", loss.collect(), Color::Yellow, most_lost),
    ]
}

fn milliseconds(ms: f64) -> String {
    match ms {
        0.0..10.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// The bar for a part of the whole.
fn bar(part: f64) -> char {
    let steps = BARS.len() as f64;
    let step = (part * steps).ceil().clamp(1.0, steps) - 1.0;
    // Between 0 and 7 by now.
    BARS.get(step as usize).copied().unwrap_or(BARS[0])
}

fn stream_lines(stream: &StreamSnapshot, rtt: Option<f64>) -> Vec<Line<'static>> {
    let to = stream
        .to
        .as_ref()
        .map_or(String::new(), |to| format!(" to {to}"));
    let state = described::stream_state(stream.state);
    let state = match stream.state {
        Some(StreamState::Open) => state.green(),
        Some(StreamState::Closed | StreamState::Reset | StreamState::GaveUp) => state.dim(),
        _ => state.yellow(),
    };
    let mut lines = vec![Line::from(vec![
        Span::from(format!("    stream {}{to}: ", stream.id)),
        state,
        Span::from(format!(
            ", {} sent, {} received, {}",
            described::bytes(stream.sent),
            described::bytes(stream.received),
            described::whole_seconds(stream.age_ms)
        )),
    ])];
    if let Some(debugger) = &stream.debugger {
        let text = format!("      {debugger}");
        let stopped = debugger.program == Some(ProgramState::Stopped);
        lines.push(match stopped {
            true => Line::from(text).magenta(),
            false => Line::from(text),
        });
        if let Some(cost) = described::step_cost(debugger, rtt) {
            lines.push(Line::from(format!("      {cost}")).dim());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn process() -> ProcessSnapshot {
        let samples: Vec<String> = (0..60)
            .map(|n| {
                let (rtt, lost) = if n % 20 == 7 { (80.0, 2) } else { (40.2, 0) };
                format!(
                    r#"{{"ago_ms":{},"rtt_ms":{rtt},"sent":20,"lost":{lost}}}"#,
                    (60 - n) * 500
                )
            })
            .collect();
        let json = format!(
            r#"{{"pid":4242,"command":"listen","version":"0.1.0","up_ms":200000,"rendezvous":"h:1",
            "state":"in_session","sessions":[{{"peer":"web-1","known":true,"age_ms":9000,"state":"connected",
            "paths":[{{"kind":"relay","via":"udp","after_ms":212,"why":""}},
                {{"kind":"direct","via":"udp","technique":"hole-punch","after_ms":297,"why":""}}],
            "rtt_ms":40.2,"samples":[{}],
            "forwards":[{{"direction":"to_debuggee","listen":"127.0.0.1:5678","to":"localhost:5678",
                "debugger":"debugpy","state":"up"}}],
            "streams":[{{"id":1,"state":"open","to":"localhost:5678","age_ms":61000,"sent":5120,"received":88064,
                "debugger":{{"protocol":"dap","name":"debugpy","version":"1.8.22","runtime":"Python 3.11","pid":4242,
                "program":"stopped","file":"/srv/app.py","line":17,"step_round_trips":5}}}},
                {{"id":3,"state":"waiting","to":"localhost:5678","age_ms":3000,"sent":0,"received":0}}],
            "waiting":[{{"for":"debuggee","at":"localhost:5678"}}]}}]}}"#,
            samples.join(",")
        );
        serde_json::from_str(&json).unwrap()
    }

    /// The screen as text, without colours.
    fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| {
            let text: String = row.iter().map(|cell| cell.symbol()).collect();
            text.trim_end().to_owned()
        })
        .collect()
    }

    #[test]
    fn a_session_fits_into_80_by_24() {
        let mut screen = Screen {
            processes: vec![process()],
            ..Screen::default()
        };
        let rtt = "▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅█▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅█▅▅▅▅▅▅▅▅▅▅▅▅";
        let loss = "·················▁···················▁············";
        let expected = [
            "p2pdbg  1 session                                             ↑↓ scroll  q quits",
            "",
            "listen (pid 4242), up 3 min 20 s: in session with web-1",
            "  ● direct by hole-punch, RTT 40 ms, 0.5 % lost",
            "    paths: over the relay at 0.2 s, direct by hole-punch at 0.3 s",
            &format!("    RTT  {rtt} 40 to 80 ms"),
            &format!("    loss {loss} up to 10 %"),
            "    forward: 127.0.0.1:5678 here -> localhost:5678 there  (debugpy)",
            "    stream 1 to localhost:5678: open, 5.1 kB sent, 88 kB received, 1 min 1 s",
            "      debugpy 1.8.22, Python 3.11, pid 4242, stopped at app.py:17",
            "      a step: 40 ms × 5 = 0.2 s",
            "    stream 3 to localhost:5678: waiting, 0 B sent, 0 B received, 3 s",
            "    waiting for a debuggee on localhost:5678",
        ];
        let drawn = drawn(&mut screen, 80, 24);
        assert_eq!(drawn.len(), 24);
        for (row, expected) in drawn.iter().zip(expected) {
            assert_eq!(row, expected);
        }
        assert!(drawn[13..].iter().all(String::is_empty));
    }

    #[test]
    fn a_small_screen_is_scrolled_and_no_size_is_too_small() {
        let mut screen = Screen {
            processes: vec![process(), process()],
            ..Screen::default()
        };
        screen.scroll(isize::MAX);
        let last = drawn(&mut screen, 60, 6);
        assert!(last[5].contains("waiting for a debuggee"), "{last:?}");
        screen.scroll(-1);
        assert!(drawn(&mut screen, 60, 6)[5].contains("stream 3"));
        screen.scroll(isize::MIN);
        assert!(drawn(&mut screen, 60, 6)[2].starts_with("listen (pid"));
        for (width, height) in [(1, 1), (2, 3), (300, 2), (10, 100)] {
            drawn(&mut screen, width, height);
        }
    }

    #[test]
    fn nothing_that_runs_is_said_to_be_nothing() {
        let mut screen = Screen::default();
        assert!(drawn(&mut screen, 80, 24)[2].starts_with("No p2pdbg of yours"));
        screen.trouble = Some("cannot look".to_owned());
        assert_eq!(drawn(&mut screen, 80, 24)[2], "cannot look");
    }
}
