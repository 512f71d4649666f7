//! Who a program is, and where it keeps that: the state directory, the certificate in it, and the TLS
//! configurations that pin certificates by fingerprint.
//!
//! - [`StateDir`]: a directory that is this user's alone. Files in it are replaced as a whole or not at all,
//!   and processes that run at once agree on what is in them.
//! - [`Identity`]: the certificate and key by which other hosts know this one.
//! - [`Authority`]: what signs the certificates of a cluster's nodes.
//! - [`tls`]: who is accepted at the other end of a connection.
//! - [`web_tls`]: TLS around a WebSocket, which accepts anybody.
//!
//! What pairs two hosts, and which hosts are known, is not decided here.

mod authority;
mod chain;
mod error;
mod exporter;
mod identity;
mod permissions;
mod provider;
mod state_dir;
pub mod tls;
pub mod web_tls;

pub use authority::{AUTHORITY_FILE, Authority};
pub use error::{NotAnIdentity, StateError};
pub use identity::{IDENTITY_FILE, Identity};
pub use state_dir::{StateDir, StateLock, is_unexpanded};
