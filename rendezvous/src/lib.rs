//! The rendezvous of p2pdbg: the one public host, which introduces peers to each other, tells them how their
//! NATs make them appear, and relays what they cannot send directly, without being able to read it.
//!
//! ```text
//!            UDP ports                        control connections
//!   socket ── datapath ── quic_socket ── quic ── control ──┐
//!              │ │  ├─ stun     (answers)            │      │ events
//!              │ │  └─ relay    (forwards)           │      ▼
//!              │ └────────────── commands ◀──────────│─ hub ── registry
//!              │                                     │
//!              └──── outbox ── leg ───────── tcp ────┘
//!                                          TCP ports
//! ```
//!
//! The state machines (`stun`, `relay`, `registry`, `limits`, `voucher`, `admission`) do no I/O and
//! take the time as an argument. Two tasks own them: the datapath whatever a single datagram can touch, the hub
//! whatever a peer says on its control connection. `socket` owns the UDP ports and `tcp` the TCP ones.
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

mod admission;
mod alternatives;
mod control;
mod counters;
mod datapath;
mod held;
mod hub;
mod leg;
mod limits;
mod lobby;
mod outbox;
mod public;
mod quic;
mod quic_socket;
mod registry;
mod relay;
mod server;
mod socket;
mod stun;
mod table;
mod tcp;
mod vantage;
mod voucher;

pub use counters::Counters;
pub use limits::{Limits, Rate};
pub use public::{NotAPublicAddress, PublicAddress};
pub use server::{DEFAULT_ALT_PORT, Server, ServerConfig, StartError};
#[doc(hidden)]
pub use table::FilledTable;
