//! Text that somebody else chose, made safe to show.
//!
//! A peer's name with terminal escapes in it could move the cursor, rewrite what was printed or set the
//! window's title; with bidirectional overrides it could read differently from what it is. [`Untrusted`] is
//! the only way in which such text enters an `Event`.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// How many characters of the original are kept unless told otherwise.
const DEFAULT_LIMIT: usize = 64;

/// Text from a peer or another stranger, escaped and limited in length.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Untrusted(String);

impl Untrusted {
    /// Keeps up to 64 characters of `text`.
    pub fn new(text: &str) -> Self {
        Self::limited(text, DEFAULT_LIMIT)
    }

    /// Keeps up to `limit` characters of `text` and marks the cut with `…`.
    ///
    /// What a terminal would act upon, or what nobody would see, is replaced by `\u{…}`.
    pub fn limited(text: &str, limit: usize) -> Self {
        let mut safe = escape(text.chars().take(limit));
        if text.chars().nth(limit).is_some() {
            safe.push('…');
        }
        Self(safe)
    }

    /// What an error says, up to 200 characters: the other end of a connection may have put words into it.
    pub fn of_error(error: &dyn fmt::Display) -> Self {
        Self::limited(&error.to_string(), 200)
    }

    /// The text as it may be shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Untrusted {
    /// Takes what this program wrote; anything that needed escaping is escaped again.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(escape(text.chars())))
    }
}

/// Replaces what is not plainly visible by `\u{…}`; a line break counts as invisible too.
pub fn escape(text: impl Iterator<Item = char>) -> String {
    let mut safe = String::new();
    for c in text {
        if is_plain(c) {
            safe.push(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(safe, "{}", c.escape_unicode());
        }
    }
    safe
}

/// Whether `c` shows as itself: no control, no format character, nothing blank but the space.
fn is_plain(c: char) -> bool {
    if c.is_control() || (c.is_whitespace() && c != ' ') {
        return false;
    }
    !matches!(
        u32::from(c),
        0x00ad                       // soft hyphen
        | 0x034f                     // combining grapheme joiner
        | 0x061c                     // Arabic letter mark
        | 0x115f..=0x1160            // Hangul fillers
        | 0x17b4..=0x17b5            // Khmer inherent vowels
        | 0x180b..=0x180f            // Mongolian selectors and vowel separator
        | 0x200b..=0x200f            // zero width, left-to-right and right-to-left marks
        | 0x202a..=0x202e            // bidirectional embeddings and overrides
        | 0x2060..=0x206f            // word joiner, invisible operators, isolates
        | 0x2800                     // Braille blank
        | 0x3164                     // Hangul filler
        | 0xfe00..=0xfe0f            // variation selectors
        | 0xfeff                     // byte order mark
        | 0xffa0                     // halfwidth Hangul filler
        | 0xfff0..=0xfffb            // specials, interlinear annotation
        | 0x1bca0..=0x1bca3          // shorthand format controls
        | 0x1d173..=0x1d17a          // musical format controls
        | 0xe0000..=0xe0fff          // tags and further selectors
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_any_language_stays_as_it_is() {
        for text in [
            "web-1",
            "Jörgs Laptop",
            "サーバー",
            "сервер 2",
            "(a) [b] {c} \\",
        ] {
            assert_eq!(Untrusted::new(text).as_str(), text);
        }
    }

    #[test]
    fn terminal_escapes_lose_their_effect() {
        let cases = [
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\u{1b}]0;owned\u{7}", r"\u{1b}]0;owned\u{7}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\rb\nc\td\u{8}", r"a\u{d}b\u{a}c\u{9}d\u{8}"),
            ("\0\u{7f}", r"\u{0}\u{7f}"),
        ];
        for (text, shown) in cases {
            assert_eq!(Untrusted::new(text).as_str(), shown);
        }
    }

    #[test]
    fn text_that_would_read_differently_from_what_it_is_is_shown_in_full() {
        let cases = [
            ("\u{202e}txt.exe", r"\u{202e}txt.exe"),
            ("\u{2066}a\u{2069}", r"\u{2066}a\u{2069}"),
            ("we\u{200b}b", r"we\u{200b}b"),
            ("\u{feff}web\u{ad}", r"\u{feff}web\u{ad}"),
            ("web\u{2028}1\u{a0}", r"web\u{2028}1\u{a0}"),
            ("\u{e0041}", r"\u{e0041}"),
        ];
        for (text, shown) in cases {
            assert_eq!(Untrusted::new(text).as_str(), shown);
        }
    }

    #[test]
    fn long_text_is_cut_before_it_is_escaped() {
        assert_eq!(Untrusted::limited("abcdef", 6).as_str(), "abcdef");
        assert_eq!(Untrusted::limited("abcdefg", 6).as_str(), "abcdef…");
        let flood = "\u{1b}".repeat(100_000);
        assert!(Untrusted::new(&flood).as_str().len() < 64 * 10);
    }

    #[test]
    fn json_that_was_tampered_with_is_escaped_when_read() {
        let read: Untrusted = serde_json::from_str(r#""\u001b[2J""#).unwrap();
        assert_eq!(read.as_str(), r"\u{1b}[2J");
    }
}
