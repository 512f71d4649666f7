//! What p2pdbg's programs say to each other, as bytes and as types, and nothing else: no sockets, no clocks,
//! no policy.
//!
//! - [`address`]: in one form, and how far one means the same.
//! - [`node`]: the hosts that serve together, by number.
//! - [`rendezvous`]: between a peer and the rendezvous; [`frame`]: how its messages lie on a stream.
//! - [`signal`]: between two peers through the rendezvous.
//! - [`tunnel`]: between two peers on their own QUIC connection; [`facts`]: what they tell of themselves there.
//! - [`sources`]: what two peers say about source files.
//! - [`relay`]: datagrams that bind a source address to a leg of the relay.
//! - [`relay_stream`]: a leg of the relay over TCP.
//! - [`code`], [`url`], [`fingerprint`], [`secret`]: what people copy and what programs keep; [`spelling`]: what they
//!   meant.
//!
//! docs/PROTOCOL.md describes the same, byte by byte.

pub mod address;
pub mod attach;
pub mod code;
pub mod facts;
pub mod fingerprint;
pub mod frame;
pub mod node;
pub mod relay;
pub mod relay_stream;
pub mod rendezvous;
pub mod secret;
pub mod signal;
pub mod sources;
pub mod spelling;
pub mod tunnel;
pub mod url;
