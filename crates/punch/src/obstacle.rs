//! Why there is no direct path, in words, and what would help.

use std::fmt;

use p2pdbg_nat::{Mapping, NatReport};

/// What stands between the peers and a direct path now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The peer's candidates have not come.
    WaitingForPeer,
    /// This end is still finding its own addresses.
    Gathering,
    /// Checks are under way, and nothing was answered so far.
    Trying {
        /// The attempt's number, from 0.
        attempt: u32,
    },
    /// No STUN server answers this end: UDP seems to be blocked here.
    UdpBlockedHere,
    /// No STUN server answers the peer: UDP seems to be blocked there.
    UdpBlockedThere,
    /// No STUN server answers either end: the rendezvous' port is closed, or UDP gets out of neither network.
    UdpBlockedBoth,
    /// The rendezvous sees the peers at a private address: it is in the network of one, or something in front of it
    /// rewrites sources.
    PoorView,
    /// Servers that had answered do not any more: nothing gets through to anybody.
    Outage,
    /// Both NATs give every connection another port and at least one of them unpredictably.
    BothSymmetric,
    /// The NAT here gives every connection another port, and the search for it failed.
    SymmetricHere,
    /// The NAT there gives every connection another port, and the search for it failed.
    SymmetricThere,
    /// Both ends are behind one NAT, and neither that nor their own networks lead packets from one to the other.
    NoHairpin,
    /// Both ends look easy and yet no check got through: a firewall, or a NAT that behaves otherwise towards peers.
    Filtered,
    /// The peer named no address that this end can reach.
    NoCommonFamily,
    /// Checks get through and the tunnel does not: large packets are dropped, or QUIC is.
    TunnelFails,
    /// There was a direct path and it was lost; the search for another has begun.
    Lost,
}

/// What is known when an attempt has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) here: &'a NatReport,
    pub(crate) there: &'a NatReport,
    /// Whether this end asked any STUN server.
    pub(crate) asked: bool,
    /// Whether servers had answered this end and do not any more.
    pub(crate) out: bool,
    /// Whether there was a path to where the peer still says that it is.
    pub(crate) had_path: bool,
    /// Whether a pair carries checks and not what is as long as a tunnel's datagrams.
    pub(crate) narrow: bool,
}

/// What kept the attempt from a path.
pub(crate) fn diagnose(evidence: &Evidence<'_>) -> Obstacle {
    let (here, there) = (evidence.here, evidence.there);
    if evidence.narrow {
        return Obstacle::TunnelFails;
    }
    if evidence.out {
        return Obstacle::Outage;
    }
    let blocked_here = evidence.asked && !here.answered && !here.answered_v6;
    let blocked_there = !there.answered && !there.answered_v6;
    match (blocked_here, blocked_there) {
        (true, true) => return Obstacle::UdpBlockedBoth,
        (true, false) => return Obstacle::UdpBlockedHere,
        (false, true) => return Obstacle::UdpBlockedThere,
        (false, false) => {}
    }
    if !(here.answered && there.answered || here.answered_v6 && there.answered_v6) {
        return Obstacle::NoCommonFamily;
    }
    if here.poor_view || there.poor_view {
        return Obstacle::PoorView;
    }
    let translated = ![here.mapping, there.mapping].contains(&Some(Mapping::Untranslated));
    let one_nat = translated && here.external.iter().any(|ip| there.external.contains(ip));
    match (!here.class().is_easy(), !there.class().is_easy()) {
        (true, true) => Obstacle::BothSymmetric,
        (true, false) => Obstacle::SymmetricHere,
        (false, true) => Obstacle::SymmetricThere,
        // What let packets through before does so again, or the peer's network is out and cannot say so.
        (false, false) if evidence.had_path => Obstacle::Lost,
        (false, false) if one_nat => Obstacle::NoHairpin,
        (false, false) => Obstacle::Filtered,
    }
}

impl Obstacle {
    /// What somebody could do about it; `None` when waiting is all.
    #[must_use]
    pub fn help(self) -> Option<&'static str> {
        Some(match self {
            Self::WaitingForPeer
            | Self::Gathering
            | Self::Trying { .. }
            | Self::Lost
            | Self::Outage => {
                return None;
            }
            Self::UdpBlockedHere => "allow outgoing UDP from this host",
            Self::UdpBlockedThere => "allow outgoing UDP from the peer's host",
            Self::UdpBlockedBoth => {
                "open port 3478/UDP in the firewall of the rendezvous, or allow outgoing UDP at both ends"
            }
            Self::PoorView => {
                "let the rendezvous see source addresses (in a container: the host's network), or --stun HOST at either end"
            }
            Self::BothSymmetric => {
                "IPv6 at both ends, or UPnP or a forwarded UDP port on either router, or another network at one end"
            }
            Self::SymmetricHere => {
                "IPv6 at both ends, or UPnP or a forwarded UDP port on this end's router"
            }
            Self::SymmetricThere => {
                "IPv6 at both ends, or UPnP or a forwarded UDP port on the peer's router"
            }
            Self::NoHairpin => {
                "IPv6 at both ends, or both on one network where hosts reach each other, or one behind another NAT"
            }
            Self::Filtered => {
                "a firewall rule that lets UDP in at either end, or IPv6 at both ends"
            }
            Self::TunnelFails => "a firewall rule that lets UDP packets of 1,280 bytes through",
            Self::NoCommonFamily => "IPv4 at both ends, or IPv6 at both ends",
        })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingForPeer => f.write_str("waiting for the peer's addresses"),
            Self::Gathering => f.write_str("finding out this host's addresses"),
            Self::Trying { attempt: 0 } => f.write_str("trying to reach the peer directly"),
            Self::Trying { attempt } => {
                write!(
                    f,
                    "trying to reach the peer directly, attempt {}",
                    attempt + 1
                )
            }
            Self::UdpBlockedHere => f.write_str("UDP does not get out of this network"),
            Self::UdpBlockedThere => f.write_str("UDP does not get out of the peer's network"),
            Self::UdpBlockedBoth => f.write_str(
                "the rendezvous answers neither end over UDP: its UDP port is closed, or UDP gets out of neither network",
            ),
            Self::PoorView => f.write_str(
                "the rendezvous sees the peers at a private address: it is in a peer's own network, or something in front \
                 of it rewrites sources",
            ),
            Self::Outage => {
                f.write_str("an outage: no server that had answered over UDP answers any more")
            }
            Self::BothSymmetric => {
                f.write_str("both NATs use another port for every connection, and not foreseeably")
            }
            Self::SymmetricHere => f.write_str(
                "the NAT here uses another port for every connection, and the peer did not find it",
            ),
            Self::SymmetricThere => f.write_str(
                "the peer's NAT uses another port for every connection, and it was not found",
            ),
            Self::NoHairpin => f.write_str(
                "both ends are behind one NAT, which leads no packets from one to the other (no hairpinning)",
            ),
            Self::Filtered => f.write_str("no packet got through, though neither NAT looks hard"),
            Self::NoCommonFamily => f.write_str("one end has only IPv4 and the other only IPv6"),
            Self::TunnelFails => {
                f.write_str("small packets get through directly, the tunnel's do not")
            }
            Self::Lost => f.write_str("the direct path was lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Obstacle; 16] = [
        Obstacle::WaitingForPeer,
        Obstacle::Gathering,
        Obstacle::Trying { attempt: 1 },
        Obstacle::UdpBlockedHere,
        Obstacle::UdpBlockedThere,
        Obstacle::UdpBlockedBoth,
        Obstacle::PoorView,
        Obstacle::Outage,
        Obstacle::BothSymmetric,
        Obstacle::SymmetricHere,
        Obstacle::SymmetricThere,
        Obstacle::NoHairpin,
        Obstacle::Filtered,
        Obstacle::NoCommonFamily,
        Obstacle::TunnelFails,
        Obstacle::Lost,
    ];

    #[test]
    fn whatever_stands_in_the_way_for_good_comes_with_what_would_help() {
        for obstacle in ALL {
            let passes = matches!(
                obstacle,
                Obstacle::WaitingForPeer
                    | Obstacle::Gathering
                    | Obstacle::Trying { .. }
                    | Obstacle::Lost
                    | Obstacle::Outage
            );
            assert_eq!(obstacle.help().is_none(), passes, "{obstacle:?}");
            let words = [
                obstacle.to_string(),
                obstacle.help().unwrap_or("-").to_owned(),
            ];
            for text in words {
                assert!(
                    !text.is_empty() && !text.ends_with('.') && text.is_ascii(),
                    "{text}"
                );
            }
        }
    }
}
