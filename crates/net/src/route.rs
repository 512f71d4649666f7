//! Routes as the operating system sees them, asked by binding and connecting UDP sockets. Nothing is sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

/// A socket of the family of `to`, at a free port of every address.
///
/// # Errors
/// The operating system's.
pub fn socket_for(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0))
}

/// Whether there is a route to `to`.
pub fn leads_to(to: SocketAddr) -> bool {
    socket_for(to).is_ok_and(|socket| socket.connect(to).is_ok())
}

/// The address that this host sends from towards `to`; none without a route.
pub fn source_towards(to: SocketAddr) -> Option<IpAddr> {
    let socket = socket_for(to).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}
