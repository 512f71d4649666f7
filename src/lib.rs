//! The p2pdbg program.

pub mod cli;
pub mod failure;
pub mod forward;
pub mod pairing;
pub mod peer_name;
pub mod report;
