//! One attempt to reach the rendezvous: every address of its name, over QUIC at once and over TCP a little later, raced
//! (RFC 8305, with the transports in place of the families).
//!
//! TCP costs more round trips and is only there for networks that let no UDP through; where both work, QUIC has won
//! before TCP begins. Where TCP alone fails too, it is tried inside a WebSocket ([`super::web`]). A connection that
//! came up over TCP is kept for as long as it lives: what goes over it is little. The next attempt races anew, with
//! both at once.

use std::{collections::VecDeque, net::SocketAddr, pin::pin, time::Duration};

use p2pdbg_proto::url::{HostAt, RendezvousUrl};
use tokio::{task::JoinSet, time::Instant};

use super::{
    LinkError,
    allowed_addresses::AllowedAddresses,
    connection::{Carrier, Connection},
    quic,
    tls::{HANDSHAKE, TcpRoute},
};

/// The next address is tried this much later (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// An address that stands for none (RFC 7600): that of a rendezvous that only the proxy can resolve.
const UNKNOWN: [u8; 4] = [192, 0, 0, 8];

/// Which transports may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transports {
    /// QUIC first, and TCP where it does not get through.
    Any,
    /// TCP alone, without waiting for UDP to fail.
    Tcp,
}

/// How every host is dialled.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    /// The rendezvous, by whichever of its hosts.
    pub(super) url: RendezvousUrl,
    pub(super) route: TcpRoute,
    pub(super) transports: Transports,
    /// Where they may be.
    pub(super) allowed: AllowedAddresses,
    /// How much later than QUIC TCP begins.
    pub(super) tcp_later: Duration,
    /// How long QUIC goes on at least.
    pub(super) patience: Duration,
    /// Whether an attempt at a host ends then, whatever else is tried there.
    pub(super) ends_with_patience: bool,
}

/// Connects to a host, which is that of the URL, by whatever completes a handshake first.
pub(super) async fn dial(
    url: &RendezvousUrl,
    route: &TcpRoute,
    how: &Dialling,
    host: &HostAt,
) -> Result<Connection, LinkError> {
    let (transports, patience) = (how.transports, how.patience);
    let unreachable = LinkError::Unreachable {
        authority: url.authority(),
    };
    let mut race = Race {
        transports,
        attempts: JoinSet::new(),
        worst: unreachable,
    };
    let by_tcp_after = match transports {
        Transports::Any => how.tcp_later,
        Transports::Tcp => Duration::ZERO,
    };
    let by_proxy = route.has_proxy() && how.allowed.admits_by_proxy(host);
    if by_proxy {
        race.begin_tcp(route, None, by_tcp_after);
    }
    let mut resolving = pin!(resolve(url, &how.allowed, host));
    let mut addresses = VecDeque::new();
    let mut resolved = false;
    loop {
        tokio::select! {
            found = &mut resolving, if !resolved => {
                resolved = true;
                match found {
                    Ok(found) => addresses.extend(found),
                    Err(error) => race.note(error),
                }
                race.begin_all(url, route, &addresses, by_tcp_after, patience)?;
            }
            Some(attempt) = race.attempts.join_next() => match attempt {
                Ok(Ok((connection, address))) => {
                    let known = address.or(addresses.front().copied());
                    let remote = known.unwrap_or((UNKNOWN, url.port).into());
                    return Ok(Connection::new(remote, connection));
                }
                // Who is too many over QUIC would be so over TCP too, and cost more there.
                Ok(Err(error @ LinkError::Busy { .. })) => return Err(error),
                Ok(Err(error)) => race.note(error),
                Err(_) => {}
            },
            else => return Err(race.worst),
        }
    }
}

/// Whether this is the address of a rendezvous whose address is not known.
pub fn is_unknown(address: SocketAddr) -> bool {
    address.ip() == std::net::IpAddr::from(UNKNOWN)
}

struct Race {
    transports: Transports,
    attempts: JoinSet<Result<(Carrier, Option<SocketAddr>), LinkError>>,
    /// What the person should hear if nothing comes of it.
    worst: LinkError,
}

impl Race {
    fn begin(
        &mut self,
        delay: Duration,
        attempt: impl Future<Output = Result<(Carrier, Option<SocketAddr>), LinkError>> + Send + 'static,
    ) {
        self.attempts.spawn(async move {
            tokio::time::sleep(delay).await;
            attempt.await
        });
    }

    /// Begins an attempt at each address in turn, by whatever may be used.
    ///
    /// # Errors
    /// If there is no QUIC to be had on this host.
    fn begin_all(
        &mut self,
        url: &RendezvousUrl,
        route: &TcpRoute,
        addresses: &VecDeque<SocketAddr>,
        by_tcp_after: Duration,
        patience: Duration,
    ) -> Result<(), LinkError> {
        let config = match self.transports {
            Transports::Any => {
                let config = quic::client_config(url);
                Some(config.map_err(|e| LinkError::Local(e.to_string()))?)
            }
            Transports::Tcp => None,
        };
        let mut delay = Duration::ZERO;
        for &address in addresses {
            if let Some(config) = &config {
                let (url, config) = (url.without_key(), config.clone());
                let (route, within) = (route.clone(), patience.max(HANDSHAKE));
                self.begin(delay, async move {
                    let dialled = quic::dial(&url, address, &route, config, within);
                    let (connection, footing) = dialled.await?;
                    Ok((Carrier::Quic(connection, footing), Some(address)))
                });
            }
            if !route.has_proxy() {
                self.begin_tcp(route, Some(address), by_tcp_after + delay);
            }
            delay += STAGGER;
        }
        Ok(())
    }

    fn begin_tcp(&mut self, route: &TcpRoute, address: Option<SocketAddr>, delay: Duration) {
        let route = route.clone();
        // A rendezvous that is just starting again refuses at once, while QUIC, which may be blocked, is still waiting.
        let again_until = match self.transports {
            Transports::Any => Instant::now() + HANDSHAKE,
            Transports::Tcp => Instant::now(),
        };
        self.begin(delay, async move {
            let stream = route.control(address, again_until).await?;
            Ok((Carrier::Tls(Box::new(stream)), address))
        });
    }

    /// What says more than what is known already replaces it.
    fn note(&mut self, error: LinkError) {
        if error.says() > self.worst.says() {
            self.worst = error;
        }
    }
}

async fn resolve(
    url: &RendezvousUrl,
    allowed: &AllowedAddresses,
    host: &HostAt,
) -> Result<Vec<SocketAddr>, LinkError> {
    let failed = |why: String| LinkError::Resolve {
        authority: url.authority(),
        why,
    };
    let addresses: Vec<_> = tokio::net::lookup_host((url.host.as_str(), url.port))
        .await
        .map_err(|e| failed(e.to_string()))?
        .collect();
    if addresses.is_empty() {
        return Err(failed("the name has no address".into()));
    }
    let addresses = addresses.into_iter();
    let admitted: Vec<_> = addresses
        .filter(|at| allowed.admits(host, at.ip()))
        .take(8)
        .collect();
    if admitted.is_empty() {
        let why = "it leads into the network around this host, and a host elsewhere has named it";
        return Err(failed(why.into()));
    }
    Ok(admitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn name_that_leads_to_this_host_is_dialled_if_the_user_has_given_it_alone() {
        let url: RendezvousUrl = "p2pdbg://localhost".parse().unwrap();
        let host = url.hosts().remove(0);
        let named = resolve(&url, &AllowedAddresses::default(), &host)
            .await
            .unwrap_err();
        assert!(named.to_string().contains("a host elsewhere has named it"));
        let given = resolve(&url, &AllowedAddresses::anywhere([host.clone()]), &host).await;
        assert!(given.unwrap().iter().all(|at| at.ip().is_loopback()));
    }
}
