//! Opens the ports, or takes those that are open already.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use p2pdbg_proto::url::DEFAULT_PORT;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::{datapath::socket::UdpPort, handover::Inheritance, start_error::StartError};

/// A main port: the same number over UDP and over TCP.
pub(crate) type Main = (UdpPort, TcpListener);

/// Connections that the system may hold until they are accepted.
const BACKLOG: i32 = 1_024;

/// How many numbers are tried when the system may choose one that is free over both.
const DRAWS: usize = 32;

pub(crate) fn udp(
    address: SocketAddr,
    only_v6: bool,
    inheritance: &mut Inheritance,
) -> Result<UdpPort, StartError> {
    let bound = match inheritance.take_udp(address) {
        Some(socket) => UdpPort::from_socket(socket),
        None => UdpPort::bind(address, only_v6),
    };
    bound.map_err(|source| StartError::Bind {
        protocol: "UDP",
        address,
        source,
    })
}

fn main_port(
    address: SocketAddr,
    only_v6: bool,
    inheritance: &mut Inheritance,
) -> Result<Main, StartError> {
    let mut draws = if address.port() == 0 { DRAWS } else { 1 };
    loop {
        let udp = udp(address, only_v6, inheritance)?;
        let listener = match inheritance.take_tcp(udp.local()) {
            Some(listener) => adopt(listener),
            None => listen(udp.local(), udp.is_dual_stack()),
        };
        match listener {
            Ok(listener) => return Ok((udp, listener)),
            Err(source) => {
                draws -= 1;
                if draws == 0 || source.kind() != io::ErrorKind::AddrInUse {
                    return Err(StartError::Bind {
                        protocol: "TCP",
                        address: udp.local(),
                        source,
                    });
                }
            }
        }
    }
}

/// The port for a reverse proxy, if there is to be one.
pub(crate) fn web(
    address: Option<SocketAddr>,
    inheritance: &mut Inheritance,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = match inheritance.take_tcp(address) {
        Some(listener) => adopt(listener),
        None => listen(address, false),
    };
    listener
        .map(Some)
        .map_err(|source| StartError::Web { address, source })
}

/// The same number over TCP as that alternative port has over UDP, if it is to be had.
pub(crate) fn tcp_beside(udp: &UdpPort, inheritance: &mut Inheritance) -> Option<TcpListener> {
    let address = udp.local();
    let listener = match inheritance.take_tcp(address) {
        Some(listener) => adopt(listener),
        None => listen(address, udp.is_dual_stack()),
    };
    // Without it peers go without some direct paths by TCP, and nothing else.
    let told = |error: &io::Error| tracing::info!(%error, %address, "no second port over TCP");
    listener.inspect_err(told).ok()
}

/// The main ports: those that are wanted, or port 3478 of every address.
pub(crate) fn mains(
    wanted: &[SocketAddr],
    inheritance: &mut Inheritance,
) -> Result<Vec<Main>, StartError> {
    if wanted.is_empty() {
        return everywhere(DEFAULT_PORT, inheritance);
    }
    wanted
        .iter()
        .map(|address| {
            // Two wildcards on one port: to each its own family.
            let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            main_port(*address, wanted.contains(&v4), inheritance)
        })
        .collect()
}

/// Every address of both families, with one socket where the system can.
fn everywhere(port: u16, inheritance: &mut Inheritance) -> Result<Vec<Main>, StartError> {
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match main_port(v6, false, inheritance) {
        Ok(both) if both.0.is_dual_stack() => Ok(vec![both]),
        Ok(only_v6) => Ok(vec![only_v6, main_port(v4, false, inheritance)?]),
        Err(in_use) if is_in_use(&in_use) => Err(in_use),
        // A host without IPv6.
        Err(_) => Ok(vec![main_port(v4, false, inheritance)?]),
    }
}

fn is_in_use(error: &StartError) -> bool {
    matches!(error, StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

/// Listens at `address`; an IPv6 wildcard takes IPv4 too if `dual_stack`. Must be called within a tokio runtime.
///
/// # Errors
/// The operating system's.
fn listen(address: SocketAddr, dual_stack: bool) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // A restart need not wait for the connections of before. (On Windows the option would let two programs listen.)
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes a listener over that listens already. Must be called within a tokio runtime.
///
/// # Errors
/// The operating system's.
fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
