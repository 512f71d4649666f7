//! What is meant to die on its way: datagrams with a lower time to live than the others of their socket.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use socket2::SockRef;

/// Sends while whatever leaves by the socket has this time to live, or hop limit where `to` is an IPv6 address.
///
/// # Errors
/// What the operating system says, or `send`.
pub(crate) fn with_hops(
    socket: &UdpSocket,
    to: SocketAddr,
    hops: u8,
    send: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if to.is_ipv4() {
        let usual = socket.ttl_v4()?;
        socket.set_ttl_v4(hops.into())?;
        let sent = send();
        socket.set_ttl_v4(usual)?;
        sent
    } else {
        let usual = socket.unicast_hops_v6()?;
        socket.set_unicast_hops_v6(hops.into())?;
        let sent = send();
        socket.set_unicast_hops_v6(usual)?;
        sent
    }
}
