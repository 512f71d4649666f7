//! The task that holds one mapping for as long as its socket lives.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use p2pdbg_net::changes::{Changes, Listener};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Fault, InsidePort, Mapping, Protocol,
    client::{self, Client},
    gateway::Gateway,
    pcp,
};

/// How long a protocol that is preferred may take longer to answer than another.
const GRACE: Duration = Duration::from_millis(100);

/// The longest that asking for a mapping takes, in all protocols.
const SEARCH: Duration = Duration::from_secs(8);

/// The pause before a gateway that gave nothing is asked again.
const PAUSE: Duration = Duration::from_secs(600);

/// The longest time between two renewals: a gateway that was started anew has forgotten its mappings.
const LONGEST_RENEWAL: Duration = Duration::from_secs(600);

/// The shortest time between two requests for a mapping that is held, whatever lifetimes a gateway gives.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(10);

/// How long the removal of a mapping may take when the session ends.
const REMOVAL: Duration = Duration::from_millis(800);

/// How many pieces of news may wait.
const NEWS: usize = 16;

/// A mapping of one port of this host, looked for and held by a task.
#[derive(Debug)]
pub struct PortMapper {
    news: mpsc::Receiver<Option<SocketAddr>>,
    doubts: mpsc::Sender<()>,
    closing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl PortMapper {
    /// Begins to ask for a mapping to this port. Dropping the mapper leaves a mapping to expire;
    /// [`PortMapper::release`] removes it.
    ///
    /// `wanted` is the external port to ask for; the gateway may give another, and has the last word.
    pub fn start(port: InsidePort, wanted: Option<u16>, changes: &Changes) -> Self {
        let (report, news) = mpsc::channel(NEWS);
        let (doubts, doubted) = mpsc::channel(1);
        let closing = CancellationToken::new();
        let task = Task {
            port,
            wanted,
            changes: changes.subscribe(),
            doubted,
            closing: closing.clone(),
            report,
            nonce: p2pdbg_proto::secret::random_bytes(),
        };
        Self {
            news,
            doubts,
            closing,
            task: AbortOnDropHandle::new(tokio::spawn(task.run())),
        }
    }

    /// The external address from now on, or `None` when there is none any more. Waits for ever if nothing will come.
    pub async fn external(&mut self) -> Option<SocketAddr> {
        match self.news.recv().await {
            Some(external) => external,
            None => std::future::pending().await,
        }
    }

    /// Has the mapping renewed soon: what used it does not work any more.
    pub fn doubt(&self) {
        // One doubt is as good as many.
        let _ = self.doubts.try_send(());
    }

    /// Removes the mapping; takes a second at the most.
    pub async fn release(self) {
        self.closing.cancel();
        let _ = timeout(REMOVAL + Duration::from_millis(100), self.task).await;
    }
}

pub(super) struct Task {
    pub(super) port: InsidePort,
    /// The external port to ask for, if not the same as inside.
    pub(super) wanted: Option<u16>,
    pub(super) changes: Listener,
    pub(super) doubted: mpsc::Receiver<()>,
    pub(super) closing: CancellationToken,
    pub(super) report: mpsc::Sender<Option<SocketAddr>>,
    /// The same for all of this task's mappings: a PCP server lets nobody else touch them.
    pub(super) nonce: pcp::Nonce,
}

/// A mapping, and how it came to be.
pub(super) struct Held {
    gateway: Gateway,
    pub(super) client: Client,
    pub(super) mapping: Mapping,
}

/// Why a mapping is held no longer.
enum End {
    Closing,
    Lost,
}

impl Task {
    async fn run(mut self) {
        let closing = self.closing.clone();
        loop {
            if let Some(held) = self.obtain().await {
                match self.hold(held).await {
                    End::Closing => return,
                    End::Lost => continue,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = self.changes.changed() => {}
                () = closing.cancelled() => return,
            }
        }
    }

    /// Asks the gateway in all protocols, and the first that it speaks for a mapping.
    pub(super) async fn obtain(&mut self) -> Option<Held> {
        self.changes.forget();
        let gateway = Gateway::find()?;
        let deadline = Instant::now() + SEARCH;
        let mut greetings = JoinSet::new();
        let of_use = Protocol::ALL
            .into_iter()
            .filter(|protocol| protocol.tells_whose(self.port));
        for protocol in of_use {
            let nonce = self.nonce;
            greetings
                .spawn(async move { (protocol, client::greet(protocol, gateway, nonce).await) });
        }
        let mut speaking: Vec<Client> = Vec::new();
        loop {
            // The preferred one may be a little slower than the others.
            let until = match speaking.is_empty() {
                true => deadline,
                false => deadline.min(Instant::now() + GRACE),
            };
            let greeting = tokio::select! {
                greeting = tokio::time::timeout_at(until, greetings.join_next()) => greeting,
                () = self.closing.cancelled() => return None,
            };
            match greeting {
                Ok(Some(Ok((_, Ok((client, _)))))) => {
                    let preferred = client.protocol() == Protocol::Pcp;
                    speaking.push(client);
                    speaking.sort_by_key(Client::protocol);
                    if !preferred {
                        continue;
                    }
                }
                Ok(Some(Ok((protocol, Err(fault))))) => {
                    tracing::debug!(%protocol, %fault, "no port mapping by this protocol");
                    continue;
                }
                Ok(Some(Err(_))) => continue,
                Ok(None) | Err(_) => {}
            }
            if speaking.is_empty() {
                return None;
            }
            let mut client = speaking.remove(0);
            let protocol = client.protocol();
            match self.map(&mut client, deadline).await {
                Ok(mapping) => {
                    tracing::info!(%protocol, external = %mapping.external, "a port is mapped");
                    return Some(Held {
                        gateway,
                        client,
                        mapping,
                    });
                }
                Err(fault) => tracing::debug!(%protocol, %fault, "the gateway maps no port"),
            }
            if self.closing.is_cancelled() {
                return None;
            }
        }
    }

    /// Asks for one mapping; what comes of it when it is of no use, or too late, is removed.
    async fn map(&self, client: &mut Client, deadline: Instant) -> Result<Mapping, Fault> {
        let wanted = self.wanted;
        let wanted = wanted.map(|port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        let result = tokio::select! {
            result = tokio::time::timeout_at(deadline, client.map(self.port, wanted)) => result,
            () = self.closing.cancelled() => Ok(Err(Fault::Silent)),
        };
        let result = result.unwrap_or(Err(Fault::Silent));
        if !matches!(result, Ok(_) | Err(Fault::Refused(_))) {
            self.remove(client).await;
        }
        result
    }

    async fn remove(&self, client: &Client) {
        match timeout(REMOVAL, client.unmap(self.port)).await {
            Ok(Ok(())) => tracing::debug!("the mapping is removed"),
            Ok(Err(fault)) => tracing::debug!(%fault, "the mapping is left to expire"),
            Err(_) => tracing::debug!("the mapping is left to expire"),
        }
    }

    /// Renews the mapping until it is lost or no longer wanted.
    async fn hold(&mut self, held: Held) -> End {
        let Held {
            gateway,
            mut client,
            mapping: Mapping { external, lifetime },
        } = held;
        let mut external = external;
        let mut expires = Instant::now() + lifetime;
        let mut renewed_at = Instant::now();
        let mut renew_at = renewal(lifetime);
        self.tell(Some(external)).await;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(renew_at) => {}
                _ = self.changes.changed() => {
                    if Gateway::find() != Some(gateway) {
                        tracing::debug!("the mapping was another gateway's");
                        self.tell(None).await;
                        return End::Lost;
                    }
                }
                Some(()) = self.doubted.recv() => {
                    renew_at = renew_at.min(renewed_at + SHORTEST_RENEWAL);
                    continue;
                }
                () = self.closing.cancelled() => {
                    self.remove(&client).await;
                    return End::Closing;
                }
            }
            let Some(renewed) = self.renew(&mut client, gateway, external).await else {
                self.remove(&client).await;
                return End::Closing;
            };
            let now = Instant::now();
            renewed_at = now;
            match renewed {
                Ok(mapping) => {
                    expires = now + mapping.lifetime;
                    renew_at = renewal(mapping.lifetime);
                    if mapping.external != external {
                        external = mapping.external;
                        self.tell(Some(external)).await;
                    }
                }
                Err(Fault::Silent) if now < expires => {
                    let left = (expires - now) / 2;
                    renew_at = now + left.max(SHORTEST_RENEWAL);
                }
                Err(fault) => {
                    tracing::debug!(%fault, "the mapping is lost");
                    self.remove(&client).await;
                    self.tell(None).await;
                    return End::Lost;
                }
            }
        }
    }

    /// Asks to keep the mapping; `None` if it is wanted no longer.
    async fn renew(
        &self,
        client: &mut Client,
        gateway: Gateway,
        external: SocketAddrV4,
    ) -> Option<Result<Mapping, Fault>> {
        let renew = async {
            let renewed = self.extend(client, external).await;
            if !matches!(renewed, Err(Fault::Silent)) || client.protocol() != Protocol::Upnp {
                return renewed;
            }
            // One that was started anew has forgotten the mapping, and may be asked at another port now.
            let greeting = client::greet(Protocol::Upnp, gateway, self.nonce);
            let (found, _) = timeout(SEARCH, greeting)
                .await
                .unwrap_or(Err(Fault::Silent))?;
            client.found_again(found);
            self.extend(client, external).await
        };
        tokio::select! {
            renewed = renew => Some(renewed),
            () = self.closing.cancelled() => None,
        }
    }

    async fn extend(&self, client: &mut Client, external: SocketAddrV4) -> Result<Mapping, Fault> {
        let extending = timeout(SEARCH, client.map(self.port, Some(external))).await;
        extending.unwrap_or(Err(Fault::Silent))
    }

    async fn tell(&self, external: Option<SocketAddrV4>) {
        // Without an owner the task ends soon.
        let _ = self.report.send(external.map(SocketAddr::V4)).await;
    }
}

fn renewal(lifetime: Duration) -> Instant {
    Instant::now() + (lifetime / 2).clamp(SHORTEST_RENEWAL, LONGEST_RENEWAL)
}
