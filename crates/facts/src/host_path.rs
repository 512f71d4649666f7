//! An absolute path on this host or on another one, whose platform may be a different one.

use std::{fmt, path::Path, str::FromStr};

use p2pdbg_base::Untrusted;
use p2pdbg_proto::facts::MAX_PATH;
use serde::{Deserialize, Serialize};

/// An absolute path without `.` and `..`, every character of which is visible.
///
/// So it may be shown, and written into any configuration that quotes it. That it exists is not said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

/// A text that is no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAHostPath {
    /// It does not begin at a root.
    #[error("it is not absolute")]
    Relative,
    /// It goes up, or says "here".
    #[error("it has . or .. in it")]
    Dots,
    /// It is longer than a path may be.
    #[error("it is longer than {MAX_PATH} bytes")]
    TooLong,
    /// It has characters that a terminal would act upon or nobody would see, or it is not UTF-8.
    #[error("it has characters that cannot be shown")]
    Invisible,
}

impl HostPath {
    /// A path of this host.
    ///
    /// # Errors
    /// When it cannot be said to others.
    pub fn of(path: &Path) -> Result<Self, NotAHostPath> {
        path.to_str().ok_or(NotAHostPath::Invisible)?.parse()
    }

    /// The path, fit to be shown as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a path of Windows.
    fn is_windows(&self) -> bool {
        !self.0.starts_with('/')
    }

    /// The path below it that `relative`, a path of this host, stands for.
    pub fn join(&self, relative: &Path) -> Option<Self> {
        let separator = if self.is_windows() { '\\' } else { '/' };
        let mut path = self.0.trim_end_matches(['/', '\\']).to_owned();
        for component in relative.components() {
            let std::path::Component::Normal(name) = component else {
                return None;
            };
            path.push(separator);
            path.push_str(name.to_str()?);
        }
        if path.is_empty() || path.ends_with(':') {
            path.push(separator);
        }
        path.parse().ok()
    }
}

impl FromStr for HostPath {
    type Err = NotAHostPath;

    fn from_str(text: &str) -> Result<Self, NotAHostPath> {
        if text.len() > MAX_PATH {
            return Err(NotAHostPath::TooLong);
        }
        if Untrusted::limited(text, MAX_PATH).as_str() != text {
            return Err(NotAHostPath::Invisible);
        }
        let bytes = text.as_bytes();
        let has_drive = bytes.len() > 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[1] == b':'
            && matches!(bytes[2], b'\\' | b'/');
        let is_unix = text.starts_with('/');
        if !(is_unix || has_drive || text.starts_with(r"\\")) {
            return Err(NotAHostPath::Relative);
        }
        let is_separator = |c: char| c == '/' || (c == '\\' && !is_unix);
        if text
            .split(is_separator)
            .any(|part| matches!(part, "." | ".."))
        {
            return Err(NotAHostPath::Dots);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for HostPath {
    type Error = NotAHostPath;

    fn try_from(text: String) -> Result<Self, NotAHostPath> {
        text.parse()
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_of_every_platform_are_paths() {
        for text in [
            "/",
            "/srv/app",
            "/srv/a b/ü",
            r"C:\work\app",
            "C:/work",
            r"\\host\share\app",
        ] {
            assert_eq!(text.parse::<HostPath>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn nothing_leads_up_or_hides() {
        for (text, fault) in [
            ("srv/app", NotAHostPath::Relative),
            ("", NotAHostPath::Relative),
            ("C:app", NotAHostPath::Relative),
            ("/srv/../etc", NotAHostPath::Dots),
            ("/srv/.", NotAHostPath::Dots),
            (r"C:\a\..\b", NotAHostPath::Dots),
            ("/srv\0", NotAHostPath::Invisible),
            ("/srv\u{1b}[2J", NotAHostPath::Invisible),
            ("/srv\n", NotAHostPath::Invisible),
            ("/\u{202e}ppa", NotAHostPath::Invisible),
            (&"/x".repeat(2049), NotAHostPath::TooLong),
        ] {
            assert_eq!(text.parse::<HostPath>(), Err(fault), "{text:?}");
        }
        assert!(serde_json::from_str::<HostPath>(r#""/a/../b""#).is_err());
    }

    #[test]
    fn a_path_below_is_written_as_the_other_platform_writes_it() {
        let below = |root: &str, relative: &str| {
            let root: HostPath = root.parse().unwrap();
            root.join(Path::new(relative)).map(|path| path.to_string())
        };
        assert_eq!(
            below("/srv/app", "web/api").as_deref(),
            Some("/srv/app/web/api")
        );
        assert_eq!(
            below(r"C:\app", "web/api").as_deref(),
            Some(r"C:\app\web\api")
        );
        assert_eq!(below("/", "").as_deref(), Some("/"));
        assert_eq!(below(r"C:\", "").as_deref(), Some(r"C:\"));
        assert_eq!(below("/srv", "../etc"), None);
    }
}
