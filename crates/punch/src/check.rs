//! The connectivity check on the wire: a Binding request under the sender's key, and its answer.
//!
//! RFC 8445 section 7, cut down to what two engines of the same make need: no USERNAME and no priority, since there is
//! one session per key, and no role attributes, since each role has its own key.
//!
//! What ICE lacks: a path may carry small datagrams and lose large ones, and QUIC begins with 1,200 bytes. So those
//! checks that decide on a path are [`WIDE`], and an answer is as long as the check was: both directions are proven at
//! once, and nobody gets more bytes than were sent.

use std::net::SocketAddr;

use hkdf::Hkdf;
use p2pdbg_stun::{
    Attribute, Class, EncodeError, Encoder, FINGERPRINT_LEN, Fingerprint, Integrity, Message,
    SHORTEST_INTEGRITY_TAG_LEN, TransactionId,
};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{PunchKey, Role, Technique};

/// Numbers the nominations of the controlling side, so that a late copy of an earlier one does not undo a later one.
/// The number that WebRTC's renomination uses.
const NOMINATION: u16 = 0xC001;

/// Length in bytes of a check that proves that a path carries the tunnel's datagrams: the least that QUIC does with
/// (RFC 9000 section 14).
pub(crate) const WIDE: usize = 1200;

/// Length of the longest message that this module writes without padding, in bytes.
const LONGEST: usize = 96;

/// How long a message is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// As short as it can be.
    Short,
    /// Padded to [`WIDE`], to see whether datagrams of that size pass.
    Wide,
}

impl Length {
    /// The length of a message that came.
    pub(crate) fn of(payload: &[u8]) -> Self {
        if payload.len() >= WIDE {
            Self::Wide
        } else {
            Self::Short
        }
    }
}

/// The two keys of a session: each role signs with its own.
pub(crate) struct Keys {
    ours: Zeroizing<[u8; 32]>,
    theirs: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub(crate) fn new(key: &PunchKey, role: Role) -> Self {
        Self {
            ours: derive(key, role),
            theirs: derive(key, role.other()),
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

fn derive(key: &PunchKey, role: Role) -> Zeroizing<[u8; 32]> {
    let label: &[u8] = match role {
        Role::Controlling => b"p2pdbg/punch/1 controlling",
        Role::Controlled => b"p2pdbg/punch/1 controlled",
    };
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, key.bytes())
        .expand(label, &mut *out)
        .expect("32 bytes are within what HKDF gives");
    out
}

/// A nomination: its number, and what the controlling side holds to have made the path work, so that both say the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nominated {
    pub(crate) number: u32,
    pub(crate) technique: Technique,
}

impl Nominated {
    fn encode(self) -> [u8; 5] {
        let [a, b, c, d] = self.number.to_be_bytes();
        [a, b, c, d, self.technique.code()]
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let &[a, b, c, d, code] = value else {
            return None;
        };
        Some(Self {
            number: u32::from_be_bytes([a, b, c, d]),
            technique: Technique::from_code(code)?,
        })
    }
}

/// What an authenticated message of the peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromPeer {
    /// A check: asks for an answer from where it arrives.
    Request {
        transaction: TransactionId,
        /// The nomination, if this check nominates its pair.
        nomination: Option<Nominated>,
    },
    /// The answer to a check.
    Response {
        transaction: TransactionId,
        /// How the peer sees this end.
        mapped: Option<SocketAddr>,
    },
}

/// Reads a message as the peer's; `None` for everything that its key does not vouch for.
pub(crate) fn read(keys: &Keys, message: &Message<'_>) -> Option<FromPeer> {
    if message.integrity(&*keys.theirs) != Integrity::Valid
        || message.fingerprint() != Fingerprint::Valid
    {
        return None;
    }
    let transaction = message.transaction();
    match message.class() {
        Class::Request => {
            let mut nominates = false;
            let mut nominated = None;
            for attribute in message.attributes() {
                match attribute {
                    Attribute::UseCandidate => nominates = true,
                    Attribute::Other {
                        kind: NOMINATION,
                        value,
                    } => nominated = Nominated::decode(value),
                    _ => {}
                }
            }
            Some(FromPeer::Request {
                transaction,
                nomination: nominated.filter(|_| nominates),
            })
        }
        Class::Success => Some(FromPeer::Response {
            transaction,
            mapped: message.mapped_address(),
        }),
        Class::Indication | Class::Error => None,
    }
}

/// A check, nominating its pair if there is a `nomination`.
pub(crate) fn request(
    keys: &Keys,
    transaction: TransactionId,
    nomination: Option<Nominated>,
    length: Length,
) -> Vec<u8> {
    build(keys, Class::Request, transaction, length, |message| {
        if let Some(nominated) = nomination {
            message.push(Attribute::UseCandidate)?;
            message.push(Attribute::Other {
                kind: NOMINATION,
                value: &nominated.encode(),
            })?;
        }
        Ok(())
    })
}

/// The answer to a check of this length that came from `source`.
pub(crate) fn response(
    keys: &Keys,
    transaction: TransactionId,
    source: SocketAddr,
    length: Length,
) -> Vec<u8> {
    build(keys, Class::Success, transaction, length, |message| {
        message.push(Attribute::XorMappedAddress(source))
    })
}

/// What stands around the padding: its own header, and what follows it.
fn around_padding() -> usize {
    let tag = [0; SHORTEST_INTEGRITY_TAG_LEN];
    Attribute::Padding(0).encoded_len()
        + Attribute::MessageIntegritySha256(&tag).encoded_len()
        + FINGERPRINT_LEN
}

fn build(
    keys: &Keys,
    class: Class,
    transaction: TransactionId,
    length: Length,
    attributes: impl FnOnce(&mut Encoder<'_>) -> Result<(), EncodeError>,
) -> Vec<u8> {
    let (mut short, mut wide) = ([0; LONGEST], [0; WIDE]);
    let buffer: &mut [u8] = match length {
        Length::Short => &mut short,
        Length::Wide => &mut wide,
    };
    let written = Encoder::new(buffer, class, transaction).and_then(|mut message| {
        attributes(&mut message)?;
        if length == Length::Wide {
            message.push(Attribute::Padding(
                (WIDE - around_padding() - message.len()) as u16,
            ))?;
        }
        message.finish_with_integrity(&*keys.ours, SHORTEST_INTEGRITY_TAG_LEN)
    });
    written
        .expect("the buffer holds the longest of these messages")
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> (Keys, Keys) {
        let key = PunchKey::new([5; 32]);
        (
            Keys::new(&key, Role::Controlling),
            Keys::new(&key, Role::Controlled),
        )
    }

    const ID: TransactionId = TransactionId([9; 12]);

    #[test]
    fn a_check_is_read_by_the_other_side_and_by_nobody_else() {
        let (ours, theirs) = both();
        let nominated = Nominated {
            number: 7,
            technique: Technique::Lan,
        };
        for length in [Length::Short, Length::Wide] {
            let bytes = request(&ours, ID, Some(nominated), length);
            let message = Message::decode(&bytes).unwrap();
            let expected = FromPeer::Request {
                transaction: ID,
                nomination: Some(nominated),
            };
            assert_eq!(read(&theirs, &message), Some(expected));
            assert_eq!(read(&ours, &message), None, "reflected to its sender");
            let stranger = Keys::new(&PunchKey::new([6; 32]), Role::Controlled);
            assert_eq!(read(&stranger, &message), None);
        }
    }

    #[test]
    fn an_answer_tells_how_the_sender_was_seen() {
        let (ours, theirs) = both();
        for source in ["192.0.2.9:4", "[2001:db8::9]:4"] {
            let source = source.parse().unwrap();
            let bytes = response(&theirs, ID, source, Length::Short);
            assert!(bytes.len() <= LONGEST);
            let wide = response(&theirs, ID, source, Length::Wide);
            assert_eq!(wide.len(), WIDE, "as long as the check");
            let expected = FromPeer::Response {
                transaction: ID,
                mapped: Some(source),
            };
            assert_eq!(
                read(&ours, &Message::decode(&bytes).unwrap()),
                Some(expected)
            );
        }
    }
}
