//! Who else may read or change a file.
//!
//! On Unix: nobody else, or the file is refused. On Windows a directory that p2pdbg makes gets an access list of its
//! own; one that was there is not looked at, since its list may be what somebody wants. The default one lies in the
//! user's own profile, whose list keeps other users out.

use std::{fs::Metadata, path::Path};

use crate::StateError;

/// Accepts a directory only if it is this user's and closed to everybody else, and this user may do all in it.
#[cfg(unix)]
pub(crate) fn check_directory(path: &Path, metadata: &Metadata) -> Result<(), StateError> {
    use std::os::unix::fs::PermissionsExt;

    check_owner(path, metadata)?;
    let mode = metadata.permissions().mode() & 0o777;
    let path = path.to_owned();
    if mode & 0o077 != 0 {
        return Err(StateError::LooseDirectory { path, mode });
    }
    if mode != 0o700 {
        let why = format!("mode {mode:03o}");
        return Err(StateError::NotWritable { path, why });
    }
    Ok(())
}

/// Accepts a file only if it is this user's and closed to everybody else.
#[cfg(unix)]
pub(crate) fn check_file(path: &Path, metadata: &Metadata) -> Result<(), StateError> {
    use std::os::unix::fs::PermissionsExt;

    check_owner(path, metadata)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(StateError::LooseFile { path, mode });
    }
    Ok(())
}

#[cfg(unix)]
fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), StateError> {
    use std::os::unix::fs::MetadataExt;

    let user = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner != user {
        let path = path.to_owned();
        return Err(StateError::ForeignOwner { path, owner, user });
    }
    Ok(())
}

/// Closes a directory that was made just now to everybody but this user, the administrators and the system, whom
/// nothing could keep out. What is made in it inherits that.
///
/// By Windows' own programs, since its functions for this need code that is not safe in Rust's sense.
///
/// # Errors
/// If they are not there or fail, as on a file system without access lists.
#[cfg(windows)]
pub(crate) fn close_directory(path: &Path) -> std::io::Result<()> {
    use std::{
        io,
        process::{Command, Stdio},
    };

    // By their whole paths: whatever lies in the working directory is not run.
    let system = std::env::var_os("SystemRoot").ok_or(io::ErrorKind::NotFound)?;
    let system = Path::new(&system).join("System32");
    let run = |program: &str| {
        let mut command = Command::new(system.join(program));
        command.stdin(Stdio::null());
        command
    };
    let asked = run("whoami.exe")
        .args(["/user", "/fo", "csv", "/nh"])
        .output()?;
    let user = account_of(&String::from_utf8_lossy(&asked.stdout));
    let user = user.ok_or_else(|| io::Error::other("whoami does not say who this user is"))?;
    let mut command = run("icacls.exe");
    command.arg(path).args(["/inheritance:r", "/q", "/grant:r"]);
    for who in [user.as_str(), SYSTEM, ADMINISTRATORS] {
        command.arg(format!("{who}:(OI)(CI)F"));
    }
    let closed = command.output()?;
    match closed.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&closed.stderr).trim().to_owned();
            Err(io::Error::other(format!("icacls: {said}")))
        }
    }
}

/// The system itself, and its administrators.
#[cfg(windows)]
const SYSTEM: &str = "*S-1-5-18";
#[cfg(windows)]
const ADMINISTRATORS: &str = "*S-1-5-32-544";

/// The user in what `whoami` says, as `icacls` takes it: `"host\user","S-1-5-21-…"`, of which the identifier is the
/// same in every code page; or the name alone, as Wine says it whatever is asked.
#[cfg(any(windows, test))]
fn account_of(said: &str) -> Option<String> {
    let said = said.trim();
    if let Some(identifier) = said.rsplit('"').find(|part| part.starts_with("S-1-")) {
        let is_one = |c: char| c.is_ascii_digit() || matches!(c, 'S' | '-');
        return identifier
            .chars()
            .all(is_one)
            .then(|| format!("*{identifier}"));
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '\\' | '-' | '_' | '.');
    (said.contains('\\') && said.chars().all(is_part)).then(|| said.to_owned())
}

/// Accepts every directory; see the module's notes.
#[cfg(not(unix))]
pub(crate) fn check_directory(_path: &Path, _metadata: &Metadata) -> Result<(), StateError> {
    Ok(())
}

/// Accepts every file; see the module's notes.
#[cfg(not(unix))]
pub(crate) fn check_file(_path: &Path, _metadata: &Metadata) -> Result<(), StateError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_read_by_identifier_or_plain_name_and_nothing_else_is_taken_for_one() {
        let said = "\"host\\S-1-5 user\",\"S-1-5-21-397955417-626881126-188441444-1000\"\r\n";
        let user = "*S-1-5-21-397955417-626881126-188441444-1000";
        assert_eq!(account_of(said).as_deref(), Some(user));
        assert_eq!(account_of("HOST\\ada\r\n").as_deref(), Some("HOST\\ada"));
        for said in [
            "",
            "ada",
            "\"host\\ada\",\"S-1-5:F Everyone\"",
            "host\\ada:F Everyone",
            "host\\\u{fffd}da",
        ] {
            assert_eq!(account_of(said), None, "{said:?}");
        }
    }
}
