//! The peers that have been here in this run, or are expected: who they are and what each is called.
//!
//! Two processes of one host have one certificate, and tell which of its processes they are. A name belongs to one of
//! them for the whole run, so that what is said of `web-1` is said of one debuggee.

use p2pdbg_base::PeerName;
use p2pdbg_pairing::{KnownPeer, PeerId};
use p2pdbg_proto::fingerprint::Fingerprint;

/// How many are kept: the rendezvous lets one wait for no more than 64 peers, and some of these have sessions.
const MOST: usize = 32;

#[derive(Debug, Clone)]
struct NamedPeer {
    id: PeerId,
    /// What it is called here.
    name: PeerName,
    /// By which secret it is met: its own, or that of another process of its host.
    known: KnownPeer,
}

#[derive(Debug, Default)]
pub(super) struct PeerNames(Vec<NamedPeer>);

impl PeerNames {
    /// Takes in a known peer that may come.
    pub(super) fn expect(&mut self, known: KnownPeer) {
        self.0.push(NamedPeer {
            id: known.id(),
            name: known.name.clone(),
            known,
        });
    }

    /// Takes in the only peer that there may be, which has the name of its host whichever process it is.
    pub(super) fn only(&mut self, known: &KnownPeer) -> PeerName {
        self.0.clear();
        self.expect(known.clone());
        known.name.clone()
    }

    /// How a peer is known: itself, or else another process of its host.
    pub(super) fn known(&self, peer: PeerId) -> Option<&KnownPeer> {
        let own = self.0.iter().find(|named| named.id == peer);
        let same_host = |named: &&NamedPeer| named.id.fingerprint == peer.fingerprint;
        let named = own.or_else(|| self.0.iter().find(same_host))?;
        Some(&named.known)
    }

    /// Takes in a peer that has come and says that it is called so, and tells what it is called here. `present` are the
    /// names of those that are here.
    pub(super) fn name(
        &mut self,
        known: &KnownPeer,
        peer: PeerId,
        said: &str,
        present: &[PeerName],
    ) -> PeerName {
        if let Some(named) = self.0.iter_mut().find(|named| named.id == peer) {
            named.known = known.clone();
            return named.name.clone();
        }
        let proposed = match (known.id() == peer, peer.process) {
            (true, _) => known.name.clone(),
            (false, 0 | 1) => PeerName::nearest(said),
            (false, further) => PeerName::nearest(said).numbered(further.into()),
        };
        let is_taken = |name: &PeerName| self.0.iter().any(|named| named.name == *name);
        let name = proposed.first_free(is_taken);
        while self.0.len() >= MOST {
            let gone = |named: &NamedPeer| !present.contains(&named.name);
            let gone = self.0.iter().position(gone);
            self.0.remove(gone.unwrap_or(0));
        }
        self.0.push(NamedPeer {
            id: peer,
            name: name.clone(),
            known: known.clone(),
        });
        name
    }

    /// Those for whom `wanted` holds, each secret once.
    pub(super) fn awaited(
        &self,
        wanted: impl Fn(&PeerName, Fingerprint) -> bool,
    ) -> Vec<KnownPeer> {
        let mut awaited: Vec<KnownPeer> = Vec::new();
        for named in &self.0 {
            let is_new = awaited
                .iter()
                .all(|other| other.secret != named.known.secret);
            if is_new && wanted(&named.name, named.id.fingerprint) {
                awaited.push(named.known.clone());
            }
        }
        awaited
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use p2pdbg_pairing::PairSecret;

    use super::*;

    fn known(name: &str, seed: u8) -> KnownPeer {
        KnownPeer {
            name: name.parse().unwrap(),
            fingerprint: Fingerprint::of_certificate(&[seed]),
            process: 1,
            secret: PairSecret::from_bytes([seed; 32]),
            last_seen: UNIX_EPOCH,
        }
    }

    fn process(of: &KnownPeer, process: u16) -> PeerId {
        PeerId { process, ..of.id() }
    }

    #[test]
    fn a_second_process_of_a_host_has_a_name_of_its_own_and_keeps_it() {
        let mut names = PeerNames::default();
        let web = known("web", 1);
        for (number, expected) in [(1, "web"), (2, "web-2"), (1, "web"), (2, "web-2")] {
            let name = names.name(&web, process(&web, number), "web", &[]);
            assert_eq!(name.as_str(), expected);
        }
        let other = known("web-2", 2);
        let name = names.name(&other, other.id(), "web-2", &[]);
        assert_eq!(name.as_str(), "web-2-2");
    }

    #[test]
    fn a_hostile_name_becomes_a_name_and_many_of_them_are_not_kept() {
        let mut names = PeerNames::default();
        let web = known("web", 1);
        let present = [names.name(&web, web.id(), "web", &[])];
        let evil = "\u{1b}[2J../\u{202e}db\r\n";
        let name = names.name(&web, process(&web, 7), evil, &present);
        assert_eq!(name.as_str(), "2J..-db-7");
        for number in 8..1000 {
            names.name(&web, process(&web, number), "p", &present);
        }
        assert_eq!(names.0.len(), MOST);
        assert_eq!(names.name(&web, web.id(), "web", &[]), present[0]);
    }

    #[test]
    fn one_that_has_paired_again_is_awaited_with_its_new_secret_alone() {
        let mut names = PeerNames::default();
        names.expect(known("web", 1));
        let anew = KnownPeer {
            secret: PairSecret::from_bytes([9; 32]),
            ..known("web", 1)
        };
        names.name(&anew, anew.id(), "web", &[]);
        names.name(&anew, process(&anew, 2), "web", &[]);
        assert_eq!(names.awaited(|_, _| true), [anew]);
        assert_eq!(names.awaited(|_, _| false), []);
    }
}
