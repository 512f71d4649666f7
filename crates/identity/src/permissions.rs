//! Who else may read or change a file.
//!
//! On Unix: nobody else, or the file is refused. Elsewhere nothing is checked: on Windows the default state
//! directory lies in the user's own profile, whose access list keeps other users out, and a directory named
//! on the command line is the user's own care.

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
