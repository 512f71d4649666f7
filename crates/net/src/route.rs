//! Routes as the operating system sees them, asked by binding and connecting UDP sockets. Nothing is sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use p2pdbg_base::descriptors;

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

/// Whether there is a route to `to`. Where there is no descriptor left to ask by, that is not denied: who is told that
/// there is none looks for the fault at the network.
pub fn leads_to(to: SocketAddr) -> bool {
    let asked = socket_for(to).and_then(|socket| socket.connect(to));
    asked.map_or_else(|error| descriptors::are_used_up(&error), |()| true)
}

/// The address that this host sends from towards `to`; none without a route.
pub fn source_towards(to: SocketAddr) -> Option<IpAddr> {
    let socket = socket_for(to).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    // Elsewhere a socket that may not broadcast is connected to the broadcast address all the same.
    #[test]
    fn route_is_not_denied_while_there_is_no_descriptor_left() {
        const WITHIN: &str = "P2PDBG_TEST_HAS_FEW_DESCRIPTORS";
        let name = "route::tests::route_is_not_denied_while_there_is_no_descriptor_left";
        if std::env::var_os(WITHIN).is_none() {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "ulimit -n 100; exec \"$0\" --exact \"$1\""]);
            shell.arg(std::env::current_exe().unwrap()).arg(name);
            let output = shell.env(WITHIN, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{said}");
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let here = (Ipv4Addr::LOCALHOST, 9).into();
        let nobody = (Ipv4Addr::BROADCAST, 9).into();
        assert!(leads_to(here) && !leads_to(nobody));
        let opened: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        assert!(leads_to(here) && leads_to(nobody), "nobody knows");
        drop(opened);
        assert!(!leads_to(nobody));
    }
}
