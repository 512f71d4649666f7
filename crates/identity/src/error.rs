//! What can be wrong with a state directory, in words for the person who has to put it right.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why the state directory, or a file in it, cannot be used. Each message says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no home directory to put the state directory in.
    #[error("there is no home directory to keep state in: set HOME, or name a state directory")]
    NoHome,
    /// The directory does not exist and cannot be made.
    #[error(
        "cannot create the state directory {}: {source}; make it, or name another",
        path.display()
    )]
    Create {
        /// The directory that was to be made.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Its path begins with what a shell puts something in for, and has been through none: made as it stands, it
    /// would be another directory, with another identity, wherever a program is started.
    #[error("the state directory {}: nothing is put in for ~ or a variable here; write the whole path", .0.display())]
    Unexpanded(PathBuf),
    /// There is something of that name, but no directory.
    #[error("the state directory {} is not a directory: remove it, or name another", .0.display())]
    NotADirectory(PathBuf),
    /// The directory or file belongs to somebody else, who could read and replace what is in it.
    #[error(
        "{} belongs to another user (uid {owner}; this program runs as uid {user}): run as that user, or name \
         another state directory",
        path.display()
    )]
    ForeignOwner {
        /// What belongs to somebody else.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The effective user id of this process.
        user: u32,
    },
    /// Others may look into the directory or change it.
    #[error(
        "the state directory {} is open to other users (mode {mode:03o}): run `chmod 700 {}`",
        path.display(), Quoted(path)
    )]
    LooseDirectory {
        /// The directory that others may enter.
        path: PathBuf,
        /// Its permission bits, `0o755` say, without the kind of file.
        mode: u32,
    },
    /// Others may read the file or change it.
    #[error(
        "{} is open to other users (mode {mode:03o}): run `chmod 600 {}`; if somebody may have read it, \
         delete it instead",
        path.display(), Quoted(path)
    )]
    LooseFile {
        /// The file that others may read.
        path: PathBuf,
        /// Its permission bits, `0o755` say, without the kind of file.
        mode: u32,
    },
    /// Nothing can be written to the directory.
    #[error(
        "the state directory {} is not writable ({why}): run `chmod 700 {}`, or name another",
        path.display(), Quoted(path)
    )]
    NotWritable {
        /// The directory in which a file could not be made.
        path: PathBuf,
        /// What the operating system says.
        why: String,
    },
    /// A file holds something that this program did not write.
    #[error("{} is damaged ({why}): {remedy}", path.display())]
    Damaged {
        /// The file that was read.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What the user can do, as the end of the message.
        remedy: &'static str,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate that was just made cannot be read back.
    #[error("cannot read the certificate that was just made: {0}")]
    MadeCertificate(#[from] NotAnIdentity),
    /// Another operation on a file failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb that fits behind "cannot": `read`.
        action: &'static str,
        /// The file, or the directory, that it was tried on.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl StateError {
    /// Whether there is nowhere to write, rather than something in the way of it that somebody should look at: a
    /// directory of another user's, or one that is open to others.
    pub fn is_for_want_of_a_place(&self) -> bool {
        match self {
            Self::NoHome | Self::Create { .. } | Self::NotWritable { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }

    /// For `map_err`: an operation on `path` that failed.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// A path as a shell takes it.
struct Quoted<'a>(&'a Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            f.write_str(&text)
        } else {
            write!(f, "'{}'", text.replace('\'', r"'\''"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_can_be_pasted_into_a_shell() {
        let remedy = |path: &str| {
            let path = PathBuf::from(path);
            StateError::LooseDirectory { path, mode: 0o755 }.to_string()
        };
        assert!(remedy("/home/a/state").ends_with("(mode 755): run `chmod 700 /home/a/state`"));
        assert!(remedy("/a b/it's").ends_with(r"run `chmod 700 '/a b/it'\''s'`"));
    }
}

/// Why a PEM text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnIdentity(pub(crate) String);
