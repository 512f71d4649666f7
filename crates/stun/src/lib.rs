//! STUN messages (RFC 8489, with the attributes of RFC 5780 and RFC 8445 that p2pdbg uses).
//!
//! The same codec serves three places: the rendezvous answers Binding requests with it, the traversal engine asks
//! STUN servers with it, and connectivity checks between the peers are Binding requests under a shared key. It judges
//! syntax alone. What to answer, whom to believe and how large a reply may be are decisions of its callers; that is
//! why [`Attribute::encoded_len`] and the constants here make the length of a message known before it is written.
//!
//! Left out: the SHA-1 MESSAGE-INTEGRITY (both ends of a check are ours and use the SHA-256 one), long-term
//! credentials, TURN, and messages of the classic RFC 3489, which has no magic cookie and is not STUN for us.
//!
//! ```
//! use p2pdbg_stun::{Attribute, Class, Encoder, Message, TransactionId};
//!
//! let mut buffer = [0; 64];
//! let mut request = Encoder::new(&mut buffer, Class::Request, TransactionId([7; 12]))?;
//! request.push(Attribute::Software(b"example "))?;
//! let bytes = request.finish_with_fingerprint()?;
//! let message = Message::decode(bytes).expect("what we encode decodes");
//! assert_eq!(message.class(), Class::Request);
//! # Ok::<(), p2pdbg_stun::EncodeError>(())
//! ```

mod address;
mod attribute;
mod crc32;
mod encode;
mod header;
mod integrity;

pub use self::address::AddressFamily;
pub use self::attribute::{Attribute, AttributeTypes, Attributes, kind};
pub use self::encode::{EncodeError, Encoder};
use self::header::COOKIE_BYTES;
pub use self::header::{
    Class, DecodeError, FINGERPRINT_LEN, HEADER_LEN, METHOD_BINDING, SHORTEST_INTEGRITY_TAG_LEN,
    TransactionId,
};
pub use self::integrity::{Fingerprint, Integrity};

/// A decoded message that borrows the datagram it came in.
///
/// Every attribute has been checked once, so reading them cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: u16,
}

/// How long the message is that begins so, its header included, in bytes: what is to be read of it from a stream (RFC
/// 8489 section 6.2.2). `None` if the header is not there whole.
#[must_use]
pub fn message_length(begins: &[u8]) -> Option<usize> {
    let header = begins.first_chunk::<HEADER_LEN>()?;
    Some(HEADER_LEN + usize::from(u16::from_be_bytes([header[2], header[3]])))
}

impl<'a> Message<'a> {
    /// Decodes a whole datagram.
    ///
    /// # Errors
    /// When it is not STUN, when a length is wrong, or when an attribute that [`Attribute`] knows is malformed.
    /// Unknown attributes are no error; see [`Message::unknown_required`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() < HEADER_LEN || bytes[0] > 3 || bytes[4..8] != COOKIE_BYTES {
            return Err(DecodeError::NotStun);
        }
        let length = message_length(bytes);
        if length != Some(bytes.len()) || !bytes.len().is_multiple_of(4) {
            return Err(DecodeError::WrongLength);
        }
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        let class = match kind & 0x110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        };
        let method = (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2);
        let message = Self {
            bytes,
            class,
            method,
        };
        attribute::check_all(bytes)?;
        Ok(message)
    }

    /// The class of the message.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The method, [`METHOD_BINDING`] for all that p2pdbg sends.
    #[must_use]
    pub fn method(&self) -> u16 {
        self.method
    }

    /// The transaction that the message belongs to.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        TransactionId::of(self.bytes)
    }

    /// The datagram that the message was decoded from.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes in their order.
    ///
    /// Whatever stands between the message integrity and the FINGERPRINT is passed over, since nothing vouches for
    /// it (RFC 8489 section 14.5).
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes)
    }

    /// The address that the server saw: XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS.
    #[must_use]
    pub fn mapped_address(&self) -> Option<std::net::SocketAddr> {
        let xored = self.attributes().find_map(|a| match a {
            Attribute::XorMappedAddress(address) => Some(address),
            _ => None,
        });
        xored.or_else(|| {
            self.attributes().find_map(|a| match a {
                Attribute::MappedAddress(address) => Some(address),
                _ => None,
            })
        })
    }

    /// The types of the comprehension-required attributes (below 0x8000) that this codec does not know, which a
    /// server answers with error 420 (RFC 8489 section 6.3.1).
    pub fn unknown_required(&self) -> impl Iterator<Item = u16> + 'a {
        self.attributes().filter_map(|a| match a {
            // We do not check SHA-1 integrity, but we know what it is.
            Attribute::Other {
                kind: kind::MESSAGE_INTEGRITY,
                ..
            } => None,
            Attribute::Other { kind, .. } if kind < 0x8000 => Some(kind),
            _ => None,
        })
    }
}
