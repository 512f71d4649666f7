//! Opens the ports, or takes those that are open already.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use p2pdbg_proto::url::DEFAULT_PORT;
use tokio::net::TcpListener;

use crate::{control::tcp, datapath::socket::UdpPort, server::StartError, succession::Inheritance};

/// A main port: the same number over UDP and over TCP.
pub(crate) type Main = (UdpPort, TcpListener);

/// How many numbers are tried when the system may choose one that is free over both.
const DRAWS: usize = 32;

/// One UDP port.
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
            Some(listener) => tcp::adopt(listener),
            None => tcp::listen(udp.local(), udp.is_dual_stack()),
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
