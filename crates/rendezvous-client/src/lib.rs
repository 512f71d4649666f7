//! The client of the rendezvous: a control connection that is kept up, and what can be wrong with it.

mod allowed_addresses;
mod by_proxy;
mod connection;
mod conversation;
mod dial;
mod dial_hosts;
mod error;
mod home;
mod host_distance;
mod link;
mod link_history;
mod names;
mod node_memory;
mod proxy;
mod quic;
mod reconnection;
mod silence;
mod socket;
mod tcp_fallback;
mod tcp_or_web;
#[cfg(test)]
mod tests;
mod tls;
mod web;

pub use dial::Transports;
pub use error::LinkError;
pub use host_distance::NodeAway;
pub use link::{Link, LinkConfig, LinkEvent};
pub use names::STAGGER;
pub use node_memory::NodeMemory;
pub use tls::{Nodes, TcpRoute, Way};

pub use dial::is_unknown;
pub use tcp_or_web::{Delivery, TcpOrWeb};
pub use tls::Stream;
