//! Length-prefixed frames: a big-endian `u32` length, then that many bytes of postcard.
//!
//! The control stream to the rendezvous and the control stream of a tunnel both speak in these. The codec
//! judges syntax only: a frame that is too long, cut short, or followed by bytes of no meaning is malformed.

use serde::{Serialize, de::DeserializeOwned};

/// The longest body of a frame, in bytes. A peer that announces more has misbehaved.
pub const MAX_BODY: usize = 64 * 1024;

/// The length of a frame's prefix, in bytes.
pub const PREFIX: usize = 4;

/// Bytes that are not a frame of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The announced or produced body is longer than [`MAX_BODY`].
    #[error("a frame of {0} bytes is longer than {MAX_BODY}")]
    TooLong(usize),
    /// The body is no message of the expected type.
    #[error("a frame that is no message of this protocol")]
    Body,
}

/// Appends `message` as one frame to `out`.
///
/// # Errors
/// [`Malformed::TooLong`] if the body would pass [`MAX_BODY`]; `out` is then as it was.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let body = encode_body(message)?;
    let length = u32::try_from(body.len()).map_err(|_| Malformed::TooLong(body.len()))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&body);
    Ok(())
}

/// The body of a frame alone, for messages that travel inside others.
///
/// # Errors
/// [`Malformed::TooLong`] if it would pass [`MAX_BODY`].
pub fn encode_body<T: Serialize>(message: &T) -> Result<Vec<u8>, Malformed> {
    let body = postcard::to_stdvec(message).map_err(|_| Malformed::Body)?;
    if body.len() > MAX_BODY {
        return Err(Malformed::TooLong(body.len()));
    }
    Ok(body)
}

/// The length of the body that a prefix announces.
///
/// # Errors
/// [`Malformed::TooLong`] before anything is allocated for it.
pub fn body_length(prefix: [u8; PREFIX]) -> Result<usize, Malformed> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > MAX_BODY {
        return Err(Malformed::TooLong(length));
    }
    Ok(length)
}

/// Reads the message in a body. Bytes left over make it malformed.
///
/// # Errors
/// [`Malformed::Body`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(Malformed::Body),
    }
}

/// The most additions that may follow a message.
const ADDITIONS: usize = 16;

/// Reads the message in a body, behind which *additions* may follow: each a tag (`u16`) and bytes, as postcard has
/// them. A receiver passes over those whose tag it does not know, which today is all of them, so that a later version
/// of either end may say more without another protocol.
///
/// # Errors
/// [`Malformed::Body`], also where what follows the message is no list of at most sixteen additions.
pub fn decode_extensible<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    let (message, mut rest) = postcard::take_from_bytes(body).map_err(|_| Malformed::Body)?;
    for _ in 0..ADDITIONS {
        if rest.is_empty() {
            break;
        }
        let addition = postcard::take_from_bytes::<(u16, &[u8])>(rest);
        (_, rest) = addition.map_err(|_| Malformed::Body)?;
    }
    rest.is_empty().then_some(message).ok_or(Malformed::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let mut out = Vec::new();
        encode(&("hello".to_owned(), 7u16), &mut out).unwrap();
        let (prefix, body) = out.split_first_chunk::<PREFIX>().unwrap();
        assert_eq!(body_length(*prefix), Ok(body.len()));
        assert_eq!(decode(body), Ok(("hello".to_owned(), 7u16)));
    }

    #[test]
    fn bytes_left_over_and_bytes_missing_are_malformed() {
        assert_eq!(decode::<u8>(&[1, 2]), Err(Malformed::Body));
        assert_eq!(decode::<u32>(&[]), Err(Malformed::Body));
    }

    #[test]
    fn additions_behind_a_message_are_passed_over_and_anything_else_is_malformed() {
        let with = |more: &[u8]| decode_extensible::<u8>(&[&[7], more].concat());
        assert_eq!(with(&[]), Ok(7));
        assert_eq!(with(&[9, 2, 0xaa, 0xbb, 200, 1, 0]), Ok(7));
        for cut in [&[9][..], &[9, 2, 0xaa], &[0xff], &[9, 0xff, 0xff]] {
            assert_eq!(with(cut), Err(Malformed::Body), "{cut:?}");
        }
        assert_eq!(with(&[1, 0].repeat(16)), Ok(7));
        assert_eq!(with(&[1, 0].repeat(17)), Err(Malformed::Body));
    }

    #[test]
    fn a_long_frame_is_refused_at_both_ends() {
        let mut out = Vec::new();
        let long = vec![0u8; MAX_BODY + 1];
        assert!(matches!(
            encode(&long, &mut out),
            Err(Malformed::TooLong(_))
        ));
        assert!(out.is_empty());
        assert_eq!(
            body_length([0xff; PREFIX]),
            Err(Malformed::TooLong(u32::MAX as usize))
        );
    }
}
