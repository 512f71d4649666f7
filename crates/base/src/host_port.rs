//! Addresses as people write them: `HOST:PORT` to dial and `[BIND:]PORT` to open.
//!
//! Parsing settles every doubt about what an address means, because `AllowList` compares
//! what was parsed with what will be dialled: IPv4-mapped IPv6 addresses become IPv4, names are lower-cased,
//! and spellings that resolvers read as addresses although they do not look like one (`127.1`, `0x7f.1`) are
//! refused. Nothing here asks a resolver.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The longest host name that DNS can carry (RFC 1035 section 2.3.4), in characters.
const MAX_NAME: usize = 253;

/// The host half of a [`HostPort`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// `localhost`: this host's loopback addresses, never a resolver's answer.
    Localhost,
    /// An address; an IPv4-mapped IPv6 address stands here as IPv4.
    Ip(IpAddr),
    /// A name to be resolved when it is dialled, in lower case.
    Name(String),
    /// The absolute path of a Unix socket, which has no port: beside it stands 0.
    Socket(String),
}

impl Host {
    /// Whether it can only mean this host: `localhost`, `127.0.0.0/8` or `::1`.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Localhost => true,
            Self::Ip(ip) => ip.is_loopback(),
            // Whoever may use one is settled by its file, and what it leads to may be all of the host (Docker's).
            Self::Name(_) | Self::Socket(_) => false,
        }
    }

    /// The addresses it stands for, or `None` for a name that must be resolved and for a socket.
    pub fn addresses(&self) -> Option<Vec<IpAddr>> {
        match self {
            Self::Localhost => Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            Self::Ip(ip) => Some(vec![*ip]),
            Self::Name(_) | Self::Socket(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost => f.write_str("localhost"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) | Self::Socket(name) => f.write_str(name),
        }
    }
}

impl FromStr for Host {
    type Err = NotAHostPort;

    /// Reads a name, an IPv4 address or an IPv6 address, the latter with or without brackets.
    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        if text.is_empty() {
            return Err(NotAHostPort::NoHost);
        }
        let bare = match text.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or(NotAHostPort::Brackets)?,
            None => text,
        };
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        if bare.len() != text.len() || bare.contains(':') {
            return Err(NotAHostPort::Ipv6);
        }
        let name = bare.to_ascii_lowercase();
        if name == "localhost" {
            return Ok(Self::Localhost);
        }
        if is_host_name(&name) {
            Ok(Self::Name(name))
        } else {
            Err(NotAHostPort::Name)
        }
    }
}

/// Whether DNS could know `name`, and no resolver would take it for a number.
fn is_host_name(name: &str) -> bool {
    let label_is_sound = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // inet_aton(3) reads "127.1", "2130706433" and "0x7f.1" as addresses; a name's last label is never so.
    let last = name.rsplit('.').next().unwrap_or(name);
    let numeric = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
    name.len() <= MAX_NAME && !numeric && name.split('.').all(label_is_sound)
}

/// The longest path of a Unix socket that every system takes, in bytes.
pub const LONGEST_SOCKET: usize = 103;

/// Whether `path` can be that of a Unix socket, and is shown as it is.
fn is_socket(path: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric();
    let names_a_file = !path.ends_with('/') && !path.contains("//");
    path.starts_with('/')
        && path.len() <= LONGEST_SOCKET
        && names_a_file
        && path.chars().all(is_plain)
}

/// An address to dial: a host and a port that is not 0; or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name, looked up where it is dialled, or an address.
    pub host: Host,
    /// The TCP port, from 1 up; 0 for a socket.
    pub port: u16,
}

impl HostPort {
    /// `127.0.0.1:port`.
    pub fn loopback(port: u16) -> Self {
        Self {
            host: Host::Ip(Ipv4Addr::LOCALHOST.into()),
            port,
        }
    }

    /// Whether it can only mean this host: `localhost`, `127.0.0.0/8` or `::1`.
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }

    /// The path of the Unix socket, if it is one.
    pub fn socket(&self) -> Option<&str> {
        match &self.host {
            Host::Socket(path) => Some(path),
            _ => None,
        }
    }

    /// The addresses to dial in turn, or `None` for a name that must be resolved and for a socket.
    pub fn addresses(&self) -> Option<Vec<SocketAddr>> {
        let addresses = self.host.addresses()?.into_iter();
        Some(addresses.map(|ip| SocketAddr::new(ip, self.port)).collect())
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip().to_canonical()),
            port: address.port(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Socket(path) => f.write_str(path),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl FromStr for HostPort {
    type Err = NotAHostPort;

    /// Reads `HOST:PORT`, or the absolute path of a Unix socket.
    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        if text.starts_with('/') {
            let path = is_socket(text).then(|| text.to_owned());
            return Ok(Self {
                host: Host::Socket(path.ok_or(NotAHostPort::Socket)?),
                port: 0,
            });
        }
        let (host, port) = text.rsplit_once(':').ok_or(NotAHostPort::NoPort)?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(NotAHostPort::Ipv6);
        }
        let port = parse_port(port)?;
        if port == 0 {
            return Err(NotAHostPort::Port);
        }
        Ok(Self {
            host: host.parse()?,
            port,
        })
    }
}

impl Serialize for HostPort {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a port is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bind {
    /// On which addresses of this host the port is opened: on loopback if nothing is said.
    pub scope: BindScope,
    /// The TCP port; 0 lets the operating system choose.
    pub port: u16,
}

/// On which addresses a port is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BindScope {
    /// `127.0.0.1`, and `::1` where it exists: what a program reaches that dials `localhost`.
    Loopback,
    /// Every address, so that other hosts get in as well.
    Everywhere,
    /// This address alone, which must be one of this host's.
    Address(IpAddr),
}

impl Bind {
    /// Opens `port` for programs on this host alone.
    pub fn loopback(port: u16) -> Self {
        Self {
            scope: BindScope::Loopback,
            port,
        }
    }

    /// Whether only programs on this host can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.scope {
            BindScope::Loopback => true,
            BindScope::Everywhere => false,
            BindScope::Address(ip) => ip.is_loopback(),
        }
    }

    /// Whether it is what is dialled at `target` on the host where it is opened. A name may be any host's, and is
    /// taken for another's.
    pub fn is_dialled_at(&self, target: &HostPort) -> bool {
        let ips = target.host.addresses().unwrap_or_default();
        let mut ips = ips.iter();
        let is_at = match self.scope {
            BindScope::Loopback => {
                ips.any(|ip| [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].contains(ip))
            }
            BindScope::Address(ip) if !ip.is_unspecified() => ips.any(|dialled| *dialled == ip),
            BindScope::Everywhere | BindScope::Address(_) => ips.any(IpAddr::is_loopback),
        };
        is_at && self.port != 0 && self.port == target.port
    }

    /// Reads what stands before the port; the empty text and `*` mean every address, as for ssh.
    pub fn parse_scope(text: &str) -> Result<BindScope, NotAHostPort> {
        match text {
            "" | "*" => Ok(BindScope::Everywhere),
            _ => match text.parse()? {
                Host::Localhost => Ok(BindScope::Loopback),
                Host::Ip(ip) => Ok(BindScope::Address(ip)),
                Host::Name(_) | Host::Socket(_) => Err(NotAHostPort::BindName),
            },
        }
    }
}

/// `BIND:PORT`, in a form that reads back: `127.0.0.1:5678`, `*:5678`, `[::1]:5678`.
impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            BindScope::Loopback => write!(f, "localhost:{}", self.port),
            BindScope::Everywhere => write!(f, "*:{}", self.port),
            BindScope::Address(ip) => write!(f, "{}", SocketAddr::new(ip, self.port)),
        }
    }
}

impl FromStr for Bind {
    type Err = NotAHostPort;

    /// Reads `PORT` or `BIND:PORT`.
    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        match text.rsplit_once(':') {
            None => Ok(Self::loopback(parse_port(text)?)),
            Some((scope, port)) => Ok(Self {
                scope: Self::parse_scope(scope)?,
                port: parse_port(port)?,
            }),
        }
    }
}

/// A port from 0 to 65535, in plain digits.
pub fn parse_port(text: &str) -> Result<u16, NotAHostPort> {
    // `u16::from_str` takes "+5"; a port is digits alone.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotAHostPort::Port);
    }
    text.parse().map_err(|_| NotAHostPort::Port)
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAHostPort {
    /// There is no `:PORT`.
    #[error("the port is missing: write HOST:PORT")]
    NoPort,
    /// The port is not a number in range.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// There is nothing before the port.
    #[error("the host is missing: write localhost:PORT for this host itself")]
    NoHost,
    /// A `[` without its `]`.
    #[error("the bracket is not closed: an IPv6 address is written [::1]")]
    Brackets,
    /// Colons or brackets around something that is not an IPv6 address.
    #[error("the IPv6 address does not parse: it is written in brackets, as in [::1]:5678")]
    Ipv6,
    /// Characters that no host name has, or a number that is not an address.
    #[error("the host is neither a name nor an address")]
    Name,
    /// A path that cannot be a Unix socket's.
    #[error(
        "the path of a Unix socket names a file, without control characters and in 103 bytes at the most"
    )]
    Socket,
    /// A name where a port is to be opened.
    #[error(
        "a port is opened on an address of this host, on localhost or on * (all), not on a name"
    )]
    BindName,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_port(text: &str) -> HostPort {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_read_back_as_they_are_written() {
        for text in [
            "localhost:5678",
            "127.0.0.1:1",
            "[::1]:65535",
            "[2001:db8::7]:80",
            "db.internal:5432",
            "a_b-c.example:9",
            "/run/user/1000/gdb.sock",
        ] {
            assert_eq!(host_port(text).to_string(), text);
        }
        for text in ["localhost:0", "*:5678", "[::1]:5678", "0.0.0.0:80"] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn only_what_cannot_mean_another_host_is_loopback() {
        for text in ["localhost:1", "LOCALHOST:1", "127.9.8.7:1", "[::1]:1"] {
            assert!(host_port(text).is_loopback(), "{text}");
        }
        assert!(host_port("[::ffff:127.0.0.1]:1").is_loopback());
        for text in [
            "localhost.:1",
            "localhost.example:1",
            "127.0.0.1.example:1",
            "0.0.0.0:1",
            "[::]:1",
            "[::ffff:10.0.0.1]:1",
            "[fe80::1]:1",
            "/run/docker.sock",
        ] {
            let parsed = text.parse::<HostPort>();
            assert!(!parsed.is_ok_and(|parsed| parsed.is_loopback()), "{text}");
        }
    }

    #[test]
    fn numbers_that_resolvers_take_for_addresses_are_refused() {
        for text in [
            "127.1:80",
            "2130706433:80",
            "0x7f.1:80",
            "0x7f000001:80",
            "1.2.3.4.5:80",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(NotAHostPort::Name), "{text}");
        }
    }

    #[test]
    fn each_fault_of_an_address_is_named() {
        let fault = |text: &str| text.parse::<HostPort>().unwrap_err();
        assert_eq!(fault("localhost"), NotAHostPort::NoPort);
        assert_eq!(fault("localhost:"), NotAHostPort::Port);
        assert_eq!(fault("localhost:0"), NotAHostPort::Port);
        assert_eq!(fault("localhost:65536"), NotAHostPort::Port);
        assert_eq!(fault("localhost:+5"), NotAHostPort::Port);
        assert_eq!(fault(":80"), NotAHostPort::NoHost);
        assert_eq!(fault("::1:80"), NotAHostPort::Ipv6);
        assert_eq!(fault("[::1:80"), NotAHostPort::Brackets);
        assert_eq!(fault("[localhost]:80"), NotAHostPort::Ipv6);
        assert_eq!(fault("a b:80"), NotAHostPort::Name);
        for path in ["/", "/run/", "//run", "/run/\u{1b}[2J", "/run/\u{202e}x"] {
            assert_eq!(fault(path), NotAHostPort::Socket, "{path:?}");
        }
        assert_eq!(
            fault(&format!("/{}", "a".repeat(103))),
            NotAHostPort::Socket
        );
        assert_eq!(fault("run/x.sock"), NotAHostPort::NoPort);
        assert_eq!(fault("evil\u{1b}[2J:80"), NotAHostPort::Name);
        assert_eq!("web:80".parse::<Bind>(), Err(NotAHostPort::BindName));
    }
}
