//! The end of a control socket that asks.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use p2pdbg_base::{ErrorCode, Failure};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    time::timeout,
};

use super::{
    local_socket::{self, Dialled},
    protocol::{self, MAX_REPLY, NotUnderstood, Reply, Request},
    run_directory,
};

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(6);

/// Where this user's running processes are to be asked.
///
/// # Errors
/// If their directory cannot be read.
pub fn running() -> Result<Vec<PathBuf>, Failure> {
    let Some(directory) = run_directory::directory() else {
        return Ok(Vec::new());
    };
    local_socket::live(&directory).map_err(|error| {
        let directory = directory.display();
        Failure::new(
            ErrorCode::ControlSocket,
            format!("cannot look for running processes in {directory}: {error}"),
        )
    })
}

/// Whether a p2pdbg of this user's runs with this process id; so where it cannot be told.
pub(crate) fn runs(pid: u32) -> bool {
    running().map_or(true, |all| {
        all.iter().any(|path| local_socket::is_of(path, pid))
    })
}

/// A connection to a process.
#[derive(Debug)]
pub struct Client {
    read: BufReader<ReadHalf<Dialled>>,
    write: WriteHalf<Dialled>,
}

/// Why a process gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It is gone, or does not read.
    #[error("it does not answer: {0}")]
    Lost(#[from] io::Error),
    /// It answers what this version does not understand.
    #[error("{0}")]
    NotUnderstood(#[from] NotUnderstood),
}

impl Client {
    /// Connects to a process.
    ///
    /// # Errors
    /// If nobody listens there any more, or somebody else than this user.
    pub async fn connect(at: &Path) -> Result<Self, ClientError> {
        let connecting = timeout(PATIENCE, local_socket::dial(at));
        let connection = connecting.await.map_err(io::Error::from)??;
        let (read, write) = tokio::io::split(connection);
        Ok(Self {
            read: BufReader::new(read),
            write,
        })
    }

    /// Asks, and waits for the reply.
    ///
    /// # Errors
    /// If none comes in time, or it is not understood.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        timeout(PATIENCE, self.ask_at_length(request))
            .await
            .map_err(io::Error::from)?
    }

    /// Asks, and waits for the reply for as long as it takes.
    ///
    /// # Errors
    /// If the process goes away, or its reply is not understood.
    pub(crate) async fn ask_at_length(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.write.write_all(&protocol::line(request)).await?;
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_REPLY).unwrap_or(u64::MAX);
        let mut read = (&mut self.read).take(limit);
        read.read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(protocol::parse(&line)?)
    }

    /// The connection itself, which belongs to a stream after the reply to [`Request::Open`].
    pub fn into_stream(self) -> (BufReader<ReadHalf<Dialled>>, WriteHalf<Dialled>) {
        (self.read, self.write)
    }
}
