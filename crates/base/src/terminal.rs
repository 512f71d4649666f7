//! What a person is told on standard error, and what a terminal is to be sent besides text: escape sequences that move
//! its cursor, and colours.

use std::io::IsTerminal;

/// Says a line on standard error, written as for `format!`, in one write, so that no other process's stands within it.
/// That nobody reads there any more is no reason to end, as it is for `eprintln!`, which panics then.
#[macro_export]
macro_rules! say {
    ($($line:tt)*) => {{
        let line = ::std::format!("{}\n", ::std::format_args!($($line)*));
        let _ = ::std::io::Write::write_all(&mut ::std::io::stderr(), line.as_bytes());
    }};
}

/// Whether this is a terminal that takes escape sequences: not where `TERM` says that it knows none. A console of
/// Windows' takes them once it is told to, which this does for all of the program's streams.
pub fn takes_escapes(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb") && is_ready()
}

/// Whether this is a terminal that takes colours, before somebody who wants them: not where `NO_COLOR` is set and not
/// empty (<https://no-color.org>).
pub fn shows_colours(stream: &impl IsTerminal) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && takes_escapes(stream)
}

#[cfg(windows)]
fn is_ready() -> bool {
    crossterm::ansi_support::supports_ansi()
}

#[cfg(not(windows))]
fn is_ready() -> bool {
    true
}
