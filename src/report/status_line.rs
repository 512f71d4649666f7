//! The one line at the foot of standard error that stays true, below everything that is printed.

use std::io::{self, Write};

use crossterm::{
    cursor::MoveToColumn,
    queue,
    terminal::{self, Clear, ClearType},
};
use unicode_width::UnicodeWidthChar;

/// Columns that stay free behind the line: a terminal echoes `^C` where the cursor is, and an echo in the next row
/// would stay when the line is gone.
const ECHO: usize = 2;

/// Taken for the width of a terminal that does not tell it, in columns.
const USUAL_WIDTH: u16 = 80;

/// The status line of standard error, which is a terminal.
#[derive(Debug, Default)]
pub(crate) struct StatusLine {
    /// What is shown, as bytes for the terminal. Empty if nothing is.
    shown: Vec<u8>,
}

impl StatusLine {
    /// Shows `text` behind `mark`, which is one column wide and may be coloured, instead of what was shown. What does
    /// not fit into the terminal's width is left out.
    pub(crate) fn set(&mut self, mark: &str, text: &str) {
        let room = usize::from(width(terminal::size())).saturating_sub(ECHO + 2);
        let line = format!("{mark} {}", cut(text, room)).into_bytes();
        if self.shown != line {
            self.clear();
            self.shown = line;
            self.draw();
        }
    }

    /// Prints whole lines above the status line.
    pub(crate) fn print_above<T>(&mut self, print: impl FnOnce() -> T) -> T {
        let shown = std::mem::take(&mut self.shown);
        if !shown.is_empty() {
            erase();
        }
        let printed = print();
        self.shown = shown;
        self.draw();
        printed
    }

    /// Takes the line away, until it is set again.
    pub(crate) fn clear(&mut self) {
        if !std::mem::take(&mut self.shown).is_empty() {
            erase();
        }
    }

    fn draw(&self) {
        // A terminal that is gone has nobody before it.
        let _ = io::stderr().write_all(&self.shown);
    }
}

/// The columns of a terminal of that size. One that nobody has told its size, a container's or a serial one, says 0.
fn width(size: io::Result<(u16, u16)>) -> u16 {
    let told = size.ok().map(|(columns, _)| columns);
    told.filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}

/// Empties the row in which the cursor is.
fn erase() {
    let mut bytes = Vec::new();
    // Into memory, where nothing fails, so that the terminal gets both at once.
    let _ = queue!(bytes, MoveToColumn(0), Clear(ClearType::UntilNewLine));
    let _ = io::stderr().write_all(&bytes);
}

/// As much of the beginning of `text` as `columns` hold, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let width = |character: char| character.width().unwrap_or(0);
    if text.chars().map(width).sum::<usize>() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |character: &char| {
        let room = left.checked_sub(width(*character));
        left = room.unwrap_or(0);
        room.is_some()
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_that_does_not_tell_its_width_has_the_usual_one() {
        assert_eq!(width(Ok((20, 24))), 20);
        assert_eq!(width(Ok((0, 0))), USUAL_WIDTH);
        assert_eq!(width(Err(io::ErrorKind::Other.into())), USUAL_WIDTH);
    }

    #[test]
    fn a_text_is_cut_by_its_columns_and_not_by_its_characters() {
        for (text, columns, expected) in [
            ("direct", 6, "direct"),
            ("direct", 5, "dire…"),
            ("direct", 1, "…"),
            ("direct", 0, ""),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("e\u{301}e\u{301}", 2, "e\u{301}e\u{301}"),
        ] {
            assert_eq!(cut(text, columns), expected, "{text} in {columns}");
        }
    }
}
