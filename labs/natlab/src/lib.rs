//! A lab of Linux network namespaces, for tests and benches of programs that cross NATs.
//!
//! A [`Lab`] holds a [`Network`] that plays the internet, [`Host`]s on it, and [`Nat`] boxes with
//! more hosts (or more boxes) behind them. All of it is real: each node is a network namespace, a
//! NAT is the kernel's own as nftables drives it, and programs run in it unchanged. A link may be
//! *shaped*: two TAP devices between which threads of this process carry the frames, with delay,
//! loss and the other [`Impairments`].
//!
//! ```no_run
//! use p2pdbg_natlab::{Lab, NatKind};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), p2pdbg_natlab::Error> {
//! let lab = Lab::new("example")?;
//! let net = lab.internet()?.with_delay(Duration::from_millis(10));
//! let rdv = net.host("rdv")?;
//! let home = net.nat("home", NatKind::PORT_RESTRICTED)?;
//! let laptop = home.host("laptop")?;
//! let status = laptop.command("ping").args(["-c1", &rdv.ip().to_string()]).status();
//! # Ok(()) }
//! ```
//!
//! It needs root and a few programs; [`requirements`] says what is missing, and
//! [`Lab::new_or_skip`] is how a test starts. Dropping the lab kills what still runs in it and
//! removes every namespace; what a killed test left behind is swept by the next lab.
//!
//! Left out: NATs that the kernel cannot be (ports counted up, address-dependent mapping: the
//! simulator models them), NAT of IPv6 (boxes route it, behind a stateful firewall), and DNS.

#![cfg(target_os = "linux")]

mod address;
mod error;
mod firewall;
mod frame;
mod gateway;
mod guard;
mod host;
mod impairments;
mod lab;
mod lane;
mod link;
mod nat;
mod network;
mod node;
mod requirements;
mod ruleset;
mod shaper;
mod tool;
mod two_nats;

pub use error::{Error, Missing};
pub use firewall::Flow;
pub use gateway::{Gateway, PortMapping};
pub use host::Host;
pub use impairments::{Corruption, Impairments, Mtu};
pub use lab::Lab;
pub use link::{Cable, Link};
pub use nat::Nat;
pub use network::Network;
pub use node::Node;
pub use p2pdbg_nat::{Allocation, Filtering, Mapping, NatKind};
pub use requirements::requirements;
pub use shaper::Counters;
pub use two_nats::TwoNats;
