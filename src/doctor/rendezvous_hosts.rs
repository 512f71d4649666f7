//! A rendezvous of several hosts: which of them answer, and which one the rest of the examination asks.

use std::net::SocketAddr;

use p2pdbg_base::Failure;
use p2pdbg_net::nat64::Nat64;
use p2pdbg_proto::url::RendezvousUrl;
use p2pdbg_rendezvous_client::TcpRoute;
use tokio::task::JoinSet;

use super::{
    findings::{OneHost, Probe},
    rendezvous::{self, OverTcp},
};

/// The host that is examined, and what was found of all.
pub(super) struct Chosen {
    /// The rendezvous at that host alone.
    pub(super) url: RendezvousUrl,
    /// Its addresses, or why it has none.
    pub(super) addresses: Result<Vec<SocketAddr>, Failure>,
    /// Empty where there is one host.
    pub(super) hosts: Vec<OneHost>,
}

/// Asks all hosts of a URL at once, and takes the first that answers over UDP, else the first that does over TCP, or
/// else the first.
pub(super) async fn choose(url: &RendezvousUrl, nat64: &Nat64) -> Chosen {
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
        let (url, nat64) = (url.at(host), nat64.clone());
        asked.spawn(async move {
            let addresses = rendezvous::look_up(&url).await;
            let found = addresses.as_deref().unwrap_or_default();
            let (v4, v6) = tokio::join!(
                rendezvous::udp(found, true, &nat64),
                rendezvous::udp(found, false, &nat64)
            );
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
    let by_udp = all.iter().position(|(.., udp)| udp.answers);
    let tcp = match by_udp {
        Some(_) => vec![None; all.len()],
        None => over_tcp(all.iter().map(|(_, url, addresses, _)| (url, addresses))).await,
    };
    let answers = |probe: &Option<Probe>| probe.as_ref().is_some_and(|probe| probe.answers);
    let first = by_udp.or_else(|| tcp.iter().position(answers));
    let first = first.unwrap_or(0);
    let told = all.iter().zip(tcp).map(|((_, url, _, udp), tcp)| OneHost {
        authority: url.authority(),
        udp: udp.clone(),
        tcp,
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

/// Whether these answer over TCP, as they are or by WebSocket: where the network lets no UDP through, that chooses.
async fn over_tcp<'a>(
    hosts: impl Iterator<Item = (&'a RendezvousUrl, &'a Result<Vec<SocketAddr>, Failure>)>,
) -> Vec<Option<Probe>> {
    let mut asked = JoinSet::new();
    let mut probes = Vec::new();
    for (index, (url, addresses)) in hosts.enumerate() {
        probes.push(None);
        let route = TcpRoute::new(url);
        let addresses = addresses.clone().unwrap_or_default();
        // A proxy may know the name.
        if addresses.is_empty() && !route.has_proxy() {
            continue;
        }
        asked.spawn(async move {
            let OverTcp { alone, web, .. } = rendezvous::tcp(&route, &addresses).await;
            (index, web.filter(|web| web.answers).unwrap_or(alone))
        });
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok((index, probe)) = answer {
            probes[index] = Some(probe);
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use p2pdbg_rendezvous::{Server, ServerConfig};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A port of this host at which nobody is.
    fn nobody() -> SocketAddr {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        port.local_addr().unwrap()
    }

    #[tokio::test]
    async fn host_that_answers_over_tcp_alone_is_examined_where_udp_reaches_none() {
        let state = tempfile::tempdir().unwrap();
        let server = Server::start(ServerConfig {
            bind: vec!["127.0.0.1:0".parse().unwrap()],
            alt_port: 0,
            state: Some(state.path().join("state")),
            open: true,
            ..ServerConfig::default()
        });
        let server = server.await.unwrap();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, behind) = (door.local_addr().unwrap(), server.addresses()[0]);
        tokio::spawn(async move {
            while let Ok((mut here, _)) = door.accept().await {
                let mut there = TcpStream::connect(behind).await.unwrap();
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
        let print = server.url().fingerprint.unwrap();
        let url = format!("p2pdbg://{},{at}#{print}", nobody());
        let chosen = choose(&url.parse().unwrap(), &Nat64::default()).await;
        assert_eq!(chosen.url.authority(), at.to_string());
        let tcp = |host: &OneHost| host.tcp.as_ref().map(|probe| probe.answers);
        let answers: Vec<_> = chosen.hosts.iter().map(tcp).collect();
        assert_eq!(answers, [Some(false), Some(true)]);

        let url = format!("p2pdbg://{},{at},{behind}#{print}", nobody());
        let chosen = choose(&url.parse().unwrap(), &Nat64::default()).await;
        assert_eq!(chosen.url.authority(), behind.to_string(), "UDP first");
        assert!(chosen.hosts.iter().all(|host| host.tcp.is_none()));
    }
}
