//! From one shared secret to a key for each purpose.
//!
//! HKDF-SHA256 (RFC 5869): the secret is extracted with the transcript of the exchange as salt, so that two
//! sides that saw different messages, fingerprints, roles or versions share no key at all; each key is then
//! expanded under a label of its own, so that none says anything about another.

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p2pdbg_proto::{
    rendezvous::{Handle, Role},
    secret::Secret,
};
use p2pdbg_punch::PunchKey;
use sha2::{Digest, Sha256};

use super::{TunnelKey, mac::hmac};

/// The keys of one session, one for each purpose. They live as long as the two processes do.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    /// Proves that a tunnel belongs to this session.
    pub tunnel: TunnelKey,
    /// Authenticates the checks of the traversal engine.
    pub punch: PunchKey,
    /// Where the two processes meet when they have lost each other's session at the rendezvous. They need no
    /// exchange there: what they say is sealed, and the counters go on.
    pub resume: Handle,
}

/// What two hosts share once they have paired, for the next time. New at each pairing by code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairSecret(Secret<32>);

impl PairSecret {
    /// Takes over bytes that were kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The bytes, to be kept.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Where the two meet at the rendezvous, which learns from it that the same two meet again, and no more.
    pub fn meeting_handle(&self) -> Handle {
        expand(&Hkdf::new(None, self.expose()), "meet")
    }

    /// Hides the fingerprint that the side of that role sends with `nonce`, or shows it again.
    pub(super) fn mask(&self, role: Role, nonce: &[u8; 32], bytes: &[u8; 32]) -> [u8; 32] {
        let hkdf = Hkdf::new(Some(nonce), self.expose());
        let pad = match role {
            Role::Connector => expand(&hkdf, "hide connector"),
            Role::Listener => expand(&hkdf, "hide listener"),
        };
        let mut masked = *bytes;
        for (byte, pad) in masked.iter_mut().zip(pad.expose()) {
            *byte ^= pad;
        }
        masked
    }
}

/// What both sides have seen of an exchange, hashed: fields of any length, each with its length before it.
pub(super) struct Transcript(Sha256);

impl Transcript {
    /// Begins with what kind of exchange it is.
    pub(super) fn new(label: &str) -> Self {
        Self(Sha256::new()).field(label.as_bytes())
    }

    /// Adds a field; neither its content nor its length can be taken for another's.
    pub(super) fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The keys of an exchange, before and after it is confirmed.
pub(super) struct Schedule {
    prk: Secret<32>,
    transcript: [u8; 32],
}

impl Schedule {
    /// Extracts from what the exchange gave both sides.
    pub(super) fn new(shared: &[u8], transcript: Transcript) -> Self {
        let transcript = transcript.finish();
        let (prk, _) = Hkdf::<Sha256>::extract(Some(&transcript), shared);
        Self {
            prk: Secret::from_bytes(prk.into()),
            transcript,
        }
    }

    /// What the side of that role sends to show that it has the key.
    pub(super) fn confirmation(&self, role: Role) -> [u8; 32] {
        self.confirmation_mac(role).finalize().into_bytes().into()
    }

    /// Whether `mac` is the confirmation of the side of that role; in constant time.
    pub(super) fn confirms(&self, role: Role, mac: &[u8; 32]) -> bool {
        self.confirmation_mac(role).verify_slice(mac).is_ok()
    }

    fn confirmation_mac(&self, role: Role) -> Hmac<Sha256> {
        let key = self.expand(match role {
            Role::Connector => "confirm connector",
            Role::Listener => "confirm listener",
        });
        hmac(key.expose()).chain_update(self.transcript)
    }

    /// The key under which the side of that role seals.
    pub(super) fn sealing(&self, sender: Role) -> Secret<32> {
        self.expand(match sender {
            Role::Connector => "seal connector",
            Role::Listener => "seal listener",
        })
    }

    pub(super) fn session_keys(&self) -> SessionKeys {
        SessionKeys {
            tunnel: TunnelKey::new(self.expand("tunnel")),
            punch: PunchKey::new(*self.expand("punch").expose()),
            resume: self.expand("resume"),
        }
    }

    pub(super) fn pair_secret(&self) -> PairSecret {
        PairSecret(self.expand("pair"))
    }

    fn expand(&self, purpose: &str) -> Secret<32> {
        let hkdf = Hkdf::from_prk(self.prk.expose()).expect("the key is as long as the hash");
        expand(&hkdf, purpose)
    }
}

fn expand(hkdf: &Hkdf<Sha256>, purpose: &str) -> Secret<32> {
    let mut key = [0; 32];
    hkdf.expand_multi_info(&[b"p2pdbg 1 ", purpose.as_bytes()], &mut key)
        .expect("a key of 32 bytes is not too long for HKDF-SHA256");
    Secret::from_bytes(key)
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use p2pdbg_proto::tunnel::PathKind;

    use super::*;

    fn schedule() -> Schedule {
        let transcript = Transcript::new("test").field(b"a").field(b"");
        Schedule::new(&[7; 32], transcript)
    }

    fn hex(bytes: &[u8]) -> String {
        HEXLOWER.encode(bytes)
    }

    /// Against the same computed with Python's hmac and hashlib.
    #[test]
    fn the_schedule_is_the_one_that_is_written_down() {
        let schedule = schedule();
        assert_eq!(
            hex(&schedule.transcript),
            "aef532c826b1135b563f8e3cfe595e69af2ef710005912f9bf37178f94c2adc7"
        );
        assert_eq!(
            hex(&schedule.confirmation(Role::Connector)),
            "cf8f0830aa2a812f47d80eff29524117cefc262fe2b7e796cd8fed6ba0a3f0ab"
        );
        assert_eq!(
            hex(&schedule.confirmation(Role::Listener)),
            "7cdb24ebf5d15560055589f1a7e4e64441eb139d2aac312dfa3171b9b58ce7c4"
        );
        assert_eq!(
            hex(schedule.sealing(Role::Connector).expose()),
            "58f3dbcceef983e7991c711b3c3cda652ba5af99906e388a837a50ac61d8c09e"
        );
        assert_eq!(
            hex(schedule.sealing(Role::Listener).expose()),
            "c7464412b3def2fb9014ff03726bd5d5bbfbd1f1de5b958c3e4ed3faca226571"
        );
        let tunnel = schedule.session_keys().tunnel;
        assert_eq!(
            hex(&tunnel.prove(Role::Listener, 1, PathKind::Direct, &[6; 32])),
            "c9bf3b0a2ffe652bd8e4e74a49704e67b296fc0dff27777f450d81a0758a8324"
        );
        assert_eq!(
            hex(schedule.session_keys().resume.expose()),
            "f895186567fddadce666e4731b3cad310b1dffa76eb2a0e44e4eded8156fdceb"
        );
        assert_eq!(
            hex(schedule.pair_secret().expose()),
            "4113a9972c0c38f3dacb113b53812c4bc2dafadf854faa4908a0e0894fb95591"
        );
        assert_eq!(
            hex(PairSecret::from_bytes([9; 32]).meeting_handle().expose()),
            "409ff669c8681db941c0616cc22822a9fd9f26df1f53494fc427eca55ede0902"
        );
    }

    #[test]
    fn fields_of_a_transcript_cannot_be_shifted_into_each_other() {
        let hash = |fields: &[&[u8]]| {
            fields
                .iter()
                .fold(Transcript::new("test"), |transcript, field| {
                    transcript.field(field)
                })
                .finish()
        };
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"ab", b""]));
    }

    #[test]
    fn debug_of_keys_shows_nothing_of_them() {
        let shown = format!(
            "{:?} {:?}",
            schedule().session_keys(),
            schedule().pair_secret()
        );
        assert_eq!(
            shown,
            "SessionKeys { tunnel: TunnelKey(<secret>), punch: PunchKey(..), resume: <secret> } \
             PairSecret(<secret>)"
        );
    }
}
