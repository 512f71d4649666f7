//! Ethernet frames, as far as a shaped link has to understand them.
//!
//! Everything here takes a frame apart by its own length fields and gives `None`, or leaves the
//! frame alone, where they do not hold. VLAN tags and IPv6 extension headers are left alone too.

const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// The bytes of the offending packet that an ICMPv4 error carries.
const ICMPV4_QUOTE: usize = 576 - 20 - 8;
/// The same for ICMPv6, whose errors fill at most the least MTU.
const ICMPV6_QUOTE: usize = 1280 - IPV6_HEADER - 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// The IP packet in a frame.
struct Packet {
    family: Family,
    /// Bytes of the IP header.
    header: usize,
    /// Bytes of the whole packet, Ethernet's padding left out.
    length: usize,
    protocol: u8,
    /// Whether it is a fragment other than a whole packet.
    fragment: bool,
}

impl Packet {
    fn parse(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(ETHERNET..)?;
        let packet = match frame.get(12..ETHERNET)? {
            [0x08, 0x00] if ip.len() >= 20 => Self {
                family: Family::V4,
                header: usize::from(ip[0] & 0x0f) * 4,
                length: usize::from(be16(ip, 2)),
                protocol: ip[9],
                fragment: be16(ip, 6) & 0x3fff != 0,
            },
            [0x86, 0xdd] if ip.len() >= IPV6_HEADER => Self {
                family: Family::V6,
                header: IPV6_HEADER,
                length: IPV6_HEADER + usize::from(be16(ip, 4)),
                protocol: ip[6],
                fragment: false,
            },
            _ => return None,
        };
        let holds = packet.header >= 20 && (packet.header..=ip.len()).contains(&packet.length);
        holds.then_some(packet)
    }
}

/// Whether the frame is ARP or IPv6 neighbour discovery, which a real path does not carry: the
/// link hands it over at once, so that resolving an address costs no round trip and no luck.
pub(crate) fn is_neighbour_discovery(frame: &[u8]) -> bool {
    if frame.get(12..ETHERNET) == Some(&[0x08, 0x06]) {
        return true;
    }
    Packet::parse(frame).is_some_and(|packet| {
        packet.family == Family::V6
            && packet.protocol == ICMPV6
            && (133..=137).contains(frame.get(ETHERNET + IPV6_HEADER).unwrap_or(&0))
    })
}

/// Bytes of the IP packet in the frame, if it holds one.
pub(crate) fn ip_length(frame: &[u8]) -> Option<usize> {
    Packet::parse(frame).map(|packet| packet.length)
}

/// Flips a bit of the TCP or UDP payload, and makes the checksum fit if `mend` says so. `draw` gives
/// a number below its argument. Frames without such a payload stay as they are; returns whether
/// there was one.
pub(crate) fn corrupt(frame: &mut [u8], mend: bool, draw: impl FnOnce(usize) -> usize) -> bool {
    let Some(packet) = Packet::parse(frame) else {
        return false;
    };
    let ip = &mut frame[ETHERNET..ETHERNET + packet.length];
    let (addresses, segment) = ip.split_at_mut(packet.header);
    let (payload, checksum) = match packet.protocol {
        UDP => (8, 6),
        TCP if segment.len() >= 20 => (usize::from(segment[12] >> 4) * 4, 16),
        _ => return false,
    };
    if packet.fragment || payload >= segment.len() {
        return false;
    }
    let bit = draw((segment.len() - payload) * 8);
    segment[payload + bit / 8] ^= 1 << (bit % 8);
    let unused = packet.protocol == UDP && be16(segment, checksum) == 0;
    if mend && !unused {
        segment[checksum..checksum + 2].fill(0);
        let addresses = match packet.family {
            Family::V4 => &addresses[12..20],
            Family::V6 => &addresses[8..40],
        };
        let mut sum = Sum::default();
        sum.add(addresses);
        sum.add(&[0, packet.protocol]);
        sum.add(&(segment.len() as u16).to_be_bytes());
        sum.add(segment);
        let mended = match sum.finish() {
            0 if packet.protocol == UDP => 0xffff,
            sum => sum,
        };
        segment[checksum..checksum + 2].copy_from_slice(&mended.to_be_bytes());
    }
    true
}

/// The ICMP error that tells the sender of `frame` to send at most `mtu` bytes: "fragmentation
/// needed" (RFC 1191) or "packet too big" (RFC 4443). It comes from the packet's destination.
pub(crate) fn too_big(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let packet = Packet::parse(frame)?;
    let ip = &frame[ETHERNET..ETHERNET + packet.length];
    let mut reply = Vec::with_capacity(ETHERNET + 1280);
    reply.extend_from_slice(&frame[6..12]);
    reply.extend_from_slice(&frame[0..6]);
    reply.extend_from_slice(&frame[12..14]);
    match packet.family {
        Family::V4 => {
            let quote = &ip[..ip.len().min(ICMPV4_QUOTE)];
            let mut header = [0u8; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&((28 + quote.len()) as u16).to_be_bytes());
            header[8..10].copy_from_slice(&[64, 1]);
            header[12..16].copy_from_slice(&ip[16..20]);
            header[16..20].copy_from_slice(&ip[12..16]);
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            let mut icmp = [3, 4, 0, 0, 0, 0, 0, 0];
            icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
            let sum = checksum(&[&icmp, quote]);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            reply.extend_from_slice(&header);
            reply.extend_from_slice(&icmp);
            reply.extend_from_slice(quote);
        }
        Family::V6 => {
            let quote = &ip[..ip.len().min(ICMPV6_QUOTE)];
            let length = ((8 + quote.len()) as u16).to_be_bytes();
            let mut header = [0u8; IPV6_HEADER];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&length);
            header[6..8].copy_from_slice(&[ICMPV6, 64]);
            header[8..24].copy_from_slice(&ip[24..40]);
            header[24..40].copy_from_slice(&ip[8..24]);
            let mut icmp = [2, 0, 0, 0, 0, 0, 0, 0];
            icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
            let sum = checksum(&[&header[8..40], &length, &[0, ICMPV6], &icmp, quote]);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            reply.extend_from_slice(&header);
            reply.extend_from_slice(&icmp);
            reply.extend_from_slice(quote);
        }
    }
    Some(reply)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The Internet checksum (RFC 1071) of parts of which all but the last have even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = Sum::default();
    for part in parts {
        sum.add(part);
    }
    sum.finish()
}

#[derive(Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(2);
        for word in &mut words {
            self.0 += u64::from(be16(word, 0));
        }
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
    }

    fn finish(mut self) -> u16 {
        while self.0 > 0xffff {
            self.0 = (self.0 & 0xffff) + (self.0 >> 16);
        }
        !(self.0 as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with a UDP datagram over IPv4 and a valid checksum.
    fn udp_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let length = (28 + payload.len()) as u16;
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
        frame.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend_from_slice(&[0x10, 0, 0x20, 0]);
        frame.extend_from_slice(&(length - 20).to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(payload);
        let sum = udp_checksum(&frame);
        frame[40..42].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// 0 where the checksum in the frame is right.
    fn udp_checksum(frame: &[u8]) -> u16 {
        let length = (frame.len() - 34) as u16;
        checksum(&[
            &frame[26..34],
            &[0, UDP],
            &length.to_be_bytes(),
            &frame[34..],
        ])
    }

    #[test]
    fn a_detectable_corruption_breaks_the_checksum_and_a_mended_one_does_not() {
        for (mend, fits) in [(false, false), (true, true)] {
            let mut frame = udp_frame(b"payload");
            assert_eq!(udp_checksum(&frame), 0);
            assert!(corrupt(&mut frame, mend, |bits| {
                assert_eq!(bits, 56);
                9
            }));
            assert_eq!(&frame[42..], b"pcyload");
            assert_eq!(udp_checksum(&frame) == 0, fits);
        }
    }

    #[test]
    fn frames_without_a_payload_are_not_corrupted() {
        assert!(!corrupt(&mut udp_frame(b""), true, |_| 0));
        assert!(!corrupt(&mut [0; 14], true, |_| 0));
    }

    #[test]
    fn truncated_frames_are_refused_at_every_length() {
        let frame = udp_frame(b"payload");
        for length in 0..frame.len() {
            let mut cut = frame[..length].to_vec();
            assert!(!corrupt(&mut cut, true, |_| 0));
            assert_eq!(too_big(&cut, 1280), None);
            assert_eq!(ip_length(&cut), None);
            assert!(!is_neighbour_discovery(&cut));
        }
        assert_eq!(ip_length(&frame), Some(35));
    }

    #[test]
    fn a_too_big_error_goes_back_to_the_sender_and_quotes_the_packet() {
        let frame = udp_frame(&[7; 1400]);
        let reply = too_big(&frame, 1280).unwrap();
        assert_eq!(reply[..6], frame[6..12]);
        assert_eq!(reply[26..30], [10, 0, 0, 2]);
        assert_eq!(reply[30..34], [10, 0, 0, 1]);
        assert_eq!(reply[34..36], [3, 4]);
        assert_eq!(be16(&reply, 40), 1280);
        assert_eq!(reply[42..], frame[14..14 + ICMPV4_QUOTE]);
        assert_eq!(checksum(&[&reply[14..34]]), 0);
        assert_eq!(checksum(&[&reply[34..]]), 0);
    }
}
