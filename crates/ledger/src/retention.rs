//! The bytes that a sender holds: pushed, not yet acknowledged, and how far they have been sent.
//!
//! A queue of chunks as they were pushed, never copied or joined, with a cursor at the first unsent byte. Pushing,
//! sending a whole chunk and releasing it cost O(1); only going back walks the queue.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// What a chunk is charged beyond its bytes, in bytes, so that many small chunks cannot outgrow the limit unseen.
///
/// A `Bytes` is 32 bytes in a queue that doubles as it grows, and its allocation has a header of its own.
pub(crate) const CHUNK_OVERHEAD: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Retention {
    chunks: VecDeque<Bytes>,
    /// The offset of the first retained byte: everything before is acknowledged.
    start: u64,
    /// The offset behind the last pushed byte.
    end: u64,
    /// The offset of the first byte that has not been sent, `start ≤ cursor ≤ end`.
    cursor: u64,
    /// The chunk in which the cursor stands, or `chunks.len()`.
    index: usize,
    /// The cursor's place in that chunk, less than its length.
    within: usize,
}

impl Retention {
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes held, with the overhead of the chunks.
    pub(crate) fn charge(&self) -> usize {
        (self.end - self.start) as usize + self.chunks.len() * CHUNK_OVERHEAD
    }

    /// Appends a chunk. Empty ones are dropped.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.end += chunk.len() as u64;
            self.chunks.push_back(chunk);
        }
    }

    /// The unsent bytes of the cursor's chunk.
    pub(crate) fn unsent(&self) -> Option<Bytes> {
        let chunk = self.chunks.get(self.index)?;
        Some(if self.within == 0 {
            chunk.clone()
        } else {
            chunk.slice(self.within..)
        })
    }

    /// Fills `slots` with unsent bytes from the cursor on; says how many slots and bytes.
    pub(crate) fn unsent_into(&self, slots: &mut [Bytes]) -> (usize, usize) {
        let Some(first) = self.unsent() else {
            return (0, 0);
        };
        let rest = self.chunks.iter().skip(self.index + 1).cloned();
        let mut bytes = 0;
        let mut filled = 0;
        for (slot, chunk) in slots.iter_mut().zip(std::iter::once(first).chain(rest)) {
            bytes += chunk.len();
            filled += 1;
            *slot = chunk;
        }
        (filled, bytes)
    }

    /// Moves the cursor over `count` bytes that were sent, at most to the end.
    pub(crate) fn advance(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let Some(chunk) = self.chunks.get(self.index) else {
                return;
            };
            let step = left.min(chunk.len() - self.within);
            self.within += step;
            self.cursor += step as u64;
            left -= step;
            if self.within == chunk.len() {
                self.index += 1;
                self.within = 0;
            }
        }
    }

    /// Drops what lies before `to`, at most to the end; a cursor that stood before it stands there now.
    pub(crate) fn release(&mut self, to: u64) {
        let to = to.min(self.end);
        let mut popped = 0;
        let mut trimmed = 0;
        while self.start < to {
            let Some(front) = self.chunks.front_mut() else {
                break;
            };
            let gone = ((to - self.start) as usize).min(front.len());
            if gone == front.len() {
                self.chunks.pop_front();
                popped += 1;
            } else {
                front.advance(gone);
                trimmed = gone;
            }
            self.start += gone as u64;
        }
        if self.cursor <= self.start {
            self.cursor = self.start;
            self.index = 0;
            self.within = 0;
        } else {
            self.index -= popped;
            if self.index == 0 {
                self.within -= trimmed;
            }
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 1024 {
            self.chunks = VecDeque::new();
        }
    }

    /// Puts the cursor at `to`, within what is held.
    pub(crate) fn seek(&mut self, to: u64) {
        self.cursor = self.start;
        self.index = 0;
        self.within = 0;
        self.advance(to.saturating_sub(self.start) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_chunks() -> Retention {
        let mut retention = Retention::default();
        for chunk in [&b"abc"[..], b"", b"defg", b"hi"] {
            retention.push(Bytes::from_static(chunk));
        }
        retention
    }

    fn all_unsent(retention: &Retention) -> Vec<u8> {
        let mut slots = vec![Bytes::new(); 16];
        let (filled, bytes) = retention.unsent_into(&mut slots);
        let joined = slots[..filled].concat();
        assert_eq!(joined.len(), bytes);
        joined
    }

    #[test]
    fn the_cursor_survives_releases_at_every_place() {
        for sent in 0..=9u64 {
            for acknowledged in 0..=9u64 {
                let mut retention = three_chunks();
                retention.advance(sent as usize);
                retention.release(acknowledged);
                assert_eq!(retention.start(), acknowledged);
                assert_eq!(retention.cursor(), sent.max(acknowledged));
                assert_eq!(
                    all_unsent(&retention),
                    &b"abcdefghi"[sent.max(acknowledged) as usize..]
                );
                for to in acknowledged..=9 {
                    retention.seek(to);
                    assert_eq!(all_unsent(&retention), &b"abcdefghi"[to as usize..]);
                }
            }
        }
    }

    #[test]
    fn chunks_are_handed_out_without_a_copy() {
        let chunk = Bytes::from(vec![7; 100]);
        let address = chunk.as_ptr();
        let mut retention = Retention::default();
        retention.push(chunk);
        retention.advance(30);
        assert_eq!(
            retention.unsent().unwrap().as_ptr(),
            address.wrapping_add(30)
        );
    }

    #[test]
    fn small_chunks_are_charged_for_more_than_their_bytes() {
        let mut retention = Retention::default();
        for _ in 0..1000 {
            retention.push(Bytes::from_static(b"x"));
        }
        assert_eq!(retention.charge(), 1000 * (1 + CHUNK_OVERHEAD));
        retention.release(1000);
        assert_eq!(retention.charge(), 0);
    }
}
