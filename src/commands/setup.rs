//! `p2pdbg setup`: puts the rendezvous' URL into the configuration file, so that it is given once.
//!
//! The URL may hold the access key. So the file is written closed to others (mode 0600), whole or not at all, and what
//! else stands in it stays: comments, other keys, their order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_proto::{code::Code, url::RendezvousUrl};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    config::{Config, MAX_FILE, default_path},
    user_file::{self, Access},
};

/// What is kept of a file whose rendezvous is replaced.
#[derive(Deserialize)]
struct Known {
    rendezvous: Option<Spanned<String>>,
}

/// Stores the URL, given or asked for by `ask`; says where, and which it is.
///
/// # Errors
/// If there is no URL, it does not parse, or the file cannot be read or written.
pub fn run(
    url: Option<String>,
    ask: impl FnOnce() -> io::Result<Option<String>>,
) -> Result<(PathBuf, RendezvousUrl), Failure> {
    let path = default_path().ok_or_else(|| {
        Failure::new(
            ErrorCode::Configuration,
            "there is no home directory here to keep a configuration file in",
        )
        .hint("set P2PDBG_RENDEZVOUS instead, or HOME")
    })?;
    let given = match url {
        Some(url) => Some(url),
        None => ask().map_err(|error| cannot("read the URL", &error))?,
    };
    let given = given.unwrap_or_default();
    if given.trim().is_empty() {
        return Err(
            Failure::new(ErrorCode::RendezvousUrl, "no URL was given").hint(
                "p2pdbg-rendezvous printed it, on the public host: write p2pdbg setup URL, or answer p2pdbg setup with it",
            ),
        );
    }
    if given.parse::<Code>().is_ok() {
        let message = "a code stands where the rendezvous' URL does";
        return Err(Failure::new(ErrorCode::RendezvousUrl, message)
            .hint("run p2pdbg connect CODE on the debuggee's host; what p2pdbg-rendezvous printed is the URL"));
    }
    let url: RendezvousUrl = given.parse().map_err(|fault| {
        // What was typed is not repeated: it may hold the key.
        let fault: p2pdbg_proto::url::NotARendezvousUrl = fault;
        Failure::new(ErrorCode::RendezvousUrl, fault.to_string())
            .hint("copy the whole URL that p2pdbg-rendezvous printed")
    })?;
    store(&path, &url.to_string())?;
    Ok((path, url))
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(ErrorCode::Configuration, format!("cannot {what}: {error}"))
}

fn store(path: &Path, url: &str) -> Result<(), Failure> {
    let shown = path.display();
    let read = user_file::read(path, MAX_FILE);
    let text = read.map_err(|error| cannot(&format!("read {shown}"), &error))?;
    let text = text.unwrap_or_default();
    let new = with_rendezvous(&text, url).ok_or_else(|| {
        Failure::new(
            ErrorCode::Configuration,
            format!("{shown} is not as a configuration file should be, so it was left alone"),
        )
        .hint("mend it, or write the line yourself: rendezvous = \"URL\"")
    })?;
    let written = path.parent().map_or(Ok(()), make);
    // Behind a link, as people keep such files in a repository of theirs, the link stays.
    let written = written.and_then(|()| user_file::replace(path, &new, Access::OwnerAlone));
    written.map_err(|error| cannot(&format!("write {shown}"), &error))
}

/// The text of a file with this URL in it; none if it does not parse.
fn with_rendezvous(text: &str, url: &str) -> Option<String> {
    let known: Known = toml::from_str(text).ok()?;
    // A URL has no character that a TOML string would have to escape.
    let value = format!("\"{url}\"");
    let new = match known.rendezvous {
        Some(old) => format!(
            "{}{value}{}",
            &text[..old.span().start],
            &text[old.span().end..]
        ),
        // Before any table.
        None => format!("rendezvous = {value}\n{text}"),
    };
    let read: Config = toml::from_str(&new).ok()?;
    (read.rendezvous.as_deref() == Some(url)).then_some(new)
}

/// Makes the directory, for this user alone, if there is none.
fn make(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "p2pdbg://rdv.example.org:3478";

    #[test]
    fn url_stands_before_the_tables_of_a_file_that_had_none() {
        let text = "# mine\n[traversal]\nport_mapping = false\n";
        let new = with_rendezvous(text, URL).unwrap();
        assert_eq!(new, format!("rendezvous = \"{URL}\"\n{text}"));
    }

    #[test]
    fn url_of_before_is_replaced_and_the_rest_stays() {
        let text = "name = 'a' # me\nrendezvous = '''p2pdbg://old''' # the office\nforwards = []\n";
        let new = with_rendezvous(text, URL).unwrap();
        assert_eq!(
            new,
            format!("name = 'a' # me\nrendezvous = \"{URL}\" # the office\nforwards = []\n")
        );
    }

    #[test]
    fn file_that_does_not_parse_is_left_alone() {
        assert_eq!(with_rendezvous("rendezvous = [", URL), None);
        assert_eq!(with_rendezvous("misspelt = 1\n", URL), None);
    }

    #[cfg(unix)]
    #[test]
    fn file_and_directory_are_closed_to_others_and_links_of_both_kinds_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config/p2pdbg/config.toml");
        store(&path, URL).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);

        let link = home.path().join("link.toml");
        symlink(&path, &link).unwrap();
        store(&link, "p2pdbg://other.example.org:3478").unwrap();
        assert!(link.is_symlink());
        assert!(fs::read_to_string(&path).unwrap().contains("other.example"));

        let name = home.path().join("name.toml");
        fs::hard_link(&path, &name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        store(&path, "p2pdbg://third.example.org:3478").unwrap();
        assert!(fs::read_to_string(&name).unwrap().contains("third.example"));
        assert_eq!(mode(&name), 0o600);
    }
}
