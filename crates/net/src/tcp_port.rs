//! A TCP port that is listened on and dialled from at the same time, as punching by TCP needs: the mapping that a NAT
//! makes for one connection is the one by which others may come.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::tcp_reset::reset_when_dropped;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 16;

/// What the kernel may hold that is not sent yet, in bytes. More would be delay that QUIC does not see.
#[cfg(target_os = "linux")]
const NOT_SENT: u32 = 32 * 1024;

/// The longest segment, in bytes: with 40 bytes of IPv6, 20 of TCP and 12 of its options it passes where 1,200 do.
/// TCP is what is left on a way that drops longer packets and tells nobody, and there nothing would shorten them.
const LONGEST_SEGMENT: u32 = 1_120;

/// For so long what was sent may stay without an answer until the kernel ends a connection. It would take a quarter of
/// an hour otherwise, and a dead connection keeps the place of a new one.
#[cfg(target_os = "linux")]
const UNANSWERED: std::time::Duration = std::time::Duration::from_secs(30);

/// A port of every local address of `family`'s family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPort {
    local: SocketAddr,
}

impl TcpPort {
    /// Begins to listen on a free port.
    ///
    /// # Errors
    /// If this host does not have the address family, or the operating system refuses.
    pub fn listen(family: IpAddr) -> io::Result<(Self, TcpListener)> {
        Self::begin((any(family), 0).into())
    }

    /// Begins to listen on this port, if nobody else does.
    ///
    /// # Errors
    /// If somebody does, or this user may not.
    pub fn listen_at(family: IpAddr, number: u16) -> io::Result<(Self, TcpListener)> {
        let local = SocketAddr::new(any(family), number);
        // What dials from a port may share it, and would take connections from another program that shares it as well.
        let alone = Socket::new(
            Domain::for_address(local),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if local.is_ipv6() {
            alone.set_only_v6(true)?;
        }
        alone.bind(&local.into())?;
        drop(alone);
        Self::begin(local)
    }

    fn begin(local: SocketAddr) -> io::Result<(Self, TcpListener)> {
        let socket = open(local, LONGEST_SEGMENT)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok((Self { local }, listener))
    }

    /// The port's number, from 1.
    pub fn number(&self) -> u16 {
        self.local.port()
    }

    /// Whether it is one of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.local.is_ipv4()
    }

    /// Whether it can be connected from here to there.
    pub fn is_of_family_of(&self, ip: IpAddr) -> bool {
        self.local.is_ipv4() == ip.is_ipv4()
    }

    /// Connects from this port. Two ends that do so at the same moment get one connection (RFC 9293 section 3.5).
    ///
    /// # Errors
    /// Whatever the operating system says; that another connection to there is open, too.
    pub async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::from_std_stream(open(self.local, LONGEST_SEGMENT)?.into());
        let stream = socket.connect(to).await?;
        set_up(&stream);
        Ok(stream)
    }
}

/// Every address of a family.
fn any(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Connects from any port, of `local` if that is given, with segments as short as those of a direct path.
///
/// # Errors
/// Whatever the operating system says.
pub async fn connect(to: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // What is received is as short too, since the other end is told so as the connection is made.
    limit_segments(SockRef::from(&socket), LONGEST_SEGMENT);
    if let Some(local) = local {
        socket.bind((local, 0).into())?;
    }
    let stream = socket.connect(to).await?;
    #[cfg(not(target_os = "linux"))]
    limit_segments(SockRef::from(&stream), LONGEST_SEGMENT);
    Ok(stream)
}

fn open(local: SocketAddr, longest_segment: u32) -> io::Result<Socket> {
    let domain = Domain::for_address(local);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Without it, Linux and macOS let nobody dial from a port that is listened on.
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    // What listens hands it on to what it accepts.
    limit_segments(SockRef::from(&socket), longest_segment);
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// Keeps segments short, in bytes, where the system lets it. macOS and FreeBSD refuse more than they begin with (512)
/// before a connection stands, and would have no direct TCP at all if that counted.
fn limit_segments(socket: SockRef<'_>, longest: u32) {
    #[cfg(unix)]
    if let Err(error) = socket.set_tcp_mss(longest) {
        tracing::debug!(%error, longest, "TCP segments have no limit yet");
    }
    #[cfg(not(unix))]
    let _ = (socket, longest);
}

/// What every connection to or from such a port is to be like, also one that was accepted.
pub fn set_up(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    // A connection that is given up is gone at once. Else its addresses could not be used again for a minute.
    reset_when_dropped(stream);
    // Linux heeds it before the handshake alone, and others of what a connection sends once it stands.
    #[cfg(not(target_os = "linux"))]
    limit_segments(SockRef::from(stream), LONGEST_SEGMENT);
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
        let _ = socket.set_tcp_user_timeout(Some(UNANSWERED));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn port_is_listened_on_and_dialled_from_at_the_same_time() {
        let (ours, listener) = TcpPort::listen(LOCALHOST).unwrap();
        let (theirs, their_listener) = TcpPort::listen(LOCALHOST).unwrap();
        assert_ne!(ours.number(), theirs.number());
        let dialled = ours.dial((LOCALHOST, theirs.number()).into());
        let (dialled, accepted) = tokio::join!(dialled, their_listener.accept());
        let (_, from) = accepted.unwrap();
        assert_eq!(from.port(), ours.number());
        drop(dialled);
        // Others still get in.
        let other = TcpStream::connect((LOCALHOST, ours.number())).await;
        let (mut accepted, _) = listener.accept().await.unwrap();
        other.unwrap().write_all(b"x").await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn port_that_another_listens_on_is_not_shared_with_it() {
        let (ours, listener) = TcpPort::listen(LOCALHOST).unwrap();
        let taken = TcpPort::listen_at(LOCALHOST, ours.number());
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let (again, _listener) = TcpPort::listen_at(LOCALHOST, ours.number()).unwrap();
        assert_eq!(again, ours);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn segments_are_short_enough_for_a_narrow_way_at_both_ends() {
        let (ours, _listener) = TcpPort::listen(LOCALHOST).unwrap();
        let (theirs, their_listener) = TcpPort::listen(LOCALHOST).unwrap();
        let dialled = ours.dial((LOCALHOST, theirs.number()).into());
        let (dialled, accepted) = tokio::join!(dialled, their_listener.accept());
        let plain = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let connected = connect(plain.local_addr().unwrap(), Some(LOCALHOST));
        let (connected, accepted_there) = tokio::join!(connected, plain.accept());
        for stream in [
            dialled.unwrap(),
            accepted.unwrap().0,
            connected.unwrap(),
            accepted_there.unwrap().0,
        ] {
            // What the kernel tells is without the options.
            let mss = SockRef::from(&stream).tcp_mss().unwrap();
            assert!((500..=LONGEST_SEGMENT).contains(&mss), "{mss}");
        }
    }

    /// Every system refuses a limit of 1, as macOS and FreeBSD do the one that is asked for.
    #[cfg(unix)]
    #[tokio::test]
    async fn port_is_opened_also_where_the_system_refuses_the_limit_of_segments() {
        let any = (LOCALHOST, 0).into();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_tcp_mss(1).unwrap_err();
        let socket = open(any, 1).unwrap();
        socket.listen(BACKLOG).unwrap();
        let to = socket.local_addr().unwrap().as_socket().unwrap();
        TcpStream::connect(to).await.unwrap();
    }

    #[tokio::test]
    async fn address_of_a_connection_that_was_given_up_can_be_dialled_again_at_once() {
        let (ours, _listener) = TcpPort::listen(LOCALHOST).unwrap();
        let (theirs, their_listener) = TcpPort::listen(LOCALHOST).unwrap();
        for _ in 0..3 {
            let to = (LOCALHOST, theirs.number()).into();
            let (dialled, accepted) = tokio::join!(ours.dial(to), their_listener.accept());
            drop((dialled.unwrap(), accepted.unwrap()));
        }
    }
}
