//! Conversations about programs, over anything that bytes go through in both directions.

use std::io;

use p2pdbg_proto::attach::AttachMessage;
use tokio::io::{AsyncRead, AsyncWrite};

/// A conversation about programs: one message after the other, in either direction.
#[derive(Debug)]
pub struct Conversation<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// A conversation over this stream, which it takes over; nothing is said yet.
    pub fn over(stream: S) -> Self {
        Self(stream)
    }

    /// Says something.
    ///
    /// # Errors
    /// If the stream broke.
    pub async fn send(&mut self, message: &AttachMessage) -> io::Result<()> {
        p2pdbg_frames::write(&mut self.0, message).await
    }

    /// What the other end says; `None` when it has said all.
    ///
    /// # Errors
    /// If the stream broke, or what comes is no such message.
    pub async fn receive(&mut self) -> io::Result<Option<AttachMessage>> {
        Ok(p2pdbg_frames::read(&mut self.0).await?)
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
