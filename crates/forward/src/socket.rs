//! A Unix socket in place of a forward's port, for this user's programs alone.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net,
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// Connections that may wait in the kernel.
const BACKLOG: i32 = 128;

/// An open socket. Its file goes with it, unless another has been put in its place.
#[derive(Debug)]
pub(super) struct OpenSocket {
    listener: UnixListener,
    path: PathBuf,
    file: (u64, u64),
}

impl OpenSocket {
    /// Opens it, for its user alone (mode 0600). A socket that a process has left behind is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if something listens there, `AlreadyExists` if what is there is no socket, or whatever the
    /// operating system says.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        remove_if_left_behind(path)?;
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        // Nobody gets in before it listens, so nobody does before the mode is set.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            listener: UnixListener::from_std(net::UnixListener::from(socket))?,
            path: path.to_owned(),
            file: identity(&fs::symlink_metadata(path)?),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        let (connection, _) = self.listener.accept().await?;
        Ok(connection)
    }

    /// A connection that waits in the kernel already.
    pub(super) fn accept_now(&self) -> Option<UnixStream> {
        let (socket, _) = socket2::SockRef::from(&self.listener).accept().ok()?;
        socket.set_nonblocking(true).ok()?;
        UnixStream::from_std(socket.into()).ok()
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        let is_ours = |found: &fs::Metadata| identity(found) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(|found| is_ours(&found)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What tells one file from every other, also of the same name.
fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Removes the socket of a process that is no more; anything else that has the name is an error.
fn remove_if_left_behind(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if is_listed(path) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // The kernel's table has it under the name by which it was bound, which may be another; so this asks the socket
    // itself. Nobody is disturbed by that whose socket is in the table.
    match net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

/// Whether Linux' table of Unix sockets has one of this name, so that a process holds it.
fn is_listed(path: &Path) -> bool {
    let Some(name) = path.to_str() else {
        return false;
    };
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().any(|line| {
        line.strip_suffix(name)
            .is_some_and(|rest| rest.ends_with(' '))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_is_its_users_alone_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gdb.sock");
        let opened = OpenSocket::open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (accepted, dialled) = tokio::join!(opened.accept(), UnixStream::connect(&path));
        assert!(accepted.is_ok() && dialled.is_ok());
        drop(opened);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn socket_that_a_process_left_behind_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gdb.sock");
        drop(net::UnixListener::bind(&path).unwrap());
        let opened = OpenSocket::open(&path).unwrap();
        let error = OpenSocket::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(opened.accept_now().is_none());
    }

    #[tokio::test]
    async fn file_of_another_kind_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        fs::write(&path, "mine").unwrap();
        let error = OpenSocket::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn socket_that_another_has_put_in_its_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gdb.sock");
        let first = OpenSocket::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = OpenSocket::open(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }
}
