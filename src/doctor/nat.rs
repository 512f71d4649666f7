//! What the NAT in front of this host does, over IPv4: mapping, filtering, ports and hairpinning.
//!
//! The mapping is judged by the same code that orders the techniques of a session (`p2pdbg_punch::survey`), and told
//! in finer words where the servers have two addresses (RFC 5780 section 4). What cannot be told is said.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_nat::{Class, Filtering, Mapping, NatReport};
use p2pdbg_net::{nat64::Nat64, route};
use p2pdbg_proto::address;
use p2pdbg_punch::{
    LocalAddress,
    survey::{self, FRESH_SOCKETS, Seen},
};

use super::{
    findings::Nat,
    stun_client::{PATIENCE, Question, Reply, StunClient},
};

/// Servers that the first socket asks.
const SERVERS: usize = 6;

/// Until a datagram to this host's own external address counts as lost.
const HAIRPIN: Duration = Duration::from_millis(700);

/// What the servers saw of one socket of this host's, in the order in which they were asked. `servers` answer STUN over
/// IPv4, the rendezvous' main port first, then its alternative, then others.
pub(super) async fn views(servers: &[SocketAddr], nat64: &Nat64) -> Vec<Seen> {
    let servers: Vec<SocketAddr> = servers.iter().take(SERVERS).copied().collect();
    seen_by(0, &servers, nat64).await.unwrap_or_default()
}

/// Looks at everything but the lifetime, by servers that saw this host as it is seen.
pub(super) async fn examine(views: &[Seen], local: &[LocalAddress], nat64: &Nat64) -> Option<Nat> {
    let honest: Vec<Seen> = views
        .iter()
        .filter(|s| !s.is_poor_view())
        .copied()
        .collect();
    let main = honest.iter().find(|seen| seen.mapped.is_some())?.server;
    let (fresh, filtering, hairpin) = tokio::join!(
        fresh_views(&honest, nat64),
        filtering(main, nat64),
        hairpin(main, nat64)
    );
    let survey = Survey {
        main: honest,
        fresh,
    };
    let report = survey::report(&survey.main, &survey.fresh, local);
    let mut external = report.external.clone();
    external.sort_unstable();
    let (filtering, filtering_certain) = filtering;
    let translated = report.mapping != Some(Mapping::Untranslated);
    let ports = match report.is_dependent() {
        true => report.ports,
        false => survey::ports(&survey.fresh),
    };
    let first = survey.main.iter().find_map(|seen| seen.mapped);
    let inside = route::source_towards(main);
    Some(Nat {
        inside,
        external,
        mapped: first,
        mapping: report.mapping,
        mapping_certain: is_certain(&survey.main, &report),
        filtering,
        filtering_certain,
        ports: translated.then_some(ports),
        hairpin: hairpin.filter(|_| translated),
        kind: (translated || inside.is_none_or(|ip| !address::is_private(ip)))
            .then(|| Class::of(report.mapping, filtering, ports)),
    })
}

/// What servers saw of one socket, and of fresh ones.
struct Survey {
    main: Vec<Seen>,
    fresh: Vec<Seen>,
}

/// What servers saw of fresh sockets.
async fn fresh_views(honest: &[Seen], nat64: &Nat64) -> Vec<Seen> {
    // Two that answer, at one address if possible, as the engine does.
    let answering = honest.iter().filter(|seen| seen.mapped.is_some());
    let two: Vec<SocketAddr> = answering.map(|seen| seen.server).take(2).collect();
    let mut fresh = Vec::new();
    // One after the other: the order of the mappings is what a sequence shows in.
    for socket in 1..=FRESH_SOCKETS {
        fresh.extend(seen_by(socket, &two, nat64).await.into_iter().flatten());
    }
    fresh
}

async fn seen_by(socket: u32, servers: &[SocketAddr], nat64: &Nat64) -> Option<Vec<Seen>> {
    let client = StunClient::open_through(nat64, *servers.first()?).ok()?;
    let questions: Vec<_> = servers.iter().map(|s| (*s, Question::default())).collect();
    let began = std::time::Instant::now();
    let replies = client.ask_all(&questions, PATIENCE).await;
    let seen = |(server, reply): (&SocketAddr, Option<Reply>)| Seen {
        socket,
        port: client.port(),
        server: *server,
        mapped: reply.and_then(|reply| reply.mapped),
        asked: reply.map_or(began, |reply| reply.asked),
    };
    Some(servers.iter().zip(replies).map(seen).collect())
}

/// Whether the servers that answered could tell the mapping from every other: one with a single address cannot show a
/// mapping that depends on the address.
fn is_certain(main: &[Seen], report: &NatReport) -> bool {
    let answered: Vec<SocketAddr> = main
        .iter()
        .filter(|seen| seen.mapped.is_some())
        .map(|seen| seen.server)
        .collect();
    let mut addresses: Vec<IpAddr> = answered.iter().map(SocketAddr::ip).collect();
    addresses.sort_unstable();
    addresses.dedup();
    match report.mapping {
        None => false,
        Some(Mapping::Untranslated | Mapping::AddressAndPortDependent) => true,
        Some(Mapping::EndpointIndependent) => addresses.len() > 1,
        // Each address was asked at two ports at least once, or the port may count as well.
        Some(Mapping::AddressDependent) => answered.len() > addresses.len(),
    }
}

/// Who gets through to a socket that has sent to one server alone, and whether that is certain.
async fn filtering(main: SocketAddr, nat64: &Nat64) -> (Option<Filtering>, bool) {
    let (both, port) = tokio::join!(
        answered_from(main, (true, true), nat64),
        answered_from(main, (false, true), nat64)
    );
    match (both, port) {
        (Heard::Yes, _) => (Some(Filtering::EndpointIndependent), true),
        (Heard::No, Heard::Yes) => (Some(Filtering::AddressDependent), true),
        (Heard::No, Heard::No) => (Some(Filtering::AddressAndPortDependent), true),
        // The server has one address only.
        (Heard::Impossible, Heard::Yes) => (Some(Filtering::AddressDependent), false),
        (Heard::Impossible, Heard::No) => (Some(Filtering::AddressAndPortDependent), true),
        _ => (None, false),
    }
}

enum Heard {
    Yes,
    No,
    /// The server cannot do it, or does not answer at all.
    Impossible,
}

/// Whether an answer from elsewhere reaches a socket of its own, which has sent to `main` alone.
async fn answered_from(main: SocketAddr, change: (bool, bool), nat64: &Nat64) -> Heard {
    let Ok(client) = StunClient::open_through(nat64, main) else {
        return Heard::Impossible;
    };
    let plain = client.ask(main, Question::default()).await;
    if plain.and_then(|reply| reply.mapped).is_none() {
        return Heard::Impossible;
    }
    let question = Question {
        change: Some(change),
        ..Question::default()
    };
    match client.ask(main, question).await {
        // A server that ignores the wish answers from where it was asked.
        Some(reply) if reply.mapped.is_some() && reply.from != main => Heard::Yes,
        Some(_) => Heard::Impossible,
        None => Heard::No,
    }
}

/// Whether a datagram from inside to a mapping of this host's comes back in; none if there is no mapping to try.
async fn hairpin(main: SocketAddr, nat64: &Nat64) -> Option<bool> {
    let (target, sender) = (
        StunClient::open_through(nat64, main).ok()?,
        StunClient::open_through(nat64, main).ok()?,
    );
    let mapped = target.ask(main, Question::default()).await?.mapped?;
    // So that the sender has a mapping too, as a peer's socket has.
    sender.ask(main, Question::default()).await?;
    let (_, bytes) = super::stun_client::encode(main, Question::default())?;
    let heard = async {
        loop {
            if let Some((heard, _)) = target.receive().await
                && heard == bytes
            {
                return;
            }
        }
    };
    let knock = async {
        for _ in 0..3 {
            sender.send(mapped, &bytes).await;
            tokio::time::sleep(HAIRPIN / 3).await;
        }
    };
    tokio::select! {
        // What has come counts, however late this host looks.
        biased;
        () = heard => Some(true),
        () = knock => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The verdict on one socket that servers at these addresses see so.
    fn verdict(seen: &[(&str, &str)]) -> (Option<Mapping>, bool) {
        let now = Instant::now();
        let main: Vec<Seen> = seen
            .iter()
            .map(|(server, mapped)| Seen {
                socket: 0,
                port: 4000,
                server: server.parse().unwrap(),
                mapped: mapped.parse().ok(),
                asked: now,
            })
            .collect();
        let report = survey::report(&main, &[], &[]);
        (report.mapping, is_certain(&main, &report))
    }

    #[test]
    fn what_two_addresses_show_is_certain_and_what_one_shows_is_said_to_be_not() {
        let (a1, a2, b1) = ("192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1");
        let (m, n, o) = ("198.51.100.1:5", "198.51.100.1:6", "198.51.100.1:7");
        use Mapping as M;
        assert_eq!(
            verdict(&[(a1, m), (a2, m)]),
            (Some(M::EndpointIndependent), false)
        );
        let three = [(a1, m), (a2, m), (b1, m)];
        assert_eq!(verdict(&three), (Some(M::EndpointIndependent), true));
        let three = [(a1, m), (a2, m), (b1, n)];
        assert_eq!(verdict(&three), (Some(M::AddressDependent), true));
        assert_eq!(
            verdict(&[(a1, m), (b1, n)]),
            (Some(M::AddressDependent), false)
        );
        let three = [(a1, m), (a2, n), (b1, o)];
        assert_eq!(verdict(&three), (Some(M::AddressAndPortDependent), true));
        let silent = [(a1, m), (a2, "-")];
        assert_eq!(verdict(&silent), (None, false));
    }
}
