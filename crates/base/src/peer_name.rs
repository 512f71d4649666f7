//! The names of hosts, as their users chose them: what a host calls itself, and how a known peer is called.

use std::{fmt, str::FromStr};

use p2pdbg_proto::signal::MAX_NAME;

/// A name that may stand in a file, on a command line and on a terminal: up to 64 bytes of letters, digits,
/// `.`, `-`, `_` and `+`, of any language, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(String);

impl PeerName {
    /// The name, fit to be shown as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest name to `text`, which somebody else chose: what a name cannot contain becomes `-`.
    pub fn nearest(text: &str) -> Self {
        let mut name = String::new();
        for c in text.trim().chars() {
            let c = if is_part(c) { c } else { '-' };
            if name.len() + c.len_utf8() > MAX_NAME {
                break;
            }
            let leading = name.is_empty() && !c.is_alphanumeric();
            let repeated = c == '-' && name.ends_with('-');
            if !leading && !repeated {
                name.push(c);
            }
        }
        let name = name.trim_end_matches('-');
        Self(if name.is_empty() { "unnamed" } else { name }.to_owned())
    }

    /// The same name with `-NUMBER` behind it, in the place of its end if it is long.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Self {
        let suffix = format!("-{number}");
        let mut stem = self.as_str();
        while stem.len() + suffix.len() > MAX_NAME {
            stem = &stem[..stem.floor_char_boundary(stem.len() - 1)];
        }
        Self::nearest(&format!("{stem}{suffix}"))
    }

    /// This name, or with the lowest number from 2 up behind it that makes it one that is not `taken`.
    #[must_use]
    pub fn first_free(&self, taken: impl Fn(&Self) -> bool) -> Self {
        std::iter::once(self.clone())
            .chain((2..).map(|number| self.numbered(number)))
            .find(|name| !taken(name))
            .unwrap_or_else(|| self.clone())
    }

    /// What this host is called, without its domain.
    pub fn of_this_host() -> Self {
        let host = gethostname::gethostname();
        let host = host.to_string_lossy();
        Self::nearest(host.split('.').next().unwrap_or_default())
    }
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+')
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {MAX_NAME} bytes of letters, digits and . - _ +, and begins with a letter or digit"
)]
pub struct NotAName;

impl FromStr for PeerName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let sound = text.starts_with(char::is_alphanumeric)
            && text.len() <= MAX_NAME
            && text.chars().all(is_part);
        sound.then(|| Self(text.to_owned())).ok_or(NotAName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_any_language() {
        for name in ["web-1", "jörg", "サーバー2", "a.b_c+d"] {
            assert_eq!(name.parse::<PeerName>().unwrap().as_str(), name);
        }
        for text in [
            "",
            "-web",
            "a b",
            "a/b",
            "web\u{1b}",
            "web\u{202e}",
            &"x".repeat(65),
        ] {
            assert_eq!(text.parse::<PeerName>(), Err(NotAName), "{text:?}");
        }
    }

    #[test]
    fn the_nearest_name_is_a_name() {
        let nearest = |text: &str| {
            let name = PeerName::nearest(text);
            assert_eq!(name.as_str().parse(), Ok(name.clone()));
            name.0
        };
        assert_eq!(nearest("Anna's Laptop"), "Anna-s-Laptop");
        assert_eq!(nearest("\u{1b}[2Jweb\n"), "2Jweb");
        assert_eq!(nearest("../../etc"), "etc");
        assert_eq!(nearest(" \t"), "unnamed");
        assert_eq!(nearest(&"é".repeat(100)).len(), MAX_NAME);
    }
}
