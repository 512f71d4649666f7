//! A connection to a program of this host.

use p2pdbg_net::tcp_reset::reset_when_dropped;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::Within;

/// A connection of a local program.
#[derive(Debug)]
pub enum Connection {
    /// To a forwarded port, or to a target.
    Tcp(TcpStream),
    /// To a forwarded Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// Of another part of this program: what serves a `p2pdbg pipe`, or answers in a conversation.
    Within(Within),
}

impl Connection {
    /// Has whoever is at the other end see a RST when the connection is dropped. Only TCP has one.
    pub fn reset_when_dropped(&self) {
        if let Self::Tcp(stream) = self {
            reset_when_dropped(stream);
        }
    }
}
