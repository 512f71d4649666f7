//! What an operator asks of a running rendezvous: how it is, and to read its keys again.
//!
//! [`Operator`] is the one handle behind every way to ask: the [`control_socket`], SIGHUP and the HTTP port.

#[cfg(unix)]
pub mod control_socket;
pub(crate) mod drain_deadline;
pub(crate) mod http;
pub(crate) mod nodes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{
    cluster_store::{KeyOrder, KeyOrders, Reloaded},
    counters::{Counters, Tallies},
    hub_event::HubEvent,
    hub_report::Report,
    keys::{KeyDirectory, KeyError, KeyFile, KeyRing, unix_s},
};

pub use self::nodes::{NodeReport, NodesReport, StoreReport};
use self::{drain_deadline::Drain, nodes::Nodes};

/// How long an operator waits at the most until all nodes that live have read the keys that they share.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// How often it is asked whether they have.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What has become of keys that were read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysRead {
    /// How many of them let somebody in.
    pub keys: usize,
    /// Where they are known, if nodes share them.
    pub shared: Option<SharedReport>,
}

/// Where the keys are known that nodes share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedReport {
    /// How often they were changed.
    pub version: u64,
    /// The nodes that have said that they have them so.
    pub known_at: Vec<u8>,
    /// Those of the list that have not.
    pub not_yet_at: Vec<u8>,
    /// Keys of this node that have other names now, since others had theirs.
    pub renamed: Vec<(String, String)>,
    /// Why the store has not got them yet, if it has not: it gets them once it is back.
    pub away: Option<String>,
}

/// How long the hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a rendezvous is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version, as `--version` says it.
    pub version: String,
    /// Where peers reach it, without a key.
    pub url_without_key: String,
    /// Seconds since it began to serve.
    pub uptime_s: u64,
    /// Whether each of its parts has done its round lately.
    pub healthy: bool,
    /// Seconds for which it drains at the most, if it does.
    pub draining_s: Option<u64>,
    /// The nodes, if it is one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<NodesReport>,
    /// Who is there, what each key takes, and what is to be mended.
    #[serde(flatten)]
    pub report: Report,
    /// What has been done since it began.
    pub counters: Counters,
}

/// Asks a running rendezvous; cheap to clone, and good as long as that runs.
#[derive(Clone, Debug)]
pub struct Operator {
    pub(crate) hub: mpsc::Sender<HubEvent>,
    pub(crate) key_directory: KeyDirectory,
    pub(crate) open: bool,
    pub(crate) tallies: Arc<Tallies>,
    pub(crate) began: Instant,
    pub(crate) url_without_key: String,
    pub(crate) drain: Drain,
    pub(crate) nodes: Option<Nodes>,
    /// By which the keys are asked for that nodes share, where there is a store.
    pub(crate) shared: Option<KeyOrders>,
}

/// How many keys let somebody in.
fn count_live(file: &KeyFile) -> usize {
    let now = unix_s();
    file.keys().iter().filter(|key| key.is_live(now)).count()
}

impl Operator {
    /// Reads the keys again, and lets them hold from now on: whoever is there by one that has ended is shut out, and
    /// nobody else notices. Says how many there are that let somebody in. Where nodes share them, the store is given
    /// what it lacks.
    ///
    /// # Errors
    /// When they cannot be read, or are not there; those from before hold on, then.
    pub async fn reload(&self) -> Result<KeysRead, KeyError> {
        if let Some(read) = self.order_keys(false).await? {
            return Ok(read);
        }
        let file = self.key_directory.load()?;
        let keys = count_live(&file);
        let ring = KeyRing::new(&file, self.open);
        // The hub ends with the server alone.
        let _ = self.hub.send(HubEvent::Keys(ring)).await;
        Ok(KeysRead { keys, shared: None })
    }

    /// Shares the keys of this node with the others from now on, if it does not; none where there is no store.
    ///
    /// # Errors
    /// When they cannot be read, or the store is away.
    // Asked for by the control socket alone, which is a Unix one.
    #[cfg(unix)]
    pub(crate) async fn share_keys(&self) -> Result<Option<KeysRead>, KeyError> {
        self.order_keys(true).await
    }

    /// Has the keys read again that nodes share, and waits a while until all that live have them; none if they share
    /// none.
    async fn order_keys(&self, share: bool) -> Result<Option<KeysRead>, KeyError> {
        let (Some(orders), Some(nodes)) = (&self.shared, &self.nodes) else {
            return Ok(None);
        };
        let (reply, done) = oneshot::channel();
        let order = KeyOrder::Reload { share, reply };
        // The store's task ends with the server alone.
        let _ = orders.send(order).await;
        let Some(reloaded) = done.await.unwrap_or(Ok(None))? else {
            return Ok(None);
        };
        let shared = Some(self.report_shared(orders, nodes, reloaded).await);
        let keys = count_live(&self.key_directory.load()?);
        Ok(Some(KeysRead { keys, shared }))
    }

    async fn report_shared(
        &self,
        orders: &KeyOrders,
        nodes: &Nodes,
        reloaded: Reloaded,
    ) -> SharedReport {
        let until = Instant::now() + KNOWN_WITHIN;
        let mut known_at = Vec::new();
        while reloaded.away.is_none() {
            let (reply, who) = oneshot::channel();
            let version = reloaded.version;
            let _ = orders.send(KeyOrder::Who { version, reply }).await;
            let (have, living) = who.await.unwrap_or_default();
            let all = living.iter().all(|node| have.contains(node));
            known_at = have;
            if all && !living.is_empty() || Instant::now() >= until {
                break;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let others = nodes.numbers();
        let not_yet_at = others.filter(|node| !known_at.contains(node)).collect();
        SharedReport {
            version: reloaded.version,
            known_at,
            not_yet_at,
            renamed: reloaded.renamed,
            away: reloaded.away,
        }
    }

    /// Gives no new codes and sessions from now on, until the last session or this time is over; how long that may
    /// take. Nothing ends by it that there is.
    pub async fn drain(&self, most: Option<Duration>) -> Duration {
        let now = Instant::now();
        let left = self.drain.begin(now, most);
        let _ = self.hub.send(HubEvent::Drain(Some(now + left))).await;
        left
    }

    /// Takes that back; whether there was something to take back.
    pub async fn undrain(&self) -> bool {
        let was = self.drain.take_back();
        let _ = self.hub.send(HubEvent::Drain(None)).await;
        was
    }

    /// Waits until it has been told to drain, and has.
    pub async fn drained(&self) {
        self.drain.ended().await;
    }

    /// How things are; `None` while it stops, or if it is too busy to say.
    pub async fn status(&self) -> Option<Status> {
        let (reply, report) = oneshot::channel();
        let ask = async {
            self.hub.send(HubEvent::Report(reply)).await.ok()?;
            report.await.ok()
        };
        let report = tokio::time::timeout(PATIENCE, ask).await.ok()??;
        let draining = self.drain.left(Instant::now());
        Some(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            url_without_key: self.url_without_key.clone(),
            uptime_s: self.began.elapsed().as_secs(),
            healthy: self.is_healthy(),
            draining_s: draining.map(|left| left.as_secs()),
            cluster: self
                .nodes
                .as_ref()
                .map(|nodes| nodes.report(draining.is_some())),
            report,
            counters: self.tallies.snapshot(),
        })
    }

    /// Whether each part has done its round lately. Asks nobody, and so answers whatever is stuck.
    pub(crate) fn is_healthy(&self) -> bool {
        self.tallies.heartbeats.are_fresh(Instant::now())
    }

    /// Whether it takes new peers.
    pub fn is_ready(&self) -> bool {
        self.is_healthy() && !self.hub.is_closed() && self.drain.left(Instant::now()).is_none()
    }
}
