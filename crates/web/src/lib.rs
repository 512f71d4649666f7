//! A stream of bytes inside a WebSocket (RFC 6455), for networks that let nothing but the web through.
//!
//! [`ask`] is the client's upgrade; an HTTP server that has been asked answers with [`accept`], and goes on with
//! [`WebStream::of_server`]. No extension is spoken, so nothing is compressed. [`read_head`] reads an
//! answer of HTTP without what comes behind it.

mod head;
mod stream;
mod upgrade;

pub use head::{HeadFault, LONGEST_HEAD, read_head};
pub use stream::WebStream;
pub use upgrade::{NotSwitched, accept, ask};

/// Where a rendezvous answers, in the URL.
pub const PATH: &str = "/p2pdbg";
