//! The peers that have been here in this run, or are expected: who they are and what each is called.
//!
//! Two processes of one host have one identity, and tell themselves apart by what they call themselves. A name belongs
//! to one of them for the whole run, so that what is said of `web-1` is said of one debuggee.

use p2pdbg_wire::fingerprint::Fingerprint;

use crate::{pairing::KnownPeer, peer_name::PeerName};

/// How many are kept: the rendezvous lets one wait for no more than 64 peers, and some of these have sessions.
const MOST: usize = 32;

/// One peer.
#[derive(Debug, Clone)]
struct Guest {
    /// What it calls itself; none before it has come.
    said: Option<String>,
    /// What it is called here.
    name: PeerName,
    known: KnownPeer,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Guests(Vec<Guest>);

impl Guests {
    /// Expects a peer.
    pub(super) fn expect(&mut self, known: KnownPeer) {
        self.0.push(Guest {
            said: None,
            name: known.name.clone(),
            known,
        });
    }

    /// The peer of this certificate as it is known.
    pub(super) fn known(&self, peer: Fingerprint) -> Option<&KnownPeer> {
        let mut guests = self.0.iter();
        let guest = guests.find(|guest| guest.known.fingerprint == peer)?;
        Some(&guest.known)
    }

    /// Takes in a peer that has come, and says what it is called. `present` are the names of those that are here.
    pub(super) fn name(&mut self, known: &KnownPeer, said: &str, present: &[PeerName]) -> PeerName {
        for guest in &mut self.0 {
            if guest.known.fingerprint == known.fingerprint {
                // All processes of the host share the secret of its last pairing.
                guest.known = known.clone();
            }
        }
        let mut same_host = self
            .0
            .iter_mut()
            .filter(|guest| guest.known.fingerprint == known.fingerprint);
        let is_it = |guest: &&mut Guest| match &guest.said {
            Some(before) => before == said,
            None => guest.name == known.name,
        };
        if let Some(guest) = same_host.find(is_it) {
            guest.said = Some(said.to_owned());
            return guest.name.clone();
        }
        let name = match present.contains(&known.name) {
            false => known.name.clone(),
            true => self.free_name(&PeerName::nearest(said)),
        };
        self.0.retain(|guest| guest.name != name);
        while self.0.len() >= MOST {
            let gone = self
                .0
                .iter()
                .position(|guest| !present.contains(&guest.name));
            self.0.remove(gone.unwrap_or(0));
        }
        self.0.push(Guest {
            said: Some(said.to_owned()),
            name: name.clone(),
            known: known.clone(),
        });
        name
    }

    /// Those for whom `wanted` holds, each certificate once.
    pub(super) fn awaited(
        &self,
        wanted: impl Fn(&PeerName, Fingerprint) -> bool,
    ) -> Vec<KnownPeer> {
        let mut awaited: Vec<KnownPeer> = Vec::new();
        for guest in &self.0 {
            let peer = guest.known.fingerprint;
            let is_new = awaited.iter().all(|other| other.fingerprint != peer);
            if is_new && wanted(&guest.name, peer) {
                awaited.push(guest.known.clone());
            }
        }
        awaited
    }

    /// `proposed`, or with the lowest number behind it that nobody here has.
    fn free_name(&self, proposed: &PeerName) -> PeerName {
        let is_free = |name: &PeerName| self.0.iter().all(|guest| guest.name != *name);
        std::iter::once(proposed.clone())
            .chain((2..).map(|number| proposed.numbered(number)))
            .find(is_free)
            .unwrap_or_else(|| proposed.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::pairing::PairSecret;

    fn known(name: &str, seed: u8) -> KnownPeer {
        KnownPeer {
            name: name.parse().unwrap(),
            fingerprint: Fingerprint::of_certificate(&[seed]),
            secret: PairSecret::from_bytes([seed; 32]),
            last_seen: UNIX_EPOCH,
        }
    }

    fn name(guests: &mut Guests, known: &KnownPeer, said: &str, present: &[&str]) -> String {
        let present: Vec<PeerName> = present.iter().map(|name| name.parse().unwrap()).collect();
        guests.name(known, said, &present).to_string()
    }

    #[test]
    fn a_peer_has_its_known_name_and_a_second_process_of_its_host_the_one_it_says() {
        let mut guests = Guests::default();
        let web = known("web", 1);
        assert_eq!(name(&mut guests, &web, "web", &[]), "web");
        assert_eq!(name(&mut guests, &web, "worker", &["web"]), "worker");
        // Whoever returns is who it was, whoever else is here.
        assert_eq!(name(&mut guests, &web, "worker", &["web"]), "worker");
        assert_eq!(name(&mut guests, &web, "web", &["worker"]), "web");
        // Alone, it is the host whatever it says now.
        let mut guests = Guests::default();
        name(&mut guests, &web, "web", &[]);
        assert_eq!(name(&mut guests, &web, "other", &[]), "web");
    }

    #[test]
    fn two_of_one_name_are_told_apart() {
        let mut guests = Guests::default();
        assert_eq!(name(&mut guests, &known("web", 1), "web", &[]), "web");
        // As where the state directory cannot be written.
        assert_eq!(
            name(&mut guests, &known("web", 2), "web", &["web"]),
            "web-2"
        );
        assert_eq!(
            name(&mut guests, &known("web", 3), "web", &["web", "web-2"]),
            "web-3"
        );
    }

    #[test]
    fn a_hostile_name_becomes_a_name_and_many_of_them_are_not_kept() {
        let mut guests = Guests::default();
        let web = known("web", 1);
        name(&mut guests, &web, "web", &[]);
        let evil = name(&mut guests, &web, "\u{1b}[2J../\u{202e}db\r\n", &["web"]);
        assert_eq!(evil, "2J..-db");
        for n in 0..1000 {
            name(&mut guests, &web, &format!("p{n}"), &["web"]);
        }
        assert_eq!(guests.0.len(), MOST);
        assert_eq!(name(&mut guests, &web, "web", &[]), "web");
    }

    #[test]
    fn one_that_has_paired_again_is_awaited_with_its_new_secret_alone() {
        let mut guests = Guests::default();
        guests.expect(known("web", 1));
        let anew = KnownPeer {
            secret: PairSecret::from_bytes([9; 32]),
            ..known("web", 1)
        };
        name(&mut guests, &anew, "web", &[]);
        name(&mut guests, &anew, "worker", &["web"]);
        assert_eq!(guests.awaited(|_, _| true), [anew]);
        assert_eq!(guests.awaited(|_, _| false), []);
    }
}
