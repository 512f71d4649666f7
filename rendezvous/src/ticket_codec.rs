//! Relay tickets: by what a node that has never heard of a session relays it all the same.
//!
//! The session's home makes one for each relay that it names, and each member sends it with its BIND. It is sealed
//! (XChaCha20-Poly1305) under a key that the home and that one relay have: it is the cluster's secret put through HMAC
//! with the relay's number. So a relay that does nothing else is given that key alone, and who breaks into it can make
//! tickets for that very relay and nowhere else. A ticket in the wrong hands is worth nothing, since BIND and ANSWER
//! prove the leg's key, which cannot be read in it.

use std::time::Duration;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use p2pdbg_proto::{
    node::NodeNumber,
    relay::{LegGrant, MAX_TICKET, TICKET_LIFETIME},
    rendezvous::SessionId,
    secret::{Secret, random_bytes},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::keys::{KeyId, KeyLimits};

/// By so much the clocks of two nodes may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(120);

/// What the ticket is for, as its additional data.
const LABEL: &[u8] = b"p2pdbg relay ticket 2";

/// The length of a nonce, in bytes.
const NONCE: usize = 24;

/// What stands at a relay for a session of another node.
pub(crate) type Origin = [u8; 16];

/// What a relay is told of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// Names it at that relay alone: random, and not its name at its home.
    pub(crate) session: SessionId,
    /// The same in all tickets of one session for that relay ([`TicketKey::origin`]), so that it can count them.
    pub(crate) origin: Origin,
    /// Its legs, the listener's first.
    pub(crate) legs: [LegGrant; 2],
    /// On whose account each of them sends, and what that may.
    pub(crate) terms: [Terms; 2],
    /// Until when, in Unix seconds.
    pub(crate) expires: u64,
}

/// What a key may take of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// The key whose account is charged.
    pub(crate) key: KeyId,
    /// What all its sessions may relay, in megabits a second; none for no limit of its own.
    pub(crate) mbit: Option<u64>,
    /// What they may relay in a calendar month, in GiB; none for no limit of its own.
    pub(crate) gib_month: Option<u64>,
    /// How many of them there may be at once; none for no limit of its own.
    pub(crate) sessions: Option<u64>,
}

impl Terms {
    /// Those of a key with these limits.
    pub(crate) fn of(key: KeyId, limits: &KeyLimits) -> Self {
        Self {
            key,
            mbit: limits.relay_mbit,
            gib_month: limits.relay_gib_month,
            sessions: limits.sessions.map(|most| most as u64),
        }
    }
}

/// Makes and opens the tickets of one relay.
#[derive(Clone, Debug)]
pub(crate) struct TicketKey(Secret<32>);

impl TicketKey {
    /// For the relay of this number.
    pub(crate) fn of(cluster: &Secret<32>, relay: NodeNumber) -> Self {
        let key = <Hmac<Sha256> as Mac>::new_from_slice(cluster.expose())
            .expect("HMAC takes keys of any length")
            .chain_update(b"p2pdbg relay ticket key 1")
            .chain_update([relay.get()])
            .finalize()
            .into_bytes();
        Self(Secret::from_bytes(key.into()))
    }

    /// The same as a relay was given it.
    pub(crate) fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// As it is given to a relay.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// What stands for a session at that relay: it says nothing of the session's name at its home.
    pub(crate) fn origin(&self, session: SessionId) -> Origin {
        let whole = <Hmac<Sha256> as Mac>::new_from_slice(self.0.expose())
            .expect("HMAC takes keys of any length")
            .chain_update(b"p2pdbg relay ticket origin 1")
            .chain_update(session.0)
            .finalize()
            .into_bytes();
        std::array::from_fn(|at| whole[at])
    }

    /// A ticket as members send it.
    pub(crate) fn seal(&self, ticket: &Ticket) -> Option<Vec<u8>> {
        let plain = postcard::to_stdvec(ticket).ok()?;
        // Random: there are far fewer tickets than it would take for two to be the same.
        let nonce: [u8; NONCE] = random_bytes();
        let payload = Payload {
            msg: &plain,
            aad: LABEL,
        };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let ticket = [&nonce[..], &sealed.ok()?].concat();
        (ticket.len() <= MAX_TICKET).then_some(ticket)
    }

    /// What a ticket says, if it was made for this relay and is good at that time.
    pub(crate) fn open(&self, sealed: &[u8], unix_s: u64) -> Option<Ticket> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let payload = Payload {
            msg: sealed,
            aad: LABEL,
        };
        let plain = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
        let ticket: Ticket = postcard::from_bytes(&plain.ok()?).ok()?;
        let latest = unix_s.saturating_add((TICKET_LIFETIME + CLOCKS_DIFFER).as_secs());
        let is_good = unix_s < ticket.expires && ticket.expires <= latest;
        is_good.then_some(ticket)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.expose().into())
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::relay::LegId;

    use super::*;

    const NOW: u64 = 1_795_000_000;

    fn number(number: u8) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn ticket(expires: u64) -> Ticket {
        let grant = || LegGrant {
            leg: LegId(random_bytes()),
            key: Secret::random(),
        };
        let limits = KeyLimits {
            relay_mbit: Some(u64::MAX),
            relay_gib_month: Some(u64::MAX),
            sessions: Some(usize::MAX),
            ..KeyLimits::default()
        };
        let terms = Terms::of(KeyId([7; 8]), &limits);
        Ticket {
            session: SessionId(random_bytes()),
            origin: random_bytes(),
            legs: [grant(), grant()],
            terms: [terms; 2],
            expires,
        }
    }

    #[test]
    fn ticket_is_opened_by_its_relay_alone_and_only_whole() {
        let cluster = Secret::random();
        let key = TicketKey::of(&cluster, number(30));
        let ticket = ticket(NOW + 60);
        let sealed = key.seal(&ticket).unwrap();
        let given = TicketKey::from_secret(Secret::from_bytes(*key.expose()));
        assert_eq!(given.open(&sealed, NOW), Some(ticket));
        for other in [
            TicketKey::of(&cluster, number(31)),
            TicketKey::of(&Secret::random(), number(30)),
        ] {
            assert_eq!(other.open(&sealed, NOW), None);
        }
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert_eq!(key.open(&forged, NOW), None, "byte {at}");
            assert_eq!(key.open(&sealed[..at], NOW), None, "cut at {at}");
        }
    }

    #[test]
    fn ticket_is_good_until_it_expires_and_none_is_for_longer_than_tickets_are_made() {
        let key = TicketKey::of(&Secret::random(), number(30));
        let until = |expires| {
            let sealed = key.seal(&ticket(expires)).unwrap();
            key.open(&sealed, NOW).is_some()
        };
        assert!(until(NOW + 1) && until(NOW + TICKET_LIFETIME.as_secs()));
        assert!(!until(NOW) && !until(NOW - 1));
        assert!(!until(NOW + TICKET_LIFETIME.as_secs() + 121) && !until(u64::MAX));
    }

    #[test]
    fn tickets_of_one_session_have_one_origin_at_a_relay_and_another_at_the_next() {
        let cluster = Secret::random();
        let [one, other] = [30, 31].map(|relay| TicketKey::of(&cluster, number(relay)));
        let [session, next] = [(); 2].map(|()| SessionId(random_bytes()));
        assert_eq!(one.origin(session), one.clone().origin(session));
        assert_ne!(one.origin(session), one.origin(next));
        assert_ne!(one.origin(session), other.origin(session));
        assert_ne!(one.origin(session), session.0);
    }

    #[test]
    fn key_of_a_relay_says_nothing_about_the_secret_or_another_relay() {
        let cluster = Secret::random();
        let [one, other] = [30, 31].map(|relay| *TicketKey::of(&cluster, number(relay)).expose());
        assert_ne!(one, other);
        assert_ne!(&one, cluster.expose());
        assert_eq!(one, *TicketKey::of(&cluster, number(30)).expose());
    }
}
