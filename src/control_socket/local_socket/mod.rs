//! What the control socket runs over: a Unix socket, or on Windows a named pipe.
//!
//! Both are found by a file in the directory of this user's running processes
//! ([`run_directory`](super::run_directory)), whose name says which process it is of and which nobody else may read.
//! Both have the same interface: a `Listener` gives `Stranger`s, each of which is let in (`Stranger::admit`) once it is
//! known to be of this user; `dial` is the other end; [`live`] lists the files whose processes are there.

use std::{fs, io, path::Path};

#[cfg(any(windows, test))]
mod proof;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::live;
#[cfg(unix)]
pub(super) use unix::{Dialled, Listener, dial};
#[cfg(windows)]
pub use windows::live;
#[cfg(windows)]
pub(super) use windows::{Dialled, Listener, dial};

/// What is in the directory; nothing if there is none.
fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// The name of a process' file, without its ending: the process id is for people, since containers that share the
/// directory may have the same.
fn name() -> String {
    let [a, b, c, d] = p2pdbg_proto::secret::random_bytes();
    format!("{}-{a:02x}{b:02x}{c:02x}{d:02x}", std::process::id())
}

/// Whether a file is that of a process with this id.
pub(super) fn is_of(path: &Path, pid: u32) -> bool {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    let id = name.and_then(|name| name.split_once('-'));
    id.is_some_and(|(id, _)| id.parse() == Ok(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_process_is_its_own_and_nobody_elses() {
        let path = Path::new("run").join(name() + ".pipe");
        let own = std::process::id();
        assert!(is_of(&path, own));
        assert!(!is_of(&path, own * 10) && !is_of(&path, own / 10));
        assert!(!is_of(Path::new("run/42"), 42) && !is_of(Path::new(".."), 42));
    }
}
