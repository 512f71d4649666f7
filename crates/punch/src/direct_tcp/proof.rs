//! Proof that a TCP connection leads to the peer, before any byte of it is believed.
//!
//! ```text
//! HELLO    10 | version 2 | nonce (32) | tag (32)
//! PROOF    11 | version 2 | mac (32)
//! ANSWER   12 | version 2 | nonce (32) | tag (32)
//! ```
//!
//! Whoever dialled says HELLO first; in a simultaneous open both did. Whoever accepted says nothing before a HELLO,
//! and then ANSWER. Who dialled gives its PROOF when it has the other's HELLO or ANSWER; whoever accepted proves itself
//! only to a peer that has. The MAC is under the role's own key and covers both nonces, so it is of use once, on this
//! connection, in one direction. The tag is under the same key and covers the first message alone: somebody may repeat
//! it who has seen it on its way, so it proves nothing, but a stranger has none. It gets no byte, and its connection
//! may be told from the peer's before the proof is complete.

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{PunchKey, Role};

const HELLO: u8 = 10;
const PROOF: u8 = 11;
const ANSWER: u8 = 12;
const VERSION: u8 = 2;

/// The length of a nonce, a tag and a MAC, in bytes.
const LENGTH: usize = 32;

type Key = Zeroizing<[u8; LENGTH]>;

/// One end's part of the proof on one connection; sans-IO.
pub struct TcpProof {
    ours: Key,
    theirs: Key,
    dialled: bool,
    nonce: [u8; LENGTH],
    peers: Option<[u8; LENGTH]>,
}

/// What is to be done after a message of the other end.
#[derive(Debug, PartialEq, Eq)]
pub struct ProofStep {
    /// The message to send to the other end, if one is due.
    pub reply: Option<Vec<u8>>,
    /// Whether the other end has proved to be the peer, and has what it needs to know the same of this one.
    pub proven: bool,
}

/// The other end is not the peer, or breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the connection is not the peer")]
pub struct NotThePeer;

impl TcpProof {
    /// Begins; `dialled` if this end made the connection. The nonce must be random.
    #[must_use]
    pub fn new(key: &PunchKey, role: Role, dialled: bool, nonce: [u8; LENGTH]) -> Self {
        Self {
            ours: derive(key, role),
            theirs: derive(key, role.other()),
            dialled,
            nonce,
            peers: None,
        }
    }

    /// What is said unasked: by whoever dialled.
    #[must_use]
    pub fn begin(&self) -> Option<Vec<u8>> {
        self.dialled.then(|| self.first(HELLO))
    }

    /// Takes a message of the other end.
    ///
    /// # Errors
    /// [`NotThePeer`] for everything but the peer's next message.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<ProofStep, NotThePeer> {
        let (&[kind, version], rest) = bytes.split_first_chunk().ok_or(NotThePeer)?;
        match (kind, version, self.peers) {
            (HELLO | ANSWER, VERSION, None) if kind == HELLO || self.dialled => {
                let (nonce, tag) = rest.split_first_chunk().ok_or(NotThePeer)?;
                let expected = first_tag(&self.theirs, kind, nonce);
                expected.verify_slice(tag).map_err(|_| NotThePeer)?;
                self.peers = Some(*nonce);
                let reply = match self.dialled {
                    true => message(PROOF, &[&self.mac(nonce)]),
                    false => self.first(ANSWER),
                };
                Ok(ProofStep {
                    reply: Some(reply),
                    proven: false,
                })
            }
            (PROOF, VERSION, Some(peers)) => {
                let mac = state(&self.theirs, &peers, &self.nonce);
                mac.verify_slice(rest).map_err(|_| NotThePeer)?;
                let reply = (!self.dialled).then(|| message(PROOF, &[&self.mac(&peers)]));
                Ok(ProofStep {
                    reply,
                    proven: true,
                })
            }
            _ => Err(NotThePeer),
        }
    }

    /// The first message of this end.
    fn first(&self, kind: u8) -> Vec<u8> {
        let tag = first_tag(&self.ours, kind, &self.nonce).finalize();
        message(kind, &[&self.nonce, &tag.into_bytes().into()])
    }

    fn mac(&self, peers: &[u8; LENGTH]) -> [u8; LENGTH] {
        let mac = state(&self.ours, &self.nonce, peers).finalize();
        mac.into_bytes().into()
    }
}

impl std::fmt::Debug for TcpProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TcpProof(..)")
    }
}

fn message(kind: u8, values: &[&[u8; LENGTH]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + values.len() * LENGTH);
    bytes.extend([kind, VERSION]);
    values.iter().for_each(|value| bytes.extend(*value));
    bytes
}

/// What makes a first message the peer's.
fn first_tag(key: &Key, kind: u8, nonce: &[u8; LENGTH]) -> Hmac<Sha256> {
    let mut mac = keyed(key);
    mac.update(b"p2pdbg tcp hello 2");
    mac.update(&[kind]);
    mac.update(nonce);
    mac
}

/// The prover's nonce comes first.
fn state(key: &Key, prover: &[u8; LENGTH], other: &[u8; LENGTH]) -> Hmac<Sha256> {
    let mut mac = keyed(key);
    mac.update(b"p2pdbg tcp path 2");
    mac.update(prover);
    mac.update(other);
    mac
}

fn keyed(key: &Key) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(&**key).expect("HMAC takes keys of any length")
}

fn derive(key: &PunchKey, role: Role) -> Key {
    let label: &[u8] = match role {
        Role::Controlling => b"p2pdbg/punch/1 tcp controlling",
        Role::Controlled => b"p2pdbg/punch/1 tcp controlled",
    };
    let mut out = Zeroizing::new([0; LENGTH]);
    Hkdf::<Sha256>::new(None, key.bytes())
        .expand(label, &mut *out)
        .expect("32 bytes are within what HKDF gives");
    out
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn end(key: [u8; 32], role: Role, dialled: bool, nonce: u8) -> TcpProof {
        TcpProof::new(&PunchKey::new(key), role, dialled, [nonce; 32])
    }

    /// Has both talk until neither has anything to say; what each came to at last.
    fn talk(mut a: TcpProof, mut b: TcpProof) -> [Result<bool, NotThePeer>; 2] {
        let mut outcome = [Ok(false), Ok(false)];
        let mut inboxes = [b.begin(), a.begin()].map(VecDeque::from_iter);
        while inboxes.iter().any(|inbox| !inbox.is_empty()) {
            for (n, end) in [&mut a, &mut b].into_iter().enumerate() {
                let Some(bytes) = inboxes[n].pop_front() else {
                    continue;
                };
                match end.handle(&bytes) {
                    Ok(step) => {
                        outcome[n] = outcome[n].map(|proven| proven || step.proven);
                        inboxes[1 - n].extend(step.reply);
                    }
                    Err(error) => outcome[n] = Err(error),
                }
            }
        }
        outcome
    }

    #[test]
    fn peers_prove_themselves_whichever_of_them_dialled_and_if_both_did() {
        for (a, b) in [(true, false), (false, true), (true, true)] {
            let controlling = end(KEY, Role::Controlling, a, 1);
            let controlled = end(KEY, Role::Controlled, b, 2);
            assert_eq!(talk(controlling, controlled), [Ok(true); 2], "{a} {b}");
        }
    }

    #[test]
    fn who_has_another_key_or_the_same_role_proves_nothing() {
        for (key, role) in [([8; 32], Role::Controlled), (KEY, Role::Controlling)] {
            for dialled in [true, false] {
                let outcome = talk(
                    end(KEY, Role::Controlling, !dialled, 1),
                    end(key, role, dialled, 2),
                );
                assert!(!outcome.contains(&Ok(true)), "{outcome:?}");
            }
        }
    }

    #[test]
    fn stranger_learns_nothing_and_the_accepting_ends_own_words_prove_nothing() {
        let mut accepted = end(KEY, Role::Controlled, false, 1);
        assert_eq!(accepted.begin(), None);
        let forged = message(HELLO, &[&[9; 32], &[9; 32]]);
        assert_eq!(accepted.handle(&forged), Err(NotThePeer));
        // The peer's, of another connection: whoever saw it has the answer, and nothing to go on with.
        let hello = end(KEY, Role::Controlling, true, 9).begin().unwrap();
        let step = accepted.handle(&hello).unwrap();
        assert_eq!(step.reply, Some(accepted.first(ANSWER)));
        let echoed = message(PROOF, &[&accepted.mac(&[9; 32])]);
        assert_eq!(accepted.handle(&echoed), Err(NotThePeer));
        // What an end says is none of what it waits for.
        let mut another = end(KEY, Role::Controlled, false, 1);
        assert_eq!(another.handle(&accepted.first(ANSWER)), Err(NotThePeer));
        assert_eq!(another.handle(&accepted.first(HELLO)), Err(NotThePeer));
    }

    #[test]
    fn proof_of_another_connection_is_of_no_use() {
        let (mut accepted, mut again) = (
            end(KEY, Role::Controlled, false, 1),
            end(KEY, Role::Controlled, false, 3),
        );
        let mut dialling = end(KEY, Role::Controlling, true, 2);
        let hello = dialling.begin().unwrap();
        let answer = accepted.handle(&hello).unwrap().reply.unwrap();
        let proof = dialling.handle(&answer).unwrap().reply.unwrap();
        again.handle(&hello).unwrap();
        assert_eq!(again.handle(&proof), Err(NotThePeer));
        assert!(accepted.handle(&proof).unwrap().proven);
    }

    #[test]
    fn messages_out_of_turn_cut_longer_or_of_another_version_are_nobodys() {
        let hello = end(KEY, Role::Controlling, true, 9).begin().unwrap();
        let mut other = hello.clone();
        other[1] = 1;
        let longer = [&hello[..], &[0]].concat();
        let proof = message(PROOF, &[&[9; 32]]);
        for bytes in [&other[..], &longer, &proof, &hello[..65], &[], &[HELLO]] {
            let mut end = end(KEY, Role::Controlled, false, 1);
            assert_eq!(end.handle(bytes), Err(NotThePeer), "{bytes:?}");
        }
        let mut twice = end(KEY, Role::Controlled, false, 1);
        twice.handle(&hello).unwrap();
        assert_eq!(twice.handle(&hello), Err(NotThePeer));
    }
}
