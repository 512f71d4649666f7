//! One process takes another's place without a gap.
//!
//! On SIGUSR2 the process says goodbye to its peers, who come back one after the other, and goes on relaying meanwhile.
//! Then it stops reading, writes down what its successor needs ([`state`]), and becomes that successor: it *executes*
//! its program anew, which may be a newer one, so process id, user and limits stay. The sockets are never closed. What
//! comes while nobody reads waits in their buffers.
//!
//! ```text
//!   Server::hand_over ─▶ Handover ── execute ──▶ Inheritance ─▶ Server::start_with
//!    (old program)        sockets, state          (new program)
//! ```
//!
//! Sockets and state travel in one message of a socket pair whose other end is the successor's standard input. A
//! service manager may hand sockets over too (socket activation); they are used in the same way.
//!
//! What is left out: control connections and legs over TCP. Their keys are in libraries that do not give them away, so
//! they are closed, and made again.

mod inheritance;
mod message;
pub(crate) mod state;

pub use inheritance::Inheritance;
pub use message::Handover;
#[cfg(unix)]
pub(crate) use message::MOST_SOCKETS;
