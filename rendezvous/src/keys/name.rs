//! What people call a key.

use std::{fmt, str::FromStr};

/// The longest name, in characters.
const LONGEST: usize = 40;

/// A key's name: letters, digits, `.`, `_` and `-`, so that it is safe in logs, tables and shells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

/// A text that is no key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key's name is 1 to 40 letters, digits, dots, underscores and hyphens, and begins with a letter or digit"
)]
pub struct NotAKeyName;

impl FromStr for KeyName {
    type Err = NotAKeyName;

    fn from_str(text: &str) -> Result<Self, NotAKeyName> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if begins && text.len() <= LONGEST && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAKeyName)
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for KeyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["default", "team-a", "2026.q1", "A_b"] {
            assert_eq!(name.parse::<KeyName>().unwrap().as_ref(), name);
        }
        let long = "a".repeat(LONGEST + 1);
        for text in ["", "-a", ".a", "a b", "a\n", "ü", "a/b", &long] {
            assert_eq!(text.parse::<KeyName>(), Err(NotAKeyName), "{text:?}");
        }
    }
}
