//! Connections to a port of ours that have not proved to be the peer's; no I/O.
//!
//! Anybody can connect. Strangers have a few places, and fewer from one network. Where the peer may come from there are
//! places of their own, of which the oldest makes room, so that a crowd of strangers does not keep the peer out.

use std::net::IpAddr;

use p2pdbg_proto::address::network;

/// Connections from elsewhere than the peer's addresses.
const STRANGERS: usize = 8;

/// Of these from one address, or network of one host.
const FROM_ONE: usize = 2;

/// Connections from each of the peer's addresses.
const EXPECTED: usize = 4;

/// What becomes of a connection; `K` names one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<K> {
    /// It may try to prove that it leads to the peer.
    Admit,
    /// It may prove itself, and this one goes.
    Replace(K),
    /// It is closed unheard.
    Refuse,
}

/// Those that are being asked for their proof, the oldest first.
#[derive(Debug)]
pub(super) struct Newcomers<K>(Vec<(K, IpAddr)>);

impl<K: Copy + PartialEq> Newcomers<K> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Judges one that comes from here.
    pub(super) fn judge(&self, from: IpAddr, expected: &[IpAddr]) -> Verdict<K> {
        let is_expected = |ip: IpAddr| expected.iter().any(|e| host(*e) == host(ip));
        let mut of_network = self.0.iter().filter(|(_, ip)| host(*ip) == host(from));
        let count = of_network.clone().count();
        if is_expected(from) {
            return match (count < EXPECTED, of_network.next()) {
                (false, Some((oldest, _))) => Verdict::Replace(*oldest),
                _ => Verdict::Admit,
            };
        }
        let strangers = self.0.iter().filter(|(_, ip)| !is_expected(*ip)).count();
        match count < FROM_ONE && strangers < STRANGERS {
            true => Verdict::Admit,
            false => Verdict::Refuse,
        }
    }

    /// Counts one that was admitted, until it is removed.
    pub(super) fn add(&mut self, key: K, from: IpAddr) {
        self.0.push((key, from));
    }

    /// One has proved itself, or is gone.
    pub(super) fn remove(&mut self, key: K) {
        self.0.retain(|(other, _)| *other != key);
    }
}

/// The address of IPv4, or the part of one of IPv6 that is one host's.
fn host(ip: IpAddr) -> IpAddr {
    network(ip, 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Lets so many come from here; how many of them were refused.
    fn crowd(newcomers: &mut Newcomers<u32>, from: IpAddr, expected: &[IpAddr], count: u32) -> u32 {
        let mut refused = 0;
        for key in 0..count {
            let key = key + newcomers.0.len() as u32 * 1_000;
            match newcomers.judge(from, expected) {
                Verdict::Admit => newcomers.add(key, from),
                Verdict::Replace(oldest) => {
                    newcomers.remove(oldest);
                    newcomers.add(key, from);
                }
                Verdict::Refuse => refused += 1,
            }
        }
        refused
    }

    #[test]
    fn crowd_of_strangers_is_refused_and_leaves_room_for_the_peer() {
        let mut newcomers = Newcomers::new();
        let peer = [ip("192.0.2.1")];
        let stranger = ip("198.51.100.7");
        assert_eq!(crowd(&mut newcomers, stranger, &peer, 200), 198);
        for n in 0..100 {
            let other = ip(&format!("203.0.113.{n}"));
            crowd(&mut newcomers, other, &peer, 5);
        }
        assert_eq!(newcomers.0.len(), STRANGERS);
        assert_eq!(newcomers.judge(peer[0], &peer), Verdict::Admit);
    }

    #[test]
    fn who_shares_the_peers_address_makes_room_for_it() {
        let mut newcomers = Newcomers::new();
        let peer = [ip("192.0.2.1")];
        assert_eq!(crowd(&mut newcomers, peer[0], &peer, 200), 0);
        assert_eq!(newcomers.0.len(), EXPECTED);
        let oldest = newcomers.0[0].0;
        assert_eq!(newcomers.judge(peer[0], &peer), Verdict::Replace(oldest));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_stranger() {
        let mut newcomers = Newcomers::new();
        for n in 0..100 {
            crowd(&mut newcomers, ip(&format!("2001:db8::{n:x}")), &[], 1);
        }
        assert_eq!(newcomers.0.len(), FROM_ONE);
        newcomers.remove(newcomers.0[0].0);
        assert_eq!(newcomers.judge(ip("2001:db8::ff"), &[]), Verdict::Admit);
    }
}
