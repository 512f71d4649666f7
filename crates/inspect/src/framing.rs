//! Messages out of bytes: with a header that says how long they are, or with a byte that ends them. What is too long
//! is passed over without being kept.

/// The longest message that is read, in bytes.
pub(crate) const LONGEST: usize = 256 << 10;

/// The longest header, in bytes.
const HEADER: usize = 4 << 10;

/// Something that is no message: nothing after it can be understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAMessage;

/// The base protocol of DAP: `Content-Length: N`, an empty line, N bytes.
#[derive(Debug)]
pub(crate) enum Headed {
    Header(Vec<u8>),
    Body {
        /// None for one that is too long.
        kept: Option<Vec<u8>>,
        left: u64,
    },
}

impl Default for Headed {
    fn default() -> Self {
        Self::Header(Vec::new())
    }
}

impl Headed {
    /// The next message in `bytes`, whose front it takes off; `None` when more is needed. An empty message stands for
    /// one that was too long.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, NotAMessage> {
        loop {
            match self {
                Self::Header(header) => {
                    let Some(end) = take_header(header, bytes)? else {
                        return Ok(None);
                    };
                    let left = content_length(&header[..end]).ok_or(NotAMessage)?;
                    let fits = usize::try_from(left).is_ok_and(|left| left <= LONGEST);
                    *self = Self::Body {
                        kept: fits.then(Vec::new),
                        left,
                    };
                }
                Self::Body { kept, left } => {
                    let length = usize::try_from(*left).map_or(bytes.len(), |l| l.min(bytes.len()));
                    let (taken, rest) = bytes.split_at(length);
                    *bytes = rest;
                    *left -= length as u64;
                    if let Some(kept) = kept {
                        kept.extend_from_slice(taken);
                    }
                    if *left > 0 {
                        return Ok(None);
                    }
                    let message = kept.take().unwrap_or_default();
                    *self = Self::default();
                    return Ok(Some(message));
                }
            }
        }
    }
}

impl Headed {
    /// Passes over bytes that were not seen, if all of them belong to the message that is being read.
    pub(crate) fn pass_over(&mut self, length: u64) -> bool {
        match self {
            Self::Body { kept, left } if length < *left => {
                *kept = None;
                *left -= length;
                true
            }
            Self::Body { left, .. } if length == *left => {
                *self = Self::default();
                true
            }
            _ => false,
        }
    }
}

/// Moves bytes into the header up to its end, the empty line; where that begins.
fn take_header(header: &mut Vec<u8>, bytes: &mut &[u8]) -> Result<Option<usize>, NotAMessage> {
    while let [first, rest @ ..] = *bytes {
        if header.len() >= HEADER {
            return Err(NotAMessage);
        }
        header.push(*first);
        *bytes = rest;
        if header.ends_with(b"\r\n\r\n") {
            return Ok(Some(header.len() - 4));
        }
    }
    Ok(None)
}

fn content_length(header: &[u8]) -> Option<u64> {
    let header = std::str::from_utf8(header).ok()?;
    header.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let it = name.eq_ignore_ascii_case("content-length");
        it.then(|| value.trim().parse().ok()).flatten()
    })
}

/// Messages that end with a byte: a line break for pydevd, NUL for DBGp.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    kept: Vec<u8>,
    too_long: bool,
    /// Whether the beginning of the message was not seen.
    beheaded: bool,
}

impl Ended {
    /// The next message in `bytes`, whose front it takes off, without the byte that ends it; `None` when more is
    /// needed. Of one that is too long, the beginning.
    pub(crate) fn next(&mut self, by: u8, bytes: &mut &[u8]) -> Option<Vec<u8>> {
        let mut end = bytes.iter().position(|byte| *byte == by);
        if self.beheaded {
            *bytes = &bytes[end.map_or(bytes.len(), |end| end + 1)..];
            end?;
            self.beheaded = false;
            end = bytes.iter().position(|byte| *byte == by);
        }
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = LONGEST.saturating_sub(self.kept.len());
        self.too_long |= part.len() > room;
        if !self.too_long || self.kept.len() < KEPT_OF_LONG {
            let room = if self.too_long {
                KEPT_OF_LONG.saturating_sub(self.kept.len())
            } else {
                room
            };
            self.kept.extend_from_slice(&part[..part.len().min(room)]);
        }
        *bytes = &bytes[end.map_or(bytes.len(), |end| end + 1)..];
        end?;
        let mut message = std::mem::take(self);
        if message.too_long {
            message.kept.truncate(KEPT_OF_LONG);
        }
        Some(message.kept)
    }
}

impl Ended {
    /// Takes note that something was not seen: the message in which that ends is passed over.
    pub(crate) fn pass_over(&mut self) {
        *self = Self {
            beheaded: true,
            ..Self::default()
        };
    }
}

/// What is given of a message that is too long, in bytes: enough to see what it is.
const KEPT_OF_LONG: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(framing: &mut Headed, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, NotAMessage> {
        let mut messages = Vec::new();
        while let Some(message) = framing.next(&mut bytes)? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn messages_are_told_apart() {
        let bytes = b"Content-Length: 2\r\n\r\n{}X-A: b\r\ncontent-length:0\r\n\r\nContent-Length: 3\r\n\r\nab";
        let messages = all(&mut Headed::default(), bytes).unwrap();
        assert_eq!(messages, [b"{}".to_vec(), b"".to_vec()]);
    }

    #[test]
    fn a_message_of_100_mb_is_passed_over_and_the_next_is_read() {
        let mut framing = Headed::default();
        let length = 100 << 20;
        let header = format!("Content-Length: {length}\r\n\r\n");
        assert_eq!(all(&mut framing, header.as_bytes()), Ok(vec![]));
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..99 {
            assert_eq!(all(&mut framing, &chunk), Ok(vec![]));
        }
        assert!(matches!(&framing, Headed::Body { kept: None, .. }));
        assert_eq!(all(&mut framing, &chunk), Ok(vec![vec![]]));
        let next = all(&mut framing, b"Content-Length: 1\r\n\r\n1");
        assert_eq!(next, Ok(vec![b"1".to_vec()]));
    }

    #[test]
    fn what_ends_a_gap_is_passed_over_and_the_next_message_is_read() {
        let mut framing = Ended::default();
        assert_eq!(framing.next(b'\n', &mut &b"beg"[..]), None);
        framing.pass_over();
        let mut bytes = &b"the end of another\nwhole\n"[..];
        assert_eq!(framing.next(b'\n', &mut bytes), Some(b"whole".to_vec()));
        assert_eq!(framing.next(b'\n', &mut bytes), None);
    }

    #[test]
    fn a_header_that_is_none_or_never_ends_is_given_up() {
        for bytes in [
            "Content-Length: x\r\n\r\n".to_owned(),
            "Content-Length: 99999999999999999999999\r\n\r\n".to_owned(),
            "Content-Type: a\r\n\r\n".to_owned(),
            format!("Content-Length: 1\r\nX: {}", "y".repeat(HEADER)),
        ] {
            let given_up = all(&mut Headed::default(), bytes.as_bytes());
            assert_eq!(given_up, Err(NotAMessage), "{bytes}");
        }
    }

    #[test]
    fn of_a_line_that_is_too_long_the_beginning_is_given_and_no_more_kept() {
        let mut framing = Ended::default();
        let long = vec![b'1'; LONGEST * 3];
        assert_eq!(framing.next(b'\n', &mut &long[..]), None);
        assert!(framing.kept.len() <= LONGEST);
        let mut rest: &[u8] = b"1\nnext\n";
        assert_eq!(framing.next(b'\n', &mut rest), Some(vec![b'1'; 64]));
        assert_eq!(framing.next(b'\n', &mut rest), Some(b"next".to_vec()));
        assert_eq!(framing.next(b'\n', &mut rest), None);
    }
}
