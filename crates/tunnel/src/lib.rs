//! A tunnel: one QUIC connection between the two peers over one path, proven to belong to the session.
//!
//! Tunnels are replaceable. A session may have several up at once, over the relay and direct, and moves its
//! streams from one to another; what a tunnel carries is kept by nobody here. TLS pins the peer's certificate,
//! and on top of it each side proves the session's key over this very connection and names its epoch, so a
//! tunnel of another session, or an old one, takes over nothing.

mod acks;
mod call;
mod config;
mod congestion;
mod control_stream;
mod copies;
mod error;
mod handshake;
mod proof_gate;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use p2pdbg_proto::tunnel::{PathKind, TunnelMessage, close};
use quinn::{Connection, VarInt};
use tokio::sync::mpsc;

pub use call::{Answered, Call, Caller, Calls, call, call_early, complete};
pub use config::TunnelConfig;
pub use control_stream::{ControlStreamReader, read_messages};
pub use copies::{Copies, Counted};
pub use error::TunnelError;
pub use handshake::{accept, dial};
pub use proof_gate::Gate;

/// How many control messages may wait to be sent on a tunnel.
const CONTROL_QUEUE: usize = 1024;

/// A tunnel whose proofs have verified.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// Counts the tunnels of a session.
    pub epoch: u64,
    /// How its datagrams travel.
    pub path: PathKind,
    /// This end's address, as far as the operating system tells it.
    pub local: Option<SocketAddr>,
    /// The QUIC connection, of which streams and datagrams belong to the session.
    pub connection: Connection,
    control: mpsc::Sender<TunnelMessage>,
}

impl Tunnel {
    /// Queues a control message. What cannot be queued is lost with the tunnel: everything that matters is said
    /// again on the next one, so a tunnel that takes no more is closed.
    pub fn send(&self, message: TunnelMessage) {
        if self.control.try_send(message).is_err() && self.connection.close_reason().is_none() {
            tracing::debug!(epoch = self.epoch, "the tunnel's control queue is full");
            self.close(close::PROTOCOL);
        }
    }

    /// Whether the connection has not ended.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// The connection's smoothed round-trip time.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Ends the tunnel, with one of the codes of [`close`].
    pub fn close(&self, code: u32) {
        self.connection.close(VarInt::from_u32(code), b"");
    }
}
