//! `p2pdbg unit`: a unit of systemd that keeps a host reachable for one known peer, from the boot on.
//!
//! It is printed, and whoever wants it puts it in its place: where that is depends on whose service it is to be.

use std::{env, os::unix::ffi::OsStrExt, path::Path};

use p2pdbg_base::{ErrorCode, Failure, PeerName, say};

use crate::{cli::args::UnitArgs, stdout};

/// Prints the unit.
///
/// # Errors
/// If the name is none, a word cannot stand in a unit, or standard output cannot be written.
pub fn run(args: UnitArgs) -> Result<(), Failure> {
    let peer: PeerName = args.peer.parse().map_err(|fault| {
        Failure::new(ErrorCode::Usage, format!("--peer {:?}: {fault}", args.peer))
    })?;
    let program = env::current_exe()
        .map_err(|error| failure(&format!("cannot tell where p2pdbg is: {error}")))?;
    let directory = env::current_dir()
        .map_err(|error| failure(&format!("cannot tell the working directory: {error}")))?;
    let mut words = vec![program.as_os_str().as_bytes().to_vec()];
    words.extend(["connect", "--peer"].map(|word| word.as_bytes().to_vec()));
    words.push(peer.to_string().into_bytes());
    if !args.command.is_empty() {
        words.push(b"--".to_vec());
    }
    words.extend(args.command.iter().map(|word| word.as_bytes().to_vec()));
    let words: Result<Vec<String>, Failure> = words.iter().map(|word| quoted(word)).collect();
    let unit = unit(&peer, &words?.join(" "), &path(&directory)?, args.system);
    // What the shell has is not the service's: with another state directory it would know no peer.
    if !args.system && env::var_os("P2PDBG_STATE").is_some_and(|state| !state.is_empty()) {
        say!(
            "note: P2PDBG_STATE is set here, and not for the service: put it into the file that EnvironmentFile= names"
        );
    }
    stdout::print(|out| out.write_all(unit.as_bytes()))
}

fn unit(peer: &PeerName, command: &str, directory: &str, is_systems: bool) -> String {
    let (wanted_by, place, start) = match is_systems {
        true => (
            "multi-user.target",
            "/etc/systemd/system/p2pdbg.service",
            "systemctl enable --now p2pdbg",
        ),
        false => (
            "default.target",
            "~/.config/systemd/user/p2pdbg.service",
            "systemctl --user enable --now p2pdbg; loginctl enable-linger",
        ),
    };
    let state = match is_systems {
        // Without a home directory of its own it needs a place for its identity and its peers. systemd makes it open to
        // others unless it is told otherwise, and then p2pdbg would not use it.
        true => {
            "DynamicUser=yes\nStateDirectory=p2pdbg\nStateDirectoryMode=0700\nEnvironment=P2PDBG_STATE=%S/p2pdbg\n"
        }
        false => "",
    };
    format!(
        "# Put this into {place}, then: {start}
[Unit]
Description=Reachable for the debugger of {peer}
Wants=network-online.target
After=network-online.target

[Service]
# The URL of the rendezvous, as P2PDBG_RENDEZVOUS=p2pdbg://HOST:3478#FINGERPRINT; the file is yours alone (chmod 600).
EnvironmentFile=-%E/p2pdbg/environment
{state}WorkingDirectory={directory}
ExecStart={command}
Restart=always
RestartSec=5
# A command line that makes no sense makes none the next time either.
RestartPreventExitStatus=2

[Install]
WantedBy={wanted_by}
"
    )
}

/// A word as it stands in `ExecStart=` (systemd.service(5)): in quotes, with nothing in it that systemd replaces.
fn quoted(word: &[u8]) -> Result<String, Failure> {
    let word = std::str::from_utf8(word).map_err(|_| unfit("is no UTF-8"))?;
    if word.chars().any(char::is_control) {
        return Err(unfit("has control characters"));
    }
    let mut quoted = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '%' | '$' => quoted.extend([letter, letter]),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// A path as it stands in a setting that takes no quotes.
fn path(path: &Path) -> Result<String, Failure> {
    let path = path.to_str().ok_or_else(|| unfit("is no UTF-8"))?;
    if path.chars().any(char::is_control) {
        return Err(unfit("has control characters"));
    }
    Ok(path.replace('%', "%%"))
}

fn unfit(why: &str) -> Failure {
    failure(&format!(
        "a word of the command {why}, and cannot stand in a unit"
    ))
    .hint("put the command into a script, and name that")
}

fn failure(message: &str) -> Failure {
    Failure::new(ErrorCode::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_in_a_unit_keeps_its_meaning() {
        let quoted = |word: &str| quoted(word.as_bytes()).unwrap();
        assert_eq!(quoted("app.py"), r#""app.py""#);
        assert_eq!(quoted("a b;c"), r#""a b;c""#);
        assert_eq!(quoted(r#"50% "$HOME" \"#), r#""50%% \"$$HOME\" \\""#);
    }

    #[test]
    fn word_that_cannot_stand_in_a_unit_is_refused() {
        for word in [&b"a\nExecStart=b"[..], b"\xff", b"a\x1b"] {
            assert!(super::quoted(word).is_err(), "{word:?}");
        }
    }
}
