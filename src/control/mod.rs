//! The control socket: how other programs of the same user ask a running p2pdbg what it is doing, or for a stream.
//!
//! Each `listen` and `connect` has one: a Unix domain socket of its own in a directory that nobody else may enter
//! ([`place`]). Whoever connects writes a line of JSON and gets a line of JSON back ([`protocol`]). The process'
//! answers are made by the task that owns the state, in one step and from what it has at hand; everything that takes
//! time (reading a request, writing to a reader that dawdles, moving the bytes of `p2pdbg pipe`) is the affair of a
//! task per connection, of which there are few.
//!
//! There is none on Windows so far: `p2pdbg status` and `p2pdbg pipe` say so there.

#[cfg(unix)]
mod bridge;
#[cfg(unix)]
mod client;
#[cfg(unix)]
pub mod place;
pub mod protocol;
#[cfg(unix)]
mod reply;
#[cfg(unix)]
mod server;

#[cfg(unix)]
pub use bridge::{Frame, read_frame};
#[cfg(unix)]
pub use client::{Client, ClientError, running};
#[cfg(unix)]
pub use server::{ControlSocket, Inquiry};
