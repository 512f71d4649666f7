//! Receiving where the call that takes several datagrams is refused.
//!
//! The seccomp filters of some containers and sandboxes do not know `recvmmsg`, or forbid it. `recvmsg` takes the
//! datagrams of one sender that the kernel has joined (GRO), and nothing else that came meanwhile: more calls, and
//! otherwise the same.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg};
use quinn::udp::{EcnCodepoint, RecvMeta};

/// Room for what the kernel tells of a datagram, in bytes: five values at the most, of 16 to 40 bytes.
const CONTROL: usize = 256;

/// Whether the operating system refuses the call itself, rather than having nothing to receive.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

/// Receives into the first buffer.
pub(crate) fn receive(
    socket: &UdpSocket,
    buffers: &mut [IoSliceMut<'_>],
    metas: &mut [RecvMeta],
) -> io::Result<usize> {
    let (Some(buffer), Some(meta)) = (buffers.get_mut(..1), metas.first_mut()) else {
        return Ok(0);
    };
    let mut control = [0; CONTROL];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        buffer,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    *meta = describe(&message)?;
    Ok(1)
}

fn describe(message: &RecvMsg<'_, '_, SockaddrStorage>) -> io::Result<RecvMeta> {
    let from = message.address.as_ref();
    let v4 = from.and_then(|from| from.as_sockaddr_in().map(|v4| SocketAddr::from(*v4)));
    let v6 = from.and_then(|from| from.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)));
    let mut meta = RecvMeta {
        addr: v4.or(v6).ok_or(io::ErrorKind::InvalidData)?,
        len: message.bytes,
        stride: message.bytes,
        ..RecvMeta::default()
    };
    for told in message.cmsgs()? {
        match told {
            ControlMessageOwned::Ipv4Tos(tos) => meta.ecn = EcnCodepoint::from_bits(tos),
            ControlMessageOwned::Ipv6TClass(class) => {
                meta.ecn = EcnCodepoint::from_bits(class as u8);
            }
            ControlMessageOwned::UdpGroSegments(size) => {
                meta.stride = usize::try_from(size).unwrap_or(message.bytes);
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let octets = info.ipi_addr.s_addr.to_ne_bytes();
                meta.dst_ip = Some(IpAddr::V4(Ipv4Addr::from(octets)));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                meta.dst_ip = Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()));
            }
            _ => {}
        }
    }
    Ok(meta)
}
