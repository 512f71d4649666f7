//! The listening sockets of this network namespace, from the kernel.
//!
//! Asked by `sock_diag` (man 7 sock_diag), for listening sockets of one port alone: 0.05 ms, and the sockets
//! of every user are in the answer. Where that is not to be had (gVisor, a kernel without `inet_diag`, a
//! seccomp filter) `/proc/thread-self/net/tcp` tells the same in some milliseconds.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::{Client, ConnectedSocket, ListeningSocket};

/// Stands for every cookie, by which the kernel tells a socket from a later one with the same addresses.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// Sockets of every user are seen.
pub(super) fn may_hide(_: u16) -> bool {
    false
}

/// Whether the ends of connections are seen.
pub(super) const SEES_CLIENTS: bool = true;

/// The addresses of the TCP sockets that listen on `port`.
pub(super) fn listening_on(port: u16) -> io::Result<Vec<SocketAddr>> {
    match from_sock_diag(port) {
        Ok(sockets) => Ok(sockets),
        Err(error) => {
            tracing::debug!(%error, "the kernel's socket diagnosis does not answer; reading /proc");
            from_proc(port)
        }
    }
}

/// All TCP sockets that listen.
pub(super) fn all() -> io::Result<Vec<ListeningSocket>> {
    let mut found = Vec::new();
    // To the kernel, port 0 stands for every one.
    listeners(0, |response| {
        let id = &response.header.socket_id;
        found.push(ListeningSocket {
            address: SocketAddr::new(id.source_address, id.source_port),
            inode: response.header.inode.into(),
        });
    })?;
    Ok(found)
}

/// Both ends of the connections within the loopback.
pub(super) fn connected() -> io::Result<Vec<ConnectedSocket>> {
    let mut found = Vec::new();
    for (family, socket_id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::ESTABLISHED,
            socket_id,
        };
        dump(request, |response| {
            let id = &response.header.socket_id;
            // A socket for both families names addresses of IPv4 as ones of IPv6; its other end need not.
            let local = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
            let remote =
                SocketAddr::new(id.destination_address.to_canonical(), id.destination_port);
            if local.ip().is_loopback() && remote.ip().is_loopback() {
                found.push(ConnectedSocket {
                    local,
                    remote,
                    inode: response.header.inode.into(),
                });
            }
        })?;
    }
    Ok(found)
}

fn from_sock_diag(port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    listeners(port, |response| {
        let id = &response.header.socket_id;
        found.push(SocketAddr::new(id.source_address, id.source_port));
    })?;
    // The kernel filters by port; asking again costs nothing.
    found.retain(|socket| socket.port() == port);
    Ok(found)
}

fn listeners(port: u16, mut found: impl FnMut(&InetResponse)) -> io::Result<()> {
    for (family, mut socket_id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        socket_id.source_port = port;
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        };
        dump(request, &mut found)?;
    }
    Ok(())
}

/// What the kernel says of the socket at the other end of a connection within this host.
///
/// It is asked for that one socket, which it finds by both addresses as it does for a packet. To list the sockets that
/// fit it would walk its whole table, with all the connections of the host.
pub(super) fn client(client: SocketAddr, server: SocketAddr) -> io::Result<Option<Client>> {
    let (family, mut socket_id) = match client {
        SocketAddr::V4(_) => (AF_INET, SocketId::new_v4()),
        SocketAddr::V6(_) => (AF_INET6, SocketId::new_v6()),
    };
    socket_id.source_address = client.ip();
    socket_id.source_port = client.port();
    socket_id.destination_address = server.ip();
    socket_id.destination_port = server.port();
    socket_id.cookie = ANY_COOKIE;
    // A socket with a link-local address belongs to one interface.
    if let SocketAddr::V6(client) = client {
        socket_id.interface_id = client.scope_id();
    }
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id,
    };
    let mut found = None;
    let asked = ask(request, 0, |response| {
        let header = &response.header;
        let id = &header.socket_id;
        // A socket for both families names addresses of IPv4 as ones of IPv6.
        let is = |(ip, port): (IpAddr, u16), end: SocketAddr| {
            (ip.to_canonical(), port) == (end.ip(), end.port())
        };
        // Where the connection is no more, a packet of it would go to whatever listens on the client's port.
        if header.state != TCP_LISTEN
            && is((id.source_address, id.source_port), client)
            && is((id.destination_address, id.destination_port), server)
        {
            found = Some(Client {
                // A socket that its program has closed belongs to no file any more, and so has no inode.
                is_closed: header.inode == 0,
                uid: Some(header.uid),
            });
        }
    });
    match asked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

/// Asks for all sockets that are like this.
fn dump(request: InetRequest, found: impl FnMut(&InetResponse)) -> io::Result<()> {
    ask(request, NLM_F_DUMP, found)
}

fn ask(request: InetRequest, flags: u16, mut found: impl FnMut(&InetResponse)) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let payload = SockDiagMessage::InetRequest(request).into();
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    // Address 0 is the kernel's.
    socket.send_to(&bytes, &netlink_sys::SocketAddr::new(0, 0), 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if datagram.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found(&response);
                    // Only a list has an end.
                    if flags & NLM_F_DUMP == 0 {
                        return Ok(());
                    }
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are padded to four bytes; deserialize has checked that the header fits.
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn from_proc(port: u16) -> io::Result<Vec<SocketAddr>> {
    let v4 = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    // Absent where IPv6 is switched off.
    let v6 = std::fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
    let lines = v4.lines().chain(v6.lines());
    let listening = lines.filter_map(listener_in_line);
    Ok(listening.filter(|socket| socket.port() == port).collect())
}

/// The local address of a line of `/proc/net/tcp` or `tcp6`, if the socket listens (state 0A).
fn listener_in_line(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    // Each group of eight digits is a word of the address as this machine reads it from memory.
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn both_ways_see_the_same_listeners() {
        // On a port that nothing else has: an IPv6 socket, where the host has IPv6, and an IPv4 one.
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        let mut expected = vec![v4.local_addr().unwrap()];
        expected.extend(v6.as_ref().ok().map(|v6| v6.local_addr().unwrap()));
        for look in [from_sock_diag, from_proc] {
            let mut found = look(port).unwrap();
            found.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_proc_are_read_for_listeners_alone() {
        let listening =
            "   0: 0100007F:162E 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1";
        let connected =
            "   1: 0100007F:162E 0100007F:D4E2 01 00000000:00000000 00:00000000 00000000 0 0 2";
        let v6 = "   0: 00000000000000000000000001000000:162E 00000000000000000000000000000000:0000 0A 0 0 0";
        let read = |line| listener_in_line(line).map(|socket| socket.to_string());
        assert_eq!(read(listening).as_deref(), Some("127.0.0.1:5678"));
        assert_eq!(read(v6).as_deref(), Some("[::1]:5678"));
        assert_eq!(read(connected), None);
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt";
        for line in [
            "",
            header,
            "0: zz:1 0:0 0A",
            "0: 0100007F 0:0 0A",
            "0: é00007F:1 0:0 0A",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
