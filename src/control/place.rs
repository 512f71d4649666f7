//! Where the control sockets are, and how those of processes that are gone are told from the others.
//!
//! The directory is `$XDG_RUNTIME_DIR/p2pdbg`, or `run` in the user's state directory where there is no runtime
//! directory; it is closed to everybody else. A socket is called `PID-RANDOM.sock`: the process id is for people, since
//! containers that share the directory may have the same. A socket gets its name only once it listens, so one that
//! refuses is one whose process is gone, and whoever sees it may remove it.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use etcetera::BaseStrategy;
use p2pdbg_identity::{StateDir, StateError};
use p2pdbg_proto::secret::random_bytes;

/// What the names of sockets end with.
const ENDING: &str = ".sock";

/// A socket that has not got its name after so long belongs to a process that died just then.
const UNNAMED: Duration = Duration::from_secs(60);

/// The directory of the control sockets; `None` without a home directory.
pub fn directory() -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(runtime) = runtime.filter(|dir| dir.is_absolute()) {
        return Some(runtime.join("p2pdbg"));
    }
    let base = etcetera::choose_base_strategy().ok()?;
    let state = base.state_dir().unwrap_or_else(|| base.data_dir());
    Some(state.join("p2pdbg").join("run"))
}

/// Opens a directory for sockets, making it if there is none.
///
/// # Errors
/// If it cannot be made, or is open to others.
pub fn open(directory: &Path) -> Result<StateDir, StateError> {
    StateDir::open(Some(directory), "p2pdbg")
}

/// Listens at a new name in the directory, which nobody but this user may connect to.
///
/// # Errors
/// If the directory cannot be written to, or its path is too long for a socket's.
pub(super) fn listen(directory: &Path) -> io::Result<(tokio::net::UnixListener, PathBuf)> {
    let [a, b, c, d] = random_bytes();
    let name = format!("{}-{a:02x}{b:02x}{c:02x}{d:02x}", std::process::id());
    let unnamed = directory.join(format!(".{name}"));
    let path = directory.join(name + ENDING);
    let listener = tokio::net::UnixListener::bind(&unnamed)?;
    let named = fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&unnamed, &path));
    if let Err(error) = named {
        let _ = fs::remove_file(&unnamed);
        return Err(error);
    }
    Ok((listener, path))
}

/// The sockets in the directory, the stale ones among them removed.
///
/// # Errors
/// If the directory cannot be read; that there is none is no error.
pub fn live(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut live = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            continue;
        }
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let stale = if name.ends_with(ENDING) {
            refuses(&path)
        } else {
            name.starts_with('.') && entry.metadata().is_ok_and(|of| is_older(&of, UNNAMED))
        };
        if stale {
            // Another process may have done the same just now.
            let _ = fs::remove_file(&path);
        } else if name.ends_with(ENDING) {
            live.push(path);
        }
    }
    live.sort();
    Ok(live)
}

/// Whether nobody listens at a socket any more.
fn refuses(path: &Path) -> bool {
    // A Unix socket connects or fails at once, unless its queue is full; then it blocks, and somebody is there.
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    connect_at_once(path).err().is_some_and(refused)
}

/// Connects to a socket without waiting for room in its queue.
fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&socket2::SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn is_older(metadata: &fs::Metadata, than: Duration) -> bool {
    let age = metadata.modified().ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age > than)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        let parent = tempfile::tempdir().unwrap();
        open(&parent.path().join("p2pdbg")).unwrap();
        parent
    }

    #[tokio::test]
    async fn a_socket_is_its_users_alone_and_is_found() {
        let parent = directory();
        let dir = parent.path().join("p2pdbg");
        let (_listener, path) = listen(&dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir)), (0o600, 0o700));
        assert_eq!(live(&dir).unwrap(), [path]);
    }

    #[tokio::test]
    async fn the_socket_of_a_process_that_is_gone_is_removed() {
        let parent = directory();
        let dir = parent.path().join("p2pdbg");
        let (listener, stale) = listen(&dir).unwrap();
        drop(listener);
        let (_listener, path) = listen(&dir).unwrap();
        assert!(stale.exists());
        assert_eq!(live(&dir).unwrap(), [path]);
        assert!(!stale.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let parent = directory();
        let dir = parent.path().join("p2pdbg");
        fs::write(dir.join("1-2.sock"), "mine").unwrap();
        // One that has no name yet: its process is about to listen.
        let _unnamed = tokio::net::UnixListener::bind(dir.join(".1-2")).unwrap();
        assert!(live(&dir).unwrap().is_empty());
        assert!(dir.join("1-2.sock").exists() && dir.join(".1-2").exists());
        assert!(live(&dir.join("none")).unwrap().is_empty());
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(open(dir.path()).is_err());
    }
}
