//! Opening the local port of a forward.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use p2pdbg_base::{Bind, BindScope, ErrorCode, Failure, HostPort, Opened};
use tokio::net::{TcpListener, TcpStream};

#[cfg(unix)]
use super::socket::OpenSocket;
use super::{Connection, Direction, Forward};

/// How many ports are tried for one that is free.
const TRIES: usize = 1000;

/// An open port: one listening socket, or one for each address family. Or a Unix socket in its place.
#[derive(Debug)]
pub struct OpenPort {
    listeners: Vec<TcpListener>,
    #[cfg(unix)]
    socket: Option<OpenSocket>,
    /// The IPv4 address if there are two; 0.0.0.0:0 of a Unix socket.
    address: SocketAddr,
    one_family: Option<io::Error>,
}

impl OpenPort {
    /// Opens what a forward asks for: its socket, or its port.
    ///
    /// # Errors
    /// `AddrInUse` if something listens there already, `AlreadyExists` if a file that is no socket has its name, or
    /// whatever the operating system says.
    pub fn of(forward: &Forward) -> io::Result<Self> {
        match &forward.socket {
            None => Self::open(forward.bind),
            #[cfg(unix)]
            Some(path) => Ok(Self {
                listeners: Vec::new(),
                socket: Some(OpenSocket::open(path)?),
                address: (Ipv4Addr::UNSPECIFIED, 0).into(),
                one_family: None,
            }),
            #[cfg(not(unix))]
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Opens the port.
    ///
    /// On loopback and everywhere, IPv4 must succeed and IPv6 may fail, as on a host that has none; then
    /// [`OpenPort::missing_family`] says why.
    ///
    /// # Errors
    /// `AddrInUse` if something listens there already, or whatever the operating system says.
    pub fn open(bind: Bind) -> io::Result<Self> {
        let (first, second) = match bind.scope {
            BindScope::Loopback => (Ipv4Addr::LOCALHOST.into(), Some(Ipv6Addr::LOCALHOST)),
            BindScope::Everywhere => (Ipv4Addr::UNSPECIFIED.into(), Some(Ipv6Addr::UNSPECIFIED)),
            BindScope::Address(ip) => (ip, None),
        };
        let listener = listen(first, bind.port)?;
        let address = listener.local_addr()?;
        let mut port = Self {
            listeners: vec![listener],
            #[cfg(unix)]
            socket: None,
            address,
            one_family: None,
        };
        match second.map(|ip| listen(ip.into(), address.port())) {
            Some(Ok(listener)) => port.listeners.push(listener),
            Some(Err(error)) => port.one_family = Some(error),
            None => {}
        }
        Ok(port)
    }

    /// Opens the next port above that of `bind` that is free, of those that `may` be.
    ///
    /// # Errors
    /// `AddrInUse` if none of the next thousand is free, or whatever else the operating system says.
    pub fn open_above(bind: Bind, may: impl Fn(u16) -> bool) -> io::Result<Self> {
        let above = (bind.port..=u16::MAX).skip(1).take(TRIES);
        for port in above.filter(|port| may(*port)) {
            match Self::open(Bind { port, ..bind }) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// The number of the port; 0 of a Unix socket.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What programs connect to: of two addresses the IPv4 one.
    pub fn opened(&self) -> Opened {
        #[cfg(unix)]
        if let Some(socket) = &self.socket {
            return Opened::Socket(socket.path().to_owned());
        }
        HostPort::from(self.address).into()
    }

    /// Why the port is not open for IPv6, where that could matter: something else has it.
    pub fn missing_family(&self) -> Option<&io::Error> {
        self.one_family
            .as_ref()
            .filter(|error| error.kind() == io::ErrorKind::AddrInUse)
    }

    /// A connection that waits in the kernel already, whether this process has been told of it or not.
    pub fn accept_now(&self) -> Option<Connection> {
        #[cfg(unix)]
        if let Some(socket) = &self.socket {
            return socket.accept_now().map(Connection::Unix);
        }
        self.listeners.iter().find_map(|listener| {
            let (socket, _) = socket2::SockRef::from(listener).accept().ok()?;
            socket.set_nonblocking(true).ok()?;
            let connection = TcpStream::from_std(socket.into()).ok()?;
            Some(Connection::Tcp(connection))
        })
    }

    /// The next connection.
    ///
    /// # Errors
    /// If the operating system cannot accept, for lack of descriptors say; trying again later may work.
    pub async fn accept(&self) -> io::Result<Connection> {
        #[cfg(unix)]
        if let Some(socket) = &self.socket {
            return socket.accept().await.map(Connection::Unix);
        }
        match &self.listeners[..] {
            [only] => only.accept().await,
            [one, other, ..] => tokio::select! {
                accepted = one.accept() => accepted,
                accepted = other.accept() => accepted,
            },
            [] => std::future::pending().await,
        }
        .map(|(stream, _)| Connection::Tcp(stream))
    }
}

/// What to tell a person whose port cannot be opened.
pub fn port_failure(forward: &Forward, error: &io::Error) -> Failure {
    if let Some(path) = &forward.socket {
        return socket_failure(path, error);
    }
    let port = forward.bind.port;
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            ErrorCode::PortInUse,
            format!("cannot open port {port}: something listens there already"),
        )
        .hint(match forward.direction {
            Direction::ToDebuggee => {
                "end it, or forward another port; if it is the IDE waiting for the debuggee, use -R"
            }
            Direction::ToIde => "end it, or forward another port",
        }),
        _ => Failure::new(
            ErrorCode::PortNotOpened,
            format!("cannot open {}: {error}", forward.bind),
        ),
    }
}

fn socket_failure(path: &Path, error: &io::Error) -> Failure {
    let fail = |code, why: &str| Failure::new(code, format!("cannot open {path:?}: {why}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => fail(ErrorCode::PortInUse, "something listens there already")
            .hint("end it, or give another path"),
        io::ErrorKind::AlreadyExists => fail(ErrorCode::PortInUse, "it is there and no socket")
            .hint("nothing was removed; give a path at which there is nothing"),
        _ => fail(ErrorCode::PortNotOpened, &error.to_string()),
    }
}

fn listen(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(ip, port);
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As every server does on Unix: a port whose last connections linger in TIME_WAIT is free. On Windows the
    // option means something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loopback_port_takes_connections_to_127_0_0_1() {
        let bind = Bind {
            scope: BindScope::Loopback,
            port: 0,
        };
        let port = OpenPort::open(bind).unwrap();
        let (accepted, dialled) = tokio::join!(port.accept(), TcpStream::connect(port.address));
        let Connection::Tcp(accepted) = accepted.unwrap() else {
            panic!("it is a port");
        };
        assert_eq!(
            accepted.peer_addr().unwrap(),
            dialled.unwrap().local_addr().unwrap()
        );
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bind = Bind {
            scope: BindScope::Loopback,
            port: taken.local_addr().unwrap().port(),
        };
        let error = OpenPort::open(bind).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
