//! The traversal engine: finds a path for datagrams between two peers behind NATs.
//!
//! It is sans-IO. [`Engine`] has no sockets, no clock and no source of randomness; the driver in the p2pdbg program,
//! the simulator and the fuzzers run this same code. Checks are STUN Binding requests under a key that only the two
//! peers have, so nobody off the path can forge one, and the same message keeps consent afterwards (RFC 7675). The
//! shape is ICE (RFC 8445) with fixed roles and one component, and what ICE lacks: techniques against NATs that give
//! every connection another port.
//!
//! # Calling order
//! 1. [`Engine::new`], then [`Input::SocketOpened`] for the session's sockets and [`Input::LocalAddresses`].
//! 2. After every [`Engine::handle`], take [`Engine::poll_output`] until it is `None`, and act on each output.
//! 3. Then ask [`Engine::poll_timeout`]; when that time comes, hand in [`Input::Timeout`].
//!
//! Time never runs backwards for the engine: an earlier `now` is taken as the last one.
//!
//! Left out: sockets, the mux that tells STUN from QUIC, sealing of signals, the port-mapping protocols (their result
//! comes in as [`Input::MappedPort`]), and everything about the relay.

mod budget;
mod caution;
mod check;
mod checklist;
mod config;
mod consent_freshness;
mod direct_tcp;
mod engine;
mod flows;
mod io;
mod ladder;
mod nat_observation;
mod nomination;
mod own_mappings;
mod pace;
mod pair;
mod port_set;
mod random;
mod role;
mod sampling;
mod search;
mod signal;
mod stun_gathering;
mod stun_server_view;
mod technique;
mod transactions;

pub mod candidate;
mod obstacle;
pub mod survey;

pub use self::budget::Budget;
pub use self::candidate::LocalAddress;
pub use self::config::{Config, PunchKey, Timing};
pub use self::direct_tcp::{
    NotThePeer, ProofStep, TcpProof, WEB_PORT, is_of_web, seen as tcp_seen,
};
pub use self::engine::Engine;
pub use self::io::{Family, Input, LossReason, Output, Path, PunchEvent, SocketId, TcpPorts};
pub use self::obstacle::Obstacle;
pub use self::pace::Pace;
pub use self::role::Role;
pub use self::technique::Technique;
