//! Addresses inside attributes (RFC 8489 sections 14.1 and 14.2), in the clear or masked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{ATTRIBUTE_HEADER_LEN, COOKIE_BYTES, TransactionId};

/// The mask that leaves an address in the clear.
pub(super) const NO_MASK: [u8; 16] = [0; 16];

/// The family of an address, for computing lengths before the address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFamily {
    /// IPv4, 1 on the wire.
    V4,
    /// IPv6, 2 on the wire.
    V6,
}

impl AddressFamily {
    /// The family that `address` is of, as it is written.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Length of an encoded attribute that holds an address of this family, in bytes.
    #[must_use]
    pub const fn attribute_len(self) -> usize {
        match self {
            Self::V4 => ATTRIBUTE_HEADER_LEN + 8,
            Self::V6 => ATTRIBUTE_HEADER_LEN + 20,
        }
    }
}

/// What XOR-MAPPED-ADDRESS is masked with: the magic cookie, then the transaction.
pub(super) fn xor_mask(transaction: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE_BYTES);
    mask[4..].copy_from_slice(&transaction.0);
    mask
}

/// Writes an address attribute's value into `out`, zeroed and of the family's length.
pub(super) fn write(out: &mut [u8], address: SocketAddr, mask: &[u8; 16]) {
    let port = address.port() ^ u16::from_be_bytes([mask[0], mask[1]]);
    out[2..4].copy_from_slice(&port.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            out[1] = 1;
            out[4..].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out[1] = 2;
            out[4..].copy_from_slice(&ip.octets());
        }
    }
    for (byte, mask) in out[4..].iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Reads an address attribute's value; `None` when family and length do not fit.
pub(super) fn read(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let [_, family, p0, p1, ip @ ..] = value else {
        return None;
    };
    let port = u16::from_be_bytes([p0 ^ mask[0], p1 ^ mask[1]]);
    let mut octets = [0; 16];
    for (octet, (byte, mask)) in octets.iter_mut().zip(ip.iter().zip(mask)) {
        *octet = byte ^ mask;
    }
    let ip: IpAddr = match (family, ip.len()) {
        (1, 4) => Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
        (2, 16) => Ipv6Addr::from(octets).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
