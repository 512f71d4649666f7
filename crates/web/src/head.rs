//! The head of an HTTP/1.1 answer, read by itself.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head that is read, in bytes.
pub const LONGEST_HEAD: usize = 16 * 1024;

/// Why a head was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadFault {
    /// It does not begin as an answer of HTTP, or is longer than [`LONGEST_HEAD`].
    NotHttp,
    /// The connection ended before. What had come of the head is in it.
    Lost(Vec<u8>),
}

/// Reads to the empty line that ends the head, and not a byte further: what comes behind it may be another protocol's.
/// Lines may end in LF alone (RFC 9112 section 2.2).
///
/// # Errors
/// [`HeadFault`].
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HeadFault> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() >= LONGEST_HEAD {
            return Err(HeadFault::NotHttp);
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Err(HeadFault::Lost(head)),
        }
        if head.len() == 5 && head != b"HTTP/" {
            return Err(HeadFault::NotHttp);
        }
    }
    Ok(head)
}
