//! What two peers say to each other through the rendezvous, before and beside their tunnels.
//!
//! A session begins with a key exchange ([`Signal::Pake`] after an introduction by nameplate,
//! [`Signal::Known`] after one by handle), both sides confirm the key, and everything after that is
//! [`Signal::Sealed`] under it. Each signal is one postcard value in the payload of a `Signal` of
//! [`crate::rendezvous`].

use serde::{Deserialize, Serialize};

use sha2::{Digest, Sha256};

use crate::{fingerprint::Fingerprint, node::NodeNumber, rendezvous::Handle};

/// The version of the exchange between peers, the first field of its first message.
pub const VERSION: u16 = 1;

/// What peers say to each other through the rendezvous, which passes it on unread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// The first message of a pairing by code.
    Pake {
        /// The sender's [`VERSION`]: the first field, so that every version can read it.
        version: u16,
        /// The fingerprint of the sender's certificate: a claim until the confirmation.
        fingerprint: Fingerprint,
        /// The sender's SPAKE2 message.
        message: Vec<u8>,
    },
    /// The first message between peers that share a pair secret.
    Known {
        /// The sender's [`VERSION`], first here too.
        version: u16,
        /// Random, new for each session.
        nonce: [u8; 32],
        /// The fingerprint of the sender's certificate, under a pad that both make of the pair secret, so that
        /// the rendezvous cannot tell by it who meets.
        hidden_fingerprint: [u8; 32],
    },
    /// Proof that the sender has the session key. The connector confirms first, so that a guess at the words
    /// cannot be checked without its being noticed.
    Confirm {
        /// A MAC over the transcript under the session key, one label for each role.
        mac: [u8; 32],
    },
    /// The exchange has failed and is over.
    Abort {
        /// Why, for what a person is told.
        reason: AbortReason,
    },
    /// A [`PeerMessage`] under the session key.
    Sealed {
        /// Counts the sender's sealed signals from 0; never used twice with one key.
        counter: u64,
        /// The sealed message with its tag, by XChaCha20-Poly1305.
        ciphertext: Vec<u8>,
    },
}

/// Why a key exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortReason {
    /// The confirmation does not verify: a wrong word, or somebody in the middle.
    Confirmation,
    /// The other side speaks another version.
    Version,
    /// The message was not expected.
    Protocol,
    /// The listener takes no more peers.
    Busy,
    /// The peer has the pair secret, but not the certificate with which it paired.
    Identity,
}

/// What peers say under seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// Who the sender is; the first sealed message.
    Introduce(PeerInfo),
    /// A message of the traversal engine: candidates and what belongs to them.
    Punch(Vec<u8>),
    /// The sender is ending the session.
    Bye,
    /// The sender, a listener, has as many peers as it lets in: there is no session.
    NoPlace,
    /// How far the sender is from the nodes of the rendezvous, those that do not answer left out: by what both say the
    /// connector chooses a relay. At most [`MAX_DISTANCES`] are heeded.
    Distances(Vec<Distance>),
}

/// How far a peer is from one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distance {
    /// The node's number in its cluster.
    pub node: NodeNumber,
    /// The round trip to it in tenths of a millisecond.
    pub tenths_ms: u16,
}

/// The most distances that a peer tells: to each node, and each host that relays alone.
pub const MAX_DISTANCES: usize = 2 * NodeNumber::MOST;

/// What a peer tells about itself. Every text is the peer's claim, to be escaped before it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The name by which the peer wants to be known.
    pub name: String,
    /// Program and version, for the log.
    pub agent: String,
    /// The same for peers on one host, where one port cannot be opened twice.
    pub host: [u8; 16],
    /// Which of the processes with the sender's certificate and role it is, from 1: the lowest number that none of the
    /// others has. One that is started again in the place of another has its number.
    pub process: u16,
    /// The session that the sender still has with this peer. If the receiver has the same one, the two processes have
    /// only lost each other, and go on with it; else a new session begins.
    pub session: Option<SessionTag>,
}

/// Names a session between two processes; both derive it from the handle at which the session resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTag([u8; 16]);

impl SessionTag {
    /// The tag of the session that resumes at this handle: the first half of its SHA-256 under a label.
    pub fn of(handle: &Handle) -> Self {
        let hash = Sha256::new_with_prefix(b"p2pdbg session tag 1").chain_update(handle.expose());
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash.finalize()[..16]);
        Self(tag)
    }
}

/// The longest name of a peer that is kept, in bytes.
pub const MAX_NAME: usize = 64;
