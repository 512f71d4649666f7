//! What the system is asked to do for a TCP connection that carries frames and datagrams, at both ends alike.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Has the system send small writes at once, ask after so much silence whether the other end is there (and again in
/// the same rhythm), and on Linux hold no more than `unsent` bytes that are not sent yet: more would be delay that
/// nobody sees. What a system cannot do makes things slower and not wrong, so no error is told.
pub fn set_up_tcp(stream: &TcpStream, keep_alive: Duration, unsent: u32) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let rhythm = TcpKeepalive::new()
        .with_time(keep_alive)
        .with_interval(keep_alive);
    let _ = socket.set_tcp_keepalive(&rhythm);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(unsent);
    #[cfg(not(target_os = "linux"))]
    let _ = unsent;
}
