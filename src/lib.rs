//! The program p2pdbg, as a library for its tests.
//!
//! From the outside in: [`cli`] and [`config`] say what is wanted, [`commands`] does it, [`report`] tells of it.
//! What it stands on are the crates below `crates/`: a command meets its peer at the rendezvous (`meeting`) and pairs
//! with it (`pairing`); a `session` keeps tunnels (`tunnel`) to the peer over the paths there are (`path`), and carries
//! streams for its forwards (`forward`) over them. docs/ARCHITECTURE.md has the picture.

// It panics where nobody reads standard error any more; what is said there is said by `say!`.
#![cfg_attr(not(test), warn(clippy::print_stderr))]

mod borrowed_host;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control_socket;
pub mod doctor;
pub mod ide;
pub mod recent_sessions;
pub mod report;
mod stdout;
mod user_file;
