//! The three programs on this host's loopback, as users run them; without root.
#![cfg(unix)]

#[path = "../harness/mod.rs"]
mod harness;

mod streams;
