//! The UDP socket of a control connection, which can be replaced under quinn's feet.
//!
//! quinn has a way of its own, `Endpoint::rebind`, and it breaks: a connection that was reset, by a rendezvous that has
//! been started again say, and is told of another socket before its own task has run, makes the endpoint's task panic
//! (quinn-proto 0.11: "invalid key"). A host that wakes from sleep in another network meets just that.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use p2pdbg_udp::UdpIo;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

/// A socket of quinn's with another one in its place now and then, of the same address family. What the one before has
/// received and nobody has asked for is lost.
#[derive(Debug)]
pub(super) struct Movable(Mutex<Current>);

#[derive(Debug)]
struct Current {
    io: Arc<UdpIo>,
    /// Who waits for something to come.
    receiver: Option<Waker>,
}

impl Movable {
    /// Begins with this bound socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        let io = Arc::new(UdpIo::new(socket)?);
        let receiver = None;
        Ok(Arc::new(Self(Mutex::new(Current { io, receiver }))))
    }

    /// Goes on with this one.
    ///
    /// # Errors
    /// If the operating system refuses; then all is as it was.
    pub(super) fn move_to(&self, socket: UdpSocket) -> io::Result<()> {
        let io = Arc::new(UdpIo::new(socket)?);
        let mut place = self.place();
        place.io = io;
        // It has to ask the new one.
        if let Some(receiver) = place.receiver.take() {
            receiver.wake();
        }
        Ok(())
    }

    fn place(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self) -> Arc<UdpIo> {
        Arc::clone(&self.place().io)
    }
}

impl AsyncUdpSocket for Movable {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let io = self.io();
        Box::pin(Room {
            poller: Arc::clone(&io).create_io_poller(),
            io,
            socket: self,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io().try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let io = {
            let mut place = self.place();
            place.receiver = Some(cx.waker().clone());
            Arc::clone(&place.io)
        };
        io.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.io().max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.io().max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.io().may_fragment()
    }
}

/// Waits for room to send in the socket that there is now.
#[derive(Debug)]
struct Room {
    socket: Arc<Movable>,
    io: Arc<UdpIo>,
    poller: Pin<Box<dyn UdpPoller>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.socket.io();
        if !Arc::ptr_eq(&io, &self.io) {
            self.poller = Arc::clone(&io).create_io_poller();
            self.io = io;
        }
        self.poller.as_mut().poll_writable(cx)
    }
}
