//! Directories of Unix, by file descriptors.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, SystemTime},
};

use p2pdbg_proto::sources::Refusal;
#[cfg(target_os = "linux")]
use rustix::fs::FallocateFlags;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
};

use super::{Entry, Kind};
use crate::{extended_attributes::copy_extended_attributes, name::folded};

/// How a directory on the way is opened.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How a file is opened, beside the direction: a pipe in its place holds nobody up.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The mode of a file that was none before.
const FRESH: Mode = Mode::from_raw_mode(0o644);

/// The mode, user and group of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    mode: Mode,
    owner: (u32, u32),
}

impl Attributes {
    fn of(stat: &Stat) -> Self {
        Self {
            mode: Mode::from_raw_mode(stat.st_mode),
            owner: (stat.st_uid, stat.st_gid),
        }
    }
}

/// By what a file is told from what it was before, or from another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    inode: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    length: i64,
}

impl Version {
    // The types of these fields differ among the systems.
    #[expect(clippy::unnecessary_cast, clippy::cast_possible_wrap)]
    fn of(stat: &Stat) -> Self {
        Self {
            inode: (stat.st_dev as u64, stat.st_ino as u64),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            length: stat.st_size as i64,
        }
    }
}

/// A directory that is open: what is below it is reached by its descriptor, never by a path.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Opens the directory at a path that the user of this host gave, links and all.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The directory of that name, made if there is none: for the same user.
    pub(crate) fn below(&self, name: &str) -> io::Result<Self> {
        let open = || rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty());
        match open() {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let made = open()?;
                if let Ok(above) = rustix::fs::fstat(&self.0) {
                    let (user, group) = (Uid::from_raw(above.st_uid), Gid::from_raw(above.st_gid));
                    // Only root can, and only as root it is another's.
                    let _ = rustix::fs::fchown(&made, Some(user), Some(group));
                }
                Ok(Self(made))
            }
            opened => Ok(Self(opened?)),
        }
    }

    /// The name by which something is there, if it is: the one that differs in case at the most, if there is just one
    /// and the name need not be `exact`.
    pub(crate) fn name_there(&self, name: &str, exact: bool) -> Result<String, Refusal> {
        let is_there = || rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if exact || is_there() {
            return Ok(name.to_owned());
        }
        let names = self.names();
        let small = folded(name);
        let mut alike = names.filter(|other| folded(other) == small);
        Ok(match (alike.next(), alike.next()) {
            (Some(one), None) => one,
            _ => name.to_owned(),
        })
    }

    /// What is in it, as far as its name is UTF-8; nothing if it cannot be read.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let entries = rustix::fs::Dir::read_from(&self.0).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
    }

    /// What has that name in it; a link is told as one, not followed.
    pub(crate) fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let stat = match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
        Ok(Some(Entry {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Symlink => Kind::Link,
                _ => Kind::Other,
            },
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
            is_own: stat.st_uid == rustix::process::geteuid().as_raw(),
            attributes: Attributes::of(&stat),
            version: Version::of(&stat),
        }))
    }

    /// Opens a file that is there, to read it.
    pub(crate) fn read(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::RDONLY)
    }

    /// Opens a file that is there, to write over it.
    pub(crate) fn overwrite(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::WRONLY)
    }

    /// Makes a file, for this user alone, where there is none.
    pub(crate) fn make(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file to read and write it, made if there is none; `None` if it is no file, or has another name too.
    /// Another user's is made anew.
    pub(crate) fn part(&self, name: &str) -> io::Result<Option<File>> {
        // What is made here is ours, whoever's it is by its looks: CIFS, FAT, shared folders of virtual machines and
        // NFS for root show another user.
        let make = || self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(Some),
        }
        let file = self.open_file(name, OFlags::RDWR);
        if let Ok(file) = &file {
            let stat = rustix::fs::fstat(file)?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if !is_file || stat.st_nlink != 1 {
                return Ok(None);
            }
            if stat.st_uid != rustix::process::geteuid().as_raw() {
                self.remove(name)?;
                return make().map(Some);
            }
        }
        file.map(Some)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.0, name, flags | FILE, mode)?.into())
    }

    /// Puts a file in the place of another one. A link that is there is replaced, not followed. `false` where something
    /// is mounted at just that place, as containers have it of a single file: that can be written over alone.
    pub(crate) fn replace(&self, from: &str, to: &str) -> io::Result<bool> {
        match rustix::fs::renameat(&self.0, from, &self.0, to) {
            Ok(()) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file a second name; `false` where the file system has no such thing.
    pub(crate) fn link(&self, name: &str, second: &str) -> io::Result<bool> {
        match rustix::fs::linkat(&self.0, name, &self.0, second, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::XDEV) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// The bytes that there is room for, as far as the system tells.
    pub(crate) fn room(&self) -> io::Result<Option<u64>> {
        let room = rustix::fs::fstatvfs(&self.0)?;
        Ok(Some(room.f_bavail.saturating_mul(room.f_frsize)))
    }

    /// Has its names written to the disk, where the file system has that of a directory.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.0) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            synced => Ok(synced?),
        }
    }

    /// Lets whoever may read a file that is there run it, if that is asked for.
    pub(crate) fn let_run(
        &self,
        name: &str,
        attributes: Attributes,
        executable: bool,
    ) -> io::Result<()> {
        let wanted = with_execution(attributes.mode, executable);
        if wanted != attributes.mode {
            rustix::fs::chmodat(&self.0, name, wanted, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Gives a new file the mode of the old one, or one that is usual; whoever may read may run as well, if that is
    /// asked for.
    pub(crate) fn set_mode(
        &self,
        file: &File,
        old: Option<Attributes>,
        executable: bool,
    ) -> io::Result<()> {
        let mode = with_execution(old.map_or(FRESH, |old| old.mode), executable);
        match rustix::fs::fchmod(file, mode) {
            // Where the file system says whose a file is, and not who made it, it says what its mode is as well.
            Err(Errno::PERM)
                if rustix::fs::fstat(file)?.st_uid != rustix::process::geteuid().as_raw() =>
            {
                Ok(())
            }
            set => Ok(set?),
        }
    }

    /// Makes a new file that of the user and group whose the old one was, or the directory. `false` if that cannot be:
    /// then the old one is written over, in whose place no other may be put.
    pub(crate) fn take_owner(&self, file: &File, old: Option<Attributes>) -> io::Result<bool> {
        let own = Attributes::of(&rustix::fs::fstat(file)?).owner;
        let wanted = match old {
            Some(old) => old.owner,
            None => Attributes::of(&rustix::fs::fstat(&self.0)?).owner,
        };
        if own == wanted {
            return Ok(true);
        }
        let (user, group) = (Uid::from_raw(wanted.0), Gid::from_raw(wanted.1));
        if rustix::fs::fchown(file, Some(user), Some(group)).is_ok() {
            return Ok(true);
        }
        let has_group = own.1 == wanted.1 || rustix::fs::fchown(file, None, Some(group)).is_ok();
        Ok(old.is_none() || (has_group && own.0 == wanted.0))
    }

    /// Gives a new file the extended attributes of the old one. `false` if that cannot be: then the old one is written
    /// over, which keeps them.
    pub(crate) fn take_lists(&self, file: &File, old: Option<&str>) -> bool {
        let Some(old) = old else {
            return true;
        };
        let take = || copy_extended_attributes(&self.read(old)?, file);
        take().is_ok()
    }

    /// Takes from a file that is kept aside what would let it run as its owner or group.
    pub(crate) fn disarm(&self, name: &str) -> io::Result<()> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Attributes::of(&stat).mode;
        let rest = mode.difference(Mode::SUID.union(Mode::SGID));
        if rest != mode {
            rustix::fs::chmodat(&self.0, name, rest, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Has the disk keep room for so many bytes of a file, as far as the file system can.
    #[cfg(target_os = "linux")]
    pub(crate) fn reserve(file: &File, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn reserve(_file: &File, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A mode in which whoever may read may run as well, if that is asked for.
fn with_execution(mode: Mode, executable: bool) -> Mode {
    let bits = mode.as_raw_mode() & 0o7777;
    let run = if executable { (bits & 0o444) >> 2 } else { 0 };
    Mode::from_raw_mode(bits | run)
}

/// What the peer is told of an error.
pub(crate) fn refusal(error: &io::Error) -> Refusal {
    match Errno::from_io_error(error) {
        Some(Errno::LOOP | Errno::NOTDIR | Errno::MLINK) => Refusal::Path,
        Some(Errno::ISDIR) => Refusal::NotAFile,
        Some(Errno::NAMETOOLONG) => Refusal::Name,
        Some(Errno::NOSPC | Errno::DQUOT) => Refusal::Full,
        Some(Errno::ACCESS | Errno::PERM) => Refusal::Permission,
        Some(Errno::ROFS) => Refusal::ReadOnly,
        Some(Errno::TXTBSY) => Refusal::InUse,
        _ => Refusal::Disk,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn directory_that_cannot_be_synchronised_is_no_failure() {
        // So does the one of the kernel.
        let directory = Directory::open(Path::new("/proc")).unwrap();
        assert_eq!(rustix::fs::fsync(&directory.0), Err(Errno::INVAL));
        directory.sync().unwrap();
    }
}
