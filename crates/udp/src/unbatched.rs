//! Sending and receiving by the calls that every system has, and the errors of single datagrams.

use std::{
    io::{self, IoSliceMut},
    net::UdpSocket,
};

use quinn::udp::{RecvMeta, Transmit};

/// What Windows says instead of a datagram, by its numbers: one that was longer than the buffer (WSAEMSGSIZE), one of
/// ours that came to no end since its time to live was up (WSAENETRESET), and one that nobody was there to take
/// (WSAECONNRESET). A socket that is not connected tells none of these anywhere else.
const ABOUT_ONE: [i32; 3] = [10_040, 10_052, 10_054];

/// Receives again after an error that is about one datagram. Whoever took it for an error of the socket would close the
/// socket because of what a stranger sent, or of a check that was meant to die on its way.
pub(crate) fn past_errors_of_one(
    mut receive: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match receive() {
            Err(error) if is_about_one(&error) => {}
            received => return received,
        }
    }
}

fn is_about_one(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|number| ABOUT_ONE.contains(&number))
}

/// Sends a datagram, or each of a batch. One that the system refuses is lost, as on any network, and so it is with
/// quinn-udp.
///
/// # Errors
/// `WouldBlock` alone.
pub(crate) fn send(socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<()> {
    let size = transmit.segment_size.unwrap_or(transmit.contents.len());
    for datagram in transmit.contents.chunks(size.max(1)) {
        match socket.send_to(datagram, transmit.destination) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => tracing::debug!(%error, to = %transmit.destination, "cannot send"),
        }
    }
    Ok(())
}

/// Receives one datagram into the first buffer.
pub(crate) fn receive(
    socket: &UdpSocket,
    buffers: &mut [IoSliceMut<'_>],
    metas: &mut [RecvMeta],
) -> io::Result<usize> {
    let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else {
        return Ok(0);
    };
    let (length, from) = socket.recv_from(buffer)?;
    *meta = RecvMeta::default();
    (meta.addr, meta.len, meta.stride) = (from, length, length);
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_one_datagram_is_passed_over_and_another_is_told() {
        let mut outcomes = ABOUT_ONE
            .map(|number| Err(io::Error::from_raw_os_error(number)))
            .into_iter()
            .chain([Ok(3), Err(io::ErrorKind::WouldBlock.into())]);
        let mut receive = || past_errors_of_one(|| outcomes.next().unwrap());
        assert_eq!(receive().unwrap(), 3);
        assert_eq!(receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
