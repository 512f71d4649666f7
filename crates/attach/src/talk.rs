//! Conversations about programs, over anything that bytes go through in both directions.

use std::io;

use p2pdbg_proto::{attach::AttachMessage, frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A conversation.
#[derive(Debug)]
pub struct Talk<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    /// Talks over this.
    pub fn over(stream: S) -> Self {
        Self(stream)
    }

    /// Says something.
    ///
    /// # Errors
    /// If the stream broke.
    pub async fn send(&mut self, message: &AttachMessage) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes).map_err(io::Error::other)?;
        self.0.write_all(&bytes).await
    }

    /// What the other end says; `None` when it has said all.
    ///
    /// # Errors
    /// If the stream broke, or what comes is no such message.
    pub async fn receive(&mut self) -> io::Result<Option<AttachMessage>> {
        let mut prefix = [0; frame::PREFIX];
        match self.0.read_exact(&mut prefix).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        };
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut body = vec![0; frame::body_length(prefix).map_err(malformed)?];
        self.0.read_exact(&mut body).await?;
        frame::decode(&body).map(Some).map_err(malformed)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// If the stream broke, ended, or brought what is no such message.
    pub async fn ask(&mut self, question: &AttachMessage) -> io::Result<AttachMessage> {
        self.send(question).await?;
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        self.receive().await?.ok_or_else(ended)
    }
}
