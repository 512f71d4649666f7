//! Whether a program may be run that a debuggee has named: by its words, its variables, or the files in its memory.
//!
//! Root may attach to a program that came from another user's directory, and a user to one that came from `/tmp`. What
//! somebody else can change is not run then: it would be that one's code with this user's rights. Left out: lists of
//! access rights beyond the mode, and whoever changes a directory between this look and the start.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::process::{getegid, geteuid};

use crate::process::Process;

const ROOT: u32 = 0;

/// As many symbolic links in a row as the kernel follows.
const MAX_LINKS: usize = 40;

/// The bits of a mode by which the members of the file's group, and everybody, may write.
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;

/// The bit of a directory's mode by which nobody renames or removes in it what is another's.
const STICKY: u32 = 0o1000;

/// The directories next to a file that a Python reads more of: its own, and the one above that, in which an environment
/// has `pyvenv.cfg` and `lib`.
const NEXT_TO_IT: usize = 2;

/// Who has this user's rights anyway.
pub(super) struct Trusted {
    users: Vec<u32>,
    groups: [u32; 2],
}

impl Trusted {
    /// Root, this user, and whose executable file the program runs, which has its rights by that: a Python of an
    /// administrator's that is not root, say.
    pub(super) fn with(process: &Process) -> Self {
        let executable = fs::metadata(process.executable_link());
        // A container's numbers may mean somebody else here.
        let owner = executable.ok().filter(|_| !process.is_in_container());
        let mut users = vec![ROOT, geteuid().as_raw()];
        users.extend(owner.map(|file| file.uid()));
        let groups = [ROOT, getegid().as_raw()];
        Self { users, groups }
    }

    /// Whether nobody else can change which file this path leads to, or what is in it.
    pub(super) fn hold(&self, file: &Path) -> bool {
        file.is_absolute() && self.hold_way_to(file).unwrap_or(false)
    }

    fn hold_way_to(&self, file: &Path) -> io::Result<bool> {
        let mut at = file.to_owned();
        for _ in 0..=MAX_LINKS {
            if !self.hold_directories_of(&at)? {
                return Ok(false);
            }
            let Ok(target) = fs::read_link(&at) else {
                // Its directories may be links too.
                let real = fs::canonicalize(&at)?;
                let found = fs::metadata(&real)?;
                let is_theirs = found.is_file() && self.own(&found) && self.alone_write(&found);
                return Ok(is_theirs && self.hold_directories_of(&real)?);
            };
            at = at.parent().unwrap_or(Path::new("/")).join(target);
        }
        Ok(false)
    }

    fn hold_directories_of(&self, file: &Path) -> io::Result<bool> {
        for (above, directory) in file.ancestors().skip(1).enumerate() {
            let directory = fs::metadata(directory)?;
            // As `/tmp` is, in which what is ours stays where it is.
            let keeps = above >= NEXT_TO_IT && directory.mode() & STICKY != 0;
            if !self.own(&directory) || !keeps && !self.alone_write(&directory) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn own(&self, file: &Metadata) -> bool {
        self.users.contains(&file.uid())
    }

    /// Whether nobody may write but the owner and the groups of those who are trusted.
    fn alone_write(&self, file: &Metadata) -> bool {
        let is_their_group = self.groups.contains(&file.gid());
        let others = ALL_WRITE | if is_their_group { 0 } else { GROUP_WRITES };
        file.mode() & others == 0
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt, chown, symlink},
        path::PathBuf,
    };

    use super::*;
    use crate::process;

    /// Of no user or group of a host's.
    const SOMEBODY: u32 = 12_345;

    fn trusted() -> Trusted {
        Trusted::with(&process::find(std::process::id()).unwrap())
    }

    /// An environment in a directory of its own, with a file in it that is called so.
    fn environment() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("env/bin/python3");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        for part in file.ancestors().take(3) {
            fs::set_permissions(part, fs::Permissions::from_mode(0o755)).unwrap();
        }
        (directory, file)
    }

    #[test]
    fn file_that_everybody_may_change_or_exchange_is_not_held_and_one_below_tmp_is() {
        let trusted = trusted();
        let (_directory, file) = environment();
        assert!(trusted.hold(&file));
        let changed = |part: &Path, mode: u32| {
            let before = fs::metadata(part).unwrap().permissions();
            fs::set_permissions(part, fs::Permissions::from_mode(mode)).unwrap();
            let is_held = trusted.hold(&file);
            fs::set_permissions(part, before).unwrap();
            is_held
        };
        for part in file.ancestors().take(3) {
            assert!(!changed(part, 0o777), "{part:?}");
            assert!(!changed(part, 0o1777), "{part:?}");
            // This user's own group may.
            assert!(changed(part, 0o775), "{part:?}");
        }
        assert!(!trusted.hold(Path::new("bin/python3")));
        assert!(!trusted.hold(&file.with_file_name("none")));
    }

    #[test]
    fn file_of_another_user_is_not_held_nor_one_that_their_directory_or_group_leads_to() {
        if !geteuid().is_root() {
            return eprintln!("left out: only root gives files away");
        }
        let trusted = trusted();
        let (_directory, file) = environment();
        for part in file.ancestors().take(3) {
            chown(part, Some(SOMEBODY), None).unwrap();
            assert!(!trusted.hold(&file), "{part:?}");
            chown(part, Some(ROOT), Some(SOMEBODY)).unwrap();
            assert!(trusted.hold(&file), "{part:?}");
            fs::set_permissions(part, fs::Permissions::from_mode(0o775)).unwrap();
            assert!(!trusted.hold(&file), "{part:?}");
            chown(part, None, Some(ROOT)).unwrap();
        }
        let (_theirs, their_file) = environment();
        chown(their_file.parent().unwrap(), Some(SOMEBODY), None).unwrap();
        let link = their_file.with_file_name("python");
        symlink(&file, &link).unwrap();
        assert!(!trusted.hold(&link), "their link to ours");
        let own_link = file.with_file_name("python");
        symlink(&link, &own_link).unwrap();
        assert!(
            !trusted.hold(&own_link),
            "ours to theirs, which leads to ours"
        );
        fs::remove_file(&own_link).unwrap();
        symlink("python3", &own_link).unwrap();
        assert!(trusted.hold(&own_link));
    }
}
