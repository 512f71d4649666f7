//! Thousands of idle peers at one rendezvous, and what they do when it goes away.
//!
//! Each peer is a [`Link`](p2pdbg_rendezvous_client::Link), the very thing that `p2pdbg listen` waits with: its
//! sockets, its race of QUIC and TCP, its waits. They come from many addresses of the loopback network, so the limits
//! for one address hold as they do on the Internet. What it leaves out: NATs, loss, distance.
#![cfg(target_os = "linux")]

mod herd;
mod program;
mod report;

pub use herd::{Herd, run};
pub use program::{Program, raise_descriptors};
pub use report::Report;
pub use rustix::process::Signal;
