//! What each system tells of a file beside what it holds: whether it was changed, where it is, whether it may be run.

use std::{
    fs::{self, Metadata, OpenOptions},
    path::Path,
    time::Duration,
};

#[cfg(unix)]
pub(super) use unix::{Device, Stamp, is_executable, without_links};
#[cfg(windows)]
pub(super) use windows::{Device, Stamp, is_executable, without_links};

/// A file that was changed so lately may be changed again and have the same times.
const RACY: Duration = Duration::from_secs(2);

/// The device of a directory.
pub(super) fn device(directory: &Path) -> Option<Device> {
    fs::metadata(directory)
        .ok()
        .map(|metadata| Device::of(&metadata))
}

/// Whether something is on that device.
pub(super) fn is_on(metadata: &Metadata, device: Option<Device>) -> bool {
    Some(Device::of(metadata)) == device
}

#[cfg(unix)]
mod unix {
    use std::{
        os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
        time::SystemTime,
    };

    use rustix::fs::OFlags;

    use super::{Metadata, OpenOptions, RACY};

    /// By what a file that was changed is told from one that was not: also one that was written anew with its old time.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Stamp {
        modified: (i64, i64),
        changed: (i64, i64),
        inode: (u64, u64),
        length: u64,
    }

    impl Stamp {
        pub(crate) fn of(metadata: &Metadata) -> Self {
            Self {
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
                inode: (metadata.dev(), metadata.ino()),
                length: metadata.len(),
            }
        }

        /// Whether it is so young that a change after it may leave no trace.
        pub(crate) fn is_racy(&self) -> bool {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default().as_secs();
            let age = i64::try_from(now)
                .unwrap_or(i64::MAX)
                .saturating_sub(self.changed.0);
            age <= RACY.as_secs().try_into().unwrap_or(i64::MAX)
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Device(u64);

    impl Device {
        pub(super) fn of(metadata: &Metadata) -> Self {
            Self(metadata.dev())
        }
    }

    /// Has an opening follow no link, nor wait for a pipe.
    pub(crate) fn without_links(options: &mut OpenOptions) {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    }

    /// Whether its user may run it.
    pub(crate) fn is_executable(metadata: &Metadata) -> bool {
        metadata.permissions().mode() & 0o100 != 0
    }
}

#[cfg(windows)]
mod windows {
    use std::{
        os::windows::fs::{MetadataExt, OpenOptionsExt},
        time::SystemTime,
    };

    use super::{Metadata, OpenOptions, RACY};

    /// FILE_FLAG_OPEN_REPARSE_POINT: a link is opened itself, and then seen to be no file.
    const OPEN_LINK: u32 = 0x0020_0000;

    /// By what a file that was changed is told from one that was not. Windows keeps the time of a change of its
    /// times too, and the standard library does not tell it: what was written anew with its old time and length in the
    /// place of another passes for it, unless it was made anew.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Stamp {
        written: u64,
        made: u64,
        length: u64,
        changed: Option<SystemTime>,
    }

    impl Stamp {
        pub(crate) fn of(metadata: &Metadata) -> Self {
            Self {
                written: metadata.last_write_time(),
                made: metadata.creation_time(),
                length: metadata.len(),
                changed: metadata.modified().ok(),
            }
        }

        /// Whether it is so young that a change after it may leave no trace.
        pub(crate) fn is_racy(&self) -> bool {
            let age = self.changed.and_then(|at| at.elapsed().ok());
            age.is_none_or(|age| age <= RACY)
        }
    }

    /// Directories of other devices are behind junctions, which are links.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Device;

    impl Device {
        pub(super) fn of(_metadata: &Metadata) -> Self {
            Self
        }
    }

    /// Has an opening follow no link.
    pub(crate) fn without_links(options: &mut OpenOptions) {
        options.custom_flags(OPEN_LINK);
    }

    /// Windows knows no such permission: no file has it.
    pub(crate) fn is_executable(_metadata: &Metadata) -> bool {
        false
    }
}
