//! Byte strings that must not leak: access keys, relay leg keys, session keys.
//!
//! They come from the operating system, are wiped when dropped, print as `<secret>` in `Debug`, and are
//! compared in constant time. The only ways to the bytes are named so that a reader notices them.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes: erased when dropped, hidden from `Debug`, and compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Draws a fresh secret from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give; nothing can be done safely then.
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// Takes over bytes that were derived or read elsewhere.
    pub fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for use as a key.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

/// `N` bytes from the operating system's randomness.
///
/// # Panics
/// If the operating system has no randomness to give.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    bytes
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<const N: usize> Serialize for Secret<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Secret<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let bytes = bytes.try_into().map_err(|_| {
            serde::de::Error::invalid_length(bytes.len(), &"a secret of the fixed length")
        })?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_bytes() {
        let secret = Secret::<4>::from_bytes([0x41; 4]);
        assert_eq!(format!("{secret:?}"), "<secret>");
    }

    #[test]
    fn two_random_secrets_differ() {
        assert_ne!(Secret::<16>::random(), Secret::<16>::random());
    }
}
