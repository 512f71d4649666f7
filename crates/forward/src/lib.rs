//! Forwards: a port opened at one end and the address dialled at the other.
//!
//! This module holds what a forward *is*: its addresses ([`HostPort`](p2pdbg_base::HostPort),
//! [`Bind`](p2pdbg_base::Bind)), its direction, the notation of `-L` and `-R` ([`ForwardSpec`]), the debuggers known by
//! name ([`Preset`]), and the rule for what a peer may ask of this host ([`AllowList`]); and its two TCP ends:
//! [`OpenPort`] and [`dial`]. Moving bytes is not here, but for what joins two parts of this program ([`Within`]).

mod allow;
mod connection;
mod dial;
mod in_process;
mod misspelt_forward;
mod open;
#[cfg(unix)]
mod socket;
mod spec;

pub use allow::AllowList;
pub use connection::Connection;
pub use dial::{Turns, dial};
pub use in_process::{OtherEnd, Within};
pub use open::{OpenPort, port_failure};
pub use p2pdbg_debugger::Preset;
pub use p2pdbg_proto::tunnel::Direction;
pub use spec::{DEFAULT_PORT, Forward, ForwardSpec, NotAForward, Purpose, SpecFault};
