//! A socket as tokio registers it, where nothing else is known to be better.

use std::{
    io,
    net::UdpSocket,
    task::{Context, Poll, ready},
};

use tokio::io::Interest;

/// The socket, and a second handle of it that tokio owns.
#[derive(Debug)]
pub(crate) struct Registered {
    socket: UdpSocket,
    io: tokio::net::UdpSocket,
}

impl Registered {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let io = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
        Ok(Self { socket, io })
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Receives as soon as there is something.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        _most: usize,
        mut receive: impl FnMut(&UdpSocket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received = self.io.try_io(Interest::READABLE, || receive(&self.socket));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }

    /// Waits for room to send.
    pub(crate) async fn room(&self) -> io::Result<()> {
        // The system's own word is what counts, not what was remembered of it.
        let _ = self.io.try_io(Interest::WRITABLE, || {
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        self.io.writable().await
    }
}
