//! Whether this rendezvous is set up so that it can do its work, as far as it can tell from who comes and how.
//!
//! What it looks for are the mistakes that leave everything running and make it worthless: no UDP on the way, a bridge
//! or a balancer that hides where peers are, a second port that is closed, a clock that is off. No sockets and no
//! clock; each finding is given once to be logged, and kept to be shown.

use std::{collections::VecDeque, fmt, net::IpAddr, time::Duration};

use p2pdbg_proto::address::is_private;
use serde::{Deserialize, Serialize};

use crate::limits::Prefix;

/// Connections before anything is said of all of them.
const ENOUGH: u64 = 5;

/// STUN requests before the second port is missed: a peer asks both ports within a second.
const ENOUGH_STUN: u64 = 40;

/// A clock that is behind by less is nobody's trouble.
const CLOCK: Duration = Duration::from_secs(60 * 60);

/// Peers at so many addresses have to say what their clocks show before this one is doubted.
const CLOCKS: usize = 5;

/// A certificate that expires within this time is worth a line a day, in seconds.
const SOON: u64 = 14 * DAY;

/// In seconds.
const DAY: u64 = 24 * 3600;

/// The last so many are kept.
const CLOCKS_KEPT: usize = 31;

/// Clocks that agree are not further apart, in seconds; and this one is off if it is further from them than five times
/// that.
const AGREED: u64 = 120;

/// Something that the operator should mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// Every connection came over TCP.
    NobodyOverUdp,
    /// Every connection came from this one address, which is private.
    OneSource {
        /// The one from which all of them come.
        address: IpAddr,
    },
    /// STUN is asked for at the main port and never at the second one.
    SecondPortUnreached,
    /// The clock shows a time before this process's own files were written.
    ClockBehind {
        /// By how many seconds the clock is behind them.
        seconds: u64,
    },
    /// Most peers that have a key agree on another time.
    ClockDiffers {
        /// By how many seconds the clock is ahead of theirs; negative if it is behind.
        ahead_s: i64,
    },
    /// The certificate of this node expires soon.
    CertificateExpires {
        /// How many days it is still good for.
        days: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyOverUdp => f.write_str(
                "every peer came over TCP, none over UDP: open the UDP port in the firewall, or direct paths are not found",
            ),
            Self::OneSource { address } => write!(
                f,
                "every peer comes from {address}, a private address: a container's bridge or a balancer hides where they \
                 are, so direct paths are not found; use the host's network, or a balancer that keeps sources",
            ),
            Self::SecondPortUnreached => f.write_str(
                "STUN is asked at the main port and never at the second one (--alt-port, 3479/udp): open it in the \
                 firewall, so that peers learn how their NATs map",
            ),
            Self::ClockBehind { seconds } => write!(
                f,
                "the clock is behind its own files by {} h: set it, or vouchers and expiry of keys are judged wrongly",
                seconds / 3_600
            ),
            Self::ClockDiffers { ahead_s } => write!(
                f,
                "the clock is {} min {} those of most peers: set it, or vouchers and expiry of keys are judged wrongly",
                ahead_s.unsigned_abs() / 60,
                if *ahead_s > 0 { "ahead of" } else { "behind" },
            ),
            Self::CertificateExpires { days } => write!(
                f,
                "the certificate of this node expires in {days} days, and peers will pass the node over: \
                 `p2pdbg-rendezvous authority issue` into its state directory and a restart renew it",
            ),
        }
    }
}

/// What has been counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Connections over QUIC and TCP.
    pub(crate) connections: u64,
    /// Those of them over TCP.
    pub(crate) tcp_connections: u64,
    /// STUN answers, of all ports.
    pub(crate) stun: u64,
    /// Those of them at ports that answer STUN alone.
    pub(crate) stun_alternative: u64,
    /// The time, in Unix seconds.
    pub(crate) unix_s: u64,
}

#[derive(Debug, Default)]
pub(crate) struct SelfCheck {
    source: Source,
    clock: Option<Finding>,
    /// Until when the certificate is good, in Unix seconds, if that is for others to renew.
    certified_until: Option<u64>,
    /// By how many seconds the clock was ahead of those of peers when they said so, one for each address (one /64 of
    /// IPv6, in which a single host has as many as it likes), the last one last.
    ahead: VecDeque<(Prefix, i64)>,
    findings: Vec<Finding>,
}

#[derive(Debug, Default)]
enum Source {
    #[default]
    None,
    One(IpAddr),
    Several,
}

impl SelfCheck {
    /// `clock_behind` is by how much the time is before that of the newest file of the state.
    pub(crate) fn new(clock_behind: Duration) -> Self {
        let seconds = clock_behind.as_secs();
        Self {
            clock: (clock_behind > CLOCK).then_some(Finding::ClockBehind { seconds }),
            ..Self::default()
        }
    }

    /// Watches over a certificate that is good until then, in Unix seconds.
    pub(crate) fn with_certificate(mut self, until: Option<u64>) -> Self {
        self.certified_until = until;
        self
    }

    /// A connection came from there.
    pub(crate) fn on_peer(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        self.source = match self.source {
            Source::None => Source::One(ip),
            Source::One(one) if one == ip => Source::One(one),
            Source::One(_) | Source::Several => Source::Several,
        };
    }

    /// A peer that has a key and is there says that its clock shows `theirs`, while this one shows `ours`.
    pub(crate) fn on_clock(&mut self, ip: IpAddr, theirs: u64, ours: u64) {
        let ahead = i64::try_from(i128::from(ours) - i128::from(theirs)).unwrap_or(i64::MIN);
        let from = Prefix::of(ip);
        self.ahead.retain(|(other, _)| *other != from);
        self.ahead.push_back((from, ahead));
        if self.ahead.len() > CLOCKS_KEPT {
            self.ahead.pop_front();
        }
    }

    /// By how much the clock is ahead of what most peers agree on, if that is too much.
    fn clock_ahead(&self) -> Option<i64> {
        let mut all: Vec<i64> = self.ahead.iter().map(|(_, ahead)| *ahead).collect();
        all.sort_unstable();
        let median = *all.get(all.len() / 2)?;
        let agree = all
            .iter()
            .filter(|one| one.abs_diff(median) <= AGREED)
            .count();
        let agreed = all.len() >= CLOCKS && agree * 2 > all.len();
        (agreed && median.unsigned_abs() > 5 * AGREED).then_some(median)
    }

    /// What has come to light since the last look.
    pub(crate) fn look(&mut self, counted: Counted) -> Vec<Finding> {
        let enough = counted.connections >= ENOUGH;
        let mut found: Vec<Finding> = self.clock.into_iter().collect();
        // What the own files prove is not said twice.
        if found.is_empty()
            && let Some(ahead_s) = self.clock_ahead()
        {
            // Told in whole ten minutes, so that it is not news whenever another peer comes.
            let ahead_s = ahead_s / 600 * 600;
            found.push(Finding::ClockDiffers { ahead_s });
        }
        if enough && counted.tcp_connections >= counted.connections {
            found.push(Finding::NobodyOverUdp);
        }
        if let Source::One(address) = self.source
            && enough
            && is_private(address)
            && !address.is_loopback()
        {
            found.push(Finding::OneSource { address });
        }
        let left = self
            .certified_until
            .map(|until| until.saturating_sub(counted.unix_s));
        if let Some(left) = left.filter(|left| *left < SOON) {
            let days = left / DAY;
            found.push(Finding::CertificateExpires { days });
        }
        if counted.stun >= ENOUGH_STUN && counted.stun_alternative == 0 {
            found.push(Finding::SecondPortUnreached);
        }
        let before = std::mem::replace(&mut self.findings, found);
        let new = self
            .findings
            .iter()
            .filter(|finding| !before.contains(finding));
        new.copied().collect()
    }

    /// What holds as of the last look; what later comers disprove is gone.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_that_expires_within_two_weeks_is_told_of_once_a_day() {
        let mut check = SelfCheck::new(Duration::ZERO).with_certificate(Some(100 * DAY));
        let mut look = |unix_s| {
            let counted = Counted {
                unix_s,
                ..Counted::default()
            };
            check.look(counted)
        };
        let in_days = |days| vec![Finding::CertificateExpires { days }];
        assert_eq!(look(86 * DAY), []);
        assert_eq!(look(86 * DAY + 1), in_days(13));
        assert_eq!(look(86 * DAY + 2), []);
        assert_eq!(look(87 * DAY + 1), in_days(12));
        assert_eq!(look(101 * DAY), in_days(0));
    }

    fn check(ips: &[&str]) -> SelfCheck {
        let mut check = SelfCheck::new(Duration::ZERO);
        for ip in ips {
            check.on_peer(ip.parse().unwrap());
        }
        check
    }

    fn counted(connections: u64, tcp_connections: u64) -> Counted {
        Counted {
            connections,
            tcp_connections,
            ..Counted::default()
        }
    }

    #[test]
    fn self_check_misses_udp_when_everybody_came_over_tcp_and_only_then() {
        let mut all_tcp = check(&["192.0.2.1", "192.0.2.2"]);
        assert_eq!(all_tcp.look(counted(4, 4)), []);
        assert_eq!(all_tcp.look(counted(5, 5)), [Finding::NobodyOverUdp]);
        // It is said once, shown as long as it holds, and gone when somebody has come over UDP.
        assert_eq!(all_tcp.look(counted(6, 6)), []);
        assert_eq!(all_tcp.findings(), [Finding::NobodyOverUdp]);
        assert_eq!(all_tcp.look(counted(7, 6)), []);
        assert_eq!(all_tcp.findings(), []);
    }

    #[test]
    fn self_check_knows_a_bridge_by_its_one_private_address() {
        let address = "172.17.0.1".parse().unwrap();
        let found = check(&["172.17.0.1", "::ffff:172.17.0.1"]).look(counted(5, 0));
        assert_eq!(found, [Finding::OneSource { address }]);
        for ips in [
            &["172.17.0.1", "172.17.0.2"][..],
            // An office behind one NAT.
            &["203.0.113.7", "203.0.113.7"],
            // Somebody who tries it out.
            &["127.0.0.1", "127.0.0.1"],
        ] {
            assert_eq!(check(ips).look(counted(5, 0)), [], "{ips:?}");
        }
    }

    #[test]
    fn self_check_misses_the_second_port() {
        let stun = |stun, stun_alternative| Counted {
            stun,
            stun_alternative,
            ..Counted::default()
        };
        assert_eq!(check(&[]).look(stun(39, 0)), []);
        assert_eq!(check(&[]).look(stun(40, 0)), [Finding::SecondPortUnreached]);
        assert_eq!(check(&[]).look(stun(40, 1)), []);
    }

    fn clocks(theirs: &[(u8, u64)], ours: u64) -> Vec<Finding> {
        let mut check = SelfCheck::new(Duration::ZERO);
        for (host, shown) in theirs {
            check.on_clock([192, 0, 2, *host].into(), *shown, ours);
        }
        check.look(Counted::default())
    }

    #[test]
    fn self_check_holds_the_clock_against_what_most_peers_agree_on() {
        let ours = 1_000_000;
        let agreed = |shown: u64| {
            (1..=5)
                .map(|n| (n, shown + u64::from(n)))
                .collect::<Vec<_>>()
        };
        let ahead = clocks(&agreed(ours - 7_200), ours);
        assert_eq!(ahead, [Finding::ClockDiffers { ahead_s: 6_600 }]);
        let behind = clocks(&agreed(ours + 7_200), ours);
        assert_eq!(behind, [Finding::ClockDiffers { ahead_s: -7_200 }]);
        assert_eq!(clocks(&agreed(ours - 300), ours), []);
        // Too few, one who says it again and again, and peers who do not agree.
        assert_eq!(clocks(&agreed(0)[..4], ours), []);
        assert_eq!(clocks(&[(1, 0); 9], ours), []);
        let apart: Vec<_> = (1..=9).map(|n| (n, u64::from(n) * 1_000)).collect();
        assert_eq!(clocks(&apart, ours), []);
        // One host that has a whole /64.
        let mut check = SelfCheck::new(Duration::ZERO);
        for host in 1..=31 {
            let ip = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
            check.on_clock(ip.into(), 0, ours);
        }
        assert_eq!(check.look(Counted::default()), []);
        // Two that lie change nothing, whatever they say.
        let liars = [agreed(ours), vec![(8, 0), (9, u64::MAX)]].concat();
        assert_eq!(clocks(&liars, ours), []);
    }

    #[test]
    fn self_check_sees_a_clock_that_is_behind_its_own_files() {
        let mut late = SelfCheck::new(Duration::from_secs(7_300));
        let found = [Finding::ClockBehind { seconds: 7_300 }];
        assert_eq!(late.look(Counted::default()), found);
        assert_eq!(late.look(Counted::default()), []);
        assert_eq!(late.findings(), found);
        let mut fine = SelfCheck::new(Duration::from_secs(30));
        assert_eq!(fine.look(Counted::default()), []);
    }
}
