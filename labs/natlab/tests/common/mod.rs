//! A UDP socket on a node, with the few things that the tests do with one.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use p2pdbg_natlab::{Error, Node};

/// How long something that must arrive may take: never the measure, only the end of patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something is so.
pub(crate) fn eventually(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "still not so");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A UDP socket on a node.
pub(crate) struct Udp {
    socket: UdpSocket,
}

impl Udp {
    /// At any port of the node.
    pub(crate) fn new(node: &Node) -> Result<Self, Error> {
        Self::bind(node, Ipv4Addr::UNSPECIFIED, 0)
    }

    /// At an address of the node.
    pub(crate) fn bind(node: &Node, ip: impl Into<IpAddr>, port: u16) -> Result<Self, Error> {
        let socket = node.udp_socket((ip.into(), port))?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(Self { socket })
    }

    /// The port that it is bound to.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Sets how many hops the next packets may take.
    pub(crate) fn set_ttl(&self, ttl: u32) {
        self.socket.set_ttl(ttl).unwrap();
    }

    /// Marks the next packets as capable of ECN, or not.
    pub(crate) fn set_marked(&self, marked: bool) {
        let socket = socket2::SockRef::from(&self.socket);
        socket.set_tos_v4(if marked { 2 } else { 0 }).unwrap();
    }

    /// Sends; a refusal by the node's own kernel is a loss like any other.
    pub(crate) fn send(&self, payload: &[u8], to: impl Into<SocketAddr>) {
        let _ = self.socket.send_to(payload, to.into());
    }

    /// Waits for the next datagram.
    pub(crate) fn recv(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 65_536];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => return (buffer[..length].to_vec(), from),
                // A process that is stopped and continued comes out of a timed wait so.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no datagram: {error}"),
            }
        }
    }

    /// The datagrams that have arrived already.
    pub(crate) fn arrived(&self) -> Vec<(Vec<u8>, SocketAddr)> {
        self.socket.set_nonblocking(true).unwrap();
        let mut arrived = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => arrived.push((buffer[..length].to_vec(), from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.socket.set_nonblocking(false).unwrap();
        arrived
    }

    /// Waits for `last`; gives what came before it.
    pub(crate) fn recv_until(&self, last: &[u8]) -> Vec<Vec<u8>> {
        let mut before = Vec::new();
        loop {
            let (payload, _) = self.recv();
            if payload == last {
                return before;
            }
            before.push(payload);
        }
    }

    /// Sends to a server, and hears from it under which address it was seen.
    pub(crate) fn seen_by(&self, server: &Udp, ip: impl Into<IpAddr>) -> SocketAddr {
        self.send(b"who am I?", (ip.into(), server.port()));
        let (_, seen) = server.recv();
        server.send(b"you", seen);
        assert_eq!(self.recv().0, b"you");
        seen
    }
}
