//! Lines of 80 columns for a terminal, with what is foreign in them escaped.

use std::fmt::Write;

use p2pdbg_base::Untrusted;

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Bad,
    Warning,
    Alarm,
}

/// The width that lines are broken for, in columns.
pub(super) const WIDTH: usize = 80;

/// The column in which values begin, behind their names.
const INDENT: usize = 13;

/// What is shown, line by line.
#[derive(Debug, Default)]
pub(super) struct Layout {
    lines: Vec<(Tone, String)>,
}

impl Layout {
    /// The text, in colour if that is welcome.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        for (tone, line) in &self.lines {
            let sgr = match tone {
                Tone::Plain => "",
                Tone::Heading => "1",
                Tone::Good => "32",
                Tone::Bad => "31",
                Tone::Warning => "33",
                Tone::Alarm => "1;31",
            };
            // Writing to a string does not fail.
            let _ = match sgr.is_empty() || !colour || line.is_empty() {
                true => writeln!(text, "{line}"),
                false => writeln!(text, "\u{1b}[{sgr}m{line}\u{1b}[0m"),
            };
        }
        text
    }

    pub(super) fn line(&mut self, tone: Tone, text: &str) {
        let text = Untrusted::limited(text, 400).to_string();
        self.lines.push((tone, text.trim_end().to_owned()));
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.lines.push((Tone::Plain, String::new()));
    }

    pub(super) fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.gap();
        }
        self.line(Tone::Heading, text);
    }

    /// A name and what there is to say, broken into lines.
    pub(super) fn row(&mut self, tone: Tone, name: &str, value: &str) {
        let first = format!("  {name:<width$}", width = INDENT - 2);
        self.broken(tone, &first, &" ".repeat(INDENT), value);
    }

    /// A sentence that begins at the margin.
    pub(super) fn paragraph(&mut self, tone: Tone, first: &str, text: &str) {
        self.broken(tone, first, "  ", text);
    }

    pub(super) fn broken(&mut self, tone: Tone, first: &str, next: &str, text: &str) {
        let mut line = first.to_owned();
        let mut empty = true;
        for word in text.split(' ') {
            if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(tone, &line);
                line = next.to_owned();
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.line(tone, &line);
    }
}
