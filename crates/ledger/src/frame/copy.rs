//! A copy of a few bytes that a carrier brings too.

use super::{FrameError, Reader};
use crate::StreamId;

const COPY: u8 = 0x02;

/// The first bytes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyHeader {
    /// The stream that the bytes belong to.
    pub stream: StreamId,
    /// The offset of the first byte that follows.
    pub offset: u64,
}

impl CopyHeader {
    /// The header's length, in bytes.
    pub const LEN: usize = 17;

    /// The header as it goes before the bytes.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [COPY; Self::LEN];
        out[1..9].copy_from_slice(&self.stream.to_u64().to_be_bytes());
        out[9..].copy_from_slice(&self.offset.to_be_bytes());
        out
    }

    /// Reads a header; what follows [`Self::LEN`] bytes is the copy.
    ///
    /// # Errors
    /// If the bytes are no copy, or end within the header.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader(bytes);
        match reader.u8()? {
            COPY => {}
            other => return Err(FrameError::UnknownType(other)),
        }
        Ok(Self {
            stream: reader.stream()?,
            offset: reader.offset()?,
        })
    }
}
