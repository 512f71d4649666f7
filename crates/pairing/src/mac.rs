//! The message authentication code that all keys are used with.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// An HMAC-SHA256 (RFC 2104) that has taken nothing yet.
pub(super) fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes a key of any length")
}
