//! Tells datagrams of quinn's connections here by the connection id that quinn has given out, whatever their source.
//!
//! A source that has begun with a leg is not proved: whoever holds a leg can name somebody else's address in it. What
//! that somebody says to the rendezvous is known by its connection id, and goes to quinn all the same.

use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator};

/// The length of our connection ids, in bytes (of those of [`HashedConnectionIdGenerator`]).
const LENGTH: usize = 8;

/// The first bit of a long header (RFC 9000 section 17.2).
const LONG: u8 = 0x80;

/// Where a long header has the length of the destination's connection id, behind its first byte and the version.
const LONG_LENGTH: usize = 5;

/// The connection ids of this rendezvous, the same after a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnIds {
    key: u64,
}

impl OwnIds {
    pub(crate) fn new(key: u64) -> Self {
        Self { key }
    }

    /// What quinn makes new ones with.
    pub(crate) fn generator(self) -> HashedConnectionIdGenerator {
        HashedConnectionIdGenerator::from_key(self.key)
    }

    /// Whether a QUIC datagram is for one of them. By chance one in 2^40 is.
    pub(crate) fn has(self, datagram: &[u8]) -> bool {
        let is_long = datagram.first().is_some_and(|first| first & LONG != 0);
        let id = match is_long {
            true if datagram.get(LONG_LENGTH) != Some(&(LENGTH as u8)) => None,
            true => datagram.get(LONG_LENGTH + 1..),
            false => datagram.get(1..),
        };
        let id = id.and_then(|rest| rest.get(..LENGTH));
        id.is_some_and(|id| self.generator().validate(&ConnectionId::new(id)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_for_our_connection_ids_are_told_from_others_and_from_short_ones() {
        let ours = OwnIds::new(7);
        assert_eq!(ours.generator().cid_len(), LENGTH);
        for (maker, known) in [(ours, true), (OwnIds::new(8), false)] {
            let id = maker.generator().generate_cid();
            let short = [&[0x40][..], &id, b"sealed"].concat();
            let long = [&[0xe0, 0, 0, 0, 1, 8][..], &id, b"sealed"].concat();
            assert_eq!((ours.has(&short), ours.has(&long)), (known, known));
            let other_length = [&[0xe0, 0, 0, 0, 1, 9][..], &id, b"sealed"].concat();
            assert!(!ours.has(&other_length));
            for datagram in [&short[..8], &long[..13], &long[..5], &[][..]] {
                assert!(!ours.has(datagram));
            }
        }
    }
}
