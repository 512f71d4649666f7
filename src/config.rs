//! The configuration file: what would otherwise be typed each time. docs/CONFIGURATION.md describes it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_path::traversal::TraversalTable;
use serde::Deserialize;

/// What the configuration file says. Values are parsed together with those of the command line.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rendezvous' URL; may hold the access key.
    pub rendezvous: Option<String>,
    /// What this host calls itself.
    pub name: Option<String>,
    /// The state directory.
    pub state: Option<PathBuf>,
    /// The forwards of a `listen` that is given none: presets, or `-L SPEC` and `-R SPEC` in one string.
    #[serde(default)]
    pub forwards: Vec<String>,
    /// STUN servers that are asked besides the rendezvous.
    #[serde(default)]
    pub stun: Vec<String>,
    /// How a direct path is looked for.
    #[serde(default)]
    pub traversal: TraversalTable,
}

/// Without the URL, whose access key is nobody's business.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("state", &self.state)
            .field("forwards", &self.forwards)
            .field("stun", &self.stun)
            .field("traversal", &self.traversal)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the user's configuration file; there need not be one.
    ///
    /// # Errors
    /// If the file is there and cannot be read, is not TOML, or has a key that is not known.
    pub fn load() -> Result<Self, Failure> {
        match default_path() {
            Some(path) => Self::read(&path),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                let path = path.display();
                let message = format!("cannot read the configuration file {path}: {error}");
                return Err(Failure::new(ErrorCode::Configuration, message));
            }
        };
        toml::from_str(&text).map_err(|error| {
            // The error's own `Display` quotes the line, which may hold the access key.
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
            let (path, what) = (path.display(), error.message().replace('\n', ", "));
            Failure::new(
                ErrorCode::Configuration,
                format!("the configuration file does not parse: {path}, line {line}: {what}"),
            )
            .hint("its keys are rendezvous, name, state, forwards, stun and the table [traversal]; see docs/CONFIGURATION.md")
        })
    }
}

/// Where the configuration file is: `$XDG_CONFIG_HOME/p2pdbg/config.toml` or `~/.config/p2pdbg/config.toml`
/// on Unix, `%APPDATA%\p2pdbg\config.toml` on Windows. `None` without a home directory.
pub fn default_path() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.config_dir().join("p2pdbg").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn a_file_says_any_of_its_keys() {
        let config = read(
            "rendezvous = 'p2pdbg://rdv.example'\nstate = '/var/p2pdbg'\nforwards = ['node', '-L 1:localhost:2']\n",
        );
        let expected = Config {
            rendezvous: Some("p2pdbg://rdv.example".to_owned()),
            name: None,
            state: Some("/var/p2pdbg".into()),
            forwards: vec!["node".to_owned(), "-L 1:localhost:2".to_owned()],
            ..Config::default()
        };
        assert_eq!(config, Ok(expected));
        assert_eq!(read(""), Ok(Config::default()));
    }

    #[test]
    fn no_file_is_as_good_as_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("config.toml");
        assert_eq!(Config::read(&missing), Ok(Config::default()));
        let not_a_file = Config::read(dir.path()).unwrap_err();
        assert_eq!(not_a_file.code, ErrorCode::Configuration);
    }

    #[test]
    fn a_fault_is_told_with_its_line_and_without_the_key() {
        let unknown = read("name = 'a'\nrendevous = 'p2pdbg://KEYKEY@b'\n").unwrap_err();
        assert!(unknown.message.contains("line 2"), "{unknown}");
        assert!(unknown.message.contains("rendevous"), "{unknown}");
        let open = read("\n\nrendezvous = 'p2pdbg://KEYKEY@b\n").unwrap_err();
        assert!(open.message.contains("line 3"), "{open}");
        let kind = read("rendezvous = ['p2pdbg://KEYKEY@b']").unwrap_err();
        assert!(kind.message.contains("line 1"), "{kind}");
        for failure in [unknown, open, kind] {
            assert!(!failure.message.contains("KEYKEY"), "{failure}");
            assert!(!failure.message.contains('\n'), "{failure}");
            assert_eq!(failure.exit_status(), 2);
        }
    }

    #[test]
    fn the_example_of_the_documentation_uses_every_key() {
        let docs = include_str!("../docs/CONFIGURATION.md");
        let (_, example) = docs.split_once("```toml").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let config = read(example).unwrap();
        assert!(config.rendezvous.is_some() && config.name.is_some() && config.state.is_some());
        assert_eq!((config.forwards.len(), config.stun.len()), (3, 2));
    }

    #[test]
    fn debug_does_not_show_the_url() {
        let config = read("rendezvous = 'p2pdbg://KEYKEY@b'").unwrap();
        assert!(!format!("{config:?}").contains("KEYKEY"));
    }
}
