//! The configuration file: what would otherwise be typed each time. docs/CONFIGURATION.md describes it.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_identity::is_unexpanded;
use p2pdbg_path::traversal_options::TraversalTable;
use p2pdbg_proto::spelling::nearest;
use serde::{Deserialize, de::IgnoredAny};
use toml::Spanned;

use crate::user_file;

/// The longest configuration file that is read, in bytes.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// What the configuration file says. Values are parsed together with those of the command line.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rendezvous' URL; may hold the access key.
    pub rendezvous: Option<String>,
    /// What this host calls itself.
    pub name: Option<String>,
    /// The state directory; `~` stands for the home directory.
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
    /// Where all this stands; none if there is no file.
    #[serde(skip)]
    pub origin: Option<Origin>,
}

/// The file that was read, and where its keys are in it, so that what is wrong with a value can be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    path: PathBuf,
    /// The lines of the keys, from 1; those of a table are `TABLE.KEY`.
    lines: BTreeMap<String, usize>,
    /// The mode of a file that holds an access key and that others can read or change.
    pub open_to_others: Option<u32>,
}

impl Origin {
    fn of(path: &Path, text: &str) -> Self {
        type Keys = BTreeMap<String, Spanned<IgnoredAny>>;
        #[derive(Default, Deserialize)]
        struct Tables {
            #[serde(default)]
            traversal: Keys,
        }
        let line = |value: &Spanned<IgnoredAny>| line_of(text, value.span().start);
        let keys: Keys = toml::from_str(text).unwrap_or_default();
        let tables: Tables = toml::from_str(text).unwrap_or_default();
        let mut lines: BTreeMap<_, _> = keys.iter().map(|(k, v)| (k.clone(), line(v))).collect();
        let within = tables.traversal.iter();
        lines.extend(within.map(|(k, v)| (format!("traversal.{k}"), line(v))));
        Self {
            path: path.to_owned(),
            lines,
            open_to_others: None,
        }
    }

    /// The file and the line of a key, and the key, for people.
    pub fn place(&self, key: &str) -> String {
        let path = self.path.display();
        match self.lines.get(key) {
            Some(line) => format!("{key} in {path}, line {line}"),
            None => format!("{key} in {path}"),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

/// What the parser of TOML has found, for people, and what to write. A text that stands where something else should is
/// not repeated: it may be the URL with the access key.
fn told(what: &str) -> (String, String) {
    let mut told = what.replace('\n', ", ");
    for (of_a_program, plain) in [
        ("path string", "a string"),
        ("u32", "a whole number from 0 on"),
        (" as i128", ""),
    ] {
        told = told.replace(of_a_program, plain);
    }
    let string = told.find("string \"").zip(told.rfind("\", expected"));
    if let Some((from, to)) = string.filter(|(from, to)| from + 8 <= *to) {
        told.replace_range(from..=to, "a string");
    }
    (told, hint(what))
}

/// What to write, by what the parser of TOML has found.
fn hint(what: &str) -> String {
    let (_, expected) = what.split_once("expected ").unwrap_or_default();
    let example = if what.starts_with("unknown field") {
        return hint_of_key(what);
    } else if expected == "a sequence" {
        "it takes a list, as in forwards = [\"debugpy\", \"node:9230\"]"
    } else if what.contains("unicode") || what.contains("escape") {
        "a path of Windows stands between 'single quotes', as in state = 'C:\\p2pdbg'"
    } else if what.contains("quote") || matches!(expected, "a string" | "path string") {
        "text stands between straight quotes, as in name = \"web-1\""
    } else if expected == "u32" {
        "it takes a number without quotes, as in burst = 20"
    } else if expected == "a boolean" {
        "it takes true or false without quotes, as in port_mapping = false"
    } else if what.starts_with("duplicate key") {
        "each key stands there once"
    } else {
        KEYS
    };
    example.to_owned()
}

/// Which keys there are.
const KEYS: &str = "its keys are rendezvous, name, state, forwards, stun and the table [traversal]; see docs/CONFIGURATION.md";

/// Where the keys of the table are listed, of which the parser lists the names itself.
const KEYS_OF_TRAVERSAL: &str = "docs/CONFIGURATION.md says what the keys of [traversal] are for";

/// Which key is meant by one that is not known.
fn hint_of_key(what: &str) -> String {
    let (unknown, expected) = what.split_once("expected ").unwrap_or((what, ""));
    let key = unknown.split('`').nth(1).unwrap_or_default();
    let expected = || expected.split('`').skip(1).step_by(2);
    match nearest(&key.to_lowercase(), expected()) {
        Some(near) => format!("is {near} meant?"),
        None if expected().any(|key| key == "port_mapping") => KEYS_OF_TRAVERSAL.to_owned(),
        None => KEYS.to_owned(),
    }
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
        let text = match user_file::read(path, MAX_FILE) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Self::default()),
            // As people link it to have none.
            Err(_) if is_null(path) => return Ok(Self::default()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let message = format!("the configuration file {} is no UTF-8 text", path.display());
                return Err(Failure::new(ErrorCode::Configuration, message)
                    .hint("save it as UTF-8; some editors and shells of Windows write UTF-16"));
            }
            Err(error) => {
                let is_no_file = error.kind() == ErrorKind::InvalidInput;
                let path = path.display();
                let message = format!("cannot read the configuration file {path}: {error}");
                let failure = Failure::new(ErrorCode::Configuration, message);
                return Err(match is_no_file {
                    true => failure.hint(
                        "put its text into a file, or remove it and give what it says by options and variables, such as \
                         P2PDBG_RENDEZVOUS",
                    ),
                    false => failure,
                });
            }
        };
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            // The error's own `Display` quotes the line, which may hold the access key.
            let at = error.span().map_or(0, |span| span.start);
            let line = line_of(&text, at);
            let (path, (what, hint)) = (path.display(), told(error.message()));
            Failure::new(
                ErrorCode::Configuration,
                format!("the configuration file does not parse: {path}, line {line}: {what}"),
            )
            .hint(hint)
        })?;
        let mut origin = Origin::of(path, &text);
        if config
            .rendezvous
            .as_deref()
            .is_some_and(|url| url.contains('@'))
        {
            origin.open_to_others = mode_for_others(path);
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        // The working directory has nothing to do with where the state is.
        let state = config
            .state
            .filter(|state| !state.to_string_lossy().trim().is_empty());
        config.state = state.map(|state| {
            let state = at_home(state);
            // What only a shell understands stays as it stands, and is refused where the directory is opened.
            match is_unexpanded(&state) {
                true => state,
                false => directory.join(state),
            }
        });
        config.origin = Some(origin);
        Ok(config)
    }

    /// Where the value of a key stands, for people.
    pub fn place(&self, key: &str) -> String {
        match &self.origin {
            Some(origin) => origin.place(key),
            None => format!("{key} in the configuration file"),
        }
    }
}

/// Whether this is `/dev/null`, or a link to it.
fn is_null(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path == Path::new("/dev/null"))
}

/// The mode of a file that others than its owner can read or change.
#[cfg(unix)]
fn mode_for_others(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok()?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    (mode & 0o066 != 0).then_some(mode)
}

/// On Windows the user's profile, where the file lies, is closed to others by its access list.
#[cfg(not(unix))]
fn mode_for_others(_path: &Path) -> Option<u32> {
    None
}

/// A path in which a leading `~` is the home directory, as a shell has it: where no shell has seen the path, nobody
/// wants a directory of that name.
pub fn at_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), etcetera::home_dir()) {
        (Ok(below), Ok(home)) => home.join(below),
        _ => path,
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
        let plain = |config: Result<Config, Failure>| Config {
            origin: None,
            ..config.unwrap()
        };
        assert_eq!(plain(config), expected);
        assert_eq!(plain(read("")), Config::default());
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
    fn a_state_directory_is_the_same_one_wherever_the_program_is_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let state = |text: &str| {
            fs::write(&path, format!("state = '{text}'")).unwrap();
            Config::read(&path).unwrap().state.unwrap()
        };
        let home = etcetera::home_dir().unwrap();
        assert_eq!(state("~/st"), home.join("st"));
        assert_eq!(state("~"), home);
        assert_eq!(state("/var/st"), Path::new("/var/st"));
        assert_eq!(state("st"), dir.path().join("st"));
        assert_eq!(state("$HOME/st"), Path::new("$HOME/st"));
        for blank in ["", " ", "\t "] {
            fs::write(&path, format!("state = '{blank}'")).unwrap();
            assert_eq!(Config::read(&path).unwrap().state, None);
        }
    }

    #[test]
    fn fault_is_told_in_plain_words_with_what_to_write_and_no_text_of_the_file() {
        for (text, what, to_write) in [
            (
                "name = 5",
                "integer `5`, expected a string",
                "between straight quotes",
            ),
            (
                "state = true",
                "expected a string",
                "between straight quotes",
            ),
            (
                "stun = 'KEYKEY'",
                "invalid type: a string, expected a sequence",
                "it takes a list",
            ),
            (
                "forwards = [5]",
                "expected a string",
                "between straight quotes",
            ),
            (
                "[traversal]\nburst = 'KEYKEY'",
                "a string, expected a whole number",
                "burst = 20",
            ),
            (
                "[traversal]\nburst = -1",
                "expected a whole number from 0 on",
                "burst = 20",
            ),
            (
                "[traversal]\ntcp = 'no'",
                "expected a boolean",
                "true or false",
            ),
            (
                "[traversal]\nbrust = 5",
                "unknown field `brust`",
                "is burst meant?",
            ),
            (
                "[travesal]\nburst = 5",
                "unknown field `travesal`",
                "is traversal meant?",
            ),
            (
                "Rendezvous = 'x'",
                "unknown field `Rendezvous`",
                "is rendezvous meant?",
            ),
            ("color = 'x'", "unknown field `color`", "its keys are"),
            (
                "port_mapping = false",
                "unknown field `port_mapping`",
                "the table [traversal]",
            ),
            (
                "[traversal]\nudp = false",
                "unknown field `udp`",
                "the keys of [traversal]",
            ),
            ("name = 'a'\nname = 'b'", "duplicate key", "once"),
        ] {
            let failure = read(text).unwrap_err();
            let hint = failure.hint.clone().unwrap_or_default();
            assert!(failure.message.contains(what), "{text}: {failure}");
            assert!(hint.contains(to_write), "{text}: {hint}");
            assert!(!failure.message.contains("KEYKEY"), "{failure}");
        }
    }

    #[test]
    fn each_key_is_found_again_with_its_line() {
        let config = read("# first\nname = 'a'\n\n[traversal]\n# x\nburst = 4\n").unwrap();
        assert!(config.place("name").ends_with("config.toml, line 2"));
        let place = config.place("traversal.burst");
        assert!(place.starts_with("traversal.burst in /") && place.ends_with("line 6"));
    }

    #[test]
    #[cfg(unix)]
    fn a_file_with_an_access_key_that_others_can_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let open = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Config::read(&path).unwrap().origin.unwrap().open_to_others
        };
        assert_eq!(open("rendezvous = 'p2pdbg://K@b'", 0o644), Some(0o644));
        assert_eq!(open("rendezvous = 'p2pdbg://K@b'", 0o620), Some(0o620));
        assert_eq!(open("rendezvous = 'p2pdbg://K@b'", 0o600), None);
        assert_eq!(open("rendezvous = 'p2pdbg://b'", 0o644), None);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_regular_file_is_refused_and_the_null_device_says_nothing() {
        use std::{process::Command, sync::mpsc, thread, time::Duration};

        let dir = tempfile::tempdir().unwrap();
        // Nobody writes to it, so that whoever reads waits for ever.
        let fifo = dir.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        for path in [fifo, "/dev/zero".into(), dir.path().to_owned()] {
            let (tell, told) = mpsc::channel();
            let shown = path.display().to_string();
            thread::spawn(move || drop(tell.send(Config::read(&path))));
            let read = told.recv_timeout(Duration::from_secs(60)).expect(&shown);
            let fault = read.unwrap_err();
            assert_eq!(fault.code, ErrorCode::Configuration);
            assert!(
                fault.message.ends_with("it is no regular file"),
                "{fault:?}"
            );
        }
        let link = dir.path().join("config.toml");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(Config::read(&link).unwrap(), Config::default());
    }

    #[test]
    fn debug_does_not_show_the_url() {
        let config = read("rendezvous = 'p2pdbg://KEYKEY@b'").unwrap();
        assert!(!format!("{config:?}").contains("KEYKEY"));
    }
}
