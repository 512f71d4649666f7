//! Further STUN servers, which the user names with `--stun`: somebody else's, asked besides the rendezvous.
//!
//! They help where the rendezvous has one address only, or sits in the same network as this host. They are believed as
//! little as anybody: what they say becomes a candidate among others, and orders the techniques of the traversal
//! without forbidding one. Names are looked up while the session is set up; one that has no answer by then is not
//! asked.

use std::{
    fmt,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use p2pdbg_base::{Host, HostPort, NotAHostPort};
use tokio::task::JoinSet;

use crate::lookup;

/// How many may be named: each is asked once by every socket.
pub const MAX_FURTHER: usize = 4;

/// The port of STUN (RFC 8489 section 18.6).
const STUN_PORT: u16 = 3478;

/// Addresses that one name may contribute: one of each family, and another.
const ADDRESSES_OF_A_NAME: usize = 3;

/// The places of the rendezvous that come first: its two ports, and its other address.
const BEFORE: usize = 3;

/// A STUN server as the user wrote it: `HOST` or `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StunServer(pub HostPort);

impl FromStr for StunServer {
    type Err = NotAHostPort;

    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        if let Ok(host) = text.parse::<Host>() {
            return Ok(Self(HostPort {
                host,
                port: STUN_PORT,
            }));
        }
        let server: HostPort = text.parse()?;
        match server.socket() {
            Some(_) => Err(NotAHostPort::Name),
            None => Ok(Self(server)),
        }
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The servers' addresses, as far as they are known.
#[derive(Debug, Default)]
pub struct FurtherServers {
    known: Arc<Mutex<Vec<SocketAddr>>>,
    /// The names that are still looked up; dropped with their owner.
    _lookups: JoinSet<()>,
}

impl FurtherServers {
    /// Begins to look them up.
    pub fn look_up(servers: &[StunServer]) -> Self {
        let known = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let mut lookups = JoinSet::new();
        for StunServer(server) in servers.iter().take(MAX_FURTHER) {
            let (server, known) = (server.clone(), Arc::clone(&known));
            lookups.spawn(async move {
                let found = addresses(&server).await;
                if found.is_empty() {
                    tracing::warn!(%server, "the STUN server has no address");
                }
                known
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(found);
            });
        }
        Self {
            known,
            _lookups: lookups,
        }
    }

    /// The rendezvous' own servers and these, in the order in which they are worth asking.
    pub fn beside(&self, mut rendezvous: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let new = known.iter().filter(|server| !rendezvous.contains(server));
        let new: Vec<SocketAddr> = new.copied().collect();
        let at = rendezvous.len().min(BEFORE);
        rendezvous.splice(at..at, new);
        rendezvous
    }
}

/// How long the addresses of one family are waited for once the other's are there: each shows another mapping.
const SLOWER: Duration = Duration::from_secs(1);

/// The addresses of a server; none if the name is not known.
pub async fn addresses(server: &HostPort) -> Vec<SocketAddr> {
    let mut found = match (&server.host, server.addresses()) {
        (_, Some(addresses)) => addresses,
        (Host::Name(name), None) => {
            match lookup::look_up_all(name.as_str(), server.port, SLOWER).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    tracing::debug!(%server, %error, "cannot look a STUN server up");
                    Vec::new()
                }
            }
        }
        (_, None) => Vec::new(),
    };
    found.dedup();
    // One of each family first.
    if let Some(other) = found
        .iter()
        .position(|address| address.is_ipv4() != found[0].is_ipv4())
    {
        found.swap(1, other);
    }
    found.truncate(ADDRESSES_OF_A_NAME);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        text.parse::<StunServer>().ok().map(|s| s.to_string())
    }

    #[test]
    fn a_server_is_a_host_with_or_without_a_port() {
        let cases = [
            ("stun.example.org", "stun.example.org:3478"),
            ("stun.example.org:19302", "stun.example.org:19302"),
            ("192.0.2.1", "192.0.2.1:3478"),
            ("[2001:db8::1]:3479", "[2001:db8::1]:3479"),
            ("2001:db8::1", "[2001:db8::1]:3478"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_deref(), Some(expected));
        }
        for text in [
            "",
            "stun.example.org:0",
            "a b",
            "stun:stun.example.org",
            "127.1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn they_come_behind_what_the_rendezvous_offers_first_and_each_once() {
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let further = FurtherServers::default();
        further.known.lock().unwrap().extend([at(9), at(2)]);
        assert_eq!(further.beside(vec![at(1), at(2)]), [at(1), at(2), at(9)]);
        let square = vec![at(1), at(2), at(3), at(4)];
        assert_eq!(further.beside(square), [at(1), at(2), at(3), at(9), at(4)]);
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let servers = ["192.0.2.1".parse().unwrap(), "[::1]:7".parse().unwrap()];
        let mut further = FurtherServers::look_up(&servers);
        while further._lookups.join_next().await.is_some() {}
        let mut found = further.beside(Vec::new());
        found.sort();
        assert_eq!(
            found,
            [
                "192.0.2.1:3478".parse().unwrap(),
                "[::1]:7".parse().unwrap()
            ]
        );
    }
}
