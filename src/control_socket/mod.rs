//! The control socket: how other programs of the same user ask a running p2pdbg what it is doing, or for a stream.
//!
//! Each `listen` and `connect` has one ([`local_socket`]), which is found in a directory that nobody else may enter
//! ([`run_directory`]). Whoever connects writes a line of JSON and gets a line of JSON back ([`protocol`]). The
//! process' answers are made by the task that owns the state, in one step and from what it has at hand; everything
//! that takes time (reading a request, writing to a reader that dawdles, moving the bytes of `p2pdbg pipe`) is the
//! affair of a task per connection, of which there are few.

mod bridge;
mod client;
mod frames;
pub mod local_socket;
pub mod protocol;
mod reply;
pub mod run_directory;
mod server;

pub(crate) use client::runs;
pub use client::{Client, ClientError, running};
pub(crate) use frames::{CHUNK, Frame, read_frame, write_data, write_frame};
pub use server::{ControlSocket, Inquiry};
