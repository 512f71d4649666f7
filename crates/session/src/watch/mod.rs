//! Looking on at the debuggers' connections: what [`p2pdbg_inspect`] makes of them, at the side of the session.
//!
//! A stream's task [shows](Feed::show) what it has forwarded: a clone of the `Bytes`, which copies nothing, given to a
//! queue that is bounded in length and in bytes. If there is no room, it is not shown, and only its length is told. One
//! task a session reads the queue and [reports](Report) what it learns, at most ten times a second for each stream. So
//! nothing that a debugger says, and nothing that is made of it, can hold up a stream; `--no-inspect` leaves it out.

mod feed;
#[cfg(target_os = "linux")]
mod ide_build;
mod watched;
mod watcher;

pub(crate) use self::{feed::Feed, watched::Report, watcher::Watcher};
