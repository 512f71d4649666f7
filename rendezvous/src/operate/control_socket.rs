//! The control socket: how `p2pdbg-rendezvous status`, `keys`, `reload` and `drain` ask the one that runs.
//!
//! A Unix domain socket in the state directory, which nobody else may enter. Whoever connects writes one line of JSON
//! and gets one back. A connection lasts for one question and a few seconds.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};

use super::{KeysRead, Operator, SharedReport, Status};

/// The socket's name in the state directory.
const NAME: &str = "control.sock";

/// The longest question and the longest answer, in bytes. A thousand keys fit.
const LONGEST: u64 = 1 << 20;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 8;

/// How long a connection may take from its beginning to its end.
const PATIENCE: Duration = Duration::from_secs(8);

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(250);

/// What is asked of a running rendezvous, as one line of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How it is at the moment.
    Status,
    /// To read the keys again.
    Reload,
    /// To share the keys with the other nodes from now on.
    ShareKeys,
    /// To give no new codes and sessions, for so many seconds at the most.
    Drain {
        /// Without it the deadline is the usual one, or the one that there is.
        for_s: Option<u64>,
    },
    /// To give new codes and sessions again.
    Undrain,
}

/// What is answered, as one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// How it is at the moment.
    Status(Box<Status>),
    /// The keys have been read.
    Reloaded {
        /// How many let somebody in.
        keys: usize,
        /// Where they are known, if nodes share them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shared: Option<SharedReport>,
    },
    /// It drains from now on.
    Draining {
        /// For how many seconds at the most.
        left_s: u64,
    },
    /// It gives new codes and sessions.
    Serving {
        /// Whether it drained before.
        drained: bool,
    },
    /// It could not be done.
    Refused {
        /// Why, in a sentence for the operator.
        why: String,
    },
}

/// Why a running rendezvous gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// None runs with this state directory.
    #[error(
        "no p2pdbg-rendezvous serves with the state directory {}: start it, or name the directory of the one that does \
         with --state DIR (a package's is /var/lib/p2pdbg-rendezvous)",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket cannot be used.
    #[error("cannot ask the p2pdbg-rendezvous at {}: {source}", path.display())]
    Io {
        /// The path of its socket.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The answer makes no sense: another version runs.
    #[error("the p2pdbg-rendezvous that runs is of another version; ask with that one")]
    NotUnderstood,
    /// It understood, and refuses, for this reason.
    #[error("{0}")]
    Refused(String),
}

/// A control socket that is served; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Opens the socket in this directory. The caller holds the directory's lock, so a socket that is there already
    /// belongs to a process that has died.
    ///
    /// # Errors
    /// The operating system's; a path of more than some hundred bytes is one.
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let path = state.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let socket = Self { listener, path };
        fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn serve(self, operator: Operator) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((connection, _)) if is_ours(&connection) => {
                        let answer = answer(connection, operator.clone());
                        connections.spawn(timeout(PATIENCE, answer));
                    }
                    Ok(_) => tracing::warn!("another user was turned away from the control socket"),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept on the control socket");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the process at the other end is this user's, or root's, whom nothing could keep out.
fn is_ours(connection: &UnixStream) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let peer = connection.peer_cred();
    peer.is_ok_and(|peer| peer.uid() == user || peer.uid() == 0)
}

async fn answer(mut connection: UnixStream, operator: Operator) -> io::Result<()> {
    let request = read_line(&mut connection).await?;
    let reply = match serde_json::from_slice(&request) {
        Ok(Request::Status) => match operator.status().await {
            Some(status) => Reply::Status(Box::new(status)),
            None => refused("it is stopping, or too busy to answer"),
        },
        Ok(Request::Reload) => match operator.reload().await {
            Ok(KeysRead { keys, shared }) => Reply::Reloaded { keys, shared },
            Err(error) => refused(error),
        },
        Ok(Request::ShareKeys) => match operator.share_keys().await {
            Ok(Some(KeysRead { keys, shared })) => Reply::Reloaded { keys, shared },
            Ok(None) => refused("it is no node with a store, by which keys could be shared"),
            Err(error) => refused(error),
        },
        Ok(Request::Drain { for_s }) => {
            let left = operator.drain(for_s.map(Duration::from_secs)).await;
            Reply::Draining {
                left_s: left.as_secs(),
            }
        }
        Ok(Request::Undrain) => Reply::Serving {
            drained: operator.undrain().await,
        },
        Err(_) => refused("it does not understand the question; ask with the version that runs"),
    };
    write_line(&mut connection, &reply).await
}

fn refused(why: impl ToString) -> Reply {
    Reply::Refused {
        why: why.to_string(),
    }
}

/// Asks the rendezvous that serves with this state directory.
///
/// # Errors
/// [`AskError`].
pub async fn ask(state: &Path, request: Request) -> Result<Reply, AskError> {
    let path = state.join(NAME);
    let exchange = async {
        let mut connection = UnixStream::connect(&path).await?;
        write_line(&mut connection, &request).await?;
        read_line(&mut connection).await
    };
    let answer = timeout(PATIENCE, exchange).await.map_err(io::Error::from);
    let line = answer.and_then(|answer| answer).map_err(|source| {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        match source.kind() {
            NotFound | ConnectionRefused => AskError::NotRunning(state.to_owned()),
            _ => AskError::Io {
                path: path.clone(),
                source,
            },
        }
    })?;
    match serde_json::from_slice(&line).map_err(|_| AskError::NotUnderstood)? {
        Reply::Refused { why } => Err(AskError::Refused(why)),
        reply => Ok(reply),
    }
}

async fn read_line(connection: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(connection).take(LONGEST);
    reader.read_until(b'\n', &mut line).await?;
    match line.last() {
        Some(b'\n') => Ok(line),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn write_line(connection: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    connection.write_all(&line).await
}
