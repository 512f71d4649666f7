//! This host's network: sockets where datagrams enter and leave, and the news that something has changed.

pub mod changes;
pub(crate) mod clat;
pub(crate) mod detour;
pub mod interfaces;
pub mod mux;
pub mod nat64;
pub(crate) mod route;
mod sleep;
pub mod stun_servers;
mod watcher;
