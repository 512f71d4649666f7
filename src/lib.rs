//! The program p2pdbg, as a library for its tests.
//!
//! From the outside in: [`cli`] and [`config`] say what is wanted, [`commands`] does it, [`report`] tells of it.
//! A command [meets](meeting) its peer at the [`rendezvous`] and [pairs](pairing) with it; a [`session`] keeps
//! [tunnels](tunnel) to the peer over the [paths](path) there are, and carries [streams](stream) for its
//! [forwards](forward) over them. docs/ARCHITECTURE.md has the picture.

pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
mod deadline;
pub mod doctor;
pub mod facts;
pub mod failure;
pub mod forward;
pub mod ide;
pub mod inspect;
pub mod listening;
pub mod meeting;
pub mod net;
pub mod pairing;
pub mod path;
pub mod peer_name;
pub mod policy;
pub mod portmap;
pub mod recent;
pub mod rendezvous;
pub mod report;
pub mod same_host;
pub mod session;
pub mod sources;
pub mod stream;
pub mod traversal;
pub mod tunnel;
