//! How a connection over TCP is read and ended, whichever protocol it carries.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep_until, timeout},
};

/// How long the last words of a connection may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A reader that gives up after a silence, and takes an end that TLS did not announce for the breach that it is: a peer
/// that is done says so.
pub(crate) struct Patient<R> {
    inner: R,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl<R: AsyncRead + Unpin> Patient<R> {
    pub(crate) fn new(inner: R, patience: Duration) -> Self {
        Self {
            inner,
            patience,
            deadline: Box::pin(sleep_until(Instant::now() + patience)),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Patient<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let deadline = Instant::now() + self.patience;
                self.deadline.as_mut().reset(deadline);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self
                .deadline
                .as_mut()
                .poll(cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Ends a connection so that what was written last arrives: closing with something unread would overtake it.
pub(crate) async fn close_gently(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) {
    let closing = async {
        let _ = writer.shutdown().await;
        let mut rest = [0; 4_096];
        while matches!(reader.read(&mut rest).await, Ok(1..)) {}
    };
    let _ = timeout(LAST_WORDS, closing).await;
}
