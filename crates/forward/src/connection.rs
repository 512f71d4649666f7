//! A connection to a program of this host.

use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connection of a local program.
#[derive(Debug)]
pub enum Connection {
    /// To a forwarded port, or to a target.
    Tcp(TcpStream),
    /// To a forwarded Unix socket, or of a `p2pdbg pipe`.
    #[cfg(unix)]
    Unix(UnixStream),
}
