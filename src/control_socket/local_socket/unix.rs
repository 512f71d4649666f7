//! Unix sockets. A socket gets its name only once it listens, so one that refuses is one whose process is gone, and
//! whoever sees it may remove it.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, fs::PermissionsExt, net},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::{UnixListener, UnixStream};

/// What the names of sockets end with.
const ENDING: &str = ".sock";

/// A socket that has not got its name after so long belongs to a process that died just then.
const UNNAMED: Duration = Duration::from_secs(60);

/// The connection at the end that asks.
pub(crate) type Dialled = UnixStream;

/// Connects to a process.
///
/// # Errors
/// If nobody listens there any more.
pub(crate) async fn dial(path: &Path) -> io::Result<Dialled> {
    UnixStream::connect(path).await
}

/// A socket that listens; dropped, its file is removed.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at a new name in the directory, which nobody but this user may connect to.
    ///
    /// # Errors
    /// If the directory cannot be written to, or its path is too long for a socket's.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let name = super::name();
        let unnamed = directory.join(format!(".{name}"));
        let path = directory.join(name + ENDING);
        let socket = UnixListener::bind(&unnamed)?;
        let named = fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&unnamed, &path));
        if let Err(error) = named {
            let _ = fs::remove_file(&unnamed);
            return Err(error);
        }
        Ok(Self { socket, path })
    }

    /// The next connection. Cancelling it loses none.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) async fn accept(&mut self) -> io::Result<Stranger> {
        self.socket
            .accept()
            .await
            .map(|(stream, _)| Stranger(stream))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A connection of somebody who is not known yet.
#[derive(Debug)]
pub(crate) struct Stranger(UnixStream);

impl Stranger {
    /// Lets in whom the kernel says to be this user, or root, whom nothing could keep out.
    ///
    /// # Errors
    /// If it is somebody else.
    pub(crate) async fn admit(self) -> io::Result<UnixStream> {
        let user = rustix::process::geteuid().as_raw();
        let peer = self.0.peer_cred()?.uid();
        match peer == user || peer == 0 {
            true => Ok(self.0),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// The sockets in the directory, the stale ones among them removed.
///
/// # Errors
/// If the directory cannot be read; that there is none is no error.
pub fn live(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut live = Vec::new();
    for entry in super::entries(directory)? {
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
fn connect_at_once(path: &Path) -> io::Result<net::UnixStream> {
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
    use super::{super::super::run_directory::open, *};

    fn directory() -> tempfile::TempDir {
        let parent = tempfile::tempdir().unwrap();
        open(&parent.path().join("p2pdbg")).unwrap();
        parent
    }

    #[tokio::test]
    async fn a_socket_is_its_users_alone_and_is_found() {
        let parent = directory();
        let dir = parent.path().join("p2pdbg");
        let listener = Listener::open(&dir).unwrap();
        let path = listener.path.clone();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir)), (0o600, 0o700));
        assert_eq!(live(&dir).unwrap(), [path]);
    }

    #[tokio::test]
    async fn the_socket_of_a_process_that_is_gone_is_removed() {
        let parent = directory();
        let dir = parent.path().join("p2pdbg");
        // As a process leaves it that was killed.
        let stale = dir.join("1-2.sock");
        drop(UnixListener::bind(&stale).unwrap());
        let listener = Listener::open(&dir).unwrap();
        assert!(stale.exists());
        assert_eq!(live(&dir).unwrap(), std::slice::from_ref(&listener.path));
        assert!(!stale.exists());
        drop(listener);
        assert!(live(&dir).unwrap().is_empty());
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
}
