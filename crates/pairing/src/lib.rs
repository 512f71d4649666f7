//! How two hosts come to share a key, and to know each other again.
//!
//! The first time, a person carries a code from one to the other: [`Exchange::by_code`] turns its words into
//! a key that nobody else has, the rendezvous in between included, and ties both certificates to it. Later no
//! code is needed: both remember a pair secret and each other's fingerprint ([`KnownPeers`]), meet under a
//! handle made of that secret, and run [`Exchange::by_secret`].
//!
//! Either exchange ends in [`Paired`]: what the peer's certificate is, a [`Sealer`] and an [`Opener`] for
//! what is said through the rendezvous from then on, and [`SessionKeys`], one for each purpose. Nothing here
//! does I/O but [`KnownPeers`], which keeps a file; sending signals, patience, and taking a code back are the
//! session's part.
//!
//! docs/SECURITY.md says what all this keeps from whom.

mod exchange;
mod guesses;
mod keys;
mod known_peers;
mod mac;
mod process_number;
mod seal;
#[cfg(test)]
mod tests;
mod tunnel_proof;

pub use exchange::{Exchange, Failure, Next, Paired, Step};
pub use guesses::{Burns, CodeFate, Guesses};
pub use keys::{PairSecret, SessionKeys};
pub use known_peers::{KNOWN_PEERS_FILE, KnownPeer, KnownPeers, PeerId, Remembered};
pub use process_number::ProcessNumber;
pub use seal::{OpenError, Opener, SealError, Sealer};
pub use tunnel_proof::TunnelKey;
