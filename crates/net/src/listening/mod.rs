//! Whether something listens on a port, seen without touching it.
//!
//! A debug port must never be probed by connecting: a bare connect ends `gdbserver --once` and `dlv dap`, and
//! PyCharm's debug server takes the first connection it accepts as *the* session. So this looks at the
//! operating system's table of sockets instead. It takes 0.05 ms on Linux, so that it may be done every
//! 100 ms while somebody waits; there is no event to wait for. It blocks, if only for that long.
//!
//! What it leaves out: targets on other hosts, of which this host's table says nothing ([`Presence::Unknown`]).

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other_systems;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

#[cfg(target_os = "linux")]
use linux as table;
#[cfg(not(target_os = "linux"))]
use other_systems as table;

use p2pdbg_base::{Host, HostPort};
use p2pdbg_proto::address::canonical;

/// No look is followed by a longer rest: one may have taken long because this process was stopped.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// What can be said about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Something listens there, and so it can be dialled.
    Listening(Listening),
    /// Nothing listens there, and dialling would be refused.
    Absent,
    /// It cannot be seen from here: the target is on another host, or the system hides other users' sockets
    /// (macOS, unless root) or those of a process that it cannot name (Windows). The only way to find out is to dial
    /// it once there is a connection to carry.
    Unknown,
}

/// Something that listens at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The address it is bound to.
    pub address: SocketAddr,
    /// The address at which to dial it.
    pub dial: SocketAddr,
}

impl Listening {
    /// Whether other hosts can connect to it as well, as far as no firewall keeps them out.
    ///
    /// For a debug port that means: whoever can reach it can run code.
    pub fn is_open_to_network(&self) -> bool {
        !self.address.ip().to_canonical().is_loopback()
    }
}

/// Looks whether something listens at `target`, on the loopback addresses that it stands for or on all.
///
/// For `localhost`, a listener on `127.0.0.1`, `::1`, `0.0.0.0` or `::` counts; for an address, one on that
/// address or on all of its family, and for IPv4 also one on `::`, which usually serves both.
///
/// # Errors
/// If the table of sockets cannot be read.
pub fn look(target: &HostPort) -> io::Result<Presence> {
    if !target.is_loopback() {
        return Ok(Presence::Unknown);
    }
    let sockets = table::listening_on(target.port)?;
    Ok(match best(target, &sockets) {
        Some(listening) => Presence::Listening(listening),
        None if table::may_hide(target.port) => Presence::Unknown,
        None => Presence::Absent,
    })
}

/// How long to rest before the next look where `usual` would do, after one that took so long.
///
/// Where the kernel's socket diagnosis is not to be had a look reads a line for each socket of the host, on the one
/// thread that carries the streams; so it has a twentieth of the time, whatever it takes.
pub fn rest_after(usual: Duration, took: Duration) -> Duration {
    usual.max(took.saturating_mul(20).min(LONGEST_REST))
}

/// The addresses on which something listens on `port`, of all interfaces; none if that cannot be seen.
pub fn on_port(port: u16) -> Option<Vec<SocketAddr>> {
    match table::listening_on(port) {
        Ok(sockets) if sockets.is_empty() && table::may_hide(port) => None,
        Ok(sockets) => Some(sockets),
        Err(error) => {
            tracing::warn!(%error, "cannot see which ports are listened on");
            None
        }
    }
}

/// A socket that listens, by which its process can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListeningSocket {
    /// The address it is bound to.
    pub address: SocketAddr,
    /// Its number: `/proc/PID/fd` of its process has a link to `socket:[INODE]`.
    pub inode: u64,
}

/// All sockets of this network namespace that listen, in order; none where the system does not tell (Linux does).
pub fn all() -> Vec<ListeningSocket> {
    match table::all() {
        Ok(mut sockets) => {
            sockets.sort_unstable();
            sockets
        }
        Err(error) => {
            tracing::debug!(%error, "cannot see the listening sockets");
            Vec::new()
        }
    }
}

/// One end of a TCP connection within this host's loopback.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectedSocket {
    /// Its own address and port.
    pub local: SocketAddr,
    /// That of the other end.
    pub remote: SocketAddr,
    /// Its inode, by which a process' descriptors name it: see [`ListeningSocket::inode`].
    pub inode: u64,
}

/// Both ends of each connection between programs of this network namespace over its loopback; none where the system
/// does not tell.
#[cfg(target_os = "linux")]
pub fn connected() -> Vec<ConnectedSocket> {
    table::connected().unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot see the connections");
        Vec::new()
    })
}

/// Whether whoever dials `target` reaches a socket that listens at `address`.
pub fn serves(target: &HostPort, address: SocketAddr) -> bool {
    target.port == address.port() && match_of(&target.host, address.ip()).is_some()
}

/// The socket at the other end of a connection that was accepted here, if its program runs on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Whether its program has closed it: nobody is left who could read an answer. A program that has only ended what
    /// it writes still has it open.
    pub is_closed: bool,
    /// The user whose program it is, if the system still tells.
    pub uid: Option<u32>,
}

/// Looks at the socket at the other end of the connection from `client` to `server`, which was accepted here.
///
/// `None` if it cannot be seen: it is on another host or in another network namespace, or the system does not tell.
/// The kernel forgets a closed socket some time after the other end has closed too; so a connection within the loopback
/// whose client is not in the table counts as closed.
pub fn client(client: SocketAddr, server: SocketAddr) -> Option<Client> {
    let (client, server) = (canonical(client), canonical(server));
    match table::client(client, server) {
        Ok(None) if table::SEES_CLIENTS && client.ip().is_loopback() => Some(Client {
            is_closed: true,
            uid: None,
        }),
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "cannot see the other end of a connection");
            None
        }
    }
}

/// Whether something is seen to listen on `port` of this host's loopback: for the forward `auto`.
///
/// What cannot be seen counts as not listening.
pub fn seen_on(port: u16) -> bool {
    let target = HostPort {
        host: Host::Localhost,
        port,
    };
    match look(&target) {
        Ok(presence) => matches!(presence, Presence::Listening(_)),
        Err(error) => {
            tracing::warn!(%error, "cannot see which ports are listened on");
            false
        }
    }
}

/// The listener at which `target` is dialled: rather one on its very address than one on all.
fn best(target: &HostPort, sockets: &[SocketAddr]) -> Option<Listening> {
    let candidates = sockets.iter().filter_map(|socket| {
        let (rank, ip) = match_of(&target.host, socket.ip())?;
        let listening = Listening {
            address: *socket,
            dial: SocketAddr::new(ip, socket.port()),
        };
        Some((rank, listening))
    });
    candidates
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, listening)| listening)
}

/// How well a listener on `bound` serves `host` (0 is best), and the address to dial for it.
fn match_of(host: &Host, bound: IpAddr) -> Option<(u8, IpAddr)> {
    let bound = bound.to_canonical();
    match (host, bound) {
        (Host::Ip(ip), _) if *ip == bound => Some((0, *ip)),
        (Host::Ip(ip @ IpAddr::V4(_)), IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Some((1, *ip)),
        (Host::Ip(ip), IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Some((2, *ip)),
        (Host::Localhost, IpAddr::V4(Ipv4Addr::LOCALHOST)) => Some((0, bound)),
        (Host::Localhost, IpAddr::V6(Ipv6Addr::LOCALHOST)) => Some((1, bound)),
        (Host::Localhost, IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => {
            Some((2, Ipv4Addr::LOCALHOST.into()))
        }
        // A socket on :: answers at ::1 whether it serves IPv4 too or not.
        (Host::Localhost, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => {
            Some((3, Ipv6Addr::LOCALHOST.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn dialled(target: &str, sockets: &[&str]) -> Option<String> {
        let sockets: Vec<SocketAddr> = sockets.iter().map(|s| s.parse().unwrap()).collect();
        best(&target.parse().unwrap(), &sockets).map(|listening| listening.dial.to_string())
    }

    fn dials(target: &str, sockets: &[&str], expected: &str) {
        assert_eq!(dialled(target, sockets).as_deref(), Some(expected));
    }

    #[test]
    fn localhost_is_served_by_either_loopback_address_and_by_the_wildcards() {
        dials("localhost:7", &["127.0.0.1:7"], "127.0.0.1:7");
        dials("localhost:7", &["[::1]:7"], "[::1]:7");
        dials("localhost:7", &["0.0.0.0:7"], "127.0.0.1:7");
        dials("localhost:7", &["[::]:7"], "[::1]:7");
        dials("localhost:7", &["[::ffff:127.0.0.1]:7"], "127.0.0.1:7");
        assert_eq!(
            dialled("localhost:7", &["192.0.2.1:7", "127.0.0.2:7"]),
            None
        );
        assert_eq!(dialled("localhost:7", &[]), None);
    }

    #[test]
    fn the_most_specific_listener_is_dialled() {
        let sockets = ["[::]:7", "0.0.0.0:7", "[::1]:7"];
        dials("localhost:7", &sockets, "[::1]:7");
        dials("127.0.0.1:7", &sockets, "127.0.0.1:7");
        dials("[::1]:7", &sockets, "[::1]:7");
    }

    #[test]
    fn an_address_is_served_by_itself_and_its_wildcards_alone() {
        dials("127.0.0.2:7", &["127.0.0.2:7"], "127.0.0.2:7");
        dials("127.0.0.2:7", &["0.0.0.0:7"], "127.0.0.2:7");
        dials("127.0.0.1:7", &["[::]:7"], "127.0.0.1:7");
        assert_eq!(dialled("127.0.0.1:7", &["[::1]:7", "127.0.0.2:7"]), None);
        assert_eq!(dialled("[::1]:7", &["0.0.0.0:7", "127.0.0.1:7"]), None);
    }

    #[test]
    fn a_real_listener_comes_into_sight_and_goes_without_being_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let target = HostPort::from(address);
        let seen = Listening {
            address,
            dial: address,
        };
        assert_eq!(look(&target).unwrap(), Presence::Listening(seen));
        assert!(seen_on(address.port()));
        assert!(!seen.is_open_to_network());
        let untouched = listener.accept().unwrap_err();
        assert_eq!(untouched.kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        assert!(!matches!(look(&target).unwrap(), Presence::Listening(_)));
    }

    #[test]
    fn a_listener_on_every_address_counts_and_is_known_to_be_open() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        match look(&HostPort::loopback(port)).unwrap() {
            Presence::Listening(listening) => {
                assert!(listening.is_open_to_network());
                assert_eq!(listening.dial, ([127, 0, 0, 1], port).into());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn every_socket_that_listens_is_seen_with_its_number() {
        use std::os::fd::AsRawFd;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = format!("/proc/self/fd/{}", listener.as_raw_fd());
        let link = std::fs::read_link(link).unwrap();
        let address = listener.local_addr().unwrap();
        let ours = |socket: &&ListeningSocket| socket.address == address;
        let seen = all();
        let inode = seen.iter().find(ours).unwrap().inode;
        assert_eq!(link.to_str().unwrap(), format!("socket:[{inode}]"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn both_ends_of_a_connection_are_seen_with_their_numbers() {
        use std::os::fd::{AsFd, AsRawFd};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let number = |socket: &dyn AsFd| {
            let link = format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd());
            let link = std::fs::read_link(link).unwrap();
            link.to_str().unwrap().to_owned()
        };
        let seen = connected();
        for end in [&client, &server] {
            let local = end.local_addr().unwrap();
            let mut its = seen.iter().filter(|socket| socket.local == local);
            let it = its.next().unwrap();
            assert_eq!(it.remote, end.peer_addr().unwrap());
            assert_eq!(format!("socket:[{}]", it.inode), number(end));
            assert_eq!(its.next(), None, "the listener counts as connected");
        }
    }

    #[test]
    fn a_socket_that_is_bound_or_connected_does_not_count_as_listening() {
        // Once the listener is gone its port may be given to another test's: a connection that was accepted does not
        // keep it (SO_REUSEADDR). Linux has addresses that no other test listens on.
        let own = if cfg!(target_os = "linux") {
            "127.77.0.1:0"
        } else {
            "127.0.0.1:0"
        };
        let listener = TcpListener::bind(own).unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(listener);
        // Both ends of the connection still have their ports in the table.
        for end in [&client, &server] {
            let target = HostPort::from(end.local_addr().unwrap());
            assert!(!matches!(look(&target).unwrap(), Presence::Listening(_)));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn client_that_closed_is_told_from_one_that_ended_its_writing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, from) = listener.accept().unwrap();
            (client, from, server)
        };
        let (alive, from, server) = connect();
        let at = server.local_addr().unwrap();
        assert_eq!(client(from, at).map(|client| client.is_closed), Some(false));
        alive.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client(from, at).map(|client| client.is_closed), Some(false));
        drop(alive);
        assert_eq!(client(from, at).map(|client| client.is_closed), Some(true));
    }

    #[test]
    fn look_that_takes_long_is_followed_by_a_rest_of_twenty_times_as_long() {
        let millis = Duration::from_millis;
        assert_eq!(rest_after(millis(100), millis(0)), millis(100));
        assert_eq!(rest_after(millis(100), millis(5)), millis(100));
        assert_eq!(rest_after(millis(100), millis(60)), millis(1_200));
        assert_eq!(rest_after(millis(100), Duration::MAX), LONGEST_REST);
        assert_eq!(rest_after(millis(60_000), millis(900)), millis(60_000));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn client_whose_socket_is_for_both_families_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mapped = (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), at.port());
        // As a JVM dials, and so an IDE of JetBrains.
        let Ok(program) = std::net::TcpStream::connect(mapped) else {
            return eprintln!("left out: this host has no IPv6");
        };
        assert!(program.local_addr().unwrap().is_ipv6());
        let (_server, from) = listener.accept().unwrap();
        let seen = client(from, at).unwrap();
        assert!(!seen.is_closed && seen.uid.is_some(), "{seen:?}");
        drop(program);
        assert!(client(from, at).unwrap().is_closed);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn listener_on_the_port_of_a_client_that_is_gone_is_not_taken_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let program = TcpListener::bind("127.0.0.1:0").unwrap();
        let from = program.local_addr().unwrap();
        assert!(client(from, at).unwrap().is_closed);
    }

    #[test]
    fn other_hosts_cannot_be_seen() {
        for target in ["192.0.2.1:80", "db.internal:80"] {
            assert_eq!(look(&target.parse().unwrap()).unwrap(), Presence::Unknown);
        }
    }
}
