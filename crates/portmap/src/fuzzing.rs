//! The readers of what a gateway answers, for the fuzz target `port_mapping`: they are no part of the API.

use crate::{InsidePort, natpmp, pcp, upnp};

/// A datagram that came from where PCP, NAT-PMP or SSDP was asked.
pub fn datagram(bytes: &[u8]) {
    let _ = pcp::read_map(bytes, [0; 12], InsidePort::Udp(1));
    let _ = pcp::read_announce(bytes);
    let _ = natpmp::read_address(bytes);
    let _ = natpmp::read_map(bytes, InsidePort::Tcp(1));
    upnp::read_answer(bytes);
}

/// What came on a connection to a UPnP device.
pub fn http(bytes: &[u8]) {
    upnp::read_document(bytes);
}
