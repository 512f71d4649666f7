//! A socket that is registered for reading alone, on Unix.

use std::{
    io,
    net::UdpSocket,
    task::{Context, Poll, ready},
};

use tokio::io::{Interest, unix::AsyncFd};

/// The socket and its registration.
#[derive(Debug)]
pub(crate) struct Registered(AsyncFd<UdpSocket>);

impl Registered {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        register(socket, Interest::READABLE).map(Self)
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        self.0.get_ref()
    }

    /// Receives at most so many as soon as there is something.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        mut receive: impl FnMut(&UdpSocket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let received = receive(self.socket());
            match &received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    continue;
                }
                // Fewer than there was room for: there are no more, and what comes from now on is told anew.
                Ok(count) if *count < most => ready.clear_ready(),
                _ => {}
            }
            return Poll::Ready(received);
        }
    }

    /// Waits for room to send: with a registration of its own, which ends when there is some.
    pub(crate) async fn room(&self) -> io::Result<()> {
        let socket = register(self.socket().try_clone()?, Interest::WRITABLE)?;
        socket.writable().await.map(drop)
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types whose descriptor may change, which the standard library's may not"
)]
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}
