//! What is said about streams on a tunnel, byte by byte.
//!
//! Every number is big-endian and of fixed width. Offsets are below 2^62. Whatever is not exactly as described here is
//! an error; judging what a well-formed frame *means* is the ledger's part.
//!
//! # Carrier header
//!
//! The first 23 bytes of every carrier; raw bytes of the stream follow to the carrier's end.
//!
//! | at | bytes | field |
//! |---:|------:|-------|
//! |  0 | 1 | type, `0x01` |
//! |  1 | 8 | stream: opener's counter × 2, + 1 if the connector opened it |
//! |  9 | 2 | forward: which forward it belongs to, in the direction's own numbering |
//! | 11 | 4 | ordinal: the carriers of this stream and direction are counted from 0 |
//! | 15 | 8 | offset of the first raw byte |
//!
//! A sender counts on none of its carriers whose ordinal is 8 or more below its newest ([`MAX_CARRIERS`]).
//!
//! # Copies
//!
//! The first 17 bytes of a QUIC datagram (RFC 9221); a few bytes of the stream follow to its end, which a carrier
//! brings too. The receiver takes them if they go on where it is, and drops them otherwise.
//!
//! | at | bytes | field |
//! |---:|------:|-------|
//! |  0 | 1 | type, `0x02` |
//! |  1 | 8 | stream |
//! |  9 | 8 | offset of the first byte that follows |
//!
//! # Frames
//!
//! Each is the whole of one message on the tunnel's control stream, which adds the length. Types `0x40` to `0x4f` are
//! kept for streams ([`Frame::is_type`]); the driver's own messages use others.
//!
//! **Ack** (18 bytes), from the receiver: bytes before `offset` are written to the local socket.
//!
//! | at | bytes | field |
//! |---:|------:|-------|
//! |  0 | 1 | type, `0x40` |
//! |  1 | 8 | stream |
//! |  9 | 8 | offset |
//! | 17 | 1 | ended: `1` if the end at `offset` has been delivered or the receiver wants no more, else `0` |
//!
//! **End** (20 bytes), from the sender: the sequence ends at `offset`. Repeated until an Ack confirms it. It names the
//! forward because it may overtake the first carrier, and so may be what opens the stream.
//!
//! | at | bytes | field |
//! |---:|------:|-------|
//! |  0 | 1 | type, `0x41` |
//! |  1 | 8 | stream |
//! |  9 | 2 | forward |
//! | 11 | 1 | kind: `0` FIN, `1` reset |
//! | 12 | 8 | offset |
//!
//! A reset (21 bytes) has its code behind the offset:
//!
//! | at | bytes | field |
//! |---:|------:|-------|
//! | 20 | 1 | code, see [`ResetCode`] |
//!
//! **Stop** (12 bytes), from the receiver: it wants no more bytes. The sender drops what it holds and answers with an
//! End, until when it is repeated. It may overtake the first carrier too.
//!
//! | at | bytes | field |
//! |---:|------:|-------|
//! |  0 | 1 | type, `0x42` |
//! |  1 | 8 | stream |
//! |  9 | 2 | forward |
//! | 11 | 1 | code, see [`ResetCode`] |
//!
//! [`MAX_CARRIERS`]: crate::MAX_CARRIERS

mod copy;

pub use copy::CopyHeader;

use crate::StreamId;

/// Offsets are below this, as QUIC's are (RFC 9000, section 4.5).
pub(crate) const MAX_OFFSET: u64 = (1 << 62) - 1;

/// The length of the longest frame, in bytes.
pub const MAX_FRAME_LEN: usize = 21;

const CARRIER: u8 = 0x01;
const ACK: u8 = 0x40;
const END: u8 = 0x41;
const STOP: u8 = 0x42;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The type is none that this version knows.
    #[error("unknown type 0x{0:02x}")]
    UnknownType(u8),
    /// It ends within a field.
    #[error("truncated")]
    Truncated,
    /// So many bytes follow behind its last field.
    #[error("{0} bytes too long")]
    Trailing(usize),
    /// An offset is 2^62 or more.
    #[error("offset {0} out of range")]
    Offset(u64),
    /// A field has a value that means nothing.
    #[error("field \"{field}\" has the meaningless value {value}")]
    Value {
        /// The field's name as above.
        field: &'static str,
        /// The value that was read.
        value: u8,
    },
}

/// How one direction of a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// The local program closed its sending half in order.
    Fin,
    /// The connection was torn down.
    Reset(ResetCode),
}

/// Why a stream was torn down, one byte on the wire. Codes that are not named here are kept as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResetCode(pub u8);

impl ResetCode {
    /// The local program reset its connection, or broke it.
    pub const CONNECTION: Self = Self(0);
    /// The end that was to dial does not allow it.
    pub const NOT_ALLOWED: Self = Self(2);
    /// The session ended or was given up.
    pub const SESSION: Self = Self(4);
    /// The peer broke the protocol.
    pub const VIOLATION: Self = Self(5);
}

/// The first bytes of a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CarrierHeader {
    /// The stream whose bytes follow.
    pub stream: StreamId,
    /// The forward to which it belongs.
    pub forward: u16,
    /// Which carrier of the stream and direction it is, counted from 0.
    pub ordinal: u32,
    /// The offset of the first byte that follows.
    pub offset: u64,
}

impl CarrierHeader {
    /// The header's length, in bytes.
    pub const LEN: usize = 23;

    /// The header as it goes before the raw bytes.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [CARRIER; Self::LEN];
        out[1..9].copy_from_slice(&self.stream.to_u64().to_be_bytes());
        out[9..11].copy_from_slice(&self.forward.to_be_bytes());
        out[11..15].copy_from_slice(&self.ordinal.to_be_bytes());
        out[15..].copy_from_slice(&self.offset.to_be_bytes());
        out
    }

    /// Reads a header: the first byte must be a carrier's, the offset below 2^62.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, FrameError> {
        let mut reader = Reader(bytes);
        match reader.u8()? {
            CARRIER => {}
            other => return Err(FrameError::UnknownType(other)),
        }
        let header = Self {
            stream: reader.stream()?,
            forward: reader.u16()?,
            ordinal: reader.u32()?,
            offset: reader.offset()?,
        };
        reader.end(header)
    }

    /// What to answer if the stream has been closed here: the peer may send no more.
    pub fn reply_if_closed(&self) -> Frame {
        Frame::Stop(Stop {
            stream: self.stream,
            forward: self.forward,
            code: ResetCode::CONNECTION,
        })
    }
}

/// The receiver has written everything before `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The stream; the direction is towards the one who sends this.
    pub stream: StreamId,
    /// The first byte that is not acknowledged.
    pub offset: u64,
    /// Whether the end has been delivered too, or no more is wanted.
    pub ended: bool,
}

/// The sender's sequence ends at `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The stream; the direction is from the one who sends this.
    pub stream: StreamId,
    /// The forward to which it belongs.
    pub forward: u16,
    /// In order, or torn down.
    pub kind: EndKind,
    /// The number of bytes in the whole sequence.
    pub offset: u64,
}

/// The receiver wants no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The stream; the direction is towards the one who sends this.
    pub stream: StreamId,
    /// The forward to which it belongs.
    pub forward: u16,
    /// Why the receiver wants no more; the sender ends its direction with the same code.
    pub code: ResetCode,
}

/// A message about one stream on a tunnel's control stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// To the sender: so much is written.
    Ack(Ack),
    /// To the receiver: here it ends.
    End(End),
    /// To the sender: no more, please.
    Stop(Stop),
}

impl Frame {
    /// Whether a message that begins with this byte is one of these frames, known to this version or not.
    pub fn is_type(first: u8) -> bool {
        first & 0xf0 == 0x40
    }

    /// The stream that it is about.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::Ack(ack) => ack.stream,
            Self::End(end) => end.stream,
            Self::Stop(stop) => stop.stream,
        }
    }

    /// The forward that it names, if it is a frame that can open a stream, because it may overtake the first carrier.
    pub fn forward(&self) -> Option<u16> {
        match self {
            Self::Ack(_) => None,
            Self::End(end) => Some(end.forward),
            Self::Stop(stop) => Some(stop.forward),
        }
    }

    /// What to answer if the stream has been closed here, so that a peer whose confirmation was lost comes to its end.
    pub fn reply_if_closed(&self) -> Option<Frame> {
        match self {
            Self::End(end) => Some(Self::Ack(Ack {
                stream: end.stream,
                offset: end.offset,
                ended: true,
            })),
            Self::Ack(_) | Self::Stop(_) => None,
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Ack(Ack {
                stream,
                offset,
                ended,
            }) => {
                out.push(ACK);
                out.extend_from_slice(&stream.to_u64().to_be_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
                out.push(ended.into());
            }
            Self::End(End {
                stream,
                forward,
                kind,
                offset,
            }) => {
                out.push(END);
                out.extend_from_slice(&stream.to_u64().to_be_bytes());
                out.extend_from_slice(&forward.to_be_bytes());
                out.push(matches!(kind, EndKind::Reset(_)).into());
                out.extend_from_slice(&offset.to_be_bytes());
                if let EndKind::Reset(code) = kind {
                    out.push(code.0);
                }
            }
            Self::Stop(Stop {
                stream,
                forward,
                code,
            }) => {
                out.push(STOP);
                out.extend_from_slice(&stream.to_u64().to_be_bytes());
                out.extend_from_slice(&forward.to_be_bytes());
                out.push(code.0);
            }
        }
    }

    /// Reads one frame that is the whole of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader(bytes);
        let frame = match reader.u8()? {
            ACK => Self::Ack(Ack {
                stream: reader.stream()?,
                offset: reader.offset()?,
                ended: reader.flag("ended")?,
            }),
            END => {
                let (stream, forward, reset) =
                    (reader.stream()?, reader.u16()?, reader.flag("kind")?);
                let offset = reader.offset()?;
                let kind = if reset {
                    EndKind::Reset(ResetCode(reader.u8()?))
                } else {
                    EndKind::Fin
                };
                Self::End(End {
                    stream,
                    forward,
                    kind,
                    offset,
                })
            }
            STOP => {
                let (stream, forward) = (reader.stream()?, reader.u16()?);
                Self::Stop(Stop {
                    stream,
                    forward,
                    code: ResetCode(reader.u8()?),
                })
            }
            other => return Err(FrameError::UnknownType(other)),
        };
        reader.end(frame)
    }
}

/// The bytes not yet read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(FrameError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.take().map(u32::from_be_bytes)
    }

    fn stream(&mut self) -> Result<StreamId, FrameError> {
        self.take()
            .map(|bytes| StreamId::from_u64(u64::from_be_bytes(bytes)))
    }

    fn offset(&mut self) -> Result<u64, FrameError> {
        match u64::from_be_bytes(self.take()?) {
            offset @ ..=MAX_OFFSET => Ok(offset),
            offset => Err(FrameError::Offset(offset)),
        }
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(FrameError::Value { field, value }),
        }
    }

    fn end<T>(self, value: T) -> Result<T, FrameError> {
        match self.0.len() {
            0 => Ok(value),
            more => Err(FrameError::Trailing(more)),
        }
    }
}

#[cfg(test)]
mod tests;
