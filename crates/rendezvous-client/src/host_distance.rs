//! How far the hosts of a rendezvous are, by one STUN question to each: much less than a handshake costs them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use p2pdbg_net::nat64::Nat64;
use p2pdbg_proto::{
    node::{Node, NodeNumber},
    secret::random_bytes,
    url::HostAt,
};
use p2pdbg_stun::{Attribute, Class, Encoder, Message, TransactionId};
use tokio::{net::UdpSocket, task::JoinSet, time::Instant};

use super::{allowed_addresses::AllowedAddresses, names::Names};

/// How long answers are waited for. Hosts that are further than that are all alike.
const PATIENCE: Duration = Duration::from_millis(400);

/// The same once one has answered: what is much further than that is no choice.
const AFTER_THE_FIRST: Duration = Duration::from_millis(100);

/// How long a host may take to answer.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Without an answer the question is asked once more after this.
    again: Duration,
    in_all: Duration,
}

/// While somebody waits for a connection.
const FOR_A_HOME: Patience = Patience {
    again: Duration::from_millis(150),
    in_all: PATIENCE,
};

/// While a session goes on: the nodes may be on other continents.
const FOR_RELAYS: Patience = Patience {
    again: Duration::from_millis(700),
    in_all: Duration::from_millis(1_500),
};

/// How hosts are found and asked.
#[derive(Clone)]
pub(super) struct Ways {
    pub(super) names: Names,
    /// How they are reached if they have IPv4 and this host has not.
    pub(super) nat64: Nat64,
    /// The address that sockets are bound to.
    pub(super) local: Option<IpAddr>,
}

/// Hosts whose distances differ by less than this, or by a fifth, are equally near: among them chance decides, so that
/// peers of one place do not all choose the same.
const ALIKE: Duration = Duration::from_millis(5);

/// The hosts, the nearest first; `named` before others that are as near. Those that do not answer are last, in a
/// random order.
pub(super) async fn nearest_first(
    hosts: Vec<HostAt>,
    named: Option<&HostAt>,
    allowed: &AllowedAddresses,
    ways: &Ways,
) -> Vec<HostAt> {
    let mut asked = JoinSet::new();
    for (index, host) in hosts.iter().cloned().enumerate() {
        let (allowed, ways) = (allowed.clone(), ways.clone());
        asked.spawn(async move {
            let away = distance(&host, &allowed, &ways, FOR_A_HOME).await?;
            Some((index, away.1))
        });
    }
    let mut distances = vec![None; hosts.len()];
    let mut until = Instant::now() + PATIENCE;
    while let Ok(Some(answer)) = tokio::time::timeout_at(until, asked.join_next()).await {
        if let Ok(Some((index, distance))) = answer {
            distances[index] = Some(distance);
            until = until.min(Instant::now() + AFTER_THE_FIRST);
        }
    }
    order(hosts, &distances, named, fastrand::u16)
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAway {
    /// The number of the node in its cluster.
    pub number: NodeNumber,
    /// The address at which it was asked: where it relays, too.
    pub address: SocketAddr,
    /// The shortest of a few round trips.
    pub rtt: Duration,
}

/// How often a node is asked for its distance: what else is on the way makes some answers late.
const ASKED: usize = 3;

/// How far these nodes are, those that do not answer left out.
pub(super) async fn distances(
    nodes: Vec<Node>,
    allowed: &AllowedAddresses,
    ways: &Ways,
) -> Vec<NodeAway> {
    let mut asked = JoinSet::new();
    for Node { number, at } in nodes {
        let (allowed, ways) = (allowed.clone(), ways.clone());
        asked.spawn(async move {
            let (address, first) = distance(&at, &allowed, &ways, FOR_RELAYS).await?;
            let mut rtt = first;
            let target = ways.nat64.target(address).await;
            for _ in 1..ASKED {
                if let Some(again) = ask(target, ways.local, FOR_RELAYS).await {
                    rtt = rtt.min(again);
                }
            }
            Some(NodeAway {
                number,
                address,
                rtt,
            })
        });
    }
    let mut distances = Vec::new();
    while let Some(answer) = asked.join_next().await {
        distances.extend(answer.ok().flatten());
    }
    distances
}

/// Puts the nearest first; `draw` gives random numbers of a range.
fn order(
    hosts: Vec<HostAt>,
    distances: &[Option<Duration>],
    named: Option<&HostAt>,
    mut draw: impl FnMut(std::ops::RangeFull) -> u16,
) -> Vec<HostAt> {
    let best = distances.iter().flatten().min().copied();
    let near = best.map(|best| best + ALIKE.max(best / 5));
    let mut keyed: Vec<_> = hosts
        .into_iter()
        .zip(distances)
        .map(|(host, distance)| {
            let class = match (distance, near) {
                (Some(distance), Some(near)) if *distance <= near => (0, Duration::ZERO),
                (Some(distance), _) => (1, *distance),
                (None, _) => (2, Duration::ZERO),
            };
            (class, Some(&host) != named, draw(..), host)
        })
        .collect();
    keyed.sort_by_key(|(class, is_other, chance, _)| (*class, *is_other, *chance));
    keyed.into_iter().map(|(.., host)| host).collect()
}

/// The nearest address of a host, and how long it takes to answer; `None` if none does.
async fn distance(
    host: &HostAt,
    allowed: &AllowedAddresses,
    ways: &Ways,
    patience: Patience,
) -> Option<(SocketAddr, Duration)> {
    let found = ways.names.found(host).await.into_iter();
    let local = ways.local;
    let mut asked = JoinSet::new();
    for address in found.filter(|at| allowed.admits(host, at.ip())) {
        let target = ways.nat64.target(address).await;
        asked.spawn(async move { Some((address, ask(target, local, patience).await?)) });
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Some(found)) = answer {
            return Some(found);
        }
    }
    None
}

async fn ask(address: SocketAddr, local: Option<IpAddr>, patience: Patience) -> Option<Duration> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((local.unwrap_or(any), 0)).await.ok()?;
    // From there alone answers come.
    socket.connect(address).await.ok()?;
    let began = Instant::now();
    let mut asked: Vec<(TransactionId, Instant)> = Vec::new();
    let mut answer = [0; 512];
    loop {
        let id = TransactionId(random_bytes());
        asked.push((id, Instant::now()));
        socket.send(&question(id)?).await.ok()?;
        let until = match asked.len() {
            1 => began + patience.again,
            _ => began + patience.in_all,
        };
        let heard = tokio::time::timeout_at(until, async {
            loop {
                let length = socket.recv(&mut answer).await.ok()?;
                let now = Instant::now();
                let Ok(message) = Message::decode(&answer[..length]) else {
                    continue;
                };
                // To either question: what is further away than the pause between them has answered the first.
                let mut asked = asked.iter();
                let question = asked.find(|(id, _)| message.transaction() == *id);
                if let (Some((_, at)), Class::Success) = (question, message.class()) {
                    return Some(now - *at);
                }
            }
        });
        match heard.await {
            Ok(distance) => return distance,
            Err(_) if asked.len() > 1 => return None,
            Err(_) => {}
        }
    }
}

/// As long as the answer, so that the server's limits on longer answers do not concern it.
fn question(id: TransactionId) -> Option<Vec<u8>> {
    let mut buffer = [0; 128];
    let mut encoder = Encoder::new(&mut buffer, Class::Request, id).ok()?;
    let padded = format!("{:<68}", "p2pdbg");
    encoder.push(Attribute::Software(padded.as_bytes())).ok()?;
    Some(encoder.finish_with_fingerprint().ok()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &[HostAt]) -> String {
        hosts.iter().map(|at| at.host.as_str()).collect()
    }

    #[tokio::test]
    async fn name_that_leads_to_this_host_is_asked_nothing_if_a_host_elsewhere_has_named_it() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let host: HostAt = format!("localhost:{port}").parse().unwrap();
        let ask = async |allowed: AllowedAddresses| {
            let ways = Ways {
                names: Names::default(),
                nat64: Nat64::default(),
                local: None,
            };
            distance(&host, &allowed, &ways, FOR_A_HOME).await
        };
        assert_eq!(ask(AllowedAddresses::default()).await, None);
        ask(AllowedAddresses::anywhere([host.clone()])).await;
        let mut questions = 0;
        while socket.try_recv(&mut [0; 512]).is_ok() {
            questions += 1;
        }
        assert_eq!(questions, 2, "those of the second time alone");
    }

    #[test]
    fn hosts_are_ordered_by_distance_and_by_chance_where_they_are_alike() {
        let hosts: Vec<HostAt> = ["a", "b", "c", "d", "e"]
            .map(|host| host.parse().unwrap())
            .to_vec();
        let ms = |ms| Some(Duration::from_millis(ms));
        let distances = [ms(80), None, ms(22), ms(20), ms(40)];
        let drawn = |first: u16| {
            let mut next = first;
            let order = order(hosts.clone(), &distances, None, |_| {
                next = (next + 1) % 5;
                next
            });
            names(&order)
        };
        let orders: Vec<String> = (0..5).map(drawn).collect();
        assert!(
            orders.iter().all(|order| order.ends_with("eab")),
            "{orders:?}"
        );
        for first in ['c', 'd'] {
            assert!(
                orders.iter().any(|order| order.starts_with(first)),
                "{orders:?}"
            );
        }
    }

    #[test]
    fn host_that_the_url_names_alone_is_before_those_that_are_as_near_and_behind_nearer_ones() {
        let hosts: Vec<HostAt> = ["a", "b", "c"].map(|host| host.parse().unwrap()).to_vec();
        let ms = |ms| Some(Duration::from_millis(ms));
        let order_with = |named: usize| {
            let distances = [ms(20), ms(22), ms(40)];
            names(&order(
                hosts.clone(),
                &distances,
                Some(&hosts[named]),
                |_| 0,
            ))
        };
        assert_eq!(order_with(1), "bac");
        assert_eq!(order_with(2), "abc");
    }
}
