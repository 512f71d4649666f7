//! The messages of PCP (RFC 6887), as far as a mapping for one port needs them.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4},
    time::Duration,
};

use super::{Fault, InsidePort, Mapping};

/// Where a PCP server listens.
pub(super) const PORT: u16 = 5351;

const VERSION: u8 = 2;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
const RESPONSE: u8 = 0x80;
const HEADER: usize = 24;
const MAP_BODY: usize = 36;

/// Tells the mappings of one client apart, and keeps others from removing them (section 11.2).
pub(super) type Nonce = [u8; 12];

/// A request for a mapping, or for its removal with a lifetime of 0.
pub(super) fn map_request(
    client: Ipv4Addr,
    nonce: Nonce,
    port: InsidePort,
    suggested: Option<SocketAddrV4>,
    lifetime: Duration,
) -> Vec<u8> {
    let mut bytes = header(MAP, client, lifetime);
    bytes.extend(nonce);
    bytes.extend([protocol(port), 0, 0, 0]);
    let port = port.number();
    let (ip, external) = suggested.map_or((Ipv4Addr::UNSPECIFIED, port), |s| (*s.ip(), s.port()));
    bytes.extend(port.to_be_bytes());
    bytes.extend(external.to_be_bytes());
    bytes.extend(ip.to_ipv6_mapped().octets());
    bytes
}

/// IANA's number of the protocol.
fn protocol(port: InsidePort) -> u8 {
    match port {
        InsidePort::Udp(_) => 17,
        InsidePort::Tcp(_) => 6,
    }
}

/// A request that does nothing: whether a PCP server is there (section 14.1).
pub(super) fn announce_request(client: Ipv4Addr) -> Vec<u8> {
    header(ANNOUNCE, client, Duration::ZERO)
}

fn header(opcode: u8, client: Ipv4Addr, lifetime: Duration) -> Vec<u8> {
    let mut bytes = vec![VERSION, opcode, 0, 0];
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    bytes.extend(seconds.to_be_bytes());
    bytes.extend(client.to_ipv6_mapped().octets());
    bytes
}

/// Reads an answer to [`map_request`]; `None` if it is none.
pub(super) fn read_map(
    bytes: &[u8],
    nonce: Nonce,
    port: InsidePort,
) -> Option<Result<Mapping, Fault>> {
    let lifetime = match read_header(bytes, MAP)? {
        Ok(lifetime) => lifetime,
        Err(fault) => return Some(Err(fault)),
    };
    let body = bytes.get(HEADER..HEADER + MAP_BODY)?;
    let internal = u16::from_be_bytes([body[16], body[17]]);
    if body[..12] != nonce || body[12] != protocol(port) || internal != port.number() {
        return None;
    }
    let external = u16::from_be_bytes([body[18], body[19]]);
    let ip: [u8; 16] = body[20..36].try_into().ok()?;
    let Some(ip) = Ipv6Addr::from(ip).to_ipv4_mapped() else {
        return Some(Err(Fault::Useless("the mapping is not of IPv4".to_owned())));
    };
    Some(Ok(Mapping {
        external: SocketAddrV4::new(ip, external),
        lifetime,
    }))
}

/// Reads an answer to [`announce_request`]; `None` if it is none.
pub(super) fn read_announce(bytes: &[u8]) -> Option<Result<(), Fault>> {
    Some(read_header(bytes, ANNOUNCE)?.map(|_| ()))
}

/// Reads what every answer begins with; gives its lifetime.
fn read_header(bytes: &[u8], opcode: u8) -> Option<Result<Duration, Fault>> {
    // A gateway that speaks NAT-PMP alone answers with its own version, 0 (RFC 6886 section 3.5).
    if matches!(bytes, [0, op, ..] if *op >= RESPONSE) {
        return Some(Err(Fault::Refused("it speaks NAT-PMP alone".to_owned())));
    }
    if bytes.len() < HEADER || bytes[0] != VERSION || bytes[1] != RESPONSE | opcode {
        return None;
    }
    let lifetime = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    Some(match bytes[3] {
        0 => Ok(Duration::from_secs(lifetime.into())),
        code => Err(Fault::Refused(describe(code))),
    })
}

/// What a result code means, in the words of RFC 6887 section 7.4.
fn describe(code: u8) -> String {
    let text = match code {
        1 => "unsupported version",
        2 => "not authorized",
        3 => "malformed request",
        4 => "unsupported opcode",
        7 => "network failure",
        8 => "no resources",
        9 => "unsupported protocol",
        10 => "user exceeded quota",
        11 => "cannot provide external port",
        12 => "address mismatch, there is a NAT between this host and the gateway",
        _ => return format!("result code {code}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = [7; 12];
    const PORT_OURS: InsidePort = InsidePort::Udp(5000);

    fn answer(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let external = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 5), 40000);
        let lifetime = Duration::from_secs(3600);
        let client = Ipv4Addr::new(10, 0, 0, 2);
        let mut bytes = map_request(client, NONCE, PORT_OURS, Some(external), lifetime);
        bytes[1] |= RESPONSE;
        change(&mut bytes);
        bytes
    }

    #[test]
    fn a_request_has_the_fields_of_the_rfc() {
        let client = Ipv4Addr::new(10, 0, 0, 2);
        let bytes = map_request(client, NONCE, PORT_OURS, None, Duration::from_secs(3600));
        assert_eq!(bytes.len(), 60);
        assert_eq!(bytes[..8], [2, 1, 0, 0, 0, 0, 14, 16]);
        assert_eq!(bytes[18..24], [255, 255, 10, 0, 0, 2]);
        assert_eq!(bytes[36..40], [17, 0, 0, 0]);
        assert_eq!(bytes[40..44], [0x13, 0x88, 0x13, 0x88]);
    }

    #[test]
    fn an_answer_names_the_mapping() {
        let mapping = read_map(&answer(|_| ()), NONCE, PORT_OURS)
            .unwrap()
            .unwrap();
        assert_eq!(mapping.external, "203.0.113.5:40000".parse().unwrap());
        assert_eq!(mapping.lifetime, Duration::from_secs(3600));
    }

    #[test]
    fn answers_to_others_are_no_answers() {
        assert_eq!(read_map(&answer(|b| b[24] = 8), NONCE, PORT_OURS), None);
        assert_eq!(read_map(&answer(|b| b[36] = 6), NONCE, PORT_OURS), None);
        let theirs = InsidePort::Udp(5001);
        assert_eq!(read_map(&answer(|_| ()), NONCE, theirs), None);
        let tcp = InsidePort::Tcp(5000);
        assert_eq!(read_map(&answer(|_| ()), NONCE, tcp), None);
        assert!(read_map(&answer(|b| b[36] = 6), NONCE, tcp).is_some());
        assert_eq!(read_map(&answer(|b| b[1] = 1), NONCE, PORT_OURS), None);
    }

    #[test]
    fn a_refusal_and_an_older_protocol_are_told() {
        let refused = read_map(&answer(|b| b[3] = 8), NONCE, PORT_OURS).unwrap();
        assert_eq!(refused, Err(Fault::Refused("no resources".to_owned())));
        assert!(matches!(
            read_announce(&[0, 128, 0, 1, 0, 0, 0, 9]),
            Some(Err(_))
        ));
    }

    #[test]
    fn no_cut_or_garbled_answer_is_a_mapping() {
        let whole = answer(|_| ());
        for length in 0..whole.len() {
            assert_eq!(
                read_map(&whole[..length], NONCE, PORT_OURS),
                None,
                "{length}"
            );
        }
        let v6 = read_map(&answer(|b| b[44] = 0x20), NONCE, PORT_OURS).unwrap();
        assert!(matches!(v6, Err(Fault::Useless(_))));
    }
}
