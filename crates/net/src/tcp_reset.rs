//! Ending a TCP connection by a reset (RFC 9293 section 3.10.4) instead of in order.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Has the system reset the connection when it is dropped, and forget what was written and has not been acknowledged:
/// the other end sees that it broke, nothing is delivered for minutes to an end at which something newer may have come
/// in its place, and the addresses are free at once.
pub fn reset_when_dropped(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn connection_that_is_dropped_breaks_at_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (mut far, _) = listener.accept().await.unwrap();
        let near = near.unwrap();
        reset_when_dropped(&near);
        drop(near);
        let error = far.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
