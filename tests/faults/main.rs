//! The faults of networks, NATs, rendezvous and processes, made in a kernel lab while streams run through a session.
//!
//! Each test has numbered bytes on their way in both directions when the fault comes, little and often on one stream
//! and a transfer on another, and a debugger stopped at a breakpoint. What is asserted: that no byte is lost, repeated
//! or changed, that no stream is reset, that the debugger steps afterwards, and that the events say what happened. How
//! long the service was away is printed, beside what it should be (`cargo test --test faults -- --nocapture`); it
//! depends on the machine, so nothing is asserted of it. With `P2PDBG_FAULT_TRANSCRIPT` in the environment all that the
//! programs said is printed too.
//!
//! Left out: outages of many minutes (`scripts/long-outage`), soaks over many seeds (`scripts/soak`), what needs the
//! keys of a session (`tests/hostile`).
#![cfg(target_os = "linux")]

#[path = "../harness/mod.rs"]
mod harness;

mod attacks;
mod both_ends;
mod cluster;
mod debugger;
mod ecn;
mod ends;
mod flow;
mod handshakes;
mod impairments;
mod memory;
mod moved;
mod nats;
mod one_way;
mod outages;
mod overlays;
mod partial;
mod policed;
mod processes;
mod relays;
mod rendezvous;
mod roaming;
#[path = "../debuggers/script.rs"]
#[allow(dead_code, reason = "only the search for Python is of use here")]
mod script;
mod seeds;
mod session;
mod udp;
