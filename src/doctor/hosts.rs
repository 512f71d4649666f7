//! A rendezvous of several hosts: which of them answer, and which one the rest of the examination asks.

use std::net::SocketAddr;

use p2pdbg_base::Failure;
use p2pdbg_proto::url::RendezvousUrl;
use tokio::task::JoinSet;

use super::{findings::OneHost, rendezvous};

/// The host that is examined, and what was found of all.
pub(super) struct Chosen {
    /// The rendezvous at that host alone.
    pub(super) url: RendezvousUrl,
    /// Its addresses, or why it has none.
    pub(super) addresses: Result<Vec<SocketAddr>, Failure>,
    /// Empty where there is one host.
    pub(super) hosts: Vec<OneHost>,
}

/// Asks all hosts of a URL at once, and takes the first that answers, or else the first.
pub(super) async fn choose(url: &RendezvousUrl) -> Chosen {
    let hosts = url.hosts();
    if hosts.len() == 1 {
        return Chosen {
            addresses: rendezvous::look_up(url).await,
            url: url.clone(),
            hosts: Vec::new(),
        };
    }
    let mut asked = JoinSet::new();
    for (index, host) in hosts.iter().enumerate() {
        let url = url.at(host);
        asked.spawn(async move {
            let addresses = rendezvous::look_up(&url).await;
            let found = addresses.as_deref().unwrap_or_default();
            let (v4, v6) =
                tokio::join!(rendezvous::udp(found, true), rendezvous::udp(found, false));
            let mut udp = rendezvous::udp_probe(&[&v4, &v6]);
            if let Err(failure) = &addresses {
                udp.why = Some(failure.message.clone());
            }
            (index, url, addresses, udp)
        });
    }
    let mut all = Vec::new();
    while let Some(answer) = asked.join_next().await {
        all.extend(answer.ok());
    }
    all.sort_by_key(|(index, ..)| *index);
    let first = all.iter().position(|(.., udp)| udp.answers).unwrap_or(0);
    let told = all.iter().map(|(_, url, _, udp)| OneHost {
        authority: url.authority(),
        udp: udp.clone(),
    });
    let told = told.collect();
    if first >= all.len() {
        // Cannot be: each host has been asked.
        return Chosen {
            addresses: rendezvous::look_up(url).await,
            url: url.clone(),
            hosts: told,
        };
    }
    let (_, url, addresses, _) = all.swap_remove(first);
    Chosen {
        url,
        addresses,
        hosts: told,
    }
}
