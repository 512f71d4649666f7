//! The terminal on which the status line is drawn, with room left behind the line.
//!
//! A terminal echoes `^C` where the cursor is. indicatif keeps the cursor at the right margin, where the echo would
//! break into the next row, and what is cleared afterwards would be the echo alone: a status line that is true no more
//! would stay. So the cursor is kept right behind the text, and the text short enough for the echo.

use std::io;

use console::Term;
use indicatif::TermLike;

/// The columns that the echo of a key takes.
const ECHO: u16 = 2;

/// Standard error, as a terminal.
#[derive(Debug)]
pub(super) struct StatusTerminal(Term);

impl StatusTerminal {
    pub(super) fn stderr() -> Self {
        Self(Term::buffered_stderr())
    }
}

impl TermLike for StatusTerminal {
    fn width(&self) -> u16 {
        TermLike::width(&self.0).saturating_sub(ECHO)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.0)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        // Spaces alone are indicatif's way to the right margin. Every line is cleared before it is drawn.
        match text.trim_matches(' ').is_empty() {
            true => Ok(()),
            false => self.0.write_str(text),
        }
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
