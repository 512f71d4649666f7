//! What it takes to serve as one node of several: a certificate of the authority, what all nodes share, and the store's
//! task, which the registry asks where known peers wait.

use p2pdbg_identity::{Identity, StateDir, tls};
use p2pdbg_proto::{fingerprint::Fingerprint, node::NodeNumber, secret::Secret};
use tokio::{sync::watch, task::JoinSet};

#[cfg(feature = "cluster")]
use crate::{
    cluster_store::{Epoch, LeaseSync, Names, Process, StoreTask, Valkey},
    config::StoreUrl,
    keys::KeySeal,
    leases::Leases,
};
use crate::{
    cluster_store::{KeyOrders, KeySync},
    config::{ClusterConfig, ServerConfig},
    hub::Hub,
    operate::nodes::Nodes,
    registry::cluster::Cluster,
    start_error::StartError,
    ticket_codec::TicketKey,
};

/// The file with the secret that the nodes of a cluster share: what one of them has vouched for is good at the others.
pub const CLUSTER_SECRET: &str = "cluster-secret";

/// The file with the key of a host that relays alone.
pub const RELAY_KEY: &str = "relay-key";

/// How long a node that finds its number taken waits for it: a host that has died counts as alive for so long.
#[cfg(feature = "cluster")]
const WAIT_FOR_NUMBER: std::time::Duration = std::time::Duration::from_secs(20);

/// What this node shares with others, if it is one of several.
pub(crate) fn secret(state: &StateDir) -> Result<Option<Secret<32>>, StartError> {
    match state.read(CLUSTER_SECRET)? {
        Some(_) => Ok(Some(state.secret32(CLUSTER_SECRET)?)),
        None => Ok(None),
    }
}

/// Until when peers take its certificate, in Unix seconds, if an authority has to renew it.
pub(crate) fn certified_until(
    config: &ServerConfig,
    identity: &Identity,
    authority: Option<Fingerprint>,
) -> Option<u64> {
    let node = config.cluster.as_ref().and_then(ClusterConfig::node)?;
    tls::certified_until(identity, authority?, &node.at.host)
}

/// Whether a process that takes the place of this one would find what it needs to take its number at once.
///
/// # Errors
/// What is missing or damaged.
pub(crate) fn can_be_followed(config: &ServerConfig, state: &StateDir) -> Result<(), StartError> {
    let store = config.cluster.as_ref().and_then(|c| c.store.as_ref());
    if !cfg!(feature = "cluster") || store.is_none() {
        return Ok(());
    }
    match crate::cluster_store::Epoch::fault(state)? {
        None => Ok(()),
        Some(fault) => Err(StartError::Cluster(format!(
            "{fault}, by which the next process takes the number of this node: stop p2pdbg-rendezvous and start it again"
        ))),
    }
}

/// By which this host opens tickets of other nodes, if it is one of several or relays for them.
pub(crate) fn ticket_key(
    config: &ServerConfig,
    state: &StateDir,
    secret: Option<&Secret<32>>,
) -> Result<Option<TicketKey>, StartError> {
    if config.relays_alone {
        if state.read(RELAY_KEY)?.is_none() {
            return Err(StartError::Cluster(format!(
                "the file {RELAY_KEY} is not in the state directory; \
                 `p2pdbg-rendezvous authority issue --relay NUMBER` makes one for a host that relays alone"
            )));
        }
        return Ok(Some(TicketKey::from_secret(state.secret32(RELAY_KEY)?)));
    }
    let own = config.cluster.as_ref().zip(secret);
    Ok(own.map(|(cluster, secret)| TicketKey::of(secret, cluster.own)))
}

/// What a host that relays alone is given to open tickets with, of all that nodes share.
pub fn relay_key(cluster: &Secret<32>, relay: NodeNumber) -> Secret<32> {
    Secret::from_bytes(*TicketKey::of(cluster, relay).expose())
}

/// The authority that peers pin, if this is one node of several, whose certificate they would take.
pub(crate) fn authority(
    config: &ServerConfig,
    identity: &Identity,
    has_secret: bool,
) -> Result<Option<Fingerprint>, StartError> {
    let Some(cluster) = &config.cluster else {
        return Ok(None);
    };
    let no = |why: String| StartError::Cluster(why);
    let issue = "`p2pdbg-rendezvous authority issue` makes its state directory";
    let node = cluster
        .node()
        .ok_or_else(|| no(format!("--nodes does not name node {}", cluster.own)))?;
    let chain = identity.chain();
    let [_, .., authority] = &chain[..] else {
        return Err(no(format!("its certificate is of no authority; {issue}")));
    };
    if !has_secret {
        return Err(no(format!(
            "the file {CLUSTER_SECRET}, which all nodes share, is not in the state directory; {issue}"
        )));
    }
    let authority = Fingerprint::of_certificate(authority);
    tls::is_certified(identity, authority, &node.at.host).map_err(|error| {
        no(format!(
            "peers would not take its certificate for {}: {error}; {issue}",
            node.at.host
        ))
    })?;
    Ok(Some(authority))
}

/// This process' place among the nodes.
pub(crate) struct Membership {
    config: ClusterConfig,
    /// The secret that all nodes share: what they seal for each other is under keys made of it.
    secret: Secret<32>,
    #[cfg(feature = "cluster")]
    task: Option<(StoreTask<Valkey>, KeyOrders)>,
}

/// What an operator asks of a node that is one of several.
pub(crate) struct Attended {
    /// How the nodes are.
    pub(crate) nodes: Nodes,
    /// By which the keys are asked for that they share.
    pub(crate) keys: Option<KeyOrders>,
}

impl Membership {
    /// Takes it, if this is one of several. Who takes over from another process does not wait for the store, since its
    /// sessions stand still meanwhile: whether somebody else has the number turns out as it would at run time.
    ///
    /// # Errors
    /// When another host has its number, or the store's URL is none.
    pub(crate) async fn begin(
        config: &ServerConfig,
        state: &StateDir,
        authority: Option<Fingerprint>,
        secret: Option<&Secret<32>>,
        keys: Option<KeySync>,
        takes_over: bool,
    ) -> Result<Option<Self>, StartError> {
        let (Some(config), Some(authority), Some(secret), Some(keys)) =
            (&config.cluster, authority, secret, keys)
        else {
            return Ok(None);
        };
        #[cfg(not(feature = "cluster"))]
        let _ = (state, authority, keys, takes_over);
        let membership = Self {
            config: config.clone(),
            secret: secret.clone(),
            #[cfg(feature = "cluster")]
            task: match &config.store {
                Some(store) => {
                    let mut task = open_store_task(config, store, state, authority, secret)?;
                    if !takes_over {
                        wait_for_number(&mut task, config).await?;
                    }
                    Some(task.with_keys(keys))
                }
                None => None,
            },
        };
        Ok(Some(membership))
    }

    /// The nodes, for the registry.
    pub(crate) fn cluster(&self) -> Cluster {
        let cluster = Cluster::new(self.config.own, self.config.nodes.clone())
            .with_relays(self.config.relays.clone(), self.secret.clone());
        match self.config.store {
            Some(_) => cluster.with_directory(),
            None => cluster,
        }
    }

    /// Has the store's task serve the hub; gives what an operator is told of the nodes.
    pub(crate) fn attend(self, hub: &mut Hub, store_task: &mut JoinSet<()>) -> Attended {
        let ClusterConfig { own, nodes, .. } = self.config;
        #[cfg(feature = "cluster")]
        if let Some((task, keys)) = self.task {
            let state = task.state();
            let (handle, serving) = task.open();
            hub.ask_through(handle, nodes.len());
            store_task.spawn(serving);
            return Attended {
                nodes: Nodes::new(own, nodes, Some(state)),
                keys: Some(keys),
            };
        }
        let _ = (hub, store_task);
        let none: Option<watch::Receiver<_>> = None;
        Attended {
            nodes: Nodes::new(own, nodes, none),
            keys: None,
        }
    }
}

#[cfg(feature = "cluster")]
fn open_store_task(
    config: &ClusterConfig,
    store: &StoreUrl,
    state: &StateDir,
    authority: Fingerprint,
    secret: &Secret<32>,
) -> Result<StoreTask<Valkey>, StartError> {
    let own = config.own;
    let store = Valkey::new(store.expose(), authority).map_err(StartError::Cluster)?;
    let (epoch, before) = Epoch::begin(state)?;
    let process = Process { node: own, epoch };
    let nodes = config.nodes.iter().map(|node| node.number.get());
    let last = before.map(Epoch::number);
    let leases = Leases::new(own.get(), nodes.collect(), epoch.number(), last);
    let leases = LeaseSync::new(leases, KeySeal::of(secret));
    Ok(StoreTask::new(store, Names::new(secret), process, before).with_leases(leases))
}

/// Waits until nobody else has this node's number.
#[cfg(feature = "cluster")]
async fn wait_for_number(
    task: &mut StoreTask<Valkey>,
    config: &ClusterConfig,
) -> Result<(), StartError> {
    let until = tokio::time::Instant::now() + WAIT_FOR_NUMBER;
    while task.is_contested().await {
        if tokio::time::Instant::now() >= until {
            return Err(StartError::Cluster(format!(
                "another host serves as node {}; give this one a number of its own in --node and --nodes, or stop \
                 the other",
                config.own
            )));
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use p2pdbg_identity::Authority;

    use super::*;

    fn config() -> ServerConfig {
        let nodes: Vec<_> = ["17=rdv1.example", "18=rdv2.example"]
            .map(|node| node.parse().unwrap())
            .to_vec();
        ServerConfig {
            cluster: Some(ClusterConfig {
                own: "17".parse().unwrap(),
                nodes,
                relays: Vec::new(),
                store: None,
            }),
            ..ServerConfig::default()
        }
    }

    fn issued(authority: &Authority, host: &str) -> Identity {
        let day = Duration::from_secs(24 * 3600);
        Identity::from_pem(&authority.issue(&[host.to_owned()], day).unwrap()).unwrap()
    }

    #[test]
    fn node_whose_certificate_peers_would_not_take_does_not_start_and_says_why() {
        let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
        let why = |identity: &Identity, has_secret| {
            super::authority(&config(), identity, has_secret)
                .unwrap_err()
                .to_string()
        };
        let lone = why(&Identity::ephemeral().unwrap(), true);
        assert!(lone.contains("of no authority"), "{lone}");
        let other = why(&issued(&authority, "rdv2.example"), true);
        assert!(other.contains("for rdv1.example"), "{other}");
        let own = issued(&authority, "rdv1.example");
        let bare = why(&own, false);
        assert!(bare.contains(CLUSTER_SECRET), "{bare}");
        let pinned = super::authority(&config(), &own, true).unwrap();
        assert_eq!(pinned, Some(authority.fingerprint()));
        let alone = ServerConfig::default();
        assert_eq!(super::authority(&alone, &own, true).unwrap(), None);
    }
}
