//! Whether a message came undamaged, and from who knows the key: FINGERPRINT and MESSAGE-INTEGRITY-SHA256.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{
    Attribute, FINGERPRINT_LEN, HEADER_LEN, Message, attribute, crc32,
    header::{ATTRIBUTE_HEADER_LEN, FINGERPRINT_XOR},
};

/// What became of the check of a message's FINGERPRINT (RFC 8489 section 14.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// The message has none, which says nothing of it.
    Absent,
    /// It is right: this is STUN, undamaged. It proves nothing of the sender.
    Valid,
    /// It is wrong: damaged on the way, or not STUN after all.
    Invalid,
}

/// What became of the check of a message's MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The message has none of that kind.
    Absent,
    /// The sender knows the key.
    Valid,
    /// The sender does not know the key, or the message was altered.
    Invalid,
}

impl Message<'_> {
    /// Checks the FINGERPRINT, if there is one.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let Some(covered) = self
            .bytes
            .len()
            .checked_sub(FINGERPRINT_LEN)
            .filter(|&n| n >= HEADER_LEN)
        else {
            return Fingerprint::Absent;
        };
        match self.attributes().last() {
            Some(Attribute::Fingerprint(value)) => {
                if crc32::checksum(&self.bytes[..covered]) ^ FINGERPRINT_XOR == value {
                    Fingerprint::Valid
                } else {
                    Fingerprint::Invalid
                }
            }
            _ => Fingerprint::Absent,
        }
    }

    /// Checks the MESSAGE-INTEGRITY-SHA256 under `key`, in constant time.
    ///
    /// Tags truncated to no less than [`SHORTEST_INTEGRITY_TAG_LEN`](super::SHORTEST_INTEGRITY_TAG_LEN) are accepted,
    /// as section 14.6 says.
    #[must_use]
    pub fn integrity(&self, key: &[u8]) -> Integrity {
        let Some((offset, tag)) = attribute::integrity_position(self.bytes) else {
            return Integrity::Absent;
        };
        match integrity_mac(key, &self.bytes[..offset], tag.len()).verify_truncated_left(tag) {
            Ok(()) => Integrity::Valid,
            Err(_) => Integrity::Invalid,
        }
    }
}

/// The HMAC over everything before the integrity attribute, with the header's length as if the message ended with it.
pub(super) fn integrity_mac(key: &[u8], before: &[u8], tag_len: usize) -> Hmac<Sha256> {
    let length = (before.len() - HEADER_LEN + ATTRIBUTE_HEADER_LEN + tag_len) as u16;
    let mut mac =
        <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(&before[..2]);
    mac.update(&length.to_be_bytes());
    mac.update(&before[4..]);
    mac
}
