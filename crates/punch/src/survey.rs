//! A survey of the NAT in front of this host without a peer: for whoever asks STUN servers by himself and wants to know
//! what the engine would make of the answers. The judgement is that of `nat_observation`, which orders the techniques
//! too.

use std::{net::SocketAddr, time::Instant};

use p2pdbg_nat::{Count, NatReport, Ports};

use crate::{
    LocalAddress, SocketId,
    nat_observation::{self, Sample},
    own_mappings::OwnMappings,
    stun_server_view,
};

/// Fresh sockets that the engine samples a NAT with, each asking two servers.
pub const FRESH_SOCKETS: u32 = crate::budget::SAMPLING_SOCKETS;

/// A question to a STUN server over IPv4, and what it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Tells the sockets that asked apart.
    pub socket: u32,
    /// The inside port of the socket.
    pub port: u16,
    /// The server that was asked.
    pub server: SocketAddr,
    /// What it saw; none if it did not answer. The mapping was made all the same.
    pub mapped: Option<SocketAddr>,
    /// When it was asked first, which is when the NAT made the mapping.
    pub asked: Instant,
}

impl Seen {
    /// Whether the server saw the packet otherwise than it came: one on the internet that names a private address has
    /// something in front of it that rewrites sources, and its answer says nothing of this host's NAT.
    #[must_use]
    pub fn is_poor_view(&self) -> bool {
        sample(self).is_some_and(|sample| stun_server_view::is_poor_view(&sample))
    }
}

/// What the engine would report: `main` is what one socket saw, `fresh` what others did. Both in the order in which
/// they were asked, the main one first.
#[must_use]
pub fn report(main: &[Seen], fresh: &[Seen], local: &[LocalAddress]) -> NatReport {
    let samples = |seen: &[Seen]| seen.iter().filter_map(sample).collect::<Vec<_>>();
    let port = main.first().map(|seen| seen.port);
    let all: Vec<Seen> = main.iter().chain(fresh).copied().collect();
    nat_observation::report(
        &samples(main),
        Some(&samples(fresh)),
        &counts(&all),
        local,
        port,
    )
}

/// How ports are given to new sockets, whatever the mapping depends on.
#[must_use]
pub fn ports(fresh: &[Seen]) -> Ports {
    let mut answered = fresh
        .iter()
        .filter_map(|s| Some((s.port, s.mapped?.port())));
    match answered.next() {
        None => Ports::Unknown,
        Some((inside, outside)) if inside == outside && answered.all(|(i, o)| i == o) => {
            Ports::Preserved
        }
        Some(_) => Ports::classify(&counts(fresh)),
    }
}

fn sample(seen: &Seen) -> Option<Sample> {
    Some(Sample {
        socket: SocketId(seen.socket),
        server: seen.server,
        mapped: seen.mapped?,
        asked: seen.asked,
    })
}

/// The NAT's counter at each answer. A mapping that several answers share counts once.
fn counts(seen: &[Seen]) -> Vec<Count> {
    let mut own_mappings = OwnMappings::default();
    let mut counts: Vec<(u32, Count)> = Vec::new();
    for seen in seen {
        let socket = SocketId(seen.socket);
        own_mappings.on_sent(socket, seen.server);
        let (Some(place), Some(mapped)) = (own_mappings.place(socket, seen.server), seen.mapped)
        else {
            continue;
        };
        let shared =
            |(socket, count): &(u32, Count)| *socket == seen.socket && count.port == mapped.port();
        if !counts.iter().any(shared) {
            let count = Count {
                at: seen.asked,
                place,
                port: mapped.port(),
            };
            counts.push((seen.socket, count));
        }
    }
    counts.into_iter().map(|(_, count)| count).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use p2pdbg_nat::Mapping;

    use super::*;

    /// Each socket asks ports 1 and 2 of one server, and the NAT gives it these ports.
    fn seen(first: u32, outside: &[[u16; 2]]) -> Vec<Seen> {
        let start = Instant::now();
        let mut all = Vec::new();
        for (socket, ports) in (first..).zip(outside) {
            for (server, port) in [1, 2].into_iter().zip(ports) {
                all.push(Seen {
                    socket,
                    port: 30_000 + socket as u16,
                    server: ([192, 0, 2, 1], server).into(),
                    mapped: Some(([198, 51, 100, 1], *port).into()),
                    asked: start + Duration::from_millis(10) * socket,
                });
            }
        }
        all
    }

    #[test]
    fn a_survey_comes_to_the_engines_words() {
        let same = seen(0, &[[30_000, 30_000]]);
        let fresh = seen(1, &[[30_001, 30_001], [30_002, 30_002]]);
        let report_of = |main: &[Seen], fresh: &[Seen]| {
            let report = report(main, fresh, &[]);
            (report.mapping, report.ports)
        };
        let easy = report_of(&same, &fresh);
        assert_eq!(easy, (Some(Mapping::EndpointIndependent), Ports::Preserved));
        let (mapping, ports) = report_of(
            &seen(0, &[[4000, 4001]]),
            &seen(1, &[[4002, 4003], [4004, 4005], [4006, 4007]]),
        );
        assert_eq!(mapping, Some(Mapping::AddressAndPortDependent));
        assert!(matches!(
            ports,
            Ports::Sequential {
                stride: 1,
                foreign_per_kilosecond: 0
            }
        ));
        let untranslated = report(
            &same,
            &[],
            &["198.51.100.1".parse::<std::net::IpAddr>().unwrap().into()],
        );
        assert_eq!(untranslated.mapping, Some(Mapping::Untranslated));
    }

    #[test]
    fn ports_of_a_mapping_that_depends_on_nothing_are_judged_too() {
        assert_eq!(
            ports(&seen(1, &[[30_001; 2], [30_002; 2]])),
            Ports::Preserved
        );
        let random = [[1500; 2], [61_000; 2], [33_333; 2], [20_202; 2]];
        assert_eq!(ports(&seen(1, &random)), Ports::Random);
        assert_eq!(ports(&[]), Ports::Unknown);
    }
}
