//! A stream of bytes inside a WebSocket (RFC 6455), for networks that let nothing but the web through.
//!
//! [`ask`] is the client's upgrade; an HTTP server that has been asked answers with [`accept`], and goes on with
//! [`WebStream::of_server`]. No extension is spoken, so nothing is compressed.

mod stream;
mod upgrade;

pub use stream::WebStream;
pub use upgrade::{NotSwitched, accept, ask};

/// Where a rendezvous answers, in the URL.
pub const PATH: &str = "/p2pdbg";
