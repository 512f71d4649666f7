//! Whether a terminal is to show colours.

/// Whether whoever sits at a terminal wants its colours: not where `NO_COLOR` is set and not empty
/// (<https://no-color.org>), nor where `TERM` says that the terminal knows no escape sequences.
pub fn colours_are_welcome() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}
