//! The name of a source file: its path below the root.

use std::{fmt, path::Path, str::FromStr};

use p2pdbg_base::Untrusted;
use p2pdbg_proto::sources::MAX_NAME;
use unicode_normalization::UnicodeNormalization;

/// A path below a root, with `/` between its parts. None of them leads up or hides, so that it may be shown, and stays
/// below any root that it is put behind as long as no link is followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

/// A text that is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no path below a directory, or has characters that cannot be shown")]
pub struct NotAName;

impl SourceName {
    /// The name, fit to be shown as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts of the path.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The name of a relative path of this host.
    ///
    /// # Errors
    /// If it is not UTF-8, or has parts that a name may not have.
    pub fn of(relative: &Path) -> Result<Self, NotAName> {
        let parts: Option<Vec<&str>> = relative
            .components()
            .map(|part| match part {
                std::path::Component::Normal(part) => part.to_str(),
                _ => None,
            })
            .collect();
        parts.ok_or(NotAName)?.join("/").parse()
    }
}

/// A name as another one has it that differs in case alone, or in how letters with marks are written: as one character
/// or, on macOS, as several.
pub(crate) fn folded(name: &str) -> String {
    match name.is_ascii() {
        true => name.to_ascii_lowercase(),
        false => name.nfc().flat_map(char::to_lowercase).nfc().collect(),
    }
}

impl FromStr for SourceName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let sound = text.len() <= MAX_NAME
            && Untrusted::limited(text, MAX_NAME).as_str() == text
            && !text.contains(['\\', ':'])
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        sound.then(|| Self(text.to_owned())).ok_or(NotAName)
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_their_root_and_can_be_shown() {
        for text in ["app.py", "web/api/ü b.py", "..a/b..", "-x"] {
            assert_eq!(text.parse::<SourceName>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            ".",
            "a/./b",
            "a\0b",
            "a\u{1b}[2J",
            "a\u{202e}b",
            "C:x",
            "a\\b",
            &"x".repeat(1025),
        ] {
            assert_eq!(text.parse::<SourceName>(), Err(NotAName), "{text:?}");
        }
        assert_eq!(SourceName::of(Path::new("a/b")).unwrap().as_str(), "a/b");
        assert_eq!(SourceName::of(Path::new("../b")), Err(NotAName));
    }
}
