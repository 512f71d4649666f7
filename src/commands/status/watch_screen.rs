//! What `p2pdbg status --watch` shows, as lines of text: the terminal's affairs are elsewhere.

use crossterm::style::{Color, StyledContent, Stylize};
use p2pdbg_events::{
    ProgramState, StreamState,
    snapshot::{ProcessSnapshot, Sample, SessionSnapshot, SessionState, StreamSnapshot},
};
use unicode_width::UnicodeWidthStr;

use crate::report::{status_line::cut, status_text};

/// A row of the screen: pieces of text, each in its style.
pub(super) type Row = Vec<StyledContent<String>>;

/// How many measurements are plotted; as many columns.
const COLUMNS: usize = 50;

/// The steps of a plot, from nothing to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The rows above the first line of what is shown.
const HEAD: usize = 2;

/// What the keys do.
const KEYS: &str = "↑↓ scroll  q quits";

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

    /// What a terminal of this size shows: `height` rows at the most, each of `width` columns at the most.
    pub(super) fn rows(&mut self, width: usize, height: usize) -> Vec<Row> {
        let lines = self.lines();
        let room = height.saturating_sub(HEAD);
        self.scroll = self.scroll.min(lines.len().saturating_sub(room));
        let shown = lines.into_iter().skip(self.scroll).take(room);
        let rows = [self.head(width), Row::new()].into_iter().chain(shown);
        rows.take(height).map(|row| fitted(row, width)).collect()
    }

    fn head(&self, width: usize) -> Row {
        let sessions: usize = self.processes.iter().map(|p| p.sessions.len()).sum();
        let title = match sessions {
            0 => "  no sessions".to_owned(),
            1 => "  1 session".to_owned(),
            n => format!("  {n} sessions"),
        };
        let name = "p2pdbg";
        let taken = name.len() + title.len() + KEYS.width();
        let gap = " ".repeat(width.saturating_sub(taken));
        vec![
            name.to_owned().bold(),
            plain(title + &gap),
            KEYS.to_owned().dim(),
        ]
    }

    fn lines(&self) -> Vec<Row> {
        let mut lines = Vec::new();
        if let Some(trouble) = &self.trouble {
            lines.push(vec![trouble.clone().yellow()]);
        } else if self.processes.is_empty() {
            lines.push(vec![
                "No p2pdbg of yours runs on this host.".to_owned().dim(),
            ]);
        }
        for (index, process) in self.processes.iter().enumerate() {
            if index > 0 {
                lines.push(Row::new());
            }
            lines.push(vec![status_text::headline(process).bold()]);
            for session in &process.sessions {
                lines.extend(session_lines(process, session));
            }
        }
        lines
    }
}

fn plain(text: String) -> StyledContent<String> {
    text.stylize()
}

/// What a row of so many columns has room for.
fn fitted(row: Row, width: usize) -> Row {
    let mut left = width;
    let mut pieces = Row::new();
    for piece in row {
        let text = cut(piece.content(), left);
        left -= text.width();
        pieces.push(StyledContent::new(*piece.style(), text));
    }
    pieces
}

fn session_lines(process: &ProcessSnapshot, session: &SessionSnapshot) -> Vec<Row> {
    let mark = match session.state {
        SessionState::Connected => "●".to_owned().green(),
        SessionState::Connecting | SessionState::Resuming => "●".to_owned().yellow(),
    };
    let path = match process.places {
        Some(_) => format!("{}: {}", session.peer, status_text::path_line(session)),
        None => status_text::path_line(session),
    };
    let mut lines = vec![vec![
        plain("  ".to_owned()),
        mark,
        plain(format!(" {path}")),
    ]];
    if let Some(history) = history(session) {
        lines.push(vec![format!("    {history}").dim()]);
    }
    lines.extend(plots(&session.samples));
    let forwards = session.forwards.iter();
    lines.extend(forwards.map(|forward| {
        let forward = status_text::forward_line(process.command, forward);
        vec![plain(format!("    {forward}"))]
    }));
    for stream in &session.streams {
        lines.extend(stream_lines(stream, session.rtt_ms));
    }
    if session.more_streams > 0 {
        let more = format!("    and {} more streams", session.more_streams);
        lines.push(vec![more.dim()]);
    }
    for waiting in &session.waiting {
        let text = format!("    {}", status_text::waiting_line(waiting));
        lines.push(vec![text.yellow()]);
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
            format!("{} at {at:.1} s", status_text::past_path(path))
        })
        .collect();
    (paths.len() > 1).then(|| format!("paths: {}", paths.join(", ")))
}

/// RTT and loss of late, a column for each measurement.
fn plots(samples: &[Sample]) -> Vec<Row> {
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
        vec![
            plain(format!("    {name:<5}")),
            bars.with(colour),
            plain(" ".repeat(padding)),
            format!(" {legend}").dim(),
        ]
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

fn stream_lines(stream: &StreamSnapshot, rtt: Option<f64>) -> Vec<Row> {
    let to = stream
        .to
        .as_ref()
        .map_or(String::new(), |to| format!(" to {to}"));
    let state = status_text::stream_state(stream.state).to_owned();
    let state = match stream.state {
        Some(StreamState::Open) => state.green(),
        Some(StreamState::Closed | StreamState::Reset | StreamState::GaveUp) => state.dim(),
        _ => state.yellow(),
    };
    let mut lines = vec![vec![
        plain(format!("    stream {}{to}: ", stream.id)),
        state,
        plain(format!(
            ", {} sent, {} received, {}{}",
            status_text::bytes(stream.sent),
            status_text::bytes(stream.received),
            status_text::whole_seconds(stream.age_ms),
            status_text::copied(stream)
        )),
    ]];
    if let Some(debugger) = &stream.debugger {
        let text = format!("      {debugger}");
        let stopped = debugger.program == Some(ProgramState::Stopped);
        lines.push(match stopped {
            true => vec![text.magenta()],
            false => vec![plain(text)],
        });
        if let Some(cost) = status_text::step_cost(debugger, rtt) {
            lines.push(vec![format!("      {cost}").dim()]);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
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
    fn drawn(screen: &mut Screen, width: usize, height: usize) -> Vec<String> {
        let rows = screen.rows(width, height);
        assert!(rows.len() <= height);
        let text = |row: Row| {
            let text: String = row.iter().map(|piece| piece.content().as_str()).collect();
            assert!(text.width() <= width, "{text}");
            text.trim_end().to_owned()
        };
        rows.into_iter().map(text).collect()
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
        assert_eq!(drawn, expected);
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
