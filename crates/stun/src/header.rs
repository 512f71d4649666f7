//! The header that all messages have, the sizes of their parts, and why bytes are no message.

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 20;

/// Length of an encoded FINGERPRINT attribute, in bytes.
pub const FINGERPRINT_LEN: usize = 8;

/// Length of an untruncated MESSAGE-INTEGRITY-SHA256 value, in bytes.
pub(super) const INTEGRITY_TAG_LEN: usize = 32;

/// Length of the shortest MESSAGE-INTEGRITY-SHA256 value that RFC 8489 section 14.6 allows, in bytes.
pub const SHORTEST_INTEGRITY_TAG_LEN: usize = 16;

/// The number that tells STUN from everything else (RFC 8489 section 5).
const MAGIC_COOKIE: u32 = 0x2112_A442;

/// The Binding method, the only one p2pdbg speaks.
pub const METHOD_BINDING: u16 = 0x001;

pub(super) const COOKIE_BYTES: [u8; 4] = MAGIC_COOKIE.to_be_bytes();
pub(super) const ATTRIBUTE_HEADER_LEN: usize = 4;

pub(super) const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// What a message is: the two class bits of RFC 8489 section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Asks for a response, and is repeated until one comes.
    Request,
    /// Says something and asks for no response.
    Indication,
    /// Answers a request, whose transaction id it bears.
    Success,
    /// Refuses a request; an ERROR-CODE says why.
    Error,
}

impl Class {
    pub(super) const fn bits(self) -> u16 {
        match self {
            Self::Request => 0x000,
            Self::Indication => 0x010,
            Self::Success => 0x100,
            Self::Error => 0x110,
        }
    }
}

/// The 96 bits that tie a response to its request. They must not be guessable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    /// That of a message, whose header is there whole.
    pub(super) fn of(message: &[u8]) -> Self {
        let mut id = [0; 12];
        id.copy_from_slice(&message[8..HEADER_LEN]);
        Self(id)
    }
}

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The datagram is something else: too short, top bits set, or no magic cookie.
    #[error("not a STUN message")]
    NotStun,
    /// The length in the header is not the length of what follows it.
    #[error("the STUN header gives a wrong length")]
    WrongLength,
    /// An attribute reaches past the end of the message.
    #[error("STUN attribute {0:#06x} is cut off")]
    Truncated(u16),
    /// An attribute that we understand has a value that its definition forbids.
    #[error("STUN attribute {0:#06x} is malformed")]
    Malformed(u16),
    /// Something follows the FINGERPRINT, which has to be last (RFC 8489 section 14.7).
    #[error("the STUN fingerprint is not the last attribute")]
    AfterFingerprint,
}
