//! Small text files of the user's, read whole and replaced whole: what else a file is (a link, its names, its owner and
//! mode) stays as it was.
//!
//! A new file takes the old one's place where nothing is lost by it, so that whoever reads meets the one or the other.
//! Where something would be, the text is written into the old file, once the new one lies complete beside it.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use p2pdbg_sources::copy_extended_attributes;

/// So many links lead to each other at the most, as on Linux.
const MOST_LINKS: usize = 40;

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever could before.
    AsBefore,
    /// Its owner alone, from the first byte on: it holds a secret.
    OwnerAlone,
}

/// The text of a file; none if there is none.
///
/// # Errors
/// The operating system's; of what is no regular file ([`ErrorKind::InvalidInput`]: a FIFO would block for ever, a
/// device has no end), is longer than `most` bytes ([`ErrorKind::FileTooLarge`]), or not UTF-8
/// ([`ErrorKind::InvalidData`]).
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        let why = "it is no regular file";
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    if metadata.len() > most {
        let why = format!("it has more than {most} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, why));
    }
    fs::read_to_string(path).map(Some)
}

/// Puts the new text in the place of the old one, whole or not at all. The directory of the file is made if need be.
///
/// # Errors
/// Of a file that is read-only, as somebody has wanted it, though its directory would let it be replaced. The operating
/// system's; the old text is there still then, or the error says where the new one is.
pub(crate) fn replace(path: &Path, text: &str, access: Access) -> io::Result<()> {
    let path = writable(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.{}.new", std::process::id()));
    let replaced = replace_by(&path, &beside, directory, text, access);
    match replaced {
        Ok(()) => Ok(()),
        Err(Failed { error, torn: false }) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
        Err(Failed { error, torn: true }) => {
            let why = format!("{error}; its new text is in {}", beside.display());
            Err(io::Error::new(error.kind(), why))
        }
    }
}

/// Whether the text of a file may be put in its place, as far as that can be told before it is tried.
///
/// # Errors
/// Says why it may not.
pub(crate) fn may_be_replaced(path: &Path) -> io::Result<()> {
    writable(path).map(drop)
}

/// The file that a path leads to, unless it is read-only.
fn writable(path: &Path) -> io::Result<PathBuf> {
    let path = behind_links(path)?;
    match fs::metadata(&path).is_ok_and(|of| of.permissions().readonly()) {
        true => {
            let why = "it is read-only; make it writable";
            Err(io::Error::new(ErrorKind::PermissionDenied, why))
        }
        false => Ok(path),
    }
}

struct Failed {
    error: io::Error,
    /// Whether the file has neither the old text nor the new one.
    torn: bool,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self { error, torn: false }
    }
}

fn replace_by(
    path: &Path,
    beside: &Path,
    directory: &Path,
    text: &str,
    access: Access,
) -> Result<(), Failed> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if access == Access::OwnerAlone {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut new = options.open(beside)?;
    new.write_all(text.as_bytes())?;
    let old = fs::metadata(path).ok();
    // Another user's file, who lets this one write to it, would not be theirs any more; and of one with several names
    // the others would keep the old text.
    let takes_its_place = !old.as_ref().is_some_and(has_other_names)
        && take_owner(&new, old.as_ref(), directory)?
        && (old.is_none() || access == Access::OwnerAlone || take_lists(path, &new).is_ok());
    if !takes_its_place {
        new.sync_all()?;
        write_into(path, text, access)?;
        return fs::remove_file(beside).map_err(Failed::from);
    }
    if let (Some(old), Access::AsBefore) = (old, access) {
        new.set_permissions(old.permissions())?;
    }
    new.sync_all()?;
    match fs::rename(beside, path) {
        // Something is mounted at just that place, as containers have it of a single file.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            write_into(path, text, access)?;
            fs::remove_file(beside).map_err(Failed::from)
        }
        renamed => renamed.map_err(Failed::from),
    }
}

/// Writes into a file that is there already. On a full disk it has the old text again.
fn write_into(path: &Path, text: &str, access: Access) -> Result<(), Failed> {
    let old = fs::read(path)?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    if access == Access::OwnerAlone {
        close_to_others(&file)?;
    }
    overwrite(&mut file, old.len(), text.as_bytes()).map_err(|error| {
        let restored = overwrite(&mut file, old.len(), &old);
        Failed {
            error,
            torn: restored.is_err(),
        }
    })
}

/// Writes what is longer than the old text first: that may find the disk full, and nothing has been touched then.
fn overwrite(file: &mut File, old: usize, text: &[u8]) -> io::Result<()> {
    let (over, beyond) = text.split_at(old.min(text.len()));
    file.seek(SeekFrom::Start(old as u64))?;
    file.write_all(beyond)?;
    file.sync_all()?;
    file.rewind()?;
    file.write_all(over)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

#[cfg(unix)]
fn has_other_names(of: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(of) > 1
}

/// The standard library does not tell it on Windows, where few files have several.
#[cfg(not(unix))]
fn has_other_names(_: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn close_to_others(file: &File) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

/// On Windows the user's profile is closed to others by its access list.
#[cfg(not(unix))]
fn close_to_others(_: &File) -> io::Result<()> {
    Ok(())
}

/// What a path leads to: a link stays one, and what is behind it is replaced, or made.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(found) = fs::canonicalize(&path) {
            return Ok(found);
        }
        let Ok(link) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new(".")).join(link);
        if !path.parent().is_some_and(Path::is_dir) {
            break;
        }
    }
    Err(nowhere())
}

fn nowhere() -> io::Error {
    io::Error::other("it is a link that leads nowhere; make what it leads to, or remove it")
}

/// Gives a new file the access list of the old one, and what else there is of the kind.
fn take_lists(old: &Path, new: &File) -> io::Result<()> {
    copy_extended_attributes(&File::open(old)?, new)
}

/// Makes a directory and those above it, as the one does in which they are made: for the same user.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if directory.is_symlink() {
        return Err(nowhere());
    }
    let parent = directory.parent().unwrap_or(Path::new("."));
    make_directory(parent)?;
    fs::create_dir(directory)?;
    // Windows opens no directory as a file, and needs nothing here.
    #[cfg(unix)]
    take_owner(&File::open(directory)?, None, parent)?;
    Ok(())
}

/// Gives a file that was made to the user and group of the `old` one, or of the directory that it is in. `false` if
/// this user cannot, and the old one was another user's.
#[cfg(unix)]
fn take_owner(new: &File, old: Option<&Metadata>, directory: &Path) -> io::Result<bool> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let own = new.metadata()?;
    let wanted = match old {
        Some(old) => (old.uid(), old.gid()),
        None => fs::metadata(directory).map(|of| (of.uid(), of.gid()))?,
    };
    if (own.uid(), own.gid()) == wanted || fchown(new, Some(wanted.0), Some(wanted.1)).is_ok() {
        return Ok(true);
    }
    // The group may be one of this user's all the same.
    let _ = fchown(new, None, Some(wanted.1));
    Ok(old.is_none() || own.uid() == wanted.0)
}

/// The access lists of the directory say whose a file is.
#[cfg(not(unix))]
fn take_owner(_: &File, _: Option<&Metadata>, _: &Path) -> io::Result<bool> {
    Ok(true)
}
