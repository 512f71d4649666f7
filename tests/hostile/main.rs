//! What a hostile program can do to a session that runs: be refused and counted.
//!
//! The listener is the real program, with a real rendezvous on loopback. Its peer is made of the library's parts within
//! the test, so that it can break every rule: it has the session's keys, and speaks the protocol of tunnels byte by
//! byte. Each test has a stream on a good tunnel before the attack and uses it afterwards.
//!
//! Left out: what the ledger makes of such frames in detail (crates/ledger), strangers on other hosts (tests/faults).

#[path = "../harness/mod.rs"]
mod harness;

mod friend;
#[cfg(target_os = "linux")]
mod full;
mod guesser;
mod joiner;
mod scene;
mod stranger;

mod resume;
mod rules;
