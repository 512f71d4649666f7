//! What hides QUIC's handshakes from boxes that want none; no I/O.
//!
//! Some networks drop QUIC, so that browsers go back to what a proxy can open, and let other UDP pass. They know it by
//! the long header of its handshakes (RFC 9000 section 17.2): the two highest bits, and the version. Checks and binds
//! pass such a box, and no tunnel would ever come up. So between the peers, by the relay too, the fixed bit and the
//! version of a long header travel inverted: no box takes that for QUIC, and no length changes. It hides nothing from
//! whoever knows of it, and need not.
//!
//! What begins so is still told from everything else by its first byte, which stays at 128 or more.

/// The bit of the first byte that tells a long header (RFC 9000 section 17.2).
const LONG: u8 = 0x80;

/// The fixed bit, which is set in all that QUIC sends here (RFC 9287 would have it random, and is not used).
const FIXED: u8 = 0x40;

/// Where the version stands in a long header.
const VERSION: std::ops::Range<usize> = 1..5;

/// These datagrams, of `stride` bytes each but the last, as they are to travel: `None` if as they are, which holds for
/// all of a tunnel that stands.
pub(crate) fn disguised(datagrams: &[u8], stride: usize) -> Option<Vec<u8>> {
    any_long(datagrams, stride).then(|| {
        let mut disguised = datagrams.to_vec();
        turn(&mut disguised, stride);
        disguised
    })
}

/// Whether one of them has a long header, disguised or not.
fn any_long(datagrams: &[u8], stride: usize) -> bool {
    let mut firsts = datagrams.chunks(stride.max(1));
    firsts.any(|datagram| datagram[0] & LONG != 0)
}

/// Disguises the long headers among these datagrams, or shows them again.
pub(crate) fn turn(datagrams: &mut [u8], stride: usize) {
    for datagram in datagrams.chunks_mut(stride.max(1)) {
        if datagram[0] & LONG != 0 {
            datagram[0] ^= FIXED;
            let version = datagram.iter_mut().take(VERSION.end).skip(VERSION.start);
            version.for_each(|byte| *byte ^= 0xff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Initial of QUIC version 1, and a packet of one that stands.
    const INITIAL: [u8; 8] = [0xc3, 0, 0, 0, 1, 8, 7, 6];
    const SHORT: [u8; 8] = [0x41, 0, 0, 0, 1, 8, 7, 6];

    #[test]
    fn handshake_is_disguised_and_shown_again() {
        let mut datagram = INITIAL;
        turn(&mut datagram, 8);
        assert_eq!(datagram, [0x83, 0xff, 0xff, 0xff, 0xfe, 8, 7, 6]);
        assert!(any_long(&datagram, 8));
        turn(&mut datagram, 8);
        assert_eq!(datagram, INITIAL);
    }

    #[test]
    fn each_datagram_of_a_batch_is_judged_by_its_own_first_byte() {
        let mut batch = [SHORT, INITIAL, SHORT].concat();
        batch.extend(&INITIAL[..3]);
        assert!(any_long(&batch, 8));
        let before = batch.clone();
        turn(&mut batch, 8);
        assert_eq!(batch[..8], SHORT);
        assert_eq!(batch[8], 0x83);
        assert_eq!(batch[16..24], SHORT);
        assert_eq!(batch[24..], [0x83, 0xff, 0xff]);
        turn(&mut batch, 8);
        assert_eq!(batch, before);
    }

    #[test]
    fn tunnel_that_stands_is_left_alone() {
        let mut batch = [SHORT, SHORT].concat();
        assert!(!any_long(&batch, 8));
        turn(&mut batch, 8);
        assert_eq!(batch, [SHORT, SHORT].concat());
        assert!(!any_long(&[], 0));
    }
}
