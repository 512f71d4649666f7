//! STUN attributes: their numbers, and one value's bytes to a type and back.

use std::net::SocketAddr;

use super::address::{self, AddressFamily};
use super::header::{
    ATTRIBUTE_HEADER_LEN, DecodeError, HEADER_LEN, INTEGRITY_TAG_LEN, SHORTEST_INTEGRITY_TAG_LEN,
    TransactionId,
};

/// The registered numbers of the attributes that [`Attribute`] knows.
#[allow(missing_docs, reason = "the names are the registry's own")]
pub mod kind {
    pub(crate) const MAPPED_ADDRESS: u16 = 0x0001;
    pub const CHANGE_REQUEST: u16 = 0x0003;
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const PRIORITY: u16 = 0x0024;
    pub(crate) const USE_CANDIDATE: u16 = 0x0025;
    pub(crate) const PADDING: u16 = 0x0026;
    pub(crate) const RESPONSE_PORT: u16 = 0x0027;
    pub(crate) const SOFTWARE: u16 = 0x8022;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
    pub(crate) const ICE_CONTROLLED: u16 = 0x8029;
    pub(crate) const ICE_CONTROLLING: u16 = 0x802A;
    pub(crate) const RESPONSE_ORIGIN: u16 = 0x802B;
    pub(crate) const OTHER_ADDRESS: u16 = 0x802C;
}

/// An attribute. Numbers of the sections are RFC 8489's unless another RFC is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// The reflexive address in the clear (14.1), for old clients.
    MappedAddress(SocketAddr),
    /// Asks for the response from another address or port (RFC 5780 section 7.2).
    ChangeRequest {
        /// From the server's other IP address.
        ip: bool,
        /// From the server's other port.
        port: bool,
    },
    /// Who asks (14.3). Checks between the peers do without.
    Username(&'a [u8]),
    /// Why a request was refused (14.8): a code of 300..=699 and a phrase.
    ErrorCode {
        /// The code, of 300..=699.
        code: u16,
        /// The phrase, UTF-8 by its definition. A phrase whose length is a multiple of four spares old parsers,
        /// which know no padding, from reading the rest wrong.
        reason: &'a [u8],
    },
    /// What a request held that the server does not understand (14.9).
    UnknownAttributes(AttributeTypes<'a>),
    /// The HMAC-SHA256 over what stands before it (14.6), of 16 to 32 bytes.
    MessageIntegritySha256(&'a [u8]),
    /// The reflexive address, masked so that no helpful middlebox rewrites it (14.2).
    XorMappedAddress(SocketAddr),
    /// The priority of the peer-reflexive candidate that a check may reveal (RFC 8445 section 7.1.1).
    Priority(u32),
    /// Nominates the pair that it is sent on (RFC 8445 section 7.1.2).
    UseCandidate,
    /// Bytes that only make a message longer (RFC 5780 section 7.6); here their count.
    Padding(u16),
    /// Asks for the response at another port of the sender's address (RFC 5780 section 7.5).
    ResponsePort(u16),
    /// Name and version of the sender (14.14).
    Software(&'a [u8]),
    /// The masked CRC-32 over what stands before it (14.7).
    Fingerprint(u32),
    /// The sender is the controlled side; its tie-breaker (RFC 8445 section 7.1.3).
    IceControlled(u64),
    /// The sender is the controlling side; its tie-breaker (RFC 8445 section 7.1.3).
    IceControlling(u64),
    /// The address that the response was sent from (RFC 5780 section 7.3).
    ResponseOrigin(SocketAddr),
    /// The server's other address and port (RFC 5780 section 7.4).
    OtherAddress(SocketAddr),
    /// One that this codec does not know.
    Other {
        /// Its number. Below 0x8000, a receiver that does not know it must refuse the request.
        kind: u16,
        /// Its value, without padding.
        value: &'a [u8],
    },
}

/// The list in an UNKNOWN-ATTRIBUTES attribute.
#[derive(Clone, Copy, Debug)]
pub struct AttributeTypes<'a>(TypeList<'a>);

#[derive(Clone, Copy, Debug)]
enum TypeList<'a> {
    Numbers(&'a [u16]),
    Bytes(&'a [u8]),
}

impl<'a> AttributeTypes<'a> {
    /// The numbers of the attributes, in their order; one may stand there twice to fill the list up.
    pub fn iter(&self) -> impl Iterator<Item = u16> + 'a {
        let (numbers, bytes): (&[u16], &[u8]) = match self.0 {
            TypeList::Numbers(numbers) => (numbers, &[]),
            TypeList::Bytes(bytes) => (&[], bytes),
        };
        numbers.iter().copied().chain(
            bytes
                .chunks_exact(2)
                .map(|two| u16::from_be_bytes([two[0], two[1]])),
        )
    }

    fn value_len(&self) -> usize {
        match self.0 {
            TypeList::Numbers(numbers) => numbers.len() * 2,
            TypeList::Bytes(bytes) => bytes.len(),
        }
    }
}

impl<'a> From<&'a [u16]> for AttributeTypes<'a> {
    fn from(numbers: &'a [u16]) -> Self {
        Self(TypeList::Numbers(numbers))
    }
}

impl PartialEq for AttributeTypes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for AttributeTypes<'_> {}

impl<'a> Attribute<'a> {
    /// The number of its type on the wire.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::MappedAddress(_) => kind::MAPPED_ADDRESS,
            Self::ChangeRequest { .. } => kind::CHANGE_REQUEST,
            Self::Username(_) => kind::USERNAME,
            Self::ErrorCode { .. } => kind::ERROR_CODE,
            Self::UnknownAttributes(_) => kind::UNKNOWN_ATTRIBUTES,
            Self::MessageIntegritySha256(_) => kind::MESSAGE_INTEGRITY_SHA256,
            Self::XorMappedAddress(_) => kind::XOR_MAPPED_ADDRESS,
            Self::Priority(_) => kind::PRIORITY,
            Self::UseCandidate => kind::USE_CANDIDATE,
            Self::Padding(_) => kind::PADDING,
            Self::ResponsePort(_) => kind::RESPONSE_PORT,
            Self::Software(_) => kind::SOFTWARE,
            Self::Fingerprint(_) => kind::FINGERPRINT,
            Self::IceControlled(_) => kind::ICE_CONTROLLED,
            Self::IceControlling(_) => kind::ICE_CONTROLLING,
            Self::ResponseOrigin(_) => kind::RESPONSE_ORIGIN,
            Self::OtherAddress(_) => kind::OTHER_ADDRESS,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// Length of the encoded attribute with its header and padding, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        ATTRIBUTE_HEADER_LEN + self.value_len().next_multiple_of(4)
    }

    pub(super) fn value_len(&self) -> usize {
        match self {
            Self::MappedAddress(address)
            | Self::XorMappedAddress(address)
            | Self::ResponseOrigin(address)
            | Self::OtherAddress(address) => {
                AddressFamily::of(address.ip()).attribute_len() - ATTRIBUTE_HEADER_LEN
            }
            Self::ChangeRequest { .. }
            | Self::ResponsePort(_)
            | Self::Priority(_)
            | Self::Fingerprint(_) => 4,
            Self::Username(value) | Self::Software(value) | Self::MessageIntegritySha256(value) => {
                value.len()
            }
            Self::ErrorCode { reason, .. } => 4 + reason.len(),
            Self::UnknownAttributes(types) => types.value_len(),
            Self::UseCandidate => 0,
            Self::Padding(len) => usize::from(*len),
            Self::IceControlled(_) | Self::IceControlling(_) => 8,
            Self::Other { value, .. } => value.len(),
        }
    }

    /// Writes the value into `out`, which is [`Self::value_len`] long and zeroed.
    pub(super) fn write_value(&self, out: &mut [u8], transaction: TransactionId) {
        match self {
            Self::MappedAddress(address)
            | Self::ResponseOrigin(address)
            | Self::OtherAddress(address) => {
                address::write(out, *address, &address::NO_MASK);
            }
            Self::XorMappedAddress(address) => {
                address::write(out, *address, &address::xor_mask(transaction))
            }
            Self::ChangeRequest { ip, port } => out[3] = u8::from(*ip) << 2 | u8::from(*port) << 1,
            // Two bytes of padding follow, which the RFC draws into the value.
            Self::ResponsePort(port) => out[..2].copy_from_slice(&port.to_be_bytes()),
            Self::Username(value) | Self::Software(value) | Self::MessageIntegritySha256(value) => {
                out.copy_from_slice(value);
            }
            Self::ErrorCode { code, reason } => {
                out[2] = (code / 100) as u8;
                out[3] = (code % 100) as u8;
                out[4..].copy_from_slice(reason);
            }
            Self::UnknownAttributes(types) => {
                for (two, number) in out.chunks_exact_mut(2).zip(types.iter()) {
                    two.copy_from_slice(&number.to_be_bytes());
                }
            }
            Self::Priority(value) | Self::Fingerprint(value) => {
                out.copy_from_slice(&value.to_be_bytes())
            }
            Self::UseCandidate | Self::Padding(_) => {}
            Self::IceControlled(value) | Self::IceControlling(value) => {
                out.copy_from_slice(&value.to_be_bytes())
            }
            Self::Other { value, .. } => out.copy_from_slice(value),
        }
    }

    /// Reads one value; `None` when its definition forbids it.
    fn read(kind: u16, value: &'a [u8], transaction: TransactionId) -> Option<Self> {
        Some(match kind {
            kind::MAPPED_ADDRESS => Self::MappedAddress(address::read(value, &address::NO_MASK)?),
            kind::CHANGE_REQUEST => {
                let flags = u32::from_be_bytes(value.try_into().ok()?);
                Self::ChangeRequest {
                    ip: flags & 4 != 0,
                    port: flags & 2 != 0,
                }
            }
            kind::USERNAME => Self::Username(value).filter_len(value, 513)?,
            kind::ERROR_CODE => Self::read_error_code(value)?,
            kind::UNKNOWN_ATTRIBUTES if value.len().is_multiple_of(2) => {
                Self::UnknownAttributes(AttributeTypes(TypeList::Bytes(value)))
            }
            kind::UNKNOWN_ATTRIBUTES => return None,
            kind::MESSAGE_INTEGRITY_SHA256 => {
                let len = value.len();
                if !(SHORTEST_INTEGRITY_TAG_LEN..=INTEGRITY_TAG_LEN).contains(&len)
                    || !len.is_multiple_of(4)
                {
                    return None;
                }
                Self::MessageIntegritySha256(value)
            }
            kind::XOR_MAPPED_ADDRESS => {
                Self::XorMappedAddress(address::read(value, &address::xor_mask(transaction))?)
            }
            kind::PRIORITY => Self::Priority(u32::from_be_bytes(value.try_into().ok()?)),
            kind::USE_CANDIDATE if value.is_empty() => Self::UseCandidate,
            kind::USE_CANDIDATE => return None,
            kind::PADDING => Self::Padding(value.len() as u16),
            kind::RESPONSE_PORT => match *value {
                // Some senders count the padding as the value's, others do not.
                [high, low] | [high, low, _, _] => {
                    Self::ResponsePort(u16::from_be_bytes([high, low]))
                }
                _ => return None,
            },
            kind::SOFTWARE => Self::Software(value).filter_len(value, 763)?,
            kind::FINGERPRINT => Self::Fingerprint(u32::from_be_bytes(value.try_into().ok()?)),
            kind::ICE_CONTROLLED => Self::IceControlled(u64::from_be_bytes(value.try_into().ok()?)),
            kind::ICE_CONTROLLING => {
                Self::IceControlling(u64::from_be_bytes(value.try_into().ok()?))
            }
            kind::RESPONSE_ORIGIN => Self::ResponseOrigin(address::read(value, &address::NO_MASK)?),
            kind::OTHER_ADDRESS => Self::OtherAddress(address::read(value, &address::NO_MASK)?),
            kind => Self::Other { kind, value },
        })
    }

    fn read_error_code(value: &'a [u8]) -> Option<Self> {
        let [_, _, class, number, reason @ ..] = value else {
            return None;
        };
        let (class, number) = (u16::from(class & 7), u16::from(*number));
        if !(3..=6).contains(&class) || number > 99 {
            return None;
        }
        let code = class * 100 + number;
        Self::ErrorCode { code, reason }.filter_len(reason, 763)
    }

    fn filter_len(self, value: &[u8], most: usize) -> Option<Self> {
        (value.len() <= most).then_some(self)
    }
}

/// The attributes of a message in their order; see [`Message::attributes`](super::Message::attributes).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    raw: RawAttributes<'a>,
    transaction: TransactionId,
    /// Whether MESSAGE-INTEGRITY, or MESSAGE-INTEGRITY-SHA256, has been read: after it only some attributes count.
    sealed: (bool, bool),
}

impl<'a> Attributes<'a> {
    /// Of these bytes, a message that was checked.
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            raw: RawAttributes::new(message),
            transaction: TransactionId::of(message),
            sealed: (false, false),
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // `check_all` saw no error in the same bytes, so what fails here cannot occur.
            let (_, kind, value) = self.raw.next()?.ok()?;
            let counts = match (self.sealed, kind) {
                (_, kind::FINGERPRINT) | ((false, false), _) => true,
                ((true, false), kind) => kind == kind::MESSAGE_INTEGRITY_SHA256,
                ((_, true), _) => false,
            };
            self.sealed.0 |= kind == kind::MESSAGE_INTEGRITY;
            self.sealed.1 |= kind == kind::MESSAGE_INTEGRITY_SHA256;
            if counts {
                return Attribute::read(kind, value, self.transaction);
            }
        }
    }
}

/// Walks over headers, values and padding: where an attribute starts, its number and its value.
#[derive(Clone, Debug)]
struct RawAttributes<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> RawAttributes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            offset: HEADER_LEN,
        }
    }
}

impl<'a> Iterator for RawAttributes<'a> {
    type Item = Result<(usize, u16, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        // A message is a whole number of words, so a header is there or nothing is.
        let [k0, k1, l0, l1, rest @ ..] = self.bytes.get(offset..)? else {
            return None;
        };
        let kind = u16::from_be_bytes([*k0, *k1]);
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let Some(value) = rest.get(..len) else {
            self.offset = self.bytes.len();
            return Some(Err(DecodeError::Truncated(kind)));
        };
        self.offset = offset + ATTRIBUTE_HEADER_LEN + len.next_multiple_of(4);
        Some(Ok((offset, kind, value)))
    }
}

/// Checks every attribute once, including those that [`Attributes`] passes over.
pub(super) fn check_all(message: &[u8]) -> Result<(), DecodeError> {
    let transaction = TransactionId::of(message);
    let mut fingerprinted = false;
    for raw in RawAttributes::new(message) {
        let (_, kind, value) = raw?;
        if fingerprinted {
            return Err(DecodeError::AfterFingerprint);
        }
        Attribute::read(kind, value, transaction).ok_or(DecodeError::Malformed(kind))?;
        fingerprinted = kind == kind::FINGERPRINT;
    }
    Ok(())
}

/// Where the first MESSAGE-INTEGRITY-SHA256 starts, and its tag.
pub(super) fn integrity_position(message: &[u8]) -> Option<(usize, &[u8])> {
    RawAttributes::new(message)
        .filter_map(Result::ok)
        .find(|(_, kind, _)| *kind == kind::MESSAGE_INTEGRITY_SHA256)
        .map(|(offset, _, tag)| (offset, tag))
}
