//! Writing a STUN message into a buffer of the caller's, so that a server needs no allocation to answer.

use hmac::Mac;

use super::{
    attribute::Attribute,
    crc32,
    header::{
        ATTRIBUTE_HEADER_LEN, COOKIE_BYTES, Class, FINGERPRINT_XOR, HEADER_LEN, INTEGRITY_TAG_LEN,
        METHOD_BINDING, SHORTEST_INTEGRITY_TAG_LEN, TransactionId,
    },
    integrity::integrity_mac,
};

/// Why a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The buffer is too small for the message.
    #[error("the buffer is too small for the STUN message")]
    NoRoom,
    /// The value breaks the attribute's own rules: an error code outside 300..=699, an integrity tag of a forbidden
    /// length, or a message of more than 65,535 bytes.
    #[error("STUN attribute {0:#06x} cannot have this value")]
    Value(u16),
}

/// Writes one Binding message into a buffer. Finishing consumes it, so nothing can follow the seal.
#[derive(Debug)]
pub struct Encoder<'b> {
    buffer: &'b mut [u8],
    len: usize,
    transaction: TransactionId,
}

impl<'b> Encoder<'b> {
    /// Starts a Binding message.
    ///
    /// # Errors
    /// [`EncodeError::NoRoom`] when not even the header fits.
    pub fn new(
        buffer: &'b mut [u8],
        class: Class,
        transaction: TransactionId,
    ) -> Result<Self, EncodeError> {
        let header = buffer.get_mut(..HEADER_LEN).ok_or(EncodeError::NoRoom)?;
        header[..2].copy_from_slice(&(METHOD_BINDING | class.bits()).to_be_bytes());
        header[2..4].fill(0);
        header[4..8].copy_from_slice(&COOKIE_BYTES);
        header[8..].copy_from_slice(&transaction.0);
        Ok(Self {
            buffer,
            len: HEADER_LEN,
            transaction,
        })
    }

    /// Bytes written so far, the header included.
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "a message is never empty: it has a header"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends an attribute.
    ///
    /// # Errors
    /// [`EncodeError::NoRoom`] when it does not fit, [`EncodeError::Value`] when its value is none that it may have;
    /// the message then stands as it was.
    pub fn push(&mut self, attribute: Attribute<'_>) -> Result<(), EncodeError> {
        let allowed = match attribute {
            Attribute::ErrorCode { code, .. } => (300..=699).contains(&code),
            Attribute::MessageIntegritySha256(tag) => tag_len_allowed(tag.len()),
            _ => true,
        };
        let value_len = attribute.value_len();
        let end = self.len + attribute.encoded_len();
        if !allowed || end - HEADER_LEN > usize::from(u16::MAX) {
            return Err(EncodeError::Value(attribute.kind()));
        }
        let out = self
            .buffer
            .get_mut(self.len..end)
            .ok_or(EncodeError::NoRoom)?;
        out.fill(0);
        out[..2].copy_from_slice(&attribute.kind().to_be_bytes());
        out[2..4].copy_from_slice(&(value_len as u16).to_be_bytes());
        attribute.write_value(
            &mut out[ATTRIBUTE_HEADER_LEN..ATTRIBUTE_HEADER_LEN + value_len],
            self.transaction,
        );
        self.len = end;
        self.buffer[2..4].copy_from_slice(&((end - HEADER_LEN) as u16).to_be_bytes());
        Ok(())
    }

    /// Ends the message as it stands.
    #[must_use]
    pub fn finish(self) -> &'b [u8] {
        &self.buffer[..self.len]
    }

    /// Ends the message with a FINGERPRINT.
    ///
    /// # Errors
    /// [`EncodeError::NoRoom`] when it does not fit.
    pub fn finish_with_fingerprint(mut self) -> Result<&'b [u8], EncodeError> {
        let covered = self.len;
        self.push(Attribute::Fingerprint(0))?;
        let value = crc32::checksum(&self.buffer[..covered]) ^ FINGERPRINT_XOR;
        self.buffer[covered + ATTRIBUTE_HEADER_LEN..self.len].copy_from_slice(&value.to_be_bytes());
        Ok(self.finish())
    }

    /// Ends the message with a MESSAGE-INTEGRITY-SHA256 of `tag_len` bytes under `key`, and a FINGERPRINT.
    ///
    /// # Errors
    /// [`EncodeError::NoRoom`] when they do not fit, [`EncodeError::Value`] when `tag_len` is not one of 16, 20, …, 32.
    pub fn finish_with_integrity(
        mut self,
        key: &[u8],
        tag_len: usize,
    ) -> Result<&'b [u8], EncodeError> {
        let before = self.len;
        let zeroes = [0; INTEGRITY_TAG_LEN];
        let tag = zeroes
            .get(..tag_len)
            .ok_or(EncodeError::Value(super::kind::MESSAGE_INTEGRITY_SHA256))?;
        self.push(Attribute::MessageIntegritySha256(tag))?;
        let mac = integrity_mac(key, &self.buffer[..before], tag_len)
            .finalize()
            .into_bytes();
        self.buffer[before + ATTRIBUTE_HEADER_LEN..self.len].copy_from_slice(&mac[..tag_len]);
        self.finish_with_fingerprint()
    }
}

fn tag_len_allowed(len: usize) -> bool {
    (SHORTEST_INTEGRITY_TAG_LEN..=INTEGRITY_TAG_LEN).contains(&len) && len.is_multiple_of(4)
}
