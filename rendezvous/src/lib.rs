//! The rendezvous of p2pdbg: the one public host, which introduces peers to each other, tells them how their
//! NATs make them appear, and relays what they cannot send directly, without being able to read it.
//!
//! ```text
//!                  UDP ports                                     control connections
//!   datapath::socket ── datapath ── datapath::quic_socket ── connections::quic ── connections ─┐
//!                         │ │  ├─ stun     (answers)                                │          │ events
//!                         │ │  └─ relay    (forwards)                               │          ▼
//!                         │ └─────────────── commands ◀─────────────────────────────│──────── hub ── registry
//!                         │                                                         │
//!                         └──── relay::outbox ── connections::tcp_leg ─── connections::tcp
//!                                                                             TCP ports
//! ```
//!
//! The state machines (`stun`, `relay`, `relay_allowance`, `keys`, `registry`, `limits`, `registry::voucher_codec`,
//! `connections::handshake_limits`) do no I/O and take the time as an argument. The datapath owns whatever a single
//! datagram can touch: a worker for each core reads the main ports, finds the way of a bound leg's datagrams in a table
//! shared for reading, and takes one lock for the rest. The hub owns whatever a peer says on its control connection.
//! `datapath::socket` owns the UDP ports, `connections::tcp` the TCP ones and `connections::by_reverse_proxy` the one
//! for a reverse proxy; what is said over HTTP at these is `web`.
//!
//! ```no_run
//! # async fn example() -> Result<(), p2pdbg_rendezvous::StartError> {
//! use p2pdbg_rendezvous::{Server, ServerConfig};
//!
//! let server = Server::start(ServerConfig {
//!     bind: vec!["127.0.0.1:0".parse().expect("an address")],
//!     alt_port: 0,
//!     ..ServerConfig::default()
//! })
//! .await?;
//! println!("{}", server.url());
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

// It panics where nobody reads standard error any more; what is said there is said by `say!`.
#![cfg_attr(not(test), warn(clippy::print_stderr))]

mod address_prefixes;
mod alternative_ports;
mod bind;
mod cluster_node;
mod cluster_store;
mod config;
mod connections;
mod counters;
mod datapath;
mod entrances;
mod handover;
mod health;
mod hub;
mod hub_event;
mod hub_report;
mod in_memory;
mod key_rooms;
mod keys;
mod leases;
mod limits;
mod month;
mod offer;
pub mod operate;
mod outgoing;
mod public_host;
mod registry;
mod relay;
mod relay_allowance;
mod self_check;
mod server;
mod start_error;
mod state_files;
mod stun;
mod ticket_codec;
mod web;
mod wire_cost;

pub use cluster_node::{CLUSTER_SECRET, RELAY_KEY, relay_key};
#[cfg(feature = "cluster")]
#[doc(hidden)]
pub use cluster_store::scale;
pub use config::{ClusterConfig, ServerConfig, StoreUrl};
pub use counters::Counters;
pub use entrances::{MOST_RELAY_WORKERS, ReceiveBuffer};
pub use handover::{Handover, Inheritance};
pub use hub_report::{KeyReport, Report};
#[doc(hidden)]
pub use in_memory::{InMemory, Told};
pub use keys::{
    DEFAULT, KEY_FILES, KeyDirectory, KeyError, KeyFault, KeyFile, KeyId, KeyLimits, KeyName,
    NamedKey, NotAKeyId, NotAKeyName,
};
pub use limits::{Limits, Rate};
pub use public_host::{NotAPublicAddress, PublicAddress};
#[doc(hidden)]
pub use relay::bench_table::FilledTable;
pub use self_check::Finding;
pub use server::Server;
pub use start_error::StartError;
pub use state_files::{LAST_URL, PROGRAM};
