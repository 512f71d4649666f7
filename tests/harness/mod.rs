//! Drives the built programs as their users do: a rendezvous, a `p2pdbg listen` and a `p2pdbg connect`.
//!
//! A [`Setting`] is where the three run: on this host's loopback, or on nodes of a kernel lab. Programs in it are
//! [`Process`]es whose output is kept; a [`Peer`] is one that was started with `--json` and whose events a test waits
//! for. Every wait is for a condition and ends at [`PATIENCE`], which is never the measure of anything. When a test
//! fails, all that its programs said is printed. When it ends, however it does, they are killed.
//!
//! Left out: what only one test file needs.
#![allow(dead_code, unused_imports, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

mod clock;
mod cluster;
mod home;
mod nginx;
mod peer;
mod place;
mod process;
mod programs;
mod rendezvous;
mod setting;
pub mod traffic;
mod transcript;
mod written_programs;

pub use self::{
    clock::{PATIENCE, eventually},
    cluster::{Cluster, NodeAt, RelayAlone},
    home::Home,
    nginx::{BEHIND_IT, Nginx},
    peer::{Peer, PeerCommand, json, session},
    place::{Place, Ports},
    process::Process,
    programs::{on_ci, rendezvous_program, skip},
    rendezvous::{Rendezvous, RendezvousCommand},
    setting::{Pair, Setting},
    transcript::Transcript,
    written_programs::write_program,
};
