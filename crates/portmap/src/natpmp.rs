//! The messages of NAT-PMP (RFC 6886).

use std::{net::Ipv4Addr, time::Duration};

use super::{Fault, InsidePort};

const VERSION: u8 = 0;
const ADDRESS: u8 = 0;
const RESPONSE: u8 = 0x80;

/// Asks for the external address (section 3.2).
pub(super) fn address_request() -> Vec<u8> {
    vec![VERSION, ADDRESS]
}

/// Asks for a mapping (section 3.3), or for its removal with a lifetime of 0 (section 3.4).
pub(super) fn map_request(port: InsidePort, suggested: u16, lifetime: Duration) -> Vec<u8> {
    let mut bytes = vec![VERSION, opcode(port), 0, 0];
    bytes.extend(port.number().to_be_bytes());
    bytes.extend(suggested.to_be_bytes());
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    bytes.extend(seconds.to_be_bytes());
    bytes
}

/// Says which kind of port is to be mapped.
fn opcode(port: InsidePort) -> u8 {
    match port {
        InsidePort::Udp(_) => 1,
        InsidePort::Tcp(_) => 2,
    }
}

/// Reads an answer to [`address_request`]; `None` if it is none.
pub(super) fn read_address(bytes: &[u8]) -> Option<Result<Ipv4Addr, Fault>> {
    match read_header(bytes, ADDRESS)? {
        Ok(()) => {
            let ip: [u8; 4] = bytes.get(8..12)?.try_into().ok()?;
            Some(Ok(Ipv4Addr::from(ip)))
        }
        Err(fault) => Some(Err(fault)),
    }
}

/// Reads an answer to [`map_request`]: the external port and the lifetime; `None` if it is none.
pub(super) fn read_map(bytes: &[u8], port: InsidePort) -> Option<Result<(u16, Duration), Fault>> {
    if let Err(fault) = read_header(bytes, opcode(port))? {
        return Some(Err(fault));
    }
    let &[p1, p0, e1, e0, l3, l2, l1, l0] = bytes.get(8..16)? else {
        return None;
    };
    if u16::from_be_bytes([p1, p0]) != port.number() {
        return None;
    }
    let lifetime = Duration::from_secs(u32::from_be_bytes([l3, l2, l1, l0]).into());
    Some(Ok((u16::from_be_bytes([e1, e0]), lifetime)))
}

fn read_header(bytes: &[u8], opcode: u8) -> Option<Result<(), Fault>> {
    if bytes.len() < 8 || bytes[0] != VERSION || bytes[1] != RESPONSE | opcode {
        return None;
    }
    Some(match u16::from_be_bytes([bytes[2], bytes[3]]) {
        0 => Ok(()),
        1 => Err(Fault::Refused("unsupported version".to_owned())),
        2 => Err(Fault::Refused("not authorized".to_owned())),
        3 => Err(Fault::Refused("network failure".to_owned())),
        4 => Err(Fault::Refused("out of resources".to_owned())),
        5 => Err(Fault::Refused("unsupported opcode".to_owned())),
        code => Err(Fault::Refused(format!("result code {code}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: InsidePort = InsidePort::Udp(5000);
    const MAPPED: [u8; 16] = [
        0, 129, 0, 0, 0, 0, 0, 1, 0x13, 0x88, 0x9c, 0x40, 0, 0, 0x0e, 0x10,
    ];

    #[test]
    fn a_request_has_the_fields_of_the_rfc() {
        let bytes = map_request(OURS, 40000, Duration::from_secs(3600));
        assert_eq!(
            bytes,
            [0, 1, 0, 0, 0x13, 0x88, 0x9c, 0x40, 0, 0, 0x0e, 0x10]
        );
    }

    #[test]
    fn an_answer_names_port_and_lifetime() {
        let (port, lifetime) = read_map(&MAPPED, OURS).unwrap().unwrap();
        assert_eq!((port, lifetime), (40000, Duration::from_secs(3600)));
        let address = [0, 128, 0, 0, 0, 0, 0, 1, 203, 0, 113, 5];
        let address = read_address(&address).unwrap().unwrap();
        assert_eq!(address, Ipv4Addr::new(203, 0, 113, 5));
    }

    #[test]
    fn answers_to_others_and_cut_ones_are_no_answers() {
        assert_eq!(read_map(&MAPPED, InsidePort::Udp(5001)), None);
        assert_eq!(read_map(&MAPPED, InsidePort::Tcp(5000)), None);
        for length in 0..MAPPED.len() {
            assert_eq!(read_map(&MAPPED[..length], OURS), None, "{length}");
        }
        assert_eq!(read_address(&MAPPED), None);
        assert_eq!(read_address(&[2, 128, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4]), None);
    }

    #[test]
    fn a_refusal_is_told() {
        let refused = read_address(&[0, 128, 0, 3, 0, 0, 0, 1]).unwrap();
        assert_eq!(refused, Err(Fault::Refused("network failure".to_owned())));
    }
}
