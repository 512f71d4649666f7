//! What a process finds when it starts: sockets that are open already, and the state of the process before it.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

#[cfg(unix)]
use socket2::Type;

#[cfg(unix)]
use super::message;

/// Sockets and state of the process before this one. Each socket is taken by the address that it is bound to; what
/// nobody takes is closed.
#[derive(Debug, Default)]
pub struct Inheritance {
    udp: Vec<UdpSocket>,
    /// Those at addresses of which the first has been taken.
    siblings: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    state: Option<Vec<u8>>,
}

impl Inheritance {
    /// Nothing: everything is opened anew.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the process before this one, or the service manager, has left to this process.
    ///
    /// # Errors
    /// When there should be something and it cannot be taken: then all begins anew.
    #[cfg(unix)]
    pub fn from_environment() -> io::Result<Self> {
        let mut inheritance = Self::default();
        let mut activated = listenfd::ListenFd::from_env();
        for index in 0..activated.len() {
            // The wrong kind is left in its place for the next look.
            if let Ok(Some(udp)) = activated.take_udp_socket(index) {
                inheritance.udp.push(udp);
            } else if let Ok(Some(tcp)) = activated.take_tcp_listener(index) {
                inheritance.tcp.push(tcp);
            }
        }
        let left = message::receive()?;
        for socket in left.sockets {
            match socket.r#type() {
                Ok(Type::DGRAM) => inheritance.udp.push(socket.into()),
                Ok(Type::STREAM) => inheritance.tcp.push(socket.into()),
                _ => {}
            }
        }
        inheritance.state = left.state;
        Ok(inheritance)
    }

    /// Nothing, on this platform.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn from_environment() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Whether this process goes on in the place of one before it, whose sessions wait.
    pub(crate) fn is_of_predecessor(&self) -> bool {
        self.state.is_some()
    }

    /// The encoded state of the process before this one.
    pub(crate) fn take_state(&mut self) -> Option<Vec<u8>> {
        self.state.take()
    }

    /// The UDP socket at this address. Port 0 takes any port of it: the first that has a TCP listener beside it,
    /// and the main ports stand before the alternative ones.
    pub(crate) fn take_udp(&mut self, address: SocketAddr) -> Option<UdpSocket> {
        let is_main = |socket: &UdpSocket| {
            let local = socket.local_addr().ok();
            self.tcp.iter().any(|tcp| tcp.local_addr().ok() == local)
        };
        let fits = |socket: &&UdpSocket| {
            let local = socket.local_addr().ok();
            local.is_some_and(|local| matches(local, address))
        };
        let candidates = || self.udp.iter().filter(fits);
        let chosen = candidates()
            .find(|udp| is_main(udp))
            .or(candidates().next())?;
        let local = chosen.local_addr().ok();
        let index = self
            .udp
            .iter()
            .position(|udp| udp.local_addr().ok() == local)?;
        // The order stays: where two of any port are wanted, the second main comes before the alternative.
        let taken = self.udp.remove(index);
        let is_sibling = |socket: &mut UdpSocket| socket.local_addr().ok() == local;
        self.siblings.extend(self.udp.extract_if(.., is_sibling));
        Some(taken)
    }

    /// One more of those that share the port of one that was taken.
    pub(crate) fn take_sibling(&mut self, address: SocketAddr) -> Option<UdpSocket> {
        let fits = |udp: &UdpSocket| udp.local_addr().is_ok_and(|local| local == address);
        let index = self.siblings.iter().position(fits)?;
        Some(self.siblings.swap_remove(index))
    }

    /// The TCP listener at this address.
    pub(crate) fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let fits = |tcp: &TcpListener| tcp.local_addr().is_ok_and(|local| local == address);
        let index = self.tcp.iter().position(fits)?;
        Some(self.tcp.swap_remove(index))
    }
}

fn matches(local: SocketAddr, wanted: SocketAddr) -> bool {
    local.ip() == wanted.ip() && (wanted.port() == 0 || local.port() == wanted.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_sockets_are_taken_by_address_and_once() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let alternative = UdpSocket::bind(any).unwrap();
        // Of a port that is free over UDP another test may have the one over TCP.
        let both = || {
            let udp = UdpSocket::bind(any).unwrap();
            let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok();
            tcp.map(|tcp| (udp, tcp))
        };
        let (main, tcp) = std::iter::repeat_with(both).flatten().next().unwrap();
        let at = main.local_addr().unwrap();
        let mut inheritance = Inheritance {
            tcp: vec![tcp],
            udp: vec![alternative, main],
            ..Inheritance::none()
        };
        let elsewhere = "127.0.0.2:0".parse().unwrap();
        assert!(inheritance.take_udp(elsewhere).is_none());
        // Whoever takes any port gets the one that serves TCP too.
        let taken = inheritance.take_udp(any).unwrap();
        assert_eq!(taken.local_addr().unwrap(), at);
        assert!(inheritance.take_udp(at).is_none());
        assert!(inheritance.take_tcp(at).is_some());
        assert!(inheritance.take_tcp(at).is_none());
        assert!(inheritance.take_udp(any).is_some());
        assert!(inheritance.take_udp(any).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn inherited_sockets_that_share_a_port_are_taken_for_that_port_alone() {
        use socket2::{Domain, Socket, Type};

        let shared = |at: SocketAddr| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&at.into()).unwrap();
            UdpSocket::from(socket)
        };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let first = shared(any);
        let at = first.local_addr().unwrap();
        let mut inheritance = Inheritance {
            udp: vec![first, shared(at), shared(at)],
            ..Inheritance::none()
        };
        assert!(inheritance.take_sibling(at).is_none());
        assert!(inheritance.take_udp(at).is_some());
        // An alternative port that takes any must not get one of them.
        assert!(inheritance.take_udp(any).is_none());
        for _ in 0..2 {
            assert_eq!(
                inheritance.take_sibling(at).unwrap().local_addr().unwrap(),
                at
            );
        }
        assert!(inheritance.take_sibling(at).is_none());
    }
}
