//! The line for a debuggee's host where p2pdbg is not installed.
//!
//! The rendezvous hands out a script and the programs (`--offer`). What is run there has to be what this program's own
//! package promises: a release puts the SHA-256 of the script into `share/p2pdbg/offer.sha256` beside `bin`, the line
//! has it in it, and the script has those of the programs. A rendezvous that offers another script is not trusted, so
//! no line is shown.

use std::path::Path;

use p2pdbg_proto::url::RendezvousUrl;

/// Where a package has the SHA-256 of the script, seen from the directory of the program.
const PROMISE: &str = "../share/p2pdbg/offer.sha256";

/// A script that this program's package vouches for, by its SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script(String);

/// What the rendezvous offers, if it is what the package of this program promises.
pub(super) fn known(offered: [u8; 32]) -> Option<Script> {
    // Where it really lies: a package manager may have put a link on PATH.
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    known_beside(program.ok()?.parent()?, offered)
}

fn known_beside(directory: &Path, offered: [u8; 32]) -> Option<Script> {
    let promised = std::fs::read_to_string(directory.join(PROMISE));
    let promised = promised.inspect_err(|error| {
        tracing::info!(%error, "the rendezvous offers the program, and nothing here says which it should be");
    });
    let offered: String = offered.iter().map(|byte| format!("{byte:02x}")).collect();
    if promised.ok()?.trim() == offered {
        return Some(Script(offered));
    }
    tracing::info!(
        offered,
        "the rendezvous offers another program than this one's package has"
    );
    None
}

/// A line for sh that fetches the script by what is there, checks it, and has it run `command`. More arguments may
/// follow. There is no backslash in it, which the terminal's printer would double.
pub(super) fn line(rendezvous: &RendezvousUrl, script: &Script, command: &str) -> String {
    let authority = rendezvous.authority();
    let Script(hash) = script;
    let arguments = command.strip_prefix("p2pdbg ").unwrap_or(command);
    format!(
        "u='http://{authority}/offer/run.sh'; \
         s=$(curl -fsS \"$u\" || wget -qO- \"$u\" || \
         python3 -c \"import urllib.request as r; print(r.urlopen('$u').read().decode(), end='')\"); \
         [ \"$(echo \"$s\" | sha256sum)\" = '{hash}  -' ] || \
         s='echo \"p2pdbg: what was promised could not be fetched; nothing was run\" >&2; exit 1'; \
         sh -c \"$s\" p2pdbg \"$u\" {arguments}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(promise: &str) -> tempfile::TempDir {
        let package = tempfile::tempdir().unwrap();
        let path = package.path();
        std::fs::create_dir_all(path.join("bin")).unwrap();
        std::fs::create_dir_all(path.join("share/p2pdbg")).unwrap();
        std::fs::write(path.join("share/p2pdbg/offer.sha256"), promise).unwrap();
        package
    }

    #[test]
    fn offer_is_known_only_if_the_package_promises_the_same_script() {
        let promise = format!("{}\n", "0a".repeat(32));
        let package = package(&promise);
        let bin = package.path().join("bin");
        assert_eq!(known_beside(&bin, [10; 32]), Some(Script("0a".repeat(32))));
        assert_eq!(known_beside(&bin, [11; 32]), None);
        assert_eq!(known_beside(package.path(), [10; 32]), None);
    }

    #[test]
    fn line_carries_the_hash_and_ends_with_the_command() {
        let url = "p2pdbg://[2001:db8::7]:3478".parse().unwrap();
        let script = Script("0a".repeat(32));
        let line = line(&url, &script, "p2pdbg connect 482913-orbit-lemon-tiger");
        assert!(line.starts_with("u='http://[2001:db8::7]:3478/offer/run.sh'; "));
        assert!(line.contains(&format!("'{}  -'", "0a".repeat(32))));
        assert!(line.ends_with(" connect 482913-orbit-lemon-tiger"));
        assert!(!line.contains('\\'));
    }
}
