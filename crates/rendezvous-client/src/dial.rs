//! One attempt to reach the rendezvous: every address of its name, over QUIC at once and over TCP a little later, raced
//! (RFC 8305, with the transports in place of the families).
//!
//! TCP costs more round trips and is only there for networks that let no UDP through; where both work, QUIC has won
//! before TCP begins. Where TCP alone fails too, it is tried inside a WebSocket ([`super::web`]). A connection that
//! came up over TCP is kept for as long as it lives: what goes over it is little. The next attempt races anew, with
//! both at once.
//!
//! A host whose name takes long is dialled where it was reached before ([`super::names`]); its certificate shows
//! whether it is there still.

use std::{net::SocketAddr, time::Duration};

use p2pdbg_net::deadline::sleep_until;
use p2pdbg_proto::url::{HostAt, RendezvousUrl};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{
    LinkError,
    allowed_addresses::AllowedAddresses,
    connection::{Connection, LinkTransport},
    names::{Batch, NO_ANSWER, STAGGER},
    quic,
    silence::without_nobody,
    tls::{HANDSHAKE, TcpRoute},
};

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
    /// How long its name may take before a host is dialled where it was reached before.
    pub(super) reached_after: Duration,
    /// How much later than QUIC TCP begins.
    pub(super) tcp_later: Duration,
    /// How long QUIC goes on at least.
    pub(super) patience: Duration,
    /// Whether an attempt at a host ends `patience` after it last came to know of an address, and waits at most 12 s
    /// for the first.
    pub(super) ends_with_patience: bool,
}

/// Connects to a host, which is that of the URL, by whatever completes a handshake first.
pub(super) async fn dial(
    url: &RendezvousUrl,
    route: &TcpRoute,
    how: &Dialling,
    host: &HostAt,
) -> Result<Connection, LinkError> {
    let mut addresses = route.names().look_up(host, how.reached_after);
    if !how.ends_with_patience {
        addresses = addresses.however_long();
    }
    let mut race = Race::begin(url, route, how, host);
    let mut more_may_come = true;
    while more_may_come || !race.attempts.is_empty() {
        tokio::select! {
            batch = addresses.next(), if more_may_come => match batch {
                Some(Batch::Found(found)) => race.on_found(found)?,
                Some(Batch::Reached(reached)) => race.on_reached(reached)?,
                Some(Batch::Failed(why)) => race.note(race.unresolved(&why)),
                None => more_may_come = false,
            },
            Some(attempt) = race.attempts.join_next() => match attempt {
                Ok(Ok((connection, address))) => {
                    return Ok(Connection::new(race.remote(address), connection));
                }
                Ok(Err((error, address))) => race.on_failed(error, address)?,
                Err(_) => {}
            },
            () = sleep_until(race.ends) => {
                if addresses.are_awaited() && !race.by_proxy {
                    race.note(race.unresolved(NO_ANSWER));
                }
                break;
            }
        }
    }
    Err(race.error().await)
}

/// Whether this is the address of a rendezvous whose address is not known.
pub fn is_unknown(address: SocketAddr) -> bool {
    address.ip() == std::net::IpAddr::from(UNKNOWN)
}

/// What an attempt at an address comes to; at none if a proxy opens the connection.
type Attempt = Result<(LinkTransport, Option<SocketAddr>), (LinkError, Option<SocketAddr>)>;

struct Race<'a> {
    url: &'a RendezvousUrl,
    route: &'a TcpRoute,
    how: &'a Dialling,
    host: &'a HostAt,
    by_proxy: bool,
    attempts: JoinSet<Attempt>,
    /// Those over TCP to addresses.
    by_tcp: Vec<(SocketAddr, AbortHandle)>,
    /// Where attempts have begun.
    begun: Vec<SocketAddr>,
    /// The addresses that the host's name is known to have now.
    current: Vec<SocketAddr>,
    /// What is wrong at addresses at which the host was reached before, and may be no more.
    elsewhere: Vec<(SocketAddr, LinkError)>,
    ends: Option<Instant>,
    /// What the person should hear if nothing comes of it.
    worst: Option<LinkError>,
}

impl<'a> Race<'a> {
    /// Begins with the proxy, which resolves the name itself.
    fn begin(
        url: &'a RendezvousUrl,
        route: &'a TcpRoute,
        how: &'a Dialling,
        host: &'a HostAt,
    ) -> Self {
        let mut race = Self {
            url,
            route,
            how,
            host,
            by_proxy: route.has_proxy() && how.allowed.admits_by_proxy(host),
            attempts: JoinSet::new(),
            by_tcp: Vec::new(),
            begun: Vec::new(),
            current: Vec::new(),
            elsewhere: Vec::new(),
            ends: None,
            worst: None,
        };
        if race.by_proxy {
            race.begin_tcp(None, Duration::ZERO);
            race.allow_time();
        }
        race
    }

    /// The host's name has these addresses.
    ///
    /// # Errors
    /// If there is no QUIC to be had on this host, or the host has said by now that it is too busy.
    fn on_found(&mut self, found: Vec<SocketAddr>) -> Result<(), LinkError> {
        let found = without_nobody(self.url, found);
        match found.and_then(|found| self.admitted(found)) {
            Ok(admitted) => self.current = admitted,
            Err(error) => {
                self.note(error);
                return Ok(());
            }
        }
        let judged = std::mem::take(&mut self.elsewhere).into_iter();
        let (here, elsewhere) = judged.partition(|(at, _)| self.current.contains(at));
        self.elsewhere = elsewhere;
        for (at, error) in here {
            self.on_failed(error, Some(at))?;
        }
        self.begin_all(self.current.clone())
    }

    /// The host was reached at these addresses before, and its name is not known yet.
    ///
    /// # Errors
    /// If there is no QUIC to be had on this host.
    fn on_reached(&mut self, reached: Vec<SocketAddr>) -> Result<(), LinkError> {
        let admitted = self.admitted(reached).unwrap_or_default();
        self.begin_all(admitted)
    }

    /// Those at which the host may be.
    fn admitted(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, LinkError> {
        let admits = |at: &SocketAddr| self.how.allowed.admits(self.host, at.ip());
        let admitted: Vec<_> = found.into_iter().filter(admits).collect();
        match admitted.is_empty() {
            true => Err(self.unresolved(
                "it leads into the network around this host, and a host elsewhere has named it",
            )),
            false => Ok(admitted),
        }
    }

    /// Begins an attempt at each address in turn that has had none, by whatever may be used.
    ///
    /// # Errors
    /// If there is no QUIC to be had on this host.
    fn begin_all(&mut self, addresses: Vec<SocketAddr>) -> Result<(), LinkError> {
        let config = match self.how.transports {
            Transports::Any => {
                let config = quic::client_config(self.url);
                Some(config.map_err(|e| LinkError::Local(e.to_string()))?)
            }
            Transports::Tcp => None,
        };
        let mut delay = Duration::ZERO;
        for address in addresses {
            if self.begun.contains(&address) {
                continue;
            }
            self.begun.push(address);
            if let Some(config) = &config {
                self.begin_quic(address, delay, config.clone());
            }
            if !self.route.has_proxy() {
                self.begin_tcp(Some(address), delay);
            }
            delay += STAGGER;
        }
        if !delay.is_zero() {
            self.allow_time();
        }
        Ok(())
    }

    /// What has addresses to dial has time for them, however long they took to be known.
    fn allow_time(&mut self) {
        if self.how.ends_with_patience {
            self.ends = Some(Instant::now() + self.how.patience);
        }
    }

    fn begin_quic(&mut self, address: SocketAddr, delay: Duration, config: quinn::ClientConfig) {
        let (url, route) = (self.url.without_key(), self.route.clone());
        let within = self.how.patience.max(HANDSHAKE);
        self.attempts.spawn(async move {
            tokio::time::sleep(delay).await;
            let dialled = quic::dial(&url, address, &route, config, within).await;
            let (connection, footing) = dialled.map_err(|error| (error, Some(address)))?;
            Ok((LinkTransport::Quic(connection, footing), Some(address)))
        });
    }

    fn begin_tcp(&mut self, address: Option<SocketAddr>, delay: Duration) {
        let route = self.route.clone();
        // A rendezvous that is just starting again refuses at once, while QUIC, which may be blocked, is still waiting.
        let (later, again_until) = match self.how.transports {
            Transports::Any => (self.how.tcp_later, Instant::now() + HANDSHAKE),
            Transports::Tcp => (Duration::ZERO, Instant::now()),
        };
        let attempt = self.attempts.spawn(async move {
            tokio::time::sleep(later + delay).await;
            let stream = route.control(address, again_until).await;
            let stream = stream.map_err(|error| (error, address))?;
            Ok((LinkTransport::Tls(Box::new(stream)), address))
        });
        self.by_tcp.extend(address.map(|at| (at, attempt)));
    }

    /// An attempt has failed.
    ///
    /// # Errors
    /// If no other is to be waited for.
    fn on_failed(
        &mut self,
        error: LinkError,
        address: Option<SocketAddr>,
    ) -> Result<(), LinkError> {
        // Who is too many over QUIC would be so over TCP too, and cost more there.
        let is_busy = matches!(error, LinkError::Busy { .. });
        match address {
            // Somebody else may be there now.
            Some(at) if !self.current.contains(&at) => {
                if is_busy {
                    self.end_tcp(at);
                }
                self.elsewhere.push((at, error));
            }
            _ if is_busy => return Err(error),
            _ => self.note(error),
        }
        Ok(())
    }

    fn end_tcp(&self, to: SocketAddr) {
        for (_, attempt) in self.by_tcp.iter().filter(|(at, _)| *at == to) {
            attempt.abort();
        }
    }

    /// The address of a connection, as far as is known of one that the proxy has opened.
    fn remote(&self, address: Option<SocketAddr>) -> SocketAddr {
        // What the name has now goes before where the host was once.
        let known = address.or_else(|| self.current.iter().chain(&self.begun).next().copied());
        known.unwrap_or((UNKNOWN, self.url.port).into())
    }

    /// What says more than what is known already replaces it.
    fn note(&mut self, error: LinkError) {
        if error.says() > self.worst.as_ref().map_or(0, LinkError::says) {
            self.worst = Some(error);
        }
    }

    fn unresolved(&self, why: &str) -> LinkError {
        LinkError::Resolve {
            authority: self.url.authority(),
            why: why.to_owned(),
        }
    }

    /// What the person hears.
    async fn error(mut self) -> LinkError {
        for (_, error) in std::mem::take(&mut self.elsewhere) {
            self.note(match error.is_passing() {
                true => error,
                false => LinkError::OfOneHost(Box::new(error)),
            });
        }
        match self.worst {
            Some(worst) => worst,
            None if self.by_proxy || !self.route.has_proxy() => {
                self.route.no_answer(&self.begun).await
            }
            None => LinkError::Unreachable {
                authority: self.url.authority(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use p2pdbg_identity::{Authority, Identity, StateDir, tls};
    use quinn::{Endpoint, crypto::rustls::QuicServerConfig};

    use super::*;

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    fn dialling(allowed: AllowedAddresses) -> Dialling {
        let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
        let mut url: RendezvousUrl = "p2pdbg://localhost".parse().unwrap();
        url.fingerprint = Some(authority.fingerprint());
        Dialling {
            route: TcpRoute::new(&url),
            url,
            transports: Transports::Any,
            allowed,
            reached_after: Duration::ZERO,
            tcp_later: LONG,
            patience: LONG,
            ends_with_patience: false,
        }
    }

    fn host(how: &Dialling) -> HostAt {
        how.url.hosts().remove(0)
    }

    /// Who may be anywhere.
    fn anywhere() -> Dialling {
        let given = host(&dialling(AllowedAddresses::default()));
        dialling(AllowedAddresses::anywhere([given]))
    }

    fn local(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn name_that_leads_to_this_host_is_dialled_if_the_user_has_given_it_alone() {
        let admitted = |how: Dialling| {
            Race::begin(&how.url, &how.route, &how, &host(&how)).admitted(vec![local(1)])
        };
        let named = admitted(dialling(AllowedAddresses::default())).unwrap_err();
        assert!(named.to_string().contains("a host elsewhere has named it"));
        assert_eq!(admitted(anywhere()).unwrap(), [local(1)]);
    }

    /// Takes nobody on.
    fn too_busy() -> Endpoint {
        let identity = Identity::load_or_make(&StateDir::in_memory()).unwrap();
        let tls = tls::stream_server(&identity).unwrap();
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = Endpoint::server(config, local(0)).unwrap();
        let serving = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = serving.accept().await {
                incoming.refuse();
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn host_that_is_busy_where_it_was_reached_is_not_dialled_by_tcp_and_its_name_ends_the_attempt()
     {
        let busy = too_busy();
        let at = busy.local_addr().unwrap();
        let (how, other) = (anywhere(), local(1));
        for found in [vec![at], vec![other], vec![other, at]] {
            let host = host(&how);
            let mut race = Race::begin(&how.url, &how.route, &how, &host);
            race.on_reached(vec![at]).unwrap();
            let Some(Ok(Err((error, of)))) = race.attempts.join_next().await else {
                panic!("it is taken on");
            };
            assert!(matches!(error, LinkError::Busy { .. }), "{error}");
            race.on_failed(error, of).unwrap();
            // TCP has not begun.
            let by_tcp = race.attempts.join_next().await;
            assert!(by_tcp.is_some_and(|ended| ended.is_err_and(|why| why.is_cancelled())));
            assert!(race.attempts.is_empty());
            let ended = race.on_found(found.clone());
            match found.contains(&at) {
                true => assert!(matches!(ended, Err(LinkError::Busy { .. })), "{ended:?}"),
                false => assert_eq!(race.attempts.len(), 2),
            }
        }
    }

    #[tokio::test]
    async fn connection_by_a_proxy_is_at_an_address_that_the_name_has_rather_than_where_the_host_was()
     {
        let (how, before, now) = (anywhere(), local(1), local(2));
        let host = host(&how);
        let mut race = Race::begin(&how.url, &how.route, &how, &host);
        assert!(is_unknown(race.remote(None)));
        race.on_reached(vec![before]).unwrap();
        assert_eq!(race.remote(None), before);
        race.on_found(vec![now]).unwrap();
        assert_eq!(race.remote(None), now);
        assert_eq!(race.remote(Some(before)), before);
    }
}
