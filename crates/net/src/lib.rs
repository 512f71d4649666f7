//! This host's network: sockets where datagrams enter and leave, and the news that something has changed.

pub mod changes;
pub mod clat;
pub mod deadline;
mod disguise;
mod ecn;
pub mod interfaces;
mod links;
pub mod listening;
pub mod lookup;
pub mod mux;
pub mod nat64;
#[cfg(target_os = "linux")]
mod netlink;
pub mod route;
pub mod same_host;
pub mod stun_over_tcp;
pub mod stun_servers;
pub mod tcp_detour;
pub mod tcp_port;
pub mod tcp_reset;
