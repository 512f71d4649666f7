//! Directories of Windows, by handles: `cap-std` opens each name below the handle of the directory, and holds that
//! directory such that nobody puts another in its place meanwhile.
//!
//! Windows takes some names for others: in another case, by their short form of 8.3, without a dot at the end. So what
//! is there counts by the name by which its directory lists it, and what is not in the list is not opened.

use std::{fs::File, io, path::Path, time::SystemTime};

use cap_fs_ext::{DirExt, FollowSymlinks, MetadataExt, OpenOptionsFollowExt};
use cap_std::{
    ambient_authority,
    fs::{Dir, Metadata, OpenOptions},
};
use p2pdbg_proto::sources::Refusal;

use super::{Entry, Kind, windows_names};
use crate::name::folded;

/// What the system says of a disk that is full, of a name that is too long or none, of one who may not, of a disk that
/// is only read, of a file that a program holds, and of a link.
const FULL: [i32; 3] = [39, 112, 1295];
const NO_NAME: [i32; 3] = [123, 161, 206];
const FORBIDDEN: i32 = 5;
const READ_ONLY: i32 = 19;
const IN_USE: [i32; 2] = [32, 33];
const NO_WAY: [i32; 4] = [267, 681, 1920, 4390];

/// Nothing: a new file inherits the access list of its directory, and Windows has no bit for what may run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes;

/// By what a file is told from what it was before, or from another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    made: Option<SystemTime>,
    modified: Option<SystemTime>,
    length: u64,
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            made: metadata.created().ok().map(|at| at.into_std()),
            modified: metadata.modified().ok().map(|at| at.into_std()),
            length: metadata.len(),
        }
    }
}

/// A directory that is open: what is below it is reached by its handle, never by a path.
#[derive(Debug)]
pub(crate) struct Directory(Dir);

impl Directory {
    /// Opens the directory at a path that the user of this host gave, links and all.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(path, ambient_authority()).map(Self)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The directory of that name, made if there is none.
    pub(crate) fn below(&self, name: &str) -> io::Result<Self> {
        match self.entry(name)? {
            Some(entry) if entry.kind == Kind::Link => return Err(no_way()),
            Some(_) => {}
            None => match self.0.create_dir(name) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            },
        }
        self.0.open_dir_nofollow(name).map(Self)
    }

    /// The name by which something is there, if it is: one that differs in case at the most. Where the name must be
    /// `exact`, there is no room for it beside one that does.
    pub(crate) fn name_there(&self, name: &str, exact: bool) -> Result<String, Refusal> {
        if !windows_names::is_sound(name) {
            return Err(Refusal::Name);
        }
        let small = folded(name);
        let alike = self.names().find(|other| folded(other) == small);
        match alike {
            Some(there) if there == name || !exact => Ok(there),
            Some(_) => Err(Refusal::Name),
            // What the list does not have is there under another name.
            None if self.entry(name).is_ok_and(|entry| entry.is_none()) => Ok(name.to_owned()),
            None => Err(Refusal::Name),
        }
    }

    /// What is in it, as far as its name is Unicode; nothing if it cannot be read.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let entries = self.0.entries().into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    }

    /// What has that name in it; a link is told as one, not followed.
    pub(crate) fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let metadata = match self.0.symlink_metadata(name) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Entry {
            kind: kind(&metadata),
            length: metadata.len(),
            modified: metadata.modified().ok().map(|at| at.into_std()),
            is_own: true,
            attributes: Attributes,
            version: Version::of(&metadata),
        }))
    }

    /// Opens a file that is there, to read it.
    pub(crate) fn read(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OpenOptions::new().read(true))
    }

    /// Opens a file that is there, to write over it.
    pub(crate) fn overwrite(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OpenOptions::new().write(true))
    }

    /// Makes a file where there is none.
    pub(crate) fn make(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OpenOptions::new().write(true).create_new(true))
    }

    /// Opens a file to read and write it, made if there is none; `None` if it has another name too.
    pub(crate) fn part(&self, name: &str) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let file = self.unlinked(name, &mut options)?;
        let is_ours = file.metadata()?.nlink() == 1;
        Ok(is_ours.then(|| file.into_std()))
    }

    fn open_file(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        self.unlinked(name, options)
            .map(cap_std::fs::File::into_std)
    }

    /// Opens a file, and neither a link nor a directory.
    fn unlinked(&self, name: &str, options: &mut OpenOptions) -> io::Result<cap_std::fs::File> {
        let file = self.0.open_with(name, options.follow(FollowSymlinks::No))?;
        match kind(&file.metadata()?) {
            Kind::File => Ok(file),
            _ => Err(no_way()),
        }
    }

    /// Puts a file in the place of another one. A link that is there is replaced, not followed.
    pub(crate) fn replace(&self, from: &str, to: &str) -> io::Result<bool> {
        self.0.rename(from, &self.0, to).map(|()| true)
    }

    /// Gives a file a second name; `false` where the file system has no such thing.
    pub(crate) fn link(&self, name: &str, second: &str) -> io::Result<bool> {
        match self.0.hard_link(name, &self.0, second) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // FAT has none, and each system says it otherwise; a copy says what else is the matter.
            Err(_) => Ok(false),
        }
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove_file(name)
    }

    /// Not told here: what does not fit fails when it is written.
    pub(crate) fn room(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Windows has its renames in a journal, and no call for this.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Every file may be run here.
    pub(crate) fn let_run(
        &self,
        _name: &str,
        _attributes: Attributes,
        _executable: bool,
    ) -> io::Result<()> {
        Ok(())
    }

    /// There is no mode here.
    pub(crate) fn set_mode(
        &self,
        _file: &File,
        _old: Option<Attributes>,
        _executable: bool,
    ) -> io::Result<()> {
        Ok(())
    }

    /// A file's owner is whoever made it, and what may be done with it follows from its directory.
    pub(crate) fn take_owner(&self, _file: &File, _old: Option<Attributes>) -> io::Result<bool> {
        Ok(true)
    }

    /// The access list is that of the directory.
    pub(crate) fn take_lists(&self, _file: &File, _old: Option<&str>) -> bool {
        true
    }

    /// There is no such mode here.
    pub(crate) fn disarm(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    /// Not told beforehand here.
    pub(crate) fn reserve(_file: &File, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

fn kind(metadata: &Metadata) -> Kind {
    // A junction is one too.
    if metadata.file_type().is_symlink() {
        Kind::Link
    } else if metadata.is_file() {
        Kind::File
    } else {
        Kind::Other
    }
}

fn no_way() -> io::Error {
    io::Error::from_raw_os_error(NO_WAY[1])
}

/// What the peer is told of an error.
pub(crate) fn refusal(error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(code) if FULL.contains(&code) => Refusal::Full,
        Some(code) if NO_NAME.contains(&code) => Refusal::Name,
        Some(FORBIDDEN) => Refusal::Permission,
        Some(READ_ONLY) => Refusal::ReadOnly,
        Some(code) if IN_USE.contains(&code) => Refusal::InUse,
        Some(code) if NO_WAY.contains(&code) => Refusal::Path,
        _ => Refusal::Disk,
    }
}
