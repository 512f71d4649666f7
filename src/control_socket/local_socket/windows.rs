//! Named pipes of Windows. A process' file says what its pipe is called, and holds the secret by which both ends
//! know that the other is of this user ([`proof`]).
//!
//! The pipe takes no clients of other hosts, and is never a further instance of somebody else's. Windows lets all users
//! read from a pipe whose access list is not set, and setting one takes code that is not safe in Rust's sense; whoever
//! cannot write to it gets nothing, and is let go when its time to prove itself is over. The file is held open so that
//! none but its process can remove it, and one that can be removed is one whose process is gone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::windows::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use data_encoding::HEXLOWER;
use p2pdbg_proto::secret::{Secret, random_bytes};
use tokio::net::windows::named_pipe::{
    ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions,
};

use super::proof;

/// What the names of the files end with.
const ENDING: &str = ".pipe";

/// Others may read the file while it is open, and neither write nor remove it: FILE_SHARE_READ.
const SHARED: u32 = 1;

/// The most that such a file holds, in bytes.
const MOST: u64 = 4096;

/// All instances of a pipe are taken: ERROR_PIPE_BUSY.
const BUSY: i32 = 231;

/// The pause before a pipe is tried again that was busy.
const PAUSE: Duration = Duration::from_millis(20);

/// The connection at the end that asks.
pub(crate) type Dialled = NamedPipeClient;

/// Connects to a process.
///
/// # Errors
/// If nobody listens there any more, or somebody who cannot read its file.
pub(crate) async fn dial(path: &Path) -> io::Result<Dialled> {
    let mut text = String::new();
    File::open(path)?.take(MOST).read_to_string(&mut text)?;
    let (pipe, secret) = parse(&text).ok_or(io::ErrorKind::InvalidData)?;
    let mut connection = loop {
        match ClientOptions::new().open(pipe) {
            Err(error) if error.raw_os_error() == Some(BUSY) => tokio::time::sleep(PAUSE).await,
            opened => break opened?,
        }
    };
    proof::by_client(&mut connection, &secret).await?;
    Ok(connection)
}

fn parse(text: &str) -> Option<(&str, Secret<32>)> {
    let (pipe, secret) = text.trim_end().split_once('\n')?;
    let secret = HEXLOWER.decode(secret.as_bytes()).ok()?;
    Some((pipe, Secret::from_bytes(secret.try_into().ok()?)))
}

/// A pipe that listens; dropped, its file is removed.
#[derive(Debug)]
pub(crate) struct Listener {
    pipe: String,
    next: NamedPipeServer,
    secret: Secret<32>,
    /// Held open while the pipe is there.
    file: Option<File>,
    path: PathBuf,
}

impl Listener {
    /// Listens at a new name, which a new file in the directory tells.
    ///
    /// # Errors
    /// If the directory cannot be written to.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let tag: [u8; 16] = random_bytes();
        let pipe = format!(r"\\.\pipe\p2pdbg-{}", HEXLOWER.encode(&tag));
        let secret: [u8; 32] = random_bytes();
        let next = ServerOptions::new()
            .first_pipe_instance(true)
            .reject_remote_clients(true)
            .create(&pipe)?;
        let path = directory.join(super::name() + ENDING);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .share_mode(SHARED)
            .open(&path)?;
        let text = format!("{pipe}\n{}\n", HEXLOWER.encode(&secret));
        file.write_all(text.as_bytes())?;
        Ok(Self {
            pipe,
            next,
            secret: Secret::from_bytes(secret),
            file: Some(file),
            path,
        })
    }

    /// The next connection. Cancelling it loses none.
    ///
    /// # Errors
    /// If the system has no room for a further one.
    pub(crate) async fn accept(&mut self) -> io::Result<Stranger> {
        self.next.connect().await?;
        // Before this one may end: the name must not be free for others in between.
        let further = ServerOptions::new()
            .reject_remote_clients(true)
            .create(&self.pipe);
        match further {
            Ok(further) => Ok(Stranger {
                connection: std::mem::replace(&mut self.next, further),
                secret: self.secret.clone(),
            }),
            Err(error) => {
                self.next.disconnect()?;
                Err(error)
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.file = None;
        let _ = fs::remove_file(&self.path);
    }
}

/// A connection of somebody who is not known yet.
#[derive(Debug)]
pub(crate) struct Stranger {
    connection: NamedPipeServer,
    secret: Secret<32>,
}

impl Stranger {
    /// Lets in who knows what stands in this process' file.
    ///
    /// # Errors
    /// If it does not, or ends.
    pub(crate) async fn admit(mut self) -> io::Result<NamedPipeServer> {
        proof::by_server(&mut self.connection, &self.secret).await?;
        Ok(self.connection)
    }
}

/// The files in the directory whose processes are there; the others are removed.
///
/// # Errors
/// If the directory cannot be read; that there is none is no error.
pub fn live(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut live = Vec::new();
    for entry in super::entries(directory)? {
        let entry = entry?;
        let is_one = entry.file_name().to_string_lossy().ends_with(ENDING);
        if !is_one || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => live.push(path),
            // Its process is gone, and now so is it.
            _ => {}
        }
    }
    live.sort();
    Ok(live)
}
