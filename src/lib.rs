//! The p2pdbg program.

pub mod cli;
pub mod commands;
pub mod config;
pub mod failure;
pub mod forward;
pub mod listening;
pub mod pairing;
pub mod peer_name;
pub mod report;
