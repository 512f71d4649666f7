//! Sealing what peers say to each other through the rendezvous.
//!
//! XChaCha20-Poly1305, one key for each direction. The nonce is the sender's role and a counter, so that none
//! is used twice with one key for as long as there is one [`Sealer`] of it: it is made once by the exchange
//! and cannot be copied. The opener takes rising counters only, so nothing is taken twice; gaps are signals
//! that were lost with a connection, and do no harm.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use p2pdbg_proto::{
    frame,
    rendezvous::{MAX_SIGNAL, Role},
    secret::Secret,
    signal::{PeerMessage, Signal},
};

/// The longest message that is sealed, in bytes: what fits into a signal with the authentication tag (16), a
/// variant, a counter and a length (1, 10 and 3 at the most) around it.
const MAX_MESSAGE: usize = MAX_SIGNAL - 30;

/// Seals what one side says, each message under the next counter.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    role: Role,
    next: u64,
}

/// A message that cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is longer than a signal may be.
    #[error("a message of {0} bytes is longer than {MAX_MESSAGE}")]
    TooLong(usize),
    /// The counter has come to its end.
    #[error("no more can be sealed in this session")]
    Exhausted,
}

/// Opens what the other side says, each message once and in order.
pub struct Opener {
    cipher: XChaCha20Poly1305,
    sender: Role,
    next: u64,
}

/// A sealed signal that is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was opened before, or is older than one that was: a replay, or the rendezvous reorders.
    #[error("a sealed message came twice or late")]
    Replayed,
    /// The peer did not seal it, or not so.
    #[error("a sealed message was forged or damaged")]
    Forged,
    /// The peer sealed it, but it is no message of this protocol.
    #[error("the peer sealed something that is no message")]
    Malformed,
}

impl Sealer {
    /// For the side of that role, with the key of its direction.
    pub(super) fn new(role: Role, key: &Secret<32>) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(key.expose().into()),
            role,
            next: 0,
        }
    }

    /// Makes a [`Signal::Sealed`] of a message.
    ///
    /// # Errors
    /// When the message is longer than fits into a signal (16,354 bytes).
    pub fn seal(&mut self, message: &PeerMessage) -> Result<Signal, SealError> {
        let plain = postcard::to_stdvec(message).map_err(|_| SealError::TooLong(usize::MAX))?;
        if plain.len() > MAX_MESSAGE {
            return Err(SealError::TooLong(plain.len()));
        }
        let counter = self.next;
        self.next = counter.checked_add(1).ok_or(SealError::Exhausted)?;
        let ciphertext = self
            .cipher
            .encrypt(&nonce(self.role, counter), Payload::from(&*plain))
            .map_err(|_| SealError::TooLong(plain.len()))?;
        Ok(Signal::Sealed {
            counter,
            ciphertext,
        })
    }
}

impl Opener {
    /// For what the side of role `sender` seals, with the key of its direction.
    pub(super) fn new(sender: Role, key: &Secret<32>) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(key.expose().into()),
            sender,
            next: 0,
        }
    }

    /// Opens what a [`Signal::Sealed`] holds.
    ///
    /// # Errors
    /// When it is not the peer's, not new, or no message. What is refused leaves the opener as it was, but
    /// for a message that is malformed under the peer's own seal, which counts as opened.
    pub fn open(&mut self, counter: u64, ciphertext: &[u8]) -> Result<PeerMessage, OpenError> {
        // The sealer never uses the highest counter, so that there is always a next one.
        let after = counter.checked_add(1).ok_or(OpenError::Forged)?;
        if counter < self.next {
            return Err(OpenError::Replayed);
        }
        let plain = self
            .cipher
            .decrypt(&nonce(self.sender, counter), Payload::from(ciphertext))
            .map_err(|_| OpenError::Forged)?;
        self.next = after;
        frame::decode(&plain).map_err(|_| OpenError::Malformed)
    }
}

/// Sixteen bytes that name the sender, then the counter, big-endian.
fn nonce(sender: Role, counter: u64) -> XNonce {
    let label: &[u8; 16] = match sender {
        Role::Connector => b"p2pdbg connector",
        Role::Listener => b"p2pdbg listener\0",
    };
    let mut nonce = XNonce::default();
    let (head, tail) = nonce.split_at_mut(label.len());
    head.copy_from_slice(label);
    tail.copy_from_slice(&counter.to_be_bytes());
    nonce
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sealer, Opener) {
        let key = Secret::from_bytes([3; 32]);
        (
            Sealer::new(Role::Listener, &key),
            Opener::new(Role::Listener, &key),
        )
    }

    fn message(byte: u8) -> PeerMessage {
        PeerMessage::Punch(vec![byte; 3])
    }

    fn seal(sealer: &mut Sealer, byte: u8) -> (u64, Vec<u8>) {
        match sealer.seal(&message(byte)).unwrap() {
            Signal::Sealed {
                counter,
                ciphertext,
            } => (counter, ciphertext),
            other => panic!("not sealed: {other:?}"),
        }
    }

    #[test]
    fn what_is_sealed_opens_in_order_and_with_gaps() {
        let (mut sealer, mut opener) = pair();
        for byte in 0..6 {
            let (counter, ciphertext) = seal(&mut sealer, byte);
            assert_eq!(counter, u64::from(byte));
            if byte % 2 == 0 {
                assert_eq!(opener.open(counter, &ciphertext), Ok(message(byte)));
            }
        }
    }

    #[test]
    fn what_was_opened_or_is_older_is_refused() {
        let (mut sealer, mut opener) = pair();
        let (first, second) = (seal(&mut sealer, 0), seal(&mut sealer, 1));
        opener.open(second.0, &second.1).unwrap();
        for (counter, ciphertext) in [&first, &second] {
            assert_eq!(opener.open(*counter, ciphertext), Err(OpenError::Replayed));
        }
        assert_eq!(opener.open(2, &second.1), Err(OpenError::Forged));
        let third = seal(&mut sealer, 2);
        assert_eq!(opener.open(third.0, &third.1), Ok(message(2)));
    }

    #[test]
    fn a_changed_byte_or_counter_is_forged_and_shuts_nothing_out() {
        let (mut sealer, mut opener) = pair();
        let (counter, ciphertext) = seal(&mut sealer, 7);
        for index in 0..ciphertext.len() {
            let mut changed = ciphertext.clone();
            changed[index] ^= 1;
            assert_eq!(opener.open(counter, &changed), Err(OpenError::Forged));
        }
        for wrong in [1, u64::MAX - 1, u64::MAX] {
            assert_eq!(opener.open(wrong, &ciphertext), Err(OpenError::Forged));
        }
        assert_eq!(opener.open(counter, &[]), Err(OpenError::Forged));
        assert_eq!(opener.open(counter, &ciphertext), Ok(message(7)));
    }

    #[test]
    fn a_sealed_signal_comes_back_to_its_sender_as_a_forgery() {
        let key = Secret::from_bytes([3; 32]);
        let mut sealer = Sealer::new(Role::Listener, &key);
        // Even if both directions had one key.
        let mut opener = Opener::new(Role::Connector, &key);
        let (counter, ciphertext) = seal(&mut sealer, 7);
        assert_eq!(opener.open(counter, &ciphertext), Err(OpenError::Forged));
    }

    #[test]
    fn what_the_peer_seals_without_meaning_is_malformed() {
        let (mut sealer, mut opener) = pair();
        let ciphertext = sealer
            .cipher
            .encrypt(&nonce(Role::Listener, 0), Payload::from(&b"\xff"[..]))
            .unwrap();
        assert_eq!(opener.open(0, &ciphertext), Err(OpenError::Malformed));
        assert_eq!(opener.open(0, &ciphertext), Err(OpenError::Replayed));
        sealer.next = 1;
        let (counter, ciphertext) = seal(&mut sealer, 1);
        assert_eq!(opener.open(counter, &ciphertext), Ok(message(1)));
    }

    #[test]
    fn the_longest_message_fits_into_a_signal() {
        let (mut sealer, mut opener) = pair();
        // The counter that takes the most bytes, and a variant and a length before the bytes.
        sealer.next = u64::MAX - 1;
        let longest = PeerMessage::Punch(vec![1; MAX_MESSAGE - 3]);
        let too_long = PeerMessage::Punch(vec![1; MAX_MESSAGE - 2]);
        assert!(matches!(sealer.seal(&too_long), Err(SealError::TooLong(_))));
        let signal = sealer.seal(&longest).unwrap();
        assert!(postcard::to_stdvec(&signal).unwrap().len() <= MAX_SIGNAL);
        let Signal::Sealed {
            counter,
            ciphertext,
        } = signal
        else {
            panic!("not sealed");
        };
        assert_eq!(opener.open(counter, &ciphertext), Ok(longest));
        assert_eq!(sealer.seal(&message(1)).unwrap_err(), SealError::Exhausted);
    }
}
